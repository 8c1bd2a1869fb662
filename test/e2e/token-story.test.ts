/**
 * Tokens from end to end: a backend applies for them with the vendor's client, and devices that
 * nobody here wrote, MQTT.js and mosquitto, live with what they allow.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test, type TestContext } from 'node:test';
import type { IPublishPacket } from 'mqtt';
import { type Backend, openBackend } from '../harness/backend.ts';
import {
  assertSecretsKept,
  type ControlBroker,
  startControlBroker,
} from '../harness/control-broker.ts';
import { connectDevice, type Device, Refused } from '../harness/device-client.ts';
import { needs } from '../harness/tool.ts';

const TOOLS = needs('openssl');

const NOT_AUTHORIZED = 0x87;
const FAILURE = 0x80;
const EXPIRE_NOTICE = '$SYS/tokenExpireNotice';
const INVALID_NOTICE = '$SYS/tokenInvalidNotice';
const UPLOAD = '$SYS/uploadToken';

let broker: ControlBroker;
const cleanUps: (() => void | Promise<void>)[] = [];

before(async () => {
  if (TOOLS.skip !== undefined) return;
  broker = await startControlBroker({ after: (cleanUp) => void cleanUps.unshift(cleanUp) });
});
after(async () => {
  for (const cleanUp of cleanUps) await cleanUp();
});

type Scheme = 'mqtt' | 'ws' | 'mqtts' | 'wss';

interface Doorway {
  readonly scheme?: Scheme;
  readonly version?: 4 | 5;
}

function connect(
  t: TestContext,
  { access, instanceId }: Backend,
  name: string,
  password: string,
  { scheme = 'mqtt', version = 5 }: Doorway = {},
): Promise<Device> {
  return connectDevice(t, broker.url(scheme), {
    protocolVersion: version,
    clientId: `GID_test@@@${name}`,
    username: `Token|${access.keyId}|${instanceId}`,
    password,
    ca: broker.authority,
  });
}

function refusedWith(code: number): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof Refused, String(error));
    assert.equal(error.code, code);
    return true;
  };
}

function read(packet: IPublishPacket): unknown {
  return JSON.parse(packet.payload.toString());
}

const DOORWAYS: readonly Required<Doorway>[] = [
  { scheme: 'mqtt', version: 4 },
  { scheme: 'mqtt', version: 5 },
  { scheme: 'ws', version: 4 },
  { scheme: 'ws', version: 5 },
  { scheme: 'mqtts', version: 5 },
  { scheme: 'wss', version: 4 },
];

describe('a device lives with tokens', { concurrency: 4 }, () => {
  for (const doorway of DOORWAYS) {
    const { scheme, version } = doorway;
    const [codeForbidden, subscribeForbidden] =
      version === 5 ? [NOT_AUTHORIZED, NOT_AUTHORIZED] : [0, FAILURE]; // 3.1.1 has no other words

    test(`MQTT.js, version ${version}, ${scheme}`, TOOLS, async (t) => {
      const backend = await openBackend(broker);
      const first = await backend.apply('R,W', 'news/mine/#');
      const witness = await connect(
        t,
        backend,
        'witness',
        `R|${await backend.apply('R', 'news/#')}`,
      );
      await witness.subscribe('news/#');
      const device = await connect(t, backend, 'device', `RW|${first}`, doorway);

      // It ends in two minutes, and notice is given five before.
      const notice = read(await device.take(EXPIRE_NOTICE)) as { readonly expireTime: number };
      assert.deepEqual(notice, { expireTime: notice.expireTime, type: 'RW' });
      assert.ok(notice.expireTime > Date.now() && notice.expireTime < Date.now() + 130_000);

      assert.equal(await device.subscribe('news/mine/#'), 1);
      assert.equal(await device.subscribe('news/yours'), subscribeForbidden);
      assert.equal(await device.subscribe('news/#'), subscribeForbidden, 'more than it may');
      assert.equal(await device.publish('news/yours', 'forbidden'), codeForbidden);
      assert.equal(await device.publish('news/mine/1', 'allowed'), 0);
      assert.equal((await device.take('news/mine/1')).payload.toString(), 'allowed');
      assert.equal((await witness.take('news/mine/1')).payload.toString(), 'allowed');
      assert.ok(
        !witness.packets.some((one) => one.cmd === 'publish' && one.topic === 'news/yours'),
      );

      const second = await backend.apply('R,W', 'news/mine/#,news/more');
      const upload = JSON.stringify({ token: second, type: 'RW' });
      assert.equal(await device.publish(UPLOAD, upload), 0);
      await backend.revoke(first);
      assert.equal(await device.publish('news/more', 'more'), 0);
      assert.equal((await witness.take('news/more')).payload.toString(), 'more');
      assert.equal(await device.publish('news/yours', 'forbidden'), codeForbidden);

      await backend.revoke(second);
      assert.deepEqual(read(await device.take(INVALID_NOTICE)), { code: 3, type: 'RW' });
      const goodbye = await device.ended();
      assert.equal(goodbye?.reasonCode, version === 5 ? NOT_AUTHORIZED : undefined);
      const again = connect(t, backend, 'device', `RW|${second}`, doorway);
      await assert.rejects(again, refusedWith(version === 5 ? NOT_AUTHORIZED : 5));
      await backend.revoke(second);
    });
  }

  test('reading and writing are rights of their own', TOOLS, async (t) => {
    const backend = await openBackend(broker);
    const [readToken, writeToken] = [
      await backend.apply('R', 'news/r'),
      await backend.apply('W', 'news/w'),
    ];
    const device = await connect(t, backend, 'both', `W|${writeToken}|R|${readToken}`);

    assert.equal(await device.subscribe('news/r'), 1);
    assert.equal(await device.subscribe('news/w'), NOT_AUTHORIZED);
    assert.equal(await device.publish('news/w', 'x'), 0);
    assert.equal(await device.publish('news/r', 'x'), NOT_AUTHORIZED);
    // An upload is acknowledged where it was taken, and else is the end.
    device.mqtt.publish(UPLOAD, JSON.stringify({ token: readToken, type: 'W' }), { qos: 1 });
    assert.deepEqual(read(await device.take(INVALID_NOTICE)), { code: 5, type: 'W' });
    assert.equal((await device.ended())?.reasonCode, NOT_AUTHORIZED);
    assert.equal(device.packets.filter((one) => one.cmd === 'puback').length, 2);
  });

  test('what is no good token does not get in', TOOLS, async (t) => {
    const backend = await openBackend(broker);
    const other = await openBackend(broker);
    const good = await backend.apply('R', 'news/r');
    const revoked = await backend.apply('R', 'news/r');
    await backend.revoke(revoked);
    const foreign = await other.apply('R', 'news/r');
    const passwords: readonly (readonly [password: string, code: number])[] = [
      [`R|${good.slice(0, -4)}AAAA`, 0x86],
      [`R|${revoked}`, NOT_AUTHORIZED],
      [`R|${foreign}`, 0x86],
      [`RW|${good}`, NOT_AUTHORIZED],
      [`R|${good}|W|${revoked}`, NOT_AUTHORIZED],
    ];
    for (const [password, code] of passwords) {
      await assert.rejects(connect(t, backend, 'd', password), refusedWith(code), password);
    }
    await connect(t, backend, 'd', `R|${good}`);
  });

  test(
    'a token that has ended ends what it allowed, one uploaded in time does not',
    TOOLS,
    async (t) => {
      const backend = await openBackend(broker);
      const short = await backend.apply('R,W', 'news/#', 63_000);
      const [careless, careful] = [
        await connect(t, backend, 'careless', `RW|${short}`, { version: 4 }),
        await connect(t, backend, 'careful', `RW|${short}`),
      ];
      await careful.take(EXPIRE_NOTICE);
      const token = await backend.apply('R,W', 'news/#', 600_000);
      assert.equal(await careful.publish(UPLOAD, JSON.stringify({ token, type: 'RW' })), 0);
      await careless.take(EXPIRE_NOTICE);

      const notice = await careless.take(INVALID_NOTICE, 90_000);

      assert.deepEqual(read(notice), { code: 2, type: 'RW' });
      await careless.ended();
      await assert.rejects(
        connect(t, backend, 'careless', `RW|${short}`),
        refusedWith(NOT_AUTHORIZED),
      );
      assert.equal(await careful.subscribe('news/1'), 1);
      assert.equal(await careful.publish('news/1', 'still here'), 0);
      assert.equal((await careful.take('news/1')).payload.toString(), 'still here');
    },
  );

  for (const version of [4, 5] as const) {
    test(
      `version ${version}: where overstepping closes, the first refusal is the last`,
      TOOLS,
      async (t) => {
        const backend = await openBackend(broker, { Overstepping: 'close' });
        const token = await backend.apply('R,W', 'news/mine');
        const [publisher, subscriber] = [
          await connect(t, backend, 'publisher', `RW|${token}`, { version }),
          await connect(t, backend, 'subscriber', `RW|${token}`, { version }),
        ];
        assert.equal(await publisher.publish('news/mine', 'allowed'), 0);

        publisher.mqtt.publish('news/yours', 'forbidden', { qos: 1 }, () => undefined);
        subscriber.mqtt.subscribe('news/yours', { qos: 1 }, () => undefined);

        for (const device of [publisher, subscriber]) {
          assert.deepEqual(read(await device.take(INVALID_NOTICE)), { code: 4, type: 'RW' });
          const goodbye = await device.ended();
          assert.equal(goodbye?.reasonCode, version === 5 ? NOT_AUTHORIZED : undefined);
        }
      },
    );
  }
});

test('no secret of all this is in the log', TOOLS, () => {
  assertSecretsKept(broker);
});
