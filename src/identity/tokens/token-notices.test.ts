/** Tokens of live connections: notices in time, and the end when it is due. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  device,
  invalid,
  MINUTE_MS,
  openTokenWorld,
  SECOND_MS,
} from '../../../test/harness/token-world.ts';
import { isRefusal } from '../authenticator.ts';

describe('time', () => {
  test('brings one notice five minutes before the end, and then the end', async (t) => {
    const { clock, connect, apply } = await openTokenWorld(t);
    const expireMs = clock.nowMs() + 60 * MINUTE_MS;
    const one = connect(`RW|${apply({ actions: 'R,W', expireMs })}`);

    clock.advance(55 * MINUTE_MS - SECOND_MS);
    assert.deepEqual(one.heard, []);
    clock.advance(3 * SECOND_MS);
    const notice = `$SYS/tokenExpireNotice {"expireTime":${expireMs},"type":"RW"}`;
    assert.deepEqual(one.heard, [notice]);
    clock.advance(5 * MINUTE_MS - 3 * SECOND_MS);
    assert.deepEqual(one.heard, [notice]);
    clock.advance(3 * SECOND_MS);
    assert.deepEqual(one.heard, [notice, invalid(2, 'RW'), 'end tokenExpired']);
    clock.advance(60 * MINUTE_MS);
    assert.equal(one.heard.length, 3);
  });

  test('is short for a token of a minute: its notice comes at once', async (t) => {
    const { clock, connect, apply } = await openTokenWorld(t);
    const expireMs = clock.nowMs() + MINUTE_MS;
    const one = connect(`R|${apply({ expireMs })}`);
    assert.deepEqual(one.heard, [], 'not before CONNACK');

    clock.advance(SECOND_MS);
    assert.deepEqual(one.heard, [`$SYS/tokenExpireNotice {"expireTime":${expireMs},"type":"R"}`]);
    clock.advance(MINUTE_MS + SECOND_MS);
    assert.deepEqual(one.heard.slice(1), [invalid(2, 'R'), 'end tokenExpired']);
  });

  test('is bought by an upload', async (t) => {
    const { clock, connect, apply } = await openTokenWorld(t);
    const one = connect(`R|${apply({ expireMs: clock.nowMs() + 10 * MINUTE_MS })}`);
    clock.advance(9 * MINUTE_MS);
    assert.equal(one.heard.length, 1);

    one.upload(apply({ expireMs: clock.nowMs() + 60 * MINUTE_MS }), 'R');
    clock.advance(54 * MINUTE_MS);
    assert.equal(one.heard.length, 1);
    clock.advance(2 * MINUTE_MS);
    assert.equal(one.heard.length, 2);
    assert.match(one.heard[1]!, /tokenExpireNotice/);
    clock.advance(5 * MINUTE_MS);
    assert.deepEqual(one.heard.slice(2), [invalid(2, 'R'), 'end tokenExpired']);
  });

  test('ends a connection with the first of its tokens', async (t) => {
    const { clock, connect, apply } = await openTokenWorld(t);
    const w = apply({ actions: 'W', expireMs: clock.nowMs() + 10 * MINUTE_MS });
    const one = connect(`R|${apply()}|W|${w}`);

    clock.advance(11 * MINUTE_MS);

    assert.deepEqual(one.heard.slice(1), [invalid(2, 'W'), 'end tokenExpired']);
  });

  test('is the wall clock: one that was set counts within a minute or so', async (t) => {
    const { clock, connect, apply } = await openTokenWorld(t);
    const one = connect(`R|${apply()}`);
    clock.advance(SECOND_MS);

    clock.nowMs = () => 4_000_000_000_000;
    clock.advance(62 * SECOND_MS);

    assert.deepEqual(one.heard, [invalid(2, 'R'), 'end tokenExpired']);
  });

  test('says nothing to a connection that is over, and forgets its tokens', async (t) => {
    const { clock, notices, connect, apply } = await openTokenWorld(t);
    const password = `R|${apply()}`;
    const [one, other] = [connect(password), connect(password)];
    assert.equal(notices.tokenCount, 1);

    one.drop();
    one.drop();
    assert.equal(notices.tokenCount, 1);
    other.drop();
    assert.equal(notices.tokenCount, 0);
    clock.advance(120 * MINUTE_MS);
    assert.deepEqual([...one.heard, ...other.heard], []);
  });

  test('and many connections need no more timers than one', async (t) => {
    const { clock, notices, connect, apply } = await openTokenWorld(t);
    const before = clock.waitingCount;

    const devices = Array.from({ length: 1_000 }, () => connect(`R|${apply()}`));
    assert.equal(clock.waitingCount, before);
    clock.advance(61 * MINUTE_MS);

    assert.ok(devices.every(({ heard }) => heard.length === 3));
    assert.equal(notices.tokenCount, 0);
  });
});

describe('a revocation', () => {
  test('ends all live connections of the token, and no others', async (t) => {
    const { tokens, connect, apply } = await openTokenWorld(t);
    const text = apply();
    const [one, two] = [connect(`R|${text}`), connect(`R|${text}|W|${apply({ actions: 'W' })}`)];
    const other = connect(`R|${apply()}`);

    await tokens.revoke('mqtt-1', text);

    assert.deepEqual(one.heard, [invalid(3, 'R'), 'end tokenRevoked']);
    assert.deepEqual(two.heard, [invalid(3, 'R'), 'end tokenRevoked']);
    assert.deepEqual(other.heard, []);
  });

  test('of a token that was replaced ends nothing; of the one in its place, it does', async (t) => {
    const { tokens, connect, apply } = await openTokenWorld(t);
    const [first, second] = [apply(), apply()];
    const one = connect(`R|${first}`);
    one.upload(second, 'R');
    one.upload(second, 'R');

    await tokens.revoke('mqtt-1', first);
    assert.deepEqual(one.heard, []);
    await tokens.revoke('mqtt-1', second);
    assert.deepEqual(one.heard, [invalid(3, 'R'), 'end tokenRevoked']);
  });

  test('between login and connection is not missed', async (t) => {
    const { clock, tokens, login, apply } = await openTokenWorld(t);
    const text = apply();
    const verdict = login(`R|${text}`);
    assert.ok(!isRefusal(verdict));

    await tokens.revoke('mqtt-1', text);
    const one = device(verdict);
    clock.advance(SECOND_MS);

    assert.deepEqual(one.heard, [invalid(3, 'R'), 'end tokenRevoked']);
  });
});

describe('a withdrawn access key', () => {
  test('ends the connections of its tokens', async (t) => {
    const { accounts, login, connect, apply } = await openTokenWorld(t);
    const account = await accounts.create('backend');
    const key = await accounts.createKey(account.id);
    const password = `R|${apply({ accessKeyId: key.id })}`;
    const verdict = login(password, { userName: `Token|${key.id}|mqtt-1` });
    assert.ok(!isRefusal(verdict));
    const one = device(verdict);
    const other = connect(`R|${apply()}`);

    await accounts.setKeyActive(key.id, false);

    assert.deepEqual(one.heard, [invalid(-1, 'R'), 'end accessKeyInactive']);
    assert.deepEqual(other.heard, []);
  });
});
