/** mosquitto_pub and mosquitto_sub, Debian's, as they come: each version, each quality of service. */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { type BrokerOptions, type BrokerProcess, startBroker } from '../harness/broker-process.ts';
import { createAuthority } from '../harness/certificates.ts';
import { unique } from '../harness/index.ts';
import { type Program, runProgram, startProgram } from '../harness/program.ts';
import { needs } from '../harness/tool.ts';
import { until } from '../harness/until.ts';

const TOOLS = needs('mosquitto_pub', 'mosquitto_sub');
const VERSIONS = ['31', '311', '5'] as const;
const QOS = ['0', '1', '2'] as const;

async function start(t: TestContext, options: BrokerOptions = {}): Promise<BrokerProcess> {
  return await startBroker(t, { memory: true, ...options });
}

async function publish(port: number, words: readonly string[]): Promise<void> {
  const at = ['-h', '127.0.0.1', '-p', String(port)];
  const result = await runProgram([...at, ...words], { command: ['mosquitto_pub'] });
  assert.equal(result.code, 0, result.stderr);
}

interface Listening {
  /** The messages so far. */
  read(): readonly string[];
  /** Waits until so many messages are there. */
  shows(count: number): Promise<void>;
  /** The same, and ends it politely. */
  lines(count: number): Promise<readonly string[]>;
  readonly program: Program;
}

/**
 * Starts mosquitto_sub and waits until its subscriptions stand: it asks for a retained message as
 * well, which it prints once they do. Each message is a line of topic, QoS, retain and payload.
 */
async function listen(t: TestContext, port: number, words: readonly string[]): Promise<Listening> {
  const ready = unique('ready/');
  await publish(port, ['-t', ready, '-m', 'ready', '-r']);
  const at = ['-h', '127.0.0.1', '-p', String(port), '-F', '%t %q %r %p'];
  const program = startProgram([...at, ...words, '-t', ready], { command: ['mosquitto_sub'] });
  t.after(() => void program.child.kill('SIGKILL'));
  await program.until(({ stdout }) => stdout().includes(`${ready} 0 1 ready\n`));
  await publish(port, ['-t', ready, '-n', '-r']); // nobody else is to see it
  const read = (): string[] =>
    program
      .stdout()
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith(ready));
  const shows = async (count: number): Promise<void> =>
    await program.until(() => read().length >= count);
  return {
    program,
    read,
    shows,
    lines: async (count) => {
      await shows(count);
      program.child.kill('SIGTERM');
      await program.ended;
      return read();
    },
  };
}

describe('mosquitto_pub to mosquitto_sub', () => {
  test('every version speaks to every other at every quality of service', TOOLS, async (t) => {
    const { port } = await start(t);
    const subs = await Promise.all(
      VERSIONS.map((version) => listen(t, port, ['-V', version, '-t', 'q/#', '-q', '2'])),
    );

    const expected: string[] = [];
    for (const from of VERSIONS) {
      for (const qos of QOS) {
        await publish(port, ['-V', from, '-t', `q/${from}`, '-m', `hello ${qos}`, '-q', qos]);
        expected.push(`q/${from} ${qos} 0 hello ${qos}`);
        // One of QoS 2 is shown at its PUBREL only: what another publisher sends next may be first.
        await Promise.all(subs.map((sub) => sub.shows(expected.length)));
      }
    }

    for (const sub of subs) assert.deepEqual(await sub.lines(9), expected);
  });

  test('a subscription of lower quality gets no better', TOOLS, async (t) => {
    const { port } = await start(t);
    const subs = await Promise.all(
      QOS.map((qos) => listen(t, port, ['-V', '5', '-t', 'a', '-q', qos])),
    );

    await publish(port, ['-t', 'a', '-m', 'x', '-q', '2']);

    for (const [index, sub] of subs.entries()) {
      assert.deepEqual(await sub.lines(1), [`a ${index} 0 x`]);
    }
  });

  test('retained messages, replaced and cleared', TOOLS, async (t) => {
    const { port } = await start(t);
    for (const payload of ['first', 'second']) {
      await publish(port, ['-t', 'kept/a', '-m', payload, '-r', '-q', '1']);
    }
    await publish(port, ['-t', 'kept/b', '-m', 'gone', '-r']);
    await publish(port, ['-t', 'kept/b', '-n', '-r']);

    for (const version of VERSIONS) {
      const sub = await listen(t, port, ['-V', version, '-t', 'kept/#', '-q', '2']);
      assert.deepEqual(await sub.lines(1), ['kept/a 1 1 second']);
    }
  });

  for (const version of VERSIONS) {
    test(
      `version ${version}: the will of a client that is killed, not of one that leaves`,
      TOOLS,
      async (t) => {
        const { port } = await start(t);
        const witness = await listen(t, port, ['-t', 'will/#', '-q', '1']);
        const will = ['--will-payload', 'gone', '--will-qos', '1', '--will-topic'];
        const leaves = ['-C', '2', ...will, 'will/polite'];
        const polite = await listen(t, port, ['-V', version, '-t', 'x', ...leaves]);
        const killed = await listen(t, port, ['-V', version, '-t', 'x', ...will, 'will/killed']);

        polite.program.child.kill('SIGTERM'); // it says DISCONNECT
        await polite.program.ended;
        killed.program.child.kill('SIGKILL');

        assert.deepEqual(await witness.lines(1), ['will/killed 1 0 gone']);
      },
    );

    test(
      `version ${version}: a durable client gets what came while it was away`,
      TOOLS,
      async (t) => {
        const broker = await startBroker(t);
        const words = ['-V', version, '-i', 'sleeper', '-c', '-t', 'd/#', '-q', '2'];
        if (version === '5') words.push('-x', '3600');
        await (await listen(t, broker.port, words)).lines(0);

        for (let i = 0; i < 30; i++) {
          await publish(broker.port, ['-t', `d/${i % 3}`, '-m', String(i), '-q', String(i % 3)]);
          if (i === 15) await broker.restart();
        }

        const expected = Array.from({ length: 30 }, (_, i) => `d/${i % 3} ${i % 3} 0 ${i}`);
        const lasting = expected.filter((_, i) => i % 3 > 0);
        const sub = await listen(t, broker.port, words);
        const came = await sub.lines(lasting.length);
        // It prints QoS 2 when released, so the order is told for each quality by itself.
        for (const qos of [1, 2]) {
          const of = (line: string): boolean => line.startsWith(`d/${qos}`);
          assert.deepEqual(came.filter(of), lasting.filter(of));
        }
        assert.equal(came.length, lasting.length);
      },
    );
  }

  test('a file of a megabyte, and a thousand lines in order', TOOLS, async (t) => {
    const { port } = await start(t);
    const large = await listen(t, port, ['-t', 'large', '-q', '1']);
    const many = await listen(t, port, ['-t', 'many', '-q', '2']);
    const text = 'x'.repeat(1024 * 1024);
    const lines = Array.from({ length: 1_000 }, (_, index) => `line ${index}`);
    const at = ['-h', '127.0.0.1', '-p', String(port)];
    const command = ['mosquitto_pub', ...at];

    await runProgram(['-t', 'large', '-s', '-q', '1'], { command, input: text });
    await runProgram(['-t', 'many', '-l', '-q', '2'], { command, input: `${lines.join('\n')}\n` });

    assert.deepEqual(await large.lines(1), [`large 1 0 ${text}`]);
    assert.deepEqual(
      await many.lines(1_000),
      lines.map((line) => `many 2 0 ${line}`),
    );
  });

  test('properties of 5.0', TOOLS, async (t) => {
    const { port } = await start(t);
    const format = ['-F', '%t %C %R %D %P %E %A %p'];
    const sub = await listen(t, port, ['-V', '5', '-t', 'p', '-q', '1']);
    const full = startProgram(
      ['-h', '127.0.0.1', '-p', String(port), '-V', '5', '-t', 'p', '-C', '1', ...format],
      { command: ['mosquitto_sub'] },
    );
    const words = ['-V', '5', '-t', 'p', '-m', 'x', '-q', '1', '-r'];
    const property = (name: string, ...values: string[]): string[] => [
      '-D',
      'publish',
      name,
      ...values,
    ];

    await publish(port, [
      ...words,
      ...property('content-type', 'text/plain'),
      ...property('response-topic', 'answers'),
      ...property('correlation-data', 'abc'),
      ...property('user-property', 'colour', 'red'),
      ...property('message-expiry-interval', '60'),
    ]);

    assert.deepEqual(await sub.lines(1), ['p 1 0 x']);
    assert.equal(await full.ended, 0, full.stderr());
    assert.match(full.stdout(), /^p text\/plain answers abc colour:red (60|59) {1,2}x\n$/);
  });

  test('shared subscriptions take turns', TOOLS, async (t) => {
    const { port } = await start(t);
    const words = ['-V', '5', '-t', '$share/g/work/#', '-q', '1'];
    const [one, other] = [await listen(t, port, words), await listen(t, port, words)];
    const witness = await listen(t, port, ['-t', 'work/#', '-q', '1']);

    for (let i = 0; i < 10; i++) await publish(port, ['-t', `work/${i}`, '-m', 'x', '-q', '1']);

    const all = await witness.lines(10);
    const shared = (): string[] => [one, other].flatMap((sub) => sub.read());
    await until(
      () => shared().length >= 10,
      () => `shared so far: ${shared().join(', ')}`,
    );
    for (const sub of [one, other]) assert.ok((await sub.lines(1)).length > 0);
    assert.deepEqual(shared().sort(), [...all].sort());
  });
});

describe('mosquitto over TLS', () => {
  const tools = needs('mosquitto_pub', 'mosquitto_sub', 'openssl');

  test('a server certificate is checked, and an unknown one refused', tools, async (t) => {
    const authority = createAuthority(t);
    const { certificateFile, keyFile } = authority.issue('localhost');
    const broker = await start(t, {
      listen: ['mqtt://127.0.0.1:0', 'mqtts://127.0.0.1:0'],
      args: ['--tls-cert', certificateFile, '--tls-key', keyFile],
    });
    const port = String(new URL(broker.urls[1]!).port);
    const sub = await listen(t, broker.port, ['-t', 'a', '-q', '1']);
    const words = ['-h', '127.0.0.1', '-p', port, '-t', 'a', '-q', '1', '-m'];
    const command = ['mosquitto_pub'];

    for (const version of VERSIONS) {
      const trusted = ['--cafile', authority.certificateFile, '-V', version];
      const result = await runProgram([...words, version, ...trusted], { command });
      assert.equal(result.code, 0, result.stderr);
    }
    const other = createAuthority(t, 'somebody else');
    const distrusted = await runProgram([...words, 'no', '--cafile', other.certificateFile], {
      command,
    });

    assert.notEqual(distrusted.code, 0);
    assert.deepEqual(await sub.lines(3), ['a 1 0 31', 'a 1 0 311', 'a 1 0 5']);
  });

  test(
    'client certificates: with one it gets in, without one or with a stranger it does not',
    tools,
    async (t) => {
      const authority = createAuthority(t);
      const stranger = createAuthority(t, 'somebody else');
      const { certificateFile, keyFile } = authority.issue('localhost');
      const broker = await start(t, {
        listen: ['mqtt://127.0.0.1:0', 'mqtts://127.0.0.1:0'],
        args: [
          '--tls-cert',
          certificateFile,
          '--tls-key',
          keyFile,
          '--tls-ca',
          authority.certificateFile,
          '--tls-client-cert',
          'required',
        ],
      });
      const port = String(new URL(broker.urls[1]!).port);
      const sub = await listen(t, broker.port, ['-t', 'a', '-q', '1']);
      const words = ['-h', '127.0.0.1', '-p', port, '--cafile', authority.certificateFile];
      const say = async (...more: readonly string[]): Promise<number | string> =>
        (
          await runProgram([...words, '-t', 'a', '-q', '1', ...more], {
            command: ['mosquitto_pub'],
          })
        ).code;
      const cards = [authority.issue('device-1'), stranger.issue('device-1')];
      const [own, foreign] = cards.map((card) => [
        '--cert',
        card.certificateFile,
        '--key',
        card.keyFile,
      ]);

      assert.equal(await say('-m', 'known', ...own!), 0);
      assert.notEqual(await say('-m', 'nobody'), 0);
      assert.notEqual(await say('-m', 'stranger', ...foreign!), 0);

      assert.deepEqual(await sub.lines(1), ['a 1 0 known']);
    },
  );
});
