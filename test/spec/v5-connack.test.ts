/**
 * MQTT 5.0, section 3.2: CONNACK and what the broker announces in it.
 *
 * What is announced must be so: each announcement is tried out by a client that relies on it.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, hex, openClient, unique } from '../harness/v5-client.ts';
import { connectPacket, PINGREQ, publishPacket } from '../harness/v5-packets.ts';

const broker = sharedBroker();

test('[MQTT-3.2.2-1] [MQTT-3.1.4-5] [MQTT-3.2.0-2] CONNACK: type, flags, code 0x00, once', async (t) => {
  const client = await connectClient(t, broker.port);

  const raw = client.connack?.bytes ?? Buffer.alloc(0);
  assert.equal(raw[0], 0x20);
  assert.equal(raw[2], 0); // no session, and bits 7 to 1 are 0
  assert.equal(raw[3], 0);
  await client.idle();
});

test('[MQTT-3.2.2-1] with a session only bit 0 of the flags is set', async (t) => {
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  await (await connectClient(t, broker.port, options)).disconnect();

  const client = await connectClient(t, broker.port, options);

  assert.equal(client.connack?.bytes[2], 1);
});

test('[MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8] a refusal has Session Present 0 even if a session exists', async (t) => {
  const clientId = unique('c');
  const first = await connectClient(t, broker.port, {
    clientId,
    properties: { sessionExpiry: 60 },
  });
  await first.disconnect();
  const client = await openClient(t, broker.port);

  client.sendConnect({ clientId, cleanStart: false, properties: { authMethod: 'NOBODY-KNOWS' } });

  const connack = await client.refused(0x8c);
  assert.equal(connack.bytes[2], 0);
  const second = await connectClient(t, broker.port, { clientId, cleanStart: false });
  assert.equal(second.connack?.sessionPresent, true); // the refused one changed nothing
});

test('[MQTT-3.1.4-3] a refused CONNECT does not take over the connection of that id', async (t) => {
  const clientId = unique('c');
  const first = await connectClient(t, broker.port, { clientId });
  const client = await openClient(t, broker.port);

  client.sendConnect({ clientId, properties: { authMethod: 'NOBODY-KNOWS' } });

  await client.refused(0x8c);
  await first.idle();
});

test('[MQTT-3.2.2-9] [MQTT-3.2.2-11] [MQTT-3.2.2-12] no Maximum QoS is announced, and QoS 2 works everywhere', async (t) => {
  const topic = unique('q/');
  const will = { topic, payload: 'will', qos: 2 };
  const watcher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port, { will });
  assert.equal(client.connack?.properties.maximumQos, undefined);

  assert.deepEqual((await watcher.subscribe(topic, 2)).reasons, [2]);
  assert.equal(await client.publish(topic, 'x', { qos: 2 }), 0);
  assert.equal((await watcher.receive()).qos, 2);
  client.drop();
  const last = await watcher.receive();
  assert.deepEqual([last.payload, last.qos], ['will', 2]);
});

test('[MQTT-3.2.2-10] SUBSCRIBE may ask for QoS 0, 1 and 2', async (t) => {
  const client = await connectClient(t, broker.port);

  const suback = await client.subscribe([
    [unique('q/'), 0],
    [unique('q/'), 1],
    [unique('q/'), 2],
  ]);

  assert.deepEqual(suback.reasons, [0, 1, 2]);
});

test('[MQTT-3.2.2-13] [MQTT-3.2.2-14] retained messages are not announced off, and RETAIN is taken', async (t) => {
  const topic = unique('r/');
  const will = { topic: unique('will/'), payload: 'x', retain: true };
  const client = await connectClient(t, broker.port, { will });
  assert.notEqual(client.connack?.properties.retainAvailable, 0);

  await client.publish(topic, 'kept', { retain: true, qos: 1 });
  await client.subscribe(topic, 1);

  const message = await client.receive();
  assert.deepEqual([message.payload, message.retain], ['kept', true]);
});

test('[MQTT-3.2.2-9] wildcards, identifiers and shared subscriptions are not announced off, and work', async (t) => {
  const client = await connectClient(t, broker.port);
  const announced = client.connack?.properties ?? {};
  assert.notEqual(announced.wildcardAvailable, 0);
  assert.notEqual(announced.subscriptionIdsAvailable, 0);
  assert.notEqual(announced.sharedAvailable, 0);
  const topic = unique('w/');

  await client.subscribe([[`${topic}/#`, 0]], 0, { subscriptionIds: [5] });
  await client.subscribe(`$share/g/${topic}/+`, 0);
  client.send(publishPacket(`${topic}/x`, 'x'));

  const ids = [await client.message(), await client.message()].map((m) => m.properties);
  assert.ok(ids.some((one) => one.subscriptionIds?.[0] === 5));
});

test('[MQTT-3.1.2-28] Response Information is sent only when asked for', async (t) => {
  for (const properties of [{}, { requestResponse: 0 }]) {
    const client = await connectClient(t, broker.port, { properties });
    assert.equal(client.connack?.properties.responseInformation, undefined);
  }

  const clientId = unique('c');
  const asking = await connectClient(t, broker.port, {
    clientId,
    properties: { requestResponse: 1 },
  });
  assert.equal(asking.connack?.properties.responseInformation, `responses/${clientId}`);
});

test('[MQTT-3.1.2-28] request and response go round through the announced topic', async (t) => {
  const service = await connectClient(t, broker.port);
  const question = unique('ask/');
  await service.subscribe(question, 1);
  const client = await connectClient(t, broker.port, { properties: { requestResponse: 1 } });
  const responseTopic = `${client.connack?.properties.responseInformation}/1`;
  await client.subscribe(responseTopic, 1);

  const correlationData = Buffer.from([1, 0, 2]);
  await client.publish(question, 'what', {
    qos: 1,
    properties: { responseTopic, correlationData },
  });
  const asked = await service.receive();
  await service.publish(asked.properties.responseTopic ?? '', 'that', {
    qos: 1,
    properties: { correlationData: asked.properties.correlationData ?? Buffer.alloc(0) },
  });

  const answer = await client.receive();
  assert.deepEqual([answer.topic, answer.payload], [responseTopic, 'that']);
  assert.deepEqual(answer.properties.correlationData, correlationData);
});

test('[MQTT-4.12.0-6] without a method in CONNECT there is none in CONNACK', async (t) => {
  const client = await connectClient(t, broker.port, { username: 'u', password: 'p' });

  assert.equal(client.connack?.properties.authMethod, undefined);
  assert.equal(client.connack?.properties.authData, undefined);
});

test('[MQTT-3.2.2-16] an id the client brought is not assigned again, and a session expiry not echoed wrongly', async (t) => {
  const client = await connectClient(t, broker.port, { properties: { sessionExpiry: 77 } });

  assert.equal(client.connack?.properties.assignedClientId, undefined);
  assert.ok([undefined, 77].includes(client.connack?.properties.sessionExpiry));
});

test('[MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] user name and password in every combination, empty ones too', async (t) => {
  for (const username of [undefined, '', 'someone']) {
    for (const password of [undefined, '', Buffer.from([0, 0xff, 0x80])]) {
      const client = await openClient(t, broker.port);
      const clientId = unique('c');
      client.send(
        connectPacket({
          clientId,
          ...(username === undefined ? {} : { username }),
          ...(password === undefined ? {} : { password }),
        }),
        PINGREQ,
      );
      assert.equal(hex((await client.next('connack')).reason), '0x00');
      await client.next('pingresp');
    }
  }
});

test('[MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.1.2-24] CONNACK leaves out what does not fit the client', async (t) => {
  const refused = await openClient(t, broker.port);
  refused.sendConnect({ clientId: unique('c'), properties: { authMethod: 'NOBODY-KNOWS' } });
  const full = await refused.refused(0x8c);

  const tight = await openClient(t, broker.port);
  tight.sendConnect({
    clientId: unique('c'),
    properties: { authMethod: 'NOBODY-KNOWS', maximumPacketSize: 5 },
  });
  const short = await tight.refused(0x8c);

  assert.deepEqual(short.bytes, Buffer.of(0x20, 3, 0, 0x8c, 0));
  assert.ok(full.bytes.length >= short.bytes.length);
});

/** Maximum Packet Sizes no CONNACK of success fits: with one that says so, and with none at all. */
for (const [maximumPacketSize, bytes] of [
  [15, '2003009500'],
  [5, '2003009500'],
  [4, ''],
] as const) {
  test(`[MQTT-3.2.0-1] [MQTT-3.14.0-1] a client that takes packets of ${maximumPacketSize} bytes is refused by CONNACK, or closed`, async (t) => {
    const clientId = unique('c');
    const topic = unique('w/');
    const watcher = await connectClient(t, broker.port);
    await watcher.subscribe(topic, 1);
    const first = await connectClient(t, broker.port, { clientId });
    const client = await openClient(t, broker.port);

    client.sendConnect({
      clientId,
      will: { topic, payload: 'never admitted' },
      properties: { maximumPacketSize },
    });

    if (bytes === '') await client.closed();
    else assert.equal((await client.refused(0x95)).bytes.toString('hex'), bytes);
    await first.idle(); // nobody took its place
    await watcher.idle(); // and nobody left
  });
}

test('[MQTT-3.1.2-24] Response Information gives way where CONNACK would be too large with it', async (t) => {
  const client = await connectClient(t, broker.port, {
    clientId: unique('c'),
    properties: { requestResponse: 1, maximumPacketSize: 32 },
  });

  assert.equal(client.connack?.properties.responseInformation, undefined);
  assert.ok((client.connack?.bytes.length ?? 0) <= 32);
});
