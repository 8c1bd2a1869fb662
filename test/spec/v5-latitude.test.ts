/**
 * MQTT 5.0 where the standard leaves a choice, and beside the older versions.
 *
 * A choice is tested for being one of those allowed; that nobody else suffers by it is not left
 * open. Clients of 3.1.1 stand here only as the other end of a 5.0 client.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { againstPeer, connectRaw, sharedBroker, startBroker } from '../harness/index.ts';
import {
  connectClient,
  elapse,
  hex,
  nothingReaches,
  openClient,
  unique,
} from '../harness/v5-client.ts';
import {
  bytes,
  connectPacket,
  NO_LOCAL,
  publishPacket,
  RETAIN_AS_PUBLISHED,
  text,
} from '../harness/v5-packets.ts';

const broker = sharedBroker();

test('[MQTT-1.5.5-1] an integer longer than needed is read, or refused with 0x81', async (t) => {
  const client = await connectClient(t, broker.port);

  client.send(bytes(0xc0, 0x80, 0x80, 0x00));

  const packet = await client.next();
  if (packet.type === 'pingresp') return await client.idle();
  assert.deepEqual([packet.type, packet.reason], ['disconnect', 0x81]);
  await client.closed();
});

for (const [name, odd] of [
  ['U+0001', '\u0001'],
  ['U+001F', '\u001f'],
  ['U+007F', '\u007f'],
  ['U+009F', '\u009f'],
  ['U+FFFF', '\uffff'],
  ['U+FDD0', '\ufdd0'],
] as const) {
  test(`[MQTT-1.5.4-1] ${name} in a topic is passed on, or refused with 0x81`, async (t) => {
    const topic = `${unique('odd/')}${odd}`;
    const client = await connectClient(t, broker.port);
    const other = await connectClient(t, broker.port);
    await other.subscribe('odd/+');

    client.send(publishPacket(topic, 'x', { qos: 1, packetId: 1 }));

    const packet = await client.next();
    if (packet.type === 'puback') {
      const message = await other.message();
      assert.equal(message.topic, topic);
      assert.ok(message.bytes.includes(text(topic)));
    } else {
      assert.deepEqual([packet.type, packet.reason], ['disconnect', 0x81]);
    }
    await other.idle();
  });
}

test('[MQTT-2.2.1-3] a SUBSCRIBE under an id that is in use is refused with 0x91, or taken as new', async (t) => {
  const topic = unique('l/');
  const client = await connectClient(t, broker.port);
  client.sendPublish(topic, 'x', { qos: 2, packetId: 1 });
  await client.next('pubrec');

  const { reasons } = await client.subscribe(topic, 1);

  assert.ok(['0x01', '0x91'].includes(hex(reasons[0] ?? 0xff)));
  client.release(1);
  assert.equal((await client.find('pubcomp')).reason, 0);
});

test('[MQTT-3.1.4-2] a broker that is full refuses the next and keeps the others', {
  skip: againstPeer,
}, async (t) => {
  const own = await startBroker(t, { args: ['--max-connections', '2'] });
  const first = await connectClient(t, own.port);
  await connectClient(t, own.port);
  const third = await openClient(t, own.port);

  third.send(connectPacket({ clientId: unique('c') }));

  await third.hungUp();
  if (third.connack !== undefined) {
    assert.ok([0x88, 0x89, 0x97, 0x9f].includes(third.connack.reason), hex(third.connack.reason));
  }
  await first.idle();
});

test('[MQTT-3.3.2-17] a subscriber of 3.1.1 gets the message without its properties, and its real topic', async (t) => {
  const topic = unique('l/');
  const old = await connectRaw({ port: broker.port, t, version: 4 });
  await old.subscribe(topic, 1);
  const client = await connectClient(t, broker.port);
  const properties = {
    topicAlias: 1,
    contentType: 'c',
    messageExpiry: 100,
    userProperties: [['a', 'b']] as const,
  };

  await client.publish(topic, 'one', { qos: 1, properties });
  await client.publish('', 'two', { qos: 1, properties });

  for (const payload of ['one', 'two']) {
    const { raw, messageId = 0 } = await old.next('publish');
    const id = bytes(messageId >> 8, messageId & 0xff);
    assert.deepEqual(raw, bytes(0x32, topic.length + 4 + payload.length, text(topic), id, payload));
    old.send({ cmd: 'puback', messageId });
  }
});

test('[MQTT-3.3.2-5] a message that expires does so for an absent client of 3.1.1 too', async (t) => {
  const topic = unique('l/');
  const clientId = unique('c');
  const old = await connectRaw({ port: broker.port, t, version: 4, clientId, clean: false });
  await old.subscribe(topic, 1);
  old.send({ cmd: 'disconnect' });
  await old.closed();
  const client = await connectClient(t, broker.port);
  await client.publish(topic, 'short', { qos: 1, properties: { messageExpiry: 1 } });
  await client.publish(topic, 'long', { qos: 1, properties: { messageExpiry: 600 } });
  await elapse(2_200);

  const back = await connectRaw({ port: broker.port, t, version: 4, clientId, clean: false });

  const message = await back.next('publish');
  assert.equal(message.payload?.toString(), 'long');
  back.send({ cmd: 'puback', messageId: message.messageId ?? 0 });
  await back.nothing();
});

test('[MQTT-2.2.2-1] a message of a 3.1.1 publisher reaches a 5.0 subscriber without properties', async (t) => {
  const topic = unique('l/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(topic, 1 | RETAIN_AS_PUBLISHED);
  const old = await connectRaw({ port: broker.port, t, version: 4 });

  await old.publish(topic, 'x', { qos: 1, retain: true });

  const message = await client.receive();
  assert.deepEqual([message.payload, message.retain, message.properties], ['x', true, {}]);
});

test('[MQTT-4.1.0-2] a session made under 3.1.1 is continued under 5.0, and the other way round', async (t) => {
  const topic = unique('l/');
  const clientId = unique('c');
  const publisher = await connectClient(t, broker.port);
  const old = await connectRaw({ port: broker.port, t, version: 4, clientId, clean: false });
  await old.subscribe(topic, 1);
  old.send({ cmd: 'disconnect' });
  await old.closed();
  await publisher.publish(topic, 'one', { qos: 1 });

  const properties = { sessionExpiry: 60 };
  const client = await connectClient(t, broker.port, { clientId, cleanStart: false, properties });
  assert.equal(client.connack?.sessionPresent, true);
  assert.equal((await client.receive()).payload, 'one');
  await client.idle();
  await client.disconnect();
  await publisher.publish(topic, 'two', { qos: 1 });
  const again = await connectRaw({ port: broker.port, t, version: 4, clientId, clean: false });

  assert.equal(again.connack?.sessionPresent, true);
  assert.equal((await again.next('publish')).payload?.toString(), 'two');
});

test('[MQTT-3.8.3-3] No Local, live or retained, at every QoS, leaves other subscriptions of the client alone', async (t) => {
  const root = unique('l/');
  const client = await connectClient(t, broker.port);
  await client.subscribe(`${root}/+`, 2 | NO_LOCAL);
  await client.subscribe(`${root}/other`, 2);

  for (const qos of [0, 1, 2]) {
    await client.publish(`${root}/own`, 'own', { qos, retain: true });
    await client.publish(`${root}/other`, String(qos), { qos });
    assert.equal((await client.receive()).payload, String(qos));
  }
  await client.subscribe(`${root}/own`, 2 | NO_LOCAL);
  await nothingReaches(client, client);
});
