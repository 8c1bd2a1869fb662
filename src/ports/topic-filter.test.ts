/** What a filter matches: examples of the standard, and any filter against the plain rule. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { anyFilter, anyTopic, matchesNaively } from '../../test/harness/topic-model.ts';
import { hasWildcard, literalPrefix, matchesFilter } from './topic-filter.ts';

// biome-ignore format: a table reads in columns
const EXAMPLES: readonly (readonly [filter: string, topic: string, matches: boolean])[] = [
  ['sport/tennis/player1/#', 'sport/tennis/player1',                   true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon',   true],
  ['sport/tennis/player1/#', 'sport/tennis/player10',                  false],
  ['sport/#',                'sport',                                  true],
  ['sport/#',                'sports',                                 false],
  ['#',                      '/',                                      true],
  ['sport/tennis/+',         'sport/tennis/player1',                   true],
  ['sport/tennis/+',         'sport/tennis/player1/ranking',           false],
  ['sport/+',                'sport',                                  false],
  ['sport/+',                'sport/',                                 true],
  ['+/+',                    '/finance',                               true],
  ['/+',                     '/finance',                               true],
  ['+',                      '/finance',                               false],
  ['#',                      '$SYS/x',                                 false],
  ['+/monitor/Clients',      '$SYS/monitor/Clients',                   false],
  ['$SYS/#',                 '$SYS/x',                                 true],
  ['$SYS/+',                 '$SYS/x',                                 true],
  ['a/#',                    'a/$b',                                   true],
  ['ACCOUNTS',               'Accounts',                               false],
  ['/',                      '/',                                      true],
  ['//',                     '/',                                      false],
  ['+/#',                    'a',                                      true],
  ['a/+/#',                  'a',                                      false],
];

describe('matchesFilter', () => {
  for (const [filter, topic, matches] of EXAMPLES) {
    test(`${filter} ${matches ? 'matches' : 'does not match'} ${topic}`, () => {
      assert.equal(matchesFilter(filter, topic), matches);
      assert.equal(matchesNaively(filter, topic), matches);
    });
  }

  test('property: agrees with the rule told level by level', () => {
    let matched = 0;
    fc.assert(
      fc.property(anyFilter, anyTopic, (filter, topic) => {
        const matches = matchesFilter(filter, topic);
        assert.equal(matches, matchesNaively(filter, topic));
        if (matches) matched++;
      }),
      { numRuns: 3_000 },
    );
    assert.ok(matched > 100, `only ${matched} of them matched: the test says little`);
  });

  test('property: a topic is a filter that matches itself alone', () => {
    fc.assert(
      fc.property(anyTopic, anyTopic, (one, other) => {
        assert.equal(matchesFilter(one, one), true);
        assert.equal(matchesFilter(one, other), one === other);
      }),
    );
  });
});

test('property: every topic a filter matches begins with its literal prefix', () => {
  fc.assert(
    fc.property(anyFilter, anyTopic, (filter, topic) => {
      const prefix = literalPrefix(filter);
      assert.ok(filter.startsWith(prefix));
      assert.equal(hasWildcard(prefix), false);
      if (!hasWildcard(filter)) assert.equal(prefix, filter);
      if (matchesFilter(filter, topic)) assert.ok(topic.startsWith(prefix));
    }),
    { numRuns: 2_000 },
  );
});

test('the literal prefix takes all levels before the first wildcard', () => {
  assert.equal(literalPrefix('a/b/+/c/#'), 'a/b/');
  assert.equal(literalPrefix('a/b/#'), 'a/b'); // which it matches too
  assert.equal(literalPrefix('/+'), '/');
  assert.equal(literalPrefix('+/a/#'), '');
  assert.equal(literalPrefix('#'), '');
});
