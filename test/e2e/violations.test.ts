/** Broken rules are counted in all and by kind, where an operator sees them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test, type TestContext } from 'node:test';
import { METRICS, type Metrics } from '#telemetry';
import { startBroker } from '../harness/broker-process.ts';
import {
  connectBytes,
  connectRaw,
  field,
  hex,
  introduce,
  openSocket,
  packet,
  u16,
  type WireClient,
} from '../harness/index.ts';

/** Between two times of telling them. */
const PERIOD_MS = 10_000;

type Counter = keyof Metrics;

/** After a CONNECT of 5.0 that is accepted, unless it is the CONNECT itself. */
const VIOLATIONS: readonly (readonly [Counter, Buffer])[] = [
  ['violationsMalformedPacket', packet(0x30, u16(500), Buffer.from('short'))],
  ['violationsProtocolError', packet(0xd0)], // PINGRESP from a client
  ['violationsTopicName', packet(0x30, field('a/#'), hex('00'))],
  ['violationsTopicAlias', packet(0x30, field('a'), hex('03 23 ffff'))],
  ['violationsPacketTooLarge', hex('30 ff ff ff 7f')],
];
const FIRST: readonly (readonly [Counter, Buffer])[] = [
  ['violationsVersion', packet(0x10, field('MQTT'), hex('09 02 0000 00'), field('a'))],
  ['violationsClientId', packet(0x10, field('MQTT'), hex('04 00 0000'), field(''))],
  ['violationsProtocolError', packet(0xc0)],
];

test('each kind of violation adds to its number, and to the one of all', async (t) => {
  const broker = await startBroker(t, { memory: true });
  const accepted = connectBytes({ level: 5, payload: [field('')] });
  for (const [, bytes] of VIOLATIONS) await untilClosed(t, broker.port, accepted, bytes);
  for (const [, bytes] of FIRST) await untilClosed(t, broker.port, bytes);

  const numbers = await counted(await connectRaw({ port: broker.port, t }));
  const all = [...VIOLATIONS, ...FIRST];
  assert.equal(numbers.get('protocolViolations'), all.length);
  for (const name of Object.keys(METRICS).filter((one) => one.startsWith('violations'))) {
    const expected = all.filter(([counter]) => counter === name).length;
    assert.equal(numbers.get(name), expected, name);
  }
});

test('what a door refuses is counted by its reason', async (t) => {
  const listen = ['mqtt://127.0.0.1:0', 'ws://127.0.0.1:0/mqtt'];
  const broker = await startBroker(t, { memory: true, listen, args: ['--proxy-protocol'] });
  const [tcp, ws] = broker.urls.map((url) => Number(new URL(url).port));
  const proxied = 'PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n';
  await untilClosed(t, tcp!, Buffer.from('no PROXY header\r\n'));
  await untilClosed(t, ws!, Buffer.from(`${proxied}GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n`));
  await untilClosed(t, ws!, Buffer.from(`${proxied}GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n`));

  const client = await openSocket(tcp!, 4, t);
  client.sendBytes(Buffer.from(proxied));
  const numbers = await counted(await introduce(client));
  const doors = [...numbers].filter(([name, value]) => name.startsWith('door') && value > 0);
  assert.deepEqual(Object.fromEntries(doors), { doorProxyHeader: 1, doorHttpRequest: 2 });
});

/** Sends it all; resolves once the broker has closed. */
async function untilClosed(t: TestContext, port: number, ...all: Buffer[]): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' });
  t.after(() => socket.destroy());
  socket.on('error', () => {});
  socket.resume();
  for (const bytes of all) socket.write(bytes);
  await once(socket, 'close');
}

/** Every number, once they are told. */
async function counted(client: WireClient): Promise<ReadonlyMap<string, number>> {
  await client.subscribe('$SYS/broker/+');
  const found = new Map<string, number>();
  while (!found.has('loopLatenessMs')) {
    const { topic, payload } = await client.next('publish', PERIOD_MS * 2);
    found.set(topic!.slice('$SYS/broker/'.length), Number(payload));
  }
  return found;
}
