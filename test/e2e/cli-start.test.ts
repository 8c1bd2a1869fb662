/** The life of `ternmq start`: ready, signals, the first key, what it takes up, how it ends. */
import assert from 'node:assert/strict';
import { globSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectTls } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { once } from 'node:events';
import { type CertificateFiles, createAuthority } from '../harness/certificates.ts';
import { type Program, runProgram, startProgram } from '../harness/program.ts';
import { needs } from '../harness/tool.ts';

const ANY_PORT = ['--listen', 'mqtt://127.0.0.1:0'];
const PROJECT = join(import.meta.dirname, '..', '..');

async function temporaryDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'ternmq-start-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function startReady(
  t: TestContext,
  words: readonly string[],
  options: Parameters<typeof startProgram>[1] = {},
): Promise<{ readonly broker: Program; readonly url: string }> {
  const broker = startProgram(words, options);
  t.after(async () => {
    broker.child.kill('SIGKILL');
    await broker.ended;
  });
  await broker.until(({ stdout }) => /^ternmq ready .*\n/m.test(stdout()));
  return { broker, url: /^ternmq ready (\S+)/m.exec(broker.stdout())![1]! };
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} ends it with 0, and a client of MQTT 5.0 is told`, async (t) => {
    const { broker, url } = await startReady(t, ['start', '--open', '--memory', ...ANY_PORT]);
    const client = startProgram(['sub', '-t', 'a', '--url', url]);
    await client.until(({ stderr }) => stderr().includes('subscribed'));

    broker.child.kill(signal);

    assert.equal(await broker.ended, 0, broker.stderr());
    assert.equal(await client.ended, 1);
    assert.match(client.stderr(), /0x8b server shutting down/);
    assert.match(broker.stdout(), /^ternmq ready mqtt:\/\/127\.0\.0\.1:\d+\n$/);
  });
}

test('what was kept is there after a restart', async (t) => {
  const data = join(await temporaryDirectory(t), 'data');
  const words = ['start', '--open', '--data', data, ...ANY_PORT];
  const first = await startReady(t, words);
  const kept = ['pub', '-t', 'kept', '-m', 'still here', '--retain', '--url', first.url];
  assert.equal((await runProgram(kept)).code, 0);
  first.broker.child.kill('SIGTERM');
  assert.equal(await first.broker.ended, 0);

  const second = await startReady(t, words);

  const sub = ['sub', '-t', 'kept', '--count', '1', '--quiet', '--url', second.url];
  assert.equal((await runProgram(sub)).stdout, 'still here\n');
});

/** A folder that is a checkout for npm and Node, with a ./data of its own. */
async function checkout(t: TestContext): Promise<string> {
  const directory = await temporaryDirectory(t);
  for (const name of ['package.json', 'src', 'node_modules']) {
    symlinkSync(join(PROJECT, name), join(directory, name));
  }
  return directory;
}

const NPM_START = ['start', '--', '--open', ...ANY_PORT];

test('npm start hands SIGTERM on, and nothing stays behind', async (t) => {
  const npm = { directory: await checkout(t), command: ['npm'] };
  const { broker, url } = await startReady(t, NPM_START, npm);
  const kept = ['pub', '-t', 'kept', '-m', 'by npm', '--retain', '--url', url];
  assert.equal((await runProgram(kept)).code, 0);

  broker.child.kill('SIGTERM');
  await broker.ended; // its outputs are closed: the broker, which shares them, has gone too

  assert.match(broker.stderr(), /stopped$/m);
  const again = await startReady(t, NPM_START, npm);
  const sub = ['sub', '-t', 'kept', '--count', '1', '--quiet', '--url', again.url];
  assert.equal((await runProgram(sub)).stdout, 'by npm\n');
  again.broker.child.kill('SIGTERM');
  await again.broker.ended;
});

test('Ctrl-C under npm reaches the broker twice and counts once', async (t) => {
  const npm = { directory: await checkout(t), command: ['npm'], group: true };
  const { broker } = await startReady(t, NPM_START, npm);

  process.kill(-broker.child.pid!, 'SIGINT');

  await broker.ended;
  assert.match(broker.stderr(), /stopped$/m);
});

test('the first start makes a key, later ones do not, and nobody gets in without', async (t) => {
  const data = join(await temporaryDirectory(t), 'data');
  const words = ['start', '--data', data, ...ANY_PORT];
  const first = await startReady(t, words);
  const [, user, secret] = /(ak-[0-9a-f]+)\s+password\s+(\S+)/.exec(first.broker.stderr())!;
  first.broker.child.kill('SIGTERM');
  await first.broker.ended;

  const { broker, url } = await startReady(t, words);

  const publish = (...who: string[]) =>
    runProgram(['pub', '-t', 'a', '-m', 'b', '--url', url, ...who]);
  assert.equal((await publish('-u', user!, '-P', secret!)).code, 0);
  const wrong = await publish('-u', user!, '-P', `${secret}x`);
  assert.deepEqual([wrong.code, /0x86 bad user name or password/.test(wrong.stderr)], [1, true]);
  const nobody = await publish();
  assert.deepEqual([nobody.code, nobody.stderr.endsWith(': 0x87 not authorized\n')], [1, true]);
  assert.doesNotMatch(broker.stderr(), /password/);
  const files = globSync('**/*', { cwd: data, withFileTypes: true }).filter((file) =>
    file.isFile(),
  );
  const holders = files.filter(({ parentPath, name }) =>
    readFileSync(join(parentPath, name)).includes(secret!),
  );
  assert.ok(files.length > 0);
  for (const { parentPath, name } of files) {
    assert.equal(statSync(join(parentPath, name)).mode & 0o077, 0, `${name} is nobody else's`);
  }
  assert.deepEqual(holders, []);
});

test('a port that is taken is a failure in one line', async (t) => {
  const { url } = await startReady(t, ['start', '--open', '--memory', ...ANY_PORT]);

  const second = await runProgram(['start', '--open', '--memory', '--listen', url]);

  assert.equal(second.code, 1);
  assert.equal(second.stdout, '');
  assert.match(second.stderr, /^ternmq: cannot listen on .*: the port is taken\n$/); // and no key
});

test('--open on the network is refused unless it is said twice', async (t) => {
  const words = ['start', '--open', '--memory', '--listen', 'mqtt://0.0.0.0:0'];

  const once = await runProgram(words);

  assert.equal(once.code, 2);
  assert.match(once.stderr, /--open-to-network/);
  await startReady(t, [...words, '--open-to-network']);
});

test('SIGHUP takes up the log level and says what needs a restart', async (t) => {
  const directory = await temporaryDirectory(t);
  const config = join(directory, 'ternmq.yaml');
  writeFileSync(config, 'memory: true\nopen: true\nlog-level: info\n');
  const { broker } = await startReady(t, ['start', '--config', config, ...ANY_PORT]);

  writeFileSync(config, 'memory: true\nopen: true\nlog-level: warn\nmax-inflight: 5\n');
  broker.child.kill('SIGHUP');

  await broker.until(({ stderr }) => /need a restart.*max-inflight/.test(stderr()));

  writeFileSync(config, 'memory: true\nopen: true\nlog-level: info\n');
  broker.child.kill('SIGHUP');

  await broker.until(({ stderr }) => /reloaded/.test(stderr()));
  broker.child.kill('SIGTERM');
  await broker.ended;
  assert.equal(broker.stderr().match(/need a restart/g)?.length, 1, 'it is as it was started');
});

test('a reload that is wrong is told, and nothing changes', async (t) => {
  const directory = await temporaryDirectory(t);
  const config = join(directory, 'ternmq.yaml');
  writeFileSync(config, 'memory: true\nopen: true\n');
  const { broker, url } = await startReady(t, ['start', '--config', config, ...ANY_PORT]);

  writeFileSync(config, 'memory: true\nopne: true\n');
  broker.child.kill('SIGHUP');

  await broker.until(({ stderr }) => /not reloaded.*unknown setting opne/.test(stderr()));
  assert.equal((await runProgram(['pub', '-t', 'a', '-m', 'b', '--url', url])).code, 0);
});

/** What is taken up after `change` and SIGHUP; the broker may have noticed the change before. */
async function takenUp(broker: Program, change: () => void): Promise<readonly string[]> {
  const reloads = (): (readonly [why: string, taken: string])[] => {
    const lines = broker.stderr().matchAll(/ reloaded why=(.+) taken=(.+)\n/g);
    return [...lines].map(([, why, taken]) => [why!, taken!]);
  };
  const before = reloads().length;
  change();
  broker.child.kill('SIGHUP');
  const fresh = () => reloads().slice(before);
  await broker.until(() => fresh().some(([why]) => why === 'SIGHUP'));
  return fresh().flatMap(([, taken]) => (taken === '"nothing new"' ? [] : [taken]));
}

test('a renewed certificate is taken up on SIGHUP', needs('openssl'), async (t) => {
  const authority = createAuthority(t);
  const first = authority.issue('first.example');
  const doors = ['--listen', 'mqtts://127.0.0.1:0', '--control', 'https://127.0.0.1:0'];
  const words = ['start', '--open', '--memory', ...doors];
  const own = authority.issue('control.example');
  const tls = ['--tls-cert', first.certificateFile, '--tls-key', first.keyFile];
  tls.push('--control-cert', own.certificateFile, '--control-key', own.keyFile);
  const { broker, url } = await startReady(t, [...words, ...tls]);
  const shown = async (): Promise<string | string[] | undefined> => {
    const port = Number(new URL(url).port);
    const socket = connectTls({ host: '127.0.0.1', port, ca: authority.certificate });
    await once(socket, 'secureConnect');
    const name = socket.getPeerCertificate().subject.CN;
    socket.destroy();
    return name;
  };
  const put = (to: CertificateFiles, { certificate, key }: CertificateFiles): void => {
    writeFileSync(to.certificateFile, certificate);
    writeFileSync(to.keyFile, key);
  };
  assert.equal(await shown(), 'first.example');
  assert.deepEqual(await takenUp(broker, () => undefined), [], 'they are what they were');

  const second = authority.issue('second.example');
  const half = { ...second, key: first.key };
  assert.deepEqual(await takenUp(broker, () => put(first, half)), [], 'the key is of another');
  assert.match(broker.stderr(), /certificates not reloaded, the old ones stay/);
  assert.equal(await shown(), 'first.example');

  assert.deepEqual(await takenUp(broker, () => put(first, second)), ['certificates']);
  assert.equal(await shown(), 'second.example');

  const third = authority.issue('third.example');
  assert.deepEqual(await takenUp(broker, () => put(own, third)), ['certificates'], 'of control');
});

test('a second signal ends it at once with 1', async (t) => {
  // With a disk an end takes a while: both arrive before the first is handled to its end.
  const data = join(await temporaryDirectory(t), 'data');
  const { broker } = await startReady(t, ['start', '--open', '--data', data, ...ANY_PORT]);
  const { pid } = broker.child;

  process.kill(pid!, 'SIGSTOP');
  process.kill(pid!, 'SIGTERM');
  process.kill(pid!, 'SIGINT');
  process.kill(pid!, 'SIGCONT');

  assert.equal(await broker.ended, 1);
});
