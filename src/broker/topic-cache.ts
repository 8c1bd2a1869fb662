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
import type { FaultCode } from '#base';
import type { SubscriptionTree } from './subscription-tree.ts';
import { type Mailboxes, receiverOf } from './mailbox.ts';
import { createMailboxRoute, createRoute, NOWHERE, type Route } from './route.ts';

export class TopicEntry {
  /** Where the cache keeps the bytes, and since which beginning anew. */
  place = 0;
  era = 0;
  route: Route = NOWHERE;
  version: number = -1;
  readonly fan: number;
  /** The client whose P2P topic it is. */
  readonly receiver: string | undefined;
  /** The server's own: clients do not publish to it. */
  readonly reserved: boolean;
  /** The instance's rules were asked for this topic at that version of them, and said this. */
  checkedVersion = -1;
  fault: FaultCode | undefined = undefined;
  readonly topic: string;
  /** Of its name, in bytes. */
  readonly size: number;
  readonly hash: number;
  #bytes: Buffer | undefined = undefined;

  constructor(
    topic: string,
    size: number,
    hash: number,
    fan: number,
    receiver: string | undefined,
  ) {
    this.fan = fan;
    this.receiver = receiver;
    this.reserved = topic.startsWith('$SYS/');
    this.topic = topic;
    this.size = size;
    this.hash = hash;
  }

  /** Its name. Most frames are forwarded as they came, so it is made only when somebody asks. */
  get bytes(): Buffer {
    return (this.#bytes ??= Buffer.from(this.topic));
  }
}

/** Slots at the start; a power of two. They double while more than half are taken. */
const SLOT_COUNT_MIN = 1024;
const ARENA_BYTES_MIN = 64 * 1024;
const ARENA_BYTES_MAX = 32 * 1024 * 1024;
/** Bounds the memory of routes, which many subscribers make large. */
const ROUTE_WEIGHT_MAX = 4_000_000;

export class TopicCache {
  readonly #tree: SubscriptionTree;
  readonly #countMax: number;
  readonly #mailboxes: Mailboxes | undefined;
  readonly #seed: number;
  readonly #factor: number;
  #entries: (TopicEntry | undefined)[];
  /** For each entry, so that a look-up touches little memory: its hash, its place in the arena. */
  #slots: Int32Array;
  #arena: Buffer;
  #arenaFill = 0;
  #mask: number;
  #count = 0;
  #era = 1;
  /** Deliveries in the routes made since the cache was begun. */
  #weight = 0;

  /** `seed`: so that nobody can choose topics that collide. `mailboxes`: where there is P2P. */
  constructor(tree: SubscriptionTree, countMax: number, seed: number, mailboxes?: Mailboxes) {
    this.#mailboxes = mailboxes;
    this.#tree = tree;
    this.#countMax = countMax;
    this.#seed = seed | 0;
    this.#factor = Math.imul(seed ^ 0x5bd1_e995, 0x9e37_79b1) | 1;
    this.#mask = SLOT_COUNT_MIN - 1;
    this.#entries = emptySlots(SLOT_COUNT_MIN);
    this.#slots = new Int32Array(SLOT_COUNT_MIN * 2);
    this.#arena = Buffer.allocUnsafeSlow(ARENA_BYTES_MIN);
  }

  /** The entry of a topic name seen before, or `undefined`: check the name, then `add` it. */
  lookUp(bytes: Buffer, start: number, end: number): TopicEntry | undefined {
    const hash = this.#hash(bytes, start, end);
    const slots = this.#slots;
    let slot = hash & this.#mask;
    for (;;) {
      const found = slots[slot * 2]!;
      if (found === 0) return undefined;
      if (found === hash && this.#same(slots[slot * 2 + 1]!, bytes, start, end)) {
        return this.#entries[slot];
      }
      slot = (slot + 1) & this.#mask;
    }
  }

  /** True where `entry` is that of the topic name `bytes[start..end)`, and still in the cache. */
  holds(entry: TopicEntry, bytes: Buffer, start: number, end: number): boolean {
    return entry.era === this.#era && this.#same(entry.place, bytes, start, end);
  }

  /** Adds the topic name `bytes[start..end)`, which was checked. */
  add(bytes: Buffer, start: number, end: number): TopicEntry {
    const hash = this.#hash(bytes, start, end);
    const topic = bytes.toString('utf8', start, end);
    const size = end - start;
    const receiver = this.#mailboxes === undefined ? undefined : receiverOf(topic);
    const entry = new TopicEntry(topic, size, hash, this.#tree.fan(topic), receiver);
    this.route(entry);
    if (
      this.#count >= this.#countMax ||
      this.#arenaFill + size > ARENA_BYTES_MAX ||
      this.#weight > ROUTE_WEIGHT_MAX
    ) {
      this.#clear();
    }
    if (this.#count * 2 > this.#mask) this.#grow();
    entry.place = this.#store(bytes, start, end);
    entry.era = this.#era;
    this.#insert(entry);
    this.#count++;
    return entry;
  }

  /** The entry of a topic given as text. */
  entry(topic: string): TopicEntry {
    const bytes = Buffer.from(topic);
    return this.lookUp(bytes, 0, bytes.length) ?? this.add(bytes, 0, bytes.length);
  }

  /** Where messages of that topic go now. */
  route(entry: TopicEntry): Route {
    if (entry.receiver !== undefined) return this.#mailboxRoute(entry, entry.receiver);
    const version = this.#tree.version(entry.fan);
    if (entry.version !== version) {
      entry.route = createRoute(this.#tree, entry.topic);
      entry.version = version;
      this.#weight += entry.route.deliveries.length;
    }
    return entry.route;
  }

  #mailboxRoute(entry: TopicEntry, receiver: string): Route {
    const mailboxes = this.#mailboxes!;
    const version = mailboxes.version(receiver);
    if (entry.version !== version) {
      entry.route = createMailboxRoute(mailboxes.leaf(receiver));
      entry.version = version;
      this.#weight += entry.route.deliveries.length;
    }
    return entry.route;
  }

  /**
   * Three bytes a step: fewer than a step takes, so that what a factor nobody knows makes of one
   * difference cannot be taken back by another. Never 0, which is an empty slot.
   */
  #hash(bytes: Buffer, start: number, end: number): number {
    const factor = this.#factor;
    let hash = this.#seed ^ (end - start);
    let at = start;
    for (; at + 2 < end; at += 3) {
      const three = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
      hash = Math.imul(hash ^ three, factor);
    }
    for (; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, factor);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
    return ((hash ^ (hash >>> 13)) & 0x3fff_ffff) | 0x4000_0000;
  }

  /** Compares with `size, bytes` at `offset` of the arena. */
  #same(offset: number, bytes: Buffer, start: number, end: number): boolean {
    const arena = this.#arena;
    const size = (arena[offset]! << 8) | arena[offset + 1]!;
    if (size !== end - start) return false;
    for (let own = offset + 1 + size, at = end - 1; at >= start; own--, at--) {
      if (arena[own] !== bytes[at]) return false; // topics differ at their end rather than in front
    }
    return true;
  }

  #store(bytes: Buffer, start: number, end: number): number {
    const place = this.#arenaFill;
    const size = end - start;
    const fill = place + 2 + size;
    if (fill > this.#arena.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(fill, this.#arena.length * 2));
      this.#arena.copy(larger, 0, 0, place);
      this.#arena = larger;
    }
    this.#arena[place] = size >> 8;
    this.#arena[place + 1] = size & 0xff;
    bytes.copy(this.#arena, place + 2, start, end);
    this.#arenaFill = fill;
    return place;
  }

  #insert(entry: TopicEntry): void {
    let slot = entry.hash & this.#mask;
    while (this.#slots[slot * 2] !== 0) slot = (slot + 1) & this.#mask;
    this.#slots[slot * 2] = entry.hash;
    this.#slots[slot * 2 + 1] = entry.place;
    this.#entries[slot] = entry;
  }

  #grow(): void {
    const entries = this.#entries;
    this.#empty(entries.length * 2);
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i];
      if (entry !== undefined) this.#insert(entry);
    }
  }

  #clear(): void {
    this.#empty(SLOT_COUNT_MIN);
    this.#arena = Buffer.allocUnsafeSlow(ARENA_BYTES_MIN);
    this.#arenaFill = 0;
    this.#weight = 0;
    this.#count = 0;
    this.#era++;
  }

  #empty(slotCount: number): void {
    this.#entries = emptySlots(slotCount);
    this.#slots = new Int32Array(slotCount * 2);
    this.#mask = slotCount - 1;
  }
}

function emptySlots(size: number): (TopicEntry | undefined)[] {
  const slots: (TopicEntry | undefined)[] = [];
  for (let i = 0; i < size; i++) slots.push(undefined);
  return slots;
}
