/**
 * Where the messages of a topic lie: chunks in LMDB, and behind them the tail in memory.
 *
 * A chunk lists the entries one topic got between two times of applying, so that a hot topic
 * costs few writes. Chunks may overlap after a crash; a cursor never goes back, so nothing is
 * seen twice.
 *
 * @hot
 */
import type { Position } from '#ports';
import type { Cursor } from '../cursor-heap.ts';
import {
  type Bytes,
  chunkIsLong,
  chunkKey,
  POSITION_BYTES,
  prefixRange,
  readPosition,
  successor,
  topicKey,
  topicOfChunk,
} from './database.ts';
import type { LmdbInstanceLog } from './instance-log.ts';
import type { Place } from './record.ts';

const CHUNK_ENTRIES = 512;
const ENTRY_BYTES = 16;
const SEPARATOR_BYTES = 1;
/** Looked at before the index is searched for a place among more of them. */
const NEWEST_CHUNKS = 4;
/** Found in one search, as long as they are small. */
const CHUNKS_AHEAD = 16;
const BYTES_AHEAD = 8192;

interface Chunk {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** The chunks for the first `length` numbers of `entries`; `floor` and older are left out. */
export function chunksOf(
  topic: Uint8Array,
  instance: number,
  entries: readonly number[],
  range: { readonly length: number; readonly floor: Position },
): { readonly key: Buffer; readonly value: Buffer }[] {
  const chunks: { key: Buffer; value: Buffer }[] = [];
  const base = topicKey(instance, topic);
  let from = 0;
  while (from < range.length && entries[from]! <= range.floor) from += 2;
  while (from < range.length) {
    const to = Math.min(range.length, from + CHUNK_ENTRIES * 2);
    const key = chunkKey(base, entries[from]!);
    const head = chunkIsLong(key) ? topic.length : 0;
    const value = Buffer.allocUnsafe((head === 0 ? 0 : 4 + head) + (to - from) * 8);
    let at = 0;
    if (head > 0) {
      value.writeUInt32LE(head, 0);
      value.set(topic, 4);
      at = 4 + head;
    }
    for (let i = from; i < to; i++) {
      value.writeDoubleLE(entries[i]!, at);
      at += 8;
    }
    chunks.push({ key, value });
    from = to;
  }
  return chunks;
}

function headBytes(key: Buffer, value: Buffer): number {
  return chunkIsLong(key) ? 4 + value.readUInt32LE(0) : 0;
}

/** The oldest position a chunk holds. */
function chunkStart(key: Buffer): Position {
  return readPosition(key, key.length - POSITION_BYTES);
}

/** The newest position a chunk holds. */
export function chunkEnd(value: Buffer): Position {
  return value.readDoubleLE(value.length - ENTRY_BYTES);
}

/** The topic a chunk belongs to. */
function chunkTopic(key: Buffer, value: Buffer): string {
  if (chunkIsLong(key)) return value.toString('utf8', 4, headBytes(key, value));
  return topicOfChunk(key).toString('utf8', 4, topicOfChunk(key).length - SEPARATOR_BYTES);
}

/** Walks the entries of one topic, oldest first. */
export class TopicCursor implements Cursor {
  position: Position;
  place: Place = 0;
  readonly topic: string;
  readonly #log: LmdbInstanceLog;
  readonly #index: Bytes;
  readonly #base: Buffer;
  /** The chunk being read, and where in it. */
  #chunk: DataView | undefined = undefined;
  #at = 0;
  /** Chunks found and not entered, the oldest one last. */
  readonly #ahead: Chunk[] = [];
  /** The key of the newest chunk found, or what lies before all of them. */
  #found: Buffer;
  /** The index had no chunk beyond. */
  #ended = false;
  /** How often it had been written by then. */
  #written = 0;

  /**
   * Stands before the first entry after `after`: call `advance` to reach it. `isNear`: the topic's
   * newest chunks are looked at first, which costs a search where `after` lies before them.
   */
  constructor(log: LmdbInstanceLog, index: Bytes, topic: string, after: Position, isNear: boolean) {
    this.#log = log;
    this.#index = index;
    this.topic = topic;
    this.position = after;
    this.#base = topicKey(log.number, Buffer.from(topic));
    this.#found = this.#base;
    const tail = log.tail(topic);
    if (tail?.covers(after) === true) return;
    if (!isNear || !this.#findNewest()) this.#findFrom(after);
  }

  advance(): boolean {
    for (;;) {
      const chunk = this.#chunk;
      if (chunk === undefined) {
        const tail = this.#log.tail(this.topic);
        if (this.#ahead.length === 0 && tail?.covers(this.position)) return this.#inTail();
        if (!this.#nextChunk()) return this.#inTail();
        continue;
      }
      while (this.#at < chunk.byteLength) {
        const position = chunk.getFloat64(this.#at, true);
        this.#at += ENTRY_BYTES;
        if (position <= this.position) continue;
        this.position = position;
        this.place = chunk.getFloat64(this.#at - 8, true);
        return true;
      }
      this.#chunk = undefined;
    }
  }

  /**
   * Looks from the newest chunk back: whoever is behind mostly is not far behind, and then all is
   * found in one search. False: there are more chunks.
   */
  #findNewest(): boolean {
    const range = { start: successor(this.#base), end: this.#base, reverse: true };
    this.#written = this.#log.shared.written;
    for (const chunk of this.#index.getRange({ ...range, limit: NEWEST_CHUNKS + 1 })) {
      if (this.#ahead.length === NEWEST_CHUNKS) {
        this.#ahead.length = 0;
        return false;
      }
      this.#ahead.push(chunk);
      if (chunkStart(chunk.key) <= this.position) break;
    }
    if (this.#ahead.length > 0) this.#found = this.#ahead[0]!.key;
    this.#ended = true;
    return true;
  }

  /** Looks for the chunk that may hold what follows `after`; newer ones are found as needed. */
  #findFrom(after: Position): void {
    const start = chunkKey(this.#base, after);
    const range = { start, end: this.#base, reverse: true, limit: 1 };
    this.#written = this.#log.shared.written;
    this.#ended = false;
    for (const chunk of this.#index.getRange(range)) {
      this.#ahead.push(chunk);
      this.#found = chunk.key;
    }
  }

  #nextChunk(): boolean {
    if (this.#ahead.length === 0) this.#findNext();
    const next = this.#ahead.pop();
    if (next === undefined) return false;
    this.#enter(next);
    return true;
  }

  #findNext(): void {
    const { written } = this.#log.shared;
    const isNews = this.#written !== written;
    if (this.#ended && !isNews) return;
    if (this.#found === this.#base) this.#findFrom(this.position); // so far all was in the tail
    if (this.#ahead.length > 0) return;
    // A chunk whose writing failed halfway was written anew, and may hold more than it did.
    const start = isNews ? this.#found : Buffer.concat([this.#found, NUL]);
    const range = { start, end: successor(this.#base), limit: CHUNKS_AHEAD };
    let bytes = 0;
    this.#written = written;
    this.#ended = true;
    for (const chunk of this.#index.getRange(range)) {
      this.#ahead.push(chunk);
      this.#found = chunk.key;
      bytes += chunk.value.length;
      this.#ended = this.#ahead.length < CHUNKS_AHEAD && bytes < BYTES_AHEAD;
      if (bytes >= BYTES_AHEAD) break;
    }
    this.#ahead.reverse();
  }

  #enter({ key, value }: Chunk): void {
    const head = headBytes(key, value);
    const chunk = new DataView(value.buffer, value.byteOffset, value.length);
    let low = 0;
    let high = (value.length - head) / ENTRY_BYTES;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (chunk.getFloat64(head + middle * ENTRY_BYTES, true) <= this.position) low = middle + 1;
      else high = middle;
    }
    this.#chunk = chunk;
    this.#at = head + low * ENTRY_BYTES;
  }

  #inTail(): boolean {
    const tail = this.#log.tail(this.topic);
    if (tail === undefined) return false;
    const at = tail.lengthUpTo(this.position);
    if (at >= tail.entries.length) return false;
    this.position = tail.entries[at]!;
    this.place = tail.entries[at + 1]!;
    return true;
  }
}

/** The topics in the index that begin with `prefix`; `undefined` where they are too many. */
export function topicsInIndex(
  index: Bytes,
  instance: number,
  prefix: string,
  countMax: number,
): string[] | undefined {
  const topics: string[] = [];
  const range = prefixRange(instance, Buffer.from(prefix));
  let { start } = range;
  for (;;) {
    let found = false;
    for (const { key, value } of index.getRange({ start, end: range.end, limit: 1 })) {
      found = true;
      topics.push(chunkTopic(key, value));
      start = successor(topicOfChunk(key));
    }
    if (!found) return topics;
    if (topics.length > countMax) return undefined;
  }
}

const NUL: Buffer = Buffer.from([0]);
