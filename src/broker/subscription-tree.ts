/**
 * Which subscriptions match a topic: what each filter leads to, and when that changed.
 *
 * Only online sessions stand in it one by one. Of offline ones a leaf knows just how many of
 * them must not miss a message, so a hundred thousand sleeping devices cost a publish nothing.
 */
import { parentOf } from '#instances';
import { FilterNode, FilterTree } from '#ports';
import type { Delivery } from './subscription.ts';
import type { SharedGroup } from './shared-group.ts';

/** All that one filter leads to. */
export class Leaf {
  readonly #deliveries: Delivery[] = [];
  readonly groups: SharedGroup[] = [];
  /** Offline sessions that hold this filter at QoS 1 or 2. */
  offlineCount = 0;

  /** In no particular order. */
  get deliveries(): readonly Delivery[] {
    return this.#deliveries;
  }

  add(delivery: Delivery): void {
    delivery.slot = this.#deliveries.push(delivery) - 1;
  }

  /** The last one takes its place: a hundred thousand may leave at once. */
  remove(delivery: Delivery): void {
    const last = this.#deliveries.pop()!;
    if (last === delivery) return;
    last.slot = delivery.slot;
    this.#deliveries[last.slot] = last;
  }

  get empty(): boolean {
    return this.#deliveries.length === 0 && this.groups.length === 0 && this.offlineCount === 0;
  }
}

/** Fans of change: how often filters changed that may match topics of one first level. */
const FAN_COUNT = 256;

export class SubscriptionTree {
  readonly #leaves = new FilterTree<Leaf>();
  readonly #fans = new Uint32Array(FAN_COUNT);
  /** Filters with wildcards, by first level. */
  readonly #wildcards = new Map<string, number>();
  #changes = 0;
  #filterCount = 0;

  /** Filters held by somebody. */
  get filterCount(): number {
    return this.#filterCount;
  }

  /** Somebody holds exactly this filter. */
  holds(filter: string): boolean {
    return this.#leaves.find(filter)?.value !== undefined;
  }

  /** How many filters with wildcards somebody holds that begin with the same level. */
  wildcardCount(filter: string): number {
    return this.#wildcards.get(parentOf(filter)) ?? 0;
  }

  /** Grows whenever what matches topics of that fan may have changed. */
  version(fan: number): number {
    return this.#changes + this.#fans[fan]!;
  }

  /** The fan of a topic: by its first level. */
  fan(topic: string): number {
    const end = topic.indexOf('/');
    const size = end < 0 ? topic.length : end;
    let hash = 0;
    for (let i = 0; i < size; i++) hash = (hash * 31 + topic.charCodeAt(i)) | 0;
    return hash & (FAN_COUNT - 1);
  }

  /** Changes the leaf of `filter`, making and removing it as needed. */
  change(filter: string, change: (leaf: Leaf) => void): void {
    const node = this.#leaves.make(filter);
    if (node.value === undefined) {
      node.value = new Leaf();
      this.#filterCount++;
      this.#countWildcard(filter, 1);
    }
    change(node.value);
    if (node.value.empty) {
      node.value = undefined;
      this.#filterCount--;
      this.#countWildcard(filter, -1);
      FilterNode.prune(node);
    }
    const first = filter.charCodeAt(0);
    if (first === PLUS || first === HASH) this.#changes++;
    else this.#fans[this.fan(filter)]!++;
  }

  /** Calls `visit` with each leaf whose filter matches `topic`. */
  match(topic: string, visit: (leaf: Leaf) => void): void {
    this.#leaves.match(topic, visit);
  }

  #countWildcard(filter: string, by: 1 | -1): void {
    if (!isWild(filter)) return;
    const first = parentOf(filter);
    const count = (this.#wildcards.get(first) ?? 0) + by;
    if (count === 0) this.#wildcards.delete(first);
    else this.#wildcards.set(first, count);
  }
}

/** It matches more than the one topic of its own name. */
export function isWild(filter: string): boolean {
  return filter.includes('+') || filter.endsWith('#');
}

const PLUS = 0x2b;
const HASH = 0x23;
