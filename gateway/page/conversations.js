// What is known of each conversation: reads merged with pushed events, pure. A position (`version`) decides which of
// two is newer, so that the order in which they come does not matter.

import { compare } from "./positions.js";

/** A message as a read or an event tells it. */
export function messageOf(wire) {
  return {
    seq: wire.seq,
    message: wire.message,
    sender: wire.sender,
    at: Date.parse(wire.at),
    text: wire.text,
    masked: wire.masked ?? false,
    ref: wire.ref ?? null,
  };
}

/** A conversation as a read tells it. */
export function conversationOf(wire) {
  return {
    id: wire.conversation,
    kind: wire.kind,
    visibility: wire.visibility,
    name: wire.name ?? null,
    external: wire.external ?? null,
    peer: wire.peer ?? null,
    member: wire.member,
    memberCount: wire.member_count,
    lastSeq: wire.last_seq,
    last: wire.last_message ? messageOf(wire.last_message) : null,
    readSeq: wire.read_seq,
    imported: importedOf(wire),
    peerRead: 0,
    activeAt: Date.parse(wire.active_at),
    version: wire.version,
  };
}

/** Seqs of imported lines, which nobody has unread, as runs `[first, last]`. A read tells only how many there are behind the cursor. */
function importedOf({ last_seq: last, read_seq: read, unread }) {
  const lines = last - read - (unread ?? last - read);
  return lines > 0 ? [[read + 1, read + lines]] : [];
}

/** What was known, with what a read says: the newer of the two; cursors only rise. */
export function merge(known, read) {
  if (!known) return read;
  const newer = compare(read.version, known.version) >= 0 ? read : known;
  return {
    ...newer,
    readSeq: Math.max(known.readSeq, read.readSeq),
    peerRead: Math.max(known.peerRead, read.peerRead),
  };
}

/** A conversation after an event. What it holds already is not applied again. */
export function fold(conversation, event, me) {
  if (compare(event.position, conversation.version) <= 0) return conversation;
  const change = FOLDS[event.event]?.(conversation, event, event.sender === me, me);
  return change ? { ...conversation, ...change, version: event.position } : conversation;
}

const active = (conversation, event) => Math.max(conversation.activeAt, Date.parse(event.at));

const FOLDS = {
  "message.sent": (conversation, event, mine) => ({
    lastSeq: Math.max(conversation.lastSeq, event.seq),
    last: event.seq >= (conversation.last?.seq ?? 0) ? messageOf(event) : conversation.last,
    readSeq: mine ? Math.max(conversation.readSeq, event.seq) : conversation.readSeq,
    activeAt: active(conversation, event),
  }),
  "conversation.read": (conversation, event, mine) => {
    if (mine) return { readSeq: Math.max(conversation.readSeq, event.seq) };
    return event.sender === conversation.peer ? { peerRead: Math.max(conversation.peerRead, event.seq) } : null;
  },
  "conversation.added": (conversation, event, _mine, me) => ({
    memberCount: event.member_count ?? conversation.memberCount,
    activeAt: active(conversation, event),
    ...(event.members?.includes(me) ? { member: true, readSeq: Math.max(conversation.readSeq, event.seq ?? 0) } : {}),
  }),
  "conversation.joined": (conversation, event, mine) => ({
    memberCount: event.member_count ?? conversation.memberCount,
    activeAt: active(conversation, event),
    ...(mine ? { member: true, readSeq: Math.max(conversation.readSeq, event.seq ?? 0) } : {}),
  }),
  "conversation.left": (conversation, event, mine) => ({
    memberCount: event.member_count ?? conversation.memberCount,
    activeAt: active(conversation, event),
    ...(mine ? { member: false } : {}),
  }),
  "conversation.imported": (conversation, event) => {
    const [from, to] = [Math.max(conversation.lastSeq + 1, event.first ?? Infinity), event.seq ?? 0];
    if (from > to) return {};
    const unread = conversation.imported.filter(([, last]) => last > conversation.readSeq);
    const before = unread.at(-1);
    const imported = before?.[1] === from - 1 ? [...unread.slice(0, -1), [before[0], to]] : [...unread, [from, to]];
    return { lastSeq: to, imported };
  },
  "conversation.renamed": (conversation, event) => ({ name: event.name, activeAt: active(conversation, event) }),
};

/** All conversations, one of which is known to go on to `lastSeq` (and to be read so far, by what `more` says). */
export function raised(conversations, id, lastSeq, more = {}) {
  const conversation = conversations[id];
  if (!conversation || conversation.lastSeq >= lastSeq) return conversations;
  return { ...conversations, [id]: { ...conversation, lastSeq, ...more } };
}

/** Messages that the reader has not read; imported lines are not counted. */
export function unreadOf({ member, lastSeq, readSeq, imported }) {
  if (!member) return 0;
  const lines = imported.reduce((sum, [from, to]) => sum + Math.max(0, to - Math.max(from - 1, readSeq)), 0);
  return Math.max(0, lastSeq - readSeq - lines);
}

/** The reader's conversations, newest activity first. */
export function sorted(conversations) {
  const mine = Object.values(conversations).filter((conversation) => conversation.member);
  return mine.sort((a, b) => b.activeAt - a.activeAt || (a.id < b.id ? 1 : -1));
}
