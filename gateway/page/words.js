// What the page says to people: errors, close codes, names, times. Texts that may hold foreign words in a plain string
// (titles, labels) isolate them by characters, since there is no element to do it.

const ERRORS = {
  invalid_field: "Natter did not accept that",
  unauthenticated: "Your token is not accepted any more. Get another one.",
  forbidden: "Your token may not do that.",
  rate_limited: "Too fast for the server; trying again in a moment.",
  overloaded: "The server is busy; trying again in a moment.",
  unavailable: "Part of the server is away; trying again.",
  outcome_unknown: "The server did not answer in time; asking again.",
  behind: "The server is catching up.",
  history_behind: "The history is catching up; trying again.",
  not_found: "There is no such conversation, or you may not see it.",
  internal: "Something is broken on the server; trying again.",
  too_large: "That is too large to send.",
  not_member: "You are not a member of this conversation.",
  already_exists: "Another conversation has that external id.",
  conflict: "This was sent before with other content.",
  expired: "It waited too long to be stored; sending it again.",
  wrong_kind: "This kind of conversation does not allow that.",
  text_too_long: "The text is longer than this application allows.",
  rejected: "The text contains words that are not allowed here.",
  refs_full: "Too many messages within two minutes; slowing down.",
  too_many_members: "The conversation is full.",
  network: "The server cannot be reached; trying again.",
};

/** An error in words. Field errors keep the server's own sentence, which names the field and the limit. */
export function errorWords(error) {
  const words = ERRORS[error.code] ?? "The server refused that";
  if (words.endsWith(".")) return words;
  return error.message ? `${words}: ${error.message}.` : `${words}.`;
}

const RETRYABLE = new Set([
  "rate_limited", "overloaded", "unavailable", "outcome_unknown", "behind", "history_behind", "internal", "expired",
  "refs_full", "network",
]);

/** Whether the same request may succeed later. */
export function retryable(error) {
  return RETRYABLE.has(error.code) || Boolean(error.retry_after_ms);
}

const CLOSES = {
  1000: "The server ended the session.",
  1002: "The server did not understand this page.",
  1003: "The server did not understand this page.",
  1007: "The server did not understand this page.",
  1009: "A message was too large for the server.",
  4000: "The server is restarting.",
  4001: "Some events were missed; reading them again.",
  4002: "This connection was too slow.",
  4003: "The server did not hear from this page.",
  4004: "Part of the server is away.",
  4500: "Your token has expired. Get another one.",
  4501: "The server did not understand this page.",
};

/** A socket's close code in words. */
export function closeWords(code) {
  if (CLOSES[code]) return CLOSES[code];
  return code >= 4500 ? `The server ended the session (code ${code}).` : "The connection was lost.";
}

const CONTROLS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A foreign text for use inside a plain string: its own direction, without reach beyond its end. */
export function isolated(text) {
  return `\u2068${text.replace(CONTROLS, "")}\u2069`;
}

/** What a conversation is called; `names` are the display names known. */
export function titleOf(conversation, names) {
  if (conversation.name) return conversation.name;
  if (conversation.peer) return names[conversation.peer] ?? conversation.peer;
  return conversation.external ?? "Unnamed group";
}

/** One or two letters for an avatar. */
export function initials(name) {
  const words = name.trim().split(/[\s._-]+/u).filter(Boolean);
  const letters = words.slice(0, 2).map((word) => [...word].find((c) => /[\p{L}\p{N}]/u.test(c)) ?? "");
  return letters.join("").toLocaleUpperCase() || "·";
}

/** One of eight colours, the same for the same text. */
export function hueOf(text) {
  let hash = 7;
  for (const character of text) hash = (hash * 31 + character.codePointAt(0)) % 9973;
  return hash % 8;
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const DATE_YEAR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** `14:03`. */
export const timeOf = (ms) => TIME.format(ms);
/** The whole date and time. */
export const fullTimeOf = (ms) => FULL.format(ms);

/** A number that is the same for all times of one local day. */
export function dayOf(ms) {
  const date = new Date(ms);
  return date.getFullYear() * 10_000 + (date.getMonth() + 1) * 100 + date.getDate();
}

/** A day as a heading: today, yesterday, or the date. */
export function dayWords(ms, now) {
  if (dayOf(ms) === dayOf(now)) return "Today";
  if (dayOf(ms) === dayOf(now - 86_400_000)) return "Yesterday";
  return DAY.format(ms);
}

/** A time as short as it can be understood, for the list. */
export function shortTimeOf(ms, now) {
  if (dayOf(ms) === dayOf(now)) return TIME.format(ms);
  if (now - ms < 6 * 86_400_000 && ms < now) return WEEKDAY.format(ms);
  return new Date(ms).getFullYear() === new Date(now).getFullYear() ? DATE.format(ms) : DATE_YEAR.format(ms);
}

/** `1 member`, `12 members`. */
export const membersWords = (count) => (count === 1 ? "1 member" : `${count.toLocaleString()} members`);

/** The length of a text as the server counts it: in Unicode scalars. */
export function scalars(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}
