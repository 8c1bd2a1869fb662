/**
 * MQTT 3.1.1, chapter 4.1: session state lasts as long as the session, whatever befalls the broker.
 *
 * After an orderly stop and after kill -9 alike: what was acknowledged is there.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  againstPeer,
  type BrokerProcess,
  connectRaw,
  type Qos,
  type Received,
  startBroker,
  unique,
  type WireClient,
} from '../harness/index.ts';

const ends = {
  'a stop': async (broker: BrokerProcess) => broker.stop(),
  'kill -9': async (broker: BrokerProcess) => broker.kill(),
};

for (const [how, end] of Object.entries(ends)) {
  // mosquitto writes its state down every half hour, and loses the rest.
  const skip = againstPeer && how === 'kill -9';

  test(`[MQTT-4.1.0-1] [MQTT-3.1.2-4] [MQTT-3.1.2-7] after ${how}: sessions, queues, retained`, {
    skip,
  }, async (t) => {
    const broker = await startBroker(t);
    const connect = (clientId?: string): Promise<WireClient> =>
      connectRaw({ port: broker.port, t, ...(clientId ? { clientId, clean: false } : {}) });
    const topic = unique('t/');
    const clientId = unique();
    const transient = unique();
    const before = await connect(clientId);
    await before.subscribe([`${topic}/+`, `${topic}/gone`], 2);
    await before.unsubscribe(`${topic}/gone`);
    await before.disconnect();
    const clean = await connectRaw({ port: broker.port, t, clientId: transient });
    await clean.subscribe(`${topic}/#`, 2);
    const publisher = await connect();
    await publisher.publish(`${topic}/1`, 'queued', { qos: 1 });
    await publisher.publish(`${topic}/2`, 'kept', { qos: 2, retain: true });
    await publisher.publish(`${topic}/3`, 'kept', { qos: 1, retain: true });
    await publisher.publish(`${topic}/3`, '', { qos: 1, retain: true });

    await end(broker);
    await broker.restart();

    const after = await connect(clientId);
    assert.equal(after.connack?.sessionPresent, true);
    const got = [];
    for (let i = 0; i < 4; i++) got.push(await after.receive());
    const texts = got.map((one) => `${one.topic!.at(-1)} ${one.payload?.toString()} ${one.qos}`);
    assert.deepEqual(
      texts.sort((a, b) => a.localeCompare(b)),
      ['1 queued 1', '2 kept 2', '3  1', '3 kept 1'],
    );
    assert.ok(got.every((one) => !one.dup && !one.retain));
    await after.nothing();
    const again = await connect(transient);
    assert.equal(again.connack?.sessionPresent, false);
    const late = await connect();
    await late.subscribe(`${topic}/#`, 2);
    const kept = await late.receive();
    assert.deepEqual([kept.topic, kept.qos, kept.retain], [`${topic}/2`, 2, true]);
    await late.nothing();
    await late.publish(`${topic}/4`, 'live again', { qos: 1 });
    assert.equal((await after.receive()).payload?.toString(), 'live again');
  });

  test(`[MQTT-4.4.0-1] [MQTT-4.1.0-1] after ${how}: open messages come again with their ids`, {
    skip,
  }, async (t) => {
    const broker = await startBroker(t);
    const topic = unique('t/');
    const clientId = unique();
    const connect = (autoAck = false): Promise<WireClient> =>
      connectRaw({ port: broker.port, t, clientId, clean: false, autoAck });
    const before = await connect();
    await before.subscribe(topic, 2);
    const publisher = await connectRaw({ port: broker.port, t });
    for (let i = 0; i < 6; i++) {
      await publisher.publish(topic, String(i), { qos: (i < 3 ? 1 : 2) as Qos });
    }
    const open: Received[] = [];
    for (let i = 0; i < 6; i++) open.push(await before.first('publish'));
    open.sort((a, b) => Number(a.payload) - Number(b.payload));
    before.send({ cmd: 'puback', messageId: open[1]!.messageId });
    await before.ack(open[4]!);
    before.send({ cmd: 'pubrec', messageId: open[3]!.messageId });
    await before.first('pubrel', open[3]!.messageId);
    await before.nothing();

    await end(broker);
    await broker.restart();

    // What the client settled just before a crash may come again at QoS 1, never at QoS 2.
    const after = await connect(true);
    const heard: Received[] = [];
    const wanted = new Set(['publish 0', 'publish 2', 'publish 5', `pubrel ${open[3]!.messageId}`]);
    while (wanted.size > 0) {
      const one = await after.next();
      heard.push(one);
      wanted.delete(
        `${one.cmd} ${one.cmd === 'publish' ? one.payload?.toString() : one.messageId}`,
      );
    }
    const publishes = heard.filter((one) => one.cmd === 'publish');
    const ids = (index: number): number | undefined => open[index]!.messageId;
    for (const index of [0, 2, 5]) {
      const copy = publishes.find((one) => one.payload?.toString() === String(index));
      assert.deepEqual([copy?.messageId, copy?.dup], [ids(index), true], `message ${index}`);
    }
    for (const index of [3, 4]) {
      assert.ok(!publishes.some((one) => one.payload?.toString() === String(index)));
    }
    await after.first('pubrel', ids(5));
    after.sendBytes('c0 00');
    await after.first('pingresp');
    await after.disconnect();
    await (await connect()).nothing();
  });

  test(`[MQTT-4.3.3-2] [MQTT-4.1.0-1] after ${how}: a QoS 2 message half taken is not taken twice`, {
    skip,
  }, async (t) => {
    const broker = await startBroker(t);
    const topic = unique('t/');
    const clientId = unique();
    const reader = unique();
    const connect = (id: string): Promise<WireClient> =>
      connectRaw({ port: broker.port, t, clientId: id, clean: false });
    const subscriber = await connect(reader);
    await subscriber.subscribe(topic, 2);
    await subscriber.disconnect();
    const before = await connect(clientId);
    for (const messageId of [10, 11]) {
      before.sendPublish(topic, `message ${messageId}`, { qos: 2, messageId });
      assert.equal((await before.next('pubrec')).messageId, messageId);
    }
    before.send({ cmd: 'pubrel', messageId: 11 });
    await before.next('pubcomp');

    await end(broker);
    await broker.restart();

    const after = await connect(clientId);
    assert.equal(after.connack?.sessionPresent, true);
    after.sendPublish(topic, 'message 10', { qos: 2, messageId: 10, dup: true });
    assert.equal((await after.next()).raw.toString('hex'), '5002000a');
    after.send({ cmd: 'pubrel', messageId: 10 });
    assert.equal((await after.next()).raw.toString('hex'), '7002000a');
    after.send({ cmd: 'pubrel', messageId: 11 });
    assert.equal((await after.next()).raw.toString('hex'), '7002000b');
    after.sendPublish(topic, 'a new message 11', { qos: 2, messageId: 11 });
    await after.next('pubrec');
    after.send({ cmd: 'pubrel', messageId: 11 });
    await after.next('pubcomp');

    const back = await connect(reader);
    for (const text of ['message 10', 'message 11', 'a new message 11']) {
      assert.equal((await back.receive()).payload?.toString(), text);
    }
    await back.nothing();
  });
}

test('[MQTT-3.1.2-8] [MQTT-3.1.2-10] wills of clients online at kill -9 go out at the next start, once', {
  skip: againstPeer,
}, async (t) => {
  const broker = await startBroker(t);
  const topic = unique('will/');
  const reader = unique();
  const connect = (): Promise<WireClient> =>
    connectRaw({ port: broker.port, t, clientId: reader, clean: false });
  const before = await connect();
  await before.subscribe(`${topic}/+`, 1);
  await before.disconnect();
  const will = (name: string) => ({ topic: `${topic}/${name}`, payload: name, qos: 1 as Qos });
  await connectRaw({ port: broker.port, t, will: will('clean') });
  await connectRaw({ port: broker.port, t, will: will('kept'), clean: false });
  const left = await connectRaw({ port: broker.port, t, will: will('left') });
  await left.disconnect();
  // An acknowledged write behind the wills: they are on disk now.
  await (await connectRaw({ port: broker.port, t })).publish(`${topic}/last`, 'last', { qos: 1 });

  for (const text of ['first', 'second']) {
    await broker.kill();
    await broker.restart();
    // Acknowledged behind the wills of the start, which are then on disk as sent.
    const publisher = await connectRaw({ port: broker.port, t });
    await publisher.publish(`${topic}/start`, text, { qos: 1 });
    await publisher.disconnect();
  }

  const after = await connect();
  const texts = [];
  for (let i = 0; i < 5; i++) texts.push((await after.receive()).payload?.toString() ?? '');
  assert.deepEqual(
    texts.sort((a, b) => a.localeCompare(b)),
    ['clean', 'first', 'kept', 'last', 'second'],
  );
  await after.nothing();
});
