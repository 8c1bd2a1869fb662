/**
 * What a client sent before it closed its connection counts, also where the broker was not ready
 * to read it: its last message arrives, and its DISCONNECT keeps the will from being sent.
 */
import { strict as assert } from 'node:assert';
import { connect as connectSocket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { HeldDisk } from '../harness/held-disk.ts';
import { openLocalBroker, openLocalDoor } from '../harness/local-broker.ts';
import { connectClient, type V5Client } from '../harness/v5-client.ts';
import {
  bytes,
  connectPacket,
  type ConnectOptions,
  disconnectPacket,
  publishPacket,
} from '../harness/v5-packets.ts';

const COUNT = 200;

/** Says all of it in one go and closes, as a script does that has something to tell. */
function sayAndClose(port: number, ...packets: readonly Uint8Array[]): Promise<void> {
  return new Promise((resolve) => {
    const socket = connectSocket({ port, host: '127.0.0.1' });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve());
    socket.resume(); // what comes is not looked at
    socket.on('connect', () => socket.end(bytes(...packets)));
  });
}

function speaker(clientId: string): Required<Pick<ConnectOptions, 'clientId' | 'will'>> {
  return { clientId, will: { topic: 'will', payload: 'gone without a word' } };
}

function messages(count: number): Buffer[] {
  return Array.from({ length: count }, (_, index) => publishPacket('t', `${index}`, { qos: 0 }));
}

/** Hears what is said on `topic`, and the will. */
async function listen(t: TestContext, port: number, topic: string): Promise<V5Client> {
  const listener = await connectClient(t, port);
  await listener.subscribe([
    [topic, 0],
    ['will', 0],
  ]);
  return listener;
}

async function takes(listener: V5Client, count: number): Promise<void> {
  for (let i = 0; i < count; i++) assert.equal((await listener.message()).payload, `${i}`);
}

test('more messages than a turn takes, then DISCONNECT and the end', async (t) => {
  const broker = await openLocalBroker(t, { limits: { turnWorkMax: 10 } });
  const port = await openLocalDoor(t, broker);
  const listener = await listen(t, port, 't');

  await sayAndClose(port, connectPacket(speaker('s')), ...messages(COUNT), disconnectPacket());

  await takes(listener, COUNT);
  await listener.idle();
  assert.equal(broker.connections.size, 1, 'nothing is left of the other one');
});

test('without DISCONNECT the will follows the last message', async (t) => {
  const broker = await openLocalBroker(t, { limits: { turnWorkMax: 10 } });
  const port = await openLocalDoor(t, broker);
  const listener = await listen(t, port, 't');

  await sayAndClose(port, connectPacket(speaker('s')), ...messages(COUNT));

  await takes(listener, COUNT);
  assert.equal((await listener.message()).topic, 'will');
});

test('CONNECT, a message and DISCONNECT are read though the decision takes longer', async (t) => {
  const disk = new HeldDisk();
  const broker = await openLocalBroker(t, { engine: disk.engine });
  t.after(() => disk.release());
  const port = await openLocalDoor(t, broker);
  const listener = await listen(t, port, 't');
  disk.hold(); // the session is durable: its row is waited for

  const said = sayAndClose(
    port,
    connectPacket({ ...speaker('s'), properties: { sessionExpiry: 60 } }),
    ...messages(1),
    disconnectPacket(),
  );
  await said;
  await listener.idle();
  disk.release();

  await takes(listener, 1);
  await listener.idle();
  assert.equal(broker.connections.size, 1, 'nothing is left of the other one');
});

test('what stands behind messages for a slow subscriber is read', async (t) => {
  const limits = { pendingCountHigh: 2, stallMs: 20, holdMs: 40 };
  const broker = await openLocalBroker(t, { limits });
  const port = await openLocalDoor(t, broker);
  const slow = await connectClient(t, port, { properties: { receiveMaximum: 1 } });
  await slow.subscribe('t', 1);
  const listener = await listen(t, port, 'other');
  const toSlow = Array.from({ length: 20 }, (_, index) =>
    publishPacket('t', `${index}`, { qos: 1, packetId: index + 1 }),
  );

  await sayAndClose(
    port,
    connectPacket(speaker('s')),
    ...toSlow,
    publishPacket('other', 'last', { qos: 0 }),
    disconnectPacket(),
  );

  assert.equal((await listener.message()).payload, 'last');
  await listener.idle();
});
