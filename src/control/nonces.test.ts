/** A nonce is good once, whatever is forgotten for want of room. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { createSeededRandom } from '#base';
import { ManualClock } from '../../test/harness/manual-clock.ts';
import type { Table } from '#ports';
import { ApiFault, type ApiFaultCode } from './api-fault.ts';
import { CLOCK_WINDOW_MS, NONCE_TABLE, Nonces } from './nonces.ts';

const MINUTE_MS = 60_000;

function open(nonceCountMax = 1_000): { readonly clock: ManualClock; readonly nonces: Nonces } {
  const clock = new ManualClock();
  const nonces = new Nonces(clock, createSeededRandom(1), { nonceCountMax });
  clock.advance(60 * MINUTE_MS);
  return { clock, nonces };
}

function refusedAs(code: ApiFaultCode): (error: unknown) => boolean {
  return (error) => error instanceof ApiFault && error.code === code;
}

describe('nonces', () => {
  test('one is taken once for each key', () => {
    const { clock, nonces } = open();
    nonces.take('key', 'nonce', clock.nowMs());

    assert.throws(
      () => nonces.take('key', 'nonce', clock.nowMs()),
      refusedAs('SignatureNonceUsed'),
    );
    nonces.take('other', 'nonce', clock.nowMs());
    nonces.take('ke', 'ynonce', clock.nowMs());
    assert.equal(nonces.count, 3);
  });

  test('one is known for as long as its timestamp is good', () => {
    const { clock, nonces } = open();
    const timestampMs = clock.nowMs() + CLOCK_WINDOW_MS;
    nonces.take('key', 'nonce', timestampMs);

    while (clock.nowMs() <= timestampMs + CLOCK_WINDOW_MS) {
      nonces.checkTime(timestampMs);
      assert.throws(
        () => nonces.take('key', 'nonce', timestampMs),
        refusedAs('SignatureNonceUsed'),
      );
      clock.advance(MINUTE_MS / 2);
    }
    assert.throws(() => nonces.checkTime(timestampMs), refusedAs('InvalidTimeStamp.Expired'));
  });

  test('what left the window is forgotten', () => {
    const { clock, nonces } = open();
    for (let i = 0; i < 700; i++) nonces.take('key', `${i}`, clock.nowMs());
    clock.advance(CLOCK_WINDOW_MS + MINUTE_MS);

    nonces.take('key', 'fresh', clock.nowMs());

    assert.equal(nonces.count, 1);
  });

  test('many are all known, and none by mistake', () => {
    const { clock, nonces } = open(20_000);
    for (let i = 0; i < 10_000; i++) nonces.take('key', `${i}`, clock.nowMs() - i * 60);

    for (let i = 0; i < 10_000; i += 7) {
      assert.throws(() => nonces.take('key', `${i}`, clock.nowMs()));
    }
    for (let i = 10_000; i < 12_000; i++) nonces.take('key', `${i}`, clock.nowMs());
    assert.equal(nonces.count, 12_000);
  });

  test('at the bound the oldest go, and their time with them', () => {
    const { clock, nonces } = open(100);
    const oldMs = clock.nowMs() - 10 * MINUTE_MS;
    for (let i = 0; i < 50; i++) nonces.take('key', `old ${i}`, oldMs);
    for (let i = 0; i < 50; i++) nonces.take('key', `new ${i}`, clock.nowMs());

    nonces.take('key', 'one more', clock.nowMs());

    assert.equal(nonces.count, 51);
    assert.throws(() => nonces.checkTime(oldMs), refusedAs('InvalidTimeStamp.Expired'));
    nonces.checkTime(clock.nowMs() - 2 * MINUTE_MS);
  });

  test('at the bound, with none that may go, callers are refused', () => {
    const { clock, nonces } = open(100);
    for (let i = 0; i < 100; i++) nonces.take('key', `${i}`, clock.nowMs());

    const take = (): void => nonces.take('key', 'one more', clock.nowMs());
    assert.throws(take, refusedAs('Throttling.User'));
    nonces.checkTime(clock.nowMs() - MINUTE_MS);
    assert.equal(nonces.count, 100);
  });

  test('what was said before we began is refused, but for a moment', () => {
    const clock = new ManualClock();
    const nonces = new Nonces(clock, createSeededRandom(1));

    nonces.checkTime(clock.nowMs() - 5_000);
    nonces.checkTime(clock.nowMs() + CLOCK_WINDOW_MS);
    const late = (): void => nonces.checkTime(clock.nowMs() - 7_000);
    assert.throws(late, refusedAs('InvalidTimeStamp.Expired'));
  });
});

describe('nonces in a table', () => {
  async function openKept(nonceCountMax = 1_000): Promise<{
    readonly clock: ManualClock;
    readonly table: Table;
    again(): Promise<Nonces>;
  }> {
    const clock = new ManualClock();
    const table = openMemoryEngine({ clock }).store.table(NONCE_TABLE);
    let seed = 0;
    const again = async (): Promise<Nonces> => {
      const nonces = new Nonces(clock, createSeededRandom(++seed), { nonceCountMax }, table);
      await nonces.load();
      return nonces;
    };
    return { clock, table, again };
  }

  test('are known to the next process, those ahead of their time as well', async () => {
    const { clock, again } = await openKept();
    const first = await again();
    const times = [clock.nowMs(), clock.nowMs() + CLOCK_WINDOW_MS, clock.nowMs() + MINUTE_MS];
    for (const [place, timeMs] of times.entries()) first.take('key', `nonce-${place}`, timeMs);
    clock.advance(500);

    const second = await again();

    assert.equal(second.count, 3);
    for (const [place, timeMs] of times.entries()) {
      second.checkTime(timeMs);
      const take = (): void => second.take('key', `nonce-${place}`, timeMs);
      assert.throws(take, refusedAs('SignatureNonceUsed'));
    }
    second.checkTime(clock.nowMs() - 10 * MINUTE_MS); // a slow clock need not wait after a restart
  });

  test('what a first process may have missed is refused', async () => {
    const { clock, again } = await openKept();
    const first = await again();
    assert.throws(
      () => first.checkTime(clock.nowMs() - 10 * MINUTE_MS),
      refusedAs('InvalidTimeStamp.Expired'),
    );
  });

  test('what was forgotten for want of room stays refused', async () => {
    const { clock, again } = await openKept(10);
    const first = await again();
    clock.advance(10 * MINUTE_MS);
    const earlyMs = clock.nowMs() - 5 * MINUTE_MS;
    for (let i = 0; i < 10; i++) first.take('key', `early-${i}`, earlyMs);
    first.take('key', 'late', clock.nowMs());

    const second = await again();

    assert.throws(() => second.checkTime(earlyMs), refusedAs('InvalidTimeStamp.Expired'));
  });

  test('rows of passed minutes go', async () => {
    const { clock, table, again } = await openKept();
    const nonces = await again();
    for (let i = 0; i < 40; i++) nonces.take('key', `old-${i}`, clock.nowMs());
    clock.advance(40 * MINUTE_MS);
    for (let i = 0; i < 20; i++) nonces.take('key', `new-${i}`, clock.nowMs());

    let count = 0;
    for await (const rows of table.scan('nonce/')) count += rows.length;

    assert.equal(count, 20);
    assert.equal(nonces.count, 20);
  });
});
