/**
 * Variable byte integers (MQTT 5.0 section 1.5.5): seven bits a byte, lowest first, four bytes
 * at most. Longer forms than needed are read, never written [MQTT-1.5.5-1].
 *
 * @hot
 */

/** The largest number four bytes hold, and so the longest Remaining Length. */
export const VARINT_MAX = 268_435_455;

/** How many bytes `value` takes. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  return value < 0x20_0000 ? 3 : 4;
}

/** Writes `value` at `offset` and returns the offset after it. */
export function writeVarint(target: Uint8Array, offset: number, value: number): number {
  let rest = value;
  let i = offset;
  while (rest >= 0x80) {
    target[i++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[i++] = rest;
  return i;
}

/** The number at `offset`, or -1 where it has a fifth byte or reaches beyond `end`. */
export function readVarint(bytes: Uint8Array, offset: number, end: number): number {
  let value = 0;
  for (let i = 0; i < 4 && offset + i < end; i++) {
    const byte = bytes[offset + i]!;
    value |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) return value;
  }
  return -1;
}

/** How many bytes the number at `offset` is written in; it has been read before. */
export function readVarintSize(bytes: Uint8Array, offset: number): number {
  let size = 1;
  while (size < 4 && bytes[offset + size - 1]! >= 0x80) size++;
  return size;
}
