/**
 * The promise under `kill -9`: what was acknowledged is delivered, QoS 2 once, in order.
 *
 * Each run is made from a seed. One seed comes from the commit, so every commit tries another
 * one; SEED=n repeats a run, SEEDS=n makes n of them.
 */
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Chance, chanceOf } from '../harness/chance.ts';
import { freePort } from '../harness/free-port.ts';
import { connectRaw, startBroker } from '../harness/index.ts';
import { filterMatches, Ledger, Receipts, showMessages } from '../harness/ledger.ts';
import { SwarmPublisher, SwarmSubscriber } from '../harness/swarm.ts';
import { until } from '../harness/until.ts';

const KILLS_MIN = 2;
const KILLS_MAX = 6;
/** All runs together may kill for so long; on a busy machine each kills less often. */
const KILLING_MS_MAX = 30_000;
const DRAIN_MS_MAX = 30_000;
const FENCE = 'fence';
const TOPICS = ['k/0/a', 'k/0/b', 'k/1/a', 'k/1/b', 'k/2/c'];

function seeds(): number[] {
  const one = process.env['SEED'];
  if (one !== undefined) return [Number(one)];
  const count = Number(process.env['SEEDS'] ?? 2);
  const fixed = Array.from({ length: count - 1 }, (_, index) => index + 1);
  return [commitSeed(), ...fixed];
}

function commitSeed(): number {
  try {
    const hash = execFileSync('git', ['rev-parse', 'HEAD'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return Number.parseInt(hash.toString().slice(0, 8), 16);
  } catch {
    return 0; // not a checkout
  }
}

interface World {
  readonly port: number;
  readonly ledger: Ledger;
  readonly chance: Chance;
  readonly publishers: readonly SwarmPublisher[];
  readonly transients: readonly SwarmPublisher[];
  readonly writers: readonly SwarmPublisher[];
  readonly fencer: SwarmPublisher;
  /** Each must get all that its filters match; `exactly`: QoS 2 once. */
  readonly subscribers: readonly { readonly who: SwarmSubscriber; readonly exactly: boolean }[];
  readonly offline: readonly SwarmSubscriber[];
  readonly restless: readonly SwarmSubscriber[];
  readonly members: readonly SwarmSubscriber[];
  readonly complaints: string[];
}

function createWorld(port: number, chance: Chance): World {
  const ledger = new Ledger();
  const complaints: string[] = [];
  const complain = (text: string): void => void complaints.push(text);
  const publisher = (
    clientId: string,
    version: 4 | 5,
    qos: readonly (1 | 2)[],
    more: { durable?: boolean; topics?: readonly string[]; retain?: boolean } = {},
  ): SwarmPublisher =>
    new SwarmPublisher({
      clientId,
      version,
      qos,
      port,
      ledger,
      chance,
      complain,
      durable: true,
      topics: TOPICS,
      ...more,
    });
  const subscriber = (
    clientId: string,
    version: 4 | 5,
    filters: readonly (readonly [string, number])[],
    more: { ackDelayMs?: number; receiveMaximum?: number } = {},
  ): SwarmSubscriber =>
    new SwarmSubscriber({
      clientId,
      version,
      filters: filters.some(([filter]) => filter.startsWith('$share'))
        ? filters
        : [...filters, [FENCE, 2]],
      port,
      ledger,
      complain,
      receipts: new Receipts(clientId),
      ...more,
    });
  const all = subscriber('all', 5, [['k/#', 2]]);
  const overlapping = subscriber('overlapping', 4, [
    ['k/0/#', 1],
    ['k/+/a', 2],
    ['k/0/a', 2],
  ]);
  const slow = subscriber('slow', 4, [['k/+/b', 1]], { ackDelayMs: 30 });
  const narrow = subscriber('narrow', 5, [['k/#', 2]], { ackDelayMs: 5, receiveMaximum: 20 });
  const restless = subscriber('restless', 4, [['k/#', 2]]);
  const restlessToo = subscriber('restless-too', 5, [['k/1/#', 2]], { ackDelayMs: 10 });
  const away = subscriber('away', 4, [['k/#', 2]]);
  const awayToo = subscriber('away-too', 5, [['k/0/+', 1]]);
  return {
    port,
    ledger,
    chance,
    publishers: [
      publisher('p1', 4, [1]),
      publisher('p2', 5, [2]),
      publisher('p3', 4, [2]),
      publisher('p4', 5, [1, 2]),
    ],
    transients: [
      publisher('t1', 4, [1], { durable: false }),
      publisher('t2', 5, [2], { durable: false }),
    ],
    writers: [
      publisher('w1', 4, [1], { topics: ['r/1'], retain: true }),
      publisher('w2', 5, [2], { topics: ['r/2'], retain: true }),
      publisher('w3', 5, [1], { topics: ['r/3'], retain: true, durable: false }),
    ],
    fencer: publisher('fencer', 5, [2], { topics: [FENCE] }),
    subscribers: [
      { who: all, exactly: true },
      { who: overlapping, exactly: false },
      { who: slow, exactly: false },
      { who: narrow, exactly: true },
      { who: restless, exactly: true },
      { who: restlessToo, exactly: true },
      { who: away, exactly: true },
      { who: awayToo, exactly: false },
    ],
    offline: [away, awayToo],
    restless: [restless, restlessToo],
    members: [
      subscriber('member-1', 4, [['$share/crew/k/#', 1]]),
      subscriber('member-2', 5, [['$share/crew/k/#', 2]], { ackDelayMs: 10 }),
      subscriber('member-3', 5, [['$share/crew/k/#', 1]]),
    ],
    complaints,
  };
}

function everybody(world: World): (SwarmPublisher | SwarmSubscriber)[] {
  const { publishers, transients, writers, fencer, subscribers, members } = world;
  return [
    ...publishers,
    ...transients,
    ...writers,
    fencer,
    ...subscribers.map(({ who }) => who),
    ...members,
  ];
}

async function settleIn(world: World): Promise<void> {
  const { subscribers, members, offline } = world;
  const listeners = [...subscribers.map(({ who }) => who), ...members];
  for (const one of everybody(world)) one.start();
  await until(
    () => listeners.every((one) => one.subscribed) && world.publishers.every((one) => one.isOpen),
    () => `not all connected: ${world.complaints.join('; ')}`,
  );
  for (const one of offline) one.rest();
}

/** Load for a while; somebody stumbles now and then. */
async function load(world: World, durationMs: number): Promise<void> {
  const { chance } = world;
  const talkers = [...world.publishers, ...world.transients, ...world.writers];
  const stumblers = [...world.restless, ...world.publishers, ...world.transients, ...world.members];
  const end = Date.now() + durationMs;
  while (Date.now() < end) {
    for (const one of talkers) if (chance.happens(0.7)) one.work(1 + chance.below(6));
    if (chance.happens(0.08)) chance.pick(stumblers).stumble();
    await delay(4);
  }
}

/** One life of the broker, up to the moment it is killed. */
async function live(world: World): Promise<string> {
  const { chance } = world;
  switch (chance.below(4)) {
    case 0:
      await delay(chance.below(60));
      return 'right after the start';
    case 1:
      for (const one of world.offline) one.start();
      await load(world, 100 + chance.below(200));
      for (const one of world.offline) one.rest();
      return 'with those who were away back and gone';
    case 2:
      await load(world, 300);
      for (const one of world.offline) one.start();
      await delay(20 + chance.below(150));
      return 'during a drain';
    default:
      await load(world, 200 + chance.below(500));
      return 'under load';
  }
}

async function drain(world: World): Promise<void> {
  const { ledger } = world;
  for (const one of everybody(world)) one.start();
  const durable = [...world.publishers, ...world.writers];
  await until(
    () => durable.every((one) => one.isOpen && one.openCount === 0) && world.fencer.isOpen,
    () =>
      `publishes stay open: ${[...durable, world.fencer].map(showOpen).join(', ')}; ${world.complaints.join('; ')}`,
    DRAIN_MS_MAX,
  );
  const fence = world.fencer.say(FENCE, 2);
  const waiting = (): string[] =>
    world.subscribers
      .filter(({ who }) => who.receipts.count(fence.key) === 0)
      .map(({ who }) => `${who.clientId} has ${who.receipts.size}`);
  const shared = (): boolean => ledger.unshared(memberReceipts(world)).filter(inTree).length === 0;
  await until(
    () => waiting().length === 0 && shared(),
    () =>
      `of ${ledger.messages.size} messages: the fence has not reached [${waiting().join(', ')}]; ` +
      `nobody of the group got ${showMessages(ledger.unshared(memberReceipts(world)).filter(inTree))}; ` +
      world.complaints.join('; '),
    DRAIN_MS_MAX,
    50,
  );
}

function showOpen(one: SwarmPublisher): string {
  return `${one.clientId} ${one.isOpen ? 'open' : 'closed'} ${one.openCount}`;
}

function inTree(message: { readonly topic: string }): boolean {
  return message.topic.startsWith('k/');
}

function memberReceipts(world: World): Receipts[] {
  return world.members.map((member) => member.receipts);
}

function judge(world: World): string[] {
  const { ledger } = world;
  const found = [...world.complaints];
  for (const { who, exactly } of world.subscribers) {
    const missing = ledger.missing(who.receipts, (topic) => who.matches(topic, filterMatches));
    if (missing.length > 0) found.push(`${who.clientId} misses ${showMessages(missing)}`);
    const repeated = exactly ? ledger.repeated(who.receipts) : [];
    if (repeated.length > 0) found.push(`${who.clientId} got twice ${showMessages(repeated)}`);
    found.push(...who.receipts.disorder());
  }
  return found;
}

async function checkRetained(t: TestContext, world: World): Promise<void> {
  const reader = await connectRaw({ port: world.port, t, autoAck: true });
  for (const writer of world.writers) {
    const mine = [...world.ledger.messages.values()].filter(
      (one) => one.publisher === writer.clientId,
    );
    const last = mine.findLast((one) => one.acknowledged);
    if (last === undefined) continue;
    await reader.subscribe(last.topic, 1);
    const value = (await reader.next('publish')).payload?.toString() ?? '';
    const kept = world.ledger.messages.get(value);
    assert.ok(
      kept !== undefined && kept.publisher === writer.clientId && kept.sequence >= last.sequence,
      `retained on ${last.topic} is ${value}, but ${last.key} was acknowledged`,
    );
  }
}

const RUNS = seeds();

for (const seed of RUNS) {
  test(`kill -9 loses nothing that was acknowledged (SEED=${seed})`, async (t) => {
    t.diagnostic(`SEED=${seed}`);
    const chance = chanceOf(seed);
    const port = await freePort();
    const broker = await startBroker(t, { listen: [`mqtt://127.0.0.1:${port}`] });
    const world = createWorld(port, chance);
    t.after(() => {
      for (const one of everybody(world)) one.rest();
    });
    await settleIn(world);
    const deaths: string[] = [];

    const end = Date.now() + KILLING_MS_MAX / RUNS.length;
    while (deaths.length < KILLS_MIN || (deaths.length < KILLS_MAX && Date.now() < end)) {
      deaths.push(await live(world));
      await broker.kill();
      for (const one of world.offline) one.rest();
      await broker.restart();
    }
    await drain(world).catch((error: unknown) => {
      const tail = broker.output().slice(-1_000);
      throw new Error(`killed ${deaths.join(', ')}; the broker said: ${tail}`, { cause: error });
    });

    const verdict = judge(world);
    assert.deepEqual(verdict, [], `killed ${deaths.join(', ')}`);
    await checkRetained(t, world);
    for (const one of everybody(world)) one.rest();
    await broker.restart();
    assert.doesNotMatch(broker.output(), /error|warn|repair/i, 'the second start is clean');
    t.diagnostic(`${world.ledger.messages.size} messages; killed ${deaths.join(', ')}`);
  });
}
