// What the user looks at: the list, one open conversation and its members. What reads say about them is in answers.js.

import { unreadOf } from "./conversations.js";
import { notice } from "./notices.js";
import { ask, forget } from "./reads.js";
import { firstOf, hasGap, lastOf, start } from "./timeline.js";
import { isolated, titleOf } from "./words.js";

const PAGE = 100;
const PAGE_CATCH_UP = 200;
/** With more unread than this, a conversation opens where the unread begin instead of at its end. */
const UNREAD_AT_END_MAX = 80;
/** How long the timeline may be behind what is known before it is read again: the event is usually on its way. */
const BEHIND_MS = 400;
/** Who comes back after this long gets the list read again. */
const ASLEEP_MS = 30_000;

/** Opens a conversation. */
export function begin(turn, id) {
  forget(turn, "messages:");
  forget(turn, "members:");
  const { view } = turn.state;
  turn.state = { ...turn.state, open: id, timeline: null, members: null, view: { ...view, atEnd: false } };
  const known = turn.state.conversations[id];
  if (known) readFirst(turn, known);
  else look(turn, id);
}

/** Reads the first page of the open conversation: its end, or where the unread begin when they are many. */
export function readFirst(turn, conversation, atEnd = false) {
  const unread = atEnd ? 0 : unreadOf(conversation);
  const timeline = start(conversation.id, unread > 0 ? conversation.readSeq + 1 : null);
  turn.state = { ...turn.state, timeline };
  const around = unread > UNREAD_AT_END_MAX ? conversation.readSeq + 1 : null;
  messages(turn, "first", { around, limit: PAGE });
  reviewMembers(turn, conversation.id);
}

/** Back to the list. */
export function close(turn) {
  forget(turn, "messages:");
  forget(turn, "members:");
  turn.state = { ...turn.state, open: null, timeline: null, members: null };
}

/** Reads what a conversation is. */
export function look(turn, id) {
  ask(turn, `conversation:${id}`, { kind: "conversation", conversation: id });
}

/** The next page of older messages. */
export function older(turn) {
  const { timeline } = turn.state;
  if (timeline?.loaded && timeline.moreBefore) messages(turn, "older", { before: firstOf(timeline), limit: PAGE });
}

/** The next page of newer messages, where the newest are not on the page. */
export function newer(turn) {
  const { timeline } = turn.state;
  if (timeline?.loaded && !timeline.following) messages(turn, "newer", { after: lastOf(timeline), limit: PAGE });
}

/** Straight to the newest message. */
export function newest(turn) {
  const { timeline, conversations } = turn.state;
  if (!timeline?.loaded || timeline.following) return;
  forget(turn, "messages:");
  readFirst(turn, conversations[timeline.conversation], true);
}

/** After a reconnect: what happened meanwhile in the open conversation. */
export function catchUp(turn) {
  const { open, timeline } = turn.state;
  if (!open) return;
  forget(turn, `conversation:${open}`);
  look(turn, open);
  if (!timeline) return;
  forget(turn, `messages:${open}:caught-up`);
  readAfterLast(turn);
  if (turn.state.members) reviewMembers(turn, open);
}

function readAfterLast(turn) {
  const { timeline } = turn.state;
  if (timeline.loaded && timeline.following) {
    messages(turn, "caught-up", { after: lastOf(timeline), limit: PAGE_CATCH_UP });
  }
}

/** Reads what is missing at the end of the timeline: at once where there is a hole, else when it did not come by itself. */
export function settle(turn) {
  const { timeline, conversations, connection } = turn.state;
  if (connection.phase !== "open" || !timeline?.loaded || !timeline.following) return;
  const gap = hasGap(timeline);
  const behind = gap || (conversations[timeline.conversation]?.lastSeq ?? 0) > lastOf(timeline);
  const since = timeline.behindSince;
  const due = since === null ? gap : turn.now - since >= BEHIND_MS;
  if (behind && due) readAfterLast(turn);
  if (behind && !due && since !== null) return;
  const behindSince = behind ? turn.now : null;
  if (behindSince !== since) turn.state = { ...turn.state, timeline: { ...timeline, behindSince } };
}

/** Reads the list again from its newest; `generation` tells later which conversations it did not name any more. */
export function refreshList(turn) {
  forget(turn, "list");
  const { list } = turn.state;
  turn.state = { ...turn.state, list: { ...list, generation: list.generation + 1, at: turn.now } };
  ask(turn, "list", { kind: "list", query: { limit: PAGE }, refresh: true });
}

/** The page is looked at again: a socket that died in its sleep does not always say so, but a read tells what is new. */
export function wake(turn) {
  const { connection, list } = turn.state;
  if (connection.phase === "open" && turn.now - list.at > ASLEEP_MS) refreshList(turn);
}

/** The next page of the list. */
export function moreList(turn) {
  const { cursor, loaded } = turn.state.list;
  if (loaded && cursor) ask(turn, "list", { kind: "list", query: { cursor, limit: PAGE }, refresh: false });
}

/** Reads the open conversation's members again. */
export function reviewMembers(turn, id) {
  if (turn.state.open !== id) return;
  forget(turn, `members:${id}`);
  ask(turn, `members:${id}`, { kind: "members", conversation: id, query: { limit: 200 } });
}

/** The next page of members. */
export function moreMembers(turn) {
  const { open, members } = turn.state;
  if (!members?.cursor) return;
  ask(turn, `members:${open}`, { kind: "members", conversation: open, query: { limit: 200, cursor: members.cursor } });
}

/** A conversation is no longer the user's. */
export function removed(turn, id, why) {
  const { [id]: gone, ...conversations } = turn.state.conversations;
  const { [id]: _, ...arriving } = turn.state.arriving;
  turn.state = { ...turn.state, conversations, arriving };
  if (turn.state.open === id) close(turn);
  if (gone) notice(turn, `${why} ${isolated(titleOf(gone, turn.state.names))}.`);
}

function messages(turn, which, query) {
  const { conversation } = turn.state.timeline;
  ask(turn, `messages:${conversation}:${which}`, { kind: "messages", conversation, query });
}
