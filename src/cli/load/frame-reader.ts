/**
 * Finds frames in what arrives and counts PUBLISHes. Where frame after frame has the header of
 * the last, a read is counted by division: the headers at its first, last and next boundary must
 * be where the sum says, else the read is walked frame by frame. Nothing is ever assumed twice.
 *
 * @hot
 */

/** Who hears of frames. QoS 0 PUBLISHes are only counted, unless `wantsPayload`. */
export interface FrameSink {
  /** `bytes` are borrowed: the frame's body is from `body` to `end`. */
  frame(first: number, bytes: Buffer, body: number, end: number): void;
}

const PUBLISH_TYPE = 0x30;
const QOS_BITS = 0x06;

/** The longest header: one byte and a length of four. */
const HEADER_BYTES_MAX = 5;

export class FrameReader {
  /** PUBLISHes of any QoS seen so far. */
  publishes = 0;
  /** Set when a length had more than four bytes: what follows means nothing. */
  broken = false;
  readonly #sink: FrameSink;
  readonly #wantsPayload: boolean;
  /** The start of a frame whose end has not come. */
  #carry = Buffer.allocUnsafe(0);
  #carryBytes = 0;
  /** The header that repeats, as bytes, and the whole size of its frame; 0: none yet. */
  readonly #header = new Uint8Array(HEADER_BYTES_MAX);
  #headerBytes = 0;
  #frameBytes = 0;
  /** Bytes seen of a repeating frame cut by the end of a read. */
  #inside = 0;
  /** Of the last header taken apart. */
  #body = 0;
  #end = 0;

  constructor(sink: FrameSink, wantsPayload: boolean) {
    this.#sink = sink;
    this.#wantsPayload = wantsPayload;
  }

  feed(bytes: Buffer, length: number): void {
    let at = 0;
    if (this.#inside > 0) {
      const rest = this.#frameBytes - this.#inside;
      if (length < rest) {
        this.#inside += length;
        return;
      }
      at = rest;
      this.#inside = 0;
      this.publishes += 1;
    } else if (this.#carryBytes > 0) {
      at = this.#feedCarry(bytes, length);
    }
    while (at < length && !this.broken) {
      at = this.#frameBytes > 0 ? this.#countRun(bytes, at, length) : at;
      if (at >= length) return;
      const next = this.#walkOne(bytes, at, length);
      if (next === at) {
        this.#keep(bytes, at, length);
        return;
      }
      at = next;
    }
  }

  /** Counts as many repeating frames from `at` as there are; returns where the rest begins. */
  #countRun(bytes: Buffer, at: number, length: number): number {
    const size = this.#frameBytes;
    const count = Math.floor((length - at) / size);
    if (count > 0) {
      if (!this.#headerAt(bytes, at)) return at;
      const after = at + count * size;
      const lastFits = this.#headerAt(bytes, after - size);
      const nextFits = after + this.#headerBytes > length || this.#headerAt(bytes, after);
      if (!lastFits || !nextFits) return this.#countOneByOne(bytes, at, length);
      this.publishes += count;
      return this.#keepInside(bytes, after, length);
    }
    return this.#keepInside(bytes, at, length);
  }

  #countOneByOne(bytes: Buffer, from: number, length: number): number {
    let at = from;
    while (at + this.#frameBytes <= length && this.#headerAt(bytes, at)) {
      this.publishes += 1;
      at += this.#frameBytes;
    }
    return at;
  }

  /** A cut frame whose header is whole and known needs no copy, only a count of bytes. */
  #keepInside(bytes: Buffer, at: number, length: number): number {
    const rest = length - at;
    if (rest < this.#headerBytes || rest >= this.#frameBytes) return at;
    if (!this.#headerAt(bytes, at)) return at;
    this.#inside = rest;
    return length;
  }

  #headerAt(bytes: Buffer, at: number): boolean {
    for (let index = 0; index < this.#headerBytes; index++) {
      if (bytes[at + index] !== this.#header[index]) return false;
    }
    return true;
  }

  /** Handles one frame; returns `at` itself when it is not whole. */
  #walkOne(bytes: Buffer, at: number, length: number): number {
    if (!this.#takeHeader(bytes, at, length) || this.#end > length) return at;
    const first = bytes[at]!;
    const body = this.#body;
    const end = this.#end;
    if ((first & 0xf0) === PUBLISH_TYPE) {
      this.publishes += 1;
      if ((first & QOS_BITS) === 0 && !this.#wantsPayload) {
        this.#learn(bytes, at, body, end);
        return end;
      }
    }
    this.#sink.frame(first, bytes, body, end);
    return end;
  }

  #learn(bytes: Buffer, at: number, body: number, end: number): void {
    this.#headerBytes = body - at;
    this.#frameBytes = end - at;
    for (let index = 0; index < this.#headerBytes; index++) {
      this.#header[index] = bytes[at + index]!;
    }
  }

  /** Sets where the body begins and ends; false when the length is not whole. */
  #takeHeader(bytes: Buffer, at: number, length: number): boolean {
    let remaining = 0;
    let scale = 1;
    for (let index = at + 1; index < length; index++) {
      const byte = bytes[index]!;
      remaining += (byte & 0x7f) * scale;
      if ((byte & 0x80) === 0) {
        this.#body = index + 1;
        this.#end = index + 1 + remaining;
        return true;
      }
      if (index - at === 4) {
        this.broken = true;
        return false;
      }
      scale *= 128;
    }
    return false;
  }

  #keep(bytes: Buffer, at: number, length: number): void {
    const count = length - at;
    this.#grow(count);
    bytes.copy(this.#carry, this.#carryBytes, at, length);
    this.#carryBytes += count;
  }

  #grow(count: number): void {
    const needed = this.#carryBytes + count;
    if (needed <= this.#carry.length) return;
    const wider = Buffer.allocUnsafeSlow(Math.max(256, needed * 2));
    this.#carry.copy(wider, 0, 0, this.#carryBytes);
    this.#carry = wider;
  }

  /** Completes the kept frame from the new bytes; returns where the next one begins. */
  #feedCarry(bytes: Buffer, length: number): number {
    let at = 0;
    while (!this.#takeHeader(this.#carry, 0, this.#carryBytes)) {
      if (at >= length || this.broken) return length;
      this.#keep(bytes, at, at + 1);
      at += 1;
    }
    const missing = this.#end - this.#carryBytes;
    const taken = Math.min(missing, length - at);
    this.#keep(bytes, at, at + taken);
    if (taken < missing) return length;
    const whole = this.#carryBytes;
    this.#carryBytes = 0;
    this.#walkOne(this.#carry, 0, whole);
    return at + taken;
  }
}
