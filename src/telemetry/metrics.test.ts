/** The counters and the table that says what they mean. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GAUGES } from './gauges.ts';
import { METRICS, Metrics } from './metrics.ts';

test('every counter begins at zero and is explained once', () => {
  const metrics = new Map(Object.entries(new Metrics()));

  assert.deepEqual(Object.keys(METRICS).sort(), [...metrics.keys()].sort());
  for (const [name, value] of metrics) assert.equal(value, 0, name);
  const texts = Object.values(METRICS);
  assert.equal(new Set(texts).size, texts.length);
});

test('no gauge has the name of a counter', () => {
  assert.deepEqual(Object.keys({ ...METRICS, ...GAUGES }), [
    ...Object.keys(METRICS),
    ...Object.keys(GAUGES),
  ]);
});
