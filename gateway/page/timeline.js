// The messages of the open conversation that are on the page: one stretch without a hole, at most 600 long. It follows
// the conversation's end until it is so long that its newest part was let go (`following`).

/** Rows kept on the page; more are let go at the far end, and read again on the way back. */
export const ROWS_MAX = 600;
/** Messages that came before those between them and the stretch; more are read again. */
const AHEAD_MAX = 1000;

/** Nothing read yet. `unreadFrom` is the first seq that was unread when the conversation was opened, or `null`. */
export function start(conversation, unreadFrom) {
  return {
    conversation, unreadFrom, messages: [], loaded: false, moreBefore: false, following: false, ahead: {},
    behindSince: null,
  };
}

/** Seq of the newest message in the stretch; 0 where there is none. */
export const lastOf = (timeline) => timeline.messages.at(-1)?.seq ?? 0;
/** Seq of the oldest message in the stretch; 0 where there is none. */
export const firstOf = (timeline) => timeline.messages[0]?.seq ?? 0;

/** The first page. */
export function first(timeline, messages, { moreBefore, moreAfter }) {
  return drained({ ...timeline, messages, loaded: true, moreBefore, following: !moreAfter });
}

/** An older page, before the oldest message. */
export function prepend(timeline, page, { moreBefore }) {
  const oldest = firstOf(timeline);
  const messages = [...page.filter((message) => message.seq < oldest), ...timeline.messages];
  const whole = { ...timeline, messages, moreBefore };
  if (messages.length <= ROWS_MAX) return whole;
  return { ...whole, messages: messages.slice(0, ROWS_MAX), following: false, ahead: {} };
}

/** A newer page, after the newest message. */
export function append(timeline, page, { moreAfter }) {
  const newest = lastOf(timeline);
  const messages = [...timeline.messages, ...page.filter((message) => message.seq > newest)];
  return trimmedFront(drained({ ...timeline, messages, following: !moreAfter }));
}

/** A message that was just sent by anybody. What is not next is kept aside, and `hasGap` says so. */
export function arrive(timeline, message, atEnd) {
  const newest = lastOf(timeline);
  if (message.seq <= newest || (timeline.loaded && !timeline.following)) return timeline;
  if (timeline.loaded && message.seq === newest + 1) {
    if (!atEnd && timeline.messages.length >= ROWS_MAX) return { ...timeline, following: false, ahead: {} };
    const next = drained({ ...timeline, messages: [...timeline.messages, message] });
    return atEnd ? trimmedFront(next) : next;
  }
  if (Object.keys(timeline.ahead).length >= AHEAD_MAX) return timeline;
  return { ...timeline, ahead: { ...timeline.ahead, [message.seq]: message } };
}

/** Whether messages between the stretch and those that came after it are missing. */
export const hasGap = ({ following, ahead }) => following && Object.keys(ahead).length > 0;

/** Moves what has become next from aside into the stretch. */
function drained(timeline) {
  const aside = Object.values(timeline.ahead);
  if (aside.length === 0) return timeline;
  if (!timeline.following) return timeline;
  const messages = [...timeline.messages];
  let newest = messages.at(-1)?.seq ?? 0;
  while (timeline.ahead[newest + 1]) messages.push(timeline.ahead[(newest += 1)]);
  const left = aside.filter((message) => message.seq > newest).map((message) => [message.seq, message]);
  return { ...timeline, messages, ahead: Object.fromEntries(left) };
}

function trimmedFront(timeline) {
  const extra = timeline.messages.length - ROWS_MAX;
  return extra > 0 ? { ...timeline, messages: timeline.messages.slice(extra), moreBefore: true } : timeline;
}
