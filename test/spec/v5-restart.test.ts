/**
 * MQTT 5.0, sections 4.1, 4.3 and 4.4 across the end of the broker's process.
 *
 * What was acknowledged must be there after a stop (SIGTERM) and after a crash (SIGKILL):
 * sessions, subscriptions, open exchanges of either direction, retained messages.
 */
import { strict as assert } from 'node:assert';
import { test, type TestContext } from 'node:test';

import { againstPeer, type BrokerProcess, startBroker } from '../harness/index.ts';
import { connectClient, elapse, nothingReaches, unique } from '../harness/v5-client.ts';
import { RETAIN_AS_PUBLISHED } from '../harness/v5-packets.ts';

const options = { cleanStart: false, properties: { sessionExpiry: 3_600 } };

/** The broker ends as `how` says and starts again on the same data. */
async function begin(t: TestContext): Promise<BrokerProcess> {
  return await startBroker(t, {
    peerConfiguration: ['autosave_interval 1', 'autosave_on_changes true'],
  });
}

async function end(broker: BrokerProcess, how: 'stop' | 'kill'): Promise<void> {
  if (how === 'stop') await broker.stop();
  else await broker.kill();
  await broker.restart();
}

for (const how of ['stop', 'kill'] as const) {
  const skip = againstPeer && how === 'kill';

  test(`[MQTT-3.1.2-23] [MQTT-4.3.2-4] [MQTT-4.3.3-8] after a ${how}: session, subscriptions and acknowledged messages are there`, {
    skip,
  }, async (t) => {
    const broker = await begin(t);
    const clientId = unique('c');
    const topic = unique('r/');
    const first = await connectClient(t, broker.port, { ...options, clientId });
    await first.subscribe([[topic, 2 | RETAIN_AS_PUBLISHED]], 0, { subscriptionIds: [42] });
    await first.disconnect();
    const publisher = await connectClient(t, broker.port);
    const properties = {
      userProperties: [
        ['b', '1'],
        ['a', '2'],
      ] as const,
      contentType: 'c',
    };
    for (let count = 0; count < 40; count++) {
      await publisher.publish(topic, String(count), {
        qos: 1 + (count % 2),
        retain: true,
        properties,
      });
    }

    await end(broker, how);

    const second = await connectClient(t, broker.port, { ...options, clientId });
    assert.equal(second.connack?.sessionPresent, true);
    const seen = new Map<string, number>();
    for (let count = 0; count < 40; count++) {
      const message = await second.receive();
      assert.deepEqual(
        [message.retain, message.properties],
        [
          true,
          {
            userProperties: [
              ['b', '1'],
              ['a', '2'],
            ],
            contentType: 'c',
            subscriptionIds: [42],
          },
        ],
      );
      seen.set(message.payload, message.qos);
    }
    assert.equal(seen.size, 40);
    for (const [payload, qos] of seen) assert.equal(qos, 1 + (Number(payload) % 2));
    const after = await connectClient(t, broker.port);
    await after.publish(topic, 'live', { qos: 2 });
    assert.equal((await second.receive()).payload, 'live');
    await nothingReaches(second, after);
  });

  test(`[MQTT-4.3.3-10] [MQTT-4.3.3-11] after a ${how}: QoS 2 of a publisher, begun before, is passed on once`, {
    skip,
  }, async (t) => {
    const broker = await begin(t);
    const clientId = unique('c');
    const watcherId = unique('c');
    const topic = unique('r/');
    const watcher = await connectClient(t, broker.port, { ...options, clientId: watcherId });
    await watcher.subscribe(topic, 2);
    await watcher.disconnect();
    const first = await connectClient(t, broker.port, { ...options, clientId });
    for (const packetId of [11, 12, 13]) {
      first.sendPublish(topic, String(packetId), { qos: 2, packetId });
      await first.next('pubrec');
    }
    first.release(13);
    await first.next('pubcomp');

    await end(broker, how);

    const second = await connectClient(t, broker.port, { ...options, clientId });
    assert.equal(second.connack?.sessionPresent, true);
    second.sendPublish(topic, '11', { qos: 2, packetId: 11, dup: true });
    const pubrec = await second.next('pubrec');
    assert.deepEqual([pubrec.packetId, pubrec.reason], [11, 0]);
    for (const [packetId, reason] of [
      [11, 0],
      [12, 0],
      [13, 0x92],
    ] as const) {
      second.release(packetId);
      const pubcomp = await second.next('pubcomp');
      assert.deepEqual([pubcomp.packetId, pubcomp.reason], [packetId, reason]);
    }
    const back = await connectClient(t, broker.port, { ...options, clientId: watcherId });
    const seen = [];
    for (let count = 0; count < 3; count++) seen.push((await back.receive()).payload);
    assert.deepEqual(seen.sort(), ['11', '12', '13']);
    await nothingReaches(back, second);
  });

  test(`[MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-3.3.1-13] [MQTT-3.3.4-3] [MQTT-4.3.3-6] after a ${how}: what was open towards a subscriber goes on where it was`, {
    skip,
  }, async (t) => {
    const broker = await begin(t);
    const clientId = unique('c');
    const topic = unique('r/');
    const publisher = await connectClient(t, broker.port);
    const first = await connectClient(t, broker.port, { ...options, clientId });
    await first.subscribe(topic, 2 | RETAIN_AS_PUBLISHED, { subscriptionIds: [300] });
    const sent = [];
    for (const [payload, qos] of [
      ['settled', 1],
      ['open', 1],
      ['released', 2],
      ['sent', 2],
      ['done', 2],
      ['refused', 2],
    ] as const) {
      await publisher.publish(topic, payload, { qos, retain: qos === 1 });
      sent.push(await first.message());
    }
    const [settled, open, released, unanswered, done, refused] = sent;
    assert.ok(settled && open && released && unanswered && done && refused);
    first.ack('puback', settled.packetId);
    await first.settle(done);
    first.ack('pubrec', refused.packetId, 0x80);
    first.ack('pubrec', released.packetId);
    await first.next('pubrel');
    await first.unsubscribe(topic);
    await first.idle();
    await elapse(200); // what a client acknowledged may reach the disk a moment later
    await end(broker, how);

    const second = await connectClient(t, broker.port, { ...options, clientId });
    assert.equal(second.connack?.sessionPresent, true);
    const again = [await second.next(), await second.next(), await second.next()];

    const publishes = again.filter((packet) => packet.type === 'publish');
    assert.deepEqual(
      publishes.map((one) => [one.packetId, one.payload, one.qos, one.dup]),
      [
        [open.packetId, 'open', 1, true],
        [unanswered.packetId, 'sent', 2, true],
      ],
    );
    for (const [index, retain] of [true, false].entries()) {
      const { properties } = publishes[index]!;
      assert.deepEqual([publishes[index]!.retain, properties.subscriptionIds], [retain, [300]]);
    }
    const pubrel = again.find((packet) => packet.type === 'pubrel');
    assert.equal(pubrel?.packetId, released.packetId);
    second.ack('pubcomp', released.packetId);
    for (const message of publishes) await second.settle(message);
    const after = await connectClient(t, broker.port);
    await nothingReaches(second, after);
  });

  test(`[MQTT-3.3.1-5] [MQTT-3.3.1-7] [MQTT-3.3.2-6] after a ${how}: retained messages are there, deleted ones are not`, {
    skip,
  }, async (t) => {
    const broker = await begin(t);
    const root = unique('r/');
    const publisher = await connectClient(t, broker.port);
    const properties = { messageExpiry: 500, userProperties: [['a', 'b']] as const };
    await publisher.publish(`${root}/kept`, 'old', { qos: 1, retain: true });
    await publisher.publish(`${root}/kept`, 'kept', { qos: 2, retain: true, properties });
    await publisher.publish(`${root}/gone`, 'gone', { qos: 1, retain: true });
    await publisher.publish(`${root}/gone`, '', { qos: 1, retain: true });

    await end(broker, how);

    const client = await connectClient(t, broker.port);
    await client.subscribe(`${root}/#`, 2);
    const message = await client.receive();
    assert.deepEqual([message.payload, message.qos, message.retain], ['kept', 2, true]);
    assert.deepEqual(message.properties.userProperties, [['a', 'b']]);
    const rest = message.properties.messageExpiry ?? 0;
    assert.ok(rest <= 500 && rest > 400);
    await nothingReaches(client, client);
  });

  test(`[MQTT-4.1.0-2] after a ${how}: sessions without expiry are gone, ended ones stay ended`, {
    skip,
  }, async (t) => {
    const broker = await begin(t);
    const [brief, ended] = [unique('c'), unique('c')];
    await connectClient(t, broker.port, { clientId: brief });
    const client = await connectClient(t, broker.port, { ...options, clientId: ended });
    await client.disconnect(0, { sessionExpiry: 0 });
    const fence = await connectClient(t, broker.port);
    await fence.publish(unique('fence/'), 'x', { qos: 1, retain: true }); // on disk, with all before

    await end(broker, how);

    for (const clientId of [brief, ended]) {
      const next = await connectClient(t, broker.port, { ...options, clientId });
      assert.equal(next.connack?.sessionPresent, false, clientId === brief ? 'brief' : 'ended');
    }
  });

  test(`[MQTT-3.1.2-8] [MQTT-3.1.2-10] after a ${how}: a delayed will still comes, a dropped one does not`, {
    skip,
  }, async (t) => {
    const broker = await begin(t);
    const topic = unique('will/');
    const watcherId = unique('c');
    const watcher = await connectClient(t, broker.port, { ...options, clientId: watcherId });
    await watcher.subscribe(topic, 1);
    await watcher.disconnect();
    const will = (payload: string) => ({ topic, payload, qos: 1, properties: { willDelay: 2 } });
    const dying = await connectClient(t, broker.port, {
      ...options,
      clientId: unique('c'),
      will: will('delayed'),
    });
    const polite = await connectClient(t, broker.port, {
      ...options,
      clientId: unique('c'),
      will: will('dropped'),
    });
    await polite.disconnect();
    dying.drop();
    await dying.hungUp();
    const fence = await connectClient(t, broker.port);
    await fence.publish(unique('fence/'), 'x', { qos: 1, retain: true }); // on disk, with all before

    await end(broker, how);

    const back = await connectClient(t, broker.port, { ...options, clientId: watcherId });
    assert.equal((await back.receive(10_000)).payload, 'delayed');
    await nothingReaches(back, back);
  });
}
