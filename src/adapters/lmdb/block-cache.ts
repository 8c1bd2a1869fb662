/**
 * Journal blocks in memory, for readers: fixed buffers; one that nobody read lately is used again.
 *
 * What was just written is kept without a read while its block is here. Buffers are reused, so
 * nothing that is handed out may point into one: readers copy.
 */
import { readv } from 'node:fs';
import type { LmdbLimits } from './limits.ts';
import type { Segment } from './segments.ts';

export const BLOCK_BYTES: number = 64 * 1024; // a power of two
const READ_AHEAD_BLOCKS = 8;

export class Block {
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  readonly view: DataView = new DataView(this.bytes.buffer);
  key = -1;
  /** Since it was last looked at to make room. */
  used = false;
  /** Bytes of it that are filled and durable. */
  filled = 0;
}

export class BlockCache {
  readonly #blocks = new Map<number, Block>();
  readonly #free: Block[] = [];
  readonly #countMax: number;
  #count = 0;

  constructor(limits: LmdbLimits) {
    this.#countMax = Math.max(
      READ_AHEAD_BLOCKS * 2,
      Math.floor(limits.cacheBytesMax / BLOCK_BYTES),
    );
  }

  /** The block at `offset` if it is here and filled up to `end`. */
  find(segment: number, offset: number, end: number): Block | undefined {
    const key = keyOf(segment, offset);
    const block = this.#blocks.get(key);
    if (block === undefined) return undefined;
    if (block.filled < inBlock(offset) + end - offset) return undefined;
    block.used = true;
    return block;
  }

  /** Reads the block at `offset` and, if `ahead`, those behind it. */
  async load(segment: Segment, offset: number, ahead: boolean): Promise<void> {
    const start = offset - inBlock(offset);
    const durable = segment.end;
    const count = ahead
      ? Math.min(READ_AHEAD_BLOCKS, Math.ceil((durable - start) / BLOCK_BYTES))
      : 1;
    const blocks: Block[] = [];
    for (let i = 0; i < count; i++) blocks.push(this.#take());
    try {
      await readBlocks(segment.fd, blocks, start);
    } catch (error) {
      this.#free.push(...blocks);
      throw error;
    }
    for (let i = 0; i < blocks.length; i++) {
      const at = start + i * BLOCK_BYTES;
      const block = blocks[i]!;
      block.filled = Math.max(0, Math.min(BLOCK_BYTES, durable - at));
      block.key = keyOf(segment.number, at);
      const old = this.#blocks.get(block.key);
      if (old !== undefined && old.filled >= block.filled) {
        this.#free.push(block);
        old.used = true;
        continue;
      }
      if (old !== undefined) this.#drop(old);
      this.#blocks.set(block.key, block);
    }
  }

  /** A batch was written: its bytes are kept where their block is here or just begins. */
  keep(segment: number, offset: number, bytes: Buffer, length: number): void {
    let done = 0;
    while (done < length) {
      const at = offset + done;
      const from = inBlock(at);
      const size = Math.min(length - done, BLOCK_BYTES - from);
      const key = keyOf(segment, at);
      let block = this.#blocks.get(key);
      if (block === undefined && from === 0) {
        block = this.#take();
        block.key = key;
        block.filled = 0;
        this.#blocks.set(key, block);
      }
      if (block !== undefined && block.filled === from) {
        bytes.copy(block.bytes, from, done, done + size);
        block.filled = from + size;
      }
      done += size;
    }
  }

  /** A block for other bytes: by its key a reader knows that it no longer holds the old ones. */
  #take(): Block {
    const block = this.#unused();
    block.key = -1;
    return block;
  }

  #unused(): Block {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#count < this.#countMax) {
      this.#count++;
      return new Block();
    }
    for (const [key, block] of this.#blocks) {
      this.#blocks.delete(key);
      if (!block.used) return block;
      block.used = false; // a second chance, at the end of the line
      this.#blocks.set(key, block);
    }
    return new Block(); // all are being read into; this one is extra
  }

  #drop(block: Block): void {
    this.#blocks.delete(block.key);
    this.#free.push(block);
  }
}

/** Where in its block an offset lies. */
export function inBlock(offset: number): number {
  return offset & (BLOCK_BYTES - 1);
}

function keyOf(segment: number, offset: number): number {
  return segment * 65_536 + Math.floor(offset / BLOCK_BYTES);
}

function readBlocks(fd: number, blocks: readonly Block[], position: number): Promise<void> {
  const buffers = blocks.map((block) => block.bytes);
  return new Promise((resolve, reject) => {
    readv(fd, buffers, position, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}
