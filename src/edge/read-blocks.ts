/**
 * The memory sockets read into.
 *
 * Left to itself Node makes a block of 64 KiB for each read and, of what came, another: for a read
 * of one small message that is most of what reading costs, and giving the blocks back is what
 * stops the loop now and then. Here all sockets read into one block, and what came is copied out
 * of it. Those that fill it read into a larger one, as long as they do.
 *
 * Node offers this as `onread`, to sockets that connect but not to those that are accepted. Those
 * are given the same fields under the same symbols, found on a socket that was made with the
 * option. Where they are not found, sockets are read as Node does it.
 *
 * @hot
 */
import { Socket } from 'node:net';
import type { ReadGarbage } from './garbage.ts';

const BLOCK_BYTES = 64 * 1024;
/** Fewer calls for who sends in bulk; small enough for the processor's cache. */
const LARGE_BLOCK_BYTES = 256 * 1024;
/** Up to here Node makes copies out of one block for many. */
const SMALL_BYTES = 2 * 1024;

/** Called as a method of the socket; `size` bytes are at the start of `block`. */
export type OnRead = (this: Socket, size: number, block: Buffer) => boolean;

/** Where `net.Socket` keeps its option `onread`. */
export interface OnReadFields {
  readonly buffer: symbol;
  readonly callback: symbol;
  readonly generator: symbol;
}

export interface ReadBlocksOptions {
  /** Hears of what was read; left out: the collector is left to itself. */
  readonly garbage?: ReadGarbage;
  /** `null`: Node has none. */
  readonly fields?: OnReadFields | null;
}

type OpenSocket = Socket & {
  [field: symbol]: unknown;
  _handle?: { useUserBuffer?: (block: Buffer) => void } | null;
};

export class ReadBlocks {
  readonly #fields: OnReadFields | null;
  readonly #garbage: ReadGarbage | undefined;
  readonly #block: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  readonly #largeBlock: Buffer = Buffer.allocUnsafeSlow(LARGE_BLOCK_BYTES);
  /** What the socket that is being read shall read into from now on. */
  #next: Buffer | undefined = undefined;
  /** Node asks right after each read; `undefined`: as before. */
  readonly #takeNext = (): Buffer | undefined => {
    const next = this.#next;
    this.#next = undefined;
    return next;
  };

  constructor(options: ReadBlocksOptions = {}) {
    this.#garbage = options.garbage;
    this.#fields = options.fields === undefined ? findFields() : options.fields;
  }

  /** From now on `socket` is read into blocks; false: Node offers no way, listen for 'data'. */
  serve(socket: Socket, onRead: OnRead): boolean {
    const open = socket as OpenSocket;
    const fields = this.#fields;
    const handle = open._handle;
    if (fields === null || typeof handle?.useUserBuffer !== 'function') return false;
    open[fields.buffer] = this.#block;
    open[fields.callback] = onRead;
    open[fields.generator] = this.#takeNext;
    handle.useUserBuffer(this.#block);
    return true;
  }

  /** The `size` bytes just read into `block`, in memory of their own. */
  takeOut(size: number, block: Buffer): Buffer {
    this.#garbage?.add(size);
    if (size === BLOCK_BYTES && block === this.#block) this.#next = this.#largeBlock;
    else if (size < BLOCK_BYTES && block === this.#largeBlock) this.#next = this.#block;
    const chunk = size <= SMALL_BYTES ? Buffer.allocUnsafe(size) : Buffer.allocUnsafeSlow(size);
    block.copy(chunk, 0, 0, size);
    return chunk;
  }

  /** A chunk that Node made. */
  note(chunk: Buffer): void {
    this.#garbage?.add(chunk.length);
  }
}

/** Looks where a socket made with `onread` keeps what it was given. */
export function findFields(): OnReadFields | null {
  const callback = (): boolean => true;
  const generator = (): Buffer => Buffer.alloc(0);
  const given = new Socket({ onread: { buffer: generator, callback } }) as OpenSocket;
  const plain = new Socket() as OpenSocket;
  const fields: Partial<Record<keyof OnReadFields, symbol>> = {};
  for (const field of Object.getOwnPropertySymbols(given)) {
    const value = given[field];
    if (value === callback) fields.callback = field;
    else if (value === generator) fields.generator = field;
    // With a generator, the buffer says only that there is one.
    else if (value === true && !plain[field]) fields.buffer = field;
  }
  const { buffer, callback: called, generator: generated } = fields;
  if (buffer === undefined || called === undefined || generated === undefined) return null;
  return { buffer, callback: called, generator: generated };
}
