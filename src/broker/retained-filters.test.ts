/** The parts of the table a walk reads, against a look at each filter. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matchesFilter } from '#ports';
import { anyFilter, anyTopic } from '../../test/harness/topic-model.ts';
import { RetainedFilters, type RetainedRange } from './retained-filters.ts';
import type { Session } from './session.ts';
import { createSubscription } from './subscription.ts';

const NOWHERE = undefined as unknown as Session; // a filter does not ask whose it is

function filtersOf(texts: readonly string[]): RetainedFilters {
  const options = { qos: 0, noLocal: false, retainAsPublished: false, identifier: 0, since: 0 };
  return new RetainedFilters(
    [...new Set(texts)].map((text) => createSubscription(NOWHERE, { ...options, qos: 0, text })),
  );
}

function holds({ prefix, exact }: RetainedRange, topic: string): boolean {
  return exact ? topic === prefix : topic.startsWith(prefix);
}

test('property: every topic lies in one range at most, with all the filters that match it', () => {
  fc.assert(
    fc.property(
      fc.array(anyFilter, { maxLength: 24 }),
      fc.array(anyTopic, { maxLength: 24 }),
      (texts, topics) => {
        const filters = filtersOf(texts);
        for (const topic of topics) {
          const expected = [...new Set(texts)].filter((text) => matchesFilter(text, topic)).sort();
          assert.deepEqual(filters.matching(topic), expected);
          const found = filters.ranges.filter((range) => holds(range, topic));
          assert.ok(found.length <= 1);
          for (const text of expected) assert.ok(found[0]?.filters.includes(text), text);
        }
        assert.deepEqual(
          filters.ranges.flatMap((range) => range.filters).sort(),
          [...new Set(texts)].sort(),
        );
      },
    ),
    { numRuns: 300 },
  );
});

test('property: who came as far as a topic has had all ranges before, and none behind', () => {
  fc.assert(
    fc.property(
      fc.array(anyFilter, { minLength: 1, maxLength: 12 }),
      anyTopic,
      anyTopic,
      (texts, topic, other) => {
        const filters = filtersOf(texts);
        const at = filters.rangeAt(topic);
        const range = filters.ranges.findIndex((one) => holds(one, other));
        if (range < 0) return;
        const behind = Buffer.compare(Buffer.from(other), Buffer.from(topic)) > 0;
        if (behind) assert.ok(range >= at, 'what lies behind is still read');
        else assert.ok(range <= at, 'what lies before is not read again');
      },
    ),
    { numRuns: 500 },
  );
});
