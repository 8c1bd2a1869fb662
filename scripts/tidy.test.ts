/** tidy finds what it is there to find, and the tree has none of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSources } from './source-tree.ts';
import { findStale, tidy } from './tidy.ts';

const good = '/** What it is. */\nexport const one = 1;\n';

/** The problems of one planted file, beside one that reaches it. */
function plant(path: string, text: string): string[] {
  const importer = ['test/reach.test.ts', `/** Reaches. */\nimport '../${path}';\n`] as const;
  return tidy(new Map([[path, text], importer]));
}

test('a clean file has no problem', () => {
  assert.deepEqual(plant('src/base/one.ts', good), []);
});

const faults: readonly (readonly [name: string, path: string, text: string, found: RegExp])[] = [
  ['a layer upwards', 'src/base/one.ts', `/** A. */\nimport { x } from '#broker';\n`, /base may/],
  ['a back door', 'src/wire/one.ts', `/** A. */\nimport { x } from '../base/x.ts';\n`, /leaves/],
  [
    'an import over several lines',
    'src/wire/one.ts',
    `/** A. */\nimport {\n  x,\n} from '#edge';\n`,
    /wire may not/,
  ],
  ['a package', 'src/broker/one.ts', `/** A. */\nimport { x } from 'lmdb';\n`, /package lmdb/],
  ['a module unknown', 'src/other/one.ts', good, /layers\.ts/],
  ['no opening', 'src/base/one.ts', 'export const one = 1;\n', /open with a comment/],
  ['too long', 'src/base/one.ts', `${good}${'\n'.repeat(500)}`, /502 lines/],
  ['too wide', 'src/base/one.ts', `${good}const a = ${'1'.repeat(100)};\n`, /columns/],
  ['a promise on a hot path', 'src/base/one.ts', '/** A. @hot */\nawait one();\n', /await/],
  ['an array callback', 'src/base/one.ts', '/** A. @hot */\none.map(two);\n', /array callback/],
  ['a clock', 'src/broker/one.ts', `${good}const now = Date.now();\n`, /Date\.now/],
  ['chance', 'src/broker/one.ts', `${good}const n = Math.random();\n`, /Math\.random/],
  ['a banned word', 'src/base/one.ts', `${good}const tenant = 1;\n`, /say 'instance'/],
  ['a banned file name', 'src/base/utils.ts', good, /name it for its thing/],
  ['a FIXME', 'src/base/one.ts', `${good}// ${'FIX'}${'ME'}\n`, /never reaches main/],
  ['a rule without a test', 'src/ports/one.ts', '/** [QQ1] Holds. */\n', /\[QQ1\] has no test/],
];

for (const [name, path, text, found] of faults) {
  test(`finds ${name}`, () => {
    const problems = plant(path, text);

    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0]!, found);
  });
}

test('finds a test that cites a rule nobody promises', () => {
  const problems = tidy(
    new Map([
      ['src/ports/one.ts', '/** [QQ1] Holds. */\n'],
      ['test/one.test.ts', `/** [QQ1] [QQ2] */\nimport '../src/ports/one.ts';\n`],
    ]),
  );

  assert.deepEqual(problems, ['test/one.test.ts: cites [QQ2], which no port promises']);
});

test('finds a file nobody imports', () => {
  assert.deepEqual(tidy(new Map([['src/base/one.ts', good]])), [
    'src/base/one.ts: nobody imports it',
  ]);
});

test('words in comments and texts are not code', () => {
  assert.deepEqual(plant('src/base/one.ts', `${good}// a tenant\nconst a = 'Date.now';\n`), []);
});

test('the tree is tidy', async () => {
  assert.deepEqual(tidy(await readSources()), []);
});

test('the generated files are fresh', async () => {
  assert.deepEqual(await findStale(), []);
});
