// Positions in the log: `partition:sequence`, and `partition:sequence:index` for one outcome of a batch. Without an
// index a position means the whole batch.

/** The parts of a position; a whole batch has the index `Infinity`. */
export function parse(position) {
  const [partition, sequence, index] = position.split(":");
  return { partition, sequence: Number(sequence), index: index === undefined ? Infinity : Number(index) };
}

/** Negative where `a` is before `b`, 0 where they are the same; both of one partition. `null` is before everything. */
export function compare(a, b) {
  if (a === b) return 0;
  if (!a) return -1;
  if (!b) return 1;
  const [left, right] = [parse(a), parse(b)];
  if (left.sequence !== right.sequence) return left.sequence - right.sequence;
  return left.index === right.index ? 0 : left.index - right.index;
}

/** The newest batch seen of each partition, after `position` was seen as well. */
export function see(seen, position) {
  if (!position) return seen;
  const { partition, sequence } = parse(position);
  const known = seen[partition];
  if (known !== undefined && known >= sequence) return seen;
  return { ...seen, [partition]: sequence };
}

/**
 * The partition of a conversation, out of its id (41 bits of time, 10 bits of slot, 12 bits of counter) and the number
 * of partitions; `null` for an address by external id, or before a session has told the number.
 */
export function partitionOf(conversation, partitions) {
  if (!partitions || !/^[1-9][0-9]*$/.test(conversation)) return null;
  const slot = Number((BigInt(conversation) >> 12n) & 1023n);
  return String(slot % partitions);
}

/** `min_position` for a read of one conversation: never show less than was seen. */
export function minimumFor(conversation, seen, partitions) {
  const partition = partitionOf(conversation, partitions);
  const sequence = partition === null ? undefined : seen[partition];
  return sequence === undefined ? null : `${partition}:${sequence}`;
}

/** `min_position` for a read over all partitions, comma-separated. */
export function minimumOfAll(seen) {
  const all = Object.entries(seen).map(([partition, sequence]) => `${partition}:${sequence}`);
  return all.length === 0 ? null : all.join(",");
}
