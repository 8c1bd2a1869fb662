/**
 * A packet whose first part has come and whose rest has not.
 *
 * The first part of a PUBLISH stays where it lies while the rest may come with the next chunk: the
 * two are then forwarded as two pieces and nothing is copied. What needs a third chunk, and every
 * other packet, is copied together.
 *
 * A small one is always taken: as many as there are connections. Larger ones share a bound, and
 * where that is reached whoever holds most is ended, so that what others hold costs nobody.
 *
 * @hot
 */
import { PacketType } from '#wire';
import type { Connection } from './connection.ts';

/** Bytes of a fixed header at most, and a little more. */
const HEADER_ROOM = 8;
const LENGTH_BYTES_MAX = 4;
/** The share of the bound that is for whole chunks. */
const LENT_SHARE = 0.25;

/** What the unfinished packets of one kind of connection take together. */
export class PartialTotal {
  /** Up to this size a packet is always taken, and made room for at once. */
  readonly freeBytesMax: number;
  /** Everything that is kept. */
  bytes = 0;
  readonly #sharedBytesMax: number;
  readonly #lentBytesMax: number;
  #sharedBytes = 0;
  #lentBytes = 0;
  /** Those above what is free: few, so they may be looked through. */
  readonly #large: Set<PartialPacket> = new Set();

  constructor(freeBytesMax: number, bytesMax: number) {
    this.freeBytesMax = freeBytesMax;
    this.#lentBytesMax = bytesMax * LENT_SHARE;
    this.#sharedBytesMax = bytesMax - this.#lentBytesMax;
  }

  /** So much of a chunk is kept where it lies; false: copy it. */
  lend(bytes: number): boolean {
    if (this.#lentBytes + bytes > this.#lentBytesMax) return false;
    this.#lentBytes += bytes;
    this.bytes += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#lentBytes -= bytes;
    this.bytes -= bytes;
  }

  /** `packet` is to have so much room; false: it would be the one that holds most. */
  claim(packet: PartialPacket, room: number): boolean {
    if (room > this.freeBytesMax) {
      while (this.#sharedBytes - this.#share(packet) + room > this.#sharedBytesMax) {
        const largest = this.#largest();
        if (largest === undefined || largest.room <= room || largest === packet) return false;
        largest.end();
        if (packet.connection.gone) return false;
      }
    }
    this.resize(packet, room);
    return true;
  }

  /** `packet` takes so much room now. */
  resize(packet: PartialPacket, room: number): void {
    this.bytes += room - packet.room;
    this.#sharedBytes -= this.#share(packet);
    packet.room = room;
    const share = this.#share(packet);
    this.#sharedBytes += share;
    if (share > 0) this.#large.add(packet);
    else this.#large.delete(packet);
  }

  #share({ room }: PartialPacket): number {
    return room > this.freeBytesMax ? room : 0;
  }

  #largest(): PartialPacket | undefined {
    let largest: PartialPacket | undefined;
    for (const packet of this.#large) {
      if (largest === undefined || packet.room > largest.room) largest = packet;
    }
    return largest;
  }
}

export class PartialPacket {
  readonly connection: Connection;
  /** What has come: `bytes[start..start + fill)`. */
  bytes: Buffer;
  start: number;
  fill: number;
  /** Of the whole packet; 0: its length has not come. */
  size: number;
  /** Bytes of its own; for the total's use. */
  room = 0;
  readonly #total: PartialTotal;
  /** Of the chunk it came in, while it lies there. */
  #lentBytes = 0;

  /** The packet begins at `chunk[at]`, its body at `bodyStart`. */
  constructor(connection: Connection, chunk: Buffer, at: number, bodyStart: number, size: number) {
    const { broker } = connection;
    const admitted = connection.session !== undefined;
    this.connection = connection;
    this.#total = admitted ? broker.partials : broker.connectPartials;
    this.bytes = chunk;
    this.start = at;
    this.fill = chunk.length - at;
    this.size = size;
    const mayLend =
      size > 0 &&
      admitted &&
      !broker.limits.validatePayloadFormat && // which looks at the payload in one piece
      mayComeInTwo(chunk, at, bodyStart, connection.version5);
    // A chunk may be a small part of the memory it keeps.
    const { byteLength } = chunk.buffer;
    if (mayLend && this.#total.lend(byteLength)) this.#lentBytes = byteLength;
  }

  /** The bytes are the chunk's they came in. */
  get lent(): boolean {
    return this.#lentBytes > 0;
  }

  /** Where the body begins; the length has come. */
  get bodyStart(): number {
    let at = this.start + 1;
    while (this.bytes[at]! >= 128) at++;
    return at + 1;
  }

  /** Adds a byte of the fixed header; false: its length goes on for too long. */
  addHeader(byte: number): boolean {
    const { bytes } = this;
    const last = this.fill++;
    bytes[last] = byte;
    if (byte >= 128) return last < LENGTH_BYTES_MAX;
    let size = 0;
    for (let i = last; i >= 1; i--) size = size * 128 + (bytes[i]! & 0x7f);
    this.size = this.fill + size;
    return true;
  }

  /** Copies what has come, with room for `more` bytes; false: there is none, the client is ended. */
  own(more: number): boolean {
    const fill = this.fill + more;
    if (this.room > 0 && fill <= this.bytes.length) return true;
    const room = this.#roomFor(fill);
    if (!this.#total.claim(this, room)) {
      this.end();
      return false;
    }
    const bytes = Buffer.allocUnsafeSlow(room);
    this.bytes.copy(bytes, 0, this.start, this.start + this.fill);
    this.bytes = bytes;
    this.start = 0;
    this.#giveBack();
    return true;
  }

  /** Nothing is kept any more. */
  drop(): void {
    this.#giveBack();
    if (this.room > 0) this.#total.resize(this, 0);
  }

  /** It holds most, or would, where there is no room for others. */
  end(): void {
    const { connection } = this;
    this.drop();
    connection.broker.disconnect(
      connection,
      'quotaExceeded',
      'too many bytes of unfinished packets',
    );
  }

  #giveBack(): void {
    if (this.#lentBytes > 0) this.#total.giveBack(this.#lentBytes);
    this.#lentBytes = 0;
  }

  /** A large packet gets room for what has come and as much again: not what it announces. */
  #roomFor(fill: number): number {
    if (this.size === 0) return Math.max(HEADER_ROOM, fill);
    const ahead = Math.max(fill * 2, this.#total.freeBytesMax);
    return Math.max(fill, Math.min(this.size, ahead));
  }
}

/**
 * Whether the packet that begins at `bytes[start]` and is cut short there is a PUBLISH of which
 * nothing but payload is missing.
 */
function mayComeInTwo(bytes: Buffer, start: number, bodyStart: number, version5: boolean): boolean {
  const { length } = bytes;
  if (bytes[start]! >> 4 !== PacketType.publish) return false;
  let at = bodyStart + 2;
  if (at > length) return false;
  at += (bytes[bodyStart]! << 8) + bytes[bodyStart + 1]!;
  if ((bytes[start]! & 0x06) !== 0) at += 2;
  if (!version5) return at <= length;
  let size = 0;
  for (let scale = 1; scale <= 128 ** 3; scale *= 128) {
    if (at >= length) return false;
    const byte = bytes[at++]!;
    size += (byte & 0x7f) * scale;
    if (byte < 128) return at + size <= length;
  }
  return false;
}
