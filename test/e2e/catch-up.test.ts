/**
 * A session that is behind and has many filters: what it is served by is made once, not for each
 * message, and never at the price of a message.
 */
import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openLmdbEngine } from '#adapters/lmdb';
import { silentLog, systemClock } from '#base';
import type { Broker, Limits } from '#broker';
import { DEFAULT_INSTANCE_ID } from '#instances';
import type { InstanceLog } from '#ports';
import { openLocalBroker, openLocalDoor } from '../harness/local-broker.ts';
import { until } from '../harness/until.ts';
import { connectClient, type V5Client } from '../harness/v5-client.ts';

const CLIENT_ID = 'behind';

interface Scene {
  readonly broker: Broker;
  readonly log: InstanceLog;
  readonly port: number;
  readonly publisher: V5Client;
  /** The client, with a window of one message. */
  connect(): Promise<V5Client>;
}

async function openScene(t: TestContext, limits: Partial<Limits> = {}): Promise<Scene> {
  const directory = mkdtempSync(join(tmpdir(), 'ternmq-catch-up-'));
  const engine = await openLmdbEngine({ directory, clock: systemClock, log: silentLog });
  const broker = await openLocalBroker(t, { engine, limits });
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const port = await openLocalDoor(t, broker);
  const properties = { sessionExpiry: 600, receiveMaximum: 1 };
  return {
    broker,
    log: broker.space(broker.instances.find(DEFAULT_INSTANCE_ID)!).log,
    port,
    publisher: await connectClient(t, port),
    connect: () => connectClient(t, port, { clientId: CLIENT_ID, cleanStart: false, properties }),
  };
}

/** Leaves with `filters` subscribed; `count` messages come meanwhile, each on its own topic. */
async function fallBehind(scene: Scene, filters: readonly string[], count: number): Promise<void> {
  const client = await scene.connect();
  await client.subscribe(filters.map((filter) => [filter, 1] as const));
  await client.disconnect();
  for (let i = 0; i < count; i++) {
    assert.equal(await scene.publisher.publish(`d/${i}/x`, String(i), { qos: 1 }), 0);
  }
}

const wildcards = Array.from({ length: 1_000 }, (_, i) => `d/${i}/#`);
const names = Array.from({ length: 1_000 }, (_, i) => `d/${i}/x`);

for (const [kind, filters] of [
  ['wildcards', wildcards],
  ['exact filters', names],
] as const) {
  test(`a thousand ${kind} and a window of one: the log is not read for each message`, async (t) => {
    const scene = await openScene(t);
    await fallBehind(scene, filters, 200);
    const read = t.mock.method(scene.log, 'read');
    const client = await scene.connect();

    for (let i = 0; i < 200; i++) assert.equal((await client.receive()).payload, String(i));

    await client.idle();
    assert.ok(read.mock.callCount() <= 20, `read ${read.mock.callCount()} times`);
  });
}

test('where nothing more may be read ahead, everything arrives all the same', async (t) => {
  const scene = await openScene(t, { readAheadBytesMax: 0 });
  await fallBehind(scene, wildcards, 50);
  const client = await scene.connect();

  for (let i = 0; i < 50; i++) assert.equal((await client.receive()).payload, String(i));

  await client.idle();
});

test('a subscription made while messages are read ahead misses none, and repeats none', async (t) => {
  const scene = await openScene(t);
  await fallBehind(scene, ['d/+/x'], 5);
  const client = await scene.connect();
  const first = await client.message();
  await client.subscribe('new', 1);
  await scene.publisher.publish('new', 'n0', { qos: 1 });
  await scene.publisher.publish('d/9/x', 'd9', { qos: 1 });
  await client.settle(first);
  await client.subscribe('newer', 1);
  await scene.publisher.publish('newer', 'n1', { qos: 1 });

  const payloads = [first.payload];
  for (let i = 0; i < 7; i++) payloads.push((await client.receive()).payload);

  assert.deepEqual(payloads, ['0', '1', '2', '3', '4', 'n0', 'd9', 'n1']);
  await client.idle();
});

test('[MQTT-3.10.4-2] what was read ahead for a filter does not follow its end', async (t) => {
  const scene = await openScene(t);
  await fallBehind(scene, ['d/1/x', 'd/+/x'], 4);
  const client = await scene.connect();
  const first = await client.message();
  await client.unsubscribe('d/+/x');
  await client.settle(first);

  assert.equal((await client.receive()).payload, '1');
  await client.idle();
});

test('a session at rest holds nothing it was served by', async (t) => {
  const scene = await openScene(t);
  await fallBehind(scene, wildcards, 20);
  const stalled = await scene.connect();
  const first = await stalled.message();
  const { online } = scene.broker.space(scene.broker.instances.find(DEFAULT_INSTANCE_ID)!);
  const holds = (): boolean => online.get(CLIENT_ID)!.catchUp !== undefined;
  assert.equal(holds(), true);

  await until(
    () => !holds(),
    () => 'a stalled session still holds what it read ahead',
  );
  await stalled.settle(first);
  for (let i = 1; i < 20; i++) assert.equal((await stalled.receive()).payload, String(i));
  await stalled.idle();

  await until(
    () => !holds(),
    () => 'a session that is live still holds its filters arranged',
  );
});
