// The user's own read cursors: sent when the end of a conversation is before the user's eyes, at most once a second for
// each conversation, and again after a reconnect where the answer is missing.

import { lastOf } from "./timeline.js";

const EVERY_MS = 1000;

/** Notes what is read now, and sends what is due. */
export function settle(turn) {
  note(turn);
  const { cursors, connection } = turn.state;
  if (connection.phase !== "open") return;
  for (const [conversation, cursor] of Object.entries(cursors)) {
    if (cursor.wanted > cursor.sent && turn.now - cursor.at >= EVERY_MS) send(turn, conversation, cursor);
  }
}

/** The answer to a cursor. A refusal that may pass is tried again. */
export function answered(turn, conversation, again) {
  const cursor = turn.state.cursors[conversation];
  if (cursor) put(turn, conversation, { ...cursor, sent: again ? 0 : cursor.sent, answered: true, at: turn.now });
}

/** The socket closed: what was not answered is to be sent again. */
export function unsent(turn) {
  const cursors = Object.entries(turn.state.cursors)
    .map(([id, cursor]) => [id, cursor.answered ? cursor : { ...cursor, sent: 0, at: 0 }]);
  turn.state = { ...turn.state, cursors: Object.fromEntries(cursors) };
}

function note(turn) {
  const { view, timeline, conversations } = turn.state;
  if (!view.visible || !view.atEnd || !timeline?.following) return;
  const conversation = conversations[timeline.conversation];
  const seq = lastOf(timeline);
  if (!conversation?.member || seq <= conversation.readSeq) return;
  const cursor = turn.state.cursors[conversation.id] ?? { sent: 0, at: 0, answered: true };
  put(turn, conversation.id, { ...cursor, wanted: seq });
  turn.state = { ...turn.state, conversations: { ...conversations, [conversation.id]: { ...conversation, readSeq: seq } } };
}

function send(turn, conversation, cursor) {
  const id = `cursor:${conversation}`;
  turn.actions.push({ do: "send", frame: { id, cmd: "conversation.read", conversation, seq: cursor.wanted } });
  put(turn, conversation, { ...cursor, sent: cursor.wanted, at: turn.now, answered: false });
}

function put(turn, conversation, cursor) {
  turn.state = { ...turn.state, cursors: { ...turn.state.cursors, [conversation]: cursor } };
}
