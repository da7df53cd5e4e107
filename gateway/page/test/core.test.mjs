// Inputs and what comes of them: given / when / then.

import assert from "node:assert/strict";
import { test } from "node:test";

import { initial, step } from "../core.js";

const ME = { user: "ada", tenant: "demo", name: null };
const OPENED = { event: "session.opened", positions: { 0: "0:10" }, limits: { text_scalars: 4096 } };
const AT = "2026-01-01T00:00:00.000Z";
const listed = (id, { last_seq = 0, read_seq = 0, ...more } = {}) => ({
  conversation: id, kind: "group", visibility: "private", name: `room ${id}`, external: null, peer: null, member: true,
  member_count: 2, last_seq, last_message: null, read_seq, unread: last_seq - read_seq, active_at: AT, version: "0:1:0", ...more,
});
const sent = (seq, more = {}) => ({ event: "message.sent", conversation: "1", message: `9${seq}`, seq, sender: "ben", at: AT, text: `text ${seq}`, position: `0:${100 + seq}:0`, ...more });
const { event: _, ...stored } = sent(0);
const page = (seqs, more = {}) => ({ messages: seqs.map((seq) => ({ ...stored, message: `9${seq}`, seq, text: `text ${seq}`, position: `0:${100 + seq}:0` })), more_before: false, more_after: false, last_seq: seqs.at(-1) ?? 0, position: "0:100", ...more });

/** Steps through inputs; collects what is to be done. */
class Page {
  constructor(unsent = []) {
    this.state = initial({ me: ME, unsent });
    this.now = 1000;
    this.actions = [];
  }

  hear(type, fields = {}) {
    const next = step(this.state, { type, now: this.now, random: 0.5, ...fields });
    this.state = next.state;
    this.actions.push(...next.actions);
    return this;
  }

  frame(frame) {
    return this.hear("socket.frame", { frame });
  }

  pass(ms) {
    for (const end = this.now + ms; this.now < end;) {
      this.now += 250;
      this.hear("tick");
    }
    return this;
  }

  /** What was to be done since the last time, of one kind. */
  take(kind) {
    const taken = this.actions.filter((action) => action.do === kind);
    this.actions = this.actions.filter((action) => action.do !== kind);
    return taken;
  }

  frames() {
    return this.take("send").map(({ frame }) => frame);
  }

  answer(key, body) {
    const { serial } = this.state.reads[key];
    return this.hear("read.ok", { key, serial, body });
  }

  refuse(key, error) {
    const { serial } = this.state.reads[key];
    return this.hear("read.failed", { key, serial, error: { message: "", retry_after_ms: null, ...error } });
  }

  seqs() {
    return this.state.timeline.messages.map(({ seq }) => seq);
  }
}

/** A page with one conversation, open, at its end. */
function chatting(seqs = []) {
  const page_ = new Page().hear("start").frame(OPENED);
  const last = seqs.at(-1) ?? 0;
  page_.answer("list", { conversations: [listed("1", { last_seq: last, read_seq: last })], next_cursor: null, positions: ["0:10"] });
  page_.hear("open", { id: "1" }).answer("messages:1:first", page(seqs));
  page_.hear("viewed", { visible: true, atEnd: true });
  page_.actions = [];
  return page_;
}

const say = (on, text, ref) => on.hear("command", { cmd: "message.send", fields: { conversation: "1", text }, ref });

test("the list is asked for when the session is open, as of what the session shows at least", () => {
  const [read] = new Page().hear("start").frame(OPENED).take("read");
  assert.equal(read.path, "v1/conversations?limit=100&min_position=0%3A10");
});

test("a message is sent, answered, seen", () => {
  const on = say(chatting([1, 2]), "hi", "r1");
  assert.deepEqual(on.frames(), [{ id: "1", cmd: "message.send", ref: "r1", conversation: "1", text: "hi" }]);
  on.frame({ id: "1", ok: { conversation: "1", message: "93", seq: 3, at: AT, position: "0:103:0" } });
  assert.deepEqual(on.state.outbox.map(({ phase, seq }) => [phase, seq]), [["stored", 3]]);
  on.frame(sent(3, { sender: "ada", ref: "r1", text: "hi" }));
  assert.deepEqual([on.state.outbox, on.seqs()], [[], [1, 2, 3]]);
});

test("the event may come before the reply", () => {
  const on = say(chatting([1, 2]), "hi", "r1").frame(sent(3, { sender: "ada", ref: "r1", text: "hi" }));
  on.frame({ id: "1", ok: { conversation: "1", message: "93", seq: 3, at: AT, position: "0:103:0" } });
  assert.deepEqual([on.state.outbox, on.seqs()], [[], [1, 2, 3]]);
});

test("messages of one conversation go one after the other, so that a refusal does not change their order", () => {
  const on = say(say(chatting(), "one", "r1"), "two", "r2");
  assert.deepEqual(on.frames().map(({ text }) => text), ["one"]);
  on.frame({ id: "1", error: { code: "rate_limited", message: "", retry_after_ms: 1000 } });
  assert.deepEqual(on.frames(), []);
  const [again] = on.pass(1500).frames();
  assert.deepEqual([again.text, again.ref, again.resend], ["one", "r1", undefined]);
  on.frame({ id: again.id, ok: { conversation: "1", message: "91", seq: 1, at: AT, position: "0:101:0" } });
  assert.deepEqual(on.frames().map(({ text }) => text), ["two"]);
});

test("what was not answered is sent again under the same ref, and says so", () => {
  const on = say(say(chatting(), "one", "r1"), "two", "r2");
  on.frames();
  on.hear("socket.closed", { code: 4000 }).pass(1000);
  assert.equal(on.take("connect").length, 1);
  on.frame(OPENED);
  assert.deepEqual(on.frames().map(({ ref, resend }) => [ref, resend]), [["r1", true]]);
});

test("the outcome that was not known when the page was left is asked for after a reload", () => {
  const before = say(chatting(), "one", "r1").state.outbox;
  const on = new Page(JSON.parse(JSON.stringify(before))).hear("start").frame(OPENED);
  assert.deepEqual(on.frames().map(({ ref, resend }) => [ref, resend]), [["r1", true]]);
});

test("an own message that the history shows is not shown twice, nor sent again", () => {
  const before = say(chatting(), "one", "r1").state.outbox;
  const on = new Page(before).hear("start");
  on.hear("open", { id: "1" }).answer("conversation:1", { ...listed("1", { last_seq: 1 }), position: "0:11" });
  const history = page([1]);
  history.messages[0].ref = "r1";
  on.answer("messages:1:first", history).frame(OPENED);
  assert.deepEqual([on.state.outbox, on.frames(), on.seqs()], [[], [], [1]]);
});

test("a refusal for good stays with its message until the user decides", () => {
  const on = say(chatting(), "bad words", "r1");
  on.frame({ id: "1", error: { code: "rejected", message: "", retry_after_ms: null } });
  assert.equal(on.state.outbox[0].phase, "failed");
  say(on, "good words", "r2");
  assert.deepEqual(on.frames().map(({ ref }) => ref), ["r1", "r2"]);
  on.hear("outbox.discard", { ref: "r1" });
  assert.deepEqual(on.state.outbox.map(({ ref }) => ref), ["r2"]);
});

test("after a conflict the message needs another ref", () => {
  const on = say(chatting(), "text", "r1");
  on.frame({ id: "1", error: { code: "conflict", message: "", retry_after_ms: null } });
  on.hear("outbox.retry", { ref: "r1", newRef: "r9" });
  assert.deepEqual(on.frames().map(({ ref }) => ref), ["r1", "r9"]);
});

test("a command that a dialog waits for says in the end why it was refused", () => {
  const on = chatting().hear("command", { cmd: "conversation.rename", fields: { conversation: "1", name: "x" }, ref: "r1" });
  on.frame({ id: on.frames()[0].id, error: { code: "not_member", message: "", retry_after_ms: null } });
  assert.equal(on.state.answers.r1.error.code, "not_member");
  assert.deepEqual(on.state.outbox, []);
});

test("a hole is read at once, from the last message on", () => {
  const on = chatting([1, 2]).frame(sent(5));
  const [read] = on.take("read");
  assert.match(read.path, /messages\?after=2&limit=200&min_position=0%3A105$/);
  on.frame(sent(6)).answer("messages:1:caught-up", page([3, 4, 5]));
  assert.deepEqual(on.seqs(), [1, 2, 3, 4, 5, 6]);
});

test("after a reconnect the open conversation is read from its last message on, as of the new session at least", () => {
  const on = chatting([1, 2]).hear("socket.closed", { code: 1006 }).pass(1000);
  on.take("read");
  on.frame({ ...OPENED, positions: { 0: "0:200" } });
  const read = on.take("read").find(({ key }) => key === "messages:1:caught-up");
  assert.match(read.path, /after=2&limit=200&min_position=0%3A200$/);
  on.frame(sent(4, { position: "0:201:0" })).answer("messages:1:caught-up", page([3]));
  assert.deepEqual(on.seqs(), [1, 2, 3, 4]);
});

test("an answer of before the reconnect is not taken for one of after it", () => {
  const on = chatting([1, 2]).frame(sent(4));
  const old = on.state.reads["messages:1:caught-up"].serial;
  on.hear("socket.closed", { code: 1006 }).pass(1000).frame(OPENED);
  on.hear("read.ok", { key: "messages:1:caught-up", serial: old, body: page([]) });
  assert.ok(on.state.reads["messages:1:caught-up"]);
});

test("what does not come by itself is read", () => {
  const on = say(chatting([1]), "hi", "r1");
  on.frame({ id: "1", ok: { conversation: "1", message: "92", seq: 2, at: AT, position: "0:102:0", duplicate: true } });
  assert.deepEqual(on.take("read"), []);
  on.frame({ event: "conversation.renamed", conversation: "1", sender: "ben", at: AT, position: "0:109:0", name: "x" });
  const [read] = on.pass(750).take("read");
  assert.match(read?.path ?? "none", /after=1/);
});

test("events of a conversation that is being read for the first time are not lost", () => {
  const on = chatting().frame(sent(7, { conversation: "2", position: "0:107:0" }));
  on.frame(sent(8, { conversation: "2", position: "0:108:0" }));
  on.answer("conversation:2", { ...listed("2", { last_seq: 7, version: "0:107:0" }), position: "0:107" });
  assert.equal(on.state.conversations[2].lastSeq, 8);
});

test("the cursor goes when the end is in sight, once a second at most, and again when its answer was lost", () => {
  const on = chatting([1]).frame(sent(2));
  assert.deepEqual(on.frames(), [{ id: "cursor:1", cmd: "conversation.read", conversation: "1", seq: 2 }]);
  on.frame(sent(3)).frame(sent(4));
  assert.deepEqual(on.frames(), []);
  assert.deepEqual(on.pass(1000).frames().map(({ seq }) => seq), [4]);
  on.hear("socket.closed", { code: 1006 }).pass(1000).frame(OPENED);
  assert.deepEqual(on.frames().map(({ seq }) => seq), [4]);
  on.frame({ id: "cursor:1", ok: { conversation: "1", seq: 4 } }).hear("viewed", { visible: false, atEnd: true }).frame(sent(5));
  assert.deepEqual(on.pass(2000).frames(), []);
  assert.equal(on.state.conversations[1].lastSeq - on.state.conversations[1].readSeq, 1);
});

test("a page that came behind the reader's back is not read before it was in sight", () => {
  const on = new Page().hear("start").frame(OPENED);
  on.answer("list", { conversations: [listed("1", { last_seq: 300 })], next_cursor: null, positions: ["0:10"] });
  on.hear("open", { id: "1" }).answer("messages:1:first", page([1, 2], { more_after: true, last_seq: 4 }));
  on.hear("viewed", { visible: true, atEnd: true }).hear("newer").answer("messages:1:newer", page([3, 4]));
  assert.deepEqual([on.state.timeline.following, on.frames()], [true, []]);
  assert.deepEqual(on.hear("viewed", { visible: true, atEnd: true }).frames().map(({ seq }) => seq), [4]);
});

test("typing is told every two and a half seconds at most, and holds for five", () => {
  const on = chatting().hear("typed", { conversation: "1" }).hear("typed", { conversation: "1" });
  assert.deepEqual(on.frames(), [{ signal: "typing", conversation: "1" }]);
  assert.equal(on.pass(2500).frames().length, 1, "what was typed since is told when it is time");
  say(on.hear("typed", { conversation: "1" }), "done", "r1").frames();
  assert.deepEqual(on.pass(5000).frames(), [], "and not when it was sent meanwhile");
  on.frame({ signal: "typing", conversation: "1", sender: "ben" }).frame({ signal: "typing", conversation: "1", sender: "ada" });
  assert.deepEqual(Object.keys(on.state.typing[1]), ["ben"]);
  assert.deepEqual(on.pass(4750).state.typing[1] !== undefined, true);
  assert.deepEqual(on.pass(500).state.typing, {});
});

test("reads that fail for the moment are asked again, with patience", () => {
  const on = new Page().hear("start").frame(OPENED);
  on.take("read");
  on.refuse("list", { code: "behind", retry_after_ms: 1000 });
  assert.deepEqual(on.pass(750).take("read"), []);
  assert.equal(on.pass(500).take("read").length, 1);
});

test("a token that is refused ends it, in words", () => {
  const on = new Page().hear("start").hear("socket.closed", { code: 1006 });
  assert.equal(on.take("read")[0].key, "probe");
  on.refuse("probe", { code: "unauthenticated" });
  assert.deepEqual([on.state.connection.phase, on.state.connection.why], ["stopped", "Your token is not accepted any more. Get another one."]);
  assert.deepEqual(on.pass(60_000).take("connect").length, 1, "only the first");
  assert.equal(on.hear("reconnect").take("connect").length, 1);
});

test("conversations that the whole list does not name any more are gone", () => {
  const on = chatting();
  on.frame({ event: "conversation.added", conversation: "2", sender: "ben", members: ["ada"], at: AT, position: "0:120:0" });
  on.answer("conversation:2", { ...listed("2"), position: "0:120" });
  on.hear("close").hear("socket.closed", { code: 1006 }).pass(1000).frame(OPENED);
  on.answer("list", { conversations: [listed("2")], next_cursor: null, positions: ["0:130"] });
  assert.deepEqual(Object.keys(on.state.conversations), ["2"]);
});

test("leaving closes the conversation and says so", () => {
  const on = chatting().frame({ event: "conversation.left", conversation: "1", sender: "ada", at: AT, position: "0:120:0", member_count: 1 });
  assert.deepEqual([on.state.open, on.state.conversations, on.state.notices.length], [null, {}, 1]);
});

test("nothing changes when nothing happens", () => {
  const on = chatting([1, 2]);
  const before = on.state;
  assert.equal(on.pass(10_000).state, before);
});

test("a page that was away for long reads the list again", () => {
  const on = chatting([1]).hear("wake");
  assert.deepEqual(on.take("read"), []);
  on.now += 31_000;
  assert.deepEqual(on.hear("wake").take("read").map(({ key }) => key), ["list"]);
});

test("the list is read page by page, and after a reconnect only as far as something changed", () => {
  const on = new Page().hear("start").frame(OPENED);
  const rooms = (from, to, more) => Array.from({ length: to - from + 1 }, (_, at) => listed(String(from + at), more));
  on.answer("list", { conversations: rooms(1, 2), next_cursor: "c2", positions: ["0:10"] });
  assert.deepEqual(on.state.reads.list, undefined, "more only when it is scrolled to");
  on.take("read");
  on.hear("list.more");
  assert.match(on.take("read")[0].path, /cursor=c2/);
  on.answer("list", { conversations: rooms(3, 4), next_cursor: null, positions: ["0:10"] });
  assert.equal(Object.keys(on.state.conversations).length, 4);
  on.hear("socket.closed", { code: 4000 }).pass(1000).frame(OPENED).take("read");
  on.answer("list", { conversations: rooms(1, 2, { version: "0:11:0" }), next_cursor: "c2", positions: ["0:12"] });
  assert.match(on.take("read")[0].path, /cursor=c2/, "all of the first page was new: the second may be");
  on.answer("list", { conversations: rooms(3, 4), next_cursor: null, positions: ["0:12"] });
  assert.equal(Object.keys(on.state.conversations).length, 4);
});
