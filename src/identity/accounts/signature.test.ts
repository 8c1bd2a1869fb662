/** Signatures: the product's, and the one with a time; and what they let a connection do. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import {
  type AccountScene,
  ADMIN,
  callerOf,
  connectRequest,
  openAccountScene,
  policy,
  RecordedClient,
  verdictOf,
} from '../../../test/harness/account-scene.ts';
import type { AuthenticationWay } from '../authenticator.ts';
import { createSignatureWay, parseUserName } from './signature.ts';

const CLIENT = 'GID_Test@@@0001';
const KEY = ADMIN.accessKeyId;
const SECRET = ADMIN.accessKeySecret;
/** printf %s GID_Test@@@0001 | openssl dgst -sha1 -hmac XXXXX -binary | base64 */
const VECTOR = 'vI009IZJZVGRwBwZvnbwjfuXxVM=';
const NAME = `Signature|${KEY}|mqtt-1`;

function sign(secret: string, text: string): string {
  return createHmac('sha1', secret).update(text).digest('base64');
}

function signTimed(secret: string, client: string, timeMs: number | string, id: string): string {
  return createHmac('sha256', secret).update(`${client}\n${timeMs}\n${id}`).digest('base64');
}

async function open(t: TestContext): Promise<{ scene: AccountScene; way: AuthenticationWay }> {
  const scene = await openAccountScene(t);
  return { scene, way: createSignatureWay({ accounts: scene.accounts, clock: scene.clock }) };
}

describe('the signature of a client identifier', () => {
  test('of the published example is accepted', async (t) => {
    const adminKey = { accessKeyId: 'YYYYY', accessKeySecret: 'XXXXX' };
    const { accounts, clock, instances } = await openAccountScene(t, adminKey);
    const instance = await instances.create({ id: 'mqtt-xxxxx' });
    const way = createSignatureWay({ accounts, clock });

    const request = connectRequest(instance, 'Signature|YYYYY|mqtt-xxxxx', VECTOR, CLIENT);

    assert.equal(VECTOR, sign('XXXXX', CLIENT));
    assert.equal(await verdictOf(way, request), 'welcome');
  });

  test('is accepted for any identifier, also beyond ASCII', async (t) => {
    const { scene, way } = await open(t);

    for (const client of ['', 'x', 'GID_Test@@@ü-设备-🌡', 'y'.repeat(5_000)]) {
      const request = connectRequest(scene.instance, NAME, sign(SECRET, client), client);
      assert.equal(await verdictOf(way, request), 'welcome');
    }
  });

  test('is answered at once', async (t) => {
    const { scene, way } = await open(t);

    for (const password of [sign(SECRET, CLIENT), 'wrong']) {
      const verdict = way.authenticate(connectRequest(scene.instance, NAME, password));
      assert.equal(verdict instanceof Promise, false);
    }
  });

  test('gives the main account every right', async (t) => {
    const { scene, way } = await open(t);
    const request = connectRequest(scene.instance, NAME, sign(SECRET, CLIENT));

    const caller = await callerOf(way, request);

    assert.equal(caller.instance, scene.instance);
    assert.equal(caller.userName, NAME);
    assert.equal(caller.permissions, undefined);
  });

  const good = sign(SECRET, CLIENT);
  const wrong: Readonly<Record<string, string | undefined>> = {
    'no password': undefined,
    'an empty password': '',
    'the secret itself': SECRET,
    'the signature of another identifier': sign(SECRET, 'GID_Test@@@0002'),
    'the signature of the identifier in another case': sign(SECRET, CLIENT.toLowerCase()),
    'the signature by another secret': sign('another', CLIENT),
    'a signature in another case': good.toLowerCase(),
    'a signature with a space behind': `${good} `,
    'a signature without its padding': good.replace(/=+$/, ''),
    'a signature cut short': good.slice(0, -4),
    'a signature in hex': Buffer.from(good, 'base64').toString('hex'),
    'a signature by SHA-256': createHmac('sha256', SECRET).update(CLIENT).digest('base64'),
    'a very long password': good.repeat(10_000),
  };
  for (const [name, password] of Object.entries(wrong)) {
    test(`is not ${name}`, async (t) => {
      const { scene, way } = await open(t);

      const verdict = way.authenticate(connectRequest(scene.instance, NAME, password));

      assert.deepEqual(verdict, { refused: 'badSignature' });
    });
  }

  test('is wrong in the same words for a key that is not there', async (t) => {
    const { scene, way } = await open(t);

    for (const secret of [SECRET, 'nobody', '']) {
      const name = 'Signature|ak-none|mqtt-1';
      const request = connectRequest(scene.instance, name, sign(secret, CLIENT));
      assert.deepEqual(way.authenticate(request), { refused: 'badSignature' });
    }
  });

  test('counts in the instance that the name says', async (t) => {
    const { scene, way } = await open(t);

    const request = connectRequest(scene.other, NAME, sign(SECRET, CLIENT));

    assert.equal(await verdictOf(way, request), 'instanceMismatch');
  });

  test('tells that the key is inactive, but only whoever has its secret', async (t) => {
    const { scene, way } = await open(t);
    const { keyId, secret } = await scene.addAccount('sub', 'AliyunMQFullAccess');
    const name = `Signature|${keyId}|mqtt-1`;

    await scene.accounts.setKeyActive(keyId, false);

    const right = connectRequest(scene.instance, name, sign(secret, CLIENT));
    const forged = connectRequest(scene.instance, name, sign('wrong', CLIENT));
    assert.equal(await verdictOf(way, right), 'accessKeyInactive');
    assert.equal(await verdictOf(way, forged), 'badSignature');
  });

  test('is no use to a temporary key, which has no room for its token', async (t) => {
    const { scene, way } = await open(t);
    const key = scene.accounts.createTemporaryKey('main', 900);
    const name = `Signature|${key.accessKeyId}|mqtt-1`;

    const request = connectRequest(scene.instance, name, sign(key.accessKeySecret, CLIENT));

    assert.equal(await verdictOf(way, request), 'badSignature');
  });
});

describe('the signature with a time', () => {
  async function verdictAt(t: TestContext, skewMs: number): Promise<string> {
    const { scene, way } = await open(t);
    const timeMs = scene.clock.nowMs() + skewMs;
    const password = signTimed(SECRET, CLIENT, timeMs, 'mqtt-1');
    const name = `SignatureV2|${KEY}|mqtt-1|${timeMs}`;
    return await verdictOf(way, connectRequest(scene.instance, name, password));
  }

  for (const skewMs of [0, -300_000, 300_000]) {
    test(`is good ${skewMs / 1_000} seconds from now`, async (t) => {
      assert.equal(await verdictAt(t, skewMs), 'welcome');
    });
  }

  for (const skewMs of [-300_001, 300_001, -1_000_000_000_000]) {
    test(`has expired ${skewMs / 1_000} seconds from now`, async (t) => {
      assert.equal(await verdictAt(t, skewMs), 'signatureExpired');
    });
  }

  test('is of this client, time and instance, and made with SHA-256', async (t) => {
    const { scene, way } = await open(t);
    const timeMs = scene.clock.nowMs();
    const wrong = [
      signTimed(SECRET, 'GID_Test@@@0002', timeMs, 'mqtt-1'),
      signTimed(SECRET, CLIENT, timeMs + 1, 'mqtt-1'),
      signTimed(SECRET, CLIENT, `0${timeMs}`, 'mqtt-1'),
      signTimed(SECRET, CLIENT, timeMs, 'mqtt-2'),
      signTimed('wrong', CLIENT, timeMs, 'mqtt-1'),
      sign(SECRET, `${CLIENT}\n${timeMs}\nmqtt-1`),
      sign(SECRET, CLIENT),
    ];

    for (const password of wrong) {
      const name = `SignatureV2|${KEY}|mqtt-1|${timeMs}`;
      const request = connectRequest(scene.instance, name, password);
      assert.equal(await verdictOf(way, request), 'badSignature');
    }
  });

  test('that is too old is not told from a wrong one', async (t) => {
    const { scene, way } = await open(t);
    const timeMs = scene.clock.nowMs() - 900_000;
    const name = `SignatureV2|${KEY}|mqtt-1|${timeMs}`;

    const request = connectRequest(scene.instance, name, 'wrong');

    assert.equal(await verdictOf(way, request), 'badSignature');
  });
});

describe('rights of a connection', () => {
  async function connect(
    t: TestContext,
    ...policies: readonly string[]
  ): Promise<{
    scene: AccountScene;
    accountId: string;
    keyId: string;
    caller: Awaited<ReturnType<typeof callerOf>>;
    client: RecordedClient;
    stop: () => void;
  }> {
    const { scene, way } = await open(t);
    const { accountId, keyId, secret } = await scene.addAccount('sub', ...policies);
    const name = `Signature|${keyId}|mqtt-1`;
    const request = connectRequest(scene.instance, name, sign(secret, CLIENT));
    const caller = await callerOf(way, request);
    const client = new RecordedClient();
    return { scene, accountId, keyId, caller, client, stop: caller.connected!(client) };
  }

  test('are those of the account', async (t) => {
    const { caller } = await connect(
      t,
      policy('Allow', ['mq:PUB', 'mq:SUB'], 'acs:mq:*:*:mqtt-1/plant/*'),
      policy('Deny', 'mq:SUB', 'mqtt-1/plant/secret'),
    );
    const permissions = caller.permissions!;

    assert.equal(permissions.mayPublish('plant/7'), true);
    assert.equal(permissions.mayPublish('other'), false);
    assert.equal(permissions.maySubscribe('plant/7/+'), true);
    assert.equal(permissions.maySubscribe('plant/+'), false);
    assert.equal(permissions.maySubscribe('#'), false);
  });

  test('are none without a policy: there is no connection', async (t) => {
    await assert.rejects(connect(t), /refused: notAuthorized/);
    await assert.rejects(connect(t, 'AliyunMQReadOnlyAccess'), /refused: notAuthorized/);
    await assert.rejects(connect(t, policy('Allow', 'mq:*', 'mqtt-2*')), /refused: notAuthorized/);
  });

  test('shrink and grow with the policies of the account', async (t) => {
    const { scene, accountId, caller, client } = await connect(
      t,
      'AliyunMQPubOnlyAccess',
      'AliyunMQSubOnlyAccess',
    );
    const permissions = caller.permissions!;
    const before = permissions.version;

    await scene.accounts.detachPolicy(accountId, 'AliyunMQSubOnlyAccess');

    assert.deepEqual(client.events, ['permissionsChanged']);
    assert.ok(permissions.version > before);
    assert.equal(permissions.mayPublish('x'), true);
    assert.equal(permissions.maySubscribe('x'), false);
    await scene.accounts.attachPolicy(accountId, 'AliyunMQSubOnlyAccess');
    assert.equal(permissions.maySubscribe('x'), true);
  });

  test('that are all gone end the connection', async (t) => {
    const { scene, accountId, caller, client } = await connect(t, 'AliyunMQFullAccess');

    await scene.accounts.detachPolicy(accountId, 'AliyunMQFullAccess');

    assert.deepEqual(client.events, ['disconnect permissionWithdrawn']);
    assert.equal(caller.permissions!.mayPublish('x'), false);
  });

  test('end with the key', async (t) => {
    const { scene, keyId, client } = await connect(t, 'AliyunMQFullAccess');

    await scene.accounts.setKeyActive(keyId, false);

    assert.deepEqual(client.events, ['disconnect credentialRevoked']);
  });

  test('end with the account', async (t) => {
    const { scene, accountId, client } = await connect(t, 'AliyunMQFullAccess');

    await scene.accounts.delete(accountId);

    assert.equal(client.events[0], 'disconnect credentialRevoked');
  });

  test('are not those of other accounts', async (t) => {
    const { scene, client } = await connect(t, 'AliyunMQFullAccess');
    const { accountId, keyId } = await scene.addAccount('other', 'AliyunMQFullAccess');

    await scene.accounts.detachPolicy(accountId, 'AliyunMQFullAccess');
    await scene.accounts.deleteKey(keyId);

    assert.deepEqual(client.events, []);
  });

  test('concern a connection no more once it has ended', async (t) => {
    const { scene, keyId, client, stop } = await connect(t, 'AliyunMQFullAccess');

    stop();
    await scene.accounts.deleteKey(keyId);

    assert.deepEqual(client.events, []);
  });

  test('that were withdrawn before the connection was ready end it as well', async (t) => {
    const { scene, keyId, caller } = await connect(t, 'AliyunMQFullAccess');
    await scene.accounts.deleteKey(keyId);
    const late = new RecordedClient();

    caller.connected!(late);
    await Promise.resolve();

    assert.deepEqual(late.events, ['disconnect credentialRevoked']);
  });
});

describe('user names', () => {
  test('of each mode are read', () => {
    for (const mode of ['Signature', 'Token', 'DeviceCredential'] as const) {
      assert.deepEqual(parseUserName(`${mode}|DC.Z5fXh9-_|mqtt-xxxxx`), {
        mode,
        keyId: 'DC.Z5fXh9-_',
        instanceId: 'mqtt-xxxxx',
        rest: undefined,
      });
    }
    assert.deepEqual(parseUserName('SignatureV2|k|i|1700000000000'), {
      mode: 'SignatureV2',
      keyId: 'k',
      instanceId: 'i',
      rest: '1700000000000',
    });
  });

  const malformed = [
    '',
    'Signature',
    'Signature|k',
    'Signature|k|',
    'Signature||i',
    '|k|i',
    'Signature|k|i|',
    'Signature|k|i|x',
    'Signature|k|i/j',
    'Signature|k|i\n',
    'Signature|k |i',
    'Signature|k|ï',
    ' Signature|k|i',
    'signature|k|i',
    'SIGNATURE|k|i',
    'Unknown|k|i',
    'SignatureV2|k|i',
    'SignatureV2|k|i|',
    'SignatureV2|k|i|-1',
    'SignatureV2|k|i|1e3',
    'SignatureV2|k|i|12345678901234567',
    'SignatureV2|k|i|1|2',
    `Signature|${'k'.repeat(129)}|i`,
    `Signature|k|${'i'.repeat(65)}`,
    `Signature|k|${'i'.repeat(100_000)}`,
  ];
  for (const name of malformed) {
    test(`not read: ${JSON.stringify(name.slice(0, 40))}`, () => {
      assert.equal(parseUserName(name), undefined);
    });
  }

  test('of signatures that are malformed are refused, others left to others', async (t) => {
    const { scene, way } = await open(t);
    const verdict = async (name: string | undefined): Promise<string> =>
      await verdictOf(way, connectRequest(scene.instance, name, 'x'));

    for (const name of ['Signature|', 'Signature|k|i|x', 'SignatureV2|k|mqtt-1']) {
      assert.equal(await verdict(name), 'userNameMalformed');
    }
    for (const name of [undefined, '', 'Signature', 'Token|k|mqtt-1', 'signature|k|mqtt-1']) {
      assert.equal(await verdict(name), 'not mine');
    }
  });
});
