/** Accounts, keys, policies and temporary keys, over a store that other nodes use as well. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { Fault, type FaultCode, systemClock, systemRandom } from '#base';
import {
  ADMIN,
  type AccountScene,
  openAccountScene,
  policy,
} from '../../../test/harness/account-scene.ts';
import { KEYS_PER_ACCOUNT_MAX, openAccounts, POLICIES_PER_ACCOUNT_MAX } from './accounts.ts';
import { createSecretBox } from '../secret-box.ts';

function faults(code: FaultCode, text?: RegExp): (error: unknown) => boolean {
  return (error) => Fault.is(error, code) && (text?.test(error.message) ?? true);
}

const BOX = createSecretBox(systemRandom.bytes(32), systemRandom);

function fresh(): Parameters<typeof openAccounts>[0] {
  const { store } = openMemoryEngine({ clock: systemClock });
  return { store, box: BOX, clock: systemClock, random: systemRandom };
}

/** Everything that the store holds, as one text. */
async function allRows({ store }: Pick<AccountScene, 'store'>): Promise<string> {
  let text = '';
  for (const table of ['accounts', 'account-keys']) {
    for await (const rows of store.table(table).scan('')) {
      for (const row of rows) text += `${row.key} ${Buffer.from(row.value).toString('latin1')}\n`;
    }
  }
  return text;
}

describe('the first start', () => {
  test('makes a main account and its key, once', async () => {
    const ground = fresh();

    const first = await openAccounts(ground);
    const second = await openAccounts(ground);

    assert.match(first.firstKey!.id, /^ak-[0-9a-f]{12}$/);
    assert.equal(Buffer.from(first.firstKey!.secret, 'base64url').length, 24);
    assert.equal(second.firstKey, undefined);
    const found = await second.accounts.findKey(first.firstKey!.id, undefined);
    assert.equal(found!.secret, first.firstKey!.secret);
    assert.equal(found!.principal.may('mq:CreateAccount', undefined, undefined), true);
    assert.equal(second.accounts.list().length, 1);
  });

  test('makes another key for every broker', async () => {
    const one = await openAccounts(fresh());
    const other = await openAccounts(fresh());

    assert.notEqual(one.firstKey!.id, other.firstKey!.id);
    assert.notEqual(one.firstKey!.secret, other.firstKey!.secret);
  });

  test('takes the admin key it is given, and does not show it', async () => {
    const ground = { ...fresh(), adminKey: ADMIN };

    const { accounts, firstKey } = await openAccounts(ground);

    assert.equal(firstKey, undefined);
    const found = await accounts.findKey('ADMIN', undefined);
    assert.equal(found!.secret, ADMIN.accessKeySecret);
    assert.equal(found!.principal.accountId, 'main');
  });

  test('later accepts the same admin key, or none, and no other', async () => {
    const ground = fresh();
    await openAccounts({ ...ground, adminKey: ADMIN });
    const differing = [
      { ...ADMIN, accessKeySecret: 'different-secret' },
      { ...ADMIN, accessKeyId: 'ANOTHER' },
    ];

    await openAccounts({ ...ground, adminKey: ADMIN });
    await openAccounts(ground);

    for (const adminKey of differing) {
      await assert.rejects(
        openAccounts({ ...ground, adminKey }),
        (error: unknown) =>
          faults('alreadyExists', /fresh data directory/)(error) &&
          !(error as Error).message.includes(adminKey.accessKeySecret),
      );
    }
  });

  test('refuses an admin key that no request could carry', async () => {
    const bad = [
      { ...ADMIN, accessKeyId: '' },
      { ...ADMIN, accessKeyId: 'a|b' },
      { ...ADMIN, accessKeyId: 'STS.x' },
      { ...ADMIN, accessKeySecret: '' },
      { ...ADMIN, accessKeySecret: 'two words' },
    ];

    for (const adminKey of bad) {
      await assert.rejects(openAccounts({ ...fresh(), adminKey }), faults('invalidParameter'));
    }
  });

  test('with the key of another data directory fails', async () => {
    const ground = fresh();
    await openAccounts(ground);
    const box = createSecretBox(systemRandom.bytes(32), systemRandom);

    await assert.rejects(openAccounts({ ...ground, box }), faults('storeUnavailable'));
  });
});

describe('what is stored', () => {
  test('holds no secret in clear, in no encoding', async (t) => {
    const scene = await openAccountScene(t);
    const { keyId, secret } = await scene.addAccount('sub');

    const rows = await allRows(scene);

    assert.ok(rows.includes(keyId));
    for (const one of [secret, ADMIN.accessKeySecret]) {
      for (const encoding of ['latin1', 'hex', 'base64'] as const) {
        assert.equal(rows.includes(Buffer.from(one).toString(encoding)), false);
      }
    }
  });

  test('opens nothing when a secret was moved to another key', async (t) => {
    const scene = await openAccountScene(t);
    const { keyId } = await scene.addAccount('sub');
    const table = scene.store.table('account-keys');
    const stolen = await table.get(keyId);

    await table.put('ADMIN', stolen!.value);

    assert.equal(await scene.accounts.findKey('ADMIN', undefined), undefined);
  });
});

describe('accounts', () => {
  test('begin with no rights and are listed in the order they were made', async (t) => {
    const { accounts, clock, addAccount } = await openAccountScene(t);
    clock.advance(1);
    const { accountId, keyId } = await addAccount('sub');

    const found = await accounts.findKey(keyId, undefined);

    assert.deepEqual(
      accounts.list().map((one) => one.name),
      ['main', 'sub'],
    );
    assert.equal(found!.principal.accountId, accountId);
    assert.equal(found!.principal.accessKeyId, keyId);
    assert.equal(found!.principal.may('mq:PUB', 'mqtt-1', 'x'), false);
    assert.equal(found!.principal.may('mq:ListInstances', undefined, undefined), false);
  });

  test('have names of their own', async (t) => {
    const { accounts } = await openAccountScene(t);
    await accounts.create('sub');

    await assert.rejects(accounts.create('sub'), faults('alreadyExists'));
    await assert.rejects(accounts.create('main'), faults('alreadyExists'));
    for (const name of ['', 'a b', 'x'.repeat(65), 'a/b', 'ü']) {
      await assert.rejects(accounts.create(name), faults('invalidParameter'));
    }
    const twice = await Promise.allSettled([accounts.create('same'), accounts.create('same')]);
    assert.deepEqual(
      twice.map((one) => one.status),
      ['fulfilled', 'rejected'],
    );
  });

  test('go with their keys, and leave no row', async (t) => {
    const scene = await openAccountScene(t);
    const { accounts } = scene;
    const { accountId, keyId } = await scene.addAccount('sub', 'AliyunMQFullAccess');
    const { principal } = (await accounts.findKey(keyId, undefined))!;

    await accounts.delete(accountId);

    assert.equal(await accounts.findKey(keyId, undefined), undefined);
    assert.equal(principal.may('mq:PUB', 'mqtt-1', 'x'), false);
    assert.equal((await allRows(scene)).includes(accountId), false);
    await assert.rejects(accounts.delete(accountId), faults('notFound'));
    await assert.rejects(accounts.createKey(accountId), faults('notFound'));
  });

  test('the main one stays as it is', async (t) => {
    const { accounts } = await openAccountScene(t);

    await assert.rejects(accounts.delete('main'), faults('invalidParameter'));
    await assert.rejects(
      accounts.attachPolicy('main', 'AliyunMQSubOnlyAccess'),
      faults('invalidParameter'),
    );
  });
});

describe('access keys', () => {
  test('are listed without secrets', async (t) => {
    const { accounts, addAccount } = await openAccountScene(t);
    const { accountId, keyId, secret } = await addAccount('sub');

    const keys = accounts.listKeys(accountId);

    assert.deepEqual(
      keys.map((key) => [key.id, key.active]),
      [[keyId, true]],
    );
    assert.equal(JSON.stringify(keys).includes(secret), false);
    assert.throws(() => accounts.listKeys('ac-none'), faults('notFound'));
  });

  test('are inactive until they are active again', async (t) => {
    const { accounts, addAccount } = await openAccountScene(t);
    const { keyId, secret } = await addAccount('sub');

    await accounts.setKeyActive(keyId, false);
    assert.equal((await accounts.findKey(keyId, undefined))!.active, false);
    await accounts.setKeyActive(keyId, true);

    const found = await accounts.findKey(keyId, undefined);
    assert.equal(found!.active, true);
    assert.equal(found!.secret, secret);
  });

  test('are gone when deleted', async (t) => {
    const { accounts, addAccount } = await openAccountScene(t);
    const { keyId } = await addAccount('sub');

    await accounts.deleteKey(keyId);

    assert.equal(await accounts.findKey(keyId, undefined), undefined);
    await assert.rejects(accounts.deleteKey(keyId), faults('notFound'));
    await assert.rejects(accounts.setKeyActive(keyId, true), faults('notFound'));
  });

  test('of the main account: one stays active', async (t) => {
    const { accounts } = await openAccountScene(t);
    const last = faults('invalidParameter', /last active key/);

    await assert.rejects(accounts.deleteKey('ADMIN'), last);
    await assert.rejects(accounts.setKeyActive('ADMIN', false), last);
    const { id } = await accounts.createKey('main');
    const both = await Promise.allSettled([accounts.deleteKey('ADMIN'), accounts.deleteKey(id)]);
    assert.deepEqual(
      both.map((one) => one.status),
      ['fulfilled', 'rejected'],
    );
  });

  test('have a bound for each account', async (t) => {
    const { accounts } = await openAccountScene(t);
    const { id } = await accounts.create('sub');
    const wanted = Array.from({ length: KEYS_PER_ACCOUNT_MAX + 1 });

    const made = await Promise.allSettled(wanted.map(() => accounts.createKey(id)));

    assert.equal(made.filter((one) => one.status === 'rejected').length, 1);
    await assert.rejects(accounts.createKey(id), faults('overCapacity'));
  });
});

describe('policies', () => {
  test('count at once for whoever has been found before', async (t) => {
    const { accounts, addAccount } = await openAccountScene(t);
    const { accountId, keyId } = await addAccount('sub');
    const { principal, rights } = (await accounts.findKey(keyId, undefined))!;
    const may = (): boolean => principal.may('mq:PUB', 'mqtt-1', 'x');
    const before = rights.version;

    await accounts.attachPolicy(accountId, 'own', policy('Allow', 'mq:PUB', 'mqtt-1/x'));
    assert.equal(may(), true);
    await accounts.attachPolicy(accountId, 'own', policy('Allow', 'mq:PUB', 'mqtt-1/y'));
    assert.equal(may(), false);
    await accounts.attachPolicy(accountId, 'AliyunMQPubOnlyAccess');
    assert.equal(may(), true);
    await accounts.detachPolicy(accountId, 'AliyunMQPubOnlyAccess');

    assert.equal(may(), false);
    assert.ok(rights.version > before);
    assert.deepEqual(
      accounts.get(accountId).policies.map((one) => one.name),
      ['own'],
    );
  });

  test('are refused where they mean nothing', async (t) => {
    const { accounts } = await openAccountScene(t);
    const { id } = await accounts.create('sub');
    const own = policy('Allow', 'mq:PUB', '*');
    const wrong = faults('invalidParameter');

    await assert.rejects(accounts.attachPolicy(id, 'NoSuchPolicy'), wrong);
    await assert.rejects(accounts.attachPolicy(id, 'AliyunMQFullAccess', own), wrong);
    await assert.rejects(accounts.attachPolicy(id, 'own', '{}'), wrong);
    await assert.rejects(accounts.attachPolicy(id, 'a b', own), wrong);
    await assert.rejects(accounts.attachPolicy('ac-none', 'own', own), faults('notFound'));
    await assert.rejects(accounts.detachPolicy(id, 'own'), faults('notFound'));
    for (let i = 0; i < POLICIES_PER_ACCOUNT_MAX; i++) {
      await accounts.attachPolicy(id, `own-${i}`, own);
    }
    await assert.rejects(accounts.attachPolicy(id, 'own', own), faults('overCapacity'));
    await accounts.attachPolicy(id, 'own-0', own);
  });

  test('attached at the same time are all there', async (t) => {
    const scene = await openAccountScene(t);
    const other = await scene.secondNode();
    const { id } = await scene.accounts.create('sub');

    await Promise.all([
      scene.accounts.attachPolicy(id, 'one', policy('Allow', 'mq:PUB', '*')),
      other.attachPolicy(id, 'two', policy('Allow', 'mq:SUB', '*')),
      scene.accounts.attachPolicy(id, 'three', policy('Deny', 'mq:SUB', 'mqtt-1/x')),
    ]);

    const names = scene.accounts.get(id).policies.map((one) => one.name);
    assert.deepEqual(names.sort(), ['one', 'three', 'two']);
  });
});

describe('another node', () => {
  test('knows what was there before, and what changes', async (t) => {
    const scene = await openAccountScene(t);
    const before = await scene.addAccount('before', 'AliyunMQFullAccess');
    const other = await scene.secondNode();
    const after = await scene.addAccount('after', 'AliyunMQPubOnlyAccess');

    for (const { keyId, secret } of [before, after]) {
      const found = await other.findKey(keyId, undefined);
      assert.equal(found!.secret, secret);
      assert.equal(found!.principal.may('mq:PUB', 'mqtt-1', 'x'), true);
    }
    const { principal } = (await other.findKey(after.keyId, undefined))!;
    await scene.accounts.detachPolicy(after.accountId, 'AliyunMQPubOnlyAccess');
    assert.equal(principal.may('mq:PUB', 'mqtt-1', 'x'), false);
    await scene.accounts.deleteKey(before.keyId);
    assert.equal(await other.findKey(before.keyId, undefined), undefined);
  });

  test('tells those who watch a key, until they stop', async (t) => {
    const scene = await openAccountScene(t);
    const other = await scene.secondNode();
    const { accountId, keyId } = await scene.addAccount('sub');
    const heard: string[] = [];
    const stop = other.watch(keyId, (change) => heard.push(change));

    await scene.accounts.attachPolicy(accountId, 'AliyunMQFullAccess');
    await scene.accounts.setKeyActive(keyId, false);
    assert.deepEqual(heard, ['rights', 'withdrawn']);
    stop();
    await scene.accounts.delete(accountId);

    assert.deepEqual(heard, ['rights', 'withdrawn']);
  });

  test('that was closed hears nothing more', async (t) => {
    const scene = await openAccountScene(t);
    const other = await scene.secondNode();

    other.close();
    const { keyId } = await scene.addAccount('sub');

    assert.equal(await other.findKey(keyId, undefined), undefined);
  });
});

describe('temporary keys', () => {
  test('have the rights of their account until they expire, and are stored nowhere', async (t) => {
    const scene = await openAccountScene(t);
    const { accounts, clock } = scene;
    const { accountId } = await scene.addAccount('sub', 'AliyunMQPubOnlyAccess');
    const rows = await allRows(scene);

    const key = accounts.createTemporaryKey(accountId, 900);

    const found = (await accounts.findKey(key.accessKeyId, key.securityToken))!;
    assert.match(key.accessKeyId, /^STS\./);
    assert.equal(key.expiresMs, clock.nowMs() + 900_000);
    assert.equal(found.secret, key.accessKeySecret);
    assert.equal(found.expired, false);
    assert.equal(found.active, true);
    assert.equal(found.principal.accountId, accountId);
    assert.equal(found.principal.accessKeyId, key.accessKeyId);
    assert.equal(found.principal.may('mq:PUB', 'mqtt-1', 'x'), true);
    assert.equal(found.principal.may('mq:SUB', 'mqtt-1', 'x'), false);
    assert.equal(await allRows(scene), rows);
    clock.advance(899_999);
    assert.equal((await accounts.findKey(key.accessKeyId, key.securityToken))!.expired, false);
    clock.advance(1);
    assert.equal((await accounts.findKey(key.accessKeyId, key.securityToken))!.expired, true);
  });

  test('have fewer rights by a policy, never more', async (t) => {
    const { accounts, addAccount } = await openAccountScene(t);
    const { accountId } = await addAccount('sub', policy('Allow', 'mq:*', 'mqtt-1/*'));
    const narrow = policy('Allow', ['mq:PUB', 'mq:SUB'], ['mqtt-1/a/*', 'mqtt-2/*']);

    const key = accounts.createTemporaryKey(accountId, 900, narrow);
    const { principal } = (await accounts.findKey(key.accessKeyId, key.securityToken))!;
    const main = accounts.createTemporaryKey('main', 900, narrow);
    const { rights } = (await accounts.findKey(main.accessKeyId, main.securityToken))!;

    assert.equal(principal.may('mq:PUB', 'mqtt-1', 'a/b'), true);
    assert.equal(principal.may('mq:PUB', 'mqtt-1', 'b'), false);
    assert.equal(principal.may('mq:PUB', 'mqtt-2', 'a/b'), false);
    assert.equal(principal.mayAll('mq:SUB', 'mqtt-1', 'a/+'), true);
    assert.equal(principal.mayAll('mq:SUB', 'mqtt-1', '#'), false);
    assert.equal(rights.unlimited, false);
    assert.equal(rights.may('mq:ListInstances', undefined, undefined), false);
  });

  test('are known by their own token only, whole and unchanged', async (t) => {
    const { accounts, box } = await openAccountScene(t);
    const key = accounts.createTemporaryKey('main', 900);
    const other = accounts.createTemporaryKey('main', 900);
    const token = key.securityToken;
    const sealOther = (claim: readonly unknown[]): string =>
      Buffer.from(box.seal(JSON.stringify(claim))).toString('base64');
    const last = token.endsWith('A') ? 'B' : 'A';
    const wrong = [
      undefined,
      '',
      'x',
      other.securityToken,
      `${token}=`,
      ` ${token}`,
      token.slice(0, -4),
      token.slice(0, -1) + last,
      `B${token.slice(1)}`,
      'A'.repeat(100_000),
      sealOther(['temporary-key']),
      sealOther(['other-kind', key.accessKeyId, 'x', 'main', key.expiresMs, '']),
      Buffer.from(box.seal(`${key.accessKeyId}\n${key.accessKeySecret}`)).toString('base64'),
    ];

    for (const one of wrong) {
      assert.equal(await accounts.findKey(key.accessKeyId, one), undefined);
    }
    assert.equal(await accounts.findKey('ADMIN', token), undefined);
    assert.ok(await accounts.findKey(key.accessKeyId, token));
  });

  test('end with their account', async (t) => {
    const { accounts, addAccount } = await openAccountScene(t);
    const { accountId } = await addAccount('sub', 'AliyunMQFullAccess');
    const key = accounts.createTemporaryKey(accountId, 900);

    await accounts.delete(accountId);

    assert.equal(await accounts.findKey(key.accessKeyId, key.securityToken), undefined);
  });

  test('are not made for other times, accounts and policies than there are', async (t) => {
    const { accounts } = await openAccountScene(t);
    const wrong = faults('invalidParameter');

    for (const seconds of [0, -1, 1.5, Number.NaN, 43_201, Number.POSITIVE_INFINITY]) {
      assert.throws(() => accounts.createTemporaryKey('main', seconds), wrong);
    }
    assert.throws(() => accounts.createTemporaryKey('main', 900, '{}'), wrong);
    const long = policy('Allow', Array<string>(300).fill('mq:PUB'), '*');
    assert.throws(() => accounts.createTemporaryKey('main', 900, long), wrong);
    assert.throws(() => accounts.createTemporaryKey('ac-none', 900), faults('notFound'));
  });
});
