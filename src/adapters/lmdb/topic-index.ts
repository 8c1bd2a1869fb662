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
  prefixRange,
  successor,
  topicKey,
  topicOfChunk,
} from './database.ts';
import type { LmdbInstanceLog } from './instance-log.ts';
import type { Place } from './record.ts';

const CHUNK_ENTRIES = 512;
const ENTRY_BYTES = 16;
const SEPARATOR_BYTES = 1;

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
  #chunk: Buffer | undefined = undefined;
  #at = 0;
  /** The key of the newest chunk entered, or what lies before all of them. */
  #from: Buffer;

  /** Stands before the first entry after `after`: call `advance` to reach it. */
  constructor(log: LmdbInstanceLog, index: Bytes, topic: string, after: Position) {
    this.#log = log;
    this.#index = index;
    this.topic = topic;
    this.position = after;
    this.#base = topicKey(log.number, Buffer.from(topic));
    this.#from = this.#base;
    const tail = log.tail(topic);
    if (tail !== undefined && tail.covers(after)) return;
    const range = {
      start: chunkKey(this.#base, after),
      end: this.#base,
      reverse: true,
      limit: 1,
    };
    for (const { key, value } of index.getRange(range)) this.#enter(key, value);
  }

  advance(): boolean {
    for (;;) {
      const chunk = this.#chunk;
      if (chunk === undefined) {
        const tail = this.#log.tail(this.topic);
        if (tail?.covers(this.position)) return this.#inTail();
        if (!this.#nextChunk()) return this.#inTail();
        continue;
      }
      while (this.#at < chunk.length) {
        const position = chunk.readDoubleLE(this.#at);
        this.#at += ENTRY_BYTES;
        if (position <= this.position) continue;
        this.position = position;
        this.place = chunk.readDoubleLE(this.#at - 8);
        return true;
      }
      this.#chunk = undefined;
    }
  }

  #nextChunk(): boolean {
    const start = Buffer.concat([this.#from, NUL]);
    const range = { start, end: successor(this.#base), limit: 1 };
    for (const { key, value } of this.#index.getRange(range)) {
      this.#enter(key, value);
      return true;
    }
    return false;
  }

  #enter(key: Buffer, value: Buffer): void {
    this.#chunk = value;
    this.#from = key;
    const head = headBytes(key, value);
    let low = 0;
    let high = (value.length - head) / ENTRY_BYTES;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (value.readDoubleLE(head + middle * ENTRY_BYTES) <= this.position) low = middle + 1;
      else high = middle;
    }
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
