/**
 * MQTT 5.0, section 4.8: shared subscriptions.
 */
import { strict as assert } from 'node:assert';
import { test, type TestContext } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, hex, nothingReaches, unique, type V5Client } from '../harness/v5-client.ts';
import { type ConnectOptions, RETAIN_AS_PUBLISHED } from '../harness/v5-packets.ts';

const broker = sharedBroker();

/** Takes every message that has come, up to a later one of `publisher` on the same path. */
async function drain(client: V5Client, publisher: V5Client): Promise<string[]> {
  const fence = unique('fence/');
  await client.subscribe(fence, 1);
  await publisher.publish(fence, 'fence', { qos: 1 });
  const payloads: string[] = [];
  for (;;) {
    const message = await client.receive();
    if (message.topic === fence) return payloads;
    payloads.push(message.payload);
  }
}

/** Members of one group, each subscribed at its QoS. */
async function group(
  t: TestContext,
  topic: string,
  grants: readonly number[],
): Promise<V5Client[]> {
  const members = [];
  for (const qos of grants) {
    const member = await connectClient(t, broker.port);
    assert.deepEqual((await member.subscribe(`$share/group/${topic}`, qos)).reasons, [qos]);
    members.push(member);
  }
  return members;
}

for (const filter of [
  '$share//x',
  '$share/g',
  '$share/g/',
  '$share/',
  '$share/g+/x',
  '$share/#/x',
  '$share/+/x',
  '$share/g/a#',
  '$share/g/a/#/b',
  '$share/g#/x',
]) {
  test(`[MQTT-4.8.2-1] [MQTT-4.8.2-2] the shared filter '${filter}' gets 0x8F`, async (t) => {
    const client = await connectClient(t, broker.port);

    const suback = await client.subscribe([
      [filter, 1],
      [unique('s/'), 1],
    ]);

    assert.deepEqual(suback.reasons.map(hex), ['0x8f', '0x01']);
    await client.idle();
  });
}

for (const qos of [0, 1, 2]) {
  test(`[MQTT-4.8.2-1] each message goes to exactly one member, and all get some, at QoS ${qos}`, async (t) => {
    const topic = unique('s/');
    const publisher = await connectClient(t, broker.port);
    const members = await group(t, topic, [qos, qos, qos]);

    for (let count = 0; count < 60; count++) await publisher.publish(topic, String(count), { qos });

    const seen: string[] = [];
    for (const member of members) {
      const payloads = await drain(member, publisher);
      assert.ok(payloads.length > 0, 'every member takes part');
      assert.deepEqual(
        payloads,
        [...payloads].sort((a, b) => Number(a) - Number(b)),
      );
      seen.push(...payloads);
    }
    assert.deepEqual(
      seen.map(Number).sort((a, b) => a - b),
      Array.from({ length: 60 }, (_, index) => index),
    );
  });
}

test('[MQTT-4.8.2-2] share names and filters with unusual characters, and wildcards behind the name', async (t) => {
  const root = unique('s/');
  const client = await connectClient(t, broker.port);

  const suback = await client.subscribe([
    [`$share/a b.c-$/${root}/+/x`, 1],
    [`$share/ü//${root}`, 1],
  ]);
  await client.publish(`${root}/1/x`, 'wild', { qos: 1 });
  await client.publish(`/${root}`, 'empty level', { qos: 1 });

  assert.deepEqual(suback.reasons, [1, 1]);
  assert.equal((await client.receive()).payload, 'wild');
  assert.equal((await client.receive()).payload, 'empty level');
});

test('[MQTT-4.8.2-1] two groups each get the message, a plain subscription of a member too', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const [one, two, both] = [
    await connectClient(t, broker.port),
    await connectClient(t, broker.port),
    await connectClient(t, broker.port),
  ];
  await one.subscribe(`$share/one/${topic}`, 1);
  await two.subscribe(`$share/two/${topic}`, 1);
  await both.subscribe(`$share/three/${topic}`, 1);
  await both.subscribe(topic, 1);

  await publisher.publish(topic, 'x', { qos: 1 });

  assert.deepEqual(await drain(one, publisher), ['x']);
  assert.deepEqual(await drain(two, publisher), ['x']);
  assert.deepEqual(await drain(both, publisher), ['x', 'x']);
});

test('[MQTT-4.8.2-1] the same share name with another filter is another group', async (t) => {
  const root = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const one = await connectClient(t, broker.port);
  const two = await connectClient(t, broker.port);
  await one.subscribe(`$share/g/${root}/+`, 1);
  await two.subscribe(`$share/g/${root}/#`, 1);

  for (let count = 0; count < 5; count++) await publisher.publish(`${root}/x`, 'x', { qos: 1 });

  assert.equal((await drain(one, publisher)).length, 5);
  assert.equal((await drain(two, publisher)).length, 5);
});

test('[MQTT-3.3.1-9] shared subscriptions get no retained messages, neither the first member nor a later one', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  await publisher.publish(topic, 'stored', { retain: true, qos: 1 });

  for (const member of await group(t, topic, [1, 1])) {
    assert.deepEqual(await drain(member, publisher), []);
  }
});

test('[MQTT-4.8.2-3] deliveries stay within what was granted to each member', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const members = await group(t, topic, [0, 1, 2]);

  for (let count = 0; count < 30; count++) await publisher.publish(topic, 'x', { qos: 2 });

  let received = 0;
  for (const [granted, member] of members.entries()) {
    const fence = unique('fence/');
    await member.subscribe(fence, 0);
    await publisher.publish(fence, 'x', { qos: 2 });
    for (;;) {
      const message = await member.receive();
      if (message.topic === fence) break;
      assert.equal(message.qos, granted);
      received += 1;
    }
  }
  assert.equal(received, 30);
});

test('[MQTT-3.10.4-1] after unsubscribing, or leaving, a member gets nothing and the others everything', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const [stays, leaves, goes] = await group(t, topic, [1, 1, 1]);
  assert.ok(stays !== undefined && leaves !== undefined && goes !== undefined);
  assert.deepEqual(
    (await leaves.unsubscribe(topic, `$share/other/${topic}`)).reasons,
    [0x11, 0x11],
  );

  assert.deepEqual((await leaves.unsubscribe(`$share/group/${topic}`)).reasons, [0]);
  await goes.disconnect();
  for (let count = 0; count < 10; count++) {
    assert.equal(await publisher.publish(topic, String(count), { qos: 1 }), 0);
  }

  assert.equal((await drain(stays, publisher)).length, 10);
  await nothingReaches(leaves, publisher);
});

test('[MQTT-4.8.2-4] QoS 1 messages a member did not acknowledge go to another when its session ends', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const [silent, other] = await group(t, topic, [1, 1]);
  assert.ok(silent !== undefined && other !== undefined);
  for (let count = 0; count < 20; count++)
    await publisher.publish(topic, String(count), { qos: 1 });
  await silent.message(); // at least one is with it, unacknowledged

  silent.drop(); // its session has no expiry, so it ends here
  await silent.hungUp();

  const seen = new Set<string>();
  while (seen.size < 20) seen.add((await other.receive()).payload);
  await nothingReaches(other, publisher);
});

test('[MQTT-3.3.1-13] a message that goes on to another member keeps its RETAIN', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const members = [await connectClient(t, broker.port), await connectClient(t, broker.port)];
  for (const member of members) {
    await member.subscribe(`$share/group/${topic}`, 1 | RETAIN_AS_PUBLISHED);
  }
  await publisher.publish(topic, 'x', { qos: 1, retain: true });
  const first = await Promise.race(
    members.map(async (member) => {
      assert.equal((await member.message()).retain, true);
      return member;
    }),
  );

  first.drop();

  const other = members.find((member) => member !== first)!;
  const again = await other.receive();
  assert.deepEqual([again.payload, again.retain], ['x', true]);
});

test('[MQTT-4.8.2-1] an absent member with a session does not stop the others', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const options: ConnectOptions = { clientId: unique('c'), properties: { sessionExpiry: 60 } };
  const absent = await connectClient(t, broker.port, options);
  await absent.subscribe(`$share/group/${topic}`, 1);
  const [present] = await group(t, topic, [1]);
  assert.ok(present !== undefined);
  await absent.disconnect();

  for (let count = 0; count < 10; count++)
    await publisher.publish(topic, String(count), { qos: 1 });
  const here = await drain(present, publisher);
  const back = await connectClient(t, broker.port, { ...options, cleanStart: false });
  const there = await drain(back, publisher);

  assert.deepEqual(
    [...here, ...there].map(Number).sort((a, b) => a - b),
    Array.from({ length: 10 }, (_, index) => index),
  );
});

test('[MQTT-4.8.2-4] [MQTT-4.8.2-5] a QoS 2 delivery begun is finished with its member, and with nobody else', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const options: ConnectOptions = {
    clientId: unique('c'),
    cleanStart: false,
    properties: { sessionExpiry: 60 },
  };
  const first = await connectClient(t, broker.port, options);
  await first.subscribe(`$share/group/${topic}`, 2);
  await publisher.publish(topic, 'half', { qos: 2 });
  const half = await first.message();
  const [other] = await group(t, topic, [2]);
  assert.ok(other !== undefined);
  first.drop();
  await first.hungUp();
  assert.deepEqual(await drain(other, publisher), []);

  const second = await connectClient(t, broker.port, options);
  const again = await second.message();
  assert.deepEqual([again.packetId, again.payload, again.dup], [half.packetId, 'half', true]);
  second.ack('pubrec', again.packetId);
  assert.equal((await second.next('pubrel')).packetId, again.packetId);
  second.drop();
  await second.hungUp();
  const third = await connectClient(t, broker.port, options);
  assert.equal((await third.next('pubrel')).packetId, again.packetId);
  third.ack('pubcomp', again.packetId);

  assert.deepEqual(await drain(other, publisher), []);
});

test('[MQTT-4.8.2-5] a QoS 2 delivery whose member has been answering ends with that session', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const clientId = unique('c');
  const first = await connectClient(t, broker.port, { clientId });
  await first.subscribe(`$share/group/${topic}`, 2);
  await publisher.publish(topic, 'half', { qos: 2 });
  const half = await first.message();
  first.ack('pubrec', half.packetId);
  await first.next('pubrel');
  const [other] = await group(t, topic, [2]);
  assert.ok(other !== undefined);

  first.drop();
  await first.hungUp();
  const next = await connectClient(t, broker.port, { clientId });

  assert.deepEqual(await drain(other, publisher), []);
  await nothingReaches(next, publisher);
});

test('[MQTT-4.8.2-5] even a QoS 2 delivery only sent goes to no other member', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const first = await connectClient(t, broker.port);
  await first.subscribe(`$share/group/${topic}`, 2);
  await publisher.publish(topic, 'half', { qos: 2 });
  await first.message();
  const [other] = await group(t, topic, [2]);
  assert.ok(other !== undefined);

  first.drop();
  await first.hungUp();

  assert.deepEqual(await drain(other, publisher), []);
});

for (const [qos, kind] of [
  [1, 'puback'],
  [2, 'pubrec'],
] as const) {
  test(`[MQTT-4.8.2-6] ${kind.toUpperCase()} of 0x80 or above (0x83) discards the message: no other member gets it`, async (t) => {
    const topic = unique('s/');
    const publisher = await connectClient(t, broker.port);
    const first = await connectClient(t, broker.port);
    await first.subscribe(`$share/group/${topic}`, qos);
    await publisher.publish(topic, 'refused', { qos });
    const message = await first.message();
    const [other] = await group(t, topic, [qos]);
    assert.ok(other !== undefined);

    first.ack(kind, message.packetId, 0x83);
    await first.idle();
    await first.disconnect();

    assert.deepEqual(await drain(other, publisher), []);
  });
}

test('[MQTT-3.8.4-3] subscribing again to a shared filter changes its QoS, and is one membership', async (t) => {
  const topic = unique('s/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(`$share/g/${topic}`, 0);
  await client.subscribe(`$share/g/${topic}`, 1);

  await client.publish(topic, 'x', { qos: 1 });

  assert.equal((await client.receive()).qos, 1);
  await nothingReaches(client, client);
});

test('[MQTT-4.8.2-1] messages for a group whose members are all away wait for one of them', async (t) => {
  const topic = unique('s/');
  const publisher = await connectClient(t, broker.port);
  const ids = [unique('c'), unique('c')];
  const properties = { sessionExpiry: 60 };
  for (const clientId of ids) {
    const member = await connectClient(t, broker.port, { clientId, properties });
    await member.subscribe(`$share/group/${topic}`, 1);
    await member.disconnect();
  }
  for (let count = 0; count < 20; count++) {
    assert.equal(await publisher.publish(topic, String(count), { qos: 1 }), 0);
  }

  const seen: string[] = [];
  for (const clientId of ids) {
    const member = await connectClient(t, broker.port, { clientId, cleanStart: false, properties });
    seen.push(...(await drain(member, publisher)));
  }

  assert.deepEqual(
    seen.map(Number).sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, index) => index),
  );
});

for (const [how, end] of [
  ['unsubscribes', (member: V5Client, filter: string) => member.unsubscribe(filter)],
  ['ends its session', (member: V5Client) => member.disconnect(0, { sessionExpiry: 0 })],
] as const) {
  test(`[MQTT-4.8.2-1] what waits for a group goes to those who stay when its durable member ${how}`, async (t) => {
    const topic = unique('s/');
    const filter = `$share/g/${topic}`;
    const publisher = await connectClient(t, broker.port);
    const slow = { receiveMaximum: 2 };
    const passing = await connectClient(t, broker.port, { properties: slow });
    const staying = await connectClient(t, broker.port, {
      properties: { ...slow, sessionExpiry: 600 },
    });
    await staying.subscribe(filter, 1);
    await passing.subscribe(filter, 1);
    const payloads = Array.from({ length: 20 }, (_, index) => `${index}`);
    for (const payload of payloads) {
      assert.equal(await publisher.publish(topic, payload, { qos: 1 }), 0);
    }

    await end(staying, filter);

    const given = new Set(staying.queue.map((packet) => packet.payload));
    const owed = payloads.filter((payload) => how !== 'unsubscribes' || !given.has(payload));
    const taken: string[] = [];
    while (taken.length < owed.length) taken.push((await passing.receive()).payload);
    assert.deepEqual(new Set(taken), new Set(owed));
    await publisher.publish(topic, 'new', { qos: 1 });
    assert.equal((await passing.receive()).payload, 'new');
  });
}
