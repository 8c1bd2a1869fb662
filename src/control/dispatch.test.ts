/** What becomes of a call that was let in: arguments, rights, rates, and failures behind the door. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createLog, type Log } from '#base';
import { ACTIONS, assertRefused, GIVEN } from '../../test/harness/control-actions.ts';
import { type DoorAnswer, openTestDoor, type TestDoor } from '../../test/harness/control-door.ts';
import { ManualClock } from '../../test/harness/manual-clock.ts';
import { signApiRequest } from '../cli/api-signature.ts';

describe('arguments that will not do', () => {
  const wrong: readonly (readonly [changes: Record<string, string>, says: RegExp])[] = [
    [{ Text: '' }, /Text is missing/],
    [{ InstanceId: '' }, /InstanceId is missing/],
    [{ Count: '0' }, /Count is less than 1/],
    [{ Count: '11' }, /Count is more than 10/],
    [{ Count: '1.5' }, /Count is not a whole number/],
    [{ Flag: 'yes' }, /Flag is neither/],
    [{ Json: '{' }, /Json is not JSON/],
    [{ Kind: 'a' }, /Kind is none of A, B/],
    [{ 'Tag.1.Value': 'v' }, /Tag has a value without a key/],
    [Object.fromEntries(Array.from({ length: 13 }, (_, i) => [`List.${i + 1}`, 'x'])), /List has/],
  ];
  for (const [changes, says] of wrong) {
    test(String(says), async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });

      const answer = await door.call('Echo', { ...GIVEN, ...changes });

      assertRefused(answer, 400, 'ParameterCheckFailed');
      assert.match(String(answer.body['Message']), says);
    });
  }

  test('a name in another case is another name', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.call('Echo', { InstanceId: 'default', text: 'hello' });

    assertRefused(answer, 400, 'ParameterCheckFailed');
  });

  test('one name with two values', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const parameters: [string, string][] = [...Object.entries(GIVEN), ['Text', 'other']];
    const { host, key, services } = door;
    const signed = signApiRequest(
      {
        host,
        action: 'Echo',
        version: '2020-04-20',
        parameters,
        key: { accessKeyId: key.id, accessKeySecret: key.secret },
      },
      services.clock,
      services.random,
    );

    const answer = await door.send({ method: 'POST', ...signed });

    assertRefused(answer, 400, 'InvalidParameter.Text');
  });

  test('an instance that does not exist', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.call('Echo', { ...GIVEN, InstanceId: 'nowhere' });

    assertRefused(answer, 400, 'InstancePermissionCheckFailed');
  });
});

describe('failures behind the door', () => {
  const failures: readonly (readonly [why: string, status: number, code: string])[] = [
    ['notFound', 400, 'ParameterCheckFailed'],
    ['invalidParameter', 400, 'ParameterCheckFailed'],
    ['notAuthorized', 400, 'PermissionCheckFailed'],
    ['storeFull', 503, 'ServiceUnavailable'],
    ['storeUnavailable', 503, 'ServiceUnavailable'],
    ['instanceUnknown', 400, 'InstancePermissionCheckFailed'],
    ['api', 401, 'SnNotUnique'],
    ['bug', 500, 'InternalError'],
  ];
  for (const [why, status, code] of failures) {
    test(`${why} is ${code}`, async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });

      assertRefused(await door.call('Fail', { Why: why }), status, code);
    });
  }

  test('a bug is told to the log with its request, and not to the caller', async (t) => {
    const lines: string[] = [];
    const log: Log = createLog({
      level: 'info',
      clock: new ManualClock(),
      write: (line) => lines.push(line),
    });
    const door = await openTestDoor(t, { actions: ACTIONS, log });

    const answer = await door.call('Fail', { Why: 'bug' });

    assert.ok(!answer.text.includes('detail of ours'));
    const line = lines.find((one) => one.includes('detail of ours')) ?? '';
    assert.ok(line.includes(String(answer.body['RequestId'])), lines.join(''));
    assert.ok(!lines.join('').includes(door.key.secret));
  });

  test('an action that takes too long is given up', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS, limits: { handlerMsMax: 20 } });

    assertRefused(await door.call('Hang'), 503, 'ServiceUnavailable');
  });
});

describe('rates', () => {
  test('an account may call an action so often and no more, until time has passed', async (t) => {
    const clock = new ManualClock(Date.now());
    const door = await openTestDoor(t, { actions: ACTIONS, clock });
    await door.call('Rare');
    await door.call('Rare');

    const third = await door.call('Rare');
    assertRefused(third, 400, 'Throttling.User');
    assert.equal(third.headers['x-acs-retry-after'], '1000');
    assert.equal((await door.call('Echo', GIVEN)).status, 200);
    clock.advance(500);

    assert.equal((await door.call('Rare')).status, 200);
  });

  test('tokens have a name of their own for it', async (t) => {
    const clock = new ManualClock(Date.now());
    const door = await openTestDoor(t, { actions: ACTIONS, clock });
    await door.call('ApplyToken');

    assertRefused(await door.call('ApplyToken'), 400, 'ApplyTokenOverFlow');
  });

  test('an address may call so often and no more, signed or not', async (t) => {
    const clock = new ManualClock(Date.now());
    const limits = { callsPerSecondPerAddressMax: 3 };
    const door = await openTestDoor(t, { actions: ACTIONS, clock, limits });
    for (let i = 0; i < 3; i++) await door.send({});

    assertRefused(await door.send({}), 400, 'Throttling.Api');
    assert.equal((await door.send({ path: '/health' })).status, 200);
  });
});

describe('policies', () => {
  test('an account without a right is refused alike for instances that exist and that do not', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const key = await restrictedKey(door, ['default']);
    assert.equal((await door.call('Echo', GIVEN, key)).status, 200);

    await door.services.instances.create({ id: 'other', kind: 'open', name: 'other' });
    for (const InstanceId of ['other', 'nowhere']) {
      const answer = await door.call('Echo', { ...GIVEN, InstanceId }, key);
      assertRefused(answer, 400, 'InstancePermissionCheckFailed');
    }
    assertRefused(await door.call('Rare', {}, key), 403, 'Forbidden.RAM');
  });

  test('a topic outside of the policy is refused', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const key = await restrictedKey(door, ['default', 'default/mine']);
    const call = (Topic: string): Promise<DoorAnswer> =>
      door.call('Demanding', { InstanceId: 'default', Topic }, key);

    assert.equal((await call('mine')).status, 200);
    assertRefused(await call('yours'), 400, 'PermissionCheckFailed');
  });

  test('a key that is switched off is refused', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const key = await restrictedKey(door, ['default']);
    await door.services.accounts.setKeyActive(key.id, false);

    assertRefused(await door.call('Echo', GIVEN, key), 400, 'InvalidAccessKeyId.Inactive');
  });
});

/** A key of an account that may echo on these resources and nothing else. */
async function restrictedKey(
  door: TestDoor,
  resources: readonly string[],
): Promise<TestDoor['key']> {
  const { accounts } = door.services;
  const { id } = await accounts.create('restricted');
  const statement = { Effect: 'Allow', Action: ['mq:Echo'], Resource: resources };
  await accounts.attachPolicy(id, 'echo', JSON.stringify({ Version: '1', Statement: [statement] }));
  return await accounts.createKey(id);
}
