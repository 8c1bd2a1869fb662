/**
 * MQTT 3.1.1, chapter 4.6: messages of one publisher, topic and QoS keep their order.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sharedBroker, unique, type WireClient } from '../harness/index.ts';

const broker = sharedBroker();

const COUNT = 300;

for (const version of [3, 4] as const) {
  for (const published of [0, 1, 2] as const) {
    for (const granted of [0, 1, 2] as const) {
      test(`[MQTT-4.6.0-5] [MQTT-4.6.0-6] v${version}: ${COUNT} messages at QoS ${published}, granted ${granted}`, async (t) => {
        const topic = unique('t/');
        const publisher = await broker.connect(t, { version, autoAck: true });
        const subscriber = await broker.connect(t, { version });
        await subscriber.subscribe(`${topic}/+`, granted);

        for (let i = 0; i < COUNT; i++) {
          publisher.sendPublish(`${topic}/${i % 3}`, String(i), { qos: published });
        }

        const last = [-1, -1, -1];
        for (let i = 0; i < COUNT; i++) {
          const got = await nextAcknowledged(subscriber);
          const lane = Number(got.topic!.at(-1));
          const number = Number(got.payload!.toString());
          assert.equal(number, last[lane] === -1 ? lane : last[lane]! + 3);
          last[lane] = number;
        }
        const acks = { 0: undefined, 1: 'puback', 2: 'pubcomp' }[published];
        for (let i = 0; acks !== undefined && i < COUNT; i++) {
          assert.equal((await publisher.first(acks)).messageId, i + 1, 'acks in order, too');
        }
      });
    }
  }
}

/** Takes the next message and starts its handshake; PUBRELs are answered as they come. */
async function nextAcknowledged(client: WireClient) {
  for (;;) {
    const got = await client.next();
    const messageId = got.messageId;
    if (got.cmd === 'pubrel') client.send({ cmd: 'pubcomp', messageId });
    if (got.cmd !== 'publish') continue;
    if (got.qos === 1) client.send({ cmd: 'puback', messageId });
    if (got.qos === 2) client.send({ cmd: 'pubrec', messageId });
    return got;
  }
}

test('[MQTT-4.6.0-6] PUBREL packets follow the order of the PUBRECs', async (t) => {
  const topic = unique('t/');
  const publisher = await broker.connect(t);
  const subscriber = await broker.connect(t);
  await subscriber.subscribe(topic, 2);
  for (let i = 0; i < 10; i++) await publisher.publish(topic, String(i), { qos: 2 });
  const open = await subscriber.take(10, 'publish');

  for (const { messageId } of open) subscriber.send({ cmd: 'pubrec', messageId });

  const releases = await subscriber.take(10, 'pubrel');
  assert.deepEqual(
    releases.map((one) => one.messageId),
    open.map((one) => one.messageId),
  );
});

test('[MQTT-4.6.0-6] PUBACK and PUBREC follow the order of the PUBLISHes', async (t) => {
  const topic = unique('t/');
  const clientId = unique();
  const durable = await broker.connect(t, { clientId, clean: false });
  await durable.subscribe(`${topic}/kept`, 2);
  const publisher = await broker.connect(t);

  // Only every other message must be kept for somebody; the acknowledgements may not overtake.
  for (let i = 1; i <= 100; i++) {
    const target = i % 2 === 0 ? `${topic}/kept` : `${topic}/nobody`;
    publisher.sendPublish(target, String(i), { qos: 1, messageId: i });
  }
  for (let i = 1; i <= 100; i++) assert.equal((await publisher.next('puback')).messageId, i);
  for (let i = 1; i <= 100; i++) {
    const target = i % 2 === 0 ? `${topic}/kept` : `${topic}/nobody`;
    publisher.sendPublish(target, String(i), { qos: 2, messageId: i });
  }
  for (let i = 1; i <= 100; i++) assert.equal((await publisher.next('pubrec')).messageId, i);
  for (let i = 1; i <= 100; i++) publisher.send({ cmd: 'pubrel', messageId: i });
  for (let i = 1; i <= 100; i++) assert.equal((await publisher.next('pubcomp')).messageId, i);
});

test('[MQTT-4.6.0-6] order holds over an absence: waited, then live', async (t) => {
  const topic = unique('t/');
  const clientId = unique();
  const publisher = await broker.connect(t);
  const before = await broker.connect(t, { clientId, clean: false });
  await before.subscribe(topic, 1);
  await before.disconnect();
  for (let i = 0; i < 500; i++) publisher.sendPublish(topic, String(i), { qos: 1 });
  for (let i = 0; i < 500; i++) await publisher.next('puback');

  const after = await broker.connect(t, { clientId, clean: false });
  for (let i = 500; i < 1000; i++) publisher.sendPublish(topic, String(i), { qos: 1 });

  for (let i = 0; i < 1000; i++) {
    assert.equal((await after.receive()).payload?.toString(), String(i));
  }
  await after.nothing();
});

test('[MQTT-4.6.0-6] order holds over reconnects in mid-stream; only what was open is repeated', async (t) => {
  const topic = unique('t/');
  const clientId = unique();
  const publisher = await broker.connect(t);
  let client = await broker.connect(t, { clientId, clean: false });
  await client.subscribe(topic, 2);
  for (let i = 0; i < 200; i++) publisher.sendPublish(topic, String(i), { qos: 2 });
  for (let i = 0; i < 200; i++) {
    const { messageId } = await publisher.first('pubrec');
    publisher.send({ cmd: 'pubrel', messageId });
  }
  for (let i = 0; i < 200; i++) await publisher.first('pubcomp');

  let settled = 0;
  for (let round = 0; settled < 200; round++) {
    for (let i = 0; i < 30 && settled < 200; i++) {
      const got = await client.first('publish');
      assert.equal(Number(got.payload?.toString()), settled, `round ${round}`);
      await client.ack(got);
      settled += 1;
    }
    client.sendBytes('c0 00');
    await client.first('pingresp');
    client.abort();
    client = await broker.connect(t, { clientId, clean: false });
  }
  await client.nothing();
});
