/** Compiled rules answer as the plainest reading of each rule does, only faster. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { anyFilter, anyTopic, matchesNaively } from '../../test/harness/topic-model.ts';
import {
  filterCovers,
  filtersOverlap,
  isTopicFilter,
  topicMatches,
  type TopicRule,
  TopicRules,
} from './topic-rules.ts';

const anyRule: fc.Arbitrary<TopicRule> = fc.record({
  effect: fc.constantFrom<TopicRule['effect']>('allow', 'allow', 'deny'),
  publish: fc.boolean(),
  subscribe: fc.boolean(),
  filter: anyFilter,
});

/**
 * Few levels and names, so that all topics that could tell two filters apart can be tried: the
 * empty one as well, which nobody can publish, and which `/#` and `+` have in common.
 */
const anySmallFilter = fc
  .tuple(
    fc.array(fc.constantFrom('a', 'b', '', '$s', '+', '+'), { maxLength: 2 }),
    fc.constantFrom('#', '#', '+', 'a', '$s', ''),
  )
  .map(([levels, last]) => [...levels, last].join('/'))
  .filter((filter) => filter !== '');

const EVERY_TOPIC = everyTopic(['a', 'b', '', '$s', 'other'], 4);

function everyTopic(names: readonly string[], levelCountMax: number): string[] {
  let last = [...names];
  const all = [...last];
  for (let count = 2; count <= levelCountMax; count++) {
    last = last.flatMap((topic) => names.map((name) => `${topic}/${name}`));
    all.push(...last);
  }
  return all;
}

function allow(filter: string): TopicRule {
  return { effect: 'allow', publish: true, subscribe: true, filter };
}

function deny(filter: string): TopicRule {
  return { ...allow(filter), effect: 'deny' };
}

describe('publishing', () => {
  test('is allowed where some rule allows and none denies', () => {
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 20 }), anyTopic, (rules, topic) => {
        const effects = rules
          .filter((rule) => rule.publish && matchesNaively(rule.filter, topic))
          .map((rule) => rule.effect);

        const may = new TopicRules(rules).mayPublish(topic);

        assert.equal(may, effects.includes('allow') && !effects.includes('deny'));
      }),
      { numRuns: 5_000 },
    );
  });

  test('is not allowed where nothing is said', () => {
    const rules = new TopicRules([allow('a/b')]);

    assert.equal(new TopicRules([]).mayPublish('a'), false);
    assert.equal(rules.mayPublish('a'), false);
    assert.equal(rules.mayPublish('a/b/'), false);
  });

  test('needs a rule for publishing, not one for subscribing', () => {
    const rules = new TopicRules([{ ...allow('a/#'), publish: false }]);

    assert.equal(rules.mayPublish('a/b'), false);
    assert.equal(rules.maySubscribe('a/b'), true);
  });
});

describe('subscribing', () => {
  test('is allowed where one rule covers the filter and no denying rule meets it', () => {
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 20 }), anyFilter, (rules, filter) => {
        const about = rules.filter((rule) => rule.subscribe);
        const covered = about.some(
          (rule) => rule.effect === 'allow' && filterCovers(rule.filter, filter),
        );
        const denied = about.some(
          (rule) => rule.effect === 'deny' && filtersOverlap(rule.filter, filter),
        );

        const may = new TopicRules(rules).maySubscribe(filter);

        assert.equal(may, covered && !denied);
      }),
      { numRuns: 5_000 },
    );
  });

  test('to more than is allowed is refused', () => {
    const rules = new TopicRules([allow('plant/+/temperature'), allow('plant/1/#')]);

    assert.equal(rules.maySubscribe('plant/1/#'), true);
    assert.equal(rules.maySubscribe('plant/2/temperature'), true);
    assert.equal(rules.maySubscribe('plant/+/temperature'), true);
    assert.equal(rules.maySubscribe('plant/+/humidity'), false);
    assert.equal(rules.maySubscribe('plant/#'), false);
    assert.equal(rules.maySubscribe('#'), false);
  });

  test('across something denied is refused, beside it allowed', () => {
    const rules = new TopicRules([allow('plant/#'), deny('plant/+/secret')]);

    assert.equal(rules.maySubscribe('plant/#'), false);
    assert.equal(rules.maySubscribe('plant/1/+'), false);
    assert.equal(rules.maySubscribe('plant/1/secret'), false);
    assert.equal(rules.maySubscribe('plant/1/open'), true);
    assert.equal(rules.maySubscribe('plant/1/secret/x'), true);
  });
});

describe('two filters', () => {
  test('one covers the other where it matches all that the other matches', () => {
    fc.assert(
      fc.property(anySmallFilter, anySmallFilter, (outer, inner) => {
        const expected = EVERY_TOPIC.every(
          (topic) => !matchesNaively(inner, topic) || matchesNaively(outer, topic),
        );

        assert.equal(filterCovers(outer, inner), expected);
      }),
      { numRuns: 1_500 },
    );
  });

  test('overlap where some topic is matched by both', () => {
    fc.assert(
      fc.property(anySmallFilter, anySmallFilter, (one, other) => {
        const expected = EVERY_TOPIC.some(
          (topic) => matchesNaively(one, topic) && matchesNaively(other, topic),
        );

        assert.equal(filtersOverlap(one, other), expected);
        assert.equal(filtersOverlap(other, one), expected);
      }),
      { numRuns: 1_500 },
    );
  });

  test('are compared with the edges in mind', () => {
    assert.equal(filterCovers('a/#', 'a'), true);
    assert.equal(filterCovers('a/#', 'a/'), true);
    assert.equal(filterCovers('a/+', 'a'), false);
    assert.equal(filterCovers('#', '$SYS/x'), false);
    assert.equal(filterCovers('+/#', '#'), true);
    assert.equal(filtersOverlap('#', '$SYS/#'), false);
    assert.equal(filtersOverlap('+/x', '$SYS/x'), false);
    assert.equal(filtersOverlap('a/#', 'a'), true);
    assert.equal(topicMatches('a/#', 'a'), true);
  });
});

test('a filter is valid with wildcards that stand alone, `#` last', () => {
  for (const valid of ['a', '/', '#', '+', 'a/+/b/#', '+/+', '$SYS/#', 'a//b', ' ']) {
    assert.equal(isTopicFilter(valid), true, valid);
  }
  for (const wrong of ['', 'a#', 'a/#/b', '#/', 'a+', '+a/b', 'a\0', 'a'.repeat(65_536)]) {
    assert.equal(isTopicFilter(wrong), false, wrong.slice(0, 10));
  }
});

test('the version is the one given', () => {
  assert.equal(new TopicRules([]).version, 0);
  assert.equal(new TopicRules([], 7).version, 7);
});

test('ten thousand rules answer about their own topics and no others', () => {
  const rules: TopicRule[] = [];
  for (let i = 0; i < 10_000; i++) rules.push(allow(`fleet/${i % 100}/${i}/#`));
  rules.push(deny('fleet/+/5/#'));

  const compiled = new TopicRules(rules);

  assert.equal(compiled.mayPublish('fleet/99/9999/speed'), true);
  assert.equal(compiled.mayPublish('fleet/98/9999/speed'), false);
  assert.equal(compiled.mayPublish('fleet/5/5/speed'), false);
  assert.equal(compiled.maySubscribe('fleet/99/9999/#'), true);
  assert.equal(compiled.maySubscribe('fleet/99/#'), false);
});
