/**
 * The memory sockets read into.
 *
 * Left to itself Node makes a block of 64 KiB for each read and, of what came, another: for a read
 * of one small message that is most of what reading costs, and giving the blocks back is what
 * stops the loop now and then. Here all sockets read into one block and what came is copied out of
 * it. A socket that reads much at a time gets blocks of its own, in which its bytes stay.
 *
 * Node offers this as `onread`, to sockets that connect but not to those that are accepted. Those
 * are given the same fields under the same symbols, found on a socket that was made with the
 * option. Where they are not found, sockets are read as Node does it.
 *
 * @hot
 */
import { Socket } from 'node:net';
import type { ReadGarbage } from './garbage.ts';
import { EDGE_LIMITS } from './limits.ts';

/** What one read may bring. */
const SHARED_BYTES = 64 * 1024;
/** Small enough that the processor's cache still has it when it is sent on. */
const OWN_BYTES = 256 * 1024;
/** A read goes into what is left of a block only if it finds as much room as in the shared one. */
const ROOM_BYTES_MIN = SHARED_BYTES;
/** From here on, making a block costs less than copying. */
const LARGE_BYTES = 16 * 1024;
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
  /** How many sockets may have a block of their own; the others' bytes are copied. */
  readonly ownBlockCountMax?: number;
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
  readonly #ownCountMax: number;
  readonly #shared: Buffer = Buffer.allocUnsafeSlow(SHARED_BYTES);
  #ownCount = 0;
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
    this.#ownCountMax = options.ownBlockCountMax ?? EDGE_LIMITS.ownBlockCountMax;
    this.#fields = options.fields === undefined ? findFields() : options.fields;
  }

  /** How many sockets have a block of their own. */
  get ownCount(): number {
    return this.#ownCount;
  }

  /** From now on `socket` is read into blocks; false: Node offers no way, listen for 'data'. */
  serve(socket: Socket, onRead: OnRead): boolean {
    const open = socket as OpenSocket;
    const fields = this.#fields;
    const handle = open._handle;
    if (fields === null || typeof handle?.useUserBuffer !== 'function') return false;
    open[fields.buffer] = this.#shared;
    open[fields.callback] = onRead;
    open[fields.generator] = this.#takeNext;
    handle.useUserBuffer(this.#shared);
    return true;
  }

  /** The `size` bytes just read into `block`, in memory nobody writes to any more. */
  takeOut(size: number, block: Buffer): Buffer {
    this.#garbage?.add(size);
    if (block === this.#shared) {
      if (size >= LARGE_BYTES && this.#ownCount < this.#ownCountMax) {
        this.#ownCount++;
        this.#next = Buffer.allocUnsafeSlow(OWN_BYTES);
      }
      return copyOf(size, block);
    }
    if (size < LARGE_BYTES) {
      if (size <= SMALL_BYTES) {
        this.#ownCount--;
        this.#next = this.#shared;
      }
      return copyOf(size, block);
    }
    const goesOn = block.length - size >= ROOM_BYTES_MIN;
    this.#next = goesOn ? block.subarray(size) : Buffer.allocUnsafeSlow(OWN_BYTES);
    return size === block.length ? block : block.subarray(0, size);
  }

  /** A chunk that Node made. */
  note(chunk: Buffer): void {
    this.#garbage?.add(chunk.length);
  }

  /** `socket` is closed. */
  release(socket: Socket): void {
    if (this.#fields === null) return;
    const block = (socket as OpenSocket)[this.#fields.buffer];
    if (block instanceof Uint8Array && block !== this.#shared) this.#ownCount--;
  }
}

function copyOf(size: number, block: Buffer): Buffer {
  const chunk = size <= SMALL_BYTES ? Buffer.allocUnsafe(size) : Buffer.allocUnsafeSlow(size);
  block.copy(chunk, 0, 0, size);
  return chunk;
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
