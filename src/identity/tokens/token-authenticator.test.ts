/** Token mode: who gets in, and what he may do there. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { FaultCode } from '#base';
import {
  invalid,
  KEY_ID,
  MINUTE_MS,
  openTokenWorld,
  outcome,
} from '../../../test/harness/token-world.ts';
import { createTokenWay } from './token-authenticator.ts';

describe('a login with tokens', () => {
  test('is answered at once, and for this mode only', async (t) => {
    const { request, login, notices, accounts, apply } = await openTokenWorld(t);
    const way = createTokenWay({ notices, accounts });

    assert.equal(outcome(login(`R|${apply()}`)), 'welcome');
    const others = [`Signature|${KEY_ID}|mqtt-1`, `token|${KEY_ID}|mqtt-1`, 'Token', undefined];
    for (const userName of others) {
      assert.equal(way.authenticate({ ...request, userName }), undefined);
    }
  });

  test('takes one token of each type, in any order', async (t) => {
    const { login, apply } = await openTokenWorld(t);
    const [r, w, rw] = [apply(), apply({ actions: 'W' }), apply({ actions: 'R,W' })];

    for (const password of [`R|${r}`, `W|${w}|R|${r}`, `RW|${rw}`, `RW|${rw}|R|${r}|W|${w}`]) {
      assert.equal(outcome(login(password)), 'welcome');
    }
  });

  test('follows the grammar', async (t) => {
    const { login, apply } = await openTokenWorld(t);
    const r = apply();
    const rw = apply({ actions: 'R,W' });

    const malformed = [
      undefined,
      '',
      r,
      'R',
      'R|',
      `r|${r}`,
      `R|${r}|`,
      `R|${r}|R`,
      `R|${r}|R|${apply()}`,
      `R|${r}|R|${r}`,
      `R,W|${rw}`,
      `|${r}`,
      `R ${r}`,
      `R|${r}\n`.repeat(2),
      `R|${r}|W|x|RW|y|R|z`,
      `R|${'A'.repeat(200_000)}`,
    ];
    for (const password of malformed) {
      assert.equal(outcome(login(password)), 'passwordMalformed', password?.slice(0, 40));
    }
  });

  test('fails for one bad token among good ones', async (t) => {
    const { clock, tokens, login, apply } = await openTokenWorld(t);
    const good = apply();
    const short = apply({ actions: 'W', expireMs: clock.nowMs() + MINUTE_MS });
    const revoked = apply({ actions: 'W' });
    await tokens.revoke('mqtt-1', revoked);
    clock.advance(MINUTE_MS);

    const cases: [string, FaultCode | 'welcome'][] = [
      [`R|${good}|W|nonsense`, 'tokenForged'],
      [`R|${good}|W|${revoked.slice(0, -4)}AAAA`, 'tokenForged'],
      [`R|${good}|W|${short}`, 'tokenExpired'],
      [`W|${revoked}|R|${good}`, 'tokenRevoked'],
      [`R|${good}|W|${apply({ instanceId: 'mqtt-2', actions: 'W' })}`, 'tokenForged'],
      [`R|${good}|W|${apply({ accessKeyId: 'ak-other', actions: 'W' })}`, 'tokenMismatch'],
      [`R|${good}|W|${apply({ clientId: 'GID_a@@@d2', actions: 'W' })}`, 'tokenMismatch'],
      [`R|${good}|W|${apply()}`, 'tokenMismatch'],
      [`R|${good}|RW|${apply({ actions: 'W' })}`, 'tokenMismatch'],
      [`R|${good}`, 'welcome'],
      [`W|${apply({ clientId: 'GID_a@@@d1', actions: 'W' })}`, 'welcome'],
    ];
    for (const [password, expected] of cases) assert.equal(outcome(login(password)), expected);
  });

  test('to another instance than the user name says is refused', async (t) => {
    const { login, apply } = await openTokenWorld(t);
    const password = `R|${apply()}`;

    const tries: [string, FaultCode][] = [
      [`Token|${KEY_ID}|mqtt-2`, 'instanceMismatch'],
      [`Token|${KEY_ID}|MQTT-1`, 'instanceMismatch'],
      [`Token|${KEY_ID}`, 'userNameMalformed'],
      [`Token|${KEY_ID}|mqtt-1|x`, 'userNameMalformed'],
      [`Token|${KEY_ID.toUpperCase()}|mqtt-1`, 'tokenMismatch'],
    ];
    for (const [userName, expected] of tries) {
      assert.equal(outcome(login(password, { userName })), expected);
    }
  });

  test('needs the key that applied, and that it is active', async (t) => {
    const { accounts, login, apply } = await openTokenWorld(t);
    const account = await accounts.create('backend');
    const key = await accounts.createKey(account.id);
    const password = `R|${apply({ accessKeyId: key.id })}`;
    const userName = `Token|${key.id}|mqtt-1`;
    assert.equal(outcome(login(password, { userName })), 'welcome');

    await accounts.setKeyActive(key.id, false);
    assert.equal(outcome(login(password, { userName })), 'accessKeyInactive');
    await accounts.setKeyActive(key.id, true);
    assert.equal(outcome(login(password, { userName })), 'welcome');
    await accounts.deleteKey(key.id);
    assert.equal(outcome(login(password, { userName })), 'accessKeyInactive');
  });

  test('with a token of a former instance of the same name is refused', async (t) => {
    const { clock, request, login, apply } = await openTokenWorld(t);
    const instance = { ...request.instance, id: 'mqtt-1', createdMs: clock.nowMs() + 1 };

    assert.equal(outcome(login(`R|${apply()}`, { instance })), 'tokenForged');
  });
});

describe('permissions', () => {
  test('are what the tokens cover, each for its own', async (t) => {
    const { connect, apply } = await openTokenWorld(t);
    const r = apply({ resources: ['alarms/+'] });
    const w = apply({ actions: 'W', resources: ['state/#'] });
    const rw = apply({ actions: 'R,W', resources: ['both'] });

    const { permissions } = connect(`R|${r}|W|${w}|RW|${rw}`).caller;

    assert.ok(permissions !== undefined);
    for (const topic of ['state', 'state/a/b', 'both']) {
      assert.equal(permissions.mayPublish(topic), true, topic);
    }
    for (const topic of ['alarms/1', 'Both', 'both/1', 'stat', '$SYS/x']) {
      assert.equal(permissions.mayPublish(topic), false, topic);
    }
    for (const filter of ['alarms/+', 'alarms/1', 'both']) {
      assert.equal(permissions.maySubscribe(filter), true, filter);
    }
    for (const filter of ['alarms/#', 'alarms', '#', 'state/1', '+']) {
      assert.equal(permissions.maySubscribe(filter), false, filter);
    }
  });

  test('follow an upload, which replaces the token of its type', async (t) => {
    const { connect, apply } = await openTokenWorld(t);
    const one = connect(`R|${apply()}`);
    const { permissions } = one.caller;
    const before = permissions!.version;

    assert.equal(one.upload(apply({ resources: ['other'] }), 'R'), undefined);
    assert.equal(one.upload(apply({ actions: 'W', resources: ['up'] }), 'W'), undefined);

    assert.equal(permissions!.maySubscribe('alarms/1'), false);
    assert.equal(permissions!.maySubscribe('other'), true);
    assert.equal(permissions!.mayPublish('up'), true);
    assert.ok(permissions!.version > before);
    assert.equal(one.permissionChanges, 2);
    assert.deepEqual(one.heard, []);
  });
});

describe('a bad upload', () => {
  test('is refused with its code, and changes nothing', async (t) => {
    const { clock, tokens, connect, apply } = await openTokenWorld(t);
    const short = apply({ expireMs: clock.nowMs() + MINUTE_MS });
    clock.advance(MINUTE_MS);
    const revoked = apply();
    await tokens.revoke('mqtt-1', revoked);
    const one = connect(`R|${apply()}`);

    const cases: [unknown, unknown, FaultCode, string][] = [
      ['x', 'R', 'tokenForged', invalid(1, 'R')],
      [short, 'R', 'tokenExpired', invalid(2, 'R')],
      [revoked, 'R', 'tokenRevoked', invalid(3, 'R')],
      [apply(), 'W', 'tokenMismatch', invalid(5, 'W')],
      [apply({ accessKeyId: 'ak-other' }), 'R', 'tokenMismatch', invalid(-1, 'R')],
      [apply({ clientId: 'other' }), 'R', 'tokenMismatch', invalid(-1, 'R')],
      [apply(), 'r', 'payloadFormatInvalid', invalid(1, '')],
      [apply(), ['R'], 'payloadFormatInvalid', invalid(1, '')],
      [1, 'R', 'payloadFormatInvalid', invalid(1, 'R')],
      ['', 'RW', 'payloadFormatInvalid', invalid(1, 'RW')],
      ['A'.repeat(40_000), 'R', 'payloadFormatInvalid', invalid(1, '')],
    ];
    for (const [token, type, refused, notice] of cases) {
      assert.equal(one.upload(token, type)?.refused, refused);
      assert.equal(one.heard.pop(), notice);
    }
    for (const text of ['', 'null', '[]', '"R"', '{"token":', '\xff']) {
      const answer = one.caller.upload!(Buffer.from(text, 'latin1'));
      assert.deepEqual(answer, {
        refused: 'payloadFormatInvalid',
        detail: 'token upload not well formed',
      });
    }
    assert.equal(one.caller.permissions!.maySubscribe('alarms/1'), true);
    assert.equal(one.caller.permissions!.version, 0);
  });
});

describe('a refused topic', () => {
  test('is explained: no token for it, or one of the other type', async (t) => {
    const { connect, apply } = await openTokenWorld(t);
    const r = apply({ resources: ['alarms/+'] });
    const one = connect(`R|${r}|W|${apply({ actions: 'W', resources: ['state/#'] })}`);
    const other = connect(`RW|${apply({ actions: 'R,W', resources: ['both'] })}`);
    const reader = connect(`R|${r}`);

    one.caller.refused!('publish', 'nowhere');
    one.caller.refused!('subscribe', 'nowhere');
    one.caller.refused!('publish', 'alarms/1');
    one.caller.refused!('subscribe', 'state/+');
    other.caller.refused!('publish', 'nowhere');
    reader.caller.refused!('publish', 'nowhere');

    assert.deepEqual(one.heard, [
      invalid(4, 'W'),
      invalid(4, 'R'),
      invalid(5, 'R'),
      invalid(5, 'W'),
    ]);
    assert.deepEqual(other.heard, [invalid(4, 'RW')]);
    assert.deepEqual(reader.heard, [invalid(4, 'R')]);
  });
});
