// HTTP reads in flight: at most one per key; what fails and may succeed later is asked again with backoff. Every read
// says the newest position that this page has seen, so that no answer shows less than that.

import { delayMs } from "./backoff.js";
import { minimumFor, minimumOfAll } from "./positions.js";
import { retryable } from "./words.js";

/**
 * Asks, unless the same key is asked already. `read` is `{kind, conversation?, query?, once?}`; kinds are `list`,
 * `conversation`, `messages` and `members`; what is asked `once` is not asked again when it fails.
 */
export function ask(turn, key, read) {
  if (turn.state.reads[key]) return;
  fetchNow(turn, key, { ...read, serial: 0, attempt: 0, retryAt: null });
}

/** Forgets the reads whose keys begin so; answers that still come are not heard. */
export function forget(turn, prefix) {
  const kept = Object.entries(turn.state.reads).filter(([key]) => !key.startsWith(prefix));
  turn.state = { ...turn.state, reads: Object.fromEntries(kept) };
}

/** Takes an answer: the read it belongs to, or `null` where nobody waits for it any more. */
export function answered(turn, { key, serial }) {
  const read = turn.state.reads[key];
  if (read?.serial !== serial) return null;
  const { [key]: _, ...reads } = turn.state.reads;
  turn.state = { ...turn.state, reads };
  return read;
}

/** Takes a failure: the read where it is final, or `null` where it will be asked again (or nobody waits for it). */
export function failed(turn, { key, serial, error }) {
  const read = turn.state.reads[key];
  if (read?.serial !== serial) return null;
  if (read.once || !retryable(error)) return answered(turn, { key, serial });
  const waitMs = Math.max(error.retry_after_ms ?? 0, delayMs(read.attempt, turn.random));
  store(turn, key, { ...read, serial: null, attempt: read.attempt + 1, retryAt: turn.now + waitMs });
  return null;
}

/** Asks again what is due. */
export function retryDue(turn, everything = false) {
  for (const [key, read] of Object.entries(turn.state.reads)) {
    if (read.retryAt !== null && (everything || read.retryAt <= turn.now)) fetchNow(turn, key, read);
  }
}

function fetchNow(turn, key, read) {
  const serial = turn.state.nextSerial;
  turn.state = { ...turn.state, nextSerial: serial + 1 };
  store(turn, key, { ...read, serial, retryAt: null });
  turn.actions.push({ do: "read", key, serial, path: pathOf(turn.state, read) });
}

function store(turn, key, read) {
  turn.state = { ...turn.state, reads: { ...turn.state.reads, [key]: read } };
}

function pathOf({ seen, partitions }, { kind, conversation, query }) {
  const minimum = kind === "list" ? minimumOfAll(seen) : minimumFor(conversation, seen, partitions);
  const all = Object.entries({ ...query, min_position: minimum }).filter(([, value]) => value !== null && value !== undefined);
  const search = all.length === 0 ? "" : `?${new URLSearchParams(all)}`;
  if (kind === "list") return `v1/conversations${search}`;
  const below = kind === "conversation" ? "" : `/${kind}`;
  return `v1/conversations/${encodeURIComponent(conversation)}${below}${search}`;
}
