/**
 * What an authenticator decides for every version: refusals and where to go instead, names, and
 * what a caller may publish and subscribe to.
 */
import { strict as assert } from 'node:assert';
import { describe, test } from 'node:test';
import type { FaultCode } from '#base';
import { authBroker } from '../harness/auth-broker.ts';
import type { Authenticator } from '#identity';
import { until } from '../harness/echo-listener.ts';
import { connectRaw } from '../harness/index.ts';
import { openLocalBroker, openLocalDoor } from '../harness/local-broker.ts';
import { connectClient, openClient, unique } from '../harness/v5-client.ts';

const host = authBroker();

describe('a refusal', () => {
  // biome-ignore format: a table reads in columns
  const codes: readonly (readonly [FaultCode, v5: number, v3: number])[] = [
    ['badUserOrPassword', 0x86, 4],
    ['notAuthorized',     0x87, 5],
    ['serverUnavailable', 0x88, 3],
    ['serverBusy',        0x89, 3],
    ['banned',            0x8a, 5],
    ['clientIdNotValid',  0x85, 2],
    ['quotaExceeded',     0x97, 3],
    ['useAnotherServer',  0x9c, 3],
    ['serverMoved',       0x9d, 3],
    ['connectionRate',    0x9f, 3],
  ];
  for (const [fault, v5, v3] of codes) {
    test(`${fault}: CONNACK 0x${v5.toString(16)} in 5.0, ${v3} before`, async (t) => {
      const modern = await openClient(t, host.port);
      modern.sendConnect({ clientId: unique('c'), username: fault });
      await modern.refused(v5);

      for (const version of [3, 4] as const) {
        const { connack } = await connectRaw({
          port: host.port,
          t,
          version,
          username: fault,
          mayFail: true,
        });
        assert.equal(connack?.returnCode, v3);
        assert.equal(connack?.sessionPresent, false);
      }
    });
  }

  for (const fault of ['useAnotherServer', 'serverMoved']) {
    test(`[MQTT-3.2.2-8] ${fault} tells where to go instead`, async (t) => {
      const client = await openClient(t, host.port);

      client.sendConnect({ clientId: unique('c'), username: fault });

      const connack = await client.next('connack');
      assert.equal(connack.properties.serverReference, 'other.example:1883');
      assert.equal(connack.properties.reasonString, 'as you wish');
      await client.closed();
    });
  }

  test('is a CONNACK without words where the client takes no larger one', async (t) => {
    const client = await openClient(t, host.port);

    client.sendConnect({
      clientId: unique('c'),
      username: 'notAuthorized',
      properties: { maximumPacketSize: 5 },
    });

    await client.refused(0x87);
  });

  test('an authenticator that fails refuses with 0x80, and the next client is served', async (t) => {
    const client = await openClient(t, host.port);

    client.sendConnect({ clientId: unique('c'), username: 'throw' });

    await client.refused(0x80);
    await (await connectClient(t, host.port)).idle();
  });
});

test('a broker that shuts down says to who is still at the door what CONNACK can say', async (t) => {
  let asked = 0;
  const never: Authenticator = {
    authenticate: () => {
      asked++;
      return new Promise(() => undefined);
    },
    exchange: () => undefined,
  };
  const broker = await openLocalBroker(t, { authenticator: () => never });
  const port = await openLocalDoor(t, broker);
  const modern = await openClient(t, port);
  modern.sendConnect({ clientId: unique('c') });
  const old = connectRaw({ port, t, version: 4, mayFail: true });
  await until(() => asked === 2, 'both CONNECTs');

  await broker.close();

  await modern.hungUp(); // a code that is not CONNACK's would be a breach
  assert.equal((await old).connack?.returnCode, 3);
});

describe('an authenticator', () => {
  test('is told what CONNECT and the door know', async (t) => {
    const clientId = unique('c');

    await connectClient(t, host.port, { clientId, username: 'me', password: Buffer.of(0, 255) });

    const request = host.requests.find((one) => one.clientId === clientId);
    assert.partialDeepStrictEqual(request, {
      protocolVersion: 5,
      userName: 'me',
      address: '127.0.0.1',
      serverName: undefined,
      certificate: undefined,
    });
    assert.deepEqual([...request!.password!], [0, 255]);
  });

  test('[MQTT-3.1.3-7] may say by which name a client is known', async (t) => {
    const assignedClientId = unique('named');
    host.wish(t, { assignedClientId });
    const first = await connectClient(t, host.port, { clientId: 'whatever' });
    assert.equal(first.connack?.properties.assignedClientId, assignedClientId);

    const second = await connectClient(t, host.port, { clientId: '' });

    assert.equal(second.connack?.properties.assignedClientId, assignedClientId);
    await first.disconnected(0x8e); // one name, one connection
  });

  test('sessions are found again by that name', async (t) => {
    host.wish(t, { assignedClientId: unique('named') });
    const kept = { cleanStart: false, properties: { sessionExpiry: 60 } };
    const first = await connectClient(t, host.port, { ...kept, clientId: 'one' });
    await first.disconnect();

    const second = await connectClient(t, host.port, { ...kept, clientId: 'other' });

    assert.equal(second.connack?.sessionPresent, true);
  });
});

describe('permissions', () => {
  test('PUBLISH to a forbidden topic: PUBACK and PUBREC 0x87, and nobody gets it', async (t) => {
    const witness = await connectClient(t, host.port);
    await witness.subscribe('secret/#', 2);
    host.wish(t, { forbidden: 'secret/' });
    const client = await connectClient(t, host.port);

    assert.equal(await client.publish('secret/a', 'x', { qos: 1 }), 0x87);
    assert.equal(await client.publish('secret/a', 'x', { qos: 2 }), 0x87);
    await client.publish('secret/a', 'x', { qos: 0, retain: true });
    await client.idle();

    await witness.idle();
    assert.equal(await client.publish('open/a', 'x', { qos: 1 }), 0x10);
  });

  test('a refused QoS 2 PUBLISH leaves its packet id free', async (t) => {
    host.wish(t, { forbidden: 'secret/' });
    const client = await connectClient(t, host.port);
    const topic = unique('open/');
    await client.subscribe(topic, 2);

    assert.equal(await client.publish('secret/a', 'x', { qos: 2, packetId: 77 }), 0x87);
    assert.equal(await client.publish(topic, 'y', { qos: 2, packetId: 77 }), 0);

    assert.equal((await client.receive()).payload, 'y');
  });

  test('before 5.0 a forbidden PUBLISH is acknowledged, and nobody gets it', async (t) => {
    const witness = await connectClient(t, host.port);
    await witness.subscribe('secret/#', 2);
    host.wish(t, { forbidden: 'secret/' });
    for (const version of [3, 4] as const) {
      const client = await connectRaw({ port: host.port, t, version });

      await client.publish('secret/a', 'x', { qos: 1 });
      await client.publish('secret/a', 'x', { qos: 2 });

      await client.nothing();
    }
    await witness.idle();
  });

  test('SUBSCRIBE to a forbidden filter: SUBACK 0x87, 0x80 before 5.0; the others are granted', async (t) => {
    host.wish(t, { forbidden: 'secret/' });
    const client = await connectClient(t, host.port);

    const suback = await client.subscribe([
      ['secret/#', 1],
      ['open/#', 1],
      ['$share/g/secret/+', 1],
      ['$share/secret/open', 2],
    ]);

    assert.deepEqual(suback.reasons, [0x87, 1, 0x87, 2]);
    const old = await connectRaw({ port: host.port, t, version: 4 });
    const granted = (await old.subscribe(['secret/x', 'open/x'], 1)).granted;
    assert.deepEqual(granted, [0x80, 1]);
  });

  test('what a subscription that was refused would have matched does not come', async (t) => {
    host.wish(t, { forbidden: 'secret/' });
    const client = await connectClient(t, host.port);
    await client.subscribe('secret/#', 1);
    host.wish(t, { forbidden: undefined });
    const other = await connectClient(t, host.port);

    await other.publish('secret/a', 'x', { qos: 1 });

    await client.idle();
  });

  test('a will to a forbidden topic: CONNACK 0x87, 5 before 5.0', async (t) => {
    host.wish(t, { forbidden: 'secret/' });
    const will = { topic: 'secret/will', payload: 'x' };
    const client = await openClient(t, host.port);
    client.sendConnect({ clientId: unique('c'), will });
    await client.refused(0x87);

    const old = await connectRaw({ port: host.port, t, version: 4, will, mayFail: true });

    assert.equal(old.connack?.returnCode, 5);
  });
});
