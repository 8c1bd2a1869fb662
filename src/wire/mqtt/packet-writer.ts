/**
 * Writes a packet's fields one after another and puts the fixed header before them at the end,
 * when the length is known.
 *
 * For the rare packets. PUBLISH on its way to subscribers has its own encoder.
 */
import { assert } from '#base';
import { PROPERTIES, type PropertyRow, type PropertyValues } from './properties.ts';
import { VARINT_MAX, varintSize, writeVarint } from './varint.ts';

/** Room for the first byte and four bytes of Remaining Length. */
const HEADER_BYTES_MAX = 5;

export class PacketWriter {
  #bytes: Buffer = Buffer.allocUnsafe(256);
  #end = HEADER_BYTES_MAX;

  u8(value: number): void {
    const at = this.#grow(1); // first: it may exchange the bytes
    this.#bytes[at] = value;
  }

  u16(value: number): void {
    assert(value >= 0 && value <= 0xffff, 'number fits its two bytes');
    const at = this.#grow(2);
    this.#bytes.writeUInt16BE(value, at);
  }

  u32(value: number): void {
    const at = this.#grow(4);
    this.#bytes.writeUInt32BE(value, at);
  }

  varint(value: number): void {
    assert(value >= 0 && value <= VARINT_MAX, 'number fits a variable byte integer');
    const at = this.#grow(varintSize(value));
    writeVarint(this.#bytes, at, value);
  }

  string(text: string): void {
    const size = Buffer.byteLength(text);
    this.u16(size);
    const at = this.#grow(size);
    this.#bytes.write(text, at, 'utf8');
  }

  /** Bytes behind their two-byte length. */
  binary(bytes: Uint8Array): void {
    this.u16(bytes.length);
    this.raw(bytes);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** Bytes behind their length as a variable byte integer: a property section. */
  section(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** The fields as they are, without a fixed header. */
  body(): Buffer {
    return this.#bytes.subarray(HEADER_BYTES_MAX, this.#end);
  }

  /** The whole packet. */
  packet(firstByte: number): Buffer {
    const size = this.#end - HEADER_BYTES_MAX;
    assert(size <= VARINT_MAX, 'packet fits its Remaining Length');
    const start = HEADER_BYTES_MAX - 1 - varintSize(size);
    this.#bytes[start] = firstByte;
    writeVarint(this.#bytes, start + 1, size);
    return this.#bytes.subarray(start, this.#end);
  }

  #grow(size: number): number {
    const at = this.#end;
    const end = at + size;
    if (end > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    this.#end = end;
    return at;
  }
}

/** The bytes of all properties that have a value, without their length. */
export function encodeProperties(values: Readonly<PropertyValues>): Buffer {
  const writer = new PacketWriter();
  for (const row of PROPERTIES) {
    const value = values[row.name];
    if (value === undefined) continue;
    if (row.type === 'pair' || row.type === 'varint') {
      for (const one of value as readonly unknown[]) writeProperty(writer, row, one);
    } else {
      writeProperty(writer, row, value);
    }
  }
  return writer.body();
}

function writeProperty(writer: PacketWriter, row: PropertyRow, value: unknown): void {
  writer.u8(row.id);
  switch (row.type) {
    case 'byte':
      return writer.u8(value as number);
    case 'flag':
      return writer.u8(value === true ? 1 : 0);
    case 'u16':
      return writer.u16(value as number);
    case 'u32':
      return writer.u32(value as number);
    case 'varint':
      return writer.varint(value as number);
    case 'string':
      return writer.string(value as string);
    case 'binary':
      return writer.binary(value as Uint8Array);
    case 'pair': {
      const [name, text] = value as readonly [string, string];
      writer.string(name);
      return writer.string(text);
    }
  }
}
