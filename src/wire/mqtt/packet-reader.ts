/**
 * Reads a packet's fields one after another; whatever does not fit is a malformed packet, and
 * the fault's text names packet and field.
 *
 * For the rare packets. PUBLISH is read in place.
 */
import { Fault } from '#base';
import { isValidUtf8 } from './utf8.ts';
import { readVarint, readVarintSize } from './varint.ts';

export class PacketReader {
  readonly packet: string;
  readonly bytes: Buffer;
  readonly end: number;
  position: number;

  constructor(packet: string, bytes: Buffer, start: number, end: number) {
    this.packet = packet;
    this.bytes = bytes;
    this.position = start;
    this.end = end;
  }

  get left(): number {
    return this.end - this.position;
  }

  u8(field: string): number {
    return this.bytes[this.#take(1, field)]!;
  }

  u16(field: string): number {
    const at = this.#take(2, field);
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!;
  }

  u32(field: string): number {
    return this.bytes.readUInt32BE(this.#take(4, field));
  }

  varint(field: string): number {
    const value = readVarint(this.bytes, this.position, this.end);
    if (value < 0) throw this.malformed(`${field} is not a variable byte integer`);
    this.position += readVarintSize(this.bytes, this.position);
    return value;
  }

  /** Bytes with their two-byte length before them; a view. */
  binary(field: string): Buffer {
    const size = this.u16(field);
    const at = this.#take(size, field);
    return this.bytes.subarray(at, at + size);
  }

  string(field: string): string {
    const size = this.u16(field);
    const at = this.#take(size, field);
    if (!isValidUtf8(this.bytes, at, at + size)) {
      throw this.malformed(`${field} is not valid UTF-8`); // [MQTT-1.5.4-1] [MQTT-1.5.4-2]
    }
    return this.bytes.toString('utf8', at, at + size);
  }

  /** All bytes that are left; a view. */
  rest(): Buffer {
    const at = this.position;
    this.position = this.end;
    return this.bytes.subarray(at, this.end);
  }

  /** A reader of the next `size` bytes; this one stands behind them. */
  section(size: number, field: string): PacketReader {
    const at = this.#take(size, field);
    return new PacketReader(this.packet, this.bytes, at, at + size);
  }

  /** Refuses bytes behind the last field. */
  finish(): void {
    if (this.left > 0) throw this.malformed(`${this.left} bytes behind the last field`);
  }

  malformed(what: string): Fault {
    return new Fault('malformedPacket', `${this.packet}: ${what}`);
  }

  protocolError(what: string): Fault {
    return new Fault('protocolError', `${this.packet}: ${what}`);
  }

  #take(size: number, field: string): number {
    const at = this.position;
    if (size > this.end - at) throw this.malformed(`${field} reaches beyond the packet`);
    this.position = at + size;
    return at;
  }
}
