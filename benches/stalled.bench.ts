/**
 * Does a subscriber that stops reading slow down the others? A thousand of them take 50,000
 * messages a second, alone and then beside one that was flooded and reads nothing; both in the
 * same run, three times in turn, as one machine's hour is not another's.
 *
 * `taskset -c 1 node --conditions=source benches/stalled.bench.ts [ternmq|mosquitto]`
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { encodeConnect, encodeRing, encodeSubscribe } from '../src/cli/load/frames.ts';
import { Histogram } from '../src/cli/load/histogram.ts';
import { BROKERS, startBroker } from './brokers.ts';

const SUBSCRIBERS = 1_000;
const MESSAGES_A_SECOND = 50;
const MEASURE_MS = 6_000;
const FLOOD_BYTES = 48 * 1024 * 1024;
const FLOOD_PAYLOAD_BYTES = 16 * 1024;
const TOPIC = 'stalled/news';
const FLOOD_TOPIC = 'stalled/flood';
const ROUNDS = 3;

const wanted = process.argv[2] ?? 'ternmq';
const broker = BROKERS.find(({ name }) => name === wanted);
if (broker === undefined) throw new Error(`no broker is called ${wanted}`);
const running = await startBroker(broker, true);
const { port } = running.endpoint;
const results = await compare();
for (const [name, { delivered, p50, p99, max }] of Object.entries(results)) {
  const figures = [p50, p99, max].map((ms) => ms.toFixed(2)).join(' / ');
  process.stdout.write(`${name}: ${delivered} delivered, p50 / p99 / max ${figures} ms\n`);
}
await running.stop();

interface Figures {
  readonly delivered: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

async function compare(): Promise<Record<string, Figures>> {
  const latencyUs = new Histogram();
  const subscribers: Socket[] = [];
  for (let i = 0; i < SUBSCRIBERS; i++) {
    const socket = await open(`s${i}`);
    await subscribe(socket, TOPIC);
    socket.on('data', (chunk: Buffer) => note(chunk, latencyUs));
    subscribers.push(socket);
  }
  const publisher = await open('publisher');
  const results: Record<string, Figures> = {};
  for (let round = 1; round <= ROUNDS; round++) {
    results[`alone ${round}`] = await measure(publisher, latencyUs);
    const stalled = await open('stalled');
    await subscribe(stalled, 'stalled/#');
    stalled.pause();
    await flood();
    results[`beside it ${round}`] = await measure(publisher, latencyUs);
    stalled.resetAndDestroy();
    await delay(500);
  }
  for (const socket of [...subscribers, publisher]) socket.destroy();
  return results;
}

/** Messages at an even rate, each stamped with the time it was due. */
async function measure(publisher: Socket, latencyUs: Histogram): Promise<Figures> {
  await delay(500);
  latencyUs.reset();
  const startMs = performance.now();
  const count = (MEASURE_MS * MESSAGES_A_SECOND) / 1_000;
  for (let i = 0; i < count; i++) {
    const dueMs = startMs + (i * 1_000) / MESSAGES_A_SECOND;
    const leftMs = dueMs - performance.now();
    if (leftMs > 0) await delay(leftMs);
    const payload = Buffer.alloc(128);
    payload.writeDoubleBE(performance.now(), 0);
    publisher.write(frame(TOPIC, payload));
  }
  await delay(500);
  const ms = (fraction: number): number => latencyUs.percentile(fraction) / 1_000;
  return { delivered: latencyUs.total, p50: ms(0.5), p99: ms(0.99), max: latencyUs.max / 1_000 };
}

/** A frame starts a chunk here: there are 20 ms between two messages. */
function note(chunk: Buffer, latencyUs: Histogram): void {
  const payloadAt = 2 + 1 + 2 + TOPIC.length;
  const size = payloadAt + 128;
  for (let at = 0; at + size <= chunk.length; at += size) {
    latencyUs.record((performance.now() - chunk.readDoubleBE(at + payloadAt)) * 1_000);
  }
}

/** More than any buffer between the broker and the stalled subscriber holds. */
async function flood(): Promise<void> {
  const socket = await open('flooder');
  const bytes = frame(FLOOD_TOPIC, Buffer.alloc(FLOOD_PAYLOAD_BYTES));
  for (let sent = 0; sent < FLOOD_BYTES; sent += bytes.length) {
    if (!socket.write(bytes)) await once(socket, 'drain');
  }
  await delay(500);
  socket.end();
}

function frame(topic: string, payload: Uint8Array): Buffer {
  const options = { protocol: 4, topics: [topic], payload, qos: 0, retain: false } as const;
  return encodeRing({ ...options, countMin: 1, bytesMin: 0 }).bytes;
}

async function open(clientId: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  socket.on('error', () => {});
  const options = { protocol: 4, clientId, clean: true, keepAliveSeconds: 0 } as const;
  const nobody = { userName: undefined, password: undefined, sessionExpirySeconds: 0 };
  socket.write(encodeConnect({ ...options, ...nobody }));
  await once(socket, 'data');
  return socket;
}

async function subscribe(socket: Socket, filter: string): Promise<void> {
  socket.write(encodeSubscribe(4, 1, filter, 0));
  await once(socket, 'data');
}
