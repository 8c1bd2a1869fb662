/** Cuts what a broker sends into packets, however the chunks fall. */
import { readVarint, readVarintSize } from '#wire';
import { CommandError } from './io.ts';

export class FrameSplitter {
  #rest: Buffer[] = [];
  #size = 0;
  /** Bytes to have before looking again; so that a large packet is joined once. */
  #needed = 2;

  /** Calls `take` with each whole packet: its first byte, its bytes, where its body starts. */
  feed(chunk: Buffer, take: (first: number, bytes: Buffer, start: number) => void): void {
    this.#rest.push(chunk);
    this.#size += chunk.length;
    if (this.#size < this.#needed) return;
    const bytes = this.#rest.length === 1 ? chunk : Buffer.concat(this.#rest);
    let offset = 0;
    this.#needed = 2;
    while (bytes.length - offset >= 2) {
      const length = readVarint(bytes, offset + 1, bytes.length);
      if (length < 0) {
        if (bytes.length - offset > 4) throw new CommandError('a length without end');
        this.#needed = bytes.length - offset + 1;
        break;
      }
      const start = 1 + readVarintSize(bytes, offset + 1);
      if (bytes.length - offset < start + length) {
        this.#needed = start + length;
        break;
      }
      take(bytes[offset]!, bytes.subarray(offset, offset + start + length), start);
      offset += start + length;
    }
    this.#rest = offset === bytes.length ? [] : [bytes.subarray(offset)];
    this.#size = bytes.length - offset;
  }
}
