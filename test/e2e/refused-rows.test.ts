/**
 * A disk that refuses writes for a while, and rows that nobody waits for: what they say is not
 * forgotten with them.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Engine } from '#ports';
import { lyingDisk } from '../harness/lying-disk.ts';
import { openRefusingScene, type RefusingScene } from '../harness/refusing-scene.ts';
import { until } from '../harness/until.ts';
import type { V5Client } from '../harness/v5-client.ts';

test('a QoS 2 message that a group gave away is sent once the disk takes it', async (t) => {
  const { connect, refuseAfter, healed, settled } = await openRefusingScene(t);
  const member = await connect('member');
  await member.subscribe('$share/g/t', 2);
  const publisher = await connect('publisher');
  await settled();
  refuseAfter(1); // the message itself

  publisher.sendPublish('t', 'precious', { qos: 2, packetId: 1 });
  assert.equal((await publisher.next('pubrec')).reason, 0);
  await member.hungUp(); // its packet id could not be kept
  await healed();

  const back = await connect('member', { cleanStart: false });
  assert.equal((await back.receive()).payload, 'precious');
});

test('who comes back while the disk is deciding has a group’s QoS 2 message once', async (t) => {
  const { connect, sendConnect, holdAfter, healed, settled } = await openRefusingScene(t);
  const member = await connect('member');
  await member.subscribe('$share/g/t', 2);
  const publisher = await connect('publisher');
  await settled();
  holdAfter(1); // the message itself
  publisher.sendPublish('t', 'precious', { qos: 2, packetId: 1 });
  assert.equal((await publisher.next('pubrec')).reason, 0);
  await until(
    () => lyingDisk.pending > 0,
    () => 'its packet id is under way',
  );

  const early = await sendConnect('member', { cleanStart: false });
  await member.hungUp();
  await delay(50); // long enough for its CONNECT to be looked at
  lyingDisk.release();
  await early.hungUp(); // nothing is known for sure
  await healed();

  const back = await connect('member', { cleanStart: false });
  assert.equal((await back.receive()).payload, 'precious');
  await back.idle();
  await back.disconnect();
  const again = await connect('member', { cleanStart: false });
  await again.idle();
});

for (const qos of [1, 2]) {
  test(`retained messages at QoS ${qos} whose rows were refused are not lost`, async (t) => {
    const { connect, refuseAfter, healed, settled } = await openRefusingScene(t);
    const publisher = await connect('publisher');
    for (const topic of ['r/1', 'r/2', 'r/3']) {
      await publisher.publish(topic, topic, { qos: 2, retain: true });
    }
    const client = await connect('client');
    await settled();
    refuseAfter(1); // the subscription

    await client.subscribe('r/#', qos);
    await client.hungUp(); // what is on its way could not be kept
    await healed();

    const back = await connect('client', { cleanStart: false });
    const got: string[] = [];
    for (let i = 0; i < 3; i++) got.push((await back.receive()).payload);
    assert.deepEqual(got, ['r/1', 'r/2', 'r/3']);
    await back.idle();
  });
}

test('a packet id taken after a refused one is known after a kill', async (t) => {
  const { connect, refuseAfter, healed, settled, killed } = await openRefusingScene(t);
  const subscriber = await connect('subscriber');
  await subscriber.subscribe('t', 2);
  const publisher = await connect('publisher');
  await settled();
  refuseAfter(0);
  assert.ok((await publisher.publish('t', 'refused', { qos: 2, packetId: 1 })) >= 0x80);
  await healed();
  publisher.sendPublish('t', 'once', { qos: 2, packetId: 2 });
  assert.equal((await publisher.next('pubrec')).reason, 0);
  assert.equal((await subscriber.receive()).payload, 'once');
  await settled();

  const after = await killed();
  const receiver = await after.connect('subscriber', { cleanStart: false });
  const again = await after.connect('publisher', { cleanStart: false });
  again.sendPublish('t', 'once', { qos: 2, packetId: 2, dup: true });
  assert.equal((await again.next('pubrec')).reason, 0);
  await after.settled();
  again.release(2);
  await again.next('pubcomp');
  await again.publish('t', 'last', { qos: 2 });
  await receiver.find('publish').then(({ payload }) => assert.equal(payload, 'last'));
});

test('where a group stands is known after a kill, though its first row was refused', async (t) => {
  const { connect, refuseAfter, healed, settled, killed } = await openRefusingScene(t);
  const member = await connect('member');
  await settled();
  refuseAfter(0);
  const early = member.subscribe('$share/g/t', 1);
  await assert.rejects(early);
  await healed();
  const back = await connect('member', { cleanStart: false });
  assert.deepEqual((await back.subscribe('$share/g/t', 1)).reasons, [1]);
  await back.disconnect();
  const publisher = await connect('publisher');
  assert.equal(await publisher.publish('t', 'owed', { qos: 1 }), 0);
  await settled();

  const after = await killed();
  const again = await after.connect('member', { cleanStart: false });
  assert.equal((await again.receive()).payload, 'owed');
});

test('how far a client is, is written once the disk takes it', async (t) => {
  const { engine, connect, refuseAfter, healed, settled } = await openRefusingScene(t);
  const subscriber = await connect('subscriber');
  await subscriber.subscribe('t', 1);
  const publisher = await connect('publisher');
  const cursors = engine.store.table('cursors');
  const version = async (): Promise<number> =>
    (await cursors.get('default/subscriber'))?.version ?? 0;
  await publisher.publish('t', 'm', { qos: 1 });
  await until(
    async () => (await version()) > 0,
    () => 'it is there',
  );
  await settled();
  const before = await version();
  refuseAfter(0);
  await subscriber.receive();
  await until(
    async () => (await version()) > before,
    () => 'the next is under way',
  );
  await until(
    async () => (await version()) === before,
    () => 'it was refused',
  );
  await healed();
  await until(
    async () => (await version()) > before,
    () => 'it is written',
  );
});

test('a QoS 2 message that a group gave away stays with its member, whose line breaks meanwhile', async (t) => {
  const { connect, holdAfter, healed, settled } = await openRefusingScene(t);
  const member = await connect('member');
  await member.subscribe('$share/g/t', 2);
  const publisher = await connect('publisher');
  await settled();
  holdAfter(1); // the message itself; of what follows it nobody hears, and then that it failed
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
  lyingDisk.release();
  await healed();

  const back = await connect('member', { cleanStart: false });
  await other.idle();
  assert.equal((await back.receive()).payload, 'precious');
  await other.idle();
  await back.idle();
});

/** Whether a group's row says that a message is with a member, or owed to one. */
async function hasOpen(engine: Engine): Promise<boolean> {
  for await (const rows of engine.store.table('groups-default').scan('')) {
    for (const { value } of rows) {
      const row = JSON.parse(Buffer.from(value).toString()) as {
        readonly outstanding: readonly number[];
        readonly held?: readonly unknown[];
      };
      if (row.outstanding.length > 0 || row.held !== undefined) return true;
    }
  }
  return false;
}

test('that a group has nothing open is written once the disk takes it', async (t) => {
  const { engine, connect, refuseAfter, heal } = await openRefusingScene(t);
  const member = await connect('member');
  await member.subscribe('$share/g/t', 1);
  await (await connect('publisher')).publish('t', 'open', { qos: 1 });
  const open = await member.message();
  const written = async (says: boolean): Promise<boolean> =>
    engine.pendingBytes === 0 && (await hasOpen(engine)) === says;
  await until(
    () => written(true),
    () => 'the row says so',
  );
  refuseAfter(0);
  const { told } = lyingDisk;
  t.after(() => {
    lyingDisk.told = told;
  });
  let refusals = 0;
  lyingDisk.told = (_write, succeeded) => {
    if (!succeeded) refusals++;
  };

  await member.settle(open);
  await until(
    () => refusals > 0,
    () => 'the row was refused',
  );
  heal();

  await until(
    () => written(false),
    () => 'the row was written anew',
  );
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

/** Its client leaves, and the disk refuses what it leaves behind. */
async function leaveRefused(scene: RefusingScene, client: V5Client): Promise<void> {
  const { engine, refuseAfter, healed, settled } = scene;
  await settled();
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
  await healed();
}

test('what a session left behind, written late, is no newer than what came after it', async (t) => {
  const scene = await openRefusingScene(t);
  const { connect, settled } = scene;
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
  await settled();
});

test('what comes between a row that was refused and its next writing is not passed over', async (t) => {
  const scene = await openRefusingScene(t);
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

test('a session that ended is over, though the disk refused to forget it', async (t) => {
  const { connect, refuseAfter, healed, settled } = await openRefusingScene(t);
  const client = await connect('client');
  await client.subscribe('t', 1);
  await settled();
  refuseAfter(0);
  await client.disconnect(0, { sessionExpiry: 0 });
  await delay(100); // its rows were refused
  await healed();

  const back = await connect('client', { cleanStart: false });
  assert.equal(back.connack?.sessionPresent, false);
});

test('that a client is back is written once the disk takes it', async (t) => {
  const { engine, connect, refuseAfter, heal } = await openRefusingScene(t);
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
