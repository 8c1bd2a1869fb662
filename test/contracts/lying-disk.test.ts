/**
 * The embedded engine on a disk that lies: journal writes that are reported failed and landed all
 * the same, whole or in part, and what is found after a kill or a power cut.
 *
 * What was acknowledged is there. What was refused may come back only while nothing has been
 * written since.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Fault, silentLog, systemClock } from '#base';
import type { Engine, LogMessage } from '#ports';
import { type Chance, chanceOf } from '../harness/chance.ts';
import { type Fate, type JournalWrite, lyingDisk, openLmdbEngine } from '../harness/lying-disk.ts';
import { ManualClock } from '../harness/manual-clock.ts';
import { append, messageOf, readAll, scanAll, textOf, until, write } from './engine-fixture.ts';

const RETRY_MS = 1000;
const SEGMENT_BYTES = 16 * 1024;
const LIMITS = {
  segmentBytes: SEGMENT_BYTES,
  preparedBytes: SEGMENT_BYTES / 4,
  retryMs: RETRY_MS,
  applyDelayMs: 1e9, // only closing applies, so that a copied LMDB file is whole
};
const LANDED: Fate = { shown: 'all', kept: 'all' };
const CACHED: Fate = { shown: 'all', kept: 'none' };
const TORN: Fate = { shown: 'some', kept: 'some' };
const HALF_CACHED: Fate = { shown: 'some', kept: 'none' };
const NOT_WRITTEN: Fate = { shown: 'none', kept: 'none' };
const TOPICS = 3;
const ROWS = 7;

/** A store, and what must be in it. */
class World {
  readonly clock: ManualClock = new ManualClock();
  readonly #scratch: string;
  readonly #about: string;
  /** Numbers of acknowledged calls. */
  kept: number[] = [];
  /** Those of the batch that was refused last, until something has been written since. */
  doubtful: number[] = [];
  engine!: Engine;
  #open = false;
  directory: string;
  #crashes = 0;
  #next = 0;

  constructor(t: TestContext, about: string, chance: Chance) {
    this.#scratch = mkdtempSync(join(tmpdir(), 'ternmq-lying-'));
    this.#about = about;
    this.directory = join(this.#scratch, '0');
    lyingDisk.chance = chance;
    lyingDisk.decide = () => undefined;
    lyingDisk.told = this.#told;
    t.after(async () => {
      await this.close();
      rmSync(this.#scratch, { recursive: true, force: true });
    });
  }

  readonly #told = ({ path, bytes }: JournalWrite, succeeded: boolean): void => {
    if (!isIn(this.directory, path)) return; // of an earlier life
    const numbers = numbersIn(bytes);
    if (succeeded) this.doubtful = [];
    else if (numbers.length > 0) this.doubtful = numbers;
  };

  async open(): Promise<void> {
    const { directory, clock } = this;
    const refused = this.doubtful;
    await this.use(openLmdbEngine({ directory, clock, log: silentLog, limits: LIMITS }));
    const found = await this.#found();
    const back = found.length > this.kept.length ? refused : [];
    assert.deepEqual(found, [...this.kept, ...back], this.#about);
    this.kept = found;
    if (back.length > 0) this.doubtful = [];
    await this.check();
  }

  async use(opening: Promise<Engine>): Promise<void> {
    this.engine = await opening;
    this.#open = true;
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.engine.close();
  }

  /** Leaves what a crash leaves, and opens that; what is under way is then never heard of. */
  async crash(how: 'kill' | 'power'): Promise<void> {
    const { directory } = this;
    this.directory = join(this.#scratch, `${++this.#crashes}`);
    lyingDisk.crash(directory, this.directory, how);
    lyingDisk.release();
    await this.close();
    await this.open();
  }

  /** One synchronous run of calls, each an append and a row; true where it was acknowledged. */
  async run(...sizes: number[]): Promise<boolean> {
    const log = this.engine.log.instance('i');
    const table = this.engine.store.table('t');
    const numbers: number[] = [];
    const calls: Promise<boolean>[] = [];
    for (const size of sizes) {
      const number = this.#next++;
      const text = markOf(number);
      numbers.push(number);
      table.write(`r${number % ROWS}`, Buffer.from(text));
      const message = messageOf(topicOf(number), text.padEnd(size, '.'));
      calls.push(
        new Promise((resolve) => {
          log.append(message, {
            appended: () => resolve(true),
            refused: () => resolve(false),
          });
        }),
      );
    }
    const answers = new Set(await Promise.all(calls));
    assert.equal(answers.size, 1, `one run is one batch, ${this.#about}`);
    if (!answers.has(true)) return false;
    this.kept.push(...numbers);
    return true;
  }

  /** What the store holds is what was acknowledged, however it is read. */
  async check(): Promise<void> {
    assert.deepEqual(await this.#found(), this.kept, this.#about);
    const log = this.engine.log.instance('i');
    const byTopic = (await readAll(log, [topicOf(1)])).map(numberOf);
    assert.deepEqual(
      byTopic,
      this.kept.filter((number) => topicOf(number) === topicOf(1)),
      this.#about,
    );
    assert.equal(log.size().count, this.kept.length, this.#about);
    const rows = new Map(this.kept.map((number) => [`r${number % ROWS}`, markOf(number)]));
    for (const row of await scanAll(this.engine.store.table('t'), 'r')) {
      assert.equal(Buffer.from(row.value).toString(), rows.get(row.key), this.#about);
      rows.delete(row.key);
    }
    assert.deepEqual([...rows.keys()], [], this.#about);
  }

  async #found(): Promise<number[]> {
    const entries = await readAll(this.engine.log.instance('i'), ['#']);
    return entries.map(numberOf);
  }
}

function isIn(directory: string, path: string): boolean {
  return path.startsWith(join(directory, '/'));
}

function topicOf(number: number): string {
  return `t/${number % TOPICS}`;
}

/** Longer than the few bytes that may be left of an earlier batch between two records. */
function markOf(number: number): string {
  return `<${String(number).padStart(8, '0')}>`;
}

function numberOf(entry: LogMessage): number {
  return Number(/<(\d+)>/.exec(textOf(entry)!)![1]);
}

/** The calls whose messages lie in these bytes. */
function numbersIn(bytes: Buffer): number[] {
  const all = [...bytes.toString('latin1').matchAll(/<(\d{8})>/g)].map((match) => Number(match[1]));
  return [...new Set(all)];
}

/** The next journal writes fail with these fates, and later ones succeed. */
function fail(...fates: Fate[]): void {
  lyingDisk.decide = () => fates.shift();
}

async function quiet(): Promise<void> {
  await until('no write is under way', async () => {
    for (let i = 0; i < 3; i++) await new Promise(setImmediate);
    return lyingDisk.pending === 0;
  });
}

async function openWorld(t: TestContext): Promise<World> {
  const world = new World(t, 'named', chanceOf(1));
  await world.open();
  return world;
}

function segmentCount(world: World): number {
  return readdirSync(join(world.directory, 'journal')).length;
}

for (const more of [0, 2]) {
  test(`[ML3] [ML11] [ST9] a refused batch that landed is gone although the journal goes on in the next segment (${more} behind)`, async (t) => {
    const world = await openWorld(t);
    while (segmentCount(world) < 2) assert.ok(await world.run(1500));
    assert.ok(await world.run(SEGMENT_BYTES / 4));
    fail(LANDED);
    assert.equal(await world.run(700), false);
    world.clock.stall(RETRY_MS); // the time to try again comes while calls do
    let acknowledged = world.run(SEGMENT_BYTES);
    world.clock.advance(0);
    for (let tries = 0; !(await acknowledged); tries++) {
      assert.ok(tries < 5, 'the disk takes writes again');
      world.clock.advance(RETRY_MS);
      await quiet();
      acknowledged = world.run(SEGMENT_BYTES);
    }
    for (let i = 0; i < more; i++) assert.ok(await world.run(100));

    await world.crash('kill');

    assert.ok(await world.run(100));
  });
}

test('[ML3] [ST9] a batch that landed is voided before anybody is told that it was refused', async (t) => {
  const world = await openWorld(t);
  assert.ok(await world.run(100));
  fail(LANDED);
  assert.equal(await world.run(700, 700), false);
  assert.equal(lyingDisk.pending, 0, 'the disk has answered');

  await world.crash('power');

  assert.deepEqual(world.kept, [0]);
});

test('[ML3] [ML11] nothing is taken until the place of a refused batch is voided', async (t) => {
  const world = await openWorld(t);
  assert.ok(await world.run(100));
  fail(LANDED, TORN, NOT_WRITTEN, CACHED, TORN);
  assert.equal(await world.run(700), false);
  for (let tries = 0; tries < 4; tries++) {
    await quiet();
    assert.equal(await world.run(SEGMENT_BYTES), false);
    world.clock.stall(RETRY_MS);
    assert.equal(await world.run(SEGMENT_BYTES), false);
    world.clock.advance(0);
  }
  await quiet();
  assert.ok(await world.run(SEGMENT_BYTES));

  await world.crash('power');

  assert.deepEqual(world.doubtful, []);
});

test('[ML11] a batch that a start brought back outlasts a power cut', async (t) => {
  const world = await openWorld(t);
  assert.ok(await world.run(100));
  fail(CACHED, NOT_WRITTEN);
  assert.equal(await world.run(SEGMENT_BYTES / 2, 700), false);
  await quiet();
  await world.crash('kill');
  assert.deepEqual(world.kept, [0, 1, 2]);
  assert.ok(await world.run(100));

  await world.crash('power');

  assert.deepEqual(world.kept, [0, 1, 2, 3]);
});

test('[ML3] [ML11] a start voids what only the disk still has of a refused batch', async (t) => {
  const world = await openWorld(t);
  assert.ok(await world.run(100));
  await world.close();
  await world.open(); // nothing is left to replay
  fail(LANDED, HALF_CACHED);
  assert.equal(await world.run(700), false);
  await quiet();
  await world.crash('kill');
  assert.deepEqual(world.kept, [0]);
  assert.ok(await world.run(SEGMENT_BYTES)); // in the next segment

  await world.crash('power');

  assert.deepEqual(world.kept, [0, 2]);
});

test('[ML3] a store that is closed on a bad disk tries once more to void what it refused', async (t) => {
  const world = await openWorld(t);
  assert.ok(await world.run(100));
  fail(LANDED, NOT_WRITTEN);
  assert.equal(await world.run(700), false);
  await quiet();
  await world.close();

  await world.open();

  assert.deepEqual(world.kept, [0]);
});

test('[ML11] a disk that refuses writes at start is served from, and taken into use later', async (t) => {
  const world = await openWorld(t);
  assert.ok(await world.run(100));
  await world.close();
  fail(TORN);
  await world.open();
  assert.equal(await world.run(100), false);
  world.clock.advance(RETRY_MS);
  await quiet();
  assert.ok(await world.run(100));

  await world.crash('kill');

  assert.deepEqual(world.kept, [0, 2]);
});

test('[ML4] [ML9] a read under way has its file to itself although retention removes it', async (t) => {
  const world = new World(t, 'read', chanceOf(1));
  const { directory } = world;
  const limits = { segmentBytes: 256 * 1024, preparedBytes: 1, applyDelayMs: 5, cacheBytesMax: 1 };
  await world.use(openLmdbEngine({ directory, clock: systemClock, log: silentLog, limits }));
  const { engine } = world;
  const log = engine.log.instance('i');
  const all = { ageMs: Number.POSITIVE_INFINITY, bytesMax: Number.POSITIVE_INFINITY };
  for (let i = 0; i < 3000; i++) await append(log, messageOf('t', `${i}`.padEnd(1000)));

  const held = lyingDisk.holdRead();
  const reading = readAll(log, ['#']);
  const read = await held;
  const file = read.file();
  log.retain({ ...all, countMax: 10 });
  await until('the file is gone', async () => {
    await write(engine.store.table('t'), 'tick', Buffer.alloc(1));
    return !readdirSync(join(directory, 'journal')).includes('00000001.seg');
  });
  assert.equal(read.file(), `${file} (deleted)`);
  read.start();

  const numbers = (await reading).map((entry) => Number(textOf(entry)));
  assert.deepEqual(
    numbers,
    Array.from({ length: 10 }, (_, i) => 2990 + i),
  );
});

test('[ML3] [ML11] [ST9] [ST10] [ST11] whatever the disk does, what was acknowledged is there in order', async (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    await t.test(`seed ${seed}`, (one) => simulate(one, seed));
  }
});

const SEEDS = 24;
const LIVES = 5;
const STEPS = 12;

async function simulate(t: TestContext, seed: number): Promise<void> {
  const chance = chanceOf(seed);
  const world = new World(t, `seed ${seed}`, chance);
  await world.open();
  for (let life = 0; life < LIVES; life++) {
    const badness = chance.pick([0, 0.2, 0.6]);
    const { directory } = world;
    const decide = ({ path }: JournalWrite): Fate | undefined =>
      path.startsWith(join(directory, '/')) && chance.happens(badness)
        ? anyFate(chance)
        : undefined;
    lyingDisk.decide = decide;
    for (let step = 0; step < STEPS; step++) await anyStep(world, chance);
    await anyEnd(world, chance);
    await world.check();
  }
}

function anyFate(chance: Chance): Fate {
  const parts = ['all', 'some', 'none'] as const;
  return { shown: chance.pick(parts), kept: chance.pick(parts) };
}

function anySizes(chance: Chance): number[] {
  const large = chance.happens(0.1);
  const sizes = Array.from({ length: 1 + chance.below(4) }, () => chance.below(1500));
  return large ? [SEGMENT_BYTES / 2, ...sizes] : sizes;
}

async function anyStep(world: World, chance: Chance): Promise<void> {
  const kind = chance.below(10);
  if (kind < 5) {
    await world.run(...anySizes(chance));
  } else if (kind < 7) {
    const first = world.run(...anySizes(chance));
    await new Promise(setImmediate);
    const second = world.run(...anySizes(chance));
    await Promise.all([first, second]);
  } else if (kind < 9) {
    world.clock.advance(RETRY_MS);
  } else {
    world.clock.stall(RETRY_MS);
  }
  if (chance.happens(0.3)) await quiet();
  if (chance.happens(0.3)) await world.check();
}

/** A crash, perhaps in the middle of a write, or an end in good order, perhaps on a bad disk. */
async function anyEnd(world: World, chance: Chance): Promise<void> {
  if (chance.happens(0.2)) {
    await quiet();
    await world.close();
    lyingDisk.decide = () => undefined;
    await world.open();
    return;
  }
  await quiet();
  let last: Promise<boolean> | undefined;
  if (chance.happens(0.6)) {
    lyingDisk.holding = true;
    last = world.run(...anySizes(chance));
    let over = false;
    void last.then(() => {
      over = true;
    });
    await until('the last write is held or refused', async () => {
      await new Promise(setImmediate);
      return over || lyingDisk.pending > 0;
    });
  }
  const { directory } = world;
  const fates = chance.happens(0.2) ? [anyFate(chance)] : [];
  lyingDisk.decide = ({ path }) => (isIn(directory, path) ? undefined : fates.pop());
  const how = chance.pick(['kill', 'power'] as const);
  await world.crash(how).catch(async (error: unknown) => {
    // The end of the journal could not be made sure of; a start on a better disk can.
    assert.ok(Fault.is(error, 'storeUnavailable'), String(error));
    await world.open();
  });
  await last;
}
