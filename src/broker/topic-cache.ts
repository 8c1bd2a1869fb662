/**
 * Topics as bytes, and where their messages go: found without making a string.
 *
 * A publish names its topic in bytes. The cache finds the entry of those bytes by hash and
 * comparison; the entry holds the text, checked once, and the route, matched again only after a
 * subscription that may matter has changed. When full it is begun anew: bounded, and a topic
 * that comes back costs one match.
 *
 * @hot
 */
import type { SubscriptionTree } from './subscription-tree.ts';
import { createRoute, type Route } from './route.ts';

export class TopicEntry {
  readonly topic: string;
  readonly bytes: Buffer;
  readonly hash: number;
  readonly fan: number;
  /** The server's own: clients do not publish to it. */
  readonly reserved: boolean;
  route: Route;
  version: number;

  constructor(
    topic: string,
    bytes: Buffer,
    hash: number,
    fan: number,
    route: Route,
    version: number,
  ) {
    this.topic = topic;
    this.bytes = bytes;
    this.hash = hash;
    this.fan = fan;
    this.reserved = topic.startsWith('$SYS/');
    this.route = route;
    this.version = version;
  }
}

export class TopicCache {
  readonly #tree: SubscriptionTree;
  readonly #countMax: number;
  readonly #seed: number;
  #slots: (TopicEntry | undefined)[];
  #mask: number;
  #count = 0;

  /** `seed`: so that nobody can choose topics that collide. */
  constructor(tree: SubscriptionTree, countMax: number, seed: number) {
    this.#tree = tree;
    this.#countMax = countMax;
    this.#seed = seed | 0;
    this.#mask = 1023;
    this.#slots = emptySlots(1024);
  }

  /** The entry of a topic name seen before, or `undefined`: check the name, then `add` it. */
  lookUp(bytes: Buffer, start: number, end: number): TopicEntry | undefined {
    const hash = hashBytes(bytes, start, end, this.#seed);
    let slot = hash & this.#mask;
    for (;;) {
      const entry = this.#slots[slot];
      if (entry === undefined) return undefined;
      if (entry.hash === hash && sameBytes(entry.bytes, bytes, start, end)) return entry;
      slot = (slot + 1) & this.#mask;
    }
  }

  /** Adds a topic name that was checked; `bytes` become the cache's own. */
  add(bytes: Buffer): TopicEntry {
    const hash = hashBytes(bytes, 0, bytes.length, this.#seed);
    const topic = bytes.toString('utf8');
    const fan = this.#tree.fan(topic);
    const version = this.#tree.version(fan);
    const route = createRoute(this.#tree, topic);
    const entry = new TopicEntry(topic, bytes, hash, fan, route, version);
    if (this.#count >= this.#countMax) this.#clear();
    if (this.#count * 2 > this.#mask) this.#grow();
    this.#insert(entry);
    this.#count++;
    return entry;
  }

  /** The entry of a topic given as text. */
  entry(topic: string): TopicEntry {
    const bytes = Buffer.from(topic);
    return this.lookUp(bytes, 0, bytes.length) ?? this.add(bytes);
  }

  /** Where messages of that topic go now. */
  route(entry: TopicEntry): Route {
    const version = this.#tree.version(entry.fan);
    if (entry.version !== version) {
      entry.route = createRoute(this.#tree, entry.topic);
      entry.version = version;
    }
    return entry.route;
  }

  #insert(entry: TopicEntry): void {
    let slot = entry.hash & this.#mask;
    while (this.#slots[slot] !== undefined) slot = (slot + 1) & this.#mask;
    this.#slots[slot] = entry;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = emptySlots(old.length * 2);
    this.#mask = this.#slots.length - 1;
    for (let i = 0; i < old.length; i++) {
      const entry = old[i];
      if (entry !== undefined) this.#insert(entry);
    }
  }

  #clear(): void {
    this.#slots = emptySlots(this.#slots.length);
    this.#count = 0;
  }
}

/** True where `bytes[start..end)` is exactly `own`. */
export function sameBytes(own: Buffer, bytes: Buffer, start: number, end: number): boolean {
  const size = own.length;
  if (size !== end - start) return false;
  for (let i = size - 1, at = end - 1; i >= 0; i--, at--) {
    if (own[i] !== bytes[at]) return false; // topics differ at their end rather than in front
  }
  return true;
}

function hashBytes(bytes: Buffer, start: number, end: number, seed: number): number {
  let hash = seed;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return (hash ^ (hash >>> 15)) & 0x3fff_ffff;
}

function emptySlots(size: number): (TopicEntry | undefined)[] {
  const slots: (TopicEntry | undefined)[] = [];
  for (let i = 0; i < size; i++) slots.push(undefined);
  return slots;
}
