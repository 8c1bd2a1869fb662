/**
 * The filters of a read, arranged so that a topic is judged once and at a cost that hardly grows
 * with their number: exact ones in a map, wildcards in a tree where they are many.
 *
 * Made once by whoever holds the filters, for as many reads as it likes.
 */
import { FilterTree } from './filter-tree.ts';
import type { Position } from './message-log.ts';
import { hasWildcard, literalPrefix, matchesFilter } from './topic-filter.ts';

/** No position lies after it: what `afterOf` says of a topic that no filter matches. */
export const NEVER: Position = Number.POSITIVE_INFINITY;

export interface LogFilter {
  readonly filter: string;
  /** Only messages after this position count for this filter; `NEVER`: none. */
  readonly after: Position;
}

/** So few wildcards are tried one by one: a tree would cost more than it saves. */
const LISTED_COUNT_MAX = 8;

export class FilterSet<F extends LogFilter = LogFilter> {
  /** Topics asked for by name, each with the position it counts after. */
  readonly exact: ReadonlyMap<string, Position>;
  /** The lowest position from which any filter counts. */
  readonly lowest: Position;
  readonly #wildcards: readonly F[];
  readonly #tree: FilterTree<F[]> | undefined;
  #prefixes: readonly string[] | undefined = undefined;

  constructor(filters: readonly F[]) {
    const exact = new Map<string, Position>();
    const wildcards: F[] = [];
    let lowest = NEVER;
    for (const one of filters) {
      const { filter, after } = one;
      if (after < lowest) lowest = after;
      if (hasWildcard(filter)) wildcards.push(one);
      else if (after < (exact.get(filter) ?? NEVER)) exact.set(filter, after);
    }
    this.exact = exact;
    this.lowest = lowest;
    this.#wildcards = wildcards;
    this.#tree = wildcards.length > LISTED_COUNT_MAX ? treeOf(wildcards) : undefined;
  }

  /**
   * What every topic that a wildcard asks for begins with, one of these. None of them begins
   * with another.
   */
  get prefixes(): readonly string[] {
    this.#prefixes ??= shortest(this.#wildcards);
    return this.#prefixes;
  }

  /** Messages of `topic` count after this position, the lowest of all that match [ML4] [ML6]. */
  afterOf(topic: string): Position {
    let lowest = this.exact.get(topic) ?? NEVER;
    this.eachWildcard(topic, ({ after }) => {
      if (after < lowest) lowest = after;
    });
    return lowest;
  }

  /** Calls `visit` with each filter with a wildcard that matches `topic`. */
  eachWildcard(topic: string, visit: (filter: F) => void): void {
    if (this.#tree !== undefined) {
      this.#tree.match(topic, (same) => {
        for (const one of same) visit(one);
      });
      return;
    }
    for (const one of this.#wildcards) if (matchesFilter(one.filter, topic)) visit(one);
  }
}

function treeOf<F extends LogFilter>(wildcards: readonly F[]): FilterTree<F[]> {
  const tree = new FilterTree<F[]>();
  for (const one of wildcards) {
    const node = tree.make(one.filter);
    if (node.value === undefined) node.value = [one];
    else node.value.push(one);
  }
  return tree;
}

function shortest(wildcards: readonly LogFilter[]): readonly string[] {
  const asked = wildcards.filter(({ after }) => after < NEVER);
  const sorted = asked.map(({ filter }) => literalPrefix(filter)).sort();
  const prefixes: string[] = [];
  for (const prefix of sorted) {
    const last = prefixes.at(-1);
    if (last === undefined || !prefix.startsWith(last)) prefixes.push(prefix);
  }
  return prefixes;
}
