/**
 * MQTT 5.0, section 4.12: enhanced authentication, from CONNECT and again later.
 *
 * The exchange has two rounds, challenge and proof (`auth-broker.ts`). The broker is in this process,
 * because the authenticator is; clients come through a TCP door.
 */
import { strict as assert } from 'node:assert';
import { randomBytes } from 'node:crypto';
import { describe, test, type TestContext } from 'node:test';
import { authBroker, METHOD, prove, SECRET } from '../harness/auth-broker.ts';
import { connectClient, openClient, unique, type V5Client } from '../harness/v5-client.ts';
import {
  authPacket,
  bytes,
  type ConnectOptions,
  connectPacket,
  disconnectPacket,
  frame,
  PINGREQ,
  type Properties,
  props,
  publishPacket,
  subscribePacket,
} from '../harness/v5-packets.ts';

const CONTINUE = 0x18;
const AGAIN = 0x19;

const host = authBroker();

const auth = (reason: number, data?: string | Uint8Array, method = METHOD): Buffer =>
  authPacket(reason, {
    authMethod: method,
    ...(data !== undefined && { authData: Buffer.from(data as string) }),
  });

/** Sends the CONNECT that begins an exchange and returns the nonce in it. */
function begin(client: V5Client, options: ConnectOptions = {}): Buffer {
  const nonce = randomBytes(16);
  const given = (options.properties ?? {}) as Properties;
  client.sendConnect({
    clientId: unique('c'),
    ...options,
    properties: { ...given, authMethod: METHOD, authData: nonce },
  });
  return nonce;
}

/** Hears the broker's challenge, checks its proof, and returns ours. */
async function challenged(client: V5Client, nonce: Buffer): Promise<Buffer> {
  const packet = await client.next('auth');
  assert.equal(packet.reason, CONTINUE);
  assert.equal(packet.properties.authMethod, METHOD);
  const data = Buffer.from(packet.properties.authData!);
  assert.ok(data.subarray(16).equals(prove(SECRET, 'broker', nonce)), 'the broker proves itself');
  return prove(SECRET, 'client', data.subarray(0, 16));
}

/** The exchange up to where "sure" is the one word missing. */
async function nearlyDone(client: V5Client, nonce: Buffer): Promise<void> {
  client.send(auth(CONTINUE, await challenged(client, nonce)));
  const packet = await client.next('auth');
  assert.equal(packet.reason, CONTINUE);
  assert.deepEqual(packet.properties, { authMethod: METHOD }); // nothing to say: no data
}

/** Connects by the whole exchange. */
async function authenticated(t: TestContext, options: ConnectOptions = {}): Promise<V5Client> {
  const client = await openClient(t, host.port);
  await nearlyDone(client, begin(client, options));
  client.send(auth(CONTINUE, 'sure'));
  const connack = await client.next('connack');
  assert.equal(connack.reason, 0);
  return client;
}

/** Begins again on an open connection; the last word is still to be said. */
async function beginAgain(client: V5Client): Promise<void> {
  const nonce = randomBytes(16);
  client.send(auth(AGAIN, nonce));
  await nearlyDone(client, nonce);
}

describe('an exchange', () => {
  test('[MQTT-4.12.0-2] [MQTT-4.12.0-5] [MQTT-3.15.2-1] goes on by AUTH 0x18 and ends in a CONNACK with method and data', async (t) => {
    const client = await authenticated(t);

    assert.equal(client.connack?.properties.authMethod, METHOD);
    assert.equal(Buffer.from(client.connack!.properties.authData!).toString(), 'welcome');
    await client.idle();
  });

  test('[MQTT-4.12.0-1] with a method nobody knows is refused with 0x8C', async (t) => {
    for (const authMethod of ['SCRAM-SHA-1', METHOD.toLowerCase()]) {
      const client = await openClient(t, host.port);
      client.sendConnect({ clientId: unique('c'), properties: { authMethod } });
      await client.refused(0x8c);
    }
  });

  test('[MQTT-4.12.0-4] is refused at its first step', async (t) => {
    const client = await openClient(t, host.port);

    client.sendConnect({
      clientId: unique('c'),
      properties: { authMethod: METHOD, authData: Buffer.from('too short') },
    });

    await client.refused(0x87);
  });

  test('[MQTT-4.12.0-4] is refused when data is missing where it is wanted', async (t) => {
    const client = await openClient(t, host.port);

    client.sendConnect({ clientId: unique('c'), properties: { authMethod: METHOD } });

    await client.refused(0x87);
  });

  test('[MQTT-4.12.0-4] is refused at its second step, with the reason that was found', async (t) => {
    host.wish(t, { badProof: { refused: 'badUserOrPassword', detail: 'no' } });
    const client = await openClient(t, host.port);
    const nonce = begin(client);
    await challenged(client, nonce);

    client.send(auth(CONTINUE, prove('wrong secret', 'client', nonce)));

    const connack = await client.refused(0x86);
    assert.equal(connack.properties.reasonString, 'no');
  });

  test('[MQTT-4.12.0-4] is refused at its last step', async (t) => {
    const client = await openClient(t, host.port);
    await nearlyDone(client, begin(client));

    client.send(auth(CONTINUE, 'perhaps'));

    await client.refused(0x87);
  });

  for (const fails of ['throws', 'rejects'] as const) {
    test(`ends with 0x80 where the authenticator ${fails}, and disturbs nobody else`, async (t) => {
      const other = await authenticated(t);
      host.wish(t, { fails });
      const client = await openClient(t, host.port);

      begin(client);

      await client.refused(0x80);
      await other.idle();
    });
  }

  test('that the client breaks off by DISCONNECT or a close leaves nothing behind', async (t) => {
    for (const leave of [
      (one: V5Client) => one.send(disconnectPacket()),
      (one: V5Client) => one.drop(),
    ]) {
      const client = await openClient(t, host.port);
      await challenged(client, begin(client));
      leave(client);
      await client.hungUp();
    }
    assert.equal(host.broker.partials.bytes, 0);
    await authenticated(t);
  });

  test('may run for many clients at once', async (t) => {
    const clients = await Promise.all(Array.from({ length: 20 }, () => authenticated(t)));

    for (const client of clients) await client.idle();
  });

  test('does not tell the client of another one by the same name before it is done', async (t) => {
    const clientId = unique('c');
    const first = await authenticated(t, { clientId });
    const second = await openClient(t, host.port);
    const nonce = begin(second, { clientId });
    await challenged(second, nonce);
    await first.idle(); // not taken over by somebody who has not proved anything

    second.send(auth(CONTINUE, 'nonsense'));

    await second.refused(0x87);
    await first.idle();
  });
});

describe('[MQTT-3.15.2-2] [MQTT-3.15.2-3] the size of AUTH', () => {
  test('[MQTT-3.15.2-2] [MQTT-3.15.2-3] AUTH holds nothing that could be left out', async (t) => {
    const client = await openClient(t, host.port);
    // The challenge: type, length, code, properties' length, method, 32 + 16 bytes of data.
    const size = 2 + 1 + 1 + (3 + METHOD.length) + (3 + 48);

    const nonce = begin(client, { properties: { maximumPacketSize: size } });

    const packet = await client.next('auth');
    assert.equal(packet.bytes.length, size);
    assert.deepEqual(Object.keys(packet.properties).sort(), ['authData', 'authMethod']);
    assert.equal(nonce.length, 16);
  });
});

describe('during an exchange', () => {
  const others: readonly (readonly [string, Buffer])[] = [
    ['PUBLISH', publishPacket('a', 'x')],
    ['SUBSCRIBE', subscribePacket(1, [['a', 0]])],
    ['PINGREQ', PINGREQ],
    ['PUBACK', frame(0x40, Buffer.of(0, 1))],
    ['CONNECT', connectPacket({ clientId: 'x' })],
  ];
  for (const [name, packet] of others) {
    test(`[MQTT-3.1.2-30] ${name} is a protocol error`, async (t) => {
      const client = await openClient(t, host.port);
      await challenged(client, begin(client));

      client.send(packet);

      await client.refused(0x82);
    });
  }

  test('[MQTT-3.1.2-30] what is sent behind CONNECT is not acted on', async (t) => {
    const topic = unique('t/');
    const witness = await authenticated(t);
    await witness.subscribe(topic, 1);
    const client = await openClient(t, host.port);
    const properties = { authMethod: METHOD, authData: randomBytes(16) };

    client.send(
      connectPacket({ clientId: unique('c'), properties }),
      publishPacket(topic, 'too early', { qos: 1, packetId: 1 }),
    );

    await client.next('auth');
    await client.refused(0x82);
    await witness.idle();
  });

  test('[MQTT-3.1.4-5] what follows a CONNECT that is refused later is not acted on', async (t) => {
    const topic = unique('t/');
    const witness = await authenticated(t);
    await witness.subscribe(topic, 1);
    const client = await openClient(t, host.port);

    client.send(
      connectPacket({ clientId: unique('c'), username: 'banned' }),
      publishPacket(topic, 'hello', { qos: 1, packetId: 1 }),
      publishPacket(topic, 'hello', { retain: true }),
    );

    await client.refused(0x8a);
    await witness.idle();
    await witness.unsubscribe(topic);
    await witness.subscribe(topic, 1);
    await witness.idle(); // nor was it retained
  });

  test('[MQTT-3.1.4-5] what follows a CONNECT that is accepted later is acted on, once', async (t) => {
    const topic = unique('t/');
    const client = await openClient(t, host.port);

    client.send(
      connectPacket({ clientId: unique('c') }),
      subscribePacket(1, [[topic, 1]]),
      publishPacket(topic, 'hello', { qos: 1, packetId: 2 }),
    );

    assert.equal((await client.next('connack')).reason, 0);
    assert.equal((await client.find('suback')).packetId, 1);
    assert.equal((await client.find('puback')).packetId, 2);
    assert.equal((await client.receive()).payload, 'hello');
    await client.idle();
  });

  test('[MQTT-4.12.0-3] AUTH with another code than 0x18 is a protocol error', async (t) => {
    for (const code of [AGAIN, 0x00]) {
      const client = await openClient(t, host.port);
      const proof = await challenged(client, begin(client));

      client.send(auth(code, proof));

      await client.refused(0x82);
    }
  });

  test('[MQTT-4.12.0-5] AUTH with another method, or none, is a protocol error', async (t) => {
    for (const properties of [{ authMethod: 'OTHER', authData: Buffer.from('x') }, {}]) {
      const client = await openClient(t, host.port);
      await challenged(client, begin(client));

      client.send(authPacket(CONTINUE, properties));

      await client.refused(0x82);
    }
  });

  test('[MQTT-3.15.1-1] AUTH with flags is malformed', async (t) => {
    const client = await openClient(t, host.port);
    await challenged(client, begin(client));

    client.send(frame(0xf1, bytes(CONTINUE, props({ authMethod: METHOD }))));

    await client.refused(0x81);
  });
});

describe('without an exchange', () => {
  test('[MQTT-4.12.0-6] there is no AUTH, and no method in CONNACK', async (t) => {
    const client = await connectClient(t, host.port);

    assert.equal(client.connack?.properties.authMethod, undefined);
    assert.equal(client.connack?.properties.authData, undefined);
    await client.idle();
  });

  test('[MQTT-4.12.0-7] an AUTH is a protocol error', async (t) => {
    for (const code of [CONTINUE, AGAIN]) {
      const client = await connectClient(t, host.port);

      client.send(auth(code, 'x'));

      await client.disconnected(0x82);
    }
  });

  test('[MQTT-4.12.0-7] so it is right behind CONNECT, and CONNACK comes first or not at all', async (t) => {
    const client = await openClient(t, host.port);

    client.send(connectPacket({ clientId: unique('c') }), auth(CONTINUE, 'x'));

    assert.equal((await client.next('connack')).reason, 0);
    await client.disconnected(0x82);
  });
});

describe('re-authentication', () => {
  test('[MQTT-4.12.1-1] [MQTT-4.12.0-5] [MQTT-3.15.2-1] ends in AUTH 0x00 with the method, and the session goes on', async (t) => {
    const topic = unique('t/');
    const client = await authenticated(t);
    await client.subscribe(topic, 1);

    await beginAgain(client);
    client.send(auth(CONTINUE, 'sure'));

    const done = await client.next('auth');
    assert.equal(done.reason, 0);
    assert.equal(done.properties.authMethod, METHOD);
    assert.equal(Buffer.from(done.properties.authData!).toString(), 'welcome');
    assert.equal(await client.publish(topic, 'still here', { qos: 1 }), 0);
    assert.equal((await client.receive()).payload, 'still here');
  });

  test('[MQTT-4.12.1-1] may be done again and again', async (t) => {
    const client = await authenticated(t);

    for (let i = 0; i < 3; i++) {
      await beginAgain(client);
      client.send(auth(CONTINUE, 'sure'));
      assert.equal((await client.next('auth')).reason, 0);
    }
    await client.idle();
  });

  test('[MQTT-4.12.1-1] leaves traffic alone while it is under way, in both directions', async (t) => {
    const topic = unique('t/');
    const client = await authenticated(t);
    await client.subscribe(topic, 2);
    await beginAgain(client);

    await client.publish(topic, 'meanwhile', { qos: 2 });
    assert.equal((await client.receive()).payload, 'meanwhile');
    client.send(auth(CONTINUE, 'sure'), publishPacket(topic, 'behind', { qos: 1, packetId: 900 }));

    assert.equal((await client.find('auth')).reason, 0);
    assert.equal((await client.find('puback')).packetId, 900);
    assert.equal((await client.receive()).payload, 'behind');
  });

  test('permissions are those of the last success', async (t) => {
    const client = await authenticated(t);
    assert.equal(await client.publish('secret/a', 'x', { qos: 1 }), 0x10);
    host.wish(t, { forbidden: 'secret/' });
    assert.equal(await client.publish('secret/a', 'x', { qos: 1 }), 0x10);

    await beginAgain(client);
    client.send(auth(CONTINUE, 'sure'));
    assert.equal((await client.next('auth')).reason, 0);

    assert.equal(await client.publish('secret/a', 'x', { qos: 1 }), 0x87);
  });

  test('[MQTT-4.12.1-2] that fails ends in DISCONNECT 0x87', async (t) => {
    const client = await authenticated(t);
    await beginAgain(client);

    client.send(auth(CONTINUE, 'perhaps'));

    await client.disconnected(0x87);
  });

  test('[MQTT-4.12.1-2] that fails ends in a code DISCONNECT has, whatever was found', async (t) => {
    for (const refused of [
      'badUserOrPassword',
      'banned',
      'serverUnavailable',
      'clientIdNotValid',
    ] as const) {
      host.wish(t, { badProof: { refused, detail: 'no' } });
      const client = await authenticated(t);
      await beginAgain(client);

      client.send(auth(CONTINUE, 'perhaps'));

      const disconnect = await client.next('disconnect'); // read by the table of its codes
      assert.ok(disconnect.reason >= 0x80);
      await client.closed();
    }
  });

  test('[MQTT-4.12.1-2] that is sent elsewhere is told where', async (t) => {
    const serverReference = 'other.example:1883';
    host.wish(t, { badProof: { refused: 'useAnotherServer', detail: 'full', serverReference } });
    const client = await authenticated(t);
    await beginAgain(client);

    client.send(auth(CONTINUE, 'perhaps'));

    const disconnect = await client.disconnected(0x9c);
    assert.equal(disconnect.properties.serverReference, serverReference);
  });

  test('[MQTT-4.12.1-2] that fails publishes the will', async (t) => {
    const topic = unique('will/');
    const witness = await authenticated(t);
    await witness.subscribe(topic);
    const client = await authenticated(t, { will: { topic, payload: 'gone' } });
    await beginAgain(client);

    client.send(auth(CONTINUE, 'perhaps'));

    await client.disconnected(0x87);
    assert.equal((await witness.receive()).payload, 'gone');
  });

  test('[MQTT-4.12.1-1] by another method is a protocol error', async (t) => {
    const client = await authenticated(t);

    client.send(auth(AGAIN, 'x', 'OTHER'));

    await client.disconnected(0x82);
  });

  test('[MQTT-4.12.0-3] AUTH out of turn is a protocol error', async (t) => {
    const notBegun = await authenticated(t);
    notBegun.send(auth(CONTINUE, 'x'));
    await notBegun.disconnected(0x82);

    const begunTwice = await authenticated(t);
    await beginAgain(begunTwice);
    begunTwice.send(auth(AGAIN, randomBytes(16)));
    await begunTwice.disconnected(0x82);

    const success = await authenticated(t);
    await beginAgain(success);
    success.send(auth(0x00, 'sure'));
    await success.disconnected(0x82);
  });

  test('ends with 0x80 where the authenticator fails', async (t) => {
    const client = await authenticated(t);
    host.wish(t, { fails: 'rejects' });

    client.send(auth(AGAIN, randomBytes(16)));

    await client.disconnected(0x80);
  });
});
