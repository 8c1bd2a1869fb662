/**
 * The filters of one read, arranged so that a topic is judged once: exact ones in a map,
 * wildcards in a list.
 *
 * What a topic gets is the position after which it counts, the lowest of all filters that match
 * it, or `NEVER` [ML4] [ML6].
 *
 * @hot
 */
import { hasWildcard, type LogFilter, matchesFilter, type Position } from '#ports';

/** What `afterOf` says of a topic that no filter matches: no position lies after it. */
export const NEVER: Position = Number.POSITIVE_INFINITY;

export class FilterSet {
  readonly exact: ReadonlyMap<string, Position>;
  readonly wildcards: readonly LogFilter[];
  /** The lowest position from which any filter counts. */
  readonly lowest: Position;

  constructor(filters: readonly LogFilter[], after: Position) {
    const exact = new Map<string, Position>();
    const wildcards: LogFilter[] = [];
    let lowest = NEVER;
    for (let i = 0; i < filters.length; i++) {
      const filter = filters[i]!;
      const from = Math.max(after, filter.after);
      if (from < lowest) lowest = from;
      if (hasWildcard(filter.filter)) {
        wildcards.push({ filter: filter.filter, after: from });
      } else {
        const known = exact.get(filter.filter);
        if (known === undefined || from < known) exact.set(filter.filter, from);
      }
    }
    this.exact = exact;
    this.wildcards = wildcards;
    this.lowest = lowest;
  }

  /** Messages of `topic` count after this position. */
  afterOf(topic: string): Position {
    let after = this.exact.get(topic) ?? NEVER;
    for (let i = 0; i < this.wildcards.length; i++) {
      const wildcard = this.wildcards[i]!;
      if (wildcard.after < after && matchesFilter(wildcard.filter, topic)) after = wildcard.after;
    }
    return after;
  }
}
