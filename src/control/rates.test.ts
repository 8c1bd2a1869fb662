/** Buckets fill with time, apart from each other, and there are never too many of them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ManualClock } from '../../test/harness/manual-clock.ts';
import { Rates } from './rates.ts';

/** How many of `count` calls are let through. */
function call(rates: Rates, key: string, count: number, callsPerSecondMax: number): number {
  let taken = 0;
  for (let i = 0; i < count; i++) if (rates.take(key, callsPerSecondMax)) taken++;
  return taken;
}

describe('rates', () => {
  test('a burst of a second, then so many a second', () => {
    const clock = new ManualClock();
    const rates = new Rates(clock);

    assert.equal(call(rates, 'a', 20, 10), 10);
    clock.advance(300);
    assert.equal(call(rates, 'a', 20, 10), 3);
    clock.advance(60_000);
    assert.equal(call(rates, 'a', 20, 10), 10);
  });

  test('one key costs another nothing', () => {
    const rates = new Rates(new ManualClock());
    call(rates, 'a', 20, 10);

    assert.equal(call(rates, 'b', 20, 10), 10);
  });

  test('buckets have a bound, and the one used longest ago goes', () => {
    const rates = new Rates(new ManualClock(), { bucketCountMax: 3 });
    for (const key of ['a', 'b', 'c', 'd']) call(rates, key, 10, 10);

    assert.equal(rates.count, 3);
    assert.equal(call(rates, 'd', 10, 10), 0);
    assert.equal(call(rates, 'a', 10, 10), 10);
  });

  test('buckets that are full again are forgotten by and by', () => {
    const clock = new ManualClock();
    const rates = new Rates(clock);
    for (let i = 0; i < 100; i++) rates.take(`${i}`, 10);
    clock.advance(1_000);

    for (let i = 0; i < 100; i++) rates.take('another', 10);

    assert.equal(rates.count, 1);
  });
});
