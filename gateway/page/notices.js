// Short sentences that appear for a while.

const SHOWN_MS = 7000;

/** Says something to the user. */
export function notice(turn, text) {
  const { notices, nextSerial } = turn.state;
  const others = notices.filter((other) => other.text !== text);
  const next = { id: nextSerial, text, until: turn.now + SHOWN_MS };
  turn.state = { ...turn.state, nextSerial: nextSerial + 1, notices: [...others, next].slice(-3) };
}

/** Lets go what was shown long enough, and what the user waved away. */
export function expire(turn, dismissed = null) {
  const { notices } = turn.state;
  const kept = notices.filter((shown) => shown.until > turn.now && shown.id !== dismissed);
  if (kept.length !== notices.length) turn.state = { ...turn.state, notices: kept };
}
