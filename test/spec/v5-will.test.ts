/**
 * MQTT 5.0, sections 3.1.2.5 to 3.1.2.7, 3.1.3.2 and 3.14.4: the will.
 *
 * When it goes out, when it does not, and what of it reaches a subscriber. That a will does
 * not go out is shown by a later message on the same path arriving first.
 */
import { strict as assert } from 'node:assert';
import { test, type TestContext } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import {
  connectClient,
  elapse,
  nothingReaches,
  unique,
  type V5Client,
} from '../harness/v5-client.ts';
import {
  bytes,
  type ConnectOptions,
  disconnectPacket,
  frame,
  RETAIN_AS_PUBLISHED,
  type WillOptions,
} from '../harness/v5-packets.ts';

const broker = sharedBroker();

interface Scene {
  readonly watcher: V5Client;
  readonly dying: V5Client;
  readonly topic: string;
}

/** Somebody with a will, and somebody who watches its topic. */
async function scene(
  t: TestContext,
  will: Partial<WillOptions> = {},
  options: ConnectOptions = {},
): Promise<Scene> {
  const topic = unique('will/');
  const watcher = await connectClient(t, broker.port);
  await watcher.subscribe(topic, 2 | RETAIN_AS_PUBLISHED);
  const dying = await connectClient(t, broker.port, {
    ...options,
    will: { topic, payload: 'last words', ...will },
  });
  return { watcher, dying, topic };
}

test('[MQTT-3.1.2-7] [MQTT-3.1.2-8] a lost connection publishes the will, once', async (t) => {
  const { watcher, dying, topic } = await scene(t, { qos: 1 });

  dying.drop();

  const message = await watcher.receive();
  assert.deepEqual([message.topic, message.payload, message.qos], [topic, 'last words', 1]);
  assert.equal(message.retain, false);
  await nothingReaches(watcher, watcher);
});

test('[MQTT-3.1.2-8] a connection closed without DISCONNECT publishes the will', async (t) => {
  const { watcher, dying } = await scene(t);

  dying.socket.end();

  assert.equal((await watcher.message()).payload, 'last words');
});

for (const qos of [0, 1, 2]) {
  test(`[MQTT-3.1.2-8] [MQTT-3.1.2-12] the will goes out at its QoS: ${qos}`, async (t) => {
    const { watcher, dying } = await scene(t, { qos });

    dying.drop();

    assert.equal((await watcher.receive()).qos, qos);
  });
}

test('[MQTT-3.14.4-3] [MQTT-3.1.2-10] [MQTT-3.1.2-8] DISCONNECT 0x00 drops the will', async (t) => {
  for (const packet of [disconnectPacket(), disconnectPacket(0), disconnectPacket(0, {})]) {
    const { watcher, dying } = await scene(t);

    dying.send(packet);
    await dying.closed();

    await nothingReaches(watcher, watcher);
  }
});

test('[MQTT-3.1.2-8] DISCONNECT 0x04 publishes the will', async (t) => {
  const { watcher, dying } = await scene(t, { qos: 1 });

  dying.send(disconnectPacket(0x04));

  await dying.closed();
  assert.equal((await watcher.receive()).payload, 'last words');
  await nothingReaches(watcher, watcher);
});

for (const reason of [0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]) {
  test(`[MQTT-3.1.2-8] [MQTT-3.14.2-1] DISCONNECT 0x${reason.toString(16)} publishes the will`, async (t) => {
    const { watcher, dying } = await scene(t);

    dying.send(disconnectPacket(reason));

    await dying.closed();
    assert.equal((await watcher.message()).payload, 'last words');
  });
}

test('[MQTT-3.1.2-10] a will goes out for one connection only', async (t) => {
  const clientId = unique('c');
  const { watcher, dying } = await scene(t, {}, { clientId, properties: { sessionExpiry: 60 } });
  dying.drop();
  assert.equal((await watcher.message()).payload, 'last words');

  const next = await connectClient(t, broker.port, { clientId, cleanStart: false });
  assert.equal(next.connack?.sessionPresent, true);
  next.drop();
  await next.hungUp();

  await nothingReaches(watcher, watcher);
});

test('[MQTT-3.1.2-10] a will is not inherited after DISCONNECT 0x00', async (t) => {
  const clientId = unique('c');
  const { watcher, dying } = await scene(t, {}, { clientId, properties: { sessionExpiry: 60 } });
  await dying.disconnect();

  const next = await connectClient(t, broker.port, { clientId, cleanStart: false });
  next.drop();
  await next.hungUp();

  await nothingReaches(watcher, watcher);
});

test('[MQTT-3.1.2-14] Will Retain 0: nothing is stored', async (t) => {
  const { watcher, dying, topic } = await scene(t, { qos: 1 });
  dying.drop();
  await watcher.receive();

  const late = await connectClient(t, broker.port);
  await late.subscribe(topic, 1);

  await nothingReaches(late, watcher);
});

test('[MQTT-3.1.2-15] Will Retain 1: the will is the retained message of its topic', async (t) => {
  const { watcher, dying, topic } = await scene(t, { qos: 1, retain: true });
  await watcher.publish(topic, 'older', { retain: true });
  assert.equal((await watcher.receive()).payload, 'older');

  dying.drop();
  const live = await watcher.receive();
  const late = await connectClient(t, broker.port);
  await late.subscribe(topic, 1);

  assert.deepEqual([live.payload, live.retain], ['last words', true]);
  const stored = await late.receive();
  assert.deepEqual([stored.payload, stored.retain, stored.qos], ['last words', true, 1]);
});

test('[MQTT-3.1.2-15] [MQTT-3.3.1-7] an empty retained will deletes what was retained', async (t) => {
  const { watcher, dying, topic } = await scene(t, { retain: true, payload: '' });
  await watcher.publish(topic, 'older', { retain: true });
  assert.equal((await watcher.receive()).payload, 'older');

  dying.drop();
  assert.equal((await watcher.receive()).payload, '');
  const late = await connectClient(t, broker.port);
  await late.subscribe(topic, 1);

  await nothingReaches(late, watcher);
});

test('[MQTT-3.1.3-1] [MQTT-3.1.3-10] [MQTT-3.1.2-16] the will keeps its properties, with user name and password behind it', async (t) => {
  const properties = {
    userProperties: [
      ['b', '2'],
      ['a', '1'],
      ['b', '3'],
      ['b', '2'],
      ['', ''],
    ] as const,
    payloadFormat: 1,
    messageExpiry: 500,
    contentType: 'text/plain',
    responseTopic: 'answers/here',
    correlationData: bytes(0, 1, 0xff),
  };
  const { watcher, dying } = await scene(
    t,
    { qos: 2, properties: { ...properties, willDelay: 0 } },
    { username: 'anyone', password: bytes(0, 0xff) },
  );

  dying.drop();

  const message = await watcher.receive();
  const { messageExpiry, ...others } = message.properties;
  assert.ok(messageExpiry !== undefined && messageExpiry <= 500 && messageExpiry > 400);
  assert.deepEqual(others, {
    userProperties: [
      ['b', '2'],
      ['a', '1'],
      ['b', '3'],
      ['b', '2'],
      ['', ''],
    ],
    payloadFormat: 1,
    contentType: 'text/plain',
    responseTopic: 'answers/here',
    correlationData: bytes(0, 1, 0xff),
  });
});

test('[MQTT-3.1.2-8] [MQTT-3.1.3-9] a delayed will waits: what is sent meanwhile comes first', async (t) => {
  const { watcher, dying } = await scene(
    t,
    { qos: 1, properties: { willDelay: 2 } },
    { properties: { sessionExpiry: 3_600 } },
  );

  dying.drop();
  await dying.hungUp();

  await nothingReaches(watcher, watcher);
  const message = await watcher.receive();
  assert.equal(message.payload, 'last words');
  assert.deepEqual(message.properties, {});
});

test('[MQTT-3.1.3-9] [MQTT-3.1.2-8] taking the session up again within the delay cancels the will', async (t) => {
  const clientId = unique('c');
  const { watcher, dying } = await scene(
    t,
    { qos: 1, properties: { willDelay: 1 } },
    { clientId, properties: { sessionExpiry: 3_600 } },
  );
  dying.drop();
  await dying.hungUp();

  const next = await connectClient(t, broker.port, {
    clientId,
    cleanStart: false,
    properties: { sessionExpiry: 60 },
  });
  assert.equal(next.connack?.sessionPresent, true);
  await elapse(2_300);

  await nothingReaches(watcher, watcher);
});

test('[MQTT-3.1.3-9] a takeover within the session cancels a delayed will too', async (t) => {
  const clientId = unique('c');
  const { watcher, dying } = await scene(
    t,
    { qos: 1, properties: { willDelay: 1 } },
    { clientId, properties: { sessionExpiry: 3_600 } },
  );

  await connectClient(t, broker.port, {
    clientId,
    cleanStart: false,
    properties: { sessionExpiry: 60 },
  });
  await dying.hungUp();
  await elapse(2_300);

  await nothingReaches(watcher, watcher);
});

test('[MQTT-3.1.2-8] a takeover publishes a will without delay', async (t) => {
  const clientId = unique('c');
  const { watcher } = await scene(t, { qos: 1 }, { clientId, properties: { sessionExpiry: 60 } });

  const next = await connectClient(t, broker.port, { clientId, cleanStart: false });

  assert.equal((await watcher.receive()).payload, 'last words');
  await next.idle();
});

test('[MQTT-3.1.2-8] a takeover with Clean Start 1 ends the session, and so publishes a delayed will', async (t) => {
  const clientId = unique('c');
  const { watcher } = await scene(
    t,
    { qos: 1, properties: { willDelay: 3_600 } },
    { clientId, properties: { sessionExpiry: 7_200 } },
  );

  await connectClient(t, broker.port, { clientId, cleanStart: true });

  assert.equal((await watcher.receive()).payload, 'last words');
});

test('[MQTT-3.1.2-8] Clean Start 1 during the delay publishes the will, once', async (t) => {
  const clientId = unique('c');
  const { watcher, dying } = await scene(
    t,
    { qos: 1, properties: { willDelay: 3_600 } },
    { clientId, properties: { sessionExpiry: 7_200 } },
  );
  dying.drop();
  await dying.hungUp();

  await connectClient(t, broker.port, { clientId, cleanStart: true });

  assert.equal((await watcher.receive()).payload, 'last words');
  await nothingReaches(watcher, watcher);
});

test('[MQTT-3.1.2-8] a session that ends with the connection does not wait for the delay', async (t) => {
  const { watcher, dying } = await scene(t, { qos: 1, properties: { willDelay: 3_600 } });

  dying.drop();

  assert.equal((await watcher.receive()).payload, 'last words');
});

test('[MQTT-3.1.2-8] DISCONNECT 0x04 with a long delay: the will tells of the end of the session', async (t) => {
  const { watcher, dying } = await scene(
    t,
    { qos: 1, properties: { willDelay: 3_600 } },
    { properties: { sessionExpiry: 3_600 } },
  );

  await dying.disconnect(0x04, { sessionExpiry: 2 });

  await nothingReaches(watcher, watcher);
  assert.equal((await watcher.receive()).payload, 'last words');
});

test('[MQTT-3.1.2-8] the broker closing for a fault of the client publishes the will', async (t) => {
  const { watcher, dying } = await scene(t);

  dying.send(frame(0xc0, 1));

  assert.equal((await watcher.message()).payload, 'last words');
});

test('[MQTT-3.14.4-3] DISCONNECT 0x00 followed by a fault still drops the will', async (t) => {
  const { watcher, dying } = await scene(t);

  dying.send(disconnectPacket(), frame(0x30, 9));
  await dying.closed();

  await nothingReaches(watcher, watcher);
});

test('[MQTT-3.3.2-5] a will for an absent subscriber expires counting from its publication', async (t) => {
  const topic = unique('will/');
  const clientId = unique('c');
  const options = { clientId, cleanStart: false, properties: { sessionExpiry: 600 } };
  const absent = await connectClient(t, broker.port, options);
  await absent.subscribe(topic, 1);
  await absent.disconnect();
  const will = { topic, payload: 'short lived', qos: 1, properties: { messageExpiry: 1 } };
  const dying = await connectClient(t, broker.port, { will });
  await elapse(1_200);
  await dying.disconnect(0x04);
  const lasting = { ...will, payload: 'in time', properties: { messageExpiry: 300 } };
  const second = await connectClient(t, broker.port, { will: lasting });
  await second.disconnect(0x04);
  await elapse(1_200);

  const back = await connectClient(t, broker.port, options);

  const message = await back.receive();
  assert.equal(message.payload, 'in time');
  const rest = message.properties.messageExpiry ?? 0;
  assert.ok(rest < 300 && rest > 200);
});

test('[MQTT-3.1.2-7] a will for the client itself reaches its own lasting session', async (t) => {
  const topic = unique('will/');
  const clientId = unique('c');
  const properties = { sessionExpiry: 600 };
  const will = { topic, payload: 'to myself', qos: 1 };
  const first = await connectClient(t, broker.port, { clientId, properties, will });
  await first.subscribe(topic, 1);
  first.drop();
  await first.hungUp();

  const second = await connectClient(t, broker.port, { clientId, properties, cleanStart: false });

  assert.equal((await second.receive()).payload, 'to myself');
});
