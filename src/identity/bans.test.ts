/** Bans: when they begin, whom they hit, how long they last, and that memory is bounded. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ManualClock } from '../../test/harness/manual-clock.ts';
import { BAN_SETTINGS, type BanSettings, type Bans, createBans } from './bans.ts';

const ADDRESS = '192.0.2.7';

function open(settings: Partial<BanSettings> = {}): { clock: ManualClock; bans: Bans } {
  const clock = new ManualClock();
  const bans = createBans(clock, {
    addressFailureCountMax: 5,
    clientFailureCountMax: 3,
    connectCountMax: 4,
    failureWindowMs: 10_000,
    connectWindowMs: 10_000,
    banMs: 1_000,
    banMsMax: 5_000,
    memoryMs: 60_000,
    ...settings,
  });
  return { clock, bans };
}

function times(count: number, action: (index: number) => void): void {
  for (let i = 0; i < count; i++) action(i);
}

describe('a client that fails', () => {
  test('too often within the window is banned where it does so', () => {
    const { bans } = open();

    times(2, () => bans.failed(ADDRESS, 'i', 'c'));
    assert.equal(bans.ask(ADDRESS, 'i', 'c'), undefined);
    bans.failed(ADDRESS, 'i', 'c');

    assert.equal(bans.ask(ADDRESS, 'i', 'c'), 'banned');
  });

  test('elsewhere locks out nobody at home', () => {
    const { bans } = open();

    times(100, (index) => bans.failed(`198.51.100.${index}`, 'i', 'c'));
    times(100, () => bans.failed('203.0.113.1', 'i', 'c'));

    assert.equal(bans.ask(ADDRESS, 'i', 'c'), undefined);
    assert.equal(bans.ask('203.0.113.1', 'i', 'c'), 'banned');
  });

  test('of another instance, or with another identifier, is another client', () => {
    const { bans } = open();

    times(3, () => bans.failed(ADDRESS, 'i', 'c'));

    assert.equal(bans.ask(ADDRESS, 'i2', 'c'), undefined);
    assert.equal(bans.ask(ADDRESS, 'i', 'c2'), undefined);
  });

  test('now and then is not banned', () => {
    const { clock, bans } = open();

    times(20, () => {
      bans.failed(ADDRESS, 'i', 'c');
      clock.advance(5_000);
    });

    assert.deepEqual(bans.list(), []);
  });

  test('and then proves itself begins anew', () => {
    const { bans } = open();

    times(2, () => bans.failed(ADDRESS, 'i', 'c'));
    bans.succeeded(ADDRESS, 'i', 'c');
    times(2, () => bans.failed(ADDRESS, 'i', 'c'));

    assert.equal(bans.ask(ADDRESS, 'i', 'c'), undefined);
  });

  test('at this machine is banned only where that is wanted', () => {
    const { bans } = open();
    const strict = open({ loopbackBanned: true }).bans;

    for (const one of [bans, strict]) times(3, () => one.failed('127.0.0.1', 'i', 'c'));

    assert.equal(bans.ask('127.0.0.1', 'i', 'c'), undefined);
    assert.equal(strict.ask('127.0.0.1', 'i', 'c'), 'banned');
    assert.equal(strict.ask('127.0.0.1', 'i', 'other'), undefined);
  });

  test('without an identifier is counted by its address alone', () => {
    const { bans } = open();

    times(4, () => bans.failed(ADDRESS, 'i', ''));

    assert.equal(bans.ask('198.51.100.1', 'i', ''), undefined);
  });
});

describe('an address that fails', () => {
  test('with many clients is banned for all instances', () => {
    const { bans } = open();

    times(5, (index) => bans.failed(ADDRESS, 'i', `guess-${index}`));

    assert.equal(bans.ask(ADDRESS, 'i2', 'honest'), 'banned');
    assert.equal(bans.ask('192.0.2.8', 'i', 'honest'), undefined);
  });

  test('is not forgiven for an account of its own', () => {
    const { bans } = open();

    times(5, (index) => {
      bans.failed(ADDRESS, 'i', `guess-${index}`);
      bans.succeeded(ADDRESS, 'i', `own-${index}`);
    });

    assert.equal(bans.ask(ADDRESS, 'i', 'x'), 'banned');
  });

  test('is the same in its IPv4-mapped form', () => {
    const { bans } = open();

    times(5, (index) => bans.failed(`::ffff:${ADDRESS}`, 'i', `guess-${index}`));

    assert.equal(bans.ask(ADDRESS, 'i', 'x'), 'banned');
  });

  test('of IPv6 is banned with its /64', () => {
    const { bans } = open();

    times(5, (index) => bans.failed(`2001:db8:0:1::${index}`, 'i', `guess-${index}`));

    assert.equal(bans.ask('2001:db8:0:1:ffff::1', 'i', 'x'), 'banned');
    assert.equal(bans.ask('2001:db8:0:2::1', 'i', 'x'), undefined);
    assert.equal(bans.list()[0]?.address, '2001:db8:0:1::/64');
    assert.equal(bans.lift({ address: '2001:db8:0:1::/64' }), true);
    assert.equal(bans.ask('2001:db8:0:1:ffff::1', 'i', 'x'), undefined);
  });

  test('is spared where it is of this machine, unless told', () => {
    for (const address of ['127.0.0.1', '127.8.0.1', '::1', '::ffff:127.0.0.1']) {
      const spared = open().bans;
      const told = open({ loopbackBanned: true }).bans;

      for (const bans of [spared, told]) {
        times(5, (index) => bans.failed(address, 'i', `guess-${index}`));
      }

      assert.equal(spared.ask(address, 'i', 'x'), undefined, address);
      assert.equal(told.ask(address, 'i', 'x'), 'banned', address);
    }
  });
});

describe('a ban', () => {
  test('ends, and the next one is twice as long, up to the most', () => {
    const { clock, bans } = open({ addressFailureCountMax: 0 });

    for (const lengthMs of [1_000, 2_000, 4_000, 5_000, 5_000]) {
      times(3, () => bans.failed(ADDRESS, 'i', 'c'));
      clock.advance(lengthMs - 1);
      assert.equal(bans.ask(ADDRESS, 'i', 'c'), 'banned');
      clock.advance(1);
      assert.equal(bans.ask(ADDRESS, 'i', 'c'), undefined);
    }
  });

  test('long past is forgotten', () => {
    const { clock, bans } = open({ addressFailureCountMax: 0 });

    times(3, () => bans.failed(ADDRESS, 'i', 'c'));
    clock.advance(1_000 + 60_001);
    times(3, () => bans.failed(ADDRESS, 'i', 'c'));

    assert.equal(bans.list()[0]?.banCount, 1);
  });

  test('is not made longer by whoever knocks meanwhile', () => {
    const { clock, bans } = open({ addressFailureCountMax: 0 });

    times(3, () => bans.failed(ADDRESS, 'i', 'c'));
    times(30, () => bans.failed(ADDRESS, 'i', 'c'));
    clock.advance(1_000);

    assert.equal(bans.ask(ADDRESS, 'i', 'c'), undefined);
  });

  test('can be lifted, and leaves nothing behind', () => {
    const { bans } = open({ addressFailureCountMax: 0 });
    times(3, () => bans.failed(ADDRESS, 'i', 'c'));

    assert.equal(bans.lift({ instanceId: 'i', clientId: 'c' }), true);

    assert.equal(bans.ask(ADDRESS, 'i', 'c'), undefined);
    assert.equal(bans.lift({ instanceId: 'i', clientId: 'c' }), false);
    assert.equal(bans.lift({ address: 'nowhere' }), false);
    times(3, () => bans.failed(ADDRESS, 'i', 'c'));
    assert.equal(bans.list()[0]?.banCount, 1);
  });

  test('is listed with its end on the wall clock', () => {
    const { clock, bans } = open();
    times(3, () => bans.failed(ADDRESS, 'i', 'a/c'));

    const listed = bans.list();

    assert.deepEqual(listed, [
      {
        address: ADDRESS,
        instanceId: 'i',
        clientId: 'a/c',
        reason: 'failures',
        banCount: 1,
        untilMs: clock.nowMs() + 1_000,
      },
    ]);
  });

  test('of a kind is turned off with 0', () => {
    const { bans } = open({
      addressFailureCountMax: 0,
      clientFailureCountMax: 0,
      connectCountMax: 0,
    });

    times(1_000, () => bans.failed(ADDRESS, 'i', 'c'));
    times(1_000, () => bans.succeeded(ADDRESS, 'i', 'c'));

    assert.deepEqual(bans.list(), []);
  });
});

test('a client that connects again and again is banned for flapping', () => {
  const { clock, bans } = open();

  times(3, () => bans.succeeded(ADDRESS, 'i', 'c'));
  assert.equal(bans.ask(ADDRESS, 'i', 'c'), undefined);
  bans.succeeded(ADDRESS, 'i', 'c');

  assert.equal(bans.ask(ADDRESS, 'i', 'c'), 'banned');
  assert.equal(bans.list()[0]?.reason, 'flapping');
  clock.advance(1_000);
  assert.equal(bans.ask(ADDRESS, 'i', 'c'), undefined);
});

test('the oldest leaves where there are too many', () => {
  const { bans } = open({ entryCountMax: 10, addressFailureCountMax: 0 });

  times(2, () => bans.failed(ADDRESS, 'i', 'first'));
  times(10, (index) => bans.failed(ADDRESS, 'i', `other-${index}`));
  bans.failed(ADDRESS, 'i', 'first');
  assert.equal(bans.ask(ADDRESS, 'i', 'first'), undefined);

  times(11, (index) => times(3, () => bans.failed(ADDRESS, 'i', `banned-${index}`)));
  assert.equal(bans.list().length, 10);
  assert.equal(bans.ask(ADDRESS, 'i', 'banned-0'), undefined);
  assert.equal(bans.ask(ADDRESS, 'i', 'banned-1'), 'banned');
});

test('every setting has a row with a default', () => {
  assert.equal(BAN_SETTINGS.length, 10);
  for (const row of BAN_SETTINGS) assert.notEqual(row.default, undefined, row.name);
});
