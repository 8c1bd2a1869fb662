/**
 * `npm run check`: types, lint, format and house rules (layers among them), side by side: the
 * quick half of the ritual before a commit, `npm test` is the other. Says in a line each what
 * held, and prints in full only what did not.
 */
import { spawn } from 'node:child_process';
import { PROJECT } from './source-tree.ts';

const bin = (name: string): string => `node_modules/.bin/${name}`;
const node = [process.execPath, '--conditions=source'];
const steps: readonly (readonly [name: string, command: readonly string[]])[] = [
  ['types', [bin('tsc'), '--pretty']],
  ['lint', [bin('oxlint'), '--type-aware']],
  ['format', [bin('biome'), 'format', '.']],
  ['tidy', [...node, 'scripts/tidy.ts']],
];

const started = performance.now();
const seconds = (): string => `${((performance.now() - started) / 1000).toFixed(1)} s`;

async function runStep(name: string, command: readonly string[]): Promise<boolean> {
  const child = spawn(command[0]!, command.slice(1), {
    cwd: PROJECT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, FORCE_COLOR: process.stdout.isTTY ? '1' : '0' },
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const code = await new Promise<number | null>((resolve) => {
    child.once('error', () => resolve(127));
    child.once('close', resolve);
  });
  console.log(`${code === 0 ? 'ok  ' : 'FAIL'} ${name.padEnd(7)} ${seconds()}`);
  if (code !== 0) console.log(`${output.trimEnd()}\n`);
  return code === 0;
}

const results = await Promise.all(steps.map(([name, command]) => runStep(name, command)));
const failed = steps.filter((_, index) => results[index] === false).map(([name]) => name);
console.log(failed.length === 0 ? 'check: all well' : `check: failed: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;
