/**
 * Bytes that are kept for a while, in memory of their own.
 *
 * What a socket brought lies in a block with what others brought, and holds all of it: a client
 * that sends byte by byte while it is not read would hold a block for each.
 */

/** Whether it holds more than twice what it says. */
export function isWasteful(piece: Uint8Array): boolean {
  return piece.length * 2 < piece.buffer.byteLength;
}

/** The bytes from `at` on: where they are, or copied if they hold much more. */
export function keepBytes(chunk: Buffer, at = 0): Buffer {
  const bytes = at === 0 ? chunk : chunk.subarray(at);
  if (!isWasteful(bytes)) return bytes;
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}
