// What HTTP reads answered, folded into the state.

import { begin, moreList, readFirst, removed } from "./browsing.js";
import { stopped } from "./connection.js";
import { conversationOf, fold, merge, messageOf, raised } from "./conversations.js";
import { notice } from "./notices.js";
import * as outbox from "./outbox.js";
import { see } from "./positions.js";
import { answered, ask, failed } from "./reads.js";
import { append, first, prepend } from "./timeline.js";
import { errorWords } from "./words.js";

/** Direct chats whose other user's name is looked up when the list comes. */
const NAMES_AT_ONCE = 30;

/** A read was answered. */
export function ok(turn, input) {
  const read = answered(turn, input);
  if (!read || input.key === "probe") return;
  const { body } = input;
  const positions = body.positions ?? [body.position];
  turn.state = { ...turn.state, seen: positions.reduce(see, turn.state.seen) };
  TAKES[read.kind](turn, body, read, input.key);
}

/** A read failed, and asking again does not help (or is arranged already). */
export function error(turn, input) {
  const read = failed(turn, input);
  if (input.error.code === "unauthenticated") {
    turn.state = { ...turn.state, connection: stopped(turn.state.connection, errorWords(input.error)) };
    turn.actions.push({ do: "disconnect" });
    return;
  }
  // Members may be hidden from those who only read along: then they are not shown, and that is all.
  if (!read || read.once || read.kind === "members") return;
  const gone = ["not_found", "not_member", "forbidden"].includes(input.error.code);
  if (gone && read.conversation) unavailable(turn, read.conversation, input.error);
  else notice(turn, errorWords(input.error));
}

const TAKES = {
  list: (turn, body, read) => {
    const before = turn.state.conversations;
    const conversations = body.conversations.map((wire) => learn(turn, conversationOf(wire)));
    const changed = conversations.some(({ id, version }) => before[id]?.version !== version);
    const { list } = turn.state;
    const complete = body.next_cursor === null;
    turn.state = { ...turn.state, list: { ...list, cursor: body.next_cursor, loaded: true, complete } };
    learnPeers(turn, conversations);
    if (complete) forgetUnlisted(turn);
    else if (list.loaded && read.refresh && changed) moreList(turn);
  },
  conversation: (turn, body) => {
    const conversation = learn(turn, conversationOf(body));
    const { open, timeline } = turn.state;
    if (open === conversation.id && !timeline) readFirst(turn, conversation);
  },
  messages: (turn, body, { conversation }, key) => {
    const { timeline, view } = turn.state;
    if (timeline?.conversation !== conversation) return;
    const messages = body.messages.map(messageOf);
    const more = { moreBefore: body.more_before, moreAfter: body.more_after };
    known(turn, messages);
    turn.state = { ...turn.state, conversations: raised(turn.state.conversations, conversation, body.last_seq) };
    const which = key.slice(key.lastIndexOf(":") + 1);
    if (which === "caught-up" && more.moreAfter && view.atEnd) {
      // So much happened that the user's place is no longer near the end: begin anew where the unread begin.
      begin(turn, conversation);
      return;
    }
    const take = { first, older: prepend, newer: append, "caught-up": append }[which];
    turn.state = { ...turn.state, timeline: take(timeline, messages, more) };
    // What a reader scrolls towards stands below him until the log says that he has come to its end.
    if (which === "newer" && messages.length > 0) turn.state = { ...turn.state, view: { ...view, atEnd: false } };
  },
  members: (turn, body, { conversation, query }) => {
    const users = body.members.map(({ user, name, role, read_seq: readSeq }) => ({ user, name: name ?? null, role, readSeq }));
    const named = users.filter(({ name }) => name).map(({ user, name }) => [user, name]);
    turn.state = { ...turn.state, names: { ...turn.state.names, ...Object.fromEntries(named) } };
    peerCursor(turn, conversation, users);
    if (turn.state.open !== conversation) return;
    const before = query.cursor ? turn.state.members?.users ?? [] : [];
    const members = { users: [...before, ...users], cursor: body.next_cursor, count: body.member_count };
    turn.state = { ...turn.state, members };
  },
};

/** Takes in what a read says of a conversation, and the events that came while it was asked. */
function learn(turn, read) {
  const { conversations, arriving, me, list } = turn.state;
  let conversation = merge(conversations[read.id], read);
  for (const event of arriving[read.id] ?? []) conversation = fold(conversation, event, me.user);
  conversation = { ...conversation, generation: list.generation };
  const { [read.id]: _, ...others } = arriving;
  turn.state = { ...turn.state, arriving: others, conversations: { ...conversations, [read.id]: conversation } };
  return conversation;
}

/** Own messages that the history has need not be sent any more. */
function known(turn, messages) {
  for (const { ref } of messages) {
    if (ref && turn.state.outbox.some((entry) => entry.ref === ref)) outbox.remove(turn, ref);
  }
}

function peerCursor(turn, id, users) {
  const conversation = turn.state.conversations[id];
  const readSeq = users.find(({ user }) => user === conversation?.peer)?.readSeq ?? 0;
  if (!conversation || readSeq <= conversation.peerRead) return;
  const next = { ...conversation, peerRead: readSeq };
  turn.state = { ...turn.state, conversations: { ...turn.state.conversations, [id]: next } };
}

function learnPeers(turn, conversations) {
  const unnamed = conversations.filter(({ peer }) => peer && !(peer in turn.state.names));
  for (const { id } of unnamed.slice(0, NAMES_AT_ONCE)) {
    ask(turn, `peer:${id}`, { kind: "members", conversation: id, query: { limit: 2 }, once: true });
  }
}

/** The whole list was read: what neither it nor an event named since is no longer the user's. */
function forgetUnlisted(turn) {
  const { conversations, list, open } = turn.state;
  const kept = Object.values(conversations).filter(({ generation, id }) => generation === list.generation || id === open);
  if (kept.length === Object.keys(conversations).length) return;
  turn.state = { ...turn.state, conversations: Object.fromEntries(kept.map((one) => [one.id, one])) };
}

function unavailable(turn, id, reason) {
  const wasOpen = turn.state.open === id;
  const wasKnown = Boolean(turn.state.conversations[id]);
  removed(turn, id, "You no longer see");
  if (!wasOpen || wasKnown) return;
  notice(turn, errorWords(reason));
}
