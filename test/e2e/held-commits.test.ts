/**
 * What clients are told, and given, while a commit is still on its way to the disk: nothing that
 * a crash could take back, and nothing twice.
 */
import { strict as assert } from 'node:assert';
import { describe, test, type TestContext } from 'node:test';
import { HeldDisk } from '../harness/held-disk.ts';
import { openLocalBroker, openLocalDoor } from '../harness/local-broker.ts';
import { PINGREQ } from '../harness/v5-packets.ts';
import { connectClient, elapse, type V5Client } from '../harness/v5-client.ts';

const durable = { sessionExpiry: 600 };

interface Scene {
  readonly disk: HeldDisk;
  connect(clientId: string, options?: object): Promise<V5Client>;
  /** A durable session, new or taken up again. */
  stay(clientId: string, cleanStart?: boolean): Promise<V5Client>;
}

async function openScene(t: TestContext): Promise<Scene> {
  const disk = new HeldDisk();
  const broker = await openLocalBroker(t, { engine: disk.engine });
  t.after(() => disk.release()); // or the broker would wait for it for ever
  const port = await openLocalDoor(t, broker);
  const connect = (clientId: string, options: object = {}): Promise<V5Client> =>
    connectClient(t, port, { clientId, ...options });
  const stay = (clientId: string, cleanStart = true): Promise<V5Client> =>
    connect(clientId, { cleanStart, properties: durable });
  return { disk, connect, stay };
}

describe('a session taken up again while what it did is not on disk', () => {
  test('is not given to the client before it is', async (t) => {
    const { disk, stay } = await openScene(t);
    const subscriber = await stay('subscriber');
    await subscriber.subscribe('t', 2);
    const before = await stay('publisher');
    disk.hold();
    const publish = before.publish('t', 'once', { qos: 2 });
    publish.catch(() => undefined); // its connection ends before the answer
    await elapse(50);
    before.drop();

    const connecting = stay('publisher', false);
    const early = await Promise.race([connecting, elapse(200)]);
    disk.release();

    assert.equal(early, undefined, 'no CONNACK while the commit is held');
    const after = await connecting;
    assert.equal((await subscriber.receive()).payload, 'once');
    await after.idle();
  });
});

/** A durable session that is away and must have what goes to `filter`: messages are logged. */
async function leaveReader(scene: Scene, filter: string): Promise<void> {
  const reader = await scene.stay(`reader of ${filter}`);
  await reader.subscribe(filter, 2);
  await reader.disconnect();
}

/** What has come and was acknowledged, once nothing more is under way. */
async function takeAll(client: V5Client): Promise<string[]> {
  const taken: string[] = [];
  await allSent(client);
  while (client.queue.some((packet) => packet.type === 'publish')) {
    const packet = await client.receive();
    taken.push(`${packet.payload}${packet.retain ? ' retained' : ''} at ${packet.qos}`);
    await allSent(client);
  }
  return taken;
}

/** Publishes, and knows that the broker has read it; the acknowledgements may be far away. */
async function send(
  publisher: V5Client,
  payloads: readonly string[],
  qos: 1 | 2,
  retain = false,
): Promise<void> {
  for (const payload of payloads) {
    publisher.sendPublish('t', payload, { qos, retain, packetId: publisher.freshId() });
  }
  await allSent(publisher);
}

/** The broker has read what was asked for; then the commit goes on, and the answer comes. */
async function meanwhile(disk: HeldDisk, asking: Promise<unknown>): Promise<void> {
  await elapse(50);
  disk.release();
  await asking;
}

/** What the broker had to say before it read this far has come. */
async function allSent(client: V5Client): Promise<void> {
  client.send(PINGREQ);
  await client.find('pingresp');
}

describe('a message under way to the disk', () => {
  test('comes once to who subscribes meanwhile: as the retained one it is', async (t) => {
    const scene = await openScene(t);
    const { disk, connect, stay } = scene;
    await leaveReader(scene, 't');
    const publisher = await connect('publisher');
    const subscriber = await stay('subscriber');
    disk.hold();
    await send(publisher, ['news'], 2, true);

    const subscribed = subscriber.subscribe('t', 2);
    await meanwhile(disk, subscribed);

    const first = await subscriber.receive();
    assert.deepEqual([first.payload, first.retain, first.qos], ['news', true, 2]);
    assert.deepEqual(await takeAll(subscriber), []);
  });

  test('came to the group before its first durable member, and comes to it no more', async (t) => {
    const scene = await openScene(t);
    const { disk, connect, stay } = scene;
    await leaveReader(scene, 't');
    const publisher = await connect('publisher');
    const passing = await connect('passing');
    await passing.subscribe('$share/g/t', 2);
    const staying = await stay('staying');
    disk.hold();
    await send(publisher, ['news'], 2);

    const subscribed = staying.subscribe('$share/g/t', 2);
    await meanwhile(disk, subscribed);

    const all = [...(await takeAll(passing)), ...(await takeAll(staying))];
    assert.deepEqual(all, ['news at 2']);
  });

  test('is owed to who asks for QoS 0 from now on', async (t) => {
    const scene = await openScene(t);
    const { disk, connect, stay } = scene;
    const publisher = await connect('publisher');
    const subscriber = await stay('subscriber');
    await subscriber.subscribe('t', 1);
    disk.hold();
    await send(publisher, ['news'], 1);

    const subscribed = subscriber.subscribe('t', 0);
    await meanwhile(disk, subscribed);

    assert.deepEqual(await takeAll(subscriber), ['news at 1']);
    await (await connect('another')).publish('t', 'more', { qos: 1 });
    assert.deepEqual(await takeAll(subscriber), ['more at 0']);
  });

  test('came at QoS 0 and comes no more to who asks for QoS 2 from now on', async (t) => {
    const scene = await openScene(t);
    const { disk, connect, stay } = scene;
    await leaveReader(scene, 't');
    const publisher = await connect('publisher');
    const subscriber = await stay('subscriber');
    await subscriber.subscribe('t', 0);
    disk.hold();
    await send(publisher, ['news'], 2);

    const subscribed = subscriber.subscribe('t', 2);
    await meanwhile(disk, subscribed);

    assert.deepEqual(await takeAll(subscriber), ['news at 0']);
    await (await connect('another')).publish('t', 'more', { qos: 2 });
    assert.deepEqual(await takeAll(subscriber), ['more at 2']);
  });

  test('is not granted more by a filter beside the one it came by', async (t) => {
    const scene = await openScene(t);
    const { disk, connect, stay } = scene;
    await leaveReader(scene, 't');
    const publisher = await connect('publisher');
    const subscriber = await stay('subscriber');
    await subscriber.subscribe('t/#', 0);
    disk.hold();
    await send(publisher, ['news'], 2);

    const subscribed = subscriber.subscribe('t', 2);
    await meanwhile(disk, subscribed);

    assert.deepEqual(await takeAll(subscriber), ['news at 0']);
  });

  test('of a group goes to those who stay when its durable member leaves meanwhile', async (t) => {
    const { disk, connect, stay } = await openScene(t);
    const passing = await connect('passing');
    const staying = await stay('staying');
    await staying.subscribe('$share/g/t', 1);
    await passing.subscribe('$share/g/t', 1);
    const publisher = await connect('publisher');
    disk.hold();
    await send(publisher, ['1', '2', '3'], 1);

    const left = staying.unsubscribe('$share/g/t');
    await meanwhile(disk, left);

    assert.deepEqual(await takeAll(passing), ['1 at 1', '2 at 1', '3 at 1']);
    await (await connect('another')).publish('t', '4', { qos: 1 });
    assert.deepEqual(await takeAll(passing), ['4 at 1']);
  });
});
