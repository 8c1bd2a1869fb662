/** Who is let in at the control door, in every way of sending, and who is not. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import {
  ACTIONS,
  assertRefused,
  assertTraceable,
  GIVEN,
  sign,
  signEmpty,
} from '../../test/harness/control-actions.ts';
import { type DoorAnswer, openTestDoor } from '../../test/harness/control-door.ts';
import { ManualClock } from '../../test/harness/manual-clock.ts';

describe('a signed request', () => {
  test('of the newer generation is answered', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.call('Echo', { ...GIVEN, Text: 'a b+c*~ 世\n' });

    assert.equal(answer.status, 200, answer.text);
    assertTraceable(answer);
    assert.deepEqual(answer.body['Given'], { ...GIVEN, Text: 'a b+c*~ 世\n' });
    assert.equal(answer.headers['location'], undefined);
  });

  test('of the older generation is answered', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.callRpc('Echo', { ...GIVEN, RegionId: 'cn-hangzhou' });

    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(answer.body['Given'], GIVEN);
  });

  test('with a temporary key is answered until the key expires', async (t) => {
    const clock = new ManualClock(Date.now());
    const door = await openTestDoor(t, { actions: ACTIONS, clock });
    const made = door.services.accounts.createTemporaryKey('main', 900);
    const temporary = { ...made, id: made.accessKeyId, secret: made.accessKeySecret };
    const call = (): Promise<DoorAnswer> => door.send({ method: 'POST', ...sign(door, temporary) });

    assert.equal((await call()).status, 200);
    clock.advance(901_000);

    assertRefused(await call(), 400, 'CheckAccountInfoFailed');
  });

  test('has its arguments by their types, and nothing else', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.call('Echo', {
      ...GIVEN,
      Count: '10',
      Flag: 'True',
      'List.10': 'c',
      'List.1': 'a',
      'List.2': 'b',
      'Tag.1.Key': 'k',
      'Tag.1.Value': 'v',
      'Tag.2.Key': 'alone',
      Json: '{"a":1}',
      Kind: '',
      text: 'wrong case',
      __proto__x: 'ignored',
    });

    assert.deepEqual(answer.body['Given'], {
      ...GIVEN,
      Count: 10,
      Flag: true,
      List: ['a', 'b', 'c'],
      Tag: [
        { key: 'k', value: 'v' },
        { key: 'alone', value: '' },
      ],
      Json: '{"a":1}',
    });
  });

  const styles: readonly (readonly [action: string, body: object])[] = [
    ['Numbered', { Code: 200, Success: true, Message: 'Success', Data: 1 }],
    ['Texted', { Code: '200', Success: 'true', Message: 'Success' }],
    ['Rare', {}],
  ];
  for (const [action, body] of styles) {
    test(`${action} is answered in its style`, async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });

      const answer = await door.call(action);

      assert.deepEqual(answer.body, { RequestId: answer.body['RequestId'], ...body });
    });
  }

  test('may carry a payload of 64 KiB in its URL', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.callRpc('Echo', { ...GIVEN, Text: '世'.repeat(21_845) });

    assert.equal(answer.status, 200, answer.text.slice(0, 300));
  });
});

describe('framings', () => {
  const empty = createHash('sha256').digest('hex');
  const framings: readonly (readonly [what: string, headers: object, chunked: boolean])[] = [
    ['no body and no length', {}, false],
    ['a length of nothing', { 'content-length': '0' }, false],
    ['chunks with nothing in them', {}, true],
    [
      'a form content type and no body',
      { 'content-type': 'application/x-www-form-urlencoded' },
      false,
    ],
  ];
  for (const [what, headers, chunked] of framings) {
    for (const method of ['GET', 'POST']) {
      test(`${method} with ${what}`, async (t) => {
        const door = await openTestDoor(t, { actions: ACTIONS });
        const signed = signEmpty(door, method, empty);

        const answer = await door.send({
          method,
          path: '/?InstanceId=default&Text=x',
          headers: { ...signed, ...headers },
          chunked: chunked && method === 'POST',
        });

        assert.equal(answer.status, 200, answer.text);
      });
    }
  }

  test('a form in chunks', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const signed = sign(door);

    const answer = await door.send({ method: 'POST', ...signed, chunked: true });

    assert.equal(answer.status, 200, answer.text);
  });
});

describe('a request that is not to be trusted', () => {
  test('unsigned', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.send({ path: '/?Action=Echo&Version=2020-04-20' });

    assertRefused(answer, 400, 'IncompleteSignature');
  });

  test('signed with another secret: the answer is as older SDKs read it', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.call('Echo', GIVEN, { ...door.key, secret: 'guessed' });

    assertRefused(answer, 400, 'SignatureDoesNotMatch');
    const parts = String(answer.body['Message']).split(':');
    assert.equal(parts.length, 2);
    assert.match(parts[1]!, /^ACS3-HMAC-SHA256\n[0-9a-f]{64}$/);
    assert.ok(!answer.text.includes(door.key.secret));
  });

  test('with a key that does not exist', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.call('Echo', GIVEN, { id: 'nobody', secret: 'guessed' });

    assertRefused(answer, 404, 'InvalidAccessKeyId.NotFound');
  });

  test('with a security token of nobody', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.callRpc('Echo', GIVEN, { SecurityToken: 'made up' });

    assertRefused(answer, 400, 'CheckAccountInfoFailed');
  });

  test('with any signed header or the body changed', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const { headers } = sign(door);
    const later = { 'x-acs-date': `${new Date(Date.now() + 2_000).toISOString().slice(0, 19)}Z` };
    const spoilt = Object.keys(headers).map((name) => ({ [name]: `${headers[name]}1` }));

    for (const change of [...spoilt, later]) {
      const signed = sign(door);
      const answer = await door.send({
        method: 'POST',
        body: signed.body,
        headers: { ...signed.headers, ...change },
      });
      assert.ok(answer.status >= 400, JSON.stringify(change));
      assertTraceable(answer);
    }
    for (const body of [`${sign(door).body}x`, `${sign(door).body}&InstanceId=other`, '']) {
      const answer = await door.send({ method: 'POST', headers: sign(door).headers, body });
      assert.ok(answer.status >= 400, body);
    }
    const query = await door.send({ method: 'POST', ...sign(door), path: '/?Count=1' });
    assertRefused(query, 400, 'SignatureDoesNotMatch');
  });

  test('sent a second time', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const signed = sign(door);
    assert.equal((await door.send({ method: 'POST', ...signed })).status, 200);

    const answer = await door.send({ method: 'POST', ...signed });

    assertRefused(answer, 400, 'SignatureNonceUsed');
  });

  test('with a nonce of another time', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const nonce = { SignatureNonce: 'once' };
    assert.equal((await door.callRpc('Echo', GIVEN, nonce)).status, 200);

    assertRefused(await door.callRpc('Echo', GIVEN, nonce), 400, 'SignatureNonceUsed');
    const another = {
      ...nonce,
      Timestamp: `${new Date(Date.now() + 70_000).toISOString().slice(0, 19)}Z`,
    };
    assertRefused(await door.callRpc('Echo', GIVEN, another), 400, 'SignatureNonceUsed');
  });

  test('a wrong signature does not use up its nonce', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const signed = sign(door);
    await door.send({ method: 'POST', ...signed, path: '/?Count=1' });

    assert.equal((await door.send({ method: 'POST', ...signed })).status, 200);
  });

  for (const [what, offsetMs] of [
    ['slow', -15 * 60_000 - 2_000],
    ['fast', 15 * 60_000 + 2_000],
  ] as const) {
    test(`by a clock too ${what}`, async (t) => {
      const clock = new ManualClock(Date.now());
      const door = await openTestDoor(t, { actions: ACTIONS, clock });
      clock.advance(60 * 60_000);
      const theirs = new ManualClock(clock.nowMs() + offsetMs);

      const answer = await door.send({ method: 'POST', ...sign(door, door.key, theirs) });

      assertRefused(answer, 400, 'InvalidTimeStamp.Expired');
    });
  }

  const badRpc: readonly (readonly [changes: Record<string, string>, code: string])[] = [
    [{ Timestamp: '2026-11-22 12:44:58' }, 'InvalidTimeStamp.Format'],
    [{ Timestamp: '2026-13-22T12:44:58Z' }, 'InvalidTimeStamp.Format'],
    [{ Timestamp: '' }, 'MissingTimestamp'],
    [{ SignatureNonce: '' }, 'MissingSignatureNonce'],
    [{ AccessKeyId: '' }, 'MissingAccessKeyId'],
    [{ Action: '' }, 'MissingAction'],
    [{ SignatureMethod: 'HMAC-MD5' }, 'InvalidSignatureMethod'],
    [{ SignatureType: 'BEARERTOKEN' }, 'InvalidSignatureMethod'],
    [{ SignatureVersion: '2.0' }, 'InvalidSignatureVersion'],
    [{ Format: 'XML' }, 'InvalidParameter.Format'],
    [{ Version: '2019-12-11' }, 'InvalidApi.NotFound'],
    [{ Action: 'echo' }, 'InvalidApi.NotFound'],
    [{ Action: 'toString' }, 'InvalidApi.NotFound'],
  ];
  for (const [changes, code] of badRpc) {
    test(`with ${JSON.stringify(changes)}`, async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });

      const answer = await door.callRpc('Echo', GIVEN, changes);

      assertRefused(answer, code === 'InvalidApi.NotFound' ? 404 : 400, code);
    });
  }

  test('the version before is served for the actions it has', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.callRpc('ApplyToken', {}, { Version: '2019-12-11' });

    assert.equal(answer.status, 200, answer.text);
  });
});
