// Commands on their way. Each has a `ref`: whatever becomes of the connection, it is sent again under the same `ref`
// until its outcome is known, so it happens once. One at a time for each conversation keeps their order.
//
// Phases: `queued` (not before `retryAt`), `sent`, `stored` (a message with its seq, until the timeline shows it) and
// `failed` (the user decides).

import { lastOf } from "./timeline.js";
import { errorWords, retryable } from "./words.js";

/** An unanswered command means that the connection is dead, after this long. */
const UNANSWERED_MS = 30_000;
/** How often a command that somebody waits for in a dialog is tried. */
const TRIES_MAX = 6;
const ANSWERS_KEPT = 20;

/** Takes a command up; it is sent as soon as the connection allows. */
export function enqueue(turn, { cmd, fields, ref }) {
  const entry = {
    ref, cmd, fields, scope: scopeOf(cmd, fields), at: turn.now, phase: "queued", id: null, sentAt: null, unknown: false,
    tries: 0, retryAt: 0, waits: null, error: null, seq: null,
  };
  turn.state = { ...turn.state, outbox: [...turn.state.outbox, entry] };
}

/** What a page that was reloaded had not heard the outcome of. */
export function restored(entries) {
  return entries
    .filter((entry) => entry.phase !== "stored")
    .map((entry) => (entry.phase === "failed" ? entry : { ...entry, phase: "queued", unknown: true, retryAt: 0 }));
}

/** Sends what can be sent now: the first of each scope. */
export function flush(turn) {
  const { outbox, connection } = turn.state;
  if (outbox.length === 0 || connection.phase !== "open") return;
  const taken = new Set();
  for (const entry of outbox) {
    if (entry.phase === "failed" || entry.phase === "stored" || taken.has(entry.scope)) continue;
    taken.add(entry.scope);
    if (entry.phase === "queued" && entry.retryAt <= turn.now) send(turn, entry);
  }
}

function send(turn, entry) {
  const id = String(turn.state.nextId);
  turn.state = { ...turn.state, nextId: turn.state.nextId + 1 };
  const resend = entry.unknown ? { resend: true } : {};
  turn.actions.push({ do: "send", frame: { id, cmd: entry.cmd, ref: entry.ref, ...resend, ...entry.fields } });
  change(turn, entry.ref, { phase: "sent", id, sentAt: turn.now, tries: entry.tries + 1 });
}

/** The socket closed: the outcome of what was sent is not known. */
export function unsent(turn) {
  const outbox = turn.state.outbox
    .map((entry) => (entry.phase === "sent" ? { ...entry, phase: "queued", unknown: true, retryAt: 0 } : entry));
  turn.state = { ...turn.state, outbox };
}

/** Whether something was unanswered for so long that the connection must be dead. */
export function isStuck(turn) {
  return turn.state.outbox.some((entry) => entry.phase === "sent" && turn.now - entry.sentAt > UNANSWERED_MS);
}

/** The command that a reply answers, or `undefined`. */
export function entryOf(state, id) {
  return state.outbox.find((entry) => entry.phase === "sent" && entry.id === id);
}

/** A message is stored: its seq is known. The row stays until the timeline has it. */
export function stored(turn, ref, { seq, at }) {
  change(turn, ref, { phase: "stored", seq, at: Date.parse(at), storedAt: turn.now });
}

/** The command is done: dialogs that wait for it hear so. */
export function done(turn, entry, ok) {
  remove(turn, entry.ref);
  answer(turn, entry.ref, { ok });
}

/** The command was refused: tried again where that may help, else the user hears why. */
export function refused(turn, entry, error) {
  const message = entry.cmd === "message.send";
  if (retryable(error) && (message || entry.tries < TRIES_MAX)) {
    const waitMs = (error.retry_after_ms ?? 1000) * (1 + turn.random / 2);
    const unknown = entry.unknown || error.code === "outcome_unknown" || error.code === "internal";
    change(turn, entry.ref, { phase: "queued", unknown, retryAt: turn.now + waitMs, waits: errorWords(error) });
  } else if (message) {
    change(turn, entry.ref, { phase: "failed", error });
  } else {
    remove(turn, entry.ref);
    answer(turn, entry.ref, { error });
  }
}

/** The user wants a failed message sent after all. After a `conflict` it needs another `ref`. */
export function retry(turn, { ref, newRef }) {
  const entry = turn.state.outbox.find((other) => other.ref === ref && other.phase === "failed");
  if (!entry) return;
  const next = entry.error?.code === "conflict" ? newRef : ref;
  change(turn, ref, { ref: next, phase: "queued", unknown: false, retryAt: 0, waits: null, error: null });
}

/** Takes a command out. */
export function remove(turn, ref) {
  turn.state = { ...turn.state, outbox: turn.state.outbox.filter((entry) => entry.ref !== ref) };
}

/** Lets stored messages go that the timeline shows, or that nobody looks at. */
export function settle(turn) {
  const { outbox, timeline } = turn.state;
  const over = (entry) => entry.phase === "stored"
    && (timeline?.conversation !== entry.scope || !timeline.following || entry.seq <= lastOf(timeline));
  if (outbox.some(over)) turn.state = { ...turn.state, outbox: outbox.filter((entry) => !over(entry)) };
}

function change(turn, ref, fields) {
  const outbox = turn.state.outbox.map((entry) => (entry.ref === ref ? { ...entry, ...fields } : entry));
  turn.state = { ...turn.state, outbox };
}

function answer(turn, ref, outcome) {
  const kept = Object.entries(turn.state.answers).slice(1 - ANSWERS_KEPT);
  turn.state = { ...turn.state, answers: Object.fromEntries([...kept, [ref, outcome]]) };
}

function scopeOf(cmd, fields) {
  return fields.conversation ?? (cmd === "user.update" ? "user" : "create");
}
