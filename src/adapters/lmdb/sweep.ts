/** Removes index chunks of messages that retention has removed, a slice at a time. */
import { successor } from './database.ts';
import type { LmdbInstanceLog } from './instance-log.ts';
import { chunkEnd } from './topic-index.ts';

const SLICE_CHUNKS = 500;

/** Walks the whole index of one instance. */
export async function sweepIndex(log: LmdbInstanceLog): Promise<void> {
  const { index } = log.shared.databases;
  let start = Buffer.allocUnsafe(4);
  start.writeUInt32BE(log.number, 0);
  const end = successor(start);
  for (;;) {
    let looked = 0;
    const gone: Buffer[] = [];
    for (const { key, value } of index.getRange({ start, end, limit: SLICE_CHUNKS })) {
      looked++;
      start = Buffer.concat([key, NUL]);
      if (chunkEnd(value) <= log.floor()) gone.push(key);
    }
    let last: Promise<unknown> | undefined;
    for (const key of gone) last = log.shared.databases.put(index, key, undefined);
    if (last === undefined) await new Promise(setImmediate);
    else await last;
    if (looked < SLICE_CHUNKS) return;
  }
}

const NUL: Buffer = Buffer.from([0]);
