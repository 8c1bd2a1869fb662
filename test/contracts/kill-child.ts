/**
 * The process that `kill.test.ts` kills: writes rows and messages as fast as it can and prints
 * what has settled. Run i writes row `r/i` and message i in one synchronous run.
 */
import { writeSync } from 'node:fs';
import { openLmdbEngine } from '#adapters/lmdb';
import { silentLog, systemClock } from '#base';
import { messageOf } from './engine-fixture.ts';

const [directory, start] = process.argv.slice(2);
const engine = await openLmdbEngine({
  directory: directory!,
  clock: systemClock,
  log: silentLog,
  limits: {
    segmentBytes: 1024 * 1024,
    preparedBytes: 512 * 1024,
    applyDelayMs: 5,
    applyEntries: 500,
  },
});
const log = engine.log.instance('i');
const table = engine.store.table('t');
let next = Number(start);
let settled = next;
const listener = {
  appended: (): void => {
    settled++;
    if (settled % 20 === 0) writeSync(1, `${settled}\n`);
    one();
  },
  refused: (): never => process.exit(1),
};

function one(): void {
  const i = next++;
  table.write(`r/${i}`, Buffer.from(`${i}`));
  log.append(
    messageOf(`t/${i % 50}`, `${i}`, { payload: Buffer.from(`${i}`.padEnd(i % 700)) }),
    listener,
  );
}

for (let i = 0; i < 100; i++) one();
