/**
 * `npm test`: every test of the project. `npm test -- WORD` runs the files whose path holds WORD
 * or, where no path does, the tests whose name does.
 *
 * A skipped test is named at the end with its reason; with CI=true it is a failure, so that an
 * absent tool cannot quietly thin out the tests. TERNMQ_TEST_WITHOUT names the one tool that
 * whoever runs them knows to be out of reach.
 */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { PROJECT } from './source-tree.ts';

const all = globSync('{src,scripts,test}/**/*.test.ts', { cwd: PROJECT }).sort();
const words = process.argv.slice(2);
const chosen = all.filter(
  (path) => words.length === 0 || words.some((word) => path.includes(word)),
);
const byName = chosen.length === 0;
const named = all.filter((path) => {
  const text = readFileSync(join(PROJECT, path), 'utf8').toLowerCase();
  return words.every((word) => text.includes(word.toLowerCase()));
});

const skipped: string[] = [];
let failed = false;

const stream = run({
  files: byName ? (named.length > 0 ? named : all) : chosen,
  cwd: PROJECT,
  concurrency: 2,
  execArgv: ['--conditions=source'],
  // Deadlines are the tests' own; this one only ends a run that hangs.
  timeout: 600_000,
  ...(byName ? { testNamePatterns: words.map((word) => new RegExp(escape(word), 'i')) } : {}),
});
stream.on('test:fail', () => {
  failed = true;
});
stream.on('test:pass', ({ name, skip, file }) => {
  if (skip === undefined || skip === false) return;
  const reason = typeof skip === 'string' && skip !== '' ? skip : 'no reason given';
  if (!byName || reason !== 'test name does not match pattern') {
    skipped.push(`${file?.replace(`${PROJECT}/`, '') ?? ''}: ${name}: ${reason}`);
  }
});
stream.on('end', () => {
  const strict = process.env['CI'] === 'true' && skipped.some((line) => !isExcused(line));
  process.exitCode = failed || strict ? 1 : 0;
});

stream.compose(new spec()).on('end', finish).pipe(process.stdout);

function finish(): void {
  if (skipped.length === 0) return;
  console.log(`\nSkipped (${skipped.length}):`);
  for (const line of skipped) console.log(`  ${line}`);
  if (process.env['CI'] !== 'true') return;
  if (skipped.every(isExcused)) console.log('All of them by TERNMQ_TEST_WITHOUT.');
  else console.log('In CI a skipped test is a failure.');
}

function isExcused(line: string): boolean {
  const without = process.env['TERNMQ_TEST_WITHOUT'] ?? '';
  return without !== '' && line.includes(`: ${without} is not here;`);
}

function escape(word: string): string {
  return word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
