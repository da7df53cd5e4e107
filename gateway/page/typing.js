// Who is typing where. A signal is at most once: it holds for five seconds, and is given at most every two and a half.

const HOLDS_MS = 5000;
const EVERY_MS = 2500;

/** Somebody else types. */
export function heard(turn, { conversation, sender }) {
  const { typing, me } = turn.state;
  if (sender === me.user) return;
  const there = { ...typing[conversation], [sender]: turn.now + HOLDS_MS };
  turn.state = { ...turn.state, typing: { ...typing, [conversation]: there } };
}

/** Somebody's message came: no longer typing. */
export function wrote(turn, conversation, sender) {
  const there = turn.state.typing[conversation];
  if (!there?.[sender]) return;
  const { [sender]: _, ...left } = there;
  turn.state = { ...turn.state, typing: { ...turn.state.typing, [conversation]: left } };
}

/** Forgets who was not heard of for five seconds. */
export function expire(turn) {
  const { typing } = turn.state;
  const over = (until) => until <= turn.now;
  if (!Object.values(typing).some((there) => Object.keys(there).length === 0 || Object.values(there).some(over))) return;
  const kept = Object.entries(typing)
    .map(([id, there]) => [id, Object.fromEntries(Object.entries(there).filter(([, until]) => !over(until)))])
    .filter(([, there]) => Object.keys(there).length > 0);
  turn.state = { ...turn.state, typing: Object.fromEntries(kept) };
}

/** The user types here. */
export function typed(turn, { conversation }) {
  const { typingSent } = turn.state;
  const at = typingSent.conversation === conversation ? typingSent.at : -Infinity;
  if (at === typingSent.at && typingSent.wanted) return;
  turn.state = { ...turn.state, typingSent: { conversation, at, wanted: true } };
}

/** The user has sent what was typed. */
export function finished(turn) {
  turn.state = { ...turn.state, typingSent: { ...turn.state.typingSent, wanted: false } };
}

/** Tells that the user types, when it is time again: the server drops what comes sooner. */
export function settle(turn) {
  const { connection, typingSent: { conversation, at, wanted } } = turn.state;
  if (!wanted || connection.phase !== "open" || turn.now - at < EVERY_MS) return;
  turn.state = { ...turn.state, typingSent: { conversation, at: turn.now, wanted: false } };
  turn.actions.push({ do: "send", frame: { signal: "typing", conversation } });
}
