/** P2P messages on a disk that refuses writes for a while: what was acknowledged reaches its client. */
import { strict as assert } from 'node:assert';
import { type TestContext, test } from 'node:test';
import { openRefusingScene, type RefusingScene } from '../harness/refusing-scene.ts';
import { until } from '../harness/until.ts';

const RECEIVER = 'GID_test@@@receiver';
const MAIL = `demo/p2p/${RECEIVER}`;
const transient = { properties: {} };

async function openShop(t: TestContext): Promise<RefusingScene> {
  const scene = await openRefusingScene(t, {
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
