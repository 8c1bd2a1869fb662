/** Who gets in with a custom identity, who does not, and who is left to the next way. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { silentLog, systemClock, systemRandom } from '#base';
import { type Instance, openInstances } from '#instances';
import type { ConnectRequest, Verdict } from '../authenticator.ts';
import { isRefusal } from '../authenticator.ts';
import { type CustomAuth, openCustomAuth } from './custom-auth.ts';
import { createCustomAuthWay } from './custom-authenticator.ts';
import { createSecretBox } from '../secret-box.ts';

interface Scene {
  readonly customAuth: CustomAuth;
  readonly instance: Instance;
  ask(clientId: string, userName?: string, password?: string | Uint8Array): Promise<string>;
  verdict(clientId: string, userName: string, password: string): Promise<Verdict | undefined>;
}

async function open(t: TestContext): Promise<Scene> {
  const { store } = openMemoryEngine({ clock: systemClock });
  const instances = await openInstances({
    store,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    defaultId: 'plant',
    openDefault: true,
  });
  const box = createSecretBox(systemRandom.bytes(32), systemRandom);
  const customAuth = await openCustomAuth({ store, box, clock: systemClock, log: silentLog });
  t.after(() => {
    customAuth.close();
    instances.close();
  });
  const way = createCustomAuthWay(customAuth);
  const instance = instances.find('plant')!;
  const request = (
    clientId: string,
    userName: string | undefined,
    password: string | Uint8Array | undefined,
  ): ConnectRequest => ({
    instance,
    protocolVersion: 5,
    clientId,
    userName,
    password: password === undefined ? undefined : Buffer.from(password),
    address: '127.0.0.1',
    listener: 'mqtt://127.0.0.1:1883',
    serverName: undefined,
    certificate: undefined,
    certificateVerified: false,
  });
  return {
    customAuth,
    instance,
    async verdict(clientId, userName, password) {
      return await way.authenticate(request(clientId, userName, password));
    },
    async ask(clientId, userName, password) {
      const verdict = await way.authenticate(request(clientId, userName, password));
      if (verdict === undefined) return 'next';
      return isRefusal(verdict) ? verdict.refused : `welcome ${verdict.userName}`;
    },
  };
}

describe('with mode ORIGIN', () => {
  test('the password is the secret, byte for byte', async (t) => {
    const { customAuth, instance, ask } = await open(t);
    const secret = 'pa ss/wörd=';
    await customAuth.addIdentity(instance, {
      type: 'USER',
      userName: 'ann',
      clientId: '',
      signMode: 'ORIGIN',
      secret,
    });

    assert.equal(await ask('any', 'ann', secret), 'welcome ann');
    assert.equal(await ask('other', 'ann', secret), 'welcome ann');
    const wrong = [
      '',
      ' ',
      `${secret} `,
      secret.slice(0, -1),
      secret.toUpperCase(),
      Buffer.of(255),
    ];
    for (const password of wrong) {
      assert.equal(await ask('any', 'ann', password), 'badUserOrPassword');
    }
    assert.equal(await ask('any', 'ann'), 'badUserOrPassword');
  });
});

describe('with mode SIGNED', () => {
  test('the password is the client identifier signed with the secret', async (t) => {
    const { customAuth, instance, ask } = await open(t);
    await customAuth.addIdentity(instance, {
      type: 'USER',
      userName: 'ann',
      clientId: '',
      signMode: 'SIGNED',
      secret: 'XXXXX',
    });
    const sign = (key: string, text: string): string =>
      createHmac('sha1', key).update(text).digest('base64');

    const signed = 'vI009IZJZVGRwBwZvnbwjfuXxVM='; // made with openssl
    assert.equal(await ask('GID_Test@@@0001', 'ann', signed), 'welcome ann');
    assert.equal(await ask('GID_Test@@@0002', 'ann', signed), 'badSignature');
    assert.equal(await ask('GID_Test@@@0001', 'ann', 'XXXXX'), 'badSignature');
    assert.equal(
      await ask('GID_Test@@@0001', 'ann', sign('YYYYY', 'GID_Test@@@0001')),
      'badSignature',
    );
    assert.equal(await ask('GID_Test@@@0001', 'ann'), 'badSignature');
  });
});

test('the identity with this client decides, also where that of the user would let in', async (t) => {
  const { customAuth, instance, ask } = await open(t);
  const ofUser = { userName: 'ann', signMode: 'ORIGIN', secret: 'of user' } as const;
  await customAuth.addIdentity(instance, { ...ofUser, type: 'USER', clientId: '' });
  await customAuth.addIdentity(instance, {
    ...ofUser,
    type: 'CLIENT',
    clientId: 'c1',
    secret: 'of client',
  });

  assert.equal(await ask('c1', 'ann', 'of client'), 'welcome ann');
  assert.equal(await ask('c1', 'ann', 'of user'), 'badUserOrPassword');
  assert.equal(await ask('c2', 'ann', 'of user'), 'welcome ann');
  assert.equal(await ask('c2', 'ann', 'of client'), 'badUserOrPassword');
});

test('who is not known here is left to the next way', async (t) => {
  const { customAuth, instance, ask } = await open(t);

  assert.equal(await ask('c', 'ann', 'x'), 'next');
  await customAuth.addIdentity(instance, {
    type: 'CLIENT',
    userName: 'ann',
    clientId: 'c1',
    signMode: 'ORIGIN',
    secret: 'x',
  });

  assert.equal(await ask('c2', 'ann', 'x'), 'next');
  assert.equal(await ask('c1', 'bob', 'x'), 'next');
  assert.equal(await ask('c1', undefined, 'x'), 'next');
  assert.equal(await ask('c1', 'a'.repeat(70_000), 'x'), 'next');
  assert.equal(await ask('c1'.repeat(40_000), 'ann', 'x'), 'next');
});

test('user names of another mode are left to it, even where an identity has that name', async (t) => {
  const { customAuth, instance, ask } = await open(t);
  for (const userName of ['Signature|key|plant', 'Token|key|plant', 'a|b|c']) {
    await customAuth.addIdentity(instance, {
      type: 'USER',
      userName,
      clientId: '',
      signMode: 'ORIGIN',
      secret: 'x',
    });
  }

  assert.equal(await ask('c', 'Signature|key|plant', 'x'), 'next');
  assert.equal(await ask('c', 'Token|key|plant', 'x'), 'next');
  assert.equal(await ask('c', 'a|b|c', 'x'), 'welcome a|b|c');
});

test('who is let in may do what the rules allow and no more, with any client identifier', async (t) => {
  const { customAuth, instance, verdict } = await open(t);
  await customAuth.addIdentity(instance, {
    type: 'USER',
    userName: 'ann',
    clientId: '',
    signMode: 'ORIGIN',
    secret: 'x',
  });
  await customAuth.addPermission(instance, {
    type: 'USER',
    identity: 'ann',
    topic: 'a/+',
    action: 'SUB',
    effect: 'ALLOW',
  });

  const caller = await verdict('c', 'ann', 'x');

  assert.ok(caller !== undefined && !isRefusal(caller));
  assert.equal(caller.anyClientId, true);
  assert.equal(caller.permissions?.maySubscribe('a/b'), true);
  assert.equal(caller.permissions?.maySubscribe('a/b/c'), false);
  assert.equal(caller.permissions?.mayPublish('a/b'), false);
});
