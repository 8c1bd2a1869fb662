/** Tokens: what is ours is read, what is not is not, and what was revoked stays so. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { Fault, silentLog, systemRandom } from '#base';
import type { Store } from '#ports';
import { ManualClock } from '../../../test/harness/manual-clock.ts';
import { openTokens, TOKEN_CHARS_MAX, type TokenApplication, type Tokens } from './tokens.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const KEY = Buffer.alloc(32, 7);

interface World {
  readonly tokens: Tokens;
  readonly clock: ManualClock;
  readonly store: Store;
  /** The same store, as another node or a later start has it. */
  again(key?: Uint8Array): Promise<Tokens>;
  apply(changes?: Partial<TokenApplication>): string;
}

async function openWorld(t: TestContext): Promise<World> {
  const clock = new ManualClock();
  const { store } = openMemoryEngine({ clock });
  const again = async (key: Uint8Array = KEY): Promise<Tokens> => {
    const opened = await openTokens({ store, key, clock, random: systemRandom, log: silentLog });
    t.after(() => opened.close());
    return opened;
  };
  const tokens = await again();
  const apply = (changes: Partial<TokenApplication> = {}): string =>
    tokens.apply({
      instanceId: 'mqtt-1',
      accessKeyId: 'ak-1',
      actions: 'R',
      resources: ['alarms/#'],
      expireMs: clock.nowMs() + 10 * MINUTE_MS,
      ...changes,
    });
  return { tokens, clock, store, again, apply };
}

async function revocationCount(store: Store): Promise<number> {
  let count = 0;
  for await (const rows of store.table('token-revocations').scan('')) count += rows.length;
  return count;
}

const refused = (error: unknown): boolean => Fault.is(error, 'invalidParameter');

describe('a token', () => {
  test('says what was applied for', async (t) => {
    const { tokens, clock, apply } = await openWorld(t);
    const expireMs = clock.nowMs() + 10 * MINUTE_MS;
    const resources = ['b/+', 'a', 'b/+'];

    const token = tokens.read('mqtt-1', apply({ actions: 'R,W', resources, clientId: 'c1' }));

    assert.ok(typeof token !== 'string');
    assert.match(token.key, /^mqtt-1\/[A-Za-z0-9_-]{16}$/);
    assert.deepEqual(token, {
      key: token.key,
      instanceId: 'mqtt-1',
      accessKeyId: 'ak-1',
      type: 'RW',
      filters: ['a', 'b/+'],
      issuedMs: clock.nowMs(),
      expireMs,
      clientId: 'c1',
    });
  });

  test('is one of its kind, costs no row, and can stand in a password', async (t) => {
    const { store, apply } = await openWorld(t);

    const texts = new Set(Array.from({ length: 100 }, () => apply()));

    assert.equal(texts.size, 100);
    for (const text of texts) assert.match(text, /^[A-Za-z0-9_-]+$/);
    assert.equal(await revocationCount(store), 0);
  });

  test('is good after a restart with the same key, and forged under another', async (t) => {
    const { again, apply } = await openWorld(t);
    const text = apply();

    assert.equal((await again()).query('mqtt-1', text), true);
    assert.equal((await again(Buffer.alloc(32, 8))).read('mqtt-1', text), 'tokenForged');
  });

  test('of another instance is forged', async (t) => {
    const { tokens, apply } = await openWorld(t);

    assert.equal(tokens.read('mqtt-2', apply()), 'tokenForged');
    assert.equal(tokens.read('MQTT-1', apply()), 'tokenForged');
  });

  test('with any character changed, added or missing is forged', async (t) => {
    const { tokens, apply } = await openWorld(t);
    const text = apply();

    for (let i = 0; i < text.length; i++) {
      const other = text[i] === 'A' ? 'B' : 'A';
      const changed = `${text.slice(0, i)}${other}${text.slice(i + 1)}`;
      assert.equal(tokens.read('mqtt-1', changed), 'tokenForged', `changed at ${i}`);
    }
    const others = [
      text.slice(0, -1),
      `${text}A`,
      `${text}=`,
      `${text}\n`,
      ` ${text}`,
      `${text.slice(0, 9)} ${text.slice(9)}`,
      text.toLowerCase(),
      text.toUpperCase(),
      '',
      'A',
      'R|x',
      `${text}${'A'.repeat(TOKEN_CHARS_MAX)}`,
    ];
    for (const other of others) assert.equal(tokens.read('mqtt-1', other), 'tokenForged', other);
    assert.equal(tokens.query('mqtt-1', text), true);
  });

  test('ends at its time', async (t) => {
    const { tokens, clock, apply } = await openWorld(t);
    const text = apply({ expireMs: clock.nowMs() + MINUTE_MS });

    clock.advance(MINUTE_MS - 1);
    assert.equal(tokens.query('mqtt-1', text), true);
    clock.advance(1);
    assert.equal(tokens.read('mqtt-1', text), 'tokenExpired');
    assert.equal(tokens.query('mqtt-1', text), false);
  });
});

describe('an application', () => {
  test('for less than 60 seconds is refused', async (t) => {
    const { clock, apply } = await openWorld(t);

    for (const aheadMs of [MINUTE_MS - 1, 0, -1, Number.NaN]) {
      assert.throws(() => apply({ expireMs: clock.nowMs() + aheadMs }), refused);
    }
    apply({ expireMs: clock.nowMs() + MINUTE_MS });
  });

  test('for more than 30 days is cut to 30 days', async (t) => {
    const { tokens, clock, apply } = await openWorld(t);

    const token = tokens.read('mqtt-1', apply({ expireMs: clock.nowMs() + 31 * DAY_MS }));

    assert.ok(typeof token !== 'string');
    assert.equal(token.expireMs, clock.nowMs() + 30 * DAY_MS);
  });

  test('names 1 to 100 valid filters', async (t) => {
    const { tokens, apply } = await openWorld(t);
    const names = (count: number): string[] =>
      Array.from({ length: count }, (_, index) => `${'topic'.padEnd(60, 'x')}/${index}`);

    assert.equal(tokens.query('mqtt-1', apply({ resources: names(100) })), true);
    for (const resources of [names(101), [], [''], ['a/#/b'], ['a+'], ['#a'], ['a', 'b\0']]) {
      assert.throws(() => apply({ resources }), refused);
    }
  });

  test('for more text than a token holds is refused', async (t) => {
    const { apply } = await openWorld(t);

    assert.throws(() => apply({ resources: ['x'.repeat(TOKEN_CHARS_MAX)] }), refused);
  });
});

describe('a revoked token', () => {
  test('is revoked here, on other nodes and after a restart, and no other token is', async (t) => {
    const { tokens, again, apply } = await openWorld(t);
    const other = await again();
    const told: string[] = [];
    other.onRevoked((key) => told.push(key));
    const text = apply();
    const kept = apply();
    const token = tokens.read('mqtt-1', text);
    assert.ok(typeof token !== 'string');

    await tokens.revoke('mqtt-1', text);

    for (const one of [tokens, other, await again()]) {
      assert.equal(one.read('mqtt-1', text), 'tokenRevoked');
      assert.equal(one.query('mqtt-1', text), false);
      assert.equal(one.isRevoked(token.key), true);
      assert.equal(one.query('mqtt-1', kept), true);
    }
    assert.deepEqual(told, [token.key]);
  });

  test('is told of once, to who still listens', async (t) => {
    const { tokens, apply } = await openWorld(t);
    const told: string[] = [];
    const stop = tokens.onRevoked((key) => told.push(key));
    const text = apply();

    await tokens.revoke('mqtt-1', text);
    await tokens.revoke('mqtt-1', text);
    stop();
    await tokens.revoke('mqtt-1', apply());

    assert.equal(told.length, 1);
  });

  test('is forgotten once it would have expired, and is expired then', async (t) => {
    const { tokens, clock, store, apply } = await openWorld(t);
    const text = apply({ expireMs: clock.nowMs() + 10 * MINUTE_MS });
    const long = apply({ expireMs: clock.nowMs() + 10 * DAY_MS });
    await tokens.revoke('mqtt-1', text);
    await tokens.revoke('mqtt-1', long);
    assert.equal(await revocationCount(store), 2);

    clock.advance(DAY_MS);

    assert.equal(tokens.read('mqtt-1', text), 'tokenExpired');
    assert.equal(tokens.read('mqtt-1', long), 'tokenRevoked');
    assert.equal(await revocationCount(store), 1);
  });

  test('needs to be ours; one that has expired needs no row', async (t) => {
    const { tokens, clock, store, apply } = await openWorld(t);
    const text = apply();

    await assert.rejects(tokens.revoke('mqtt-2', text), refused);
    await assert.rejects(tokens.revoke('mqtt-1', 'nonsense'), refused);
    clock.advance(11 * MINUTE_MS);
    await tokens.revoke('mqtt-1', text);

    assert.equal(await revocationCount(store), 0);
  });
});
