/** `ternmq pub` and `ternmq sub` against a real broker, over every kind of door. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { startBroker } from '../harness/broker-process.ts';
import { createAuthority } from '../harness/certificates.ts';
import { type Program, runProgram, startProgram } from '../harness/program.ts';
import { needs } from '../harness/tool.ts';

test(
  'a message arrives over TCP, WebSocket, TLS and secure WebSocket',
  needs('openssl'),
  async (t) => {
    const authority = createAuthority(t);
    const { certificateFile, keyFile } = authority.issue('localhost');
    const broker = await startBroker(t, {
      memory: true,
      listen: ['mqtt', 'ws', 'mqtts', 'wss'].map((scheme) => `${scheme}://127.0.0.1:0`),
      args: ['--tls-cert', certificateFile, '--tls-key', keyFile],
    });
    const ca = ['--ca', authority.certificateFile];

    for (const [index, from] of broker.urls.entries()) {
      const to = broker.urls[(index + 1) % broker.urls.length]!;
      const pub = await runProgram(['pub', '-t', 'a', '-m', from, '-r', '--url', from, ...ca]);
      assert.equal(pub.code, 0, pub.stderr);
      const sub = ['sub', '-t', 'a', '--count', '1', '--quiet', '--url', to, ...ca];
      assert.equal((await runProgram(sub)).stdout, `${from}\n`);
    }
  },
);

test(
  'a key that is of another certificate, or none, is named in one line',
  needs('openssl'),
  async (t) => {
    const authority = createAuthority(t);
    const { certificateFile } = authority.issue('one');
    const other = authority.issue('other').keyFile;
    const pub = ['pub', '-t', 'a', '-m', 'x', '--cert', certificateFile];
    for (const scheme of ['mqtts', 'wss']) {
      const at = ['--url', `${scheme}://127.0.0.1:1`];

      const mismatch = await runProgram([...pub, ...at, '--key', other]);
      const none = await runProgram([...pub, ...at, '--key', certificateFile]);

      assert.deepEqual([mismatch.code, none.code], [1, 1], mismatch.stderr);
      assert.match(
        mismatch.stderr,
        /^ternmq: cannot connect to .*--key is not the key of --cert\n$/,
      );
      assert.match(none.stderr, /^ternmq: cannot connect to .*\n$/);
    }
  },
);

test('every version speaks to every other at every quality of service', async (t) => {
  const broker = await startBroker(t, { memory: true });
  const at = ['--url', broker.url];

  const versions = ['3', '4', '5'];
  const subs = versions.map((protocol) => {
    const words = ['sub', '-t', 'q/#', '-q', '2', '--protocol', protocol, '--count', '9', '-v'];
    return startProgram([...words, ...at]);
  });
  for (const sub of subs) await sub.until(({ stderr }) => stderr().includes('subscribed'));

  const expected: string[] = [];
  for (const from of versions) {
    for (const qos of ['0', '1', '2']) {
      const pub = ['pub', '-t', `q/${from}`, '-m', qos, '-q', qos, '--protocol', from, ...at];
      assert.equal((await runProgram(pub)).code, 0);
      expected.push(`q/${from} ${qos}\n`);
    }
  }

  for (const sub of subs) {
    assert.equal(await sub.ended, 0, sub.stderr());
    assert.equal(sub.stdout(), expected.join(''));
  }
});

test('properties and bytes come out as JSON', async (t) => {
  const broker = await startBroker(t, { memory: true });
  const file = join(broker.dataDirectory, 'bytes');
  writeFileSync(file, Uint8Array.of(0xff, 0x00));
  const named = [
    'content-type=x/y',
    'response-topic=r',
    'correlation-data=c',
    'payload-format=bytes',
  ];
  const words = [...named.flatMap((text) => ['--property', text]), '--user-property', 'k=v'];

  await runProgram(['pub', '-t', 'j', '-f', file, '-r', '--url', broker.url, ...words]);
  const sub = await runProgram(['sub', '-t', 'j', '--json', '--count', '1', '--url', broker.url]);

  assert.deepEqual(JSON.parse(sub.stdout), {
    topic: 'j',
    qos: 1,
    retain: true,
    dup: false,
    payloadBase64: '/wA=',
    payloadFormatIndicator: 0,
    contentType: 'x/y',
    responseTopic: 'r',
    correlationData: 'Yw==',
    userProperties: [['k', 'v']],
  });
});

test('a thousand lines arrive in order, none missing', async (t) => {
  const broker = await startBroker(t, { memory: true });
  const lines = Array.from({ length: 1_000 }, (_, index) => `line ${index}`);
  const sub = startProgram(['sub', '-t', 'lines', '--count', '1000', '--url', broker.url]);
  await sub.until(({ stderr }) => stderr().includes('subscribed'));

  const pub = await runProgram(
    ['pub', '-t', 'lines', '--stdin-lines', '--json', '--url', broker.url],
    {
      input: lines.join('\r\n'),
    },
  );

  assert.equal(pub.stdout, '{"published":1000,"topic":"lines","qos":1}\n');
  assert.equal(await sub.ended, 0);
  assert.equal(sub.stdout(), `${lines.join('\n')}\n`);
});

test('a session waits for its client, and gets each message once', async (t) => {
  const broker = await startBroker(t);
  const at = ['--url', broker.url];
  const worker = [
    'sub',
    '-t',
    'jobs/#',
    '-i',
    'worker',
    '--session-expiry',
    '1h',
    '-q',
    '2',
    ...at,
  ];
  await runProgram([...worker, '--timeout', '200ms']);
  for (const payload of ['1', '2', '3']) {
    await runProgram(['pub', '-t', 'jobs/a', '-m', payload, '-q', '2', ...at]);
  }

  const first = await runProgram([...worker, '--count', '2', '--quiet']);
  const rest = await runProgram([...worker, '--count', '1', '--quiet']);

  assert.equal(first.stdout, '1\n2\n');
  assert.equal(rest.stdout, '3\n');
});

test('too few messages in time is a failure that counts them', async (t) => {
  const broker = await startBroker(t, { memory: true });
  await runProgram(['pub', '-t', 'a', '-m', 'x', '-r', '--url', broker.url]);

  const words = ['sub', '-t', 'a', '--count', '2', '--timeout', '300ms', '--url', broker.url];
  const sub = await runProgram(words);

  assert.deepEqual([sub.code, sub.stdout], [1, 'x\n']);
  assert.match(sub.stderr, /1 of 2 messages came within 300ms/);
});

test('SIGINT ends a subscription with 0', async (t) => {
  const broker = await startBroker(t, { memory: true });
  const sub = startProgram(['sub', '-t', 'a', '--url', broker.url]);
  await sub.until(({ stderr }) => stderr().includes('subscribed'));

  sub.child.kill('SIGINT');

  assert.equal(await sub.ended, 0);
});

test('SIGINT ends a publisher that waits for a line, with 0', async (t) => {
  const broker = await startBroker(t, { memory: true });
  const pub = await publisherThatWaits(broker.url);

  pub.child.kill('SIGINT');

  assert.equal(await pub.ended, 0, pub.stderr());
  assert.equal(pub.stdout(), '{"published":1,"topic":"lines","qos":1}\n');
});

test('a publisher that waits for a line ends when the broker does', async (t) => {
  const broker = await startBroker(t, { memory: true });
  const pub = await publisherThatWaits(broker.url);

  await broker.kill();

  assert.equal(await pub.ended, 1);
  assert.match(pub.stderr(), /^ternmq: the (broker closed the connection|connection failed)/);
});

for (const words of [
  ['sub', '-t', 'a'],
  ['pub', '-t', 'a', '-m', 'x'],
]) {
  test(`SIGINT ends ${words[0]} where no broker answers`, async (t) => {
    const mute = createServer();
    t.after(() => mute.close());
    await once(mute.listen(0, '127.0.0.1'), 'listening');
    const { port } = mute.address() as AddressInfo;
    const program = startProgram([...words, '--url', `mqtt://127.0.0.1:${port}`]);
    const [peer] = (await once(mute, 'connection')) as [Socket];
    t.after(() => peer.destroy());
    await once(peer, 'data');

    program.child.kill('SIGINT');

    assert.equal(await program.ended, 1);
    assert.equal(program.stderr(), 'ternmq: stopped before it was done\n');
  });
}

/** It has published one line, and its input goes on. */
async function publisherThatWaits(url: string): Promise<Program> {
  const sub = startProgram(['sub', '-t', 'lines', '--count', '1', '--url', url]);
  await sub.until(({ stderr }) => stderr().includes('subscribed'));
  const words = ['pub', '-t', 'lines', '--stdin-lines', '--json', '--url', url];
  const pub = startProgram(words, { input: 'one\n', inputOpen: true });
  assert.equal(await sub.ended, 0);
  return pub;
}

test('a reader that goes away ends a subscription quietly', async (t) => {
  const broker = await startBroker(t, { memory: true });
  const sub = startProgram(['sub', '-t', 'a/#', '--url', broker.url]);
  await sub.until(({ stderr }) => stderr().includes('subscribed'));

  sub.child.stdout!.destroy();
  await runProgram(['pub', '-t', 'a/1', '-m', 'x', '--url', broker.url]);
  await runProgram(['pub', '-t', 'a/2', '-m', 'x', '--url', broker.url]);

  assert.equal(await sub.ended, 0);
  assert.doesNotMatch(sub.stderr(), /EPIPE/);
});
