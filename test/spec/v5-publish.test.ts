/**
 * MQTT 5.0, section 3.3: PUBLISH, its flags and properties, on the way in and out.
 *
 * What a publisher says must reach a subscriber unchanged; what it may not say ends its
 * connection. Retained messages, aliases, expiry and identifiers have files of their own.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, hex, nothingReaches, openClient, unique } from '../harness/v5-client.ts';
import {
  ackPacket,
  bareProps,
  bytes,
  frame,
  type Properties,
  props,
  publishPacket,
  text,
  u16,
} from '../harness/v5-packets.ts';
import { violation } from '../harness/v5-violation.ts';

const broker = sharedBroker();
const checkingBroker = sharedBroker({ args: ['--validate-payload-format'] });

const EITHER = [0x81, 0x82];

violation(broker, '[MQTT-3.3.1-4] QoS bits 11', frame(0x36, text('t'), u16(1), 0, 'x'), [0x81]);
violation(
  broker,
  '[MQTT-3.3.1-4] QoS bits 11 with DUP and RETAIN',
  frame(0x3f, text('t'), u16(1), 0, 'x'),
  [0x81],
);
violation(broker, '[MQTT-3.3.1-2] DUP with QoS 0', frame(0x38, text('t'), 0, 'x'), EITHER);
violation(
  broker,
  '[MQTT-4.7.3-1] [MQTT-3.3.2-1] empty topic without an alias',
  publishPacket('', 'x'),
  [0x82],
);
violation(
  broker,
  '[MQTT-4.7.3-1] empty topic without an alias, QoS 1',
  publishPacket('', 'x', { qos: 1, packetId: 1 }),
  [0x82],
);
for (const topic of ['+', '#', 'a/+/b', 'a/#', 'a+b', 'a#']) {
  for (const qos of [0, 1, 2]) {
    const packet = publishPacket(topic, 'x', { qos, packetId: 1 });
    violation(
      broker,
      `[MQTT-3.3.2-2] [MQTT-4.7.0-1] topic name '${topic}', QoS ${qos}`,
      packet,
      [0x90],
    );
  }
}
for (const responseTopic of ['+', '#', 'a/+/b', 'a/#']) {
  const packet = publishPacket('t', 'x', { properties: { responseTopic } });
  violation(broker, `[MQTT-3.3.2-14] Response Topic '${responseTopic}'`, packet, EITHER);
}
violation(
  broker,
  '[MQTT-3.3.4-6] a Subscription Identifier from a client',
  publishPacket('t', 'x', { properties: { subscriptionIds: [1] } }),
  [0x82],
);

for (const [qos, answer] of [
  [1, 'puback'],
  [2, 'pubrec'],
] as const) {
  test(`[MQTT-3.3.4-1] QoS ${qos} is answered by ${answer.toUpperCase()} with its id, and nothing else`, async (t) => {
    const topic = unique('p/');
    const client = await connectClient(t, broker.port);
    const watcher = await connectClient(t, broker.port);
    await watcher.subscribe(topic, 2);

    client.send(publishPacket(topic, 'x', { qos, packetId: 0x1234 }));

    const packet = await client.next(answer);
    assert.deepEqual([packet.packetId, packet.reason], [0x1234, 0]);
    await client.idle();
    if (qos === 2) client.send(ackPacket('pubrel', 0x1234));
    assert.equal((await watcher.receive()).qos, qos);
  });

  test(`[MQTT-3.4.2-1] [MQTT-3.5.2-1] a QoS ${qos} message that nobody wants is answered by 0x10`, async (t) => {
    const client = await connectClient(t, broker.port);

    client.send(publishPacket(unique('nobody/'), 'x', { qos, packetId: 5 }));

    const packet = await client.next(answer);
    assert.deepEqual([packet.packetId, hex(packet.reason)], [5, '0x10']);
  });
}

test('[MQTT-3.3.4-1] QoS 0 is not answered', async (t) => {
  const client = await connectClient(t, broker.port);

  client.send(publishPacket(unique('p/'), 'x'));

  await client.idle();
});

for (const qos of [1, 2]) {
  test(`[MQTT-3.3.1-3] [MQTT-3.3.1-1] the publisher's DUP does not reach subscribers, QoS ${qos}`, async (t) => {
    const topic = unique('dup/');
    const client = await connectClient(t, broker.port);
    const watcher = await connectClient(t, broker.port);
    await watcher.subscribe(topic, 2);

    await client.publish(topic, 'x', { qos, dup: true });

    const message = await watcher.receive();
    assert.deepEqual([message.payload, message.qos, message.dup], ['x', qos, false]);
  });
}

test('[MQTT-3.3.1-2] [MQTT-3.3.1-3] a copy at QoS 0 of a message sent with DUP has DUP 0', async (t) => {
  const topic = unique('dup/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 0);

  await client.publish(topic, 'x', { qos: 1, dup: true });

  assert.equal((await client.message()).bytes[0], 0x30);
});

const EVERYTHING: Properties = {
  payloadFormat: 1,
  contentType: 'application/json; charset=utf-8',
  responseTopic: 'responses/to/this',
  correlationData: bytes(0, 1, 2, 0xff, 0),
  userProperties: [
    ['z', '1'],
    ['a', '2'],
    ['z', '3'],
    ['z', '3'],
    ['', ''],
    ['ключ', '值'],
  ],
};

for (const qos of [0, 1, 2]) {
  test(`[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] properties pass, QoS ${qos}`, async (t) => {
    const topic = unique('props/');
    const publisher = await connectClient(t, broker.port);
    const watchers = [
      await connectClient(t, broker.port),
      await connectClient(t, broker.port),
      await connectClient(t, broker.port, { properties: { requestProblem: 0 } }),
    ];
    for (const watcher of watchers) await watcher.subscribe(topic, qos);

    await publisher.publish(topic, '{}', { qos, properties: EVERYTHING });

    for (const watcher of watchers) {
      const message = await watcher.receive();
      assert.equal(message.payload, '{}');
      assert.deepEqual(message.properties, EVERYTHING);
      const pairs = bareProps({ userProperties: EVERYTHING.userProperties ?? [] });
      assert.ok(
        message.bytes.includes(pairs),
        'the pairs stand in the order received, [MQTT-3.3.2-18]',
      );
    }
  });
}

test('[MQTT-3.3.2-17] [MQTT-3.3.2-18] two hundred User Properties among other properties keep their order', async (t) => {
  const topic = unique('props/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 1);
  const pair = (index: number): Buffer =>
    bareProps({ userProperties: [[`n${index % 7}`, `v${index}`]] });
  const parts: Buffer[] = [];
  for (let index = 0; index < 200; index++) {
    parts.push(pair(index));
    if (index === 50) parts.push(bareProps({ contentType: 'c' }));
    if (index === 150) parts.push(bareProps({ correlationData: bytes(1) }));
  }

  client.send(
    publishPacket(topic, 'x', { qos: 1, packetId: 999, properties: Buffer.concat(parts) }),
  );
  await client.find('puback');

  const { userProperties, contentType, correlationData } = (await client.receive()).properties;
  assert.deepEqual(
    userProperties,
    Array.from({ length: 200 }, (_, index) => [`n${index % 7}`, `v${index}`]),
  );
  assert.deepEqual([contentType, correlationData], ['c', bytes(1)]);
});

test('[MQTT-3.3.2-4] [MQTT-3.3.2-16] [MQTT-3.3.2-20] empty values are values too', async (t) => {
  const topic = unique('props/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic);
  const properties = { payloadFormat: 0, contentType: '', correlationData: bytes() };

  client.send(publishPacket(topic, '', { properties }));

  const message = await client.message();
  // Payload Format Indicator 0 means the same as none at all.
  assert.deepEqual({ ...message.properties, payloadFormat: 0 }, properties);
  assert.equal(message.payload, '');
});

test('[MQTT-3.3.2-17] properties outlive an offline queue', async (t) => {
  const topic = unique('props/');
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 2);
  await first.disconnect();
  const publisher = await connectClient(t, broker.port);
  for (const qos of [1, 2]) await publisher.publish(topic, 'x', { qos, properties: EVERYTHING });

  const second = await connectClient(t, broker.port, options);

  for (const qos of [1, 2]) {
    const message = await second.receive();
    assert.equal(message.qos, qos);
    assert.deepEqual(message.properties, EVERYTHING);
  }
});

test('[MQTT-3.3.2-17] properties are kept with a retained message', async (t) => {
  const topic = unique('props/');
  const publisher = await connectClient(t, broker.port);
  await publisher.publish(topic, 'x', { qos: 1, retain: true, properties: EVERYTHING });

  const late = await connectClient(t, broker.port);
  await late.subscribe(topic, 1);

  assert.deepEqual((await late.receive()).properties, EVERYTHING);
});

test('[MQTT-3.3.2-3] the topic that arrives is the one published, and matches the filter', async (t) => {
  const root = unique('match/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(`${root}/+/x/#`);

  for (const topic of [`${root}/a/x`, `${root}/b/y`, `${root}//x/1/2`, `${root}/b/x/`]) {
    client.send(publishPacket(topic, topic));
  }

  for (const expected of [`${root}/a/x`, `${root}//x/1/2`, `${root}/b/x/`]) {
    const message = await client.message();
    assert.deepEqual([message.topic, message.payload], [expected, expected]);
  }
  await nothingReaches(client, client);
});

test('[MQTT-3.3.2-4] payloads are passed on byte for byte, unless checking is asked for', async (t) => {
  const topic = unique('bytes/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 1);
  const everyByte = Buffer.from(Array.from({ length: 256 }, (_, index) => index));

  client.send(publishPacket(topic, everyByte, { properties: { payloadFormat: 1 } }));

  const message = await client.message();
  assert.deepEqual(message.payloadBytes, everyByte);
  assert.equal(message.properties.payloadFormat, 1);
});

test('[MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-4.3.3-9] with the check on, a payload that is not UTF-8 gets 0x99', async (t) => {
  const topic = unique('bytes/');
  const client = await connectClient(t, checkingBroker.port);
  const watcher = await connectClient(t, checkingBroker.port);
  await watcher.subscribe(topic, 2);
  const properties = { payloadFormat: 1 };

  assert.equal(hex(await client.publish(topic, bytes(0xff), { qos: 1, properties })), '0x99');
  assert.equal(
    hex(await client.publish(topic, bytes(0xff), { qos: 2, packetId: 77, properties })),
    '0x99',
  );
  // The id is free again: what follows under it is a new message.
  assert.equal(await client.publish(topic, 'good', { qos: 2, packetId: 77, properties }), 0);
  assert.equal((await watcher.receive()).payload, 'good');
  client.send(publishPacket(topic, bytes(0xff), { properties: { payloadFormat: 0 } }));
  assert.deepEqual((await watcher.message()).payloadBytes, bytes(0xff));
  client.send(publishPacket(topic, bytes(0xff), { properties }));
  await client.disconnected(0x99);
  await nothingReaches(watcher, watcher);
});

test('[MQTT-3.1.2-9] with the check on, a will payload that is not UTF-8 is refused', async (t) => {
  const client = await openClient(t, checkingBroker.port);
  const will = { topic: unique('will/'), payload: bytes(0xff), properties: { payloadFormat: 1 } };

  client.sendConnect({ clientId: unique('c'), will });

  await client.refused(0x99);
});

test('[MQTT-4.3.2-5] after its PUBACK an id stands for a new message, whatever DUP says', async (t) => {
  const topic = unique('again/');
  const client = await connectClient(t, broker.port);
  const watcher = await connectClient(t, broker.port);
  await watcher.subscribe(topic, 1);

  for (const [payload, dup] of [
    ['one', false],
    ['two', true],
    ['three', false],
  ] as const) {
    await client.publish(topic, payload, { qos: 1, packetId: 9, dup });
    assert.equal((await watcher.receive()).payload, payload);
  }
});

test('[MQTT-2.2.1-5] acknowledgements with properties are taken like plain ones', async (t) => {
  const topic = unique('acks/');
  const client = await connectClient(t, broker.port);
  const watcher = await connectClient(t, broker.port, { properties: { receiveMaximum: 1 } });
  await watcher.subscribe(topic, 2);
  const said = { reasonString: 'fine', userProperties: [['a', 'b']] as const };
  for (const qos of [2, 1, 1, 1]) await client.publish(topic, `q${qos}`, { qos });

  const exactly = await watcher.message();
  watcher.send(ackPacket('pubrec', exactly.packetId, 0, said));
  await watcher.next('pubrel');
  watcher.send(ackPacket('pubcomp', exactly.packetId, 0, said));
  watcher.forget(exactly.packetId);
  for (const tail of [bytes(), bytes(0), bytes(0, props(said))]) {
    const { packetId } = await watcher.message();
    watcher.forget(packetId);
    watcher.send(frame(0x40, u16(packetId), tail));
  }

  await nothingReaches(watcher, client);
});
