// The session's connection: pure. Phases: `idle`, `connecting`, `open`, `waiting` (until `retryAt`), `stopped` (see
// `why`; only the user can start it again).

import { delayMs } from "./backoff.js";
import { closeWords } from "./words.js";

export const idle = { phase: "idle", attempt: 0, since: 0, retryAt: null, why: null, opened: false };

/** A session that does not open within this long is given up. */
const OPEN_MS = 10_000;

/** Starts connecting at once. */
export function connect(connection, now) {
  return { ...connection, phase: "connecting", since: now, retryAt: null };
}

/** Whether it takes too long to open. */
export function hangs(connection, now) {
  return connection.phase === "connecting" && now - connection.since > OPEN_MS;
}

/** The session is open: `session.opened` was read. */
export function opened(connection) {
  return { ...connection, phase: "open", attempt: 0, retryAt: null, why: null, opened: true };
}

/** For good, until the user does something. */
export function stopped(connection, why) {
  return { ...connection, phase: "stopped", retryAt: null, why };
}

/**
 * The socket closed. Natter's own codes say by their range whether to connect again: 4000 to 4499 yes, from 4500 on no.
 * Of the protocol's codes, those that name an error of ours would only come again.
 */
export function closed(connection, { code, now, random }) {
  const words = closeWords(code);
  if (!reconnects(code)) return stopped(connection, words);
  const retryAt = now + delayMs(connection.attempt, random);
  return { ...connection, phase: "waiting", attempt: connection.attempt + 1, retryAt, why: words };
}

/** Whether a client should connect again after this close code. */
export function reconnects(code) {
  if (code >= 4000) return code < 4500;
  return ![1000, 1002, 1003, 1007, 1008, 1009, 1010].includes(code);
}
