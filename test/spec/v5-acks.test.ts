/**
 * MQTT 5.0, sections 3.4 to 3.7, 3.9, 3.11 and 3.14: acknowledgements that break a rule, and
 * what the broker leaves out of its own for a small or uninterested client.
 */
import { strict as assert } from 'node:assert';
import { test, type TestContext } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { type BrokerPacket } from '../harness/v5-decode.ts';
import { connectClient, hex, nothingReaches, unique, type V5Client } from '../harness/v5-client.ts';
import {
  ackPacket,
  frame,
  type Properties,
  publishPacket,
  subscribePacket,
  u16,
  unsubscribePacket,
} from '../harness/v5-packets.ts';
import { violation } from '../harness/v5-violation.ts';

const broker = sharedBroker();

// Codes that stand in no table, or in another packet's.
for (const reason of [0x01, 0x04, 0x10, 0x11, 0x18, 0x81, 0x8f, 0xff]) {
  violation(
    broker,
    `[MQTT-3.4.2-1] PUBACK ${hex(reason)}`,
    ackPacket('puback', 1, reason),
    [0x82, 0x81],
  );
  violation(
    broker,
    `[MQTT-3.5.2-1] PUBREC ${hex(reason)}`,
    ackPacket('pubrec', 1, reason),
    [0x82, 0x81],
  );
}
for (const reason of [0x01, 0x10, 0x80, 0x91, 0xff]) {
  violation(
    broker,
    `[MQTT-3.6.2-1] PUBREL ${hex(reason)}`,
    ackPacket('pubrel', 1, reason),
    [0x82, 0x81],
  );
  violation(
    broker,
    `[MQTT-3.7.2-1] PUBCOMP ${hex(reason)}`,
    ackPacket('pubcomp', 1, reason),
    [0x82, 0x81],
  );
}

for (const [qos, wrong] of [
  [1, 'pubrec'],
  [1, 'pubcomp'],
  [2, 'puback'],
  [2, 'pubcomp'],
] as const) {
  test(`[MQTT-4.13.1-1] ${wrong.toUpperCase()} for a QoS ${qos} message just sent: DISCONNECT 0x82`, async (t) => {
    const topic = unique('k/');
    const publisher = await connectClient(t, broker.port);
    const client = await connectClient(t, broker.port);
    await client.subscribe(topic, qos);
    await publisher.publish(topic, 'x', { qos });
    const { packetId } = await client.message();

    client.send(ackPacket(wrong, packetId));

    await client.disconnected(0x82);
    await publisher.idle();
  });
}

test('[MQTT-4.13.1-1] PUBACK once PUBREC has been sent: DISCONNECT 0x82', async (t) => {
  const topic = unique('k/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 2);
  await client.publish(topic, 'x', { qos: 2 });
  const { packetId } = await client.message();
  client.ack('pubrec', packetId);
  await client.next('pubrel');

  client.send(ackPacket('puback', packetId));

  await client.disconnected(0x82);
});

test('[MQTT-4.4.0-2] PUBREC of 0x80 or more for an unknown id gives nothing up, and is not answered', async (t) => {
  const client = await connectClient(t, broker.port);

  client.send(ackPacket('pubrec', 55, 0x80));

  await client.idle();
});

interface Case {
  readonly label: string;
  readonly name: string;
  readonly packet: Buffer;
  readonly answer: BrokerPacket['type'];
  readonly reason: number;
}
// biome-ignore format: a table reads in columns
const CASES: readonly Case[] = [
  { label: 'PUBACK 0x10', name: '[MQTT-3.4.2-2] [MQTT-3.4.2-3] PUBACK 0x10 fits a client of any size', answer: 'puback', reason: 0x10,
    packet: publishPacket('nobody/wants/this', 'x', { qos: 1, packetId: 1 }) },
  { label: 'PUBREC 0x10', name: '[MQTT-3.5.2-2] [MQTT-3.5.2-3] PUBREC 0x10 fits a client of any size', answer: 'pubrec', reason: 0x10,
    packet: publishPacket('nobody/wants/this', 'x', { qos: 2, packetId: 1 }) },
  { label: 'PUBREL 0x92', name: '[MQTT-3.6.2-2] [MQTT-3.6.2-3] PUBREL 0x92 fits a client of any size', answer: 'pubrel', reason: 0x92,
    packet: ackPacket('pubrec', 77) },
  { label: 'PUBCOMP 0x92', name: '[MQTT-3.7.2-2] [MQTT-3.7.2-3] PUBCOMP 0x92 fits a client of any size', answer: 'pubcomp', reason: 0x92,
    packet: ackPacket('pubrel', 77) },
  { label: 'SUBACK 0x8F', name: '[MQTT-3.9.2-1] [MQTT-3.9.2-2] SUBACK 0x8F fits a client of any size', answer: 'suback', reason: 0x8f,
    packet: subscribePacket(1, [['a#', 0]]) },
  { label: 'UNSUBACK 0x11', name: '[MQTT-3.11.2-1] [MQTT-3.11.2-2] UNSUBACK 0x11 fits a client of any size', answer: 'unsuback', reason: 0x11,
    packet: unsubscribePacket(1, ['never/held']) },
  { label: 'DISCONNECT 0x82', name: '[MQTT-3.14.2-3] [MQTT-3.14.2-4] DISCONNECT 0x82 fits a client of any size', answer: 'disconnect', reason: 0x82,
    packet: frame(0xf0) },
];

async function answerTo(t: TestContext, one: Case, properties: Properties): Promise<BrokerPacket> {
  const client = await connectClient(t, broker.port, { properties });
  client.send(one.packet);
  const answer = await client.next(one.answer);
  assert.equal(hex(answer.reason), hex(one.reason));
  return answer;
}

for (const one of CASES) {
  test(one.name, async (t) => {
    const full = await answerTo(t, one, {});
    const probe = await connectClient(t, broker.port); // [MQTT-3.1.2-24]
    const least = probe.connack?.bytes.length ?? 0; // CONNACK has to fit as well

    const maximumPacketSize = Math.max(least, full.bytes.length - 1);
    const tight = await answerTo(t, one, { maximumPacketSize });

    assert.ok(tight.bytes.length <= maximumPacketSize);
    if (full.bytes.length > maximumPacketSize) {
      assert.ok(tight.properties.reasonString === undefined || full.properties.userProperties);
    }
  });
}

for (const one of CASES.filter((each) => each.answer !== 'disconnect')) {
  test(`[MQTT-3.1.2-29] ${one.label} has no Reason String for a client that wants none`, async (t) => {
    const answer = await answerTo(t, one, { requestProblem: 0 });

    assert.deepEqual(answer.properties, {});
  });
}

test('[MQTT-3.1.2-29] Request Problem Information 0 does not touch the User Properties of messages', async (t) => {
  const topic = unique('k/');
  const client = await connectClient(t, broker.port, { properties: { requestProblem: 0 } });
  await client.subscribe(topic, 1);

  await client.publish(topic, 'x', { qos: 1, properties: { userProperties: [['a', 'b']] } });

  assert.deepEqual((await client.receive()).properties, { userProperties: [['a', 'b']] });
});

/** A client that takes packets of `size` bytes, subscribed to `topic`. */
async function small(t: TestContext, topic: string, size: number, qos: number): Promise<V5Client> {
  const client = await connectClient(t, broker.port, { properties: { maximumPacketSize: size } });
  await client.subscribe(topic, qos);
  return client;
}

for (const qos of [0, 1, 2]) {
  test(`[MQTT-3.1.2-24] [MQTT-3.1.2-25] a QoS ${qos} message too large for a client is dropped for it alone`, async (t) => {
    const topic = unique('k/');
    const publisher = await connectClient(t, broker.port);
    const size = 120;
    const client = await small(t, topic, size, qos);
    const other = await connectClient(t, broker.port);
    await other.subscribe(topic, qos);
    const overhead = publishPacket(topic, '', { qos }).length;
    const fits = 'f'.repeat(size - overhead);

    await publisher.publish(topic, `${fits}!`, { qos });
    await publisher.publish(topic, fits, { qos });

    assert.equal((await other.receive()).payload, `${fits}!`);
    assert.equal((await other.receive()).payload, fits);
    const message = await client.receive();
    assert.deepEqual([message.payload, message.bytes.length], [fits, size]);
    await nothingReaches(client, publisher);
  });
}

test('[MQTT-3.1.2-25] messages too large take no place in the window and are not sent later', async (t) => {
  const topic = unique('k/');
  const publisher = await connectClient(t, broker.port);
  const clientId = unique('c');
  const properties = { maximumPacketSize: 120, receiveMaximum: 2, sessionExpiry: 60 };
  const first = await connectClient(t, broker.port, { clientId, properties });
  await first.subscribe(topic, 2);
  for (let count = 0; count < 5; count++)
    await publisher.publish(topic, 'x'.repeat(200), { qos: 1 });
  await publisher.publish(topic, 'small', { qos: 1 });
  assert.equal((await first.receive()).payload, 'small');
  await first.idle(); // the acknowledgement has been read
  await first.disconnect();

  const second = await connectClient(t, broker.port, {
    clientId,
    cleanStart: false,
    properties: { sessionExpiry: 60 },
  });

  await nothingReaches(second, publisher);
});

test('[MQTT-3.1.2-24] [MQTT-3.1.2-25] a small client comes back to large messages, live and retained', async (t) => {
  const topic = unique('k/');
  const publisher = await connectClient(t, broker.port);
  const clientId = unique('c');
  const first = await connectClient(t, broker.port, {
    clientId,
    properties: { sessionExpiry: 60 },
  });
  await first.subscribe(topic, 1);
  await first.disconnect();
  await publisher.publish(topic, 'x'.repeat(200), { qos: 1, retain: true });
  await publisher.publish(topic, 'small', { qos: 1 });

  const second = await connectClient(t, broker.port, {
    clientId,
    cleanStart: false,
    properties: { sessionExpiry: 60, maximumPacketSize: 120 },
  });

  assert.equal((await second.receive()).payload, 'small');
  await second.subscribe(topic, 1); // the retained one does not fit
  await nothingReaches(second, publisher);
});

test('[MQTT-3.1.2-24] User Properties and identifiers count for the size', async (t) => {
  const topic = unique('k/');
  const publisher = await connectClient(t, broker.port);
  const client = await small(t, topic, 120, 1);

  await publisher.publish(topic, 'with', {
    qos: 1,
    properties: { userProperties: [['k', 'v'.repeat(120)]] },
  });
  await publisher.publish(topic, 'without', { qos: 1 });

  assert.equal((await client.receive()).payload, 'without');
  await nothingReaches(client, publisher);
});

test('[MQTT-3.12.4-1] PINGREQ is answered by PINGRESP, each one', async (t) => {
  const client = await connectClient(t, broker.port);

  for (let round = 0; round < 3; round++) await client.idle();
  client.send(frame(0xc0), frame(0xc0), frame(0xc0));
  for (let round = 0; round < 3; round++) {
    assert.deepEqual((await client.next('pingresp')).bytes, Buffer.of(0xd0, 0));
  }
});

test('[MQTT-3.4.2-1] an acknowledgement of a message settled long ago changes nothing', async (t) => {
  const topic = unique('k/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 1);
  await client.publish(topic, 'x', { qos: 1 });
  const { packetId } = await client.receive();

  client.send(frame(0x40, u16(packetId)));

  await client.idle();
});
