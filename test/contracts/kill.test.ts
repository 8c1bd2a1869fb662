/** What a crash leaves of the embedded engine: kill -9 under load, and a journal torn by hand. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openLmdbEngine } from '#adapters/lmdb';
import { createSeededRandom, Fault, silentLog, systemClock } from '#base';
import type { Engine } from '#ports';
import { append, messageOf, readAll, scanAll, textOf, until, write } from './engine-fixture.ts';

const KILLS = 6;
const MAGIC = Buffer.from([0x42, 0x4d, 0x51, 0x54]);

test('[ML11] [ST11] [ST10] after kill -9 under load everything that settled is there', async (t) => {
  const directory = newDirectory(t);
  const random = createSeededRandom(20_261_122);
  let start = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const settled = await runAndKill(directory, start, start + 200 + random.below(8000));
    const engine = await openLmdbEngine({ directory, clock: systemClock, log: silentLog });
    const log = engine.log.instance('i');

    const texts = (await readAll(log, ['#'])).map((entry) => Number(textOf(entry)));
    assert.ok(texts.length >= settled, `${texts.length} of ${settled}`);
    assert.deepEqual(
      texts,
      Array.from(texts, (_, i) => i),
      'in order, no gap',
    );
    const byTopic = await readAll(log, ['t/7', 't/8']);
    assert.deepEqual(
      byTopic.map((entry) => Number(textOf(entry))),
      texts.filter((i) => i % 50 === 7 || i % 50 === 8),
    );
    const rows = await scanAll(engine.store.table('t'), 'r/');
    const numbers = rows.map((row) => Number(row.key.slice(2))).sort((a, b) => a - b);
    assert.deepEqual(numbers, texts, 'rows and messages stand or fall together');
    assert.equal(log.size().count, texts.length);
    await engine.close();
    start = texts.length;
  }
});

test('[ML11] a torn last batch is dropped without a word', async (t) => {
  for (const damage of ['cut', 'cut at an odd byte', 'garbled', 'zeroed'] as const) {
    const directory = newDirectory(t);
    const { path, offset } = await crashedStore(directory);
    const bytes = readFileSync(path);
    if (damage === 'cut') writeFileSync(path, bytes.subarray(0, offset + 70));
    else if (damage === 'cut at an odd byte') writeFileSync(path, bytes.subarray(0, offset + 73));
    else if (damage === 'garbled') writeFileSync(path, flipped(bytes, offset + 60));
    else writeFileSync(path, bytes.fill(0, offset + 48, offset + 4000));

    const engine = await openLmdbEngine({ directory, clock: systemClock, log: silentLog });
    const log = engine.log.instance('i');
    const texts = (await readAll(log, ['#'])).map(textOf);
    assert.deepEqual(
      texts,
      Array.from({ length: 49 }, (_, i) => `${i}`),
    );
    await append(log, messageOf('t', 'next'));
    await engine.close();
    const again = await openLmdbEngine({ directory, clock: systemClock, log: silentLog });
    assert.equal((await readAll(again.log.instance('i'), ['#'])).length, 50);
    await again.close();
  }
});

test('[ML11] a broken batch with good ones behind it is said', async (t) => {
  const directory = newDirectory(t);
  const { path, offsets } = await crashedStore(directory);
  writeFileSync(path, flipped(readFileSync(path), offsets[20]! + 60));

  const opened = openLmdbEngine({ directory, clock: systemClock, log: silentLog });

  await assert.rejects(opened, (error: Error) => {
    assert.ok(Fault.is(error, 'storeUnavailable'));
    return error.message.includes(path) && error.message.includes('damaged');
  });
});

test('[ML11] a journal cut short behind the back of the store is said', async (t) => {
  const directory = newDirectory(t);
  const { path, offsets } = await crashedStore(directory);
  const open = (): Promise<Engine> =>
    openLmdbEngine({ directory, clock: systemClock, log: silentLog });
  await (await open()).close(); // all of it is applied
  truncateSync(path, offsets[20]!);

  await assert.rejects(open(), (error: Error) => {
    assert.ok(Fault.is(error, 'storeUnavailable'));
    return error.message.includes(path) && error.message.includes('damaged');
  });
});

test('a second engine on the same directory is refused, whatever the length of its path', async (t) => {
  for (const name of ['d', 'd'.repeat(200)]) {
    const directory = join(newDirectory(t), name);
    const open = (): Promise<Engine> =>
      openLmdbEngine({ directory, clock: systemClock, log: silentLog });
    const first = await open();

    await assert.rejects(open(), (error: Error) => {
      assert.ok(Fault.is(error, 'storeUnavailable'));
      return error.message.includes(directory) && error.message.includes('another process');
    });

    await first.close();
    await (await open()).close();
  }
});

test('a directory that cannot be used is refused in one line with its path', async (t) => {
  const directory = newDirectory(t);
  writeFileSync(join(directory, 'file'), '');
  const open = (path: string): Promise<Engine> =>
    openLmdbEngine({ directory: path, clock: systemClock, log: silentLog });
  const refused = (path: string, cause: RegExp) => (error: Error) => {
    assert.ok(Fault.is(error, 'storeUnavailable'));
    assert.ok(error.message.includes(path), error.message);
    assert.match(error.message, cause);
    return !error.message.includes('\n');
  };

  const file = join(directory, 'file', 'data');
  await assert.rejects(open(file), refused(file, /ENOTDIR/));
  const newer = join(directory, 'newer');
  await (await open(newer)).close();
  writeFileSync(join(newer, 'format'), 'ternmq 99 1\n');
  await assert.rejects(open(newer), refused(newer, /format 99/));
  const corrupt = join(directory, 'corrupt');
  await (await open(corrupt)).close();
  writeFileSync(join(corrupt, 'tables.mdb'), Buffer.alloc(100_000, 7));
  await assert.rejects(open(corrupt), refused(corrupt, /./));
});

test('[ML9] journal files below every floor are removed', async (t) => {
  const directory = newDirectory(t);
  const limits = { segmentBytes: 256 * 1024, preparedBytes: 64 * 1024, applyDelayMs: 5 };
  const engine = await openLmdbEngine({ directory, clock: systemClock, log: silentLog, limits });
  const log = engine.log.instance('i');
  const table = engine.store.table('t');
  log.retain({
    ageMs: Number.POSITIVE_INFINITY,
    bytesMax: Number.POSITIVE_INFINITY,
    countMax: 100,
  });
  const files = (): number => readdirSync(join(directory, 'journal')).length;
  let most = 0;

  for (let i = 0; i < 3000; i++) {
    await append(log, messageOf(`t/${i % 5}`, '', { payload: Buffer.alloc(1000) }));
    if (i % 100 === 0) await write(table, `k${i}`, Buffer.alloc(20_000));
    most = Math.max(most, files());
  }
  await until('old files are gone', async () => {
    await write(table, 'tick', Buffer.alloc(1));
    return files() <= 4;
  });

  assert.ok(most < 15, `at most ${most} files`);
  assert.equal((await readAll(log, ['#'])).length, 100);
  assert.equal((await readAll(log, ['t/0'])).length, 20);
  assert.equal((await scanAll(table, 'k')).length, 30);
  await engine.close();
});

function newDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'ternmq-kill-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Starts the writer, kills it once it has settled `enough`, answers what it had settled. */
async function runAndKill(directory: string, start: number, enough: number): Promise<number> {
  const script = join(import.meta.dirname, 'kill-child.ts');
  const child = spawn(process.execPath, ['--conditions=source', script, directory, `${start}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let settled = start;
  let rest = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop()!;
    for (const line of lines) settled = Number(line);
    if (settled >= enough) child.kill('SIGKILL');
  });
  const signal = await new Promise<string | null>((resolve) => {
    child.on('close', (_code, how) => resolve(how));
  });
  assert.equal(signal, 'SIGKILL');
  return settled;
}

/** A store as a crash leaves it: fifty batches of one message each, none applied. */
async function crashedStore(
  directory: string,
): Promise<{ path: string; offset: number; offsets: number[] }> {
  const live = join(directory, 'live');
  const limits = { applyDelayMs: 1e6, segmentBytes: 1024 * 1024, preparedBytes: 1 };
  const engine = await openLmdbEngine({
    directory: live,
    clock: systemClock,
    log: silentLog,
    limits,
  });
  for (let i = 0; i < 50; i++) await append(engine.log.instance('i'), messageOf('t', `${i}`));
  const journal = readFileSync(join(live, 'journal', '00000001.seg'));
  const format = readFileSync(join(live, 'format'));
  await engine.close();
  rmSync(live, { recursive: true });
  // Only the journal is left: LMDB begins empty, as if nothing had been applied.
  await (await openLmdbEngine({ directory, clock: systemClock, log: silentLog, limits })).close();
  const path = join(directory, 'journal', '00000001.seg');
  writeFileSync(path, journal);
  writeFileSync(join(directory, 'format'), format);
  const offsets: number[] = [];
  for (let at = journal.indexOf(MAGIC); at >= 0; at = journal.indexOf(MAGIC, at + 1)) {
    if (at % 8 === 0) offsets.push(at);
  }
  return { path, offset: offsets.at(-1)!, offsets };
}

function flipped(bytes: Buffer, at: number): Buffer {
  bytes[at]! ^= 0xff;
  return bytes;
}
