/**
 * What waits to be sent on one connection, as pieces of memory others wrote.
 *
 * A piece that continues the last one extends it, so a run of frames costs one piece. While the
 * socket takes nothing, small pieces are copied together, so that a stalled client holds what it
 * is owed and not the blocks around it.
 *
 * @hot
 */
import { isWasteful } from './kept-bytes.ts';
import type { Transport } from './transport.ts';

/** Bytes handed to a transport at a time, so that what it has taken can be told. */
const SEND_BYTES_MAX = 256 * 1024;
const NO_BYTES = Buffer.alloc(0);
/** For what leaves as one piece: no outbox needs an array of its own for that. */
const SINGLE: Uint8Array[] = [NO_BYTES];

/** Up to this size a frame by itself is copied. */
const COPY_BYTES_MAX = 1024;
/** Blocks that copies are written into, one connection after the other. */
const BLOCK_BYTES = 8 * 1024;
const SPARE_BLOCKS_MAX = 1024;

/** What all outboxes share. */
export class OutboxTotal {
  /** Bytes waiting in all outboxes together. */
  bytes = 0;
  readonly #spare: Buffer[] = [];

  takeBlock(size: number): Buffer {
    if (size > BLOCK_BYTES) return Buffer.allocUnsafeSlow(size);
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
  }

  /** Nothing refers to the block any more. */
  giveBlock(block: Buffer): void {
    if (block.length !== BLOCK_BYTES || this.#spare.length >= SPARE_BLOCKS_MAX) return;
    this.#spare.push(block);
  }
}

export class Outbox {
  /** Bytes waiting here, not counting what the transport was handed. */
  bytes = 0;
  readonly #total: OutboxTotal;
  #pieces: Uint8Array[] | undefined = undefined;
  #compacted = 0;
  #run: Buffer = NO_BYTES;
  #runStart = 0;
  #runEnd = 0;
  #source: Buffer = NO_BYTES;
  #sourceEnd = 0;
  #block: Buffer | undefined = undefined;
  #blockFill = 0;
  #full: Buffer[] | undefined = undefined;

  constructor(total: OutboxTotal) {
    this.#total = total;
  }

  append(buffer: Buffer, start: number, end: number): void {
    const size = end - start;
    this.bytes += size;
    this.#total.bytes += size;
    if (buffer === this.#run && start === this.#runEnd) {
      this.#runEnd = end;
      return;
    }
    if (this.#runEnd > this.#runStart) this.#closeRun();
    this.#run = buffer;
    this.#runStart = start;
    this.#runEnd = end;
  }

  /**
   * A frame that others may get as well. One that goes on where the last one ended in the same
   * memory is referred to, and so is a large one or the first; further small ones cost less
   * copied.
   */
  appendFrame(buffer: Buffer, start: number, end: number): void {
    const size = end - start;
    const goesOn = buffer === this.#source && start === this.#sourceEnd;
    if (this.#source !== buffer) this.#source = buffer;
    this.#sourceEnd = end;
    if (goesOn || size > COPY_BYTES_MAX || this.bytes === 0) {
      this.append(buffer, start, end);
      return;
    }
    const at = this.reserve(size);
    const block = this.#block!;
    buffer.copy(block, at, start, end);
    this.append(block, at, at + size);
  }

  /** Room for a copy of its own, in `reserved`, behind the copy before it; `append` it then. */
  reserve(size: number): number {
    if (this.#block === undefined || this.#blockFill + size > this.#block.length) {
      if (this.#block !== undefined) (this.#full ??= []).push(this.#block);
      this.#block = this.#total.takeBlock(size);
      this.#blockFill = 0;
    }
    const at = this.#blockFill;
    this.#blockFill += size;
    return at;
  }

  /** The block the last `reserve` came from. */
  get reserved(): Buffer {
    return this.#block!;
  }

  /** Sends as much as the transport takes at once. */
  flush(transport: Transport): void {
    if (this.bytes === 0) return;
    if (transport.bufferedBytes > 0) {
      this.#compact();
      this.#full = undefined; // blocks are kept for a socket that is quick, not for one that is not
      return;
    }
    if (this.#pieces === undefined || this.#pieces.length === 0) {
      this.#flushRun(transport);
      return;
    }
    this.#closeRun();
    const pieces = this.#pieces;
    if (this.bytes <= SEND_BYTES_MAX) {
      this.#total.bytes -= this.bytes;
      this.bytes = 0;
      transport.send(pieces, pieces.length);
      pieces.length = 0;
      this.#compacted = 0;
      this.#releaseBlock(transport.bufferedBytes === 0);
      return;
    }
    this.#sendPart(transport, pieces);
  }

  /** One run is all there is: mostly one frame. */
  #flushRun(transport: Transport): void {
    this.#total.bytes -= this.bytes;
    this.bytes = 0;
    SINGLE[0] = this.#takeRun();
    transport.send(SINGLE, 1);
    SINGLE[0] = NO_BYTES;
    this.#releaseBlock(transport.bufferedBytes === 0);
  }

  /** Gives the transport everything, whether or not it is busy: nothing follows. */
  handOver(transport: Transport): void {
    this.#closeRun();
    const pieces = this.#pieces;
    if (pieces !== undefined && pieces.length > 0) transport.send(pieces, pieces.length);
  }

  /** What was sent at once leaves its block free for others; else the socket still reads it. */
  #releaseBlock(taken: boolean): void {
    if (taken && this.#block !== undefined) {
      this.#total.giveBlock(this.#block);
      const full = this.#full;
      for (let i = 0; full !== undefined && i < full.length; i++) this.#total.giveBlock(full[i]!);
    }
    this.#full = undefined;
    this.#block = undefined;
    this.#blockFill = 0;
    this.#source = NO_BYTES; // a chunk is not held on to
  }

  /** Forgets what was not sent. */
  clear(): void {
    this.#releaseBlock(false);
    this.#total.bytes -= this.bytes;
    this.bytes = 0;
    this.#pieces = undefined;
    this.#compacted = 0;
    this.#run = NO_BYTES;
    this.#runStart = 0;
    this.#runEnd = 0;
  }

  #sendPart(transport: Transport, pieces: Uint8Array[]): void {
    let sent = 0;
    while (sent < pieces.length && transport.bufferedBytes === 0) {
      const part: Uint8Array[] = [];
      let size = 0;
      while (sent < pieces.length && (size === 0 || size < SEND_BYTES_MAX)) {
        const piece = pieces[sent++]!;
        part.push(piece);
        size += piece.length;
      }
      this.bytes -= size;
      this.#total.bytes -= size;
      transport.send(part, part.length);
    }
    pieces.splice(0, sent);
    this.#compacted = 0;
    this.#releaseBlock(false);
    if (pieces.length > 0) this.#compact();
  }

  #closeRun(): void {
    if (this.#runEnd === this.#runStart) return;
    this.#pieces ??= [];
    this.#pieces.push(this.#takeRun());
  }

  #takeRun(): Buffer {
    const run = this.#run;
    const isWhole = this.#runStart === 0 && this.#runEnd === run.length;
    const piece = isWhole ? run : run.subarray(this.#runStart, this.#runEnd);
    this.#run = NO_BYTES;
    this.#runStart = 0;
    this.#runEnd = 0;
    return piece;
  }

  /** Copies together the pieces added since the last time that hold much more than they say. */
  #compact(): void {
    this.#closeRun();
    const pieces = this.#pieces;
    if (pieces === undefined) return;
    let write = this.#compacted;
    let read = this.#compacted;
    while (read < pieces.length) {
      let size = 0;
      const from = read;
      while (read < pieces.length && isWasteful(pieces[read]!)) size += pieces[read++]!.length;
      if (read === from) {
        pieces[write++] = pieces[read++]!;
        continue;
      }
      const together = Buffer.allocUnsafeSlow(size);
      let at = 0;
      for (let i = from; i < read; i++) {
        together.set(pieces[i]!, at);
        at += pieces[i]!.length;
      }
      pieces[write++] = together;
    }
    pieces.length = write;
    this.#compacted = write;
  }
}
