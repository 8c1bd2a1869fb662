/** Sockets read into shared memory, and what was read is nobody else's afterwards. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, describe, test, type TestContext } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { createAuthority } from '../../test/harness/certificates.ts';
import { type Chance, chanceOf } from '../../test/harness/chance.ts';
import { type EchoListener, openEcho, until } from '../../test/harness/echo-listener.ts';
import { findFields, ReadBlocks } from './read-blocks.ts';

const KIB = 1024;
const NOTHING = Buffer.alloc(0);
const authority = createAuthority({ after });
const server = authority.issue('localhost');

describe('read blocks', () => {
  for (const scheme of ['mqtt', 'mqtts'] as const) {
    for (const offered of [true, false]) {
      const how = offered ? 'read into blocks' : 'read as Node does it';
      test(`${scheme}, ${how}: every chunk stays as it was, whoever is read next`, async (t) => {
        const blocks = new ReadBlocks(offered ? {} : { fields: null });
        const chunks: Buffer[][] = [];
        const echo = await openKeeping(t, scheme, blocks, chunks);
        const chance = chanceOf(11);
        const sent = await Promise.all(
          Array.from({ length: 8 }, async (_, sender) => {
            const client = await dial(t, scheme, echo);
            const bytes = noise(chance, sender, 600 * KIB);
            await sendInPieces(client, bytes, chance);
            return bytes;
          }),
        );
        const total = sent.reduce((sum, bytes) => sum + bytes.length, 0);
        await until(
          () => chunks.flat().reduce((sum, { length }) => sum + length, 0) === total,
          'all',
        );

        const received = chunks.map((own) => Buffer.concat(own));
        for (const bytes of sent) assert.ok(received.some((other) => other.equals(bytes)));
      });
    }
  }

  test('a socket that sends in bulk brings more at a time, until it does not', async (t) => {
    const chunks: Buffer[][] = [];
    const echo = await openKeeping(t, 'mqtt', new ReadBlocks(), chunks);
    const client = await dial(t, 'mqtt', echo);
    const received = (): number => (chunks[0] ?? []).reduce((sum, { length }) => sum + length, 0);
    const sizes = async (bytes: number): Promise<number[]> => {
      const before = received();
      const from = chunks[0]?.length ?? 0;
      client.write(Buffer.alloc(bytes));
      await until(() => received() === before + bytes, 'all is there');
      return (chunks[0] ?? []).slice(from).map(({ length }) => length);
    };

    assert.ok(Math.max(...(await sizes(8 * 1024 * KIB))) > 64 * KIB);
    await sizes(100);
    const [first] = await sizes(8 * 1024 * KIB);
    assert.ok(first! <= 64 * KIB);
    for (const chunk of chunks[0]!.filter(({ length }) => length > 2 * KIB)) {
      assert.equal(chunk.buffer.byteLength, chunk.length, 'it holds no more than it says');
    }
  });

  test('small reads of many make few blocks', async (t) => {
    const chunks: Buffer[][] = [];
    const echo = await openKeeping(t, 'mqtt', new ReadBlocks(), chunks);
    const client = await dial(t, 'mqtt', echo);
    for (let count = 1; count <= 200; count++) {
      client.write('message');
      await until(() => (chunks[0]?.length ?? 0) >= count, 'it is there');
    }

    assert.ok(new Set(chunks.flat().map(({ buffer }) => buffer)).size <= 4);
  });

  test('this Node offers it', () => {
    assert.notEqual(findFields(), null);
  });
});

/** A listener that keeps each guest's chunks as they are. */
async function openKeeping(
  t: TestContext,
  scheme: 'mqtt' | 'mqtts',
  blocks: ReadBlocks,
  chunks: Buffer[][],
): Promise<EchoListener> {
  const echo = await openEcho(t, {
    url: `${scheme}://127.0.0.1:0`,
    blocks,
    ...(scheme === 'mqtts' ? { tls: { ...server, clientCertificates: 'off' } } : {}),
    onData: (guest, chunk) => {
      (chunks[echo.guests.indexOf(guest)] ??= []).push(chunk);
      guest.transport.send([NOTHING], 1); // inside which TLS would read on
    },
  });
  return echo;
}

async function dial(
  t: TestContext,
  scheme: 'mqtt' | 'mqtts',
  { port }: EchoListener,
): Promise<Socket> {
  const where = { host: '127.0.0.1', port, noDelay: true };
  const tls = scheme === 'mqtts';
  const client = tls
    ? connectTls({ ...where, servername: 'localhost', ca: authority.certificate })
    : connect(where);
  t.after(() => client.destroy());
  await once(client, tls ? 'secureConnect' : 'connect');
  return client;
}

/** Bytes of which each place of each sender is different. */
function noise(chance: Chance, sender: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at += 4) bytes.writeUInt32LE(chance.below(2 ** 32), at);
  bytes[0] = sender;
  return bytes;
}

/** Small pieces, middling ones and large ones, with pauses that let others come between. */
async function sendInPieces(client: Socket, bytes: Buffer, chance: Chance): Promise<void> {
  let at = 0;
  while (at < bytes.length) {
    const size = 1 + chance.below(chance.pick([100, 3 * KIB, 20 * KIB, 100 * KIB]));
    const piece = bytes.subarray(at, at + size);
    at += size;
    if (!client.write(piece)) await once(client, 'drain');
    if (chance.happens(0.5)) await new Promise((resolve) => setImmediate(resolve));
  }
}
