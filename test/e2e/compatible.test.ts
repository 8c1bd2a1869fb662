/**
 * What a compatible instance asks of its clients, and gives them: parent topics, limits, the
 * choice between a reason code and the end of the connection, P2P messages, and its own world.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { Broker } from '#broker';
import { Administration } from '#broker';
import type { Authenticator, LiveClient, Permissions } from '#identity';
import type { Instance, Instances } from '#instances';
import { openLocalBroker, openLocalDoor } from '../harness/local-broker.ts';
import { connectClient, type V5Client } from '../harness/v5-client.ts';
import { until } from '../harness/until.ts';
import { connectRaw } from '../harness/wire-client.ts';

const GROUP = 'GID_test';
const TOPIC_UNKNOWN = 0x90;
const FILTER_INVALID = 0x8f;
const QUOTA = 0x97;
const NOT_AUTHORIZED = 0x87;
const NO_SUBSCRIBERS = 0x10;

interface Scene {
  readonly broker: Broker;
  readonly port: number;
  readonly instance: Instance;
  readonly instances: Instances;
  /** Of callers from now on. */
  permissions: Permissions | undefined;
  readonly live: Map<string, LiveClient>;
}

/** A broker whose clients say by their user name which instance they want. */
async function openScene(t: TestContext): Promise<Scene> {
  const live = new Map<string, LiveClient>();
  let scene: Scene | undefined;
  const authenticator = (instances: Instances): Authenticator => ({
    authenticate: ({ userName, clientId }) => ({
      instance: instances.find(userName ?? 'mqtt-test')!,
      userName,
      permissions: scene?.permissions,
      connected: (client) => {
        live.set(clientId, client);
        return () => live.delete(clientId);
      },
    }),
    exchange: () => undefined,
  });
  const broker = await openLocalBroker(t, { authenticator });
  const { instances } = broker;
  const instance = await instances.create({ id: 'mqtt-test' });
  await instances.createGroup('mqtt-test', GROUP, []);
  await instances.createTopic('mqtt-test', 'news');
  const port = await openLocalDoor(t, broker);
  scene = { broker, port, instance, instances, permissions: undefined, live };
  return scene;
}

function device(
  t: TestContext,
  { port }: Scene,
  name: string,
  session?: { readonly keeps: boolean },
): Promise<V5Client> {
  const properties = session?.keeps === true ? { sessionExpiry: 3_600 } : {};
  const clientId = `${GROUP}@@@${name}`;
  return connectClient(t, port, { clientId, cleanStart: session?.keeps !== true, properties });
}

test('a parent topic must exist, in publishing and in subscribing', async (t) => {
  const scene = await openScene(t);
  const client = await device(t, scene, 'a');

  assert.deepEqual((await client.subscribe('news/#', 1)).reasons, [1]);
  assert.deepEqual((await client.subscribe('olds/#', 1)).reasons, [FILTER_INVALID]);
  assert.deepEqual((await client.subscribe('#', 1)).reasons, [FILTER_INVALID]);
  assert.equal(await client.publish('olds/x', 'no', { qos: 1 }), TOPIC_UNKNOWN);
  assert.equal(await client.publish('news/x', 'yes', { qos: 1 }), 0);
  assert.equal((await client.receive()).payload, 'yes');

  await scene.instances.createTopic('mqtt-test', 'olds');
  assert.equal(await client.publish('olds/x', 'now', { qos: 1 }), NO_SUBSCRIBERS);
  await scene.instances.deleteTopic('mqtt-test', 'news');
  assert.equal(await client.publish('news/x', 'gone', { qos: 1 }), TOPIC_UNKNOWN);
});

test('each limit answers with its reason, and can be set', async (t) => {
  const scene = await openScene(t);
  await scene.instances.update('mqtt-test', {
    limits: {
      subscriptionsPerClientMax: 2,
      wildcardsPerTopicMax: 1,
      payloadBytesMax: 10,
      topicCharsMax: 20,
    },
  });
  const client = await device(t, scene, 'a');
  const other = await device(t, scene, 'b');

  assert.deepEqual((await client.subscribe('news/+', 0)).reasons, [0]);
  assert.deepEqual((await other.subscribe('news/#', 0)).reasons, [QUOTA], 'a second wildcard');
  assert.deepEqual((await other.subscribe('news/+', 0)).reasons, [0], 'the same once more');
  assert.deepEqual((await client.subscribe('news/1', 0)).reasons, [0]);
  assert.deepEqual((await client.subscribe('news/2', 0)).reasons, [QUOTA], 'a third filter');
  assert.deepEqual((await client.subscribe('news/1', 1)).reasons, [1], 'one it has');
  assert.equal(await client.publish('news/3', '12345678901', { qos: 1 }), QUOTA);
  assert.equal(await client.publish(`news/${'x'.repeat(16)}`, '', { qos: 1 }), TOPIC_UNKNOWN);
  assert.equal(scene.broker.metrics.droppedOverLimit, 2);
  assert.equal(scene.broker.metrics.subscriptionsRefused, 2);
});

test('a rate of messages is kept', async (t) => {
  const scene = await openScene(t);
  await scene.instances.update('mqtt-test', { limits: { messagesPerSecondMax: 4 } });
  const client = await device(t, scene, 'a');

  const codes = [];
  for (let i = 0; i < 6; i++) codes.push(await client.publish('news/1', 'x', { qos: 1 }));

  assert.equal(codes[0], NO_SUBSCRIBERS);
  assert.ok(codes.includes(QUOTA), `some are refused: ${codes.join(' ')}`);
});

test('connections are bounded, and so is keep alive', async (t) => {
  const scene = await openScene(t);
  await scene.instances.update('mqtt-test', {
    limits: { connectionCountMax: 1, keepAliveSecondsMax: 30, packetBytesMax: 2_000 },
  });

  const client = await device(t, scene, 'a');

  assert.equal(client.connack?.properties.serverKeepAlive, 30);
  assert.equal(client.connack?.properties.maximumPacketSize, 2_000);
  await assert.rejects(device(t, scene, 'b'), /0x97/);
});

test('a session is kept within bounds, whether CONNECT or DISCONNECT asks', async (t) => {
  const scene = await openScene(t);
  await scene.instances.update('mqtt-test', { limits: { sessionExpirySecondsMax: 5_000 } });
  const kept = async (): Promise<number | undefined> =>
    (await scene.broker.sessions.read(`mqtt-test/${GROUP}@@@a`))?.expirySeconds;

  for (const [asked, expected] of [
    [10, 600],
    [9_000, 5_000],
  ] as const) {
    const client = await device(t, scene, 'a', { keeps: true });
    assert.equal(await kept(), 3_600);
    await client.disconnect(0, { sessionExpiry: asked });
    assert.equal(await kept(), expected);
  }
});

test('an instance that closes ends the connection instead, and says why', async (t) => {
  const scene = await openScene(t);
  await scene.instances.update('mqtt-test', { overstepping: 'close' });

  const publisher = await device(t, scene, 'a');
  publisher.sendPublish('olds/x', 'no', { qos: 0 });
  const packet = await publisher.disconnected(TOPIC_UNKNOWN);
  assert.equal(packet.properties.reasonString, 'parent topic does not exist');

  const subscriber = await device(t, scene, 'b');
  await assert.rejects(subscriber.subscribe('olds/x', 0), /0x8f/);

  const old = await connectRaw({
    port: scene.port,
    t,
    version: 4,
    clientId: `${GROUP}@@@c`,
    username: 'mqtt-test',
  });
  old.send({ cmd: 'publish', topic: 'olds/x', payload: 'no', qos: 0 });
  await old.closed();
});

test('two instances with the same names have nothing in common', async (t) => {
  const scene = await openScene(t);
  await scene.instances.create({ id: 'mqtt-other', kind: 'open' });
  const clientId = `${GROUP}@@@same`;
  const mine = await connectClient(t, scene.port, { clientId });
  const theirs = await connectClient(t, scene.port, { clientId, username: 'mqtt-other' });
  await mine.subscribe('news/#', 1);
  await theirs.subscribe('#', 1);

  await theirs.publish('news/1', 'theirs', { qos: 1, retain: true });
  await mine.publish('news/2', 'mine', { qos: 1, retain: true });

  assert.equal((await mine.receive()).payload, 'mine');
  assert.equal((await theirs.receive()).payload, 'theirs');
  await mine.subscribe('news/+', 0);
  assert.equal((await mine.message()).topic, 'news/2');
  await mine.idle();
  await theirs.idle();
});

test('an instance that is removed sends its clients away', async (t) => {
  const scene = await openScene(t);
  const client = await device(t, scene, 'a', { keeps: true });

  await scene.instances.remove('mqtt-test');

  await client.disconnected(NOT_AUTHORIZED);
});

test('P2P reaches a client that has subscribed to nothing, and nobody else', async (t) => {
  const scene = await openScene(t);
  const receiver = await device(t, scene, 'to');
  const other = await device(t, scene, 'other');
  const sender = await device(t, scene, 'from');

  for (const qos of [0, 1, 2]) {
    await sender.publish(`news/p2p/${GROUP}@@@to`, `qos ${qos}`, { qos });
    const message = await receiver.receive();
    assert.deepEqual([message.payload, message.qos], [`qos ${qos}`, qos]);
    assert.equal(message.topic, `news/p2p/${GROUP}@@@to`);
  }
  await other.idle();
  assert.equal(await sender.publish(`olds/p2p/${GROUP}@@@to`, 'x', { qos: 1 }), TOPIC_UNKNOWN);
});

test('whether P2P waits for a client that is away is its sender’s choice', async (t) => {
  const scene = await openScene(t);
  const to = `news/p2p/${GROUP}@@@to`;
  const lasting = await device(t, scene, 'lasting', { keeps: true });
  const passing = await device(t, scene, 'passing');
  for (const keeps of [true, false]) {
    const before = await device(t, scene, 'to', { keeps });
    await before.disconnect();

    assert.equal(await passing.publish(to, 'lost', { qos: 1 }), NO_SUBSCRIBERS);
    await lasting.publish(to, 'QoS 0', { qos: 0 });
    assert.equal(await lasting.publish(to, `kept ${keeps}`, { qos: 1 }), 0);

    const after = await device(t, scene, 'to', { keeps });
    assert.equal(after.connack?.sessionPresent, keeps);
    assert.equal((await after.receive()).payload, `kept ${keeps}`);
    await after.idle();
    await passing.publish(to, 'live', { qos: 1 });
    assert.equal((await after.receive()).payload, 'live');
    await after.disconnect();
    const again = await device(t, scene, 'to', { keeps });
    await again.idle();
    await again.disconnect();
  }
});

test('mail that was not acknowledged is there again, also for a clean session', async (t) => {
  const scene = await openScene(t);
  const to = `news/p2p/${GROUP}@@@never-seen`;
  const sender = await device(t, scene, 'from', { keeps: true });
  for (const payload of ['1', '2', '3']) await sender.publish(to, payload, { qos: 1 });

  const first = await device(t, scene, 'never-seen');
  assert.equal((await first.receive()).payload, '1');
  assert.equal((await first.message()).payload, '2');
  first.drop();
  const { online } = scene.broker.spaces.get('mqtt-test')!;
  await until(
    () => !online.has(`${GROUP}@@@never-seen`),
    () => 'still online',
  );
  const second = await device(t, scene, 'never-seen');
  const payloads = [];
  for (let i = 0; i < 2; i++) payloads.push((await second.receive()).payload);

  assert.deepEqual(payloads, ['2', '3']);
  await second.idle();
  await second.disconnect();
  await (await device(t, scene, 'never-seen')).idle();
  assert.equal(scene.broker.spaces.get('mqtt-test')!.mailboxes.size, 2);
});

test('a mailbox outlives a change from a kept session to a clean one', async (t) => {
  const scene = await openScene(t);
  const to = `news/p2p/${GROUP}@@@to`;
  const sender = await device(t, scene, 'from', { keeps: true });
  const first = await device(t, scene, 'to', { keeps: true });
  await first.subscribe('news/1', 1);
  await sender.publish(to, 'read', { qos: 1 });
  await first.receive();
  await first.disconnect();
  await sender.publish(to, 'unread', { qos: 1 });
  await sender.publish('news/1', 'of the old session', { qos: 1 });

  const second = await device(t, scene, 'to');

  assert.equal(second.connack?.sessionPresent, false);
  assert.equal((await second.receive()).payload, 'unread');
  await second.idle();
});

test('a client named like a wildcard opens no mailbox but its own', async (t) => {
  const scene = await openScene(t);
  const curious = [];
  for (const clientId of ['#', '+', `+/p2p/${GROUP}@@@to`]) {
    curious.push(await connectClient(t, scene.port, { clientId }));
  }
  const receiver = await device(t, scene, 'to');
  const sender = await device(t, scene, 'from');

  await sender.publish(`news/p2p/${GROUP}@@@to`, 'private', { qos: 1 });

  assert.equal((await receiver.receive()).payload, 'private');
  for (const client of curious) await client.idle();
});

test('a will is held to the same topics, and to permissions when it is sent', async (t) => {
  const scene = await openScene(t);
  const witness = await device(t, scene, 'witness');
  await witness.subscribe('news/#', 0);
  const connect = (will: { topic: string; payload: string }): Promise<V5Client> =>
    connectClient(t, scene.port, { clientId: `${GROUP}@@@a`, will });

  await assert.rejects(connect({ topic: 'olds/x', payload: '' }), /0x90/);
  await assert.rejects(connect({ topic: '$SYS/broker/x', payload: '' }), /0x87/);
  let allowed = true;
  scene.permissions = { version: 1, mayPublish: () => allowed, maySubscribe: () => true };
  (await connect({ topic: 'news/will', payload: 'first' })).drop();
  assert.equal((await witness.message()).payload, 'first');
  const client = await connect({ topic: 'news/will', payload: 'second' });
  allowed = false;
  client.drop();
  await witness.idle();
});

test('permissions hold for publishing, subscribing and wills, and change under a live client', async (t) => {
  const scene = await openScene(t);
  let version = 1;
  let allowed = 'news/mine';
  scene.permissions = {
    get version() {
      return version;
    },
    mayPublish: (topic) => topic === allowed,
    maySubscribe: (filter) => filter === allowed,
  };
  const client = await device(t, scene, 'a', { keeps: true });
  assert.deepEqual((await client.subscribe('news/mine', 1)).reasons, [1]);
  assert.deepEqual((await client.subscribe('news/yours', 1)).reasons, [NOT_AUTHORIZED]);
  assert.equal(await client.publish('news/mine', 'x', { qos: 1 }), 0);
  assert.equal(await client.publish('news/yours', 'x', { qos: 1 }), NOT_AUTHORIZED);
  await client.receive();

  allowed = 'news/yours';
  version++;
  assert.equal(await client.publish('news/mine', 'x', { qos: 1 }), NOT_AUTHORIZED);
  scene.live.get(`${GROUP}@@@a`)!.permissionsChanged();
  await client.disconnected(NOT_AUTHORIZED);

  const again = await device(t, scene, 'a', { keeps: true });
  assert.equal(again.connack?.sessionPresent, true);
  const administration = new Administration(scene.broker);
  await administration.sendMessage('mqtt-test', 'news/mine', Buffer.from('secret'));
  await again.idle();
  const state = await administration.sessionState('mqtt-test', `${GROUP}@@@a`);
  assert.deepEqual(state?.subscriptions, []);
});

test('a session that comes back to a client that may do less has lost what it may not have', async (t) => {
  const scene = await openScene(t);
  const first = await device(t, scene, 'a', { keeps: true });
  await first.subscribe('news/1', 1);
  await first.disconnect();
  await new Administration(scene.broker).sendMessage('mqtt-test', 'news/1', Buffer.from('secret'));
  scene.permissions = { version: 1, mayPublish: () => true, maySubscribe: () => false };

  const second = await device(t, scene, 'a', { keeps: true });

  assert.equal(second.connack?.sessionPresent, true);
  await second.idle();
});

test('a message of the cloud may be shown under another topic, live, from the log, by alias', async (t) => {
  const scene = await openScene(t);
  const administration = new Administration(scene.broker);
  const clientId = `${GROUP}@@@a`;
  const mail = `news/p2p/${clientId}`;
  const send = (payload: string, shown?: string): Promise<string> =>
    administration.sendMessage('mqtt-test', mail, Buffer.from(payload), shown);
  const connect = (topicAliasMaximum: number): Promise<V5Client> =>
    connectClient(t, scene.port, {
      clientId,
      cleanStart: false,
      properties: { sessionExpiry: 3_600, topicAliasMaximum },
    });
  const seen = async (client: V5Client): Promise<string> => {
    const { topic, payload } = await client.receive();
    return `${topic} ${payload}`;
  };

  const first = await connect(0);
  await send('live', 'alarm/fire');
  assert.equal(await seen(first), 'alarm/fire live');
  await first.disconnect();
  await send('stored', 'alarm/flood');
  await send('plain');
  const second = await connect(5);
  assert.equal(await seen(second), 'alarm/flood stored');
  assert.equal(await seen(second), `${mail} plain`);
  await send('again', 'alarm/flood');
  await send('other', 'alarm/fire');
  assert.equal(await seen(second), 'alarm/flood again');
  assert.equal(await seen(second), 'alarm/fire other');
  await assert.rejects(send('bad', 'alarm/#'));
});

test('an administrator sends, looks and closes', async (t) => {
  const scene = await openScene(t);
  const administration = new Administration(scene.broker);
  const client = await device(t, scene, 'a');
  const clientId = `${GROUP}@@@a`;
  await client.subscribe('news/#', 1);

  const id = await administration.sendMessage('mqtt-test', 'news/1', Buffer.from('hello'));

  assert.match(id, /^[0-9A-F]{32}$/);
  assert.equal((await client.receive()).payload, 'hello');
  assert.equal(administration.isOnline('mqtt-test', clientId), true);
  assert.deepEqual(await administration.sessionState('mqtt-test', clientId), {
    online: true,
    address: '127.0.0.1',
    subscriptions: [{ filter: 'news/#', qos: 1 }],
  });
  assert.equal(administration.connectionCount('mqtt-test'), 1);
  const numbers = administration.metrics('mqtt-test');
  assert.partialDeepStrictEqual(numbers, {
    connectsAccepted: 1,
    messagesReceived: 0,
    deliveries: 1,
    connections: 1,
    subscriptionsRefused: 0,
  });
  assert.equal(administration.metrics('default').connections, 0);
  await assert.rejects(administration.sendMessage('mqtt-test', 'olds/1', Buffer.alloc(0)));
  await assert.rejects(administration.sendMessage('mqtt-none', 'news/1', Buffer.alloc(0)));
  assert.equal(administration.closeConnection('mqtt-test', clientId), true);
  await client.disconnected(0x98);
  assert.equal(administration.closeConnection('mqtt-test', clientId), false);
});

test('ordered export can be asked for, and other system topics stay the server’s', async (t) => {
  const scene = await openScene(t);
  const client = await device(t, scene, 'a');

  assert.equal(await client.publish('$SYS/enableOrderMsg', '{"order":"true"}', { qos: 1 }), 0);
  assert.equal(await client.publish('$SYS/uploadToken', '{}', { qos: 1 }), NOT_AUTHORIZED);
  assert.equal(await client.publish('$SYS/tokenExpireNotice', '{}', { qos: 1 }), NOT_AUTHORIZED);
});
