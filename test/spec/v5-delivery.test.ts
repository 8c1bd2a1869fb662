/**
 * MQTT 5.0, sections 4.3, 4.4 and 4.6: acknowledgements, redelivery, order.
 *
 * A connection is broken off at every stage of an exchange; what comes on the next connection
 * is compared packet by packet. Ids given out twice while open fail in the harness.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, elapse, nothingReaches, unique } from '../harness/v5-client.ts';
import { ackPacket, type ConnectOptions, publishPacket } from '../harness/v5-packets.ts';

const broker = sharedBroker({ peerConfiguration: ['max_queued_messages 0'] });

function lasting(): ConnectOptions {
  return { clientId: unique('c'), cleanStart: false, properties: { sessionExpiry: 600 } };
}

for (const [qos, name] of [
  [
    1,
    '[MQTT-4.3.2-3] [MQTT-4.4.0-1] [MQTT-3.3.1-1] unanswered QoS 1 messages come again: same ids, same order, DUP 1',
  ],
  [
    2,
    '[MQTT-4.3.3-3] [MQTT-4.4.0-1] [MQTT-3.3.1-1] unanswered QoS 2 messages come again: same ids, same order, DUP 1',
  ],
] as const) {
  test(name, async (t) => {
    const topic = unique('d/');
    const publisher = await connectClient(t, broker.port);
    const options = lasting();
    const first = await connectClient(t, broker.port, options);
    await first.subscribe(topic, 2);
    for (let count = 0; count < 5; count++) {
      await publisher.publish(topic, String(count), { qos, properties: { contentType: 'c' } });
    }
    const sent = [];
    for (let count = 0; count < 5; count++) sent.push(await first.message());
    for (const message of sent) assert.equal(message.dup, false);
    first.drop();
    await first.hungUp();

    const second = await connectClient(t, broker.port, options);
    for (const message of sent) {
      const again = await second.message();
      assert.deepEqual(
        [again.packetId, again.payload, again.qos, again.dup, again.properties],
        [message.packetId, message.payload, qos, true, { contentType: 'c' }],
      );
    }
    second.drop();
    await second.hungUp();
    const third = await connectClient(t, broker.port, options);
    for (const message of sent) {
      const again = await third.message();
      assert.deepEqual([again.packetId, again.dup], [message.packetId, true]);
    }
    await third.idle();
  });
}

test('[MQTT-4.4.0-1] nothing is sent again while the connection stands', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port, lasting());
  await client.subscribe(topic, 2);
  for (const qos of [1, 2]) await publisher.publish(topic, 'x', { qos });
  const one = await client.message();
  const two = await client.message();
  client.ack('pubrec', two.packetId);
  await client.next('pubrel');

  await elapse(3_000);

  await client.idle();
  client.ack('puback', one.packetId);
  client.ack('pubcomp', two.packetId);
  await client.idle();
});

test('[MQTT-4.4.0-1] without a session nothing is sent again', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const options = lasting();
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 2);
  await publisher.publish(topic, 'x', { qos: 2 });
  await first.message();
  first.drop();
  await first.hungUp();

  const second = await connectClient(t, broker.port, { ...options, cleanStart: true });

  await nothingReaches(second, publisher);
});

test('[MQTT-4.4.0-1] [MQTT-4.3.3-5] [MQTT-4.3.3-6] after PUBREC only PUBREL comes again, until PUBCOMP', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const options = lasting();
  let client = await connectClient(t, broker.port, options);
  await client.subscribe(topic, 2);
  await publisher.publish(topic, 'once', { qos: 2 });
  const message = await client.message();
  client.ack('pubrec', message.packetId);

  for (let round = 0; round < 3; round++) {
    const pubrel = await client.next('pubrel');
    assert.deepEqual([pubrel.packetId, pubrel.reason], [message.packetId, 0]);
    client.drop();
    await client.hungUp();
    client = await connectClient(t, broker.port, options);
  }
  await client.next('pubrel');
  client.ack('pubcomp', message.packetId);
  await nothingReaches(client, publisher);
  client.drop();
  await client.hungUp();
  client = await connectClient(t, broker.port, options);

  await nothingReaches(client, publisher);
});

test('[MQTT-4.3.3-4] PUBREC with a success code, in any form, is answered by PUBREL', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 2);

  for (const reason of [undefined, 0]) {
    await publisher.publish(topic, 'x', { qos: 2 });
    const { packetId } = await client.message();
    client.ack('pubrec', packetId, reason);
    const pubrel = await client.next('pubrel');
    assert.deepEqual([pubrel.packetId, pubrel.reason, pubrel.bytes[0]], [packetId, 0, 0x62]);
    client.ack('pubcomp', packetId);
  }
  await client.idle();
});

test('[MQTT-4.3.3-4] [MQTT-4.3.3-6] PUBREC sent twice is answered twice, the message is not sent again', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 2);
  await publisher.publish(topic, 'x', { qos: 2 });
  const { packetId } = await client.message();

  for (let round = 0; round < 2; round++) {
    client.ack('pubrec', packetId);
    const pubrel = await client.next('pubrel');
    assert.deepEqual([pubrel.packetId, pubrel.reason], [packetId, 0]);
  }

  client.ack('pubcomp', packetId);
  await nothingReaches(client, publisher);
});

for (const [qos, kind] of [
  [1, 'puback'],
  [2, 'pubrec'],
] as const) {
  for (const reason of [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]) {
    test(`[MQTT-4.4.0-2] [MQTT-3.4.2-1] [MQTT-3.5.2-1] ${kind} 0x${reason.toString(16)} settles the message for good`, async (t) => {
      const topic = unique('d/');
      const publisher = await connectClient(t, broker.port);
      const options = lasting();
      const first = await connectClient(t, broker.port, options);
      await first.subscribe(topic, qos);
      await publisher.publish(topic, 'refused', { qos });
      const message = await first.message();

      first.ack(kind, message.packetId, reason);
      await first.idle();
      first.drop();
      await first.hungUp();

      const second = await connectClient(t, broker.port, options);
      await nothingReaches(second, publisher);
    });
  }
}

test('[MQTT-4.3.2-2] [MQTT-4.3.3-2] a first attempt has DUP 0, also on a later connection', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const options = { ...lasting(), properties: { sessionExpiry: 60, receiveMaximum: 1 } };
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 2);
  await publisher.publish(topic, 'tried', { qos: 1 });
  await publisher.publish(topic, 'never tried', { qos: 1 });
  assert.equal((await first.message()).payload, 'tried');
  first.drop();
  await first.hungUp();

  const second = await connectClient(t, broker.port, options);

  const tried = await second.receive();
  assert.deepEqual([tried.payload, tried.dup], ['tried', true]);
  const untried = await second.receive();
  assert.deepEqual([untried.payload, untried.dup], ['never tried', false]);
});

test('[MQTT-4.3.2-4] [MQTT-4.3.3-8] an acknowledged message has been taken over: the publisher may vanish', async (t) => {
  const topic = unique('d/');
  const options = lasting();
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 2);
  await first.disconnect();
  const publisher = await connectClient(t, broker.port);
  await publisher.publish(topic, 'one', { qos: 1 });
  await publisher.publish(topic, 'two', { qos: 2 });
  publisher.drop();
  await publisher.hungUp();

  const second = await connectClient(t, broker.port, options);

  const seen = [(await second.receive()).payload, (await second.receive()).payload];
  assert.deepEqual(seen.sort(), ['one', 'two']);
});

test('[MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12] until PUBREL an id is answered each time and passed on once', async (t) => {
  const topic = unique('d/');
  const watcher = await connectClient(t, broker.port);
  const publisher = await connectClient(t, broker.port);
  await watcher.subscribe(topic, 2);

  for (const dup of [false, true, true, false]) {
    publisher.sendPublish(topic, 'once', { qos: 2, packetId: 5, dup });
    const pubrec = await publisher.next('pubrec');
    assert.deepEqual([pubrec.packetId, pubrec.reason], [5, 0]);
  }
  publisher.release(5);
  const pubcomp = await publisher.next('pubcomp');
  assert.deepEqual([pubcomp.packetId, pubcomp.reason], [5, 0]);

  assert.equal((await watcher.receive()).payload, 'once');
  await nothingReaches(watcher, publisher);
  await publisher.publish(topic, 'new under the same id', { qos: 2, packetId: 5 });
  assert.equal((await watcher.receive()).payload, 'new under the same id');
});

for (const stage of ['before PUBREC is read', 'before PUBREL', 'after PUBREL'] as const) {
  test(`[MQTT-4.3.3-10] [MQTT-4.3.3-11] QoS 2 of a publisher that reconnects ${stage} is passed on once`, async (t) => {
    const topic = unique('d/');
    const watcher = await connectClient(t, broker.port);
    await watcher.subscribe(topic, 2);
    const options = lasting();
    const first = await connectClient(t, broker.port, options);
    first.sendPublish(topic, 'once', { qos: 2, packetId: 8 });
    await first.next('pubrec');
    if (stage === 'after PUBREL') {
      first.release(8);
      await first.next('pubcomp'); // lost on its way, as far as the publisher knows
    }
    first.drop();
    await first.hungUp();

    const second = await connectClient(t, broker.port, options);
    assert.equal(second.connack?.sessionPresent, true);
    if (stage === 'before PUBREC is read') {
      second.sendPublish(topic, 'once', { qos: 2, packetId: 8, dup: true });
      assert.equal((await second.next('pubrec')).packetId, 8);
    }
    second.release(8);
    const pubcomp = await second.next('pubcomp');

    assert.deepEqual([pubcomp.packetId, pubcomp.reason], [8, stage === 'after PUBREL' ? 0x92 : 0]);
    assert.equal((await watcher.receive()).payload, 'once');
    await nothingReaches(watcher, second);
  });
}

test('[MQTT-4.3.3-10] without a session the open ids of the old one mean nothing', async (t) => {
  const topic = unique('d/');
  const watcher = await connectClient(t, broker.port);
  await watcher.subscribe(topic, 2);
  const clientId = unique('c');
  const first = await connectClient(t, broker.port, { clientId });
  first.sendPublish(topic, 'first', { qos: 2, packetId: 8 });
  await first.next('pubrec');
  first.drop();
  await first.hungUp();

  const second = await connectClient(t, broker.port, { clientId });
  await second.publish(topic, 'second', { qos: 2, packetId: 8 });

  const payloads = [(await watcher.receive()).payload];
  if (payloads[0] === 'first') payloads.push((await watcher.receive()).payload);
  assert.equal(payloads.at(-1), 'second');
});

test('[MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-4.3.3-11] PUBREL of an unknown id is answered by PUBCOMP 0x92', async (t) => {
  const client = await connectClient(t, broker.port);

  client.release(4_321);

  const pubcomp = await client.next('pubcomp');
  assert.deepEqual([pubcomp.packetId, pubcomp.reason], [4_321, 0x92]);
  await client.idle();
});

test('[MQTT-3.6.2-1] PUBREC of an unknown id is answered by PUBREL 0x92', async (t) => {
  const client = await connectClient(t, broker.port);

  client.send(ackPacket('pubrec', 4_321));

  const pubrel = await client.next('pubrel');
  assert.deepEqual([pubrel.packetId, pubrel.reason, pubrel.bytes[0]], [4_321, 0x92, 0x62]);
  client.send(ackPacket('pubcomp', 4_321, 0x92));
  await client.idle();
});

test('[MQTT-4.13.1-1] PUBACK, PUBCOMP and a refusing PUBREC of unknown ids are no fault', async (t) => {
  const client = await connectClient(t, broker.port);

  client.send(ackPacket('puback', 9), ackPacket('pubcomp', 9), ackPacket('pubcomp', 9, 0x92));
  await client.idle();
});

for (const qos of [0, 1, 2]) {
  test(`[MQTT-4.6.0-5] [MQTT-4.6.0-6] one publisher's QoS ${qos} messages reach each subscriber in order`, async (t) => {
    const topic = unique('d/');
    const publisher = await connectClient(t, broker.port);
    const watchers = [
      await connectClient(t, broker.port),
      await connectClient(t, broker.port, { properties: { receiveMaximum: 7 } }),
    ];
    for (const watcher of watchers) await watcher.subscribe(topic, qos);
    const total = 500;
    for (let id = 1; id <= total; id++) {
      publisher.send(publishPacket(topic, String(id), { qos, packetId: id }));
    }
    if (qos === 2) for (let id = 1; id <= total; id++) publisher.release(id);

    for (const watcher of watchers) {
      for (let id = 1; id <= total; id++) {
        assert.equal((await watcher.receive()).payload, String(id));
      }
    }
    for (let id = 1; qos > 0 && id <= total; id++) {
      const packet = await publisher.find(qos === 1 ? 'puback' : 'pubrec');
      assert.equal(packet.packetId, id); // answers keep the order too
    }
  });
}

test('[MQTT-4.6.0-5] order holds from the offline queue into live traffic', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const options = { ...lasting(), properties: { sessionExpiry: 60, receiveMaximum: 3 } };
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 1);
  await first.disconnect();
  for (let count = 0; count < 100; count++)
    await publisher.publish(topic, String(count), { qos: 1 });

  const second = await connectClient(t, broker.port, options);
  const publishing = (async () => {
    for (let count = 100; count < 200; count++) {
      await publisher.publish(topic, String(count), { qos: 1 });
    }
  })();

  for (let count = 0; count < 200; count++) {
    const message = await second.receive();
    assert.deepEqual([message.payload, message.dup], [String(count), false]);
  }
  await publishing;
  await nothingReaches(second, publisher);
});

test('[MQTT-4.4.0-1] what is sent again comes before what is new', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const options = lasting();
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 1);
  for (const payload of ['a', 'b', 'c']) await publisher.publish(topic, payload, { qos: 1 });
  const [, b] = [await first.message(), await first.message(), await first.message()];
  first.ack('puback', b?.packetId ?? 0); // out of order: 'a' and 'c' stay open
  await first.idle();
  first.drop();
  await first.hungUp();
  await publisher.publish(topic, 'd', { qos: 1 });

  const second = await connectClient(t, broker.port, options);

  for (const [payload, dup] of [
    ['a', true],
    ['c', true],
    ['d', false],
  ] as const) {
    const message = await second.receive();
    assert.deepEqual([message.payload, message.dup], [payload, dup]);
  }
  await nothingReaches(second, publisher);
});

test('[MQTT-4.4.0-1] [MQTT-3.1.4-3] a takeover goes on with what was open on the old connection', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const options = lasting();
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 2);
  for (const qos of [1, 2, 2]) await publisher.publish(topic, `q${qos}`, { qos });
  const open = [await first.message(), await first.message(), await first.message()];
  const released = open.pop();
  first.ack('pubrec', released?.packetId ?? 0);
  await first.next('pubrel');

  const second = await connectClient(t, broker.port, options);

  const again = [await second.next(), await second.next(), await second.next()];
  const publishes = again.filter((packet) => packet.type === 'publish');
  assert.deepEqual(
    publishes.map((one) => [one.packetId, one.payload, one.dup]),
    open.map((one) => [one.packetId, one.payload, true]),
  );
  const pubrel = again.find((packet) => packet.type === 'pubrel');
  assert.equal(pubrel?.packetId, released?.packetId);
  await second.idle();
});

for (const [what, later] of [
  ['still there', undefined],
  ['replaced', 'newer'],
  ['deleted', ''],
] as const) {
  test(`[MQTT-4.4.0-1] [MQTT-3.3.1-9] a retained message left open comes again as it was, ${what} meanwhile`, async (t) => {
    const topic = unique('d/');
    const publisher = await connectClient(t, broker.port);
    await publisher.publish(topic, 'stored', { qos: 2, retain: true });
    const options = lasting();
    const first = await connectClient(t, broker.port, options);
    await first.subscribe(topic, 2, { subscriptionIds: [6] });
    const message = await first.message();
    first.drop();
    await first.hungUp();
    if (later !== undefined) await publisher.publish(topic, later, { qos: 1, retain: true });

    const second = await connectClient(t, broker.port, options);

    const again = await second.message();
    assert.deepEqual(
      [again.packetId, again.payload, again.qos, again.dup, again.retain],
      [message.packetId, 'stored', 2, true, true],
    );
    await second.settle(again);
    if (later !== undefined) assert.equal((await second.receive()).payload, later);
    await nothingReaches(second, publisher);
  });
}

test('[MQTT-4.3.2-4] [MQTT-4.5.0-1] large payloads keep every byte, live and for an absent client', async (t) => {
  const topic = unique('d/');
  const publisher = await connectClient(t, broker.port);
  const options = lasting();
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(topic, 2);
  const payload = Buffer.from(Array.from({ length: 1_500_000 }, (_, index) => (index * 7) % 251));
  await publisher.publish(topic, payload, { qos: 2 });
  assert.ok((await first.receive()).payloadBytes.equals(payload));
  await first.idle();
  await first.disconnect();

  await publisher.publish(topic, payload, { qos: 1 });
  const second = await connectClient(t, broker.port, options);

  assert.ok((await second.receive()).payloadBytes.equals(payload));
  await nothingReaches(second, publisher);
});
