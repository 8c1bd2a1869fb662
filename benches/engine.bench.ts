/**
 * What an engine can do alone: appends at several depths, drains, table writes.
 *
 * `taskset -c 0 node --conditions=source benches/engine.bench.ts [memory|lmdb] [directory]`
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLmdbEngine } from '#adapters/lmdb';
import { openMemoryEngine } from '#adapters/memory';
import { createLog, type Fault, systemClock } from '#base';
import { type Engine, FilterSet, type InstanceLog, type LogMessage, type Table } from '#ports';

const TOPICS = 1000;
const [kind = 'lmdb', parent = tmpdir()] = process.argv.slice(2);
const directory = mkdtempSync(join(parent, 'ternmq-bench-'));
const write = (line: string): void => {
  process.stderr.write(line);
};
const engine: Engine =
  kind === 'memory'
    ? openMemoryEngine({ clock: systemClock, bytesMax: 4e9 })
    : await openLmdbEngine({
        directory,
        clock: systemClock,
        log: createLog({ level: 'info', clock: systemClock, write }),
      });
const log = engine.log.instance('bench');
for (const window of [1, 200, 1000, 10_000]) {
  await measured(`append, ${window} outstanding`, window === 1 ? 2000 : 400_000, (count) =>
    appendAll(log, count, window),
  );
}
const { count } = log.size();
await measured('drain #, pages of 500', count, () => drain(log, ['#'], 500));
await measured('drain t/+, pages of 100', count, () => drain(log, ['t/+'], 100));
for (const topic of ['t/7', 't/8']) {
  await measured(`drain ${topic}`, Math.floor(count / TOPICS), () => drain(log, [topic], 500));
}
const table = engine.store.table('retained');
await measured('write, 1000 outstanding, 50,000 keys', 400_000, (all) =>
  writeAll(table, all, 1000),
);
await measured('close', 1, () => engine.close());
rmSync(directory, { recursive: true });

async function measured(
  name: string,
  count: number,
  run: (count: number) => Promise<void>,
): Promise<void> {
  const startMs = performance.now();
  const start = process.cpuUsage();
  await run(count);
  const { user, system } = process.cpuUsage(start);
  const ms = performance.now() - startMs;
  const rate = Math.round((count / ms) * 1000).toLocaleString('en');
  const cpu = `user ${(user / count).toFixed(2)} us, system ${(system / count).toFixed(2)} us each`;
  console.log(`${name.padEnd(40)} ${rate.padStart(12)} /s   ${cpu}`);
}

function appendAll(target: InstanceLog, count: number, window: number): Promise<void> {
  const topics = Array.from({ length: TOPICS }, (_, i) => `t/${i}`);
  const message: { -readonly [K in keyof LogMessage]: LogMessage[K] } = {
    topic: '',
    payload: Buffer.alloc(128, 0x61),
    payloadStart: 0,
    payloadEnd: 128,
    properties: Buffer.alloc(0),
    propertiesStart: 0,
    propertiesEnd: 0,
    qos: 1,
    retain: false,
    publisher: 'publisher-1',
    acceptedMs: Date.now(),
    expiresMs: 0,
  };
  return new Promise((resolve, reject) => {
    let issued = 0;
    let done = 0;
    const issue = (): void => {
      message.topic = topics[issued++ % TOPICS]!;
      target.append(message, listener);
    };
    const listener = {
      appended: (): void => {
        done++;
        if (issued < count) issue();
        else if (done === count) resolve();
      },
      refused: reject,
    };
    for (let i = 0; i < window; i++) issue();
  });
}

async function drain(target: InstanceLog, filters: string[], countMax: number): Promise<void> {
  const wanted = new FilterSet(filters.map((filter) => ({ filter, after: 0 })));
  let after = 0;
  for (;;) {
    const page = await target.read({ filters: wanted, after, countMax, bytesMax: 1_000_000 });
    after = page.next;
    if (page.complete) return;
  }
}

function writeAll(target: Table, count: number, window: number): Promise<void> {
  const value = Buffer.alloc(128, 0x61);
  return new Promise((resolve, reject) => {
    let issued = 0;
    let done = 0;
    const issue = (): void => target.write(`retained/${issued++ % 50_000}`, value, listener);
    const listener = {
      settled: (fault: Fault | undefined): void => {
        if (fault !== undefined) reject(fault);
        done++;
        if (issued < count) issue();
        else if (done === count) resolve();
      },
    };
    for (let i = 0; i < window; i++) issue();
  });
}
