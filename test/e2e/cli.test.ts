/** The command line without a broker: help, names, exit codes, and what is refused how. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runProgram } from '../harness/program.ts';

test('--version is the version of the package', async () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

  const { code, stdout } = await runProgram(['--version']);

  assert.deepEqual([code, stdout], [0, `${version}\n`]);
});

test('--help names every command, and each command has help of its own', async () => {
  const { code, stdout } = await runProgram(['--help']);

  assert.equal(code, 0);
  for (const command of ['start', 'pub', 'sub', 'bench']) {
    assert.match(stdout, new RegExp(`^  ${command} `, 'm'));
    const own = await runProgram([command, '--help']);
    assert.equal(own.code, 0, own.stderr);
    assert.match(own.stdout, /^Usage: ternmq/);
  }
});

test('help has no colours where nobody watches', async () => {
  const { stdout } = await runProgram(['start', '--help']);

  assert.ok(!stdout.includes('\u001b'));
});

const refused: readonly (readonly [words: readonly string[], stderr: RegExp])[] = [
  [['strat'], /^ternmq: unknown command strat: did you mean start\?\n$/],
  [['nonsense'], /^ternmq: unknown command nonsense: see ternmq --help\n$/],
  [['start', '--lisen', 'x'], /unknown option --lisen: did you mean --listen\?/],
  [['start', 'now'], /unexpected word "now"/],
  [['start', '--config', '/nowhere.yaml'], /cannot read the configuration: ENOENT/],
  [['pub', '-m', 'x'], /--topic is missing/],
  [['pub', '-t', 'a'], /give one of --message, --file and --stdin-lines/],
  [['pub', '-t', 'a/#', '-m', 'x'], /has a wildcard/],
  [['pub', '-t', 'a', '-m', 'x', '-q', '3'], /--qos: "3" is not valid: expected 0, 1 or 2/],
  [['pub', '-t', 'a', '-m', 'x', '--property', 'colour=red'], /--property colour=red: expected/],
  [['sub'], /--topic is missing/],
  [['sub', '-t', 'a', '--session-expiry', '1h'], /needs --client-id/],
];

for (const [words, stderr] of refused) {
  test(`refuses: ternmq ${words.join(' ')}`, async () => {
    // Port 1 is nobody's: a refusal must not wait for a broker, and usually does not get there.
    const result = await runProgram(words, { environment: { TERNMQ_URL: 'mqtt://127.0.0.1:1' } });

    assert.match(result.stderr, stderr);
    assert.equal(result.code, 2);
    assert.equal(result.stdout, '');
  });
}

test('compiled code is kept for the next run, where the user keeps such things', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'ternmq-cache-'));
  t.after(() => rmSync(home, { recursive: true }));
  const environment = { XDG_CACHE_HOME: home };
  const first = await runProgram(['start', '--help'], { environment });
  const kept = readdirSync(home, { recursive: true, withFileTypes: true });
  const second = await runProgram(['start', '--help'], { environment });

  assert.deepEqual(second, first);
  assert.ok(kept.filter((entry) => entry.isFile()).length > 10);
  assert.equal(statSync(join(home, 'ternmq')).mode & 0o777, 0o700);
});

test('compiled code is not kept where others could put theirs', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'ternmq-cache-'));
  t.after(() => rmSync(home, { recursive: true }));
  for (const open of [home, join(home, 'ternmq')]) {
    chmodSync(home, 0o700);
    mkdirSync(join(home, 'ternmq'), { recursive: true });
    chmodSync(open, 0o777);

    const { code, stderr } = await runProgram(['--version'], {
      environment: { XDG_CACHE_HOME: home },
    });

    assert.deepEqual([code, stderr], [0, '']);
    assert.deepEqual(readdirSync(join(home, 'ternmq')), []);
  }
});

test('without a place for compiled code a run is as any other', async () => {
  const environment = { XDG_CACHE_HOME: '/dev/null/nowhere' };

  const { code, stdout, stderr } = await runProgram(['--version'], { environment });

  assert.deepEqual([code, stderr], [0, '']);
  assert.match(stdout, /^\d/);
});

test('a Node that is too old is named, before anything fails for it', async () => {
  const old = "{ value: { ...process.versions, node: '22.9.0' } }";
  const preload = `data:text/javascript,Object.defineProperty(process,'versions',${old})`;
  const environment = { NODE_OPTIONS: `--import "${preload}"` };

  const { code, stderr } = await runProgram(['pub', '-t', 'a', '-m', 'x'], { environment });

  assert.equal(code, 1);
  assert.match(stderr, /^ternmq: Node 22\.18 or newer is needed; this is 22\.9\.0: \/.*\n$/);
});

test('no command at all is a question for help', async () => {
  const { code, stdout, stderr } = await runProgram([]);

  assert.deepEqual([code, stdout], [2, '']);
  assert.match(stderr, /Usage: ternmq COMMAND/);
});

test('a broker that is not there is a failure in one line', async () => {
  const { code, stderr } = await runProgram(['sub', '-t', 'a', '--url', 'mqtt://127.0.0.1:1']);

  assert.equal(code, 1);
  assert.match(stderr, /^ternmq: cannot connect to mqtt:\/\/127\.0\.0\.1:1: nobody listens.*\n$/);
});

test('--print-config says what would hold and where it comes from', async () => {
  const { code, stdout } = await runProgram(['start', '--print-config', '--retention-age', '12h'], {
    environment: { TERNMQ_LOG_LEVEL: 'warn' },
  });

  assert.equal(code, 0);
  assert.match(stdout, /^retention-age: 12h # --retention-age$/m);
  assert.match(stdout, /^log-level: warn # TERNMQ_LOG_LEVEL$/m);
  assert.match(stdout, /^listen: # default\n {2}- mqtt:\/\/127\.0\.0\.1:1883$/m);
});
