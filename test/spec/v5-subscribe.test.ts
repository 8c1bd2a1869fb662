/**
 * MQTT 5.0, sections 3.8 to 3.11 and 3.3.4: SUBSCRIBE, UNSUBSCRIBE, and overlapping filters.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, hex, nothingReaches, unique } from '../harness/v5-client.ts';
import {
  frame,
  NO_LOCAL,
  props,
  publishPacket,
  subscribePacket,
  text,
  u16,
  unsubscribePacket,
} from '../harness/v5-packets.ts';
import { violation } from '../harness/v5-violation.ts';

const broker = sharedBroker();

const EITHER = [0x81, 0x82];

violation(broker, '[MQTT-3.8.3-2] SUBSCRIBE without a filter', frame(0x82, u16(1), 0), [0x82]);
violation(
  broker,
  '[MQTT-3.8.3-2] SUBSCRIBE with properties and no filter',
  frame(0x82, u16(1), props({ subscriptionIds: [3] })),
  [0x82],
);
violation(broker, '[MQTT-3.10.3-2] UNSUBSCRIBE without a filter', frame(0xa2, u16(1), 0), [0x82]);
violation(broker, '[MQTT-3.8.3-5] options with bit 6', subscribePacket(1, [['a', 0x40]]), [0x81]);
violation(broker, '[MQTT-3.8.3-5] options with bit 7', subscribePacket(1, [['a', 0x80]]), [0x81]);
violation(
  broker,
  '[MQTT-3.8.3-5] options with bit 7 in the second filter',
  subscribePacket(1, [
    ['a', 1],
    ['b', 0x81],
  ]),
  [0x81],
);
violation(broker, '[MQTT-4.13.1-1] requested QoS 3', subscribePacket(1, [['a', 3]]), EITHER);
violation(
  broker,
  '[MQTT-3.8.3-4] No Local on a shared subscription',
  subscribePacket(1, [['$share/g/a', NO_LOCAL]]),
  [0x82],
);
violation(
  broker,
  '[MQTT-4.13.1-1] Subscription Identifier 0',
  subscribePacket(1, [['a', 0]], { subscriptionIds: [0] }),
  [0x82],
);
violation(
  broker,
  '[MQTT-4.13.1-1] two Subscription Identifiers',
  subscribePacket(1, [['a', 0]], { subscriptionIds: [1, 2] }),
  [0x82],
);
violation(
  broker,
  '[MQTT-4.13.1-1] a Subscription Identifier of five bytes',
  frame(0x82, u16(1), 6, 0x0b, 0xff, 0xff, 0xff, 0xff, 0x01, text('a'), 0),
  [0x81],
);

const INVALID = [
  '',
  'a/#/b',
  '#/a',
  'a#',
  'a/b#',
  'a+',
  '+a/b',
  'a/+b/c',
  '##',
  '++',
  '/#/',
  'a/##',
];
for (const filter of INVALID) {
  test(`[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-3.9.3-2] the invalid filter '${filter}' gets 0x8F, its neighbours are granted`, async (t) => {
    const topic = unique('s/');
    const client = await connectClient(t, broker.port);

    const suback = await client.subscribe([
      [topic, 1],
      [filter, 1],
      [`${topic}/b`, 2],
    ]);

    assert.deepEqual(suback.reasons.map(hex), ['0x01', '0x8f', '0x02']);
    await client.publish(topic, 'x', { qos: 2 });
    assert.deepEqual([(await client.receive()).qos], [1]);
  });
}

test('[MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] one SUBACK, its id, a code per filter in order', async (t) => {
  const client = await connectClient(t, broker.port);
  const filters = [2, 0, 1, 1, 0, 2, 2].map(
    (qos, index) => [`${unique('s/')}/${index}`, qos] as const,
  );

  client.send(subscribePacket(0x4321, filters));

  const suback = await client.next('suback');
  assert.deepEqual([suback.packetId, suback.reasons], [0x4321, [2, 0, 1, 1, 0, 2, 2]]);
  await client.idle();
});

test('[MQTT-3.8.4-5] several filters in one SUBSCRIBE act like several: the last of two equal ones stands', async (t) => {
  const topic = unique('s/');
  const client = await connectClient(t, broker.port);
  await client.publish(topic, 'stored', { retain: true, qos: 2 });

  const suback = await client.subscribe([
    [topic, 2],
    [topic, 0],
  ]);

  assert.deepEqual(suback.reasons, [2, 0]);
  let stored = await client.receive();
  if (stored.qos === 2) stored = await client.receive(); // by each, or by the one that stands
  assert.deepEqual([stored.payload, stored.qos], ['stored', 0]);
  await client.publish(topic, 'live', { qos: 2 });
  assert.equal((await client.receive()).qos, 0);
  await nothingReaches(client, client);
});

test('[MQTT-3.8.4-3] a filter the session has is replaced, not doubled', async (t) => {
  const topic = unique('s/');
  const client = await connectClient(t, broker.port);
  const other = await connectClient(t, broker.port);

  for (const qos of [0, 2, 1]) {
    await client.subscribe(topic, qos);
    await other.publish(topic, 'x', { qos: 2 });
    assert.equal((await client.receive()).qos, qos);
    await nothingReaches(client, other);
  }
  await client.subscribe(topic, 1 | NO_LOCAL);
  await client.publish(topic, 'own', { qos: 1 });
  await nothingReaches(client, other);
  await client.unsubscribe(topic);
  assert.equal(await other.publish(topic, 'x', { qos: 1 }), 0x10);
});

for (const published of [0, 1, 2]) {
  for (const granted of [0, 1, 2]) {
    test(`[MQTT-3.8.4-8] published at QoS ${published}, granted ${granted}: the lower one`, async (t) => {
      const topic = unique('s/');
      const client = await connectClient(t, broker.port);
      const other = await connectClient(t, broker.port);
      await client.subscribe(topic, granted);

      await other.publish(topic, 'x', { qos: published });

      assert.equal((await client.receive()).qos, Math.min(published, granted));
      await nothingReaches(client, other);
    });
  }
}

for (const away of [false, true]) {
  const when = away ? 'after a reconnect too' : 'on the same connection';
  test(`[MQTT-3.8.4-4] what waits when a filter is subscribed again at QoS 0 is not lost: ${when}`, async (t) => {
    const topic = unique('q/');
    const clientId = unique('c');
    const options = { clientId, properties: { sessionExpiry: 600, receiveMaximum: 1 } };
    const publisher = await connectClient(t, broker.port);
    let subscriber = await connectClient(t, broker.port, options);
    await subscriber.subscribe(topic, 1);
    const payloads = Array.from({ length: 10 }, (_, index) => `${index}`);
    for (const payload of payloads) await publisher.publish(topic, payload, { qos: 1 });

    await subscriber.subscribe(topic, 0);
    if (away) {
      subscriber.drop();
      subscriber = await connectClient(t, broker.port, { ...options, cleanStart: false });
    }

    for (const payload of payloads) {
      const message = await subscriber.receive();
      assert.deepEqual([message.payload, message.qos], [payload, 1]);
    }
    await publisher.publish(topic, 'new', { qos: 1 });
    const message = await subscriber.receive();
    assert.deepEqual([message.payload, message.qos], ['new', 0]);
  });
}

test('[MQTT-3.8.3-3] No Local: own messages do not come back, others do', async (t) => {
  const topic = unique('s/');
  const client = await connectClient(t, broker.port);
  const other = await connectClient(t, broker.port);
  await client.subscribe(topic, 1 | NO_LOCAL);
  await other.subscribe(topic, 1 | NO_LOCAL);

  await client.publish(topic, 'mine', { qos: 1 });

  assert.equal((await other.receive()).payload, 'mine');
  await nothingReaches(client, other);
  await other.publish(topic, 'theirs', { qos: 1 });
  assert.equal((await client.receive()).payload, 'theirs');
});

test('[MQTT-3.8.3-3] No Local goes by client id: own messages do not wait for a reconnect either', async (t) => {
  const topic = unique('s/');
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 1 | NO_LOCAL);
  await first.disconnect();
  const will = { topic, payload: 'own will', qos: 1 };
  const second = await connectClient(t, broker.port, { ...options, will });
  await second.publish(topic, 'own', { qos: 1 });
  second.drop();
  await second.hungUp();

  const third = await connectClient(t, broker.port, options);

  await nothingReaches(third, third);
});

test('[MQTT-3.8.3-3] without No Local own messages come back', async (t) => {
  const topic = unique('s/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 2);

  await client.publish(topic, 'mine', { qos: 2 });

  assert.equal((await client.receive()).payload, 'mine');
});

test('[MQTT-3.8.3-3] No Local on one of two filters stops that one only', async (t) => {
  const topic = unique('s/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(`${topic}/#`, 2 | NO_LOCAL, { subscriptionIds: [1] });
  await client.subscribe(`${topic}/+`, 1, { subscriptionIds: [2] });

  await client.publish(`${topic}/x`, 'mine', { qos: 2 });

  const message = await client.receive();
  assert.deepEqual([message.qos, message.properties.subscriptionIds], [1, [2]]);
  await nothingReaches(client, client);
});

test('[MQTT-3.3.4-2] overlapping filters: the highest granted QoS', async (t) => {
  const root = unique('o/');
  const client = await connectClient(t, broker.port);
  const other = await connectClient(t, broker.port);
  await client.subscribe([
    [`${root}/#`, 0],
    [`${root}/+`, 2],
    [`${root}/x`, 1],
  ]);

  await other.publish(`${root}/x`, 'both', { qos: 2 });

  const first = await client.receive();
  assert.deepEqual([first.payload, first.qos], ['both', 2]);
  await nothingReaches(client, other); // this broker sends one copy
});

test('[MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-1] [MQTT-3.11.3-2] [MQTT-3.10.4-6] one UNSUBACK, its id, a code per filter in order', async (t) => {
  const [held, other] = [unique('s/'), unique('s/')];
  const client = await connectClient(t, broker.port);
  await client.subscribe([
    [held, 1],
    [other, 1],
  ]);

  client.send(unsubscribePacket(0x9876, [unique('never/'), held, held, other]));

  const unsuback = await client.next('unsuback');
  assert.equal(unsuback.packetId, 0x9876);
  assert.deepEqual(unsuback.reasons.map(hex), ['0x11', '0x00', '0x11', '0x00']);
  await client.idle();
});

test('[MQTT-3.10.4-5] UNSUBACK comes even when there is nothing to delete', async (t) => {
  const client = await connectClient(t, broker.port);

  assert.deepEqual((await client.unsubscribe(unique('never/'))).reasons, [0x11]);
});

test('[MQTT-3.10.4-1] [MQTT-3.10.4-2] only the identical filter is deleted: no wildcard meaning', async (t) => {
  const root = unique('s/');
  const client = await connectClient(t, broker.port);
  await client.subscribe([
    [`${root}/a`, 1],
    [`${root}/+`, 0],
  ]);

  const unsuback = await client.unsubscribe(`${root}/#`, `${root}/A`, `${root}/a/`, `${root}/+`);

  assert.deepEqual(unsuback.reasons, [0x11, 0x11, 0x11, 0]);
  await client.publish(`${root}/a`, 'x', { qos: 1 });
  assert.equal((await client.receive()).qos, 1);
  await client.publish(`${root}/b`, 'x', { qos: 1 });
  await nothingReaches(client, client);
});

test('[MQTT-3.10.4-2] after UNSUBACK nothing more is queued, for an absent session either', async (t) => {
  const topic = unique('s/');
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  const other = await connectClient(t, broker.port);
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 2);
  await first.unsubscribe(topic);
  assert.equal(await other.publish(topic, 'live', { qos: 2 }), 0x10);
  await first.disconnect();
  assert.equal(await other.publish(topic, 'later', { qos: 1 }), 0x10);

  const second = await connectClient(t, broker.port, options);

  await nothingReaches(second, other);
});

test('[MQTT-3.10.4-3] what is on its way is finished after UNSUBSCRIBE', async (t) => {
  const topic = unique('s/');
  const options = { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 60 } };
  const other = await connectClient(t, broker.port);
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 2);
  await other.publish(topic, 'exactly', { qos: 2 });
  await other.publish(topic, 'at least', { qos: 1 });
  const exactly = await first.message();
  const atLeast = await first.message();
  await first.unsubscribe(topic);
  first.ack('pubrec', exactly.packetId);
  assert.equal((await first.next('pubrel')).packetId, exactly.packetId);
  first.drop();
  await first.hungUp();

  const second = await connectClient(t, broker.port, options);

  const resent = [await second.next(), await second.next()];
  assert.deepEqual(resent.map((one) => one.type).sort(), ['publish', 'pubrel']);
  for (const packet of resent) {
    if (packet.type === 'pubrel') {
      assert.equal(packet.packetId, exactly.packetId);
      second.ack('pubcomp', packet.packetId);
      continue;
    }
    assert.deepEqual(
      [packet.packetId, packet.payload, packet.dup],
      [atLeast.packetId, 'at least', true],
    );
    second.ack('puback', packet.packetId);
  }
  await nothingReaches(second, other);
});

for (const filter of ['a/#/b', 'a+', '']) {
  test(`[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-3.11.3-2] UNSUBSCRIBE of the invalid filter '${filter}'`, async (t) => {
    const client = await connectClient(t, broker.port);

    const unsuback = await client.unsubscribe(filter);

    assert.ok([0x8f, 0x11].includes(unsuback.reasons[0] ?? 0));
    await client.idle();
  });
}

test('[MQTT-3.8.4-1] a message may not be lost between SUBACK and the first publish', async (t) => {
  const other = await connectClient(t, broker.port);

  for (let round = 0; round < 50; round++) {
    const topic = unique('s/');
    const client = await connectClient(t, broker.port);
    await client.subscribe(topic, round % 3);
    other.send(publishPacket(topic, String(round)));
    assert.equal((await client.message()).payload, String(round));
    client.drop();
  }
});

test('[MQTT-3.8.4-1] [MQTT-3.10.4-4] User Properties on requests are taken and change nothing', async (t) => {
  const topic = unique('s/');
  const userProperties = [
    ['a', 'b'],
    ['a', 'b'],
  ] as const;
  const client = await connectClient(t, broker.port, { properties: { userProperties } });

  client.send(subscribePacket(1, [[topic, 1]], { userProperties }));
  assert.deepEqual((await client.next('suback')).reasons, [1]);
  await client.publish(topic, 'x', { qos: 1 });
  assert.deepEqual((await client.receive()).properties, {});
  client.send(unsubscribePacket(2, [topic], { userProperties }));

  assert.deepEqual((await client.next('unsuback')).reasons, [0]);
});

test('[MQTT-3.1.2-24] a SUBACK larger than the client takes is not sent: DISCONNECT 0x95 is', async (t) => {
  const client = await connectClient(t, broker.port, { properties: { maximumPacketSize: 30 } });
  const filters = Array.from({ length: 40 }, (_, index) => [unique(`f${index}/`), 0] as const);

  client.send(subscribePacket(1, filters));

  await client.disconnected(0x95);
});

test('[MQTT-3.8.4-4] each message comes by the grant of its time, however often that changes', async (t) => {
  const topic = unique('q/');
  const properties = { sessionExpiry: 600, receiveMaximum: 1 };
  const publisher = await connectClient(t, broker.port);
  const subscriber = await connectClient(t, broker.port, { properties });
  const expected: string[] = [];
  for (const qos of [2, 0, 2, 0, 1, 0]) {
    await subscriber.subscribe(topic, qos);
    for (const part of ['a', 'b']) {
      const payload = `${expected.length}${part}`;
      await publisher.publish(topic, payload, { qos: 2 });
      expected.push(`${payload} at ${qos}`);
    }
  }

  const taken: string[] = [];
  while (taken.length < expected.length) {
    const message = await subscriber.receive();
    taken.push(`${message.payload} at ${message.qos}`);
  }
  assert.deepEqual(taken.sort(), expected.sort());
  await subscriber.idle();
});
