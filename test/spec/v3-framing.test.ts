/**
 * MQTT 3.1.1, chapter 2: fixed header, flags, packet ids; and how packets meet the byte stream.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  connectBytes,
  expectCut,
  expectRefusal,
  field,
  hex,
  packet,
  sharedBroker,
  u16,
  unique,
} from '../harness/index.ts';

const broker = sharedBroker();

test("[MQTT-2.2.2-1] the reserved flags of all the broker's packets have their value", async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);
  const firstBytes: Record<string, number> = { connack: client.connack!.raw[0]! };
  const note = async (cmd: string): Promise<number | undefined> => {
    const got = await client.first(cmd);
    firstBytes[cmd] = got.raw[0]!;
    return got.messageId;
  };

  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 2 }] });
  await note('suback');
  client.sendPublish(topic, 'one', { qos: 1, messageId: 2 });
  await note('puback');
  await client.receive();
  client.sendPublish(topic, 'two', { qos: 2, messageId: 3 });
  await note('pubrec');
  client.send({ cmd: 'pubrel', messageId: 3 });
  await note('pubcomp');
  const { messageId } = await client.next('publish');
  client.send({ cmd: 'pubrec', messageId });
  await note('pubrel');
  client.send({ cmd: 'pubcomp', messageId });
  client.send({ cmd: 'unsubscribe', messageId: 4, unsubscriptions: [topic] });
  await note('unsuback');
  client.send({ cmd: 'pingreq' });
  await note('pingresp');

  assert.deepEqual(firstBytes, {
    connack: 0x20,
    suback: 0x90,
    puback: 0x40,
    pubrec: 0x50,
    pubcomp: 0x70,
    pubrel: 0x62,
    unsuback: 0xb0,
    pingresp: 0xd0,
  });
});

const FLAGGED = [
  { name: '[MQTT-2.2.2-2] PUBACK', type: 0x40, flags: 0, body: hex('00 01') },
  { name: '[MQTT-2.2.2-2] PUBREC', type: 0x50, flags: 0, body: hex('00 01') },
  { name: '[MQTT-2.2.2-2] [MQTT-3.6.1-1] PUBREL', type: 0x60, flags: 2, body: hex('00 01') },
  { name: '[MQTT-2.2.2-2] PUBCOMP', type: 0x70, flags: 0, body: hex('00 01') },
  {
    name: '[MQTT-2.2.2-2] [MQTT-3.8.1-1] SUBSCRIBE',
    type: 0x80,
    flags: 2,
    body: hex('00 01 00 01 61 00'),
  },
  {
    name: '[MQTT-2.2.2-2] [MQTT-3.10.1-1] UNSUBSCRIBE',
    type: 0xa0,
    flags: 2,
    body: hex('00 01 00 01 61'),
  },
  { name: '[MQTT-2.2.2-2] PINGREQ', type: 0xc0, flags: 0, body: hex('') },
  { name: '[MQTT-2.2.2-2] [MQTT-3.14.1-1] DISCONNECT', type: 0xe0, flags: 0, body: hex('') },
];

for (const { name, type, flags, body } of FLAGGED) {
  test(`${name} with wrong flag bits closes the connection`, async (t) => {
    for (let wrong = 0; wrong < 16; wrong++) {
      if (wrong === flags) continue;
      await t.test(`flags ${wrong}`, (t) => expectCut(t, broker, packet(type | wrong, body)));
    }
  });
}

test('[MQTT-2.2.2-2] CONNECT with wrong flag bits closes the connection', async (t) => {
  for (let wrong = 1; wrong < 16; wrong++) {
    const bytes = connectBytes({ firstByte: 0x10 | wrong, payload: [field(unique())] });
    assert.deepEqual(await expectRefusal(t, broker, bytes), [], `flags ${wrong}`);
  }
});

test('[MQTT-2.2.2-2] MQTT 3.1 has a DUP flag on SUBSCRIBE, UNSUBSCRIBE and PUBREL', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t, { version: 3 });

  client.sendBytes(packet(0x8a, u16(5), field(topic), hex('00')));
  assert.deepEqual((await client.next('suback')).granted, [0]);
  client.sendBytes(packet(0xaa, u16(6), field(topic)));
  assert.equal((await client.next('unsuback')).messageId, 6);
  client.sendPublish(topic, 'x', { qos: 2, messageId: 7 });
  await client.next('pubrec');
  client.sendBytes(packet(0x6a, u16(7)));
  assert.equal((await client.next('pubcomp')).messageId, 7);
  await client.nothing();
});

const ZERO_ID = {
  'PUBLISH at QoS 1': packet(0x32, field('a'), hex('00 00'), hex('78')),
  'PUBLISH at QoS 2': packet(0x34, field('a'), hex('00 00'), hex('78')),
  SUBSCRIBE: packet(0x82, hex('00 00'), field('a'), hex('00')),
  UNSUBSCRIBE: packet(0xa2, hex('00 00'), field('a')),
};

for (const [name, bytes] of Object.entries(ZERO_ID)) {
  test(`[MQTT-2.3.1-1] packet id 0 in ${name} closes the connection`, (t) =>
    expectCut(t, broker, bytes));
}

for (const [name, type] of Object.entries({ PUBACK: 0x40, PUBREC: 0x50, PUBREL: 0x62 })) {
  test(`[MQTT-2.3.1-1] packet id 0 in ${name} is ignored or closes, nothing else`, async (t) => {
    const client = await broker.connect(t);
    client.sendBytes(Buffer.concat([packet(type, hex('00 00')), hex('c0 00')]));
    const answer = await client.nextOrClose();
    if (answer !== undefined) assert.equal(answer.cmd, 'pingresp');
  });
}

test('[MQTT-2.3.1-1] the broker numbers what it sends at QoS 1 and 2, never with 0', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);
  await client.subscribe(topic, 2);
  const ids = new Set<number>();

  for (const qos of [1, 2, 1, 2, 1, 2] as const) {
    await client.publish(topic, 'x', { qos });
    const got = await client.next('publish');
    ids.add(got.messageId!);
  }

  assert.equal(ids.size, 6, 'six open messages, six ids');
  assert.ok(!ids.has(0));
});

test('[MQTT-2.3.1-5] a PUBLISH at QoS 0 has no packet id', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);
  await client.subscribe(topic, 2);

  client.sendBytes(packet(0x30, field(topic), hex('00 01 02')));

  const got = await client.next('publish');
  assert.deepEqual(got.raw, packet(0x30, field(topic), hex('00 01 02')));
});

test('[MQTT-2.3.1-6] PUBACK, PUBREC, PUBREL and PUBCOMP repeat the id of their PUBLISH', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);

  for (const messageId of [1, 2, 0x7f, 0x80, 0xff, 0x100, 0x1234, 0xffff]) {
    const id = messageId.toString(16).padStart(4, '0');
    client.sendPublish(topic, 'x', { qos: 1, messageId });
    assert.equal((await client.next()).raw.toString('hex'), `4002${id}`);
    client.sendPublish(topic, 'x', { qos: 2, messageId });
    assert.equal((await client.next()).raw.toString('hex'), `5002${id}`);
    client.send({ cmd: 'pubrel', messageId });
    assert.equal((await client.next()).raw.toString('hex'), `7002${id}`);
  }

  await client.subscribe(topic, 2);
  await client.publish(topic, 'x', { qos: 2 });
  const { messageId } = await client.next('publish');
  client.send({ cmd: 'pubrec', messageId });
  assert.deepEqual((await client.next()).raw, packet(0x62, u16(messageId!)));
});

test('[MQTT-2.3.1-7] SUBACK and UNSUBACK repeat the id of their request', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);

  for (const messageId of [1, 0x80, 0x100, 0xffff]) {
    const id = messageId.toString(16).padStart(4, '0');
    client.send({ cmd: 'subscribe', messageId, subscriptions: [{ topic, qos: 1 }] });
    assert.equal((await client.next()).raw.toString('hex'), `9003${id}01`);
    client.send({ cmd: 'unsubscribe', messageId, unsubscriptions: [topic] });
    assert.equal((await client.next()).raw.toString('hex'), `b002${id}`);
  }
});

const MALFORMED = {
  'packet type 0': hex('00 00'),
  'packet type 15': hex('f0 00'),
  'CONNACK from a client': hex('20 02 00 00'),
  'SUBACK from a client': hex('90 03 00 01 00'),
  'UNSUBACK from a client': hex('b0 02 00 01'),
  'PINGRESP from a client': hex('d0 00'),
  'a Remaining Length of five bytes': hex('30 80 80 80 80 01'),
  'a Remaining Length that never ends': hex('30 ff ff ff ff ff'),
  'PINGREQ with a body': hex('c0 01 00'),
  'PUBLISH whose topic reaches beyond it': hex('30 03 00 05 61'),
  'PUBLISH without a topic': hex('30 00'),
  'PUBLISH with half a topic length': hex('30 01 00'),
  'PUBLISH at QoS 1 without a packet id': hex('32 03 00 01 61'),
  'PUBLISH at QoS 2 with half a packet id': hex('34 04 00 01 61 00'),
  'PUBACK without an id': hex('40 00'),
  'PUBACK with half an id': hex('40 01 00'),
  'PUBREC without an id': hex('50 00'),
  'PUBREL without an id': hex('62 00'),
  'PUBREL with half an id': hex('62 01 00'),
  'PUBCOMP without an id': hex('70 00'),
  'PUBACK with bytes left over': hex('40 03 00 01 00'),
  'PUBREC with bytes left over': hex('50 03 00 01 00'),
  'PUBREL with bytes left over': hex('62 03 00 01 00'),
  'PUBCOMP with bytes left over': hex('70 04 00 01 00 00'),
  'SUBSCRIBE without an id': hex('82 00'),
  'SUBSCRIBE whose filter reaches beyond it': hex('82 06 00 01 00 09 61 00'),
  'SUBSCRIBE without the QoS byte': hex('82 05 00 01 00 01 61'),
  'SUBSCRIBE with bytes left over': hex('82 07 00 01 00 01 61 00 00'),
  'UNSUBSCRIBE without an id': hex('a2 00'),
  'UNSUBSCRIBE whose filter reaches beyond it': hex('a2 05 00 01 00 02 61'),
  'UNSUBSCRIBE with bytes left over': hex('a2 06 00 01 00 01 61 00'),
  'DISCONNECT with a body': hex('e0 01 00'),
};

for (const [name, bytes] of Object.entries(MALFORMED)) {
  test(`[MQTT-4.8.0-1] ${name} closes the connection`, (t) => expectCut(t, broker, bytes));
}

test('[MQTT-4.8.0-1] malformed packets close the connection also when they come byte by byte', async (t) => {
  for (const [name, bytes] of Object.entries(MALFORMED)) {
    const client = await broker.connect(t);
    for (const byte of bytes) {
      await new Promise((resolve) => client.stream.write(Buffer.from([byte]), resolve));
    }
    assert.deepEqual(await client.closed(), [], name);
  }
});

test('[MQTT-4.8.0-1] a Remaining Length of five bytes closes at its fourth, whatever follows', async (t) => {
  const bystander = await broker.connect(t);
  const client = await broker.connect(t);
  for (const bytes of ['30', '80', '80', '80', '80']) {
    client.sendBytes(bytes);
    await bystander.nothing();
  }
  assert.deepEqual(await client.closed(), []);
});

test('[MQTT-4.8.0-1] a Remaining Length longer than needed is read or closes, nothing else', async (t) => {
  const client = await broker.connect(t);
  client.sendBytes('c0 80 00');
  const answer = await client.nextOrClose();
  if (answer !== undefined) assert.equal(answer.cmd, 'pingresp');
});

/** A whole conversation as bytes, with the answers it must get. */
function conversation(topic: string): { said: Buffer; heard: Buffer } {
  const said = Buffer.concat([
    connectBytes({ payload: [field(unique())] }),
    packet(0x82, u16(1), field(topic), hex('00')),
    packet(0x32, field(topic), u16(2), Buffer.from('one')),
    packet(0x34, field(topic), u16(3), Buffer.alloc(300, 0x61)),
    packet(0x62, u16(3)),
    packet(0xa2, u16(4), field(topic)),
    hex('c0 00'),
  ]);
  const heard = Buffer.concat([
    hex('20 02 00 00'),
    hex('90 03 00 01 00'),
    hex('40 02 00 02'),
    hex('50 02 00 03'),
    hex('70 02 00 03'),
    hex('b0 02 00 04'),
    hex('d0 00'),
    packet(0x30, field(topic), Buffer.from('one')),
    packet(0x30, field(topic), Buffer.alloc(300, 0x61)),
  ]);
  return { said, heard };
}

const byPublishLast = (packets: readonly { cmd: string; raw: Buffer }[]): Buffer =>
  Buffer.concat(
    [
      ...packets.filter((one) => one.cmd !== 'publish'),
      ...packets.filter((one) => one.cmd === 'publish'),
    ].map((one) => one.raw),
  );

test('[MQTT-7.1.1-1] packets cut byte by byte are understood', async (t) => {
  const client = await broker.open(t);
  const { said, heard } = conversation(unique('t/'));

  for (const byte of said) {
    await new Promise((resolve) => client.stream.write(Buffer.from([byte]), resolve));
  }

  assert.deepEqual(byPublishLast(await client.take(9)), heard);
  await client.nothing();
});

test('[MQTT-7.1.1-1] [MQTT-3.2.0-1] many packets in one write are understood', async (t) => {
  const client = await broker.open(t);
  const { said, heard } = conversation(unique('t/'));

  client.sendBytes(said);

  const answers = await client.take(9);
  assert.equal(answers[0]?.cmd, 'connack');
  assert.deepEqual(byPublishLast(answers), heard);
  await client.nothing();
});

test('[MQTT-7.1.1-1] a large payload arrives unharmed, between small ones', async (t) => {
  const topic = unique('t/');
  const client = await broker.connect(t);
  await client.subscribe(topic, 1);
  const sizes = [0, 1, 125, 126, 127, 128, 16_000, 16_384, 200_000, 3];

  for (const size of sizes) client.sendPublish(topic, pattern(size), { qos: 1 });

  for (const size of sizes) {
    const got = await client.first('publish');
    assert.ok(got.payload!.equals(pattern(size)), `${size} bytes`);
    await client.ack(got);
  }
});

function pattern(size: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 7 + size) & 0xff));
}
