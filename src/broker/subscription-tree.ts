/**
 * Which subscriptions match a topic: a tree of filter levels.
 *
 * Only online sessions stand in it one by one. Of offline ones a leaf knows just how many of
 * them must not miss a message, so a hundred thousand sleeping devices cost a publish nothing.
 */
import { parentOf } from '#instances';
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

class Node {
  /** Most nodes have one child, which needs no map; deep filters are chains of such nodes. */
  only: Node | undefined = undefined;
  children: Map<string, Node> | undefined = undefined;
  readonly parent: Node | undefined;
  readonly level: string;
  leaf: Leaf | undefined = undefined;

  constructor(parent: Node | undefined, level: string) {
    this.parent = parent;
    this.level = level;
  }

  child(level: string): Node | undefined {
    const { only } = this;
    if (only !== undefined) return only.level === level ? only : undefined;
    return this.children?.get(level);
  }

  add(level: string): Node {
    const node = new Node(this, level);
    if (this.only === undefined && this.children === undefined) {
      this.only = node;
      return node;
    }
    if (this.children === undefined) {
      this.children = new Map([[this.only!.level, this.only!]]);
      this.only = undefined;
    }
    this.children.set(level, node);
    return node;
  }

  remove(child: Node): void {
    if (this.only === child) this.only = undefined;
    else this.children?.delete(child.level);
    if (this.children?.size === 0) this.children = undefined;
  }

  get childless(): boolean {
    return this.only === undefined && this.children === undefined;
  }
}

/** Fans of change: how often filters changed that may match topics of one first level. */
const FAN_COUNT = 256;

export class SubscriptionTree {
  readonly #root = new Node(undefined, '');
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
    let node: Node | undefined = this.#root;
    for (const level of filter.split('/')) {
      node = node.child(level);
      if (node === undefined) return false;
    }
    return node.leaf !== undefined;
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
    const node = this.#walk(filter);
    if (node.leaf === undefined) {
      node.leaf = new Leaf();
      this.#filterCount++;
      this.#countWildcard(filter, 1);
    }
    change(node.leaf);
    if (node.leaf.empty) {
      node.leaf = undefined;
      this.#filterCount--;
      this.#countWildcard(filter, -1);
      prune(node);
    }
    const first = filter.charCodeAt(0);
    if (first === PLUS || first === HASH) this.#changes++;
    else this.#fans[this.fan(filter)]!++;
  }

  /** Calls `visit` with each leaf whose filter matches `topic`. */
  match(topic: string, visit: (leaf: Leaf) => void): void {
    const levels = topic.split('/');
    const dollar = topic.charCodeAt(0) === DOLLAR;
    let nodes: Node[] = [this.#root];
    for (let depth = 0; depth <= levels.length && nodes.length > 0; depth++) {
      const next: Node[] = [];
      const wild = depth > 0 || !dollar; // [MQTT-4.7.2-1]
      for (const node of nodes) {
        // `a/#` matches `a` as well: looked up one level past the topic's end, too.
        const multi = wild ? node.child('#') : undefined;
        if (multi?.leaf !== undefined) visit(multi.leaf);
        if (depth === levels.length) {
          if (node.leaf !== undefined) visit(node.leaf);
          continue;
        }
        const exact = node.child(levels[depth]!);
        if (exact !== undefined) next.push(exact);
        const single = wild ? node.child('+') : undefined;
        if (single !== undefined) next.push(single);
      }
      nodes = next;
    }
  }

  #countWildcard(filter: string, by: 1 | -1): void {
    if (!isWild(filter)) return;
    const first = parentOf(filter);
    const count = (this.#wildcards.get(first) ?? 0) + by;
    if (count === 0) this.#wildcards.delete(first);
    else this.#wildcards.set(first, count);
  }

  #walk(filter: string): Node {
    let node = this.#root;
    for (const level of filter.split('/')) {
      node = node.child(level) ?? node.add(level);
    }
    return node;
  }
}

/** It matches more than the one topic of its own name. */
export function isWild(filter: string): boolean {
  return filter.includes('+') || filter.endsWith('#');
}

function prune(leafless: Node): void {
  let node: Node | undefined = leafless;
  while (node?.parent !== undefined && node.leaf === undefined && node.childless) {
    node.parent.remove(node);
    node = node.parent;
  }
}

const PLUS = 0x2b;
const HASH = 0x23;
const DOLLAR = 0x24;
