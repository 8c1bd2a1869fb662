/** Access keys with their secret in clear: who has it gets in, nobody else. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  ADMIN,
  callerOf,
  connectRequest,
  openAccountScene,
  policy,
  RecordedClient,
  verdictOf,
} from '../../../test/harness/account-scene.ts';
import { createAccessKeyWay } from './access-key.ts';

const KEY = ADMIN.accessKeyId;
const SECRET = ADMIN.accessKeySecret;

describe('access key and secret', () => {
  test('open every instance to the main account, for everything', async (t) => {
    const { accounts, instance, other } = await openAccountScene(t);
    const way = createAccessKeyWay(accounts);

    for (const one of [instance, other]) {
      const caller = await callerOf(way, connectRequest(one, KEY, SECRET));
      assert.equal(caller.instance, one);
      assert.equal(caller.userName, KEY);
      assert.equal(caller.permissions, undefined);
    }
  });

  test('are answered at once', async (t) => {
    const { accounts, instance } = await openAccountScene(t);
    const way = createAccessKeyWay(accounts);

    for (const password of [SECRET, 'wrong']) {
      const verdict = way.authenticate(connectRequest(instance, KEY, password));
      assert.equal(verdict instanceof Promise, false);
    }
  });

  test('a wrong secret is refused, whatever its form', async (t) => {
    const { accounts, instance } = await openAccountScene(t);
    const way = createAccessKeyWay(accounts);
    const wrong = ['', 'wrong', `${SECRET} `, SECRET.slice(1), SECRET.toUpperCase(), undefined];

    for (const password of [...wrong, 'x'.repeat(100_000)]) {
      const request = connectRequest(instance, KEY, password);
      assert.deepEqual(way.authenticate(request), { refused: 'badUserOrPassword' });
    }
  });

  test('names that are no access key are for others to know', async (t) => {
    const { accounts, instance } = await openAccountScene(t);
    const way = createAccessKeyWay(accounts);

    for (const name of [undefined, '', 'ak-000', KEY.toLowerCase(), 'x'.repeat(10_000)]) {
      assert.equal(await verdictOf(way, connectRequest(instance, name, SECRET)), 'not mine');
    }
  });

  test('a secret opens nothing by the name of another key', async (t) => {
    const { accounts, instance, addAccount } = await openAccountScene(t);
    const { keyId } = await addAccount('other', 'AliyunMQFullAccess');
    const way = createAccessKeyWay(accounts);

    const verdict = await verdictOf(way, connectRequest(instance, keyId, SECRET));

    assert.equal(verdict, 'badUserOrPassword');
  });

  test('an inactive key tells so, but only whoever has its secret', async (t) => {
    const { accounts, instance, addAccount } = await openAccountScene(t);
    const { keyId, secret } = await addAccount('sub', 'AliyunMQFullAccess');
    const way = createAccessKeyWay(accounts);

    await accounts.setKeyActive(keyId, false);

    const right = await verdictOf(way, connectRequest(instance, keyId, secret));
    const wrong = await verdictOf(way, connectRequest(instance, keyId, 'wrong'));
    assert.equal(right, 'accessKeyInactive');
    assert.equal(wrong, 'badUserOrPassword');
  });

  test("an account's rights count in the instance of the connection", async (t) => {
    const { accounts, instance, other, addAccount } = await openAccountScene(t);
    const { keyId, secret } = await addAccount('sub', policy('Allow', 'mq:PUB', 'mqtt-1/a/*'));
    const way = createAccessKeyWay(accounts);

    const { permissions } = await callerOf(way, connectRequest(instance, keyId, secret));

    assert.equal(permissions!.mayPublish('a/b'), true);
    assert.equal(permissions!.mayPublish('b'), false);
    assert.equal(permissions!.maySubscribe('a/b'), false);
    assert.equal(await verdictOf(way, connectRequest(other, keyId, secret)), 'notAuthorized');
  });

  test('a connection ends with its key', async (t) => {
    const { accounts, instance, addAccount } = await openAccountScene(t);
    const { keyId, secret } = await addAccount('sub', 'AliyunMQFullAccess');
    const caller = await callerOf(
      createAccessKeyWay(accounts),
      connectRequest(instance, keyId, secret),
    );
    const client = new RecordedClient();
    caller.connected!(client);

    await accounts.deleteKey(keyId);

    assert.deepEqual(client.events, ['disconnect credentialRevoked']);
  });
});
