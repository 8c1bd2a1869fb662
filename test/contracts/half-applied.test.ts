/**
 * The index on disk while it is written, or was written by parts: whatever LMDB refused of it, and
 * whenever readers look, every message of a topic is found once, and none of another topic.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { type LmdbLimits, openLmdbEngine } from '#adapters/lmdb';
import { silentLog, systemClock } from '#base';
import { type Engine, FilterSet, type InstanceLog, type Position } from '#ports';
import type { Databases } from '../../src/adapters/lmdb/database.ts';
import type { LmdbInstanceLog } from '../../src/adapters/lmdb/instance-log.ts';
import { type Chance, chanceOf } from '../harness/chance.ts';
import { append, messageOf, readAll, textOf, until } from './engine-fixture.ts';

const SEEDS = [1, 2, 3];
const ROUNDS = 120;
const NEVER = Number.MAX_SAFE_INTEGER;

interface Opened {
  log: InstanceLog;
  databases: Databases;
  readonly reopen: () => Promise<void>;
}

async function open(t: TestContext, limits: () => Partial<LmdbLimits>): Promise<Opened> {
  const directory = mkdtempSync(join(tmpdir(), 'ternmq-half-'));
  let engine: Engine;
  const look = async (): Promise<Pick<Opened, 'log' | 'databases'>> => {
    const options = { directory, clock: systemClock, log: silentLog, limits: limits() };
    engine = await openLmdbEngine(options);
    const log = engine.log.instance('i') as LmdbInstanceLog;
    return { log, databases: log.shared.databases };
  };
  const opened: Opened = {
    ...(await look()),
    reopen: async () => {
      await engine.close();
      Object.assign(opened, await look());
    },
  };
  t.after(async () => {
    await engine.close();
    rmSync(directory, { recursive: true });
  });
  return opened;
}

/** From now on LMDB refuses what `refuses` says; those of one turn are one transaction. */
function refuse(
  databases: Databases,
  refuses: (turn: number, index: boolean) => boolean,
): () => void {
  const { put } = databases;
  let turn = 0;
  let isOver = true;
  databases.put = (database, key, value) => {
    if (isOver) {
      turn++;
      setImmediate(() => (isOver = true));
    }
    isOver = false;
    if (!refuses(turn, database === databases.index)) return put(database, key, value);
    const refused = Promise.reject(new Error('no room'));
    refused.catch(() => {});
    return refused;
  };
  return () => {
    databases.put = put;
  };
}

function isApplied(log: InstanceLog): boolean {
  return (log as LmdbInstanceLog).shared.tailEntries === 0;
}

function texts(count: number): string[] {
  return Array.from({ length: count }, (_, i) => String(i));
}

async function appendAll(log: InstanceLog, topic: string, all: readonly string[]): Promise<void> {
  await Promise.all(all.map((text) => append(log, messageOf(topic, text))));
}

test('what a refused transaction leaves out is not jumped over', async (t) => {
  const limits = { applyDelayMs: 20, sliceMs: 0, retryMs: 60_000 };
  const { log, databases } = await open(t, () => limits);
  await append(log, messageOf('t', 'first'));
  await until('the first is applied', () => isApplied(log));
  let turns = 0;
  const allow = refuse(databases, (turn) => {
    turns = turn;
    return turn === 1;
  });

  const all = texts(20_000);
  await appendAll(log, 't', all);
  await until('a transaction is refused and the next is not', () => turns >= 2);
  await new Promise((resolve) => setTimeout(resolve, 50)); // on disk

  assert.deepEqual((await readAll(log, ['t'], { countMax: 256 })).map(textOf), ['first', ...all]);
  allow();
});

test('what is written again takes the place of what was written, whatever went meanwhile', async (t) => {
  const { log, databases } = await open(t, () => ({ applyDelayMs: 20, retryMs: 100 }));
  let parts = 0;
  const allow = refuse(databases, (_, isIndex) => {
    if (!isIndex) parts++;
    return !isIndex; // the chunks are there, what says so is not
  });
  const all = texts(520);
  await appendAll(log, 't', all.slice(0, 515));
  await until('the chunks are written', () => parts > 0);
  log.retain({ ageMs: NEVER, bytesMax: NEVER, countMax: 505 });
  await until('the oldest are gone', () => log.size().count === 505);
  allow();
  await appendAll(log, 't', all.slice(515));
  await until('all is applied', () => isApplied(log));

  for (const skipped of [0, 3, 495, 502]) {
    const kept = all.slice(15);
    const positions = (await readAll(log, ['t'])).map(({ position }) => position);
    const after = positions[skipped]!;
    const found = await readAll(log, ['t'], { after, countMax: 7 });
    assert.deepEqual(found.map(textOf), kept.slice(skipped + 1));
  }
});

for (const seed of SEEDS) {
  test(`readers while it is written and refused (SEED=${seed})`, async (t) => {
    const chance = chanceOf(seed);
    const opened = await open(t, () => ({
      segmentBytes: chance.pick([64, 256]) * 1024,
      preparedBytes: 16 * 1024,
      applyEntries: chance.pick([3, 50, 2000]),
      applyDelayMs: chance.pick([1, 20]),
      sliceMs: chance.pick([0, 2]),
      retryMs: 2,
    }));
    const world = new World(chance, opened);

    for (let round = 0; round < ROUNDS; round++) {
      await world.live();
      if (round % 40 === 39) await world.restart();
    }

    await world.settle();
    for (const topic of TOPICS) await world.read([topic], 0);
    for (const filter of WILDCARDS) await world.read([filter], 0);
  });
}

const LONG = 'l'.repeat(1800);
const TOPICS = ['hot', 'a', 'a/b', 'a/b/c', 'a\u0001', 'é/ü', LONG, `${LONG}/x`, `${LONG}${LONG}`];
const WILDCARDS = ['#', 'a/#', '+/+', `${LONG}/#`];

/** What was appended, and readers that compare with it. */
class World {
  readonly #chance: Chance;
  readonly #opened: Opened;
  readonly #all: { readonly position: Position; readonly topic: string; readonly text: string }[] =
    [];
  #allow: (() => void) | undefined = undefined;
  #appends: Promise<void>[] = [];
  #reads: Promise<void>[] = [];
  #count = 0;

  constructor(chance: Chance, opened: Opened) {
    this.#chance = chance;
    this.#opened = opened;
  }

  async live(): Promise<void> {
    const chance = this.#chance;
    const busiest = chance.pick(TOPICS);
    for (let left = chance.pick([0, 1, 40, 800]); left > 0; left--) {
      this.#append(chance.happens(0.5) ? busiest : chance.pick(TOPICS));
    }
    if (chance.happens(0.1)) this.#turnDisk();
    const filters = chance.happens(0.6)
      ? [chance.pick(TOPICS), chance.pick(TOPICS)]
      : [chance.pick(WILDCARDS)];
    const from = this.#all[chance.below(Math.max(1, this.#all.length))]?.position ?? 0;
    this.#reads.push(this.read([...new Set(filters)], from));
    await new Promise((resolve) => setTimeout(resolve, chance.below(4)));
  }

  async restart(): Promise<void> {
    await this.settle();
    await this.#opened.reopen();
  }

  async settle(): Promise<void> {
    this.#allow?.();
    this.#allow = undefined;
    await Promise.all(this.#appends);
    await Promise.all(this.#reads);
    this.#appends = [];
    this.#reads = [];
  }

  /** Every message after `from` that was known when the reading began, in order and once. */
  async read(filters: readonly string[], from: Position): Promise<void> {
    const chance = this.#chance;
    const { log } = this.#opened;
    const set = new FilterSet(filters.map((filter) => ({ filter, after: 0 })));
    const known = this.#all.filter(
      ({ position, topic }) => position > from && set.afterOf(topic) === 0,
    );
    const found: string[] = [];
    const countMax = chance.pick([3, 50, 256]);
    for (let after = from; ; ) {
      const page = await log.read({ filters: set, after, countMax, bytesMax: 100_000 });
      for (const entry of page.entries) found.push(`${entry.topic} ${textOf(entry)}`);
      after = page.next;
      if (page.complete || found.length >= known.length) break;
    }
    const wanted = known.map(({ topic, text }) => `${topic} ${text}`);
    assert.deepEqual(found.slice(0, wanted.length), wanted);
  }

  #append(topic: string): void {
    const text = `${this.#count++}`;
    const { log } = this.#opened;
    const told = append(log, messageOf(topic, text)).then((position) => {
      this.#all.push({ position, topic, text });
    });
    this.#appends.push(told);
  }

  /** The disk is full, or has room again. */
  #turnDisk(): void {
    const chance = this.#chance;
    this.#allow?.();
    this.#allow =
      this.#allow === undefined
        ? refuse(this.#opened.databases, () => chance.happens(0.5))
        : undefined;
  }
}
