/** Retained messages in the store: how they are read for many at once, and how they go. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { systemClock } from '#base';
import { DEFAULT_INSTANCE_ID } from '#instances';
import type { Engine, Row, Store, Table } from '#ports';
import { openLocalBroker, openLocalDoor } from '../../test/harness/local-broker.ts';
import { ManualClock } from '../../test/harness/manual-clock.ts';
import { connectClient, nothingReaches, type V5Client } from '../../test/harness/v5-client.ts';
import { publishPacket, subscribePacket } from '../../test/harness/v5-packets.ts';
import { DEFAULT_LIMITS } from './limits.ts';

const TABLE = `retained-${DEFAULT_INSTANCE_ID}`;

/** An engine whose table of retained messages is another one over it. */
function withTable(engine: Engine, wrap: (table: Table) => Partial<Table>): Engine {
  const inner = engine.store.table(TABLE);
  const wrapped = {
    get: (key: string) => inner.get(key),
    write: inner.write.bind(inner),
    remove: inner.remove.bind(inner),
    scan: inner.scan.bind(inner),
    newest: () => inner.newest(),
    ...wrap(inner),
  } as Table;
  const store: Store = { table: (name) => (name === TABLE ? wrapped : engine.store.table(name)) };
  return {
    store,
    log: engine.log,
    get pendingBytes() {
      return engine.pendingBytes;
    },
    close: () => engine.close(),
  };
}

async function retain(
  client: V5Client,
  topics: readonly string[],
  expirySeconds?: number,
): Promise<void> {
  const properties = expirySeconds === undefined ? {} : { messageExpiry: expirySeconds };
  for (const topic of topics) {
    await client.publish(topic, 'x', { qos: 1, retain: true, properties });
  }
}

function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}/${i}`);
}

async function rowsOf(engine: Engine): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const page of engine.store.table(TABLE).scan('')) rows.push(...page);
  return rows;
}

/** Turns of the event loop, as many as a few reads take. */
async function someTurns(): Promise<void> {
  for (let i = 0; i < 50; i++) await new Promise(setImmediate);
}

/** Counts how many scans of the table are under way at once, and how many there were. */
function countScans(engine: Engine): { readonly engine: Engine; most: number; all: number } {
  let underWay = 0;
  const count = {
    most: 0,
    all: 0,
    engine: withTable(engine, (table) => ({
      scan: async function* (prefix: string, after?: string) {
        count.all++;
        count.most = Math.max(count.most, ++underWay);
        try {
          yield* table.scan(prefix, after);
        } finally {
          underWay--;
        }
      },
    })),
  };
  return count;
}

test('many wildcards of one session share one walk through what is retained', async (t) => {
  const count = countScans(openMemoryEngine({ clock: systemClock }));
  const port = await openLocalDoor(t, await openLocalBroker(t, { engine: count.engine }));
  const client = await connectClient(t, port);
  await retain(client, names('a', 300));
  count.all = 0;

  const filters = Array.from({ length: 1000 }, (_, i) => [`+/${i}/#`, 0] as const);
  await client.subscribe([...filters, ['a/+', 0]]);

  const got: string[] = [];
  while (got.length < 600) got.push((await client.message()).topic);
  const expected = names('a', 300);
  assert.deepEqual(got.sort(), [...expected, ...expected].sort());
  await nothingReaches(client, client);
  assert.equal(count.most, 1);
  assert.ok(count.all < 10, `${count.all} scans`);
});

test('sessions take turns with reading what is retained', async (t) => {
  const count = countScans(openMemoryEngine({ clock: systemClock }));
  const port = await openLocalDoor(t, await openLocalBroker(t, { engine: count.engine }));
  const publisher = await connectClient(t, port);
  await retain(publisher, names('a', 250));
  const clients: V5Client[] = [];
  for (let i = 0; i < 40; i++) clients.push(await connectClient(t, port));

  for (const [index, client] of clients.entries()) {
    // Others for each, so that nothing found for one serves the next.
    const filters = [`a/${index}/#`, `a/${index + 40}/#`, `+/${index + 80}`].map(
      (filter) => [filter, 0] as const,
    );
    client.send(subscribePacket(client.freshId(), filters));
  }

  for (const [index, client] of clients.entries()) {
    await client.find('suback');
    const got = [(await client.message()).topic, (await client.message()).topic];
    got.push((await client.message()).topic);
    const expected = [`a/${index}`, `a/${index + 40}`, `a/${index + 80}`];
    assert.deepEqual(got.sort(), expected.sort());
  }
  assert.ok(count.most <= DEFAULT_LIMITS.retainedReadsMax, `${count.most} scans at once`);
});

test('a removal of what has expired holds up nobody', async (t) => {
  const clock = new ManualClock();
  const engine = openMemoryEngine({ clock: systemClock });
  const stuck = withTable(engine, () => ({ remove: () => new Promise<boolean>(() => {}) }));
  const port = await openLocalDoor(t, await openLocalBroker(t, { engine: stuck, clock }));
  const client = await connectClient(t, port);
  await retain(client, names('a', 120), 1);
  await retain(client, ['a/alive']);
  clock.stall(2_000);

  await client.subscribe('a/#');

  assert.equal((await client.message()).topic, 'a/alive');
});

test('what has expired is gone once somebody asked for that topic, or for many', async (t) => {
  const clock = new ManualClock();
  const engine = openMemoryEngine({ clock: systemClock });
  const port = await openLocalDoor(t, await openLocalBroker(t, { engine, clock }));
  const client = await connectClient(t, port);
  await retain(client, ['a', 'b/1', 'b/2'], 1);
  await retain(client, ['a/alive'], 100);
  clock.stall(2_000);

  await client.subscribe('a');
  await nothingReaches(client, client);
  await someTurns();
  assert.deepEqual(
    (await rowsOf(engine)).map(({ key }) => key),
    ['a/alive', 'b/1', 'b/2'],
  );

  await client.subscribe('b/#');
  await nothingReaches(client, client);
  await someTurns();
  assert.deepEqual(
    (await rowsOf(engine)).map(({ key }) => key),
    ['a/alive'],
  );
});

test('what has expired goes without anybody asking, a part at a time', async (t) => {
  const clock = new ManualClock();
  const count = countScans(openMemoryEngine({ clock: systemClock }));
  const { engine } = count;
  const limits = { retainedSweepRows: 200 };
  const port = await openLocalDoor(t, await openLocalBroker(t, { engine, clock, limits }));
  const client = await connectClient(t, port);
  await retain(client, names('a', 350), 5);
  await retain(client, names('b', 100), 60);
  client.send(publishPacket('c', 'x', { retain: true }));
  await client.idle();
  clock.stall(10_000);
  const left: number[] = [];

  for (let i = 0; i < 4; i++) {
    clock.advance(1_000);
    await someTurns();
    left.push((await rowsOf(engine)).length);
  }
  assert.deepEqual(left.slice(-1), [101]);
  assert.ok(left[0]! >= 151, 'the first step looks at no more than a part');

  clock.stall(100_000);
  for (let i = 0; i < 4; i++) {
    clock.advance(1_000);
    await someTurns();
  }
  assert.deepEqual(
    (await rowsOf(engine)).map(({ key }) => key),
    ['c'],
  );
  count.all = 0;
  clock.advance(1_000);
  await someTurns();
  assert.equal(count.all, 0, 'nothing there expires: nothing is looked for');
});
