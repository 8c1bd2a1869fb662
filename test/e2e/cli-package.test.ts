/** What is built runs with plain Node, and the package holds what a user needs and no more. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, symlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runProgram, startProgram } from '../harness/program.ts';

const PROJECT = join(import.meta.dirname, '..', '..');

test('the build serves clients without any option of Node', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'ternmq-build-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const tsc = join(PROJECT, 'node_modules', '.bin', 'tsc');
  execFileSync(tsc, ['-p', 'tsconfig.build.json', '--outDir', join(directory, 'dist')], {
    cwd: PROJECT,
  });
  copyFileSync(join(PROJECT, 'package.json'), join(directory, 'package.json'));
  symlinkSync(join(PROJECT, 'node_modules'), join(directory, 'node_modules'));
  const command = [process.execPath, join(directory, 'dist', 'main.js')];

  const words = ['start', '--open', '--listen', 'mqtt://127.0.0.1:0'];
  const broker = startProgram(words, { command, directory });
  t.after(() => broker.child.kill('SIGKILL'));
  await broker.until(({ stdout }) => stdout().includes('\n'));
  const url = /^ternmq ready (\S+)$/m.exec(broker.stdout())![1]!;

  const pub = ['pub', '-t', 'a', '-m', 'built', '-r', '--url', url];
  assert.equal((await runProgram(pub, { command })).code, 0);
  const sub = ['sub', '-t', 'a', '--count', '1', '--quiet', '--url', url];
  assert.equal((await runProgram(sub, { command })).stdout, 'built\n');
  broker.child.kill('SIGTERM');
  assert.equal(await broker.ended, 0);
});

test('the package holds the program, its documentation, and nothing else', () => {
  const words = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const output = execFileSync('npm', words, { cwd: PROJECT, encoding: 'utf8', stdio: 'pipe' });

  const paths = [...output.matchAll(/"path": "([^"]+)"/g)].map(([, path]) => path!);

  const strange = paths.filter(
    (path) => !/^(dist\/|docs\/|README\.md|CHANGELOG\.md|LICENSE|package\.json)/.test(path),
  );
  assert.deepEqual(strange, []);
  for (const needed of ['README.md', 'LICENSE', 'docs/config.md', 'package.json']) {
    assert.ok(paths.includes(needed), `${needed} is in the package`);
  }
});
