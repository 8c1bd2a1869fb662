/** How many may connect a second. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Clock, systemClock } from '#base';
import { ConnectRate } from './admission.ts';

test('a burst is admitted, then only so many a second', () => {
  let nowMs = 5_000;
  const clock: Clock = { ...systemClock, monotonicMs: () => nowMs };
  const rate = new ConnectRate({ clock, perSecond: 100, burst: 10 });
  const admitted = (asked: number): number => {
    let count = 0;
    for (let i = 0; i < asked; i++) if (rate.admit()) count++;
    return count;
  };

  assert.equal(admitted(50), 10);
  nowMs += 50;
  assert.equal(admitted(50), 5);
  nowMs += 5;
  assert.equal(admitted(50), 0);
  nowMs += 5;
  assert.equal(admitted(50), 1);
  nowMs += 60_000;
  assert.equal(admitted(50), 10);
});
