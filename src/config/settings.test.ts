/** Settings from flags, environment, file and defaults: who wins, and what is refused how. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_LIMITS } from '../broker/limits.ts';
import {
  checkSettings,
  readEnvironment,
  readFileSettings,
  readFlags,
  resolveOptions,
  type Resolved,
  type Settings,
  SETTINGS,
  showSettings,
  UsageError,
} from './index.ts';

interface Given {
  readonly flags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly file?: string;
}

function resolve({ flags = [], environment = {}, file = '' }: Given): Resolved<Settings> {
  return resolveOptions(SETTINGS, [
    readFlags(SETTINGS, flags).source,
    readEnvironment(SETTINGS, environment, ['TERNMQ_URL']),
    readFileSettings(SETTINGS, 'ternmq.yaml', file),
  ]);
}

function problemsOf(action: () => unknown): readonly string[] {
  try {
    action();
  } catch (error) {
    if (error instanceof UsageError) return error.problems;
    throw error;
  }
  return [];
}

test('what a container is told of a service of our name is no setting', () => {
  const environment = {
    TERNMQ_SERVICE_HOST: '10.0.0.1',
    TERNMQ_SERVICE_PORT_MQTT: '1883',
    TERNMQ_PORT: 'tcp://10.0.0.1:1883',
    TERNMQ_PORT_1883_TCP_ADDR: '10.0.0.1',
    TERNMQ_EDGE_PORT_1883_TCP: 'tcp://10.0.0.1:1883',
  };

  assert.deepEqual(
    problemsOf(() => resolve({ environment })),
    [],
  );
});

test('a flag wins over the environment, the environment over the file, the file over the default', () => {
  const given = {
    flags: ['--max-packet-size', '1MiB'],
    environment: { TERNMQ_MAX_PACKET_SIZE: '2MiB', TERNMQ_RETENTION_AGE: '12h' },
    file: 'max-packet-size: 3MiB\nretention-age: 1d\nlog-level: debug\n',
  };

  const { values, origins } = resolve(given);

  assert.equal(values.maxPacketSize, 1024 ** 2);
  assert.equal(values.retentionAge, 12 * 3_600_000);
  assert.equal(values.logLevel, 'debug');
  assert.equal(values.data, './data');
  assert.equal(origins.get('max-packet-size'), '--max-packet-size');
  assert.equal(origins.get('retention-age'), 'TERNMQ_RETENTION_AGE');
  assert.equal(origins.get('log-level'), 'ternmq.yaml:3 log-level');
  assert.equal(origins.get('data'), 'default');
});

test('several listeners come from repeated flags, a separated variable, or a list', () => {
  const texts = ({ values }: Resolved<Settings>): readonly string[] =>
    values.listen.map((url) => `${url.scheme} ${url.host} ${url.port} ${url.path}`);
  const expected = ['mqtt 127.0.0.1 0 ', 'ws ::1 8083 /mqtt'];
  const urls = ['mqtt://127.0.0.1:0', 'ws://[::1]'];

  assert.deepEqual(
    texts(resolve({ flags: ['--listen', urls[0]!, `--listen=${urls[1]}`] })),
    expected,
  );
  assert.deepEqual(texts(resolve({ environment: { TERNMQ_LISTEN: urls.join(', ') } })), expected);
  assert.deepEqual(
    texts(resolve({ file: `listen:\n  - ${urls[0]}\n  - "${urls[1]}"\n` })),
    expected,
  );
});

const readable: readonly (readonly [flags: string, key: keyof Settings, value: unknown])[] = [
  ['--retention-bytes=10GB', 'retentionBytes', 10e9],
  ['--retention-bytes=512MiB', 'retentionBytes', 512 * 1024 ** 2],
  ['--retention-bytes=none', 'retentionBytes', Number.POSITIVE_INFINITY],
  ['--retention-age=45s', 'retentionAge', 45_000],
  ['--retention-age=1.5h', 'retentionAge', 5_400_000],
  ['--max-packet-size=65536', 'maxPacketSize', 65_536],
  ['--memory', 'memory', true],
  ['--no-memory', 'memory', false],
  ['--memory=no', 'memory', false],
  ['--tls-client-cert=required', 'tlsClientCert', 'required'],
];

for (const [flag, key, value] of readable) {
  test(`reads ${flag}`, () => {
    assert.equal(resolve({ flags: [flag] }).values[key], value);
  });
}

const refused: readonly (readonly [what: string, given: Given, problem: string | RegExp])[] = [
  [
    'a number that is none',
    { flags: ['--max-connections', 'many'] },
    '--max-connections: "many" is not valid: expected a whole number from 1 to 10000000',
  ],
  ['a bound exceeded', { flags: ['--max-inflight=65536'] }, /from 1 to 65535/],
  [
    'a duration without a unit',
    { environment: { TERNMQ_RETENTION_AGE: '3' } },
    /^TERNMQ_RETENTION_AGE: "3"/,
  ],
  ['a scheme unknown', { file: 'listen: http://127.0.0.1' }, /^ternmq.yaml:1 listen: "http:/],
  ['a port too high', { flags: ['--listen=mqtt://127.0.0.1:70000'] }, /expected a URL/],
  ['a path where none can be', { flags: ['--listen=mqtt://127.0.0.1/mqtt'] }, /expected a URL/],
  ['a control door that is none', { flags: ['--control=mqtt://127.0.0.1'] }, /such as http/],
  ['a control door with a path', { flags: ['--control=http://127.0.0.1/x'] }, /such as http/],
  ['an instance with a slash', { flags: ['--default-instance=a/b'] }, /letters, digits/],
  ['a flag mistyped', { flags: ['--retention-ages', '3d'] }, /did you mean --retention-age\?/],
  ['a flag without its value', { flags: ['--data'] }, '--data needs a value: expected some text'],
  ['a flag twice', { flags: ['--data', 'a', '--data', 'b'] }, '--data was given more than once'],
  [
    'a variable mistyped',
    { environment: { TERNMQ_MAX_INFLIGT: '1' } },
    /did you mean TERNMQ_MAX_INFLIGHT\?/,
  ],
  [
    'a name mistyped in the file',
    { file: '\nmax-conections: 5' },
    /^ternmq.yaml:2: .*max-connections\?/,
  ],
  ['a mapping in the file', { file: 'data:\n  a: 1' }, /^ternmq.yaml:1: data has no value/],
  ['a file that is no YAML', { file: 'data: [' }, /^ternmq.yaml:1: /],
  ['a file that is a list', { file: '- data' }, /expected lines such as/],
];

for (const [what, given, problem] of refused) {
  test(`refuses ${what}`, () => {
    const problems = problemsOf(() => resolve(given));

    assert.equal(problems.length, 1, problems.join('\n'));
    if (typeof problem === 'string') assert.equal(problems[0], problem);
    else assert.match(problems[0]!, problem);
  });
}

const together: readonly (readonly [
  what: string,
  flags: readonly string[],
  problem: RegExp | undefined,
])[] = [
  [
    'everybody on every address',
    ['--open', '--listen=mqtt://0.0.0.0'],
    /^open: .*--open-to-network/,
  ],
  ['everybody on IPv6 too', ['--open', '--listen=mqtt://[::]'], /^open: /],
  ['everybody, said twice', ['--open', '--open-to-network', '--listen=mqtt://0.0.0.0'], undefined],
  ['everybody on this machine', ['--open', '--listen=mqtt://localhost'], undefined],
  ['keys on every address', ['--listen=mqtt://0.0.0.0'], undefined],
  ['TLS without a certificate', ['--listen=mqtts://127.0.0.1'], /^listen: .* needs tls-cert/],
  ['a key without a certificate', ['--tls-key=k'], /go together/],
  ['a control door', ['--control=http://127.0.0.1:8080', '--control=http://[::1]:0'], undefined],
  [
    'a control door with TLS',
    ['--control=https://x', '--control-cert=c', '--control-key=k'],
    undefined,
  ],
  [
    'a control door with TLS and no certificate',
    ['--control=https://x'],
    /^control: https:\/\/x:443 needs/,
  ],
  ['a control key without a certificate', ['--control-key=k'], /control-cert and control-key go/],
  ['a listener with options', ['--listen=mqtt://127.0.0.1:0?instance=mqtt-1'], undefined],
  [
    'client certificates where there is no TLS',
    ['--listen=mqtt://127.0.0.1:0?client-cert=required'],
    /has no client certificates/,
  ],
  ['client certificates of registered authorities', ['--tls-client-cert=required'], undefined],
];

for (const [what, flags, problem] of together) {
  test(`${problem === undefined ? 'allows' : 'refuses'} ${what}`, () => {
    const problems = problemsOf(() => checkSettings(resolve({ flags })));

    if (problem === undefined) assert.deepEqual(problems, []);
    else assert.match(problems.join('\n'), problem);
  });
}

test('what is printed is a file that gives the same settings', () => {
  const first = resolve({
    flags: [
      '--listen=mqtt://[::1]:0',
      '--listen=ws://127.0.0.1/x',
      '--control=http://[::1]:8080',
      '--default-instance=mqtt-1',
      '--data',
      'my data: #1',
      '--open',
    ],
  });

  const again = resolve({ file: showSettings(SETTINGS, first) });

  assert.deepEqual(again.values, first.values);
});

test('the defaults are those the broker has by itself', () => {
  const { values } = resolve({});

  assert.equal(values.maxConnections, DEFAULT_LIMITS.connectionCountMax);
  assert.equal(values.connectRate, DEFAULT_LIMITS.connectsPerSecondMax);
  assert.equal(values.maxPacketSize, DEFAULT_LIMITS.packetBytesMax);
  assert.equal(values.maxInflight, DEFAULT_LIMITS.inflightCountMax);
  assert.equal(values.maxInflight, DEFAULT_LIMITS.receiveMaximum);
});
