/**
 * Where the messages of a topic lie: chunks in LMDB, and behind them the tail in memory.
 *
 * A chunk lists the entries one topic got between two times of applying, so that a hot topic
 * costs few writes. The index is complete up to where the tail begins, and read no further: what
 * lies beyond is there by parts, as long as the application that writes it has not ended.
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

/**
 * The chunks for the first `length` numbers of `entries`, but for those that are all `floor` or
 * older. Where one begins depends on nothing but the first entry: written again, after a failure
 * or a crash, a chunk takes the place of what there is of it.
 */
export function chunksOf(
  topic: Uint8Array,
  instance: number,
  entries: readonly number[],
  range: { readonly length: number; readonly floor: Position },
): Chunk[] {
  const chunks: Chunk[] = [];
  const base = topicKey(instance, topic);
  for (let from = 0; from < range.length; from += CHUNK_ENTRIES * 2) {
    const to = Math.min(range.length, from + CHUNK_ENTRIES * 2);
    if (entries[to - 2]! <= range.floor) continue;
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
  /** It most likely stands behind few chunks. */
  readonly #isNear: boolean;
  /** The chunk being read, and where in it. */
  #chunk: DataView | undefined = undefined;
  #at = 0;
  /** Chunks found and not entered, the oldest one last. */
  readonly #ahead: Chunk[] = [];
  /** The key of the newest chunk found. */
  #found: Buffer | undefined = undefined;
  /** The state of the index that has no chunk beyond these. */
  #completeIn = -1;

  /**
   * Stands before the first entry after `after`: call `advance` to reach it. `isNear`: the topic's
   * newest chunks are looked at first, which costs a search where `after` lies before them.
   */
  constructor(log: LmdbInstanceLog, index: Bytes, topic: string, after: Position, isNear: boolean) {
    this.#log = log;
    this.#index = index;
    this.topic = topic;
    this.position = after;
    this.#isNear = isNear;
    this.#base = topicKey(log.number, Buffer.from(topic));
  }

  advance(): boolean {
    for (;;) {
      const chunk = this.#chunk;
      if (chunk === undefined) {
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

  /** Enters the next chunk; false: what follows is in the tail, or nowhere. */
  #nextChunk(): boolean {
    if (this.#ahead.length === 0) {
      if (this.#log.tail(this.topic)?.covers(this.position)) return false;
      this.#find();
    }
    const next = this.#ahead.pop();
    if (next === undefined) return false;
    this.#enter(next);
    return true;
  }

  #find(): void {
    const { indexState } = this.#log.shared;
    if (this.#completeIn === indexState) return;
    const end = this.#end();
    if (this.#found === undefined) {
      if (this.#isNear && this.#findNewest(end, indexState)) return;
      this.#findFrom(end);
      if (this.#ahead.length > 0) return;
    }
    this.#findNext(end, indexState);
  }

  /**
   * The first position that is not looked for in the index: the tail has it and all that follow.
   * Chunks from there on are of an application that did not come to its end, and may be parts of
   * what it was to write.
   */
  #end(): Position {
    const entries = this.#log.tail(this.topic)?.entries;
    return entries === undefined || entries.length === 0 ? this.#log.end() + 1 : entries[0]!;
  }

  /**
   * Looks from the newest chunk back: whoever is behind mostly is not far behind, and then all is
   * found in one search. False: there are more chunks.
   */
  #findNewest(end: Position, indexState: number): boolean {
    const ahead = this.#ahead;
    for (const chunk of this.#chunksBack(end - 1, NEWEST_CHUNKS + 1)) {
      if (ahead.length === NEWEST_CHUNKS) {
        ahead.length = 0;
        return false;
      }
      ahead.push(chunk);
      if (chunkStart(chunk.key) <= this.position) break;
    }
    this.#found = ahead[0]?.key;
    this.#completeIn = indexState;
    return true;
  }

  /** Looks for the chunk that may hold what follows; newer ones are found as needed. */
  #findFrom(end: Position): void {
    for (const chunk of this.#chunksBack(Math.min(this.position, end - 1), 1)) {
      this.#ahead.push(chunk);
      this.#found = chunk.key;
    }
  }

  #chunksBack(from: Position, limit: number): Iterable<Chunk> {
    const start = chunkKey(this.#base, from);
    return this.#index.getRange({ start, end: this.#base, reverse: true, limit });
  }

  /** Looks beyond what was found. */
  #findNext(end: Position, indexState: number): void {
    const start = Buffer.concat([this.#found ?? this.#base, NUL]);
    const range = { start, end: chunkKey(this.#base, end), limit: CHUNKS_AHEAD };
    let bytes = 0;
    this.#completeIn = indexState;
    for (const chunk of this.#index.getRange(range)) {
      this.#ahead.push(chunk);
      this.#found = chunk.key;
      bytes += chunk.value.length;
      const isWhole = this.#ahead.length < CHUNKS_AHEAD && bytes < BYTES_AHEAD;
      this.#completeIn = isWhole ? indexState : -1;
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
