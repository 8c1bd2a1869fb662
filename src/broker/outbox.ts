/**
 * What waits to be sent on one connection, as pieces of memory others wrote.
 *
 * A piece that continues the last one extends it, so a run of frames costs one piece. While the
 * socket takes nothing, small pieces are copied together, so that a stalled client holds what it
 * is owed and not the blocks around it.
 *
 * @hot
 */
import type { Transport } from './transport.ts';

/** Bytes handed to a transport at a time, so that what it has taken can be told. */
const SEND_BYTES_MAX = 256 * 1024;
const NO_BYTES = Buffer.alloc(0);

/** Bytes waiting in all outboxes together. */
export class OutboxTotal {
  bytes = 0;
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

  /** Sends as much as the transport takes at once. */
  flush(transport: Transport): void {
    if (this.bytes === 0) return;
    if (transport.bufferedBytes > 0) {
      this.#compact();
      return;
    }
    this.#closeRun();
    const pieces = this.#pieces!;
    if (this.bytes <= SEND_BYTES_MAX) {
      this.#total.bytes -= this.bytes;
      this.bytes = 0;
      transport.send(pieces, pieces.length);
      pieces.length = 0;
      this.#compacted = 0;
      return;
    }
    this.#sendPart(transport, pieces);
  }

  /** Forgets what was not sent. */
  clear(): void {
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
    if (pieces.length > 0) this.#compact();
  }

  #closeRun(): void {
    if (this.#runEnd === this.#runStart) return;
    this.#pieces ??= [];
    this.#pieces.push(this.#run.subarray(this.#runStart, this.#runEnd));
    this.#run = NO_BYTES;
    this.#runStart = 0;
    this.#runEnd = 0;
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
      while (read < pieces.length && wasteful(pieces[read]!)) size += pieces[read++]!.length;
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

function wasteful(piece: Uint8Array): boolean {
  return piece.length * 2 < piece.buffer.byteLength;
}
