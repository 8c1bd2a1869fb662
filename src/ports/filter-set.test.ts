/** Filters arranged, few or many, against a plain look at each of them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { anyFilter, anyTopic } from '../../test/harness/topic-model.ts';
import { FilterSet, type LogFilter, NEVER } from './filter-set.ts';
import { hasWildcard, matchesFilter } from './topic-filter.ts';

const anyLogFilter = fc.record({
  filter: anyFilter,
  after: fc.oneof(fc.nat(5), fc.constant(NEVER)),
});
const anyFilters = fc.array(anyLogFilter, { maxLength: 40, size: 'max' });

describe('a set of filters', () => {
  test('property: a topic counts from the lowest position of all filters that match it', () => {
    fc.assert(
      fc.property(anyFilters, anyTopic, (filters, topic) => {
        const hits = filters.filter(({ filter }) => matchesFilter(filter, topic));
        const lowest = Math.min(NEVER, ...hits.map(({ after }) => after));
        assert.equal(new FilterSet(filters).afterOf(topic), lowest);
      }),
    );
  });

  test('property: tells each wildcard that matches once, the same filter twice included', () => {
    fc.assert(
      fc.property(anyFilters, anyTopic, (filters, topic) => {
        const found: LogFilter[] = [];
        new FilterSet(filters).eachWildcard(topic, (filter) => found.push(filter));

        const expected = filters.filter(
          ({ filter }) => hasWildcard(filter) && matchesFilter(filter, topic),
        );
        assert.equal(found.length, expected.length);
        assert.deepEqual(new Set(found), new Set(expected));
      }),
    );
  });

  test('property: one of the prefixes begins each topic a wildcard asks for', () => {
    fc.assert(
      fc.property(anyFilters, anyTopic, (filters, topic) => {
        const { prefixes } = new FilterSet(filters);

        const asked = filters.some(
          ({ filter, after }) =>
            after < NEVER && hasWildcard(filter) && matchesFilter(filter, topic),
        );
        const begun = prefixes.filter((prefix) => topic.startsWith(prefix));
        assert.ok(begun.length <= 1, 'none begins with another');
        if (asked) assert.equal(begun.length, 1);
      }),
    );
  });

  test('a filter that never counts asks for nothing', () => {
    const { exact, lowest, prefixes } = new FilterSet([
      { filter: 'a', after: NEVER },
      { filter: 'b/#', after: NEVER },
    ]);

    assert.deepEqual([exact.size, lowest, prefixes], [0, NEVER, []]);
  });
});
