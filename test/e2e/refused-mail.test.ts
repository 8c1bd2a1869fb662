/**
 * P2P messages that cannot be kept, for the disk refuses writes for a while or there is no room:
 * what was acknowledged with 0 reaches its client.
 */
import { strict as assert } from 'node:assert';
import { type TestContext, test } from 'node:test';
import type { Limits } from '#broker';
import { openRefusingScene, type RefusingScene } from '../harness/refusing-scene.ts';
import { until } from '../harness/until.ts';

const RECEIVER = 'GID_test@@@receiver';
const MAIL = `demo/p2p/${RECEIVER}`;
const transient = { properties: {} };

async function openShop(t: TestContext, limits: Partial<Limits> = {}): Promise<RefusingScene> {
  const scene = await openRefusingScene(t, {
    limits,
    authenticator: (instances) => ({
      authenticate: ({ userName }) => {
        return { instance: instances.find('shop')!, userName, permissions: undefined };
      },
      exchange: () => undefined,
    }),
  });
  const { instances } = scene.broker;
  await instances.create({ id: 'shop', kind: 'compatible' });
  await instances.createGroup('shop', 'GID_test', []);
  await instances.createTopic('shop', 'demo');
  return scene;
}

test('a message to an absent client is kept, though one before it was refused', async (t) => {
  const { connect, refuseAfter, healed, settled } = await openShop(t);
  const publisher = await connect('GID_test@@@publisher');
  await settled();
  refuseAfter(0);
  assert.ok((await publisher.publish(MAIL, 'refused', { qos: 1 })) >= 0x80);
  await healed();
  assert.equal(await publisher.publish(MAIL, 'kept', { qos: 1 }), 0);

  const receiver = await connect(RECEIVER, transient);
  assert.equal((await receiver.receive()).payload, 'kept');
  await receiver.idle();
});

test('mail that a client did not read waits for it, though the disk refused to say so', async (t) => {
  const { engine, connect, refuseAfter, healed, settled } = await openShop(t);
  const publisher = await connect('GID_test@@@publisher');
  assert.equal(await publisher.publish(MAIL, 'kept', { qos: 1 }), 0);
  const receiver = await connect(RECEIVER, transient);
  assert.equal((await receiver.message()).payload, 'kept'); // and is not acknowledged
  await settled();
  const row = async (): Promise<boolean> =>
    (await engine.store.table('sessions').get(`shop/${RECEIVER}`)) !== undefined;
  refuseAfter(0);
  receiver.drop();
  await until(row, () => 'its mailbox is under way');
  await until(
    async () => !(await row()),
    () => 'it was refused',
  );
  await healed();

  const back = await connect(RECEIVER, transient);
  assert.equal((await back.receive()).payload, 'kept');
});

test('a message to one absent client more than there is room for is told to reach nobody', async (t) => {
  const { connect } = await openShop(t, { mailboxCountMax: 3 });
  const publisher = await connect('GID_test@@@publisher'); // the first
  const send = (name: string): Promise<number> =>
    publisher.publish(`demo/p2p/GID_test@@@${name}`, name, { qos: 1 });
  assert.equal(await send('second'), 0);
  assert.equal(await send('third'), 0);
  assert.equal(await send('fourth'), 0x10);
  assert.equal(await send('second'), 0, 'there is room for another one to the same');

  const third = await connect('GID_test@@@third', transient);
  assert.equal((await third.receive()).payload, 'third');
  const fourth = await connect('GID_test@@@fourth', transient);
  await fourth.idle();
  await third.disconnect();
  await fourth.disconnect();
  assert.equal(await send('fourth'), 0, 'now there is');
});
