/**
 * Memory for frames on their way out, and for messages read: one block filled front to back.
 *
 * What is taken stays valid for as long as somebody holds the block; a full one is simply left
 * behind. Frames written one after the other lie side by side, so a run of them for one
 * socket is one piece.
 *
 * @hot
 */
export class Slab {
  /** The block the last `take` came from. */
  buffer: Buffer;
  readonly #size: number;
  #offset = 0;

  constructor(size: number) {
    this.#size = size;
    this.buffer = Buffer.allocUnsafeSlow(size);
  }

  /** Room for `size` bytes in `buffer`, from the returned offset on. */
  take(size: number): number {
    const start = this.#offset;
    if (start + size <= this.buffer.length) {
      this.#offset = start + size;
      return start;
    }
    this.buffer = Buffer.allocUnsafeSlow(size > this.#size ? size : this.#size);
    this.#offset = size;
    return 0;
  }
}
