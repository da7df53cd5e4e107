// How long to wait before trying again. Randomness comes in as a number from 0 to 1, so that tests decide it.

const FIRST_MS = 400;
const LONGEST_MS = 20_000;

/** Doubles with every attempt up to 20 s; half of it is jitter, so that clients do not come back all at once. */
export function delayMs(attempt, random) {
  const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.round(full / 2 + (full / 2) * random);
}
