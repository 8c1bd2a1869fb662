/**
 * MQTT 3.1.1, chapters 4.3 and 4.4: handshakes cut off at each stage, and how they go on.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  packet,
  type Qos,
  type Received,
  sharedBroker,
  u16,
  unique,
  type Version,
  type WireClient,
} from '../harness/index.ts';

const broker = sharedBroker();

interface Scene {
  readonly topic: string;
  readonly publisher: WireClient;
  /** Connects the subscriber whose session is kept. */
  again(version?: Version): Promise<WireClient>;
}

/** A publisher, and a kept session with one subscription whose client has just connected. */
async function scene(
  t: TestContext,
  qos: Qos,
  version: Version = 4,
): Promise<Scene & { client: WireClient }> {
  const topic = unique('t/');
  const clientId = unique();
  const publisher = await broker.connect(t);
  const again = (): Promise<WireClient> => broker.connect(t, { clientId, clean: false, version });
  const client = await again();
  await client.subscribe(topic, qos);
  return { topic, publisher, again, client };
}

const facts = (publish: Received): unknown[] => [
  publish.messageId,
  publish.payload?.toString(),
  publish.qos,
  publish.dup,
  publish.retain,
];

for (const version of [3, 4] as const) {
  for (const end of ['abort', 'disconnect'] as const) {
    test(`[MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-2.3.1-4] v${version}: after ${end}, open messages come again: same ids, same order, DUP 1`, async (t) => {
      const { topic, publisher, again, client } = await scene(t, 2, version);
      const sent: [string, Qos][] = [];
      for (let i = 0; i < 12; i++) sent.push([`m${i}`, i % 3 === 0 ? 2 : 1]);
      for (const [payload, qos] of sent) await publisher.publish(topic, payload, { qos });
      const open = await client.take(12, 'publish');
      assert.ok(open.every((one) => !one.dup));
      // Two are settled, out of order; these must not come again.
      client.send({ cmd: 'puback', messageId: open[4]!.messageId });
      client.send({ cmd: 'puback', messageId: open[1]!.messageId });
      await client.nothing();
      await client[end]();

      const after = await again();

      const left = open.filter((_, i) => i !== 4 && i !== 1);
      for (const publish of left) {
        const copy = await after.next('publish');
        assert.deepEqual(facts(copy), [
          publish.messageId,
          publish.payload?.toString(),
          publish.qos,
          true,
          false,
        ]);
      }
      await after.nothing();
      for (const publish of left) await after.ack(publish);
      await after.nothing();
      await after.disconnect();
      const last = await again();
      await last.nothing();
    });
  }
}

test('[MQTT-4.4.0-1] [MQTT-3.3.1-1] messages come again at every reconnect until they are settled', async (t) => {
  const { topic, publisher, again, client } = await scene(t, 1);
  await publisher.publish(topic, 'stubborn', { qos: 1 });
  const first = await client.next('publish');
  assert.equal(first.dup, false);
  client.abort();

  for (let i = 0; i < 3; i++) {
    const copy = await (await again()).next('publish');
    assert.deepEqual(facts(copy), [first.messageId, 'stubborn', 1, true, false]);
  }

  const settled = await again();
  await settled.receive();
  await settled.nothing();
  settled.abort();
  await (await again()).nothing();
});

test('[MQTT-4.4.0-1] what is open comes before what waited meanwhile, which has DUP 0', async (t) => {
  const { topic, publisher, again, client } = await scene(t, 1);
  await publisher.publish(topic, 'open', { qos: 1 });
  const open = await client.next('publish');
  client.abort();
  for (const payload of ['waited 1', 'waited 2'])
    await publisher.publish(topic, payload, { qos: 1 });

  const after = await again();

  assert.deepEqual(facts(await after.next('publish')), [open.messageId, 'open', 1, true, false]);
  for (const payload of ['waited 1', 'waited 2']) {
    const got = await after.next('publish');
    assert.deepEqual([got.payload?.toString(), got.dup], [payload, false]);
    assert.notEqual(got.messageId, open.messageId);
  }
});

test('[MQTT-4.3.3-1] QoS 2, cut before PUBREC: the PUBLISH comes again', async (t) => {
  const { topic, publisher, again, client } = await scene(t, 2);
  await publisher.publish(topic, 'x', { qos: 2 });
  const open = await client.next('publish');
  client.abort();

  const after = await again();

  const copy = await after.next('publish');
  assert.deepEqual(facts(copy), [open.messageId, 'x', 2, true, false]);
  after.send({ cmd: 'pubrec', messageId: copy.messageId });
  assert.deepEqual((await after.next()).raw, packet(0x62, u16(open.messageId!)));
  after.send({ cmd: 'pubcomp', messageId: copy.messageId });
  await after.nothing();
});

test('[MQTT-4.3.3-1] [MQTT-4.4.0-1] QoS 2, cut after PUBREC: PUBREL comes again, never the PUBLISH', async (t) => {
  const { topic, publisher, again, client } = await scene(t, 2);
  await publisher.publish(topic, 'x', { qos: 2 });
  const { messageId } = await client.next('publish');
  client.send({ cmd: 'pubrec', messageId });
  await client.next('pubrel');
  client.abort();

  for (let i = 0; i < 2; i++) {
    const after = await again();
    assert.deepEqual((await after.next()).raw, packet(0x62, u16(messageId!)));
    await after.nothing();
    after.abort();
  }

  const last = await again();
  await last.next('pubrel');
  last.send({ cmd: 'pubcomp', messageId });
  await last.nothing();
  last.abort();
  await (await again()).nothing();
});

test('[MQTT-4.4.0-1] PUBLISH and PUBREL of several open messages all come again', async (t) => {
  const { topic, publisher, again, client } = await scene(t, 2);
  for (const payload of ['0', '1', '2', '3']) await publisher.publish(topic, payload, { qos: 2 });
  const open = await client.take(4, 'publish');
  for (const publish of [open[0]!, open[2]!]) {
    client.send({ cmd: 'pubrec', messageId: publish.messageId });
    assert.equal((await client.next('pubrel')).messageId, publish.messageId);
  }
  client.abort();

  const after = await again();

  const packets = await after.take(4);
  const publishes = packets.filter((one) => one.cmd === 'publish');
  const releases = packets.filter((one) => one.cmd === 'pubrel');
  assert.deepEqual(publishes.map(facts), [
    [open[1]!.messageId, '1', 2, true, false],
    [open[3]!.messageId, '3', 2, true, false],
  ]);
  assert.deepEqual(
    releases.map((one) => one.messageId),
    [open[0]!.messageId, open[2]!.messageId],
  );
  await after.nothing();
});

test('[MQTT-4.3.3-1] [MQTT-4.3.2-1] the id is free after PUBCOMP, and not before', async (t) => {
  const { topic, publisher, client } = await scene(t, 2);
  await publisher.publish(topic, 'released', { qos: 2 });
  const held = await client.next('publish');
  client.send({ cmd: 'pubrec', messageId: held.messageId });
  await client.next('pubrel');

  const ids = new Set([held.messageId]);
  for (let i = 0; i < 8; i++) {
    await publisher.publish(topic, String(i), { qos: 2 });
    const { messageId } = await client.next('publish');
    assert.ok(!ids.has(messageId));
    ids.add(messageId);
  }
});

test('[MQTT-4.3.3-2] [MQTT-4.3.3-1] a PUBREC repeated is answered by PUBREL again', async (t) => {
  const { topic, publisher, client } = await scene(t, 2);
  await publisher.publish(topic, 'x', { qos: 2 });
  const { messageId } = await client.next('publish');
  for (let i = 0; i < 2; i++) {
    client.send({ cmd: 'pubrec', messageId });
    assert.deepEqual((await client.next()).raw, packet(0x62, u16(messageId!)));
  }
  client.send({ cmd: 'pubcomp', messageId });
  await client.nothing();
});

test('[MQTT-3.1.2-6] [MQTT-4.4.0-1] nothing comes again to a client with CleanSession 1', async (t) => {
  const { topic, publisher, client } = await scene(t, 2);
  await publisher.publish(topic, 'one', { qos: 1 });
  await publisher.publish(topic, 'two', { qos: 2 });
  await client.take(2, 'publish');
  const clientId = client.clientId;
  client.abort();

  const clean = await broker.connect(t, { clientId, clean: true });

  await clean.nothing();
});

for (const version of [3, 4] as const) {
  test(`[MQTT-4.3.3-2] v${version}: a QoS 2 PUBLISH repeated before PUBREL is passed on once`, async (t) => {
    const { topic, client } = await scene(t, 2);
    const sender = await broker.connect(t, { version });

    for (const dup of [false, true, false]) {
      sender.sendPublish(topic, 'once', { qos: 2, messageId: 3, dup });
      assert.equal((await sender.next()).raw.toString('hex'), '50020003');
    }
    sender.send({ cmd: 'pubrel', messageId: 3 });
    assert.equal((await sender.next()).raw.toString('hex'), '70020003');

    assert.equal((await client.receive()).payload?.toString(), 'once');
    await client.nothing();
    sender.sendPublish(topic, 'a new message', { qos: 2, messageId: 3, dup: true });
    await sender.next('pubrec');
    sender.send({ cmd: 'pubrel', messageId: 3 });
    await sender.next('pubcomp');
    assert.equal((await client.receive()).payload?.toString(), 'a new message');
    await client.nothing();
  });

  test(`[MQTT-4.3.3-2] [MQTT-4.4.0-1] v${version}: a publisher's QoS 2 state outlives its connection at each stage`, async (t) => {
    const { topic, client } = await scene(t, 2);
    const clientId = unique();
    const connect = (): Promise<WireClient> =>
      broker.connect(t, { version, clientId, clean: false });
    let sender = await connect();
    const expect = async (answer: string): Promise<void> => {
      assert.equal((await sender.next()).raw.toString('hex'), answer);
    };

    sender.sendPublish(topic, 'once', { qos: 2, messageId: 0x77 });
    await expect('50020077');
    sender.abort();
    sender = await connect();
    sender.sendPublish(topic, 'once', { qos: 2, messageId: 0x77, dup: true });
    await expect('50020077');
    sender.abort();
    sender = await connect();
    sender.send({ cmd: 'pubrel', messageId: 0x77 });
    await expect('70020077');
    sender.abort();
    sender = await connect();
    sender.send({ cmd: 'pubrel', messageId: 0x77 });
    await expect('70020077');

    assert.equal((await client.receive()).payload?.toString(), 'once');
    await client.nothing();
    sender.sendPublish(topic, 'twice', { qos: 2, messageId: 0x77 });
    await expect('50020077');
    sender.send({ cmd: 'pubrel', messageId: 0x77 });
    await expect('70020077');
    assert.equal((await client.receive()).payload?.toString(), 'twice');
    await client.nothing();
  });
}

test('[MQTT-4.3.3-2] with CleanSession 1 the id of a broken-off QoS 2 message is new', async (t) => {
  const { topic, client } = await scene(t, 2);
  const clientId = unique();
  const before = await broker.connect(t, { clientId, clean: true });
  before.sendPublish(topic, 'one', { qos: 2, messageId: 5 });
  await before.next('pubrec');
  before.abort();

  const after = await broker.connect(t, { clientId, clean: true });
  after.sendPublish(topic, 'two', { qos: 2, messageId: 5 });
  assert.equal((await after.next()).raw.toString('hex'), '50020005');
  after.send({ cmd: 'pubrel', messageId: 5 });
  assert.equal((await after.next()).raw.toString('hex'), '70020005');

  // Whether 'one', never released, is passed on is the broker's choice of method A or B.
  let got = await client.receive();
  if (got.payload?.toString() === 'one') got = await client.receive();
  assert.equal(got.payload?.toString(), 'two');
  await client.nothing();
});

test('[MQTT-4.3.3-2] PUBREL with an unknown id is answered by PUBCOMP', async (t) => {
  const client = await broker.connect(t);
  client.send({ cmd: 'pubrel', messageId: 0x4321 });
  assert.equal((await client.next()).raw.toString('hex'), '70024321');
  await client.nothing();
});

test('[MQTT-4.8.0-1] PUBACK and PUBCOMP with unknown ids are ignored or close, nothing else', async (t) => {
  for (const cmd of ['puback', 'pubcomp']) {
    const client = await broker.connect(t);
    client.send({ cmd, messageId: 0x4321 });
    client.sendBytes('c0 00');
    const answer = await client.nextOrClose();
    if (answer !== undefined) assert.equal(answer.cmd, 'pingresp');
  }
});

test('[MQTT-4.3.3-1] PUBREC with an unknown id gets PUBREL, or closes, nothing else', async (t) => {
  const client = await broker.connect(t);
  client.send({ cmd: 'pubrec', messageId: 0x4321 });
  const answer = await client.nextOrClose();
  if (answer !== undefined) assert.equal(answer.raw.toString('hex'), '62024321');
});

const MISFITS = [
  ['puback', 2],
  ['pubcomp', 1],
  ['pubrec', 1],
] as const;

for (const [cmd, qos] of MISFITS) {
  test(`[MQTT-4.8.0-1] ${cmd} for a message of QoS ${qos} closes the connection`, async (t) => {
    const { topic, publisher, client } = await scene(t, qos);
    await publisher.publish(topic, 'x', { qos });
    const { messageId } = await client.next('publish');

    client.send({ cmd, messageId });

    assert.deepEqual(await client.closed(), []);
    await publisher.nothing();
  });
}

test('[MQTT-4.8.0-1] a misfit acknowledgement leaves the message open', async (t) => {
  const { topic, publisher, again, client } = await scene(t, 2);
  await publisher.publish(topic, 'x', { qos: 2 });
  const { messageId } = await client.next('publish');
  client.send({ cmd: 'puback', messageId });
  await client.closed();

  const after = await again();

  assert.deepEqual(facts(await after.receive()), [messageId, 'x', 2, true, false]);
  await after.nothing();
});
