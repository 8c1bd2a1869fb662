/**
 * MQTT 5.0, chapter 6: MQTT over WebSocket.
 *
 * The frames are made by `ws`; what is in them is made here, cut and joined at will.
 */
import { strict as assert } from 'node:assert';
import { once } from 'node:events';
import { test, type TestContext } from 'node:test';
import { WebSocket } from 'ws';

import { againstPeer, sharedBroker } from '../harness/index.ts';
import { PATIENCE_MS, unique } from '../harness/v5-client.ts';
import { type BrokerPacket, decodeBrokerPackets } from '../harness/v5-decode.ts';
import {
  bytes,
  connectPacket,
  disconnectPacket,
  frame,
  PINGREQ,
  publishPacket,
  subscribePacket,
} from '../harness/v5-packets.ts';

const broker = sharedBroker({ listen: ['ws://127.0.0.1:0'] });

/** A WebSocket and the packets that came through it. */
class Web {
  readonly socket: WebSocket;
  readonly packets: BrokerPacket[] = [];
  isClosed = false;
  allBinary = true;
  #unread: Buffer = Buffer.alloc(0);
  #wake: () => void = () => undefined;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      this.allBinary &&= isBinary;
      this.#unread = Buffer.concat([this.#unread, data]);
      const { packets, taken } = decodeBrokerPackets(this.#unread);
      this.#unread = this.#unread.subarray(taken);
      this.packets.push(...packets);
      this.#wake();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  async next(): Promise<BrokerPacket> {
    await this.#until(() => this.packets.length > 0 || this.isClosed, 'a packet');
    const packet = this.packets.shift();
    assert.ok(packet !== undefined, 'closed while waiting for a packet');
    return packet;
  }

  async closed(): Promise<void> {
    await this.#until(() => this.isClosed, 'the close');
  }

  async #until(fact: () => boolean, what: string): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    while (!fact()) {
      const leftMs = deadline - Date.now();
      assert.ok(leftMs > 0, `in vain: waiting for ${what}`);
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, leftMs);
      });
      clearTimeout(timer);
    }
  }
}

async function open(t: TestContext, protocols: string[] = ['mqtt']): Promise<Web> {
  const url = new URL(broker.urls[0] ?? '');
  const socket = new WebSocket(url.href, protocols);
  t.after(() => socket.terminate());
  const web = new Web(socket);
  await once(socket, 'open');
  return web;
}

async function connected(t: TestContext): Promise<Web> {
  const web = await open(t);
  web.socket.send(connectPacket({ clientId: unique('w') }));
  const connack = await web.next();
  assert.deepEqual([connack.type, connack.reason], ['connack', 0]);
  return web;
}

test('[MQTT-6.0.0-4] the broker picks the subprotocol mqtt, whatever else is offered', async (t) => {
  for (const offer of [['mqtt'], ['something', 'mqtt'], ['mqtt', 'something']]) {
    const web = await open(t, offer);
    assert.equal(web.socket.protocol, 'mqtt');
  }
});

test('[MQTT-6.0.0-4] a client that does not offer mqtt is given no other subprotocol', async (t) => {
  const url = new URL(broker.urls[0] ?? '');
  const socket = new WebSocket(url.href, ['something']);
  t.after(() => socket.terminate());

  const outcome = await new Promise<string>((resolve) => {
    socket.on('open', () => resolve(`opened with '${socket.protocol}'`));
    socket.on('error', () => resolve('refused'));
  });

  assert.ok(['refused', "opened with ''"].includes(outcome), outcome);
});

test('[MQTT-6.0.0-1] the broker sends binary frames', async (t) => {
  const web = await connected(t);
  const topic = unique('w/');

  web.socket.send(subscribePacket(1, [[topic, 0]]));
  web.socket.send(publishPacket(topic, 'plain ASCII'));

  assert.equal((await web.next()).type, 'suback');
  assert.equal((await web.next()).payload, 'plain ASCII');
  assert.ok(web.allBinary);
});

test('[MQTT-6.0.0-1] a text frame makes the broker close', async (t) => {
  const web = await connected(t);

  web.socket.send(PINGREQ.toString('latin1'), { binary: false });

  await web.closed();
  assert.ok(web.packets.every((packet) => packet.type === 'disconnect'));
});

test('[MQTT-6.0.0-1] a text frame instead of CONNECT makes the broker close without a word', async (t) => {
  const web = await open(t);

  web.socket.send('hello', { binary: false });

  await web.closed();
  assert.deepEqual(web.packets, []);
});

test('[MQTT-6.0.0-2] several packets in one frame', async (t) => {
  const web = await open(t);
  const topic = unique('w/');

  web.socket.send(
    bytes(
      connectPacket({ clientId: unique('w') }),
      subscribePacket(1, [[topic, 0]]),
      publishPacket(topic, 'one'),
      publishPacket(topic, 'two'),
      PINGREQ,
    ),
  );

  const types = [];
  for (let count = 0; count < 5; count++) types.push((await web.next()).type);
  assert.deepEqual(types, ['connack', 'suback', 'publish', 'publish', 'pingresp']);
});

test('[MQTT-6.0.0-2] one packet in many frames, and frames that end inside a packet', async (t) => {
  const web = await open(t);
  const topic = unique('w/');
  const stream = bytes(
    connectPacket({ clientId: unique('w') }),
    subscribePacket(1, [[topic, 0]]),
    publishPacket(topic, 'x'.repeat(300)),
    PINGREQ,
  );

  for (let at = 0; at < stream.length; at += 3) {
    web.socket.send(stream.subarray(at, at + 3));
    if (at % 30 === 0) web.socket.send(Buffer.alloc(0)); // an empty frame holds nothing
  }

  const types = [];
  for (let count = 0; count < 4; count++) types.push((await web.next()).type);
  assert.deepEqual(types, ['connack', 'suback', 'publish', 'pingresp']);
});

test('[MQTT-6.0.0-2] [MQTT-4.2.0-1] a fragmented message is read as one stream too', async (t) => {
  const web = await connected(t);
  const packet = publishPacket(unique('w/'), 'x', { qos: 1, packetId: 3 });

  web.socket.send(packet.subarray(0, 4), { fin: false });
  web.socket.send(packet.subarray(4, 6), { fin: false });
  web.socket.send(packet.subarray(6), { fin: true });

  const puback = await web.next();
  assert.deepEqual([puback.type, puback.packetId], ['puback', 3]);
});

test('[MQTT-4.13.1-1] faults are answered as on TCP', { skip: againstPeer }, async (t) => {
  const web = await connected(t);

  web.socket.send(frame(0xc1));

  const packet = await web.next();
  assert.deepEqual([packet.type, packet.reason], ['disconnect', 0x81]);
  await web.closed();
});

test('[MQTT-3.14.4-2] DISCONNECT over WebSocket is answered by the close', async (t) => {
  const web = await connected(t);

  web.socket.send(disconnectPacket());

  await web.closed();
  assert.deepEqual(web.packets, []);
});

test('[MQTT-3.1.2-8] a WebSocket closed without DISCONNECT publishes the will', async (t) => {
  const topic = unique('will/');
  const watcher = await connected(t);
  watcher.socket.send(subscribePacket(1, [[topic, 0]]));
  await watcher.next();
  const web = await open(t);
  web.socket.send(connectPacket({ clientId: unique('w'), will: { topic, payload: 'gone' } }));
  await web.next();

  web.socket.close();

  assert.equal((await watcher.next()).payload, 'gone');
});
