/**
 * MQTT 5.0, sections 3.1 and 3.2: a CONNECT that is not taken, and what comes before one.
 *
 * A refused CONNECT is answered by CONNACK with the code, then the close; data sent behind it
 * is never acted on (see `refusal`). Anything but a CONNECT is met by the close alone.
 */
import { strict as assert } from 'node:assert';
import { test } from 'node:test';

import { sharedBroker } from '../harness/index.ts';
import { connectClient, openClient, unique } from '../harness/v5-client.ts';
import {
  ackPacket,
  authPacket,
  bareProps,
  bytes,
  connectPacket,
  disconnectPacket,
  frame,
  PINGREQ,
  type Properties,
  props,
  publishPacket,
  subscribePacket,
  text,
  u16,
} from '../harness/v5-packets.ts';
import { refusal, silentClose, violation } from '../harness/v5-violation.ts';

const broker = sharedBroker();
const closedBroker = sharedBroker({ closed: true, peerConfiguration: ['allow_anonymous false'] });
const smallBroker = sharedBroker({
  args: ['--max-packet-size', '2048'],
  peerConfiguration: ['max_packet_size 2048'],
});

const MALFORMED = [0x81];
const PROTOCOL_ERROR = [0x82];
const EITHER = [0x81, 0x82];
const BROKEN = bytes('a', 0xff);
const BROKEN_PAIR = bytes(0x26, text('n'), text(BROKEN));
const WILL = { topic: 'will', payload: 'x' };

// biome-ignore format: a table reads in columns
const FIRST: readonly (readonly [string, Buffer])[] = [
  ['PUBLISH', publishPacket('t', 'x')],
  ['SUBSCRIBE', subscribePacket(1, [['t', 0]])],
  ['PUBACK', ackPacket('puback', 1)],
  ['PINGREQ', PINGREQ],
  ['DISCONNECT', disconnectPacket()],
  ['AUTH', authPacket(0x18, { authMethod: 'm' })],
  ['CONNACK', frame(0x20, 0, 0, 0)],
  ['packet type 0', frame(0x00)],
];
for (const [name, packet] of FIRST) {
  silentClose(
    broker,
    `[MQTT-3.1.0-1] [MQTT-3.14.0-1] [MQTT-3.2.0-1] ${name} before CONNECT`,
    bytes(packet, connectPacket({ clientId: 'late' }), PINGREQ),
  );
}

violation(
  broker,
  '[MQTT-3.1.0-2] a second CONNECT',
  connectPacket({ clientId: 'again' }),
  PROTOCOL_ERROR,
);

test('[MQTT-3.1.2-1] a protocol name that is not MQTT is refused', async (t) => {
  for (const protocolName of ['MQTX', 'mqtt', 'HTTP', '']) {
    const client = await openClient(t, broker.port);
    client.send(connectPacket({ clientId: unique(), protocolName }), PINGREQ);
    await refusedOrClosed(client, [0x84, 0x81]);
  }
});

test('[MQTT-3.1.2-2] a protocol version nobody knows is refused', async (t) => {
  for (const level of [6, 7, 0x7f]) {
    const client = await openClient(t, broker.port);
    client.send(connectPacket({ clientId: unique(), level }), PINGREQ);
    await refusedOrClosed(client, [0x84]);
  }
});

/** A close, with a fitting CONNACK of 5.0 or of 3.1.1 (code 1) before it or without any. */
async function refusedOrClosed(
  client: Awaited<ReturnType<typeof openClient>>,
  reasons: readonly number[],
): Promise<void> {
  let received = Buffer.alloc(0);
  client.socket.removeAllListeners('data');
  client.socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
  });
  await client.closed();
  const allowed = [
    bytes(),
    bytes(0x20, 2, 0, 1),
    ...reasons.map((reason) => bytes(0x20, 3, 0, reason, 0)),
  ];
  const bare = received[0] === 0x20 && (received[3] ?? 0) >= 0x80 && received[2] === 0;
  const known = allowed.some((one) => one.equals(received));
  assert.ok(known || (bare && reasons.includes(received[3] ?? 0)), received.toString('hex'));
}

const id = text('refused');
/** CONNECT with these flags and this payload, in place of what would fit together. */
function crooked(flags: number, ...payload: readonly (number | string | Uint8Array)[]): Buffer {
  return connectPacket({ flags, payload: bytes(...payload) });
}

// biome-ignore format: a table reads in columns
const MALFORMED_CONNECTS: readonly (readonly [string, Buffer])[] = [
  ['[MQTT-3.1.2-3] connect flag bit 0', crooked(0x03, id)],
  ['[MQTT-3.1.2-11] Will QoS 1 without a will', crooked(0x0a, id)],
  ['[MQTT-3.1.2-11] Will QoS 2 without a will', crooked(0x12, id)],
  ['[MQTT-3.1.2-13] Will Retain without a will', crooked(0x22, id)],
  ['[MQTT-3.1.2-12] Will QoS 3', crooked(0x1e, id, 0, text('w'), text('x'))],
  ['[MQTT-3.1.2-9] Will Flag and nothing behind the client id', crooked(0x06, id)],
  ['[MQTT-3.1.2-9] Will Flag and will properties only', crooked(0x06, id, 0)],
  ['[MQTT-3.1.2-9] Will Flag without will payload', crooked(0x06, id, 0, text('w'))],
  ['[MQTT-3.1.2-16] a user name nobody announced', crooked(0x02, id, text('user'))],
  ['[MQTT-3.1.2-17] a user name announced and missing', crooked(0x82, id)],
  ['[MQTT-3.1.2-18] a password nobody announced', crooked(0x82, id, text('user'), text('password'))],
  ['[MQTT-3.1.2-19] a password announced and missing', crooked(0xc2, id, text('user'))],
  ['[MQTT-3.1.2-19] a password alone announced and missing', crooked(0x42, id)],
  ['[MQTT-3.1.3-3] no client id', crooked(0x02)],
  ['[MQTT-3.1.3-3] half a length of a client id', crooked(0x02, 0)],
  ['[MQTT-3.1.3-4] client id that is not UTF-8', connectPacket({ clientId: BROKEN })],
  ['[MQTT-3.1.3-4] client id with U+0000', connectPacket({ clientId: bytes('a', 0) })],
  ['[MQTT-3.1.3-11] will topic that is not UTF-8', connectPacket({ clientId: 'w', will: { topic: BROKEN } })],
  ['[MQTT-3.1.3-11] will topic with U+0000', connectPacket({ clientId: 'w', will: { topic: bytes('a', 0) } })],
  ['[MQTT-3.1.3-12] user name that is not UTF-8', connectPacket({ clientId: 'u', username: BROKEN })],
  ['[MQTT-3.1.3-12] user name with U+0000', connectPacket({ clientId: 'u', username: bytes('a', 0) })],
  ['[MQTT-3.1.3-12] user name before the will', crooked(0x86, id, text('user'), 0, text('w'), text('x'))],
  ['[MQTT-3.1.4-1] CONNECT that ends before its keep alive', frame(0x10, text('MQTT'), 5, 2, 0)],
  ['[MQTT-3.1.4-1] CONNECT that ends before its Property Length', frame(0x10, text('MQTT'), 5, 2, 0, 0)],
  ['[MQTT-3.1.4-1] properties longer than the packet', frame(0x10, text('MQTT'), 5, 2, 0, 0, 9, 0x21)],
  ['[MQTT-3.1.4-1] a client id longer than the packet', crooked(0x02, u16(9), 'short')],
  ['[MQTT-3.1.4-1] bytes behind the last field', crooked(0x02, id, 7)],
  ['[MQTT-1.5.7-1] User Property that is not UTF-8', connectPacket({ clientId: 'p', properties: bytes(0x26, text(BROKEN), text('v')) })],
  ['[MQTT-1.5.7-1] will User Property that is not UTF-8', connectPacket({ clientId: 'p', will: { ...WILL, properties: BROKEN_PAIR } })],
  ['[MQTT-1.5.4-1] Authentication Method that is not UTF-8', connectPacket({ clientId: 'p', properties: bytes(0x15, text(BROKEN)) })],
  ['[MQTT-3.3.2-19] Content Type of the will that is not UTF-8', connectPacket({ clientId: 'p', will: { ...WILL, properties: bytes(0x03, text(BROKEN)) } })],
  ['[MQTT-3.3.2-13] Response Topic of the will that is not UTF-8', connectPacket({ clientId: 'p', will: { ...WILL, properties: bytes(0x08, text(BROKEN)) } })],
  ['[MQTT-3.1.4-1] an unknown property', connectPacket({ clientId: 'p', properties: bytes(0x7f, 0) })],
  ['[MQTT-3.1.4-1] a property of PUBLISH', connectPacket({ clientId: 'p', properties: { topicAlias: 1 } })],
  ['[MQTT-3.1.4-1] a property of the will outside it', connectPacket({ clientId: 'p', properties: { willDelay: 1 } })],
  ['[MQTT-3.1.4-1] a property cut short', connectPacket({ clientId: 'p', properties: bytes(0x11, 0, 0) })],
  ['[MQTT-3.1.4-1] an unknown will property', connectPacket({ clientId: 'p', will: { ...WILL, properties: bytes(0x7f, 0) } })],
  ['[MQTT-3.1.4-1] a Topic Alias in the will', connectPacket({ clientId: 'p', will: { ...WILL, properties: { topicAlias: 1 } } })],
];
for (const [name, connect] of MALFORMED_CONNECTS) {
  refusal(broker, `[MQTT-3.1.4-6] [MQTT-3.2.2-7] ${name}`, connect, MALFORMED);
}

/** A property of CONNECT that is wrong in itself. */
function withProperties(properties: Properties | Buffer): Buffer {
  return connectPacket({ clientId: 'p', properties });
}
// biome-ignore format: a table reads in columns
const WRONG_CONNECTS: readonly (readonly [string, Buffer])[] = [
  ['Receive Maximum 0', withProperties({ receiveMaximum: 0 })],
  ['Maximum Packet Size 0', withProperties({ maximumPacketSize: 0 })],
  ['Request Problem Information 2', withProperties({ requestProblem: 2 })],
  ['Request Response Information 2', withProperties({ requestResponse: 2 })],
  ['Authentication Data without method', withProperties({ authData: bytes(1, 2) })],
];
for (const [name, connect] of WRONG_CONNECTS) {
  refusal(broker, `[MQTT-3.1.4-1] [MQTT-4.13.1-1] ${name}`, connect, PROTOCOL_ERROR);
}
const ONCE: Properties = {
  sessionExpiry: 1,
  receiveMaximum: 9,
  maximumPacketSize: 100_000,
  topicAliasMaximum: 3,
  requestResponse: 1,
  requestProblem: 1,
  authMethod: 'm',
};
for (const [name, value] of Object.entries(ONCE)) {
  const bare = bareProps({ [name]: value });
  refusal(
    broker,
    `[MQTT-4.13.1-1] ${name} twice in CONNECT`,
    withProperties(bytes(bare, bare)),
    PROTOCOL_ERROR,
  );
}
const WILL_ONCE: Properties = {
  willDelay: 1,
  payloadFormat: 0,
  messageExpiry: 1,
  contentType: 'c',
  responseTopic: 'r',
  correlationData: bytes(1),
};
for (const [name, value] of Object.entries(WILL_ONCE)) {
  const bare = bareProps({ [name]: value });
  const connect = connectPacket({
    clientId: 'p',
    will: { ...WILL, properties: bytes(bare, bare) },
  });
  refusal(broker, `[MQTT-4.13.1-1] ${name} twice in the will`, connect, PROTOCOL_ERROR);
}

for (const topic of ['', 'a/+/b', 'a/#', '#']) {
  const connect = connectPacket({ clientId: 'w', will: { topic } });
  const name = `[MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-3.3.2-2] will topic '${topic}'`;
  refusal(broker, name, connect, [...EITHER, 0x90]);
}
for (const responseTopic of ['a/+', '#']) {
  const connect = connectPacket({
    clientId: 'w',
    will: { ...WILL, properties: { responseTopic } },
  });
  refusal(broker, `[MQTT-3.3.2-14] Response Topic '${responseTopic}' of a will`, connect, EITHER);
}

refusal(
  broker,
  '[MQTT-4.12.0-1] [MQTT-3.1.4-2] [MQTT-3.2.2-6] [MQTT-4.13.2-1] a method of authentication the broker does not have',
  connectPacket({ clientId: 'm', properties: { authMethod: 'NOBODY-KNOWS', authData: bytes(1) } }),
  [0x8c],
);

test('[MQTT-3.1.2-30] [MQTT-3.1.4-6] behind a CONNECT with a method nothing but AUTH counts', async (t) => {
  const topic = unique('early/');
  const bystander = await connectClient(t, broker.port);
  await bystander.subscribe(topic);
  const client = await openClient(t, broker.port);

  client.send(
    connectPacket({ clientId: unique('c'), properties: { authMethod: 'NOBODY-KNOWS' } }),
    publishPacket(topic, 'too early', { qos: 1, packetId: 1 }),
    PINGREQ,
  );

  await client.refused(0x8c);
  await bystander.idle();
});

refusal(
  closedBroker,
  '[MQTT-3.1.4-2] [MQTT-3.2.2-8] a stranger at a broker that asks for credentials',
  connectPacket({ clientId: 'stranger' }),
  [0x85, 0x86, 0x87],
  true,
);
refusal(
  closedBroker,
  '[MQTT-3.1.4-2] [MQTT-3.2.2-7] wrong credentials',
  connectPacket({ clientId: 'stranger', username: 'nobody', password: 'wrong' }),
  [0x85, 0x86, 0x87],
  true,
);

// Nothing of these tells the version, so there is no CONNACK that fits for sure.
silentClose(broker, '[MQTT-3.1.4-1] CONNECT of length 0', bytes(frame(0x10), PINGREQ));
silentClose(
  broker,
  '[MQTT-2.1.3-1] CONNECT, flags 0001',
  bytes(0x11, connectPacket({ clientId: 'f' }).subarray(1), PINGREQ),
);

test('[MQTT-3.2.2-15] a CONNECT larger than the broker takes is refused', async (t) => {
  const client = await openClient(t, smallBroker.port);
  client.send(connectPacket({ clientId: 'large', username: 'u'.repeat(3_000) }), PINGREQ);
  await refusedOrClosed(client, [0x95]);
});

test('[MQTT-3.1.3-8] [MQTT-3.1.3-5] a client id longer than the broker takes is refused', async (t) => {
  await connectClient(t, broker.port, { clientId: 'x'.repeat(1_024) });
  const client = await openClient(t, broker.port);
  client.send(connectPacket({ clientId: 'x'.repeat(1_025) }), PINGREQ);
  await refusedOrClosed(client, [0x85]);
});

test('[MQTT-3.2.2-15] a packet of exactly the announced size is taken, one byte more is not', async (t) => {
  const client = await connectClient(t, smallBroker.port);
  const size = client.connack?.properties.maximumPacketSize;
  assert.equal(size, 2_048);
  const topic = unique('size/');
  const fits = publishPacket(topic, 'x'.repeat(2_048 - 3 - 2 - topic.length - 1));
  assert.equal(fits.length, 2_048);
  await client.subscribe(topic);

  client.send(fits);
  assert.equal((await client.message()).bytes.length, 2_048);
  client.send(publishPacket(topic, 'x'.repeat(2_048 - 3 - 2 - topic.length)));

  await client.disconnected(0x95);
});

test('[MQTT-3.1.4-6] [MQTT-3.2.0-2] a refused CONNECT leaves nothing behind', async (t) => {
  const clientId = unique('c');
  const bad = await openClient(t, broker.port);
  bad.send(
    connectPacket({ clientId, properties: bytes(props({ sessionExpiry: 99 }), 0x7f).subarray(1) }),
  );
  await bad.next('connack');
  await bad.closed();

  const good = await connectClient(t, broker.port, { clientId, cleanStart: false });

  assert.equal(good.connack?.sessionPresent, false);
});
