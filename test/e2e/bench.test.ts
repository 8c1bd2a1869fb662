/** `ternmq bench` against a real broker: every workload in small, and what it says of failures. */
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { runBench } from '../../src/cli/bench.ts';
import type { LoadResult } from '../../src/cli/load/plan.ts';
import { startBroker } from '../harness/broker-process.ts';

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const bench = (...argv: string[]): Promise<Ran> => benchIn({}, ...argv);

async function benchIn(
  environment: Readonly<Record<string, string>>,
  ...argv: string[]
): Promise<Ran> {
  let stdout = '';
  let stderr = '';
  const code = await runBench(argv, {
    write: (text) => {
      stdout += text.toString();
    },
    writeError: (text) => {
      stderr += text;
    },
    isTerminal: false,
    paint: { bold: String, dim: String },
    columns: 100,
    environment,
  });
  return { code, stdout, stderr };
}

async function measure(...argv: string[]): Promise<LoadResult> {
  const ran = await bench(...argv, '--json', '--seconds', '0.2', '--warm-up', '0');
  assert.equal(ran.code, 0, `${argv.join(' ')}: ${ran.stderr}`);
  return JSON.parse(ran.stdout) as LoadResult;
}

function valueOf(result: LoadResult, name: string): number {
  return result.measures.find((measure) => measure.name === name)?.value ?? Number.NaN;
}

test('every workload measures something and QoS 1 and 2 lose nothing', async (t) => {
  const broker = await startBroker(t, { memory: true });
  const at = ['--url', broker.url];

  const versions = [
    ['0', '4'],
    ['1', '5'],
    ['2', '4'],
  ] as const;
  for (const [qos, protocol] of versions) {
    const how = [...at, '--protocol', protocol, '--qos', qos, '--clients', '3', '--topics', '60'];
    for (const workload of ['pairs', 'fan-in', 'fan-out', 'shared', 'trickle', 'wildcards']) {
      const result = await measure(workload, ...how);
      assert.ok(valueOf(result, 'delivered') > 0, `${workload} ${qos}`);
      if (qos !== '0') assert.equal(result.lost, 0, `${workload} ${qos}`);
    }
  }
});

test('latency, connections, offline sessions and retained messages have their own figures', async (t) => {
  const broker = await startBroker(t, { memory: true });
  const at = ['--url', broker.url];

  const latency = await measure('latency', ...at, '--clients', '2', '--rate', '500');
  assert.ok(valueOf(latency, 'p50') > 0);
  assert.ok(valueOf(latency, 'max') >= valueOf(latency, 'p50'));

  const connect = await measure(
    'connect',
    ...at,
    '--clients',
    '20',
    '--broker-pid',
    `${broker.pid}`,
  );
  assert.ok(valueOf(connect, 'connects') > 0);

  const offline = await measure('offline', ...at, '--clients', '5', '--messages', '20');
  assert.equal(offline.delivered, 100);
  assert.ok(valueOf(offline, 'fill') > 0);
  assert.ok(valueOf(offline, 'drain') > 0);

  const retained = await measure('retained', ...at, '--topics', '200');
  assert.ok(valueOf(retained, 'store') > 0);
  assert.ok(valueOf(retained, 'replay') > 0);
});

test('several processes share the clients and their counts add up', async (t) => {
  const broker = await startBroker(t, { memory: true });

  const how = ['--clients', '5', '--qos', '1', '--processes', '3'];
  const result = await measure('pairs', '--url', broker.url, ...how);

  assert.equal(result.lost, 0);
  assert.ok(result.delivered > 0);
});

test('the table names what was measured', async (t) => {
  const broker = await startBroker(t, { memory: true });

  const how = ['--clients', '2', '--qos', '1', '--seconds', '0.2', '--warm-up', '0'];
  const ran = await bench('pairs', '--url', broker.url, ...how);

  assert.equal(ran.code, 0, ran.stderr);
  assert.match(ran.stdout, /^pairs: QoS 1, 128 bytes\n {2}delivered +[\d,.]+ msg\/s\n/);
  assert.match(ran.stdout, / lost +0\n/);
});

test('who it is comes by flag, by URL or by environment, as for pub, and a refusal has words', async (t) => {
  const broker = await startBroker(t, { memory: true, closed: true });
  const [, user, secret] = /(ak-[0-9a-f]+)\s+password\s+(\S+)/.exec(broker.output())!;
  const named = new URL(broker.url);
  named.username = user!;
  named.password = secret!;
  const environment = { TERNMQ_USER: user!, TERNMQ_PASSWORD: secret! };
  const wrong = { TERNMQ_USER: 'nobody', TERNMQ_PASSWORD: 'nothing' };
  const words = ['connect', '--clients', '2', '--seconds', '0.1', '--warm-up', '0'];
  const at = ['--url', broker.url];

  const entered = [
    await benchIn(environment, ...words, ...at),
    await benchIn(wrong, ...words, ...at, '-u', user!, '-P', secret!),
    await benchIn(wrong, ...words, '--url', named.href),
  ];
  for (const { code, stderr } of entered) assert.equal(code, 0, stderr);

  const refused = async (protocol: string, ...more: string[]) => {
    const { code, stderr } = await bench(...words, ...at, '--protocol', protocol, ...more);
    return [code, stderr];
  };
  const text = 'ternmq bench: connect: the broker refused:';
  assert.deepEqual(await refused('4'), [1, `${text} not authorized (5)\n`]);
  assert.deepEqual(await refused('5'), [1, `${text} 0x87 not authorized\n`]);
  const badPassword = [1, `${text} 0x86 bad user name or password\n`];
  assert.deepEqual(await refused('5', '-u', user!, '-P', 'x'), badPassword);
});

test('nobody there is a failure in one line', async () => {
  const ran = await bench('pairs', '--url', 'mqtt://127.0.0.1:1', '--clients', '1');

  assert.equal(ran.code, 1);
  assert.match(ran.stderr, /^ternmq bench: pairs: .*ECONNREFUSED.*\n$/);
  assert.equal(ran.stdout, '');
});

test('a server that hangs up is a failure, not a wait', async (t) => {
  const server = createServer((socket) => socket.once('data', () => socket.destroy()));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => void server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');

  const ran = await bench('pairs', '--url', `mqtt://127.0.0.1:${address.port}`, '--clients', '1');

  assert.equal(ran.code, 1);
  assert.match(ran.stderr, /closed by the broker/);
});

test('wrong words are told apart before anything is sent', async () => {
  const wrong = [
    ['flood'],
    ['pairs', '--qos', '3'],
    ['pairs', '--clients', 'many'],
    ['pairs', '--clients', '9999999'],
    ['pairs', '--seconds', '0'],
    ['pairs', '--url', 'http://localhost'],
    ['pairs', '--protocol', '3'],
    ['pairs', '--publishers', '2', '--subscribers', '3'],
    ['pairs', '--qos', '1', '--window', '0'],
    ['latency', '--size', '4'],
    ['offline', '--qos', '0'],
    ['pairs', 'fan-in'],
    ['pairs', '--nonsense'],
  ];
  for (const argv of wrong) {
    const ran = await bench(...argv);
    assert.equal(ran.code, 2, argv.join(' '));
    assert.match(ran.stderr, /^ternmq bench: .+\nTry: ternmq bench --help\n$/);
  }
  const help = await bench('--help');
  assert.equal(help.code, 0);
  assert.match(help.stdout, /fan-out/);
});
