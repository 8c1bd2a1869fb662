/** The three actions on tokens: their answers, their bounds, and who may give what away. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { silentLog, systemRandom } from '#base';
import { type Accounts, createSecretBox, openAccounts, openTokens, type Tokens } from '#identity';
import { openInstances } from '#instances';
import { ManualClock } from '../../../test/harness/manual-clock.ts';
import { ApiFault } from '../api-fault.ts';
import { readArguments } from '../arguments.ts';
import { translateFault } from '../fault-translation.ts';
import type { Services } from '../services.ts';
import { tokenActions } from './tokens.ts';

const MINUTE_MS = 60_000;
const ADMIN = 'ak-admin';

interface World {
  readonly clock: ManualClock;
  readonly accounts: Accounts;
  readonly tokens: Tokens;
  /** Calls as `accessKeyId`; a refusal rejects with the fault that the caller would read. */
  call(
    name: string,
    parameters: Record<string, string>,
    accessKeyId?: string,
  ): Promise<Record<string, unknown>>;
}

async function openWorld(t: TestContext): Promise<World> {
  const clock = new ManualClock();
  const { store } = openMemoryEngine({ clock });
  const ground = { store, clock, random: systemRandom, log: silentLog };
  const box = createSecretBox(Buffer.alloc(32, 1), systemRandom);
  const adminKey = { accessKeyId: ADMIN, accessKeySecret: 'secret' };
  const { accounts } = await openAccounts({ ...ground, box, adminKey });
  const tokens = await openTokens({ ...ground, key: Buffer.alloc(32, 2) });
  const instances = await openInstances({ ...ground, defaultId: 'default', openDefault: false });
  await instances.create({ id: 'mqtt-1' });
  t.after(() => {
    instances.close();
    accounts.close();
    tokens.close();
  });
  // All that these actions use.
  const services = { clock, accounts, tokens, instances } as Partial<Services> as Services;
  return {
    clock,
    accounts,
    tokens,
    async call(name, parameters, accessKeyId = ADMIN) {
      const action = tokenActions.find((one) => one.name === name)!;
      const { principal } = accounts.lookUp(accessKeyId, undefined)!;
      try {
        const values = readArguments(
          action,
          new Map(Object.entries({ InstanceId: 'mqtt-1', ...parameters })),
        );
        const demand = (): void => {};
        return await action.handle(services, {
          arguments: values,
          principal,
          requestId: '',
          demand,
        });
      } catch (error) {
        throw translateFault(action, error) ?? error;
      }
    },
  };
}

function application(clock: ManualClock, changes: Record<string, string> = {}) {
  return {
    Actions: 'R',
    ExpireTime: String(clock.nowMs() + 10 * MINUTE_MS),
    Resources: 'alarms/+,state/#',
    ...changes,
  };
}

function isFault(code: string): (error: unknown) => boolean {
  return (error) => error instanceof ApiFault && error.code === code;
}

describe('ApplyToken', () => {
  test('answers a token of the caller for those topics', async (t) => {
    const { clock, tokens, call } = await openWorld(t);

    const answer = await call('ApplyToken', application(clock, { Actions: 'R,W' }));

    assert.deepEqual(Object.keys(answer), ['Token']);
    const token = tokens.read('mqtt-1', String(answer['Token']));
    assert.ok(typeof token !== 'string');
    assert.equal(token.accessKeyId, ADMIN);
    assert.equal(token.type, 'RW');
    assert.equal(token.clientId, undefined);
    assert.deepEqual(token.filters, ['alarms/+', 'state/#']);
    assert.equal(token.expireMs, clock.nowMs() + 10 * MINUTE_MS);
  });

  test('binds the token to a client where one is named', async (t) => {
    const { clock, tokens, call } = await openWorld(t);

    const { Token } = await call('ApplyToken', application(clock, { ClientId: 'GID_a@@@d1' }));

    const token = tokens.read('mqtt-1', String(Token));
    assert.ok(typeof token !== 'string');
    assert.equal(token.clientId, 'GID_a@@@d1');
  });

  test('keeps its bounds', async (t) => {
    const { clock, call } = await openWorld(t);
    const topics = (count: number): string =>
      Array.from({ length: count }, (_, index) => `topic/${index}`).join(',');

    const wrong: Record<string, string>[] = [
      { Resources: topics(101) },
      { Resources: 'a,,b' },
      { Resources: 'a/#/b' },
      { Resources: '' },
      { Resources: 'x'.repeat(40_000) },
      { Actions: 'r' },
      { Actions: 'W,R' },
      { Actions: 'RW' },
      { ExpireTime: String(clock.nowMs() + MINUTE_MS - 1) },
      { ExpireTime: 'tomorrow' },
      { ExpireTime: '' },
    ];
    for (const changes of wrong) {
      const parameters = application(clock, changes);
      await assert.rejects(
        call('ApplyToken', parameters),
        isFault('ParameterCheckFailed'),
        JSON.stringify(changes).slice(0, 60),
      );
    }
    await call('ApplyToken', application(clock, { Resources: topics(100) }));
  });

  test('gives away only what the caller has', async (t) => {
    const { clock, accounts, call } = await openWorld(t);
    const account = await accounts.create('backend');
    const key = await accounts.createKey(account.id);
    const statement = (effect: string, actions: string[], resources: string[]) => ({
      Effect: effect,
      Action: actions,
      Resource: resources,
    });
    const document = JSON.stringify({
      Version: '1',
      Statement: [
        statement('Allow', ['mq:SUB'], ['mqtt-1/alarms/*']),
        statement('Allow', ['mq:PUB'], ['mqtt-1/state/*']),
        statement('Deny', ['mq:SUB'], ['mqtt-1/alarms/secret/*']),
      ],
    });
    await accounts.attachPolicy(account.id, 'devices', document);
    const apply = (Actions: string, Resources: string, instanceId = 'mqtt-1') =>
      call(
        'ApplyToken',
        { ...application(clock, { Actions, Resources }), InstanceId: instanceId },
        key.id,
      );

    await apply('R', 'alarms/1');
    await apply('R', 'alarms/1,alarms/+');
    await apply('W', 'state/x/#');
    const refused: [string, string, string?][] = [
      ['W', 'alarms/1'],
      ['R,W', 'alarms/1'],
      ['R,W', 'state/1'],
      ['R', 'state/1'],
      ['R', 'alarms/1,other'],
      ['R', 'alarms/secret/1'],
      ['R', 'alarms/#'],
      ['R', 'alarms/+/1'],
      ['R', '#'],
      ['R', '+/1'],
      ['R', 'alarms/1', 'mqtt-2'],
    ];
    for (const one of refused) {
      await assert.rejects(apply(...one), isFault('PermissionCheckFailed'), one.join(' '));
    }
  });
});

describe('QueryToken', () => {
  test('is true for a token that is good, else false', async (t) => {
    const { clock, call } = await openWorld(t);
    const { Token } = await call('ApplyToken', application(clock));
    const status = async (text: string, InstanceId = 'mqtt-1') =>
      await call('QueryToken', { Token: text, InstanceId });
    const token = String(Token);

    assert.deepEqual(await status(token), { TokenStatus: true });
    assert.deepEqual(await status(token, 'mqtt-2'), { TokenStatus: false });
    assert.deepEqual(await status('unknown'), { TokenStatus: false });
    clock.advance(10 * MINUTE_MS);
    assert.deepEqual(await status(token), { TokenStatus: false });
  });
});

describe('RevokeToken', () => {
  test('makes the token worthless, also when it is said twice', async (t) => {
    const { clock, call } = await openWorld(t);
    const { Token } = await call('ApplyToken', application(clock));
    const token = { Token: String(Token) };

    assert.deepEqual(await call('RevokeToken', token), {});
    assert.deepEqual(await call('RevokeToken', token), {});

    assert.deepEqual(await call('QueryToken', token), { TokenStatus: false });
  });

  test('refuses what is no token of that instance', async (t) => {
    const { clock, call } = await openWorld(t);
    const { Token } = await call('ApplyToken', application(clock));

    const other = { Token: String(Token), InstanceId: 'mqtt-2' };
    for (const parameters of [{ Token: 'unknown' }, { Token: '' }, other]) {
      await assert.rejects(call('RevokeToken', parameters), isFault('ParameterCheckFailed'));
    }
    assert.deepEqual(await call('QueryToken', { Token: String(Token) }), { TokenStatus: true });
  });
});
