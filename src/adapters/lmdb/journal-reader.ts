/**
 * Finds bytes of the journal for one reader. Asking is synchronous and mostly answered from the
 * cache; what is missing is named, and `load` fetches it.
 */
import { read } from 'node:fs';
import type { LogEntry } from '#ports';
import { type Block, BLOCK_BYTES, type BlockCache, inBlock } from './block-cache.ts';
import {
  messageBytes,
  MessageParser,
  messageTopic,
  offsetOf,
  type Place,
  placeOf,
  segmentOf,
} from './record.ts';
import type { Segments } from './segments.ts';

export class JournalReader {
  /** Where the bytes asked for last lie; valid until the next await. */
  bytes: Buffer = NOTHING;
  view: DataView = new DataView(NOTHING.buffer);
  start = 0;
  /** The segment is gone: retention was faster. */
  gone = false;
  readonly #segments: Segments;
  readonly #cache: BlockCache;
  readonly #parser = new MessageParser();
  /** The block the last bytes came from: most of the next ones lie in it too. */
  #block: Block | undefined = undefined;
  #blockKey = -1;
  #blockPlace: Place = -1;
  #missing: Place = 0;
  #missingBytes = 0;
  /** A record that crosses blocks. */
  #crossing: Buffer | undefined = undefined;
  #crossingView: DataView = this.view;
  #crossingPlace: Place = -1;

  constructor(segments: Segments, cache: BlockCache) {
    this.#segments = segments;
    this.#cache = cache;
  }

  /** True where the whole record at `place` is at `start`; else `load` or `gone`. */
  record(place: Place): boolean {
    const block = this.#block;
    const at = place - this.#blockPlace;
    // A block is used again for other bytes; its key tells.
    if (block?.key === this.#blockKey && at >= 0 && at + 8 <= block.filled) {
      if (at + block.view.getUint32(at, true) <= block.filled) {
        block.used = true;
        this.gone = false;
        this.bytes = block.bytes;
        this.view = block.view;
        this.start = at;
        return true;
      }
    }
    if (!this.ready(place, 8)) return false;
    const length = this.view.getUint32(this.start, true);
    const found = this.#block;
    // Not where `bytes` is a record that crosses blocks.
    if (found?.bytes === this.bytes && this.start + length <= found.filled) return true;
    return this.ready(place, length);
  }

  /** The topic of the message at `start`. */
  get topic(): string {
    return messageTopic(this.bytes, this.view, this.start);
  }

  /** What the message at `start` counts for: payload, topic and properties. */
  get size(): number {
    return messageBytes(this.view, this.start);
  }

  /** The message at `start`, its bytes copied [ML13]. */
  message(topic: string): LogEntry {
    return this.#parser.parse(this.bytes, this.view, this.start, topic);
  }

  /** True where `length` bytes from `place` are at `start`. */
  ready(place: Place, length: number): boolean {
    const number = segmentOf(place);
    const offset = offsetOf(place);
    this.gone = this.#segments.find(number) === undefined;
    if (this.gone) return false;
    if (place === this.#crossingPlace && length <= this.#crossing!.length) {
      this.bytes = this.#crossing!;
      this.view = this.#crossingView;
      this.start = 0;
      return true;
    }
    this.#missing = place;
    this.#missingBytes = length;
    const at = inBlock(offset);
    if (at + length > BLOCK_BYTES) return this.#gather(place, length);
    const block = this.#cache.find(number, offset, offset + length);
    if (block === undefined) return false;
    this.#block = block;
    this.#blockKey = block.key;
    this.#blockPlace = place - at;
    this.bytes = block.bytes;
    this.view = block.view;
    this.start = at;
    return true;
  }

  /** Puts a record that crosses blocks together, where all of them are here. */
  #gather(place: Place, length: number): boolean {
    const start = offsetOf(place);
    const end = start + length;
    const blocks: Block[] = [];
    for (let at = start; at < end; at += BLOCK_BYTES - inBlock(at)) {
      const to = Math.min(end, at + BLOCK_BYTES - inBlock(at));
      const block = this.#cache.find(segmentOf(place), at, to);
      if (block === undefined) return false;
      blocks.push(block);
    }
    const bytes = Buffer.allocUnsafeSlow(length);
    const before = inBlock(start);
    for (let i = 0; i < blocks.length; i++) {
      const from = i === 0 ? before : 0;
      blocks[i]!.bytes.copy(bytes, i * BLOCK_BYTES - before + from, from);
    }
    this.#cross(place, bytes);
    this.bytes = bytes;
    this.view = this.#crossingView;
    this.start = 0;
    return true;
  }

  #cross(place: Place, bytes: Buffer): void {
    this.#crossing = bytes;
    this.#crossingView = new DataView(bytes.buffer);
    this.#crossingPlace = place;
  }

  /**
   * Fetches what `record` or `ready` missed; `ahead`: more behind it will be wanted. What is gone
   * meanwhile is not fetched: asked again, they say so.
   */
  async load(ahead: boolean): Promise<void> {
    const segment = this.#segments.hold(segmentOf(this.#missing));
    if (segment === undefined) return;
    const offset = offsetOf(this.#missing);
    const length = this.#missingBytes;
    try {
      if (inBlock(offset) + length <= BLOCK_BYTES) {
        await this.#cache.load(segment, offset, ahead);
        return;
      }
      const bytes = Buffer.allocUnsafeSlow(length);
      await readAll(segment.fd, bytes, offset);
      this.#cross(placeOf(segment.number, offset), bytes);
    } finally {
      this.#segments.release(segment);
    }
  }
}

function readAll(fd: number, bytes: Buffer, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0;
    const step = (error: Error | null, count: number): void => {
      done += count;
      if (error !== null) reject(error);
      else if (done >= bytes.length || count === 0) resolve();
      else read(fd, bytes, done, bytes.length - done, position + done, step);
    };
    read(fd, bytes, 0, bytes.length, position, step);
  });
}

const NOTHING: Buffer = Buffer.alloc(8);
