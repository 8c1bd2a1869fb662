/**
 * MQTT 3.1.1, chapter 6: MQTT in binary WebSocket frames.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { createWebSocketStream, WebSocket } from 'ws';
import {
  connectBytes,
  connectRaw,
  field,
  hex,
  introduce,
  packet,
  sharedBroker,
  u16,
  unique,
  WireClient,
} from '../harness/index.ts';

const broker = sharedBroker({ listen: ['ws://127.0.0.1:0/mqtt', 'mqtt://127.0.0.1:0'] });

async function openWebSocket(t: TestContext, protocols: string[] = ['mqtt']) {
  const url = broker.urls.find((one) => one.startsWith('ws://'))!;
  const socket = new WebSocket(url, protocols);
  const stream = createWebSocketStream(socket);
  const client = new WireClient(stream, 4);
  t.after(() => socket.terminate());
  await once(socket, 'open');
  return { socket, client };
}

const ACCEPTED = '20020000';

test('[MQTT-6.0.0-4] the broker picks the subprotocol mqtt', async (t) => {
  for (const offered of [['mqtt'], ['chat', 'mqtt'], ['mqtt', 'chat']]) {
    const { socket, client } = await openWebSocket(t, offered);
    assert.equal(socket.protocol, 'mqtt');
    await introduce(client);
    await client.nothing();
  }
});

test('[MQTT-6.0.0-1] what the broker sends comes in binary frames', async (t) => {
  const { socket, client } = await openWebSocket(t);
  const binary: boolean[] = [];
  socket.on('message', (_, isBinary) => binary.push(isBinary));
  await introduce(client);
  await client.nothing();
  assert.ok(binary.length > 0 && binary.every((one) => one));
});

test('[MQTT-6.0.0-1] a text frame closes the connection, the will goes out', async (t) => {
  const topic = unique('will/');
  const { client: watcher } = await openWebSocket(t);
  await introduce(watcher);
  await watcher.subscribe(topic);
  const { socket, client } = await openWebSocket(t);
  await introduce(client, { will: { topic, payload: 'gone' } });

  socket.send(hex('c0 00').toString('latin1'), { binary: false });

  assert.deepEqual(await client.closed(), []);
  assert.equal((await watcher.next('publish')).payload?.toString(), 'gone');
  await watcher.nothing();
});

test('[MQTT-6.0.0-1] CONNECT in a text frame closes the connection', async (t) => {
  const { socket, client } = await openWebSocket(t);
  const connect = connectBytes({ payload: [field(unique())] });
  socket.send(connect.toString('latin1'), { binary: false });
  assert.deepEqual(await client.closed(), []);
});

test('[MQTT-6.0.0-2] one frame may hold several packets', async (t) => {
  const topic = unique('t/');
  const { socket, client } = await openWebSocket(t);

  socket.send(
    Buffer.concat([
      connectBytes({ payload: [field(unique())] }),
      packet(0x82, u16(1), field(topic), hex('01')),
      packet(0x32, field(topic), u16(2), Buffer.from('one')),
      hex('c0 00'),
    ]),
  );

  assert.equal((await client.next()).raw.toString('hex'), ACCEPTED);
  assert.equal((await client.first('suback')).raw.toString('hex'), '9003000101');
  assert.equal((await client.first('puback')).raw.toString('hex'), '40020002');
  assert.equal((await client.first('publish')).payload?.toString(), 'one');
  await client.first('pingresp');
});

test('[MQTT-6.0.0-2] one packet may lie in several frames, cut anywhere', async (t) => {
  const topic = unique('t/');
  const { socket, client } = await openWebSocket(t);
  const said = Buffer.concat([
    connectBytes({ payload: [field(unique())] }),
    packet(0x82, u16(1), field(topic), hex('00')),
    packet(0x30, field(topic), Buffer.alloc(300, 0x61)),
  ]);

  for (const byte of said) socket.send(Buffer.from([byte]));

  assert.equal((await client.next()).raw.toString('hex'), ACCEPTED);
  await client.next('suback');
  assert.equal((await client.next('publish')).payload?.length, 300);
  await client.nothing();
});

test('[MQTT-6.0.0-2] a frame may end one packet and begin the next; empty frames mean nothing', async (t) => {
  const topic = unique('t/');
  const { socket, client } = await openWebSocket(t);
  await introduce(client);
  await client.subscribe(topic);
  const bytes = Buffer.concat([
    packet(0x30, field(topic), Buffer.from('first')),
    packet(0x30, field(topic), Buffer.from('second')),
  ]);
  const cut = bytes.length / 2 + 3;

  socket.send(bytes.subarray(0, cut));
  socket.send(Buffer.alloc(0));
  socket.send(bytes.subarray(cut));

  assert.equal((await client.next('publish')).payload?.toString(), 'first');
  assert.equal((await client.next('publish')).payload?.toString(), 'second');
  await client.nothing();
});

test('[MQTT-6.0.0-2] a message in WebSocket fragments is one stream of bytes as well', async (t) => {
  const topic = unique('t/');
  const { socket, client } = await openWebSocket(t);
  await introduce(client);
  await client.subscribe(topic);
  const publish = packet(0x30, field(topic), Buffer.from('in fragments'));

  socket.send(publish.subarray(0, 4), { fin: false });
  socket.send(publish.subarray(4, 9), { fin: false });
  socket.send(publish.subarray(9), { fin: true });

  assert.equal((await client.next('publish')).payload?.toString(), 'in fragments');
});

test('[MQTT-6.0.0-2] [MQTT-7.1.1-1] WebSocket and TCP clients meet, at every QoS, with large payloads', async (t) => {
  const topic = unique('t/');
  const { client: web } = await openWebSocket(t);
  await introduce(web);
  const mqtt = broker.urls.find((one) => one.startsWith('mqtt://'))!;
  const tcp = await connectRaw({ port: Number(new URL(mqtt).port), t });
  await web.subscribe(topic, 2);
  await tcp.subscribe(topic, 2);

  for (const qos of [0, 1, 2] as const) {
    for (const sender of [web, tcp]) {
      const payload = Buffer.alloc(100_000, qos + 1);
      await sender.publish(topic, payload, { qos });
      for (const receiver of [web, tcp]) {
        const got = await receiver.receive();
        assert.equal(got.qos, qos);
        assert.ok(got.payload!.equals(payload));
      }
    }
  }
});

test('[MQTT-3.14.4-3] [MQTT-6.0.0-2] DISCONNECT ends a WebSocket connection without will', async (t) => {
  const topic = unique('will/');
  const { client: watcher } = await openWebSocket(t);
  await introduce(watcher);
  await watcher.subscribe(topic);
  const { socket, client } = await openWebSocket(t);
  await introduce(client, { will: { topic, payload: 'gone' } });
  const closed = once(socket, 'close');

  client.sendBytes('e0 00');

  await closed;
  await watcher.nothing();
});
