/** Strangers at the control door who take places and do not leave. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { openTestDoor, type TestDoor } from '../harness/control-door.ts';
import { until } from '../harness/until.ts';

const PLACES = 5;

/** Sends, listens to nothing, and stays. */
async function squat(t: TestContext, { url }: TestDoor, bytes: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect({
    host: hostname,
    port: Number(port),
    allowHalfOpen: true,
  });
  t.after(() => socket.destroy());
  socket.on('error', () => undefined);
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
  socket.write(bytes);
  return socket;
}

const WAYS: Readonly<Record<string, string>> = {
  'no HTTP': 'hello\r\n\r\n',
  'too large a header': `GET / HTTP/1.1\r\nhost: x\r\na: ${'x'.repeat(1_200_000)}\r\n\r\n`,
  'half a request': 'GET / HTTP/1.1\r\nhost: x\r\n',
  'half a body': 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf',
  'a refused request with half a body':
    'POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf',
  nothing: '',
};

for (const [name, bytes] of Object.entries(WAYS)) {
  test(`who sends ${name} and stays takes no place for long`, {
    timeout: 30_000,
  }, async (t) => {
    const door = await openTestDoor(t, {
      limits: {
        connectionCountMax: PLACES,
        headersMsMax: 400,
        requestMsMax: 800,
        checkEveryMs: 100,
        keepAliveMs: 500,
      },
    });
    for (let i = 0; i < PLACES; i++) await squat(t, door, bytes);

    await until(
      async () => {
        const answer = await door.call('ListInstances').catch(() => undefined);
        return answer?.status === 200;
      },
      () => 'an honest caller finds no place',
    );
    assert.equal((await door.call('ListInstances')).status, 200);
  });
}

test('large requests signed wrongly are not proven at a stranger’s will', async (t) => {
  const door = await openTestDoor(t);
  const wrong = { ...door.key, secret: 'wrong' };
  const large = { A: '!'.repeat(200_000) };
  const codes: unknown[] = [];
  for (let i = 0; i < 20; i++)
    codes.push((await door.call('ListInstances', large, wrong)).body['Code']);

  const proven = codes.filter((code) => code === 'SignatureDoesNotMatch').length;
  assert.ok(proven < 15, `${proven} were looked at`);
  assert.ok(codes.includes('Throttling.Api'));
  assert.equal((await door.call('ListInstances')).status, 200, 'what is small is not refused');
});
