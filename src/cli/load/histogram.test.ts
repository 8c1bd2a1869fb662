/** Percentiles against the sorted truth, and sums over workers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSeededRandom } from '#base';
import { Histogram } from './histogram.ts';

test('a percentile is within a bucket of the truth at any scale', () => {
  const random = createSeededRandom(7);
  for (const scale of [20, 1000, 50_000, 3_000_000_000]) {
    const histogram = new Histogram();
    const values = Array.from({ length: 5000 }, () => random.below(scale));
    for (const value of values) histogram.record(value);
    const sorted = values.toSorted((a, b) => a - b);

    for (const fraction of [0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
      const truth = sorted[Math.ceil(5000 * fraction) - 1]!;
      const found = histogram.percentile(fraction);
      const error = Math.abs(found - truth);
      assert.ok(error <= Math.max(0.5, truth / 32), `${scale} ${fraction}: ${found} for ${truth}`);
    }
    assert.equal(histogram.max, sorted.at(-1));
  }
});

test('the histograms of two workers add up to that of one', () => {
  const one = new Histogram();
  const halves = [new Histogram(), new Histogram()];
  for (let value = 0; value < 10_000; value += 7) {
    one.record(value);
    halves[value % 2]!.record(value);
  }

  const sum = new Histogram();
  for (const half of halves) sum.add(half.toCounts());

  assert.deepEqual(sum.toCounts(), one.toCounts());
  assert.equal(sum.total, one.total);
});

test('nothing recorded, and values out of range, are no trouble', () => {
  const histogram = new Histogram();
  assert.equal(histogram.percentile(0.5), 0);

  histogram.record(-3);
  histogram.record(2 ** 40);

  assert.equal(histogram.percentile(0.5), 0);
  assert.equal(histogram.max, 2 ** 40);
  histogram.reset();
  assert.equal(histogram.total, 0);
});
