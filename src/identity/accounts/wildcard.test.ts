/** Patterns with `*` against texts and against MQTT filters, beside slow second opinions. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { covers, matches, overlaps, unitsOfFilter } from './wildcard.ts';

/** Few letters, so that things meet. */
const anyPattern = fc
  .array(fc.constantFrom('a', 'b', '/', '*'), { maxLength: 7 })
  .map((letters) => letters.join(''));
const anyText = fc
  .array(fc.constantFrom('a', 'b', '/'), { maxLength: 7 })
  .map((letters) => letters.join(''));
const anyFilter = fc
  .tuple(
    fc.array(fc.constantFrom('a', 'b', 'ab', '+', ''), { minLength: 1, maxLength: 3 }),
    fc.boolean(),
  )
  .map(([levels, tail]) => [...levels, ...(tail ? ['#'] : [])].join('/'));

function asExpression(pattern: string): RegExp {
  return new RegExp(`^${pattern.replaceAll('*', '.*')}$`, 's');
}

/** All topics of up to five characters that the filter matches. */
function topicsOf(filter: string): string[] {
  const expression = filter
    .replace(/(^|\/)#$/, (_, slash: string) => (slash === '' ? '.*' : '(/.*)?'))
    .replaceAll('+', '[^/]*');
  return SHORT_TEXTS.filter((text) => new RegExp(`^${expression}$`, 's').test(text));
}

const SHORT_TEXTS = allTexts(5);

function allTexts(lengthMax: number): string[] {
  const all = [''];
  let layer = [''];
  for (let length = 1; length <= lengthMax; length++) {
    layer = layer.flatMap((text) => ['a', 'b', '/'].map((letter) => text + letter));
    all.push(...layer);
  }
  return all;
}

describe('a pattern', () => {
  test('stands for the same texts as the regular expression', () => {
    fc.assert(
      fc.property(anyPattern, anyText, (pattern, text) => {
        assert.equal(matches(pattern, text), asExpression(pattern).test(text));
      }),
      { numRuns: 5_000 },
    );
  });

  test('covers a filter only if it stands for all its topics', () => {
    fc.assert(
      fc.property(anyPattern, anyFilter, (pattern, filter) => {
        if (!unitsOfFilter(filter).every((units) => covers(pattern, units))) return;
        const expression = asExpression(pattern);
        for (const topic of topicsOf(filter)) assert.match(topic, expression);
      }),
      { numRuns: 3_000 },
    );
  });

  test('overlaps a filter whenever it stands for one of its topics', () => {
    fc.assert(
      fc.property(anyPattern, anyFilter, (pattern, filter) => {
        const expression = asExpression(pattern);
        if (!topicsOf(filter).some((topic) => expression.test(topic))) return;
        assert.ok(unitsOfFilter(filter).some((units) => overlaps(pattern, units)));
      }),
      { numRuns: 3_000 },
    );
  });
});

// biome-ignore format: a table reads in columns
const CASES: readonly (readonly [pattern: string, filter: string, covers: boolean, overlaps: boolean])[] = [
  ['*',       '#',        true,  true],
  ['a/*',     'a/+',      true,  true],
  ['a/*',     'a/b/#',    true,  true],
  ['a*',      'a/#',      true,  true],
  ['a/*',     'a/#',      false, true], // `a` is not in `a/*`
  ['a',       'a/#',      false, true],
  ['a/b',     'a/+',      false, true],
  ['a/b/c',   'a/+',      false, false],
  ['a/b/c',   'a/+/c',    false, true],
  ['a/*/c',   'a/+/c',    true,  true],
  ['a/*/c',   'a/+/d',    false, false],
  ['a/*/c/d', 'a/+/+',    false, false],
  ['*/d',     'a/+/+',    false, true],
  ['b*',      'a/#',      false, false],
  ['*x*',     'a/+',      false, true],
  ['ab',      'a/#',      false, false],
  ['*',       '+/+',      true,  true],
];

for (const [pattern, filter, covered, overlapped] of CASES) {
  test(`${pattern} ${covered ? 'covers' : 'does not cover'} ${filter}`, () => {
    const sets = unitsOfFilter(filter);

    assert.equal(
      sets.every((units) => covers(pattern, units)),
      covered,
    );
    assert.equal(
      sets.some((units) => overlaps(pattern, units)),
      overlapped,
    );
  });
}
