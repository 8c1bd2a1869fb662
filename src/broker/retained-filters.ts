/**
 * The filters that one walk through the retained messages serves: which parts of the table it has
 * to read, and which of the filters match a topic.
 */
import { FilterTree, hasWildcard, literalPrefix, matchesFilter } from '#ports';
import type { Subscription } from './subscription.ts';

/** With no more filters than this, trying each is as quick as a tree. */
const TRIED_COUNT_MAX = 8;

/** A part of the table. No two of one walk meet; they lie in the order of their bytes. */
export interface RetainedRange {
  /** What its topics begin with; where it is `exact`, the only topic. */
  readonly prefix: string;
  readonly exact: boolean;
  /** The filters whose messages lie here. */
  readonly filters: readonly string[];
}

export class RetainedFilters {
  readonly ranges: readonly RetainedRange[];
  readonly #filters: readonly string[];
  readonly #tree: FilterTree<string> | undefined;

  constructor(subscriptions: readonly Subscription[]) {
    this.#filters = subscriptions.map(({ filter }) => filter).sort();
    this.ranges = rangesOf(this.#filters);
    if (subscriptions.length <= TRIED_COUNT_MAX) return;
    this.#tree = new FilterTree();
    for (const filter of this.#filters) this.#tree.make(filter).value = filter;
  }

  /** Those that match a topic, always in the same order. */
  matching(topic: string): readonly string[] {
    if (this.#tree === undefined) {
      return this.#filters.filter((filter) => matchesFilter(filter, topic));
    }
    const found: string[] = [];
    this.#tree.match(topic, (filter) => found.push(filter));
    return found.sort();
  }

  /** The first range that is not done for somebody who has come as far as `topic`. */
  rangeAt(topic: string): number {
    const bytes = Buffer.from(topic);
    const done = ({ prefix, exact }: RetainedRange): boolean =>
      (exact ? topic !== prefix : !topic.startsWith(prefix)) &&
      Buffer.compare(Buffer.from(prefix), bytes) < 0;
    const at = this.ranges.findIndex((range) => !done(range));
    return at < 0 ? this.ranges.length : at;
  }
}

function rangesOf(filters: readonly string[]): RetainedRange[] {
  const parts = filters.map((filter) => {
    const exact = !hasWildcard(filter);
    const prefix = literalPrefix(filter);
    return { filter, prefix, exact, bytes: Buffer.from(prefix) };
  });
  // A prefix comes before all that begins with it, so that it takes them in.
  parts.sort((a, b) => Buffer.compare(a.bytes, b.bytes) || Number(a.exact) - Number(b.exact));
  const ranges: { prefix: string; exact: boolean; filters: string[] }[] = [];
  for (const { filter, prefix, exact } of parts) {
    const last = ranges.at(-1);
    if (last !== undefined && !last.exact && prefix.startsWith(last.prefix)) {
      last.filters.push(filter);
    } else ranges.push({ prefix, exact, filters: [filter] });
  }
  return ranges;
}
