/** The actions on accounts: what they answer, and who may call them. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import {
  type AccountScene,
  openAccountScene,
  policy,
} from '../../../test/harness/account-scene.ts';
import type { Arguments } from '../action.ts';
import { ApiFault } from '../api-fault.ts';
import type { Services } from '../services.ts';
import { accountActions } from './accounts.ts';

type Fields = Record<string, unknown>;

interface Scene extends AccountScene {
  /** Calls an action by an access key, as the dispatcher does once the request is proven. */
  call(
    name: string,
    values: Arguments,
    by?: { readonly keyId: string; readonly token?: string },
  ): Promise<Fields>;
}

async function open(t: TestContext): Promise<Scene> {
  const scene = await openAccountScene(t);
  const services = { accounts: scene.accounts } as Partial<Services> as Services;
  return {
    ...scene,
    call: async (name, values, by = { keyId: 'ADMIN' }) => {
      const action = accountActions.find((one) => one.name === name)!;
      const found = await scene.accounts.findKey(by.keyId, by.token);
      const { principal } = found!;
      if (!principal.may(action.permission, undefined, undefined)) {
        throw new ApiFault('Forbidden.RAM');
      }
      const call = { arguments: values, principal, requestId: 'R', demand: () => {} };
      return await action.handle(services, call);
    },
  };
}

function forbidden(error: unknown): boolean {
  return error instanceof ApiFault && error.code === 'Forbidden.RAM';
}

describe('the main account', () => {
  test('makes an account, gives it rights and a key, and takes all back', async (t) => {
    const { accounts, call } = await open(t);

    const made = (await call('CreateAccount', { AccountName: 'app' }))['Account'] as Fields;
    const AccountId = made['AccountId'] as string;
    await call('AttachPolicy', { AccountId, PolicyName: 'AliyunMQPubOnlyAccess' });
    const PolicyDocument = policy('Allow', 'mq:SUB', 'mqtt-1/news');
    await call('AttachPolicy', { AccountId, PolicyName: 'news', PolicyDocument });
    const key = (await call('CreateAccessKey', { AccountId }))['AccessKey'] as Fields;
    const AccessKeyId = key['AccessKeyId'] as string;

    const found = (await accounts.findKey(AccessKeyId, undefined))!;
    assert.equal(found.secret, key['AccessKeySecret']);
    assert.equal(found.principal.may('mq:PUB', 'mqtt-1', 'x'), true);
    assert.equal(found.principal.may('mq:SUB', 'mqtt-1', 'news'), true);
    assert.equal(found.principal.may('mq:SUB', 'mqtt-1', 'x'), false);
    await call('DetachPolicy', { AccountId, PolicyName: 'news' });
    assert.equal(found.principal.may('mq:SUB', 'mqtt-1', 'news'), false);
    await call('UpdateAccessKey', { AccessKeyId, Status: 'Inactive' });
    assert.equal((await accounts.findKey(AccessKeyId, undefined))!.active, false);
    await call('DeleteAccessKey', { AccessKeyId });
    assert.equal(await accounts.findKey(AccessKeyId, undefined), undefined);
    await call('DeleteAccount', { AccountId });
    assert.deepEqual(
      accounts.list().map((one) => one.id),
      ['main'],
    );
  });

  test('lists accounts with policies, and keys without secrets', async (t) => {
    const { call, clock, addAccount } = await open(t);
    clock.advance(1);
    const document = policy('Allow', 'mq:PUB', '*');
    const sub = await addAccount('sub', 'AliyunMQSubOnlyAccess', document);

    const listed = await call('ListAccounts', {});
    const keys = await call('ListAccessKeys', { AccountId: sub.accountId });

    assert.deepEqual(listed['Accounts'], [
      {
        AccountId: 'main',
        AccountName: 'main',
        CreateTime: clock.nowMs() - 1,
        Main: true,
        Policies: [],
      },
      {
        AccountId: sub.accountId,
        AccountName: 'sub',
        CreateTime: clock.nowMs(),
        Main: false,
        Policies: [
          { PolicyName: 'AliyunMQSubOnlyAccess' },
          { PolicyName: 'own-1', PolicyDocument: document },
        ],
      },
    ]);
    assert.deepEqual(keys['AccessKeys'], [
      {
        AccessKeyId: sub.keyId,
        AccountId: sub.accountId,
        CreateTime: clock.nowMs(),
        Status: 'Active',
      },
    ]);
  });

  test('makes temporary keys for itself and for others', async (t) => {
    const { accounts, call, clock, addAccount } = await open(t);
    const { accountId } = await addAccount('sub', 'AliyunMQFullAccess');
    const Policy = policy('Allow', 'mq:PUB', '*');

    const answers = [
      await call('AssumeRole', { Policy }),
      await call('AssumeRole', { AccountId: accountId, DurationSeconds: 60 }),
    ];

    const [own, sub] = answers.map((answer) => answer['Credentials'] as Record<string, string>);
    assert.equal(own!['ExpireTime'], clock.nowMs() + 3_600_000);
    assert.equal(sub!['ExpireTime'], clock.nowMs() + 60_000);
    const ownFound = await accounts.findKey(own!['AccessKeyId']!, own!['SecurityToken']);
    const subFound = await accounts.findKey(sub!['AccessKeyId']!, sub!['SecurityToken']);
    assert.equal(ownFound!.secret, own!['AccessKeySecret']);
    assert.equal(ownFound!.principal.accountId, 'main');
    assert.equal(ownFound!.principal.may('mq:SUB', 'mqtt-1', 'x'), false);
    assert.equal(subFound!.principal.accountId, accountId);
  });
});

describe('other accounts', () => {
  const everything: Readonly<Record<string, Arguments>> = {
    CreateAccount: { AccountName: 'x' },
    ListAccounts: {},
    DeleteAccount: { AccountId: 'ac-none' },
    CreateAccessKey: { AccountId: 'main' },
    ListAccessKeys: { AccountId: 'main' },
    UpdateAccessKey: { AccessKeyId: 'ADMIN', Status: 'Inactive' },
    DeleteAccessKey: { AccessKeyId: 'ADMIN' },
    AttachPolicy: { AccountId: 'ac-none', PolicyName: 'AliyunMQFullAccess' },
    DetachPolicy: { AccountId: 'ac-none', PolicyName: 'AliyunMQFullAccess' },
    AssumeRole: { AccountId: 'main' },
  };

  test('are told apart by every action', () => {
    const names = accountActions.map((action) => action.name);

    assert.deepEqual(names.sort(), Object.keys(everything).sort());
    for (const action of accountActions) assert.equal(action.permission, `mq:${action.name}`);
  });

  for (const [name, values] of Object.entries(everything)) {
    test(`do not call ${name} by full access alone`, async (t) => {
      const { call, addAccount } = await open(t);
      const { keyId } = await addAccount('sub', 'AliyunMQFullAccess');

      await assert.rejects(call(name, values, { keyId }), forbidden);
    });

    test(`do not call ${name} by a temporary key, whosever it is`, async (t) => {
      const { accounts, call } = await open(t);
      const key = accounts.createTemporaryKey('main', 900);

      const by = { keyId: key.accessKeyId, token: key.securityToken };
      await assert.rejects(call(name, values, by), forbidden);
    });
  }

  test('act on accounts where a policy says so, and never on the main one', async (t) => {
    const { call, addAccount } = await open(t);
    const { keyId, accountId } = await addAccount('admin', policy('Allow', 'mq:*', '*'));
    const by = { keyId };

    const made = (await call('CreateAccount', { AccountName: 'x' }, by))['Account'] as Fields;
    const AccountId = made['AccountId'] as string;
    await call('CreateAccessKey', { AccountId }, by);
    await call('AssumeRole', {}, by);
    await call('AssumeRole', { AccountId: accountId }, by);

    for (const name of ['CreateAccessKey', 'DeleteAccount', 'AssumeRole']) {
      await assert.rejects(call(name, { AccountId: 'main' }, by), forbidden);
    }
    for (const name of ['UpdateAccessKey', 'DeleteAccessKey']) {
      const values = { AccessKeyId: 'ADMIN', Status: 'Inactive' };
      await assert.rejects(call(name, values, by), forbidden);
    }
    const policyOfMain = { AccountId: 'main', PolicyName: 'AliyunMQSubOnlyAccess' };
    await assert.rejects(call('AttachPolicy', policyOfMain, by), forbidden);
    await assert.rejects(call('AssumeRole', { AccountId }, by), forbidden);
  });
});
