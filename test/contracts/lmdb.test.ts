/** The contracts on the embedded durable engine. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openLmdbEngine } from '#adapters/lmdb';
import { silentLog } from '#base';
import type { Engine } from '#ports';
import { createTestClock, type EngineUnderTest, until } from './engine-fixture.ts';
import { logFiltersContract } from './log-filters-contract.ts';
import { messageLogContract } from './message-log-contract.ts';
import { storeContract } from './store-contract.ts';

const MIB = 1024 * 1024;
// Small enough that every test crosses segments and times of applying.
const SMALL = { segmentBytes: MIB, preparedBytes: MIB / 2, applyDelayMs: 5, applyEntries: 500 };

const lmdb: EngineUnderTest = {
  name: 'lmdb',
  keeps: true,
  open: async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'ternmq-lmdb-'));
    const clock = createTestClock();
    const open = (): Promise<Engine> =>
      openLmdbEngine({ directory, clock, log: silentLog, limits: SMALL });
    let engine = await open();
    t.after(async () => {
      await engine.close();
      rmSync(directory, { recursive: true });
    });
    const reopen = async (): Promise<Engine> => {
      await engine.close();
      engine = await open();
      return engine;
    };
    return { engine, clock, reopen };
  },
  openFull: async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'ternmq-full-'));
    if (!mounted(t, directory)) return 'needs the right to mount a tmpfs: run as root';
    const limits = { segmentBytes: MIB / 2, preparedBytes: MIB / 4, retryMs: 50 };
    const data = join(directory, 'data');
    const clock = createTestClock();
    const engine = await openLmdbEngine({ directory: data, clock, log: silentLog, limits });
    t.after(() => engine.close());
    await engine.store.table('warm').put('up', Buffer.alloc(10));
    const ballast = join(directory, 'ballast');
    const { bavail, bsize } = statfsSync(directory);
    writeFileSync(ballast, Buffer.alloc(bavail * bsize - 2 * MIB));
    const makeRoom = async (): Promise<void> => rmSync(ballast);
    return { engine, tooMany: 3 * MIB, makeRoom };
  },
};

function mounted(t: TestContext, directory: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', directory], {
      stdio: 'ignore',
    });
  } catch {
    rmSync(directory, { recursive: true });
    return false;
  }
  // Runs after the engine is closed: hooks run in the order they were added, so it waits.
  t.after(() => {
    setImmediate(() => {
      execFileSync('umount', ['-l', directory]);
      rmSync(directory, { recursive: true });
    });
  });
  return true;
}

test('[ST5] the first write after a start becomes durable although nobody waits', async (t) => {
  const { engine } = await lmdb.open(t);

  engine.store.table('t').write('k', Buffer.alloc(10));

  await until('it is durable', () => engine.pendingBytes === 0);
});

storeContract(lmdb);
messageLogContract(lmdb);
logFiltersContract(lmdb);
