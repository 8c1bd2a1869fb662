/** Wills on a disk that refuses writes for a while: each is sent, once, or was cancelled. */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import type { Engine } from '#ports';
import { openRefusingScene, type RefusingScene } from '../harness/refusing-scene.ts';
import { until } from '../harness/until.ts';

const will = { topic: 'w', payload: 'last words', qos: 1 } as const;

/** What the store says of the will of `client`. */
async function willRow(engine: Engine): Promise<{ readonly dueMs: number } | undefined> {
  const row = await engine.store.table('wills').get('default/client');
  return row && (JSON.parse(Buffer.from(row.value).toString()) as { dueMs: number });
}

test('a delayed will whose row was refused is sent when its time comes', async (t) => {
  const { connect, refuseAfter, healed, settled } = await openRefusingScene(t);
  const watcher = await connect('watcher');
  await watcher.subscribe('w', 1);
  const client = await connect('client', { will: { ...will, properties: { willDelay: 1 } } });
  await settled();
  refuseAfter(0);
  client.drop();
  await new Promise((resolve) => setTimeout(resolve, 100)); // its end was noticed
  await healed();

  assert.equal((await watcher.receive()).payload, 'last words');
  await watcher.idle();
});

test('a will that nobody could keep when it was sent is kept later, and sent once', async (t) => {
  const { connect, engine, refuseAfter, healed, settled } = await openRefusingScene(t);
  const watcher = await connect('watcher');
  await watcher.subscribe('w', 1);
  const online = await connect('online', { properties: {} });
  await online.subscribe('w', 1);
  const client = await connect('client', { will: { ...will, retain: true }, properties: {} });
  await settled();
  refuseAfter(0);
  client.drop();
  assert.equal((await online.receive()).payload, 'last words');
  await until(
    async () => (await willRow(engine)) !== undefined,
    () => 'that it was sent was refused',
  );
  await healed();

  assert.equal((await watcher.receive()).payload, 'last words');
  await until(
    async () => (await willRow(engine)) === undefined,
    () => 'its row is gone',
  );
  await online.idle();
  await watcher.idle();
  const late = await connect('late');
  await late.subscribe('w', 1);
  assert.equal((await late.receive()).payload, 'last words');
});

test('a will whose row was refused is sent after a kill', async (t) => {
  const { connect, engine, refuseAfter, healed, settled, killed } = await openRefusingScene(t);
  const watcher = await connect('watcher');
  await watcher.subscribe('w', 1);
  await watcher.disconnect();
  await settled();
  refuseAfter(0);
  await connect('client', { will, properties: {} });
  await until(
    async () => (await willRow(engine)) === undefined,
    () => 'its row was refused',
  );
  await healed();
  await until(
    async () => (await willRow(engine)) !== undefined,
    () => 'it is written again',
  );
  await settled();

  const after = await killed();
  const again = await after.connect('watcher', { cleanStart: false });
  assert.equal((await again.receive()).payload, 'last words');
});

/** A client cancels its will, of which a watcher that is away would hear; the disk refuses that. */
async function cancelRefused(scene: RefusingScene): Promise<void> {
  const { connect, engine, refuseAfter, healed, settled } = scene;
  const watcher = await connect('watcher');
  await watcher.subscribe('w', 1);
  await watcher.disconnect();
  const client = await connect('client', { will, properties: {} });
  await settled();
  refuseAfter(0);
  await client.disconnect();
  await until(
    async () => (await willRow(engine)) !== undefined,
    () => 'the end of its row was refused',
  );
  await healed();
}

test('a will that was cancelled stays so after a kill, though the disk refused it', async (t) => {
  const scene = await openRefusingScene(t);
  const { engine, settled, killed } = scene;
  await cancelRefused(scene);
  await until(
    async () => (await willRow(engine)) === undefined,
    () => 'it is written again',
  );
  await settled();

  const after = await killed();
  const again = await after.connect('watcher', { cleanStart: false });
  await again.idle();
});

test('of a client that could not be accepted no will is sent, and no session stays', async (t) => {
  const { connect, sendConnect, engine, refuseAfter, healed } = await openRefusingScene(t);
  const watcher = await connect('watcher', { properties: {} });
  await watcher.subscribe('w', 0);
  refuseAfter(0);
  const client = await sendConnect('client', { will });
  await client.refused(0x88);
  await watcher.idle();
  await healed();

  const back = await connect('client', { cleanStart: false });
  assert.equal(back.connack?.sessionPresent, false);
  assert.equal(await engine.store.table('wills').get('default/client'), undefined);
  await watcher.idle();
});

test('a broker that stops asks the disk a last time', async (t) => {
  const scene = await openRefusingScene(t);
  const { broker, settled, killed } = scene;
  await cancelRefused(scene);
  await broker.close();
  await settled();

  const after = await killed();
  const again = await after.connect('watcher', { cleanStart: false });
  await again.idle();
});
