// The small pure parts.

import assert from "node:assert/strict";
import { test } from "node:test";

import { delayMs } from "../backoff.js";
import { closed, connect, idle, opened, reconnects } from "../connection.js";
import { conversationOf, fold, merge, unreadOf } from "../conversations.js";
import { compare, minimumFor, minimumOfAll, partitionOf, see } from "../positions.js";
import { append, arrive, first, hasGap, lastOf, prepend, ROWS_MAX, start } from "../timeline.js";
import { errorWords, initials, isolated, retryable, scalars } from "../words.js";

const message = (seq) => ({ seq, message: String(seq), sender: "ben", at: seq, text: `text ${seq}`, masked: false, ref: null });
const run = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => message(from + at));
const seqs = ({ messages }) => messages.map(({ seq }) => seq);
const loaded = (from, to, more = {}) => first(start("1", null), run(from, to), { moreBefore: from > 1, moreAfter: false, ...more });

test("a position without an index is after all of its batch", () => {
  assert.ok(compare("3:9", "3:10:0") < 0);
  assert.ok(compare("3:10:0", "3:10:1") < 0);
  assert.ok(compare("3:10:7", "3:10") < 0);
  assert.equal(compare("3:10", "3:10"), 0);
  assert.ok(compare(null, "3:1") < 0);
});

test("the newest position of each partition is what reads ask for at least", () => {
  const seen = ["0:5:1", "1:7", "0:3:0"].reduce(see, {});
  assert.deepEqual(seen, { 0: 5, 1: 7 });
  assert.equal(minimumOfAll(seen), "0:5,1:7");
  // Slot 1021 in an id: partition 1 of 4.
  const id = String((12345n << 22n) | (1021n << 12n) | 5n);
  assert.equal(partitionOf(id, 4), "1");
  assert.equal(minimumFor(id, seen, 4), "1:7");
  assert.equal(minimumFor("ext:lobby", seen, 4), null);
  assert.equal(minimumFor(id, {}, 0), null);
});

test("waiting doubles up to a limit, half of it by chance", () => {
  assert.deepEqual([0, 1, 2].map((attempt) => delayMs(attempt, 1)), [400, 800, 1600]);
  assert.equal(delayMs(3, 0), delayMs(3, 1) / 2);
  assert.equal(delayMs(1000, 1), 20_000);
});

test("close codes say whether to connect again", () => {
  for (const code of [4000, 4001, 4499, 1001, 1005, 1006, 1011, 1012]) assert.ok(reconnects(code), String(code));
  for (const code of [4500, 4501, 4999, 1000, 1002, 1009]) assert.ok(!reconnects(code), String(code));
  const lost = closed(opened(connect(idle, 0)), { code: 4000, now: 100, random: 1 });
  assert.deepEqual([lost.phase, lost.retryAt, lost.attempt], ["waiting", 500, 1]);
  const ended = closed(opened(connect(idle, 0)), { code: 4500, now: 100, random: 1 });
  assert.deepEqual([ended.phase, ended.why], ["stopped", "Your token has expired. Get another one."]);
});

const wire = (more = {}) => ({
  conversation: "1", kind: "group", visibility: "private", name: "A", external: null, peer: null, member: true, member_count: 2,
  last_seq: 3, last_message: null, read_seq: 1, unread: 2, active_at: "2026-01-01T00:00:00.000Z", version: "0:5:0", ...more,
});

test("of a read and what is known, the newer stays, and cursors only rise", () => {
  const known = conversationOf(wire({ version: "0:9:0", name: "new", read_seq: 1 }));
  const merged = merge(known, conversationOf(wire({ version: "0:5:0", name: "old", read_seq: 2 })));
  assert.deepEqual([merged.name, merged.readSeq], ["new", 2]);
  assert.equal(merge(known, conversationOf(wire({ version: "0:10:0", name: "newest" }))).name, "newest");
});

test("an event is folded once, and not when a read had it already", () => {
  const event = { event: "message.sent", conversation: "1", seq: 4, sender: "ben", at: "2026-01-02T00:00:00.000Z", text: "x", position: "0:6:0" };
  const before = conversationOf(wire());
  const after = fold(before, event, "ada");
  assert.deepEqual([after.lastSeq, unreadOf(after), after.version], [4, 3, "0:6:0"]);
  assert.equal(fold(after, event, "ada"), after);
  assert.equal(unreadOf(fold(before, { ...event, sender: "ada" }, "ada")), 0);
});

test("imported lines raise the last seq and nothing else", () => {
  const imported = (first, seq) => ({ event: "conversation.imported", conversation: "1", first, seq, position: `0:${seq}:0` });
  const event = { event: "message.sent", conversation: "1", seq: 11, sender: "ben", at: "2026-01-02T00:00:00.000Z", text: "x", position: "0:11:0" };
  let conversation = conversationOf(wire());
  const { activeAt, last } = conversation;
  for (const [first, seq] of [[2, 7], [8, 10]]) conversation = fold(conversation, imported(first, seq), "ada");
  assert.deepEqual([conversation.lastSeq, unreadOf(conversation), conversation.imported], [10, 2, [[4, 10]]]);
  assert.deepEqual([conversation.activeAt, conversation.last], [activeAt, last]);
  conversation = fold(conversation, event, "ada");
  conversation = fold(conversation, imported(12, 13), "ada");
  assert.deepEqual([conversation.lastSeq, unreadOf(conversation)], [13, 3]);
  assert.deepEqual([5, 10, 12].map((readSeq) => unreadOf({ ...conversation, readSeq })), [1, 1, 0]);
  // Of an import that only a read tells of.
  const read = conversationOf(wire({ last_seq: 100, read_seq: 1, unread: 2 }));
  assert.deepEqual([unreadOf(read), unreadOf({ ...read, readSeq: 100 })], [2, 0]);
  // Members only came: nothing to count, but the conversation is as of then.
  const joined = fold(read, { event: "conversation.imported", conversation: "1", position: "0:9:0" }, "ada");
  assert.deepEqual([joined.lastSeq, joined.version], [100, "0:9:0"]);
});

test("messages that come in order are added, others wait for those between", () => {
  let timeline = loaded(1, 3);
  timeline = arrive(timeline, message(4), true);
  timeline = arrive(timeline, message(6), true);
  assert.deepEqual([seqs(timeline), hasGap(timeline)], [[1, 2, 3, 4], true]);
  timeline = arrive(timeline, message(6), true);
  timeline = append(timeline, run(5, 5), { moreAfter: false });
  assert.deepEqual([seqs(timeline), hasGap(timeline)], [[1, 2, 3, 4, 5, 6], false]);
  assert.equal(arrive(timeline, message(2), true), timeline);
});

test("messages that come before the first page are not lost", () => {
  const early = arrive(arrive(start("1", null), message(3), true), message(2), true);
  assert.deepEqual(seqs(first(early, run(1, 1), { moreBefore: false, moreAfter: false })), [1, 2, 3]);
});

test("the stretch stays bounded and comes back on both sides", () => {
  let timeline = loaded(1001, 1100);
  for (let oldest = 1001; oldest > 1; oldest -= 100) {
    timeline = prepend(timeline, run(oldest - 100, oldest - 1), { moreBefore: oldest > 101 });
  }
  assert.deepEqual([seqs(timeline)[0], lastOf(timeline), timeline.following], [1, ROWS_MAX, false]);
  assert.equal(arrive(timeline, message(1101), true), timeline, "what is far below is not added");
  while (!timeline.following) {
    const newest = lastOf(timeline);
    const to = Math.min(newest + 100, 1101);
    timeline = append(timeline, run(newest + 1, to), { moreAfter: to < 1101 });
  }
  assert.deepEqual([seqs(timeline)[0], lastOf(timeline), timeline.moreBefore], [502, 1101, true]);
});

test("a reader who looks back is not pushed out of the stretch by what is written", () => {
  const full = first(start("1", null), run(1, ROWS_MAX), { moreBefore: false, moreAfter: false });
  assert.equal(arrive(full, message(ROWS_MAX + 1), false).following, false);
  assert.deepEqual(seqs(arrive(full, message(ROWS_MAX + 1), true))[0], 2);
});

test("words", () => {
  assert.equal(errorWords({ code: "not_member" }), "You are not a member of this conversation.");
  assert.equal(errorWords({ code: "invalid_field", message: "`name` is empty" }), "Natter did not accept that: `name` is empty.");
  assert.equal(errorWords({ code: "new_code", message: "so it is" }), "The server refused that: so it is.");
  assert.ok(retryable({ code: "anything", retry_after_ms: 10 }) && retryable({ code: "network" }) && !retryable({ code: "conflict" }));
  assert.deepEqual(["Ada Lovelace", "ben", "", "🎈 party", "קבוצת קריאה"].map(initials), ["AL", "B", "·", "P", "קק"]);
  assert.equal(isolated("a\u202eb\u2069"), "\u2068ab\u2069");
  assert.equal(scalars("é👍"), 2);
});
