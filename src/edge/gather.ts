/**
 * Many small pieces, copied together for one write.
 *
 * The copies lie one behind the other in a block that all sockets share. What the system took at
 * once leaves its room free again, so a copy mostly costs no memory; what waits keeps its part.
 *
 * @hot
 */
import type { Socket } from 'node:net';

// Above this many pieces, and below this mean size, one copy beats a long writev.
const COUNT_MIN = 16;
const MEAN_BYTES_MAX = 512;
const BLOCK_BYTES = 64 * 1024;
/** A larger copy has memory of its own. */
const SHARED_BYTES_MAX = BLOCK_BYTES / 2;

let block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
let fill = 0;

/** Writes the first `count` pieces as one, if that is cheaper; false: it is not, nothing is written. */
export function writeGathered(
  socket: Socket,
  pieces: readonly Uint8Array[],
  count: number,
): boolean {
  if (count <= COUNT_MIN) return false;
  const size = sizeOf(pieces, count);
  if (size >= count * MEAN_BYTES_MAX) return false;
  if (size > SHARED_BYTES_MAX) {
    socket.write(copyInto(Buffer.allocUnsafeSlow(size), pieces, count));
    return true;
  }
  if (fill + size > BLOCK_BYTES) {
    block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    fill = 0;
  }
  const start = fill;
  fill += size;
  socket.write(copyInto(block.subarray(start, fill), pieces, count));
  if (socket.writableLength === 0) fill = start;
  return true;
}

export function sizeOf(pieces: readonly Uint8Array[], count: number): number {
  let size = 0;
  for (let i = 0; i < count; i++) size += (pieces[i] as Uint8Array).length;
  return size;
}

function copyInto(target: Buffer, pieces: readonly Uint8Array[], count: number): Buffer {
  let offset = 0;
  for (let i = 0; i < count; i++) {
    const piece = pieces[i] as Uint8Array;
    target.set(piece, offset);
    offset += piece.length;
  }
  return target;
}
