/**
 * Every queue has an end: connections that would fill the broker's memory, one kind a test.
 *
 * Memory is compared with the documented bounds, times a generous factor: what is looked for is
 * growth with the attack, not its exact price.
 */
import { strict as assert } from 'node:assert';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { residentBytes, watchMemory } from '../harness/broker-numbers.ts';
import { connectBytes, field, packet, sharedBroker, startBroker, u16 } from '../harness/index.ts';
import { peerConnect, peerPublish, SwarmPeer } from '../harness/swarm-peer.ts';
import { until } from '../harness/until.ts';
import { connectClient, unique } from '../harness/v5-client.ts';
import { publishPacket } from '../harness/v5-packets.ts';

const MIB = 1024 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
const broker = sharedBroker();

interface RawSocket {
  readonly socket: Socket;
  /** All that came. */
  received(): Buffer;
  isClosed(): boolean;
}

async function openRaw(t: TestContext, port: number): Promise<RawSocket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const chunks: Buffer[] = [];
  let closed = false;
  socket.on('data', (chunk: Buffer) => void chunks.push(chunk));
  socket.on('error', () => undefined);
  socket.on('end', () => {
    closed = true;
  });
  socket.on('close', () => {
    closed = true;
  });
  t.after(() => void socket.destroy());
  await once(socket, 'connect');
  return { socket, received: () => Buffer.concat(chunks), isClosed: () => closed };
}

test('sockets that never say CONNECT are closed, silent ones and slow ones', async (t) => {
  const silent: RawSocket[] = [];
  const slow: RawSocket[] = [];
  for (let i = 0; i < 50; i++) {
    silent.push(await openRaw(t, broker.port));
    slow.push(await openRaw(t, broker.port));
  }
  const bytes = connectBytes({ payload: [field('x'.repeat(200))] });
  let at = 0;
  const trickle = setInterval(() => {
    for (const { socket } of slow) if (socket.writable) socket.write(bytes.subarray(at, at + 1));
    at++;
  }, 200);
  t.after(() => clearInterval(trickle));

  await until(
    () => [...silent, ...slow].every((one) => one.isClosed()),
    () => `${[...silent, ...slow].filter((one) => !one.isClosed()).length} are still open`,
    CONNECT_TIMEOUT_MS * 2,
  );
  assert.ok(at < bytes.length, 'no CONNECT was complete');
  for (const one of [...silent, ...slow]) assert.equal(one.received().length, 0);
});

test('a connected client that never completes a packet is closed by its keep alive', async (t) => {
  const client = await openRaw(t, broker.port);
  client.socket.write(peerConnect({ clientId: unique('c'), clean: true, keepAliveSeconds: 2 }));
  const bytes = peerPublish(4, 'slow', 'x'.repeat(1_000));
  let at = 0;
  const trickle = setInterval(() => {
    if (client.socket.writable) client.socket.write(bytes.subarray(at, at + 1));
    at++;
  }, 100);
  t.after(() => clearInterval(trickle));

  await until(
    () => client.isClosed(),
    () => 'it is still open',
    15_000,
  );
});

test('a flood of CONNECTs: each is accepted or told why not', async (t) => {
  const countMax = 2_000;
  const flooded = await startBroker(t, {
    args: ['--max-connections', String(countMax), '--connect-rate', '2000'],
  });
  const codes = new Map<number, number>();
  const peers: SwarmPeer[] = [];
  t.after(() => {
    for (const peer of peers) peer.drop();
  });
  const count = 2_800;
  let unheard = 0;
  for (let i = 0; i < count; i++) {
    let answered = false;
    const connectOptions = { clientId: `flood-${i}`, clean: true, version: 5 as const };
    peers.push(
      new SwarmPeer(flooded.port, connectOptions, {
        connack: (code) => {
          answered = true;
          codes.set(code, (codes.get(code) ?? 0) + 1);
        },
        close: () => {
          if (!answered) unheard++;
        },
      }),
    );
    if (i % 200 === 199) await delay(1);
  }

  const answers = (): number => [...codes.values()].reduce((sum, one) => sum + one, 0);
  await until(
    () => answers() + unheard === count,
    () => `${answers()} of ${count} answered, ${unheard} closed`,
    30_000,
  );
  assert.equal(unheard, 0, 'closed without a word');
  for (const code of codes.keys()) {
    assert.ok([0, 0x89, 0x97, 0x9f].includes(code), `code 0x${code.toString(16)}`);
  }
  assert.ok(codes.get(0)! <= countMax, `${codes.get(0)} accepted where ${countMax} may be`);
  assert.ok(codes.get(0)! >= countMax / 2, `only ${codes.get(0)} accepted`);
  for (const peer of peers) peer.drop();
  await connectEventually(t, flooded.port);
});

/** Once the flood is over, somebody new is served. */
async function connectEventually(t: TestContext, port: number): Promise<void> {
  await until(
    async () => {
      let code = -1;
      const peer = new SwarmPeer(
        port,
        { clientId: unique('c'), clean: true },
        {
          connack: (one) => {
            code = one;
          },
        },
      );
      t.after(() => peer.drop());
      await until(
        () => code >= 0 || peer.isClosed,
        () => 'no answer',
      );
      return code === 0;
    },
    () => 'nobody new is served',
  );
}

test('large packets that trickle in on many connections: their bytes are bounded', async (t) => {
  const own = await startBroker(t);
  const before = residentBytes(own.pid);
  const memory = watchMemory(t, own.pid);
  const size = 16 * MIB - 100;
  const whole = peerPublish(4, 'large', Buffer.alloc(size, 'x'));
  const clients: RawSocket[] = [];
  for (let i = 0; i < 30; i++) {
    const client = await openRaw(t, own.port);
    client.socket.write(peerConnect({ clientId: `large-${i}`, clean: true }));
    clients.push(client);
  }

  // Nearly all of each packet: 450 MiB in all, where 256 are allowed.
  const step = 512 * 1024;
  for (let at = 0; at < 15 * MIB; at += step) {
    for (const { socket } of clients) {
      if (socket.writable) socket.write(whole.subarray(at, at + step));
    }
    await until(
      () => clients.every(({ socket }) => socket.destroyed || socket.writableLength === 0),
      () => 'the broker does not read',
      20_000,
      2,
    );
  }

  await until(
    () => clients.some((one) => one.isClosed()),
    () => 'all 450 MiB were taken',
  );
  const open = clients.filter((one) => !one.isClosed());
  assert.ok(open.length >= 10, `only ${open.length} were served`);
  assert.ok(memory.most() - before < 768 * MIB, `grew by ${(memory.most() - before) / MIB} MiB`);
  for (const { socket } of clients) socket.resetAndDestroy();
  const client = await connectClient(t, own.port);
  assert.equal(await client.publish('large', Buffer.alloc(size, 'y'), { qos: 1 }), 0x10);
});

test('[MQTT-3.3.4-7] QoS 2 ids that are never released: 5.0 clients are held to the Receive Maximum', async (t) => {
  const client = await connectClient(t, broker.port);
  const most = client.connack!.properties.receiveMaximum!;
  assert.ok(most > 0);
  for (let id = 1; id <= most; id++) {
    client.send(publishPacket('greedy', 'x', { qos: 2, packetId: id }));
  }
  for (let id = 1; id <= most; id++) await client.next('pubrec');

  client.send(publishPacket('greedy', 'x', { qos: 2, packetId: most + 1 }));

  await client.disconnected(0x93);
});

test('QoS 2 ids that are never released: 3.1.1 clients take all there are, and no more', async (t) => {
  const before = residentBytes(broker.process.pid);
  const clientId = unique('c');
  let received = 0;
  const peer: SwarmPeer = new SwarmPeer(
    broker.port,
    { clientId, clean: true },
    {
      connack: () => {
        for (let round = 0; round < 2; round++) {
          for (let id = 1; id <= 65_535; id++) {
            peer.publish('greedy', 'x', { qos: 2, packetId: id, dup: round > 0 });
          }
        }
      },
      ack: (name) => {
        if (name === 'pubrec') received++;
      },
    },
  );
  t.after(() => peer.drop());

  await until(
    () => received === 2 * 65_535,
    () => `${received} PUBRECs`,
    30_000,
  );
  assert.ok(residentBytes(broker.process.pid) - before < 64 * MIB);
});

test('garbage in place of CONNECT is closed at once, and costs nothing', async (t) => {
  const before = residentBytes(broker.process.pid);
  for (let i = 0; i < 300; i++) {
    const raw = await openRaw(t, broker.port);
    raw.socket.write(packet(0x30 + (i % 16), field('no/connect'), u16(i)));
    await until(
      () => raw.isClosed(),
      () => 'still open',
      5_000,
      1,
    );
  }
  assert.ok(residentBytes(broker.process.pid) - before < 32 * MIB);
});
