// The core against a server that loses connections, answers late and out of step, refuses now and then: whatever
// happens, in the end the page shows what the server has, and everything that was written is stored once.
//
// `SEED=n node --test simulation.test.mjs` runs one seed; a failure names its own.

import assert from "node:assert/strict";
import { test } from "node:test";

import { initial, step } from "../core.js";
import { unreadOf } from "../conversations.js";

const SEEDS = process.env.SEED ? [Number(process.env.SEED)] : Array.from({ length: 300 }, (_, n) => n + 1);
const STORM_MS = 30_000;
const CALM_MS = 60_000;
const STEP_MS = 50;
const ID = "1";

/** A small generator of numbers from 0 to 1 (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** One conversation of `ada` and `ben`, with a view that lags behind the log. */
class Server {
  constructor(random) {
    Object.assign(this, { random, messages: [], refs: new Map(), reads: 0, position: 0, views: [], keepsUp: false });
    this.log(null);
  }

  log(change) {
    change?.();
    this.position += 1;
    this.views.push({ position: this.position, count: this.messages.length, read: this.reads });
    return `0:${this.position}:0`;
  }

  send(sender, ref, text) {
    const key = `${sender} ${ref}`;
    const first = this.refs.get(key);
    if (first) return { message: first, repeated: true };
    const message = { message: String(1000 + this.messages.length), seq: this.messages.length + 1, sender, at: new Date(this.position).toISOString(), text, ref };
    message.position = this.log(() => {
      this.messages.push(message);
      if (sender === "ada") this.reads = message.seq;
    });
    this.refs.set(key, message);
    return { message, repeated: false };
  }

  read(path) {
    const url = new URL(path, "http://natter/");
    const minimum = Number(url.searchParams.get("min_position")?.split(":")[1] ?? 0);
    const lag = this.keepsUp ? 0 : Math.floor(this.random() * 4);
    const view = this.views[Math.max(0, this.views.length - 1 - lag)];
    if (view.position < minimum) return { error: { code: "behind", message: "", retry_after_ms: 100 } };
    const messages = this.messages.slice(0, view.count).map((message) => (message.sender === "ada" ? message : { ...message, ref: undefined }));
    const position = `0:${view.position}`;
    if (url.pathname.endsWith("/members")) return { members: [], next_cursor: null, member_count: 2, position };
    if (url.pathname.endsWith("/messages")) return { ...this.page(messages, url.searchParams), last_seq: view.count, position };
    const conversation = {
      conversation: ID, kind: "group", visibility: "private", name: "room", member: true, member_count: 2, last_seq: view.count,
      last_message: messages.at(-1) ?? null, read_seq: view.read, active_at: new Date(0).toISOString(), version: `0:${view.position}`,
    };
    if (url.pathname.endsWith(`/${ID}`)) return { ...conversation, position };
    return { conversations: [conversation], next_cursor: null, positions: [position] };
  }

  page(messages, query) {
    const limit = Number(query.get("limit"));
    const count = messages.length;
    const [before, after, around] = ["before", "after", "around"].map((name) => (query.has(name) ? Number(query.get(name)) : null));
    let from = Math.max(0, count - limit);
    if (after !== null) from = Math.min(count, after);
    if (before !== null) from = Math.max(0, before - 1 - limit);
    if (around !== null) from = Math.max(0, around - 1 - Math.floor(limit / 2));
    const to = before === null ? Math.min(count, from + limit) : before - 1;
    return { messages: messages.slice(from, to), more_before: from > 0, more_after: to < count };
  }
}

class World {
  constructor(seed) {
    this.random = generator(seed);
    this.server = new Server(this.random);
    this.now = 1000;
    this.later = [];
    this.link = null;
    this.links = 0;
    this.written = [];
    this.storm = true;
    this.state = initial({ me: { user: "ada", tenant: "demo", name: null } });
  }

  chance(probability) {
    return this.random() < probability;
  }

  after(ms, what) {
    this.later.push({ at: this.now + ms * this.random(), order: this.later.length, what });
  }

  hear(type, fields = {}) {
    const { state, actions } = step(this.state, { type, now: this.now, random: this.random(), ...fields });
    this.state = state;
    for (const action of actions) this[action.do](action);
  }

  connect() {
    const link = (this.links += 1);
    this.after(100, () => {
      if (this.storm && this.chance(0.3)) return this.hear("socket.closed", { code: 1006 });
      this.link = { number: link, from: this.server.position, frames: [] };
      this.push({ event: "session.opened", positions: { 0: `0:${this.server.position}` }, limits: { text_scalars: 4096 } });
    });
  }

  /** Frames of one connection come in order, later, and not at all once it is gone. */
  push(frame) {
    const { link } = this;
    if (!link) return;
    link.frames.push(frame);
    this.after(80, () => {
      const next = link.frames.shift();
      if (this.link === link) this.hear("socket.frame", { frame: next });
    });
  }

  disconnect() {
    this.cut(1006);
  }

  cut(code) {
    this.link = null;
    this.hear("socket.closed", { code });
  }

  send({ frame }) {
    const { link } = this;
    // A frame may be lost with its connection, or be carried out although nobody hears the answer.
    this.after(80, () => {
      if (this.link !== link && this.chance(0.5)) return;
      if (frame.cmd === "message.send") this.command(frame, link);
      if (frame.cmd === "conversation.read") {
        this.server.log(() => {
          this.server.reads = Math.max(this.server.reads, frame.seq);
        });
        if (this.link === link) this.push({ id: frame.id, ok: { conversation: ID, seq: frame.seq, position: `0:${this.server.position}` } });
      }
    });
  }

  command({ id, ref, text }, link) {
    if (this.storm && this.chance(0.15)) {
      const code = this.chance(0.5) ? "rate_limited" : "outcome_unknown";
      if (this.link === link) this.push({ id, error: { code, message: "", retry_after_ms: 300 } });
      return;
    }
    const { message, repeated } = this.server.send("ada", ref, text);
    if (!repeated) this.event(message);
    if (this.link === link) this.push({ id, ok: { conversation: ID, message: message.message, seq: message.seq, at: message.at, position: message.position, duplicate: repeated } });
  }

  event(message) {
    const { ref, ...rest } = message;
    this.push({ event: "message.sent", conversation: ID, ...rest, ...(message.sender === "ada" ? { ref } : {}) });
  }

  read({ key, serial, path }) {
    this.after(300, () => {
      if (this.storm && this.chance(0.15)) return this.hear("read.failed", { key, serial, error: { code: "network", message: "", retry_after_ms: null } });
      const body = this.server.read(path);
      // Answered as of now, heard later.
      this.after(200, () => (body.error
        ? this.hear("read.failed", { key, serial, error: body.error })
        : this.hear("read.ok", { key, serial, body })));
    });
  }

  run(ms) {
    for (const end = this.now + ms; this.now < end;) {
      this.now += STEP_MS;
      if (this.storm) this.happen();
      const due = this.later.filter(({ at }) => at <= this.now).sort((a, b) => a.at - b.at || a.order - b.order);
      this.later = this.later.filter(({ at }) => at > this.now);
      for (const { what } of due) what();
      this.hear("tick");
    }
  }

  happen() {
    if (this.link && this.chance(0.01)) this.cut(this.chance(0.5) ? 4001 : 1006);
    if (this.chance(0.1)) this.event(this.server.send("ben", `b${this.server.messages.length}`, `from ben ${this.server.messages.length}`).message);
    if (this.chance(0.002)) for (let n = 0; n < 150; n += 1) this.event(this.server.send("ben", `b${this.server.messages.length}`, "burst").message);
    if (this.chance(0.05)) this.write();
    if (this.chance(0.02)) this.hear("viewed", { visible: this.chance(0.8), atEnd: this.chance(0.6) });
    if (this.chance(0.02)) this.hear(["older", "newer", "newest"][Math.floor(this.random() * 3)]);
    if (this.chance(0.01)) this.hear(this.chance(0.5) ? "close" : "open", { id: ID });
    if (this.chance(0.003)) this.reload();
  }

  write() {
    const text = `from ada ${this.written.length}`;
    this.written.push(text);
    this.hear("command", { cmd: "message.send", fields: { conversation: ID, text }, ref: `a${this.written.length}` });
  }

  reload() {
    const unsent = JSON.parse(JSON.stringify(this.state.outbox));
    this.link = null;
    // What was on its way to the page that is gone never comes.
    this.later = this.later.filter(({ what }) => what.toString().includes("this.command"));
    this.state = initial({ me: this.state.me, unsent });
    this.hear("start");
    this.hear("open", { id: ID });
  }
}

function check(seed) {
  const world = new World(seed);
  world.hear("start");
  world.hear("open", { id: ID });
  world.run(STORM_MS);
  world.storm = false;
  world.server.keepsUp = true;
  world.hear("open", { id: ID });
  world.hear("viewed", { visible: true, atEnd: true });
  world.run(CALM_MS);
  world.hear("newest");
  world.hear("viewed", { visible: true, atEnd: true });
  world.run(CALM_MS);

  const { state, server } = world;
  const texts = server.messages.filter(({ sender }) => sender === "ada").map(({ text }) => text);
  assert.deepEqual(texts, world.written, "everything written is stored once, in order");
  assert.deepEqual(state.outbox, [], "nothing is left to send");
  assert.equal(state.connection.phase, "open");
  const shown = state.timeline.messages.map(({ seq, text }) => `${seq} ${text}`);
  const wanted = server.messages.map(({ seq, text }) => `${seq} ${text}`).slice(-shown.length);
  assert.ok(shown.length > 0);
  assert.deepEqual(shown, wanted, "the page shows the end of what the server has");
  assert.equal(state.conversations[ID].lastSeq, server.messages.length);
  assert.equal(unreadOf(state.conversations[ID]), 0);
  assert.equal(server.reads, server.messages.length, "the server knows the cursor");
  assert.ok(Object.keys(state.reads).length === 0, `no read is left over: ${Object.keys(state.reads)}`);
}

test(`the page converges on the server, ${SEEDS.length} seeds`, () => {
  for (const seed of SEEDS) {
    try {
      check(seed);
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
});
