/**
 * A disk that refuses writes for a while, and rows that nobody waits for: what they say is not
 * forgotten with them.
 */
import { strict as assert } from 'node:assert';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLog, systemClock } from '#base';
import type { Engine } from '#ports';
import { openLocalBroker, openLocalDoor } from '../harness/local-broker.ts';
import { lyingDisk, openLmdbEngine } from '../harness/lying-disk.ts';
import { until } from '../harness/until.ts';
import { connectClient, type V5Client } from '../harness/v5-client.ts';

const REFUSED = { shown: 'none', kept: 'none' } as const;
const properties = { sessionExpiry: 600 };

interface Scene {
  readonly engine: Engine;
  connect(clientId: string, options?: object): Promise<V5Client>;
  /** From now on the disk takes so many writes and refuses the rest. */
  refuseAfter(count: number): void;
  heal(): void;
}

async function openScene(t: TestContext): Promise<Scene> {
  const directory = await mkdtemp(join(tmpdir(), 'refused-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const engine = await openLmdbEngine({
    directory,
    clock: systemClock,
    log: silentLog,
    limits: { retryMs: 20 },
  });
  const broker = await openLocalBroker(t, { engine });
  const port = await openLocalDoor(t, broker);
  const heal = (): void => {
    lyingDisk.decide = () => undefined;
  };
  t.after(heal);
  return {
    engine,
    connect: (clientId, options) => connectClient(t, port, { clientId, properties, ...options }),
    refuseAfter: (count) => {
      let left = count;
      lyingDisk.decide = () => (left-- > 0 ? undefined : REFUSED);
    },
    heal,
  };
}

test('a QoS 2 message that a group gave away is sent once the disk takes it', async (t) => {
  const { engine, connect, refuseAfter, heal } = await openScene(t);
  const member = await connect('member');
  await member.subscribe('$share/g/t', 2);
  const publisher = await connect('publisher');
  await until(
    () => engine.pendingBytes === 0,
    () => 'nothing else is on its way',
  );
  refuseAfter(1); // the message itself

  publisher.sendPublish('t', 'precious', { qos: 2, packetId: 1 });
  assert.equal((await publisher.next('pubrec')).reason, 0);
  await member.hungUp(); // its packet id could not be kept
  heal();
  await isWell(engine);

  const back = await connect('member', { cleanStart: false });
  assert.equal((await back.receive()).payload, 'precious');
});

test('a QoS 2 message that a group gave away stays with its member, whose line breaks meanwhile', async (t) => {
  const { engine, connect } = await openScene(t);
  const member = await connect('member');
  await member.subscribe('$share/g/t', 2);
  const publisher = await connect('publisher');
  await isOnDisk(engine);
  let left = 1; // the message itself; of what follows it nobody hears, and then that it failed
  lyingDisk.decide = () => {
    lyingDisk.holding = left-- <= 0;
    return lyingDisk.holding ? REFUSED : undefined;
  };

  publisher.sendPublish('t', 'precious', { qos: 2, packetId: 1 });
  await publisher.next('pubrec');
  await until(
    () => lyingDisk.pending > 0 && lyingDisk.holding,
    () => 'the hand-over is under way',
  );
  const other = await connect('other', { properties: {} });
  await other.subscribe('$share/g/t', 2);
  member.drop();
  await member.hungUp();
  lyingDisk.decide = () => undefined;
  lyingDisk.release();
  await isWell(engine);

  const back = await connect('member', { cleanStart: false });
  await other.idle();
  assert.equal((await back.receive()).payload, 'precious');
  await other.idle();
  await back.idle();
});

/** When the session of `client` went offline, by its row; 0: its row says that it is online. */
async function disconnectedMs(engine: Engine): Promise<number | undefined> {
  for await (const rows of engine.store.table('sessions').scan('')) {
    for (const { key, value } of rows) {
      if (!key.endsWith('/client')) continue;
      const row = JSON.parse(Buffer.from(value).toString()) as { disconnectedMs: number };
      return row.disconnectedMs;
    }
  }
  return undefined;
}

async function isOnDisk(engine: Engine): Promise<void> {
  await until(
    () => engine.pendingBytes === 0,
    () => 'all that was written is on the disk',
  );
}

async function isWell(engine: Engine): Promise<void> {
  const probe = engine.store.table('probe');
  const takes = (): Promise<boolean> =>
    probe.put('row', Buffer.from('x')).then(
      () => true,
      () => false,
    );
  await until(takes, () => 'the disk takes writes again');
}

/** Its client leaves, and the disk refuses what it leaves behind. */
async function leaveRefused({ engine, refuseAfter, heal }: Scene, client: V5Client): Promise<void> {
  await isOnDisk(engine);
  refuseAfter(0);
  client.drop();
  await until(
    async () => ((await disconnectedMs(engine)) ?? 0) > 0,
    () => 'its row is under way',
  );
  await until(
    async () => (await disconnectedMs(engine)) === 0,
    () => 'its row was refused',
  );
  heal();
  await isWell(engine);
}

test('what a session left behind, written late, is no newer than what came after it', async (t) => {
  const scene = await openScene(t);
  const { engine, connect } = scene;
  const client = await connect('client');
  await client.subscribe('a', 2);
  const publisher = await connect('publisher');
  await leaveRefused(scene, client);

  const back = await connect('client', { cleanStart: false });
  await back.subscribe('b', 1);
  await publisher.publish('a', 'once', { qos: 2 });
  assert.equal((await back.receive()).payload, 'once');
  await back.disconnect();
  // What was refused is written anew each second.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await publisher.publish('b', 'owed', { qos: 1 });

  const again = await connect('client', { cleanStart: false });
  assert.equal((await again.receive()).payload, 'owed');
  await again.idle();
  await isOnDisk(engine);
});

test('what comes between a row that was refused and its next writing is not passed over', async (t) => {
  const scene = await openScene(t);
  const { engine, connect } = scene;
  const client = await connect('client');
  await client.subscribe('a', 1);
  const publisher = await connect('publisher');
  await leaveRefused(scene, client);

  await publisher.publish('a', 'owed', { qos: 1 });
  await until(
    async () => ((await disconnectedMs(engine)) ?? 0) > 0,
    () => 'the row is there',
  );

  const back = await connect('client', { cleanStart: false });
  assert.equal((await back.receive()).payload, 'owed');
});

test('that a client is back is written once the disk takes it', async (t) => {
  const { engine, connect, refuseAfter, heal } = await openScene(t);
  const before = await connect('client');
  await before.subscribe('t', 1);
  await before.disconnect();
  await until(
    async () => ((await disconnectedMs(engine)) ?? 0) > 0 && engine.pendingBytes === 0,
    () => 'it is offline, and that is on the disk',
  );
  refuseAfter(0);

  const back = await connect('client', { cleanStart: false });
  await until(
    async () => ((await disconnectedMs(engine)) ?? 0) > 0,
    () => 'the row was refused',
  );
  heal();

  await until(
    async () => (await disconnectedMs(engine)) === 0,
    () => 'the row says so',
  );
  await back.idle();
});
