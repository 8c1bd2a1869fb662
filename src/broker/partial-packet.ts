/**
 * A packet whose first part has come and whose rest has not.
 *
 * The first part of a PUBLISH stays where it lies while the rest may come with the next chunk: the
 * two are then forwarded as two pieces and nothing is copied. What needs a third chunk, and every
 * other packet, is copied together.
 *
 * @hot
 */
import { PacketType } from '#wire';
import type { Broker } from './broker.ts';

/** A packet up to this size is made room for at once. */
const ROOM_MIN = 32 * 1024;
/** Bytes of a fixed header at most, and a little more. */
const HEADER_ROOM = 8;
/** The share of the bytes allowed to all unfinished packets that whole chunks may take. */
const LENT_SHARE = 0.25;

export class PartialPacket {
  /** What has come: `bytes[start..start + fill)`. */
  bytes: Buffer;
  start: number;
  fill: number;
  /** Of the whole packet; 0: its length has not come. */
  size: number;
  /** The bytes are the chunk's they came in. */
  lent: boolean;
  readonly #broker: Broker;
  #counted = 0;

  /** The packet begins at `chunk[at]`; `mayLend`: it can be handled in two pieces. */
  constructor(broker: Broker, chunk: Buffer, at: number, size: number, mayLend: boolean) {
    this.#broker = broker;
    this.bytes = chunk;
    this.start = at;
    this.fill = chunk.length - at;
    this.size = size;
    const lentMax = broker.limits.partialBytesMax * LENT_SHARE;
    this.lent = mayLend && broker.partialBytes + chunk.length <= lentMax;
    if (this.lent) this.#count(chunk.length);
  }

  /** Copies what has come, with room for `more` bytes; false: too many are unfinished. */
  own(more: number): boolean {
    const fill = this.fill + more;
    if (this.#counted > 0 && !this.lent && fill <= this.bytes.length) return true;
    const room = this.#room(fill);
    const broker = this.#broker;
    if (broker.partialBytes - this.#counted + room > broker.limits.partialBytesMax) return false;
    const bytes = Buffer.allocUnsafeSlow(room);
    this.bytes.copy(bytes, 0, this.start, this.start + this.fill);
    this.bytes = bytes;
    this.start = 0;
    this.lent = false;
    this.#count(room);
    return true;
  }

  /** Nothing is kept any more. */
  drop(): void {
    this.#count(0);
  }

  /** A large packet gets room for what has come and as much again: not what it announces. */
  #room(fill: number): number {
    if (this.size === 0) return Math.max(HEADER_ROOM, fill);
    return Math.max(fill, Math.min(this.size, Math.max(fill * 2, ROOM_MIN)));
  }

  #count(bytes: number): void {
    this.#broker.partialBytes += bytes - this.#counted;
    this.#counted = bytes;
  }
}

/**
 * Whether the packet that begins at `bytes[start]` and is cut short there is a PUBLISH of which
 * nothing but payload is missing.
 */
export function mayComeInTwo(
  bytes: Buffer,
  start: number,
  bodyStart: number,
  version5: boolean,
): boolean {
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
