/** TLS through a real listener: handshakes, client certificates, and certificates that change. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { after, describe, test, type TestContext } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { Fault } from '#base';
import type { TlsSettings } from '#edge';
import { createAuthority } from '../../test/harness/certificates.ts';
import {
  type EchoListener,
  type EchoOptions,
  openEcho,
  until,
} from '../../test/harness/echo-listener.ts';

const authority = createAuthority({ after });
const stranger = createAuthority({ after }, 'somebody else');
const server = authority.issue('localhost');
const device = authority.issue('device-1');
const plain: TlsSettings = { ...server, clientCertificates: 'off' };
const mutual: TlsSettings = {
  ...server,
  clientCertificates: 'required',
  clientAuthorityFile: authority.certificateFile,
};

describe('TLS', () => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`${version}: bytes there and back, and the server name asked for`, async (t) => {
      const echo = await openTls(t);
      const client = dial(t, echo, { maxVersion: version, minVersion: version });

      assert.equal(await ask(client, 'hello'), 'hello');

      assert.equal(client.getProtocol(), version);
      assert.partialDeepStrictEqual(echo.guests[0]?.transport.peer, {
        transport: 'tls',
        address: '127.0.0.1',
        port: client.localPort,
        serverName: 'localhost',
        certificate: undefined,
      });
    });

    test(`${version}: a required client certificate is verified and told in DER`, async (t) => {
      const echo = await openTls(t, { tls: mutual });
      const { certificate: cert, key } = device;
      const client = dial(t, echo, { cert, key, maxVersion: version });

      assert.equal(await ask(client, 'hello'), 'hello');

      const told = echo.guests[0]?.transport.peer.certificate;
      assert.deepEqual(told, new X509Certificate(cert).raw);
    });

    test(`${version}: without the required client certificate nobody gets in`, async (t) => {
      const echo = await openTls(t, { tls: mutual });

      await closed(dial(t, echo, { maxVersion: version }));

      assert.equal(echo.count('refused clientCertificate'), 1);
      assert.equal(echo.guests.length, 0);
    });

    test(`${version}: a resumed session keeps its client certificate`, async (t) => {
      const echo = await openTls(t, { tls: mutual });
      const { certificate: cert, key } = device;
      const first = dial(t, echo, { cert, key, maxVersion: version });
      let session: Buffer | undefined;
      first.on('session', (fresh) => {
        session = fresh;
      });
      await ask(first, 'hello');
      await until(() => session !== undefined, 'a session ticket');

      const second = dial(t, echo, { cert, key, maxVersion: version, session });
      await ask(second, 'again');

      assert.equal(second.isSessionReused(), true);
      const told = echo.guests[1]?.transport.peer.certificate;
      assert.deepEqual(told, new X509Certificate(cert).raw);
    });
  }

  test('TLS 1.1 is not spoken', async (t) => {
    const echo = await openTls(t);
    const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' } as const;

    await closed(dial(t, echo, { ...old, ciphers: 'DEFAULT@SECLEVEL=0' }));

    await until(() => echo.count('refused tlsHandshake') === 1, 'counted');
  });

  test("a client certificate of somebody else's authority is refused", async (t) => {
    const { certificate: cert, key } = stranger.issue('device-1');
    for (const clientCertificates of ['required', 'optional'] as const) {
      const echo = await openTls(t, { tls: { ...mutual, clientCertificates } });

      await closed(dial(t, echo, { cert, key }));

      assert.equal(echo.count('refused clientCertificate'), 1);
      assert.equal(echo.guests.length, 0);
    }
  });

  test('an expired client certificate is refused', async (t) => {
    const { certificate: cert, key } = authority.issue('device-1', { days: -1 });
    const echo = await openTls(t, { tls: mutual });

    await closed(dial(t, echo, { cert, key }));

    assert.equal(echo.count('refused clientCertificate'), 1);
  });

  test('an optional client certificate may be left out', async (t) => {
    const echo = await openTls(t, { tls: { ...mutual, clientCertificates: 'optional' } });

    assert.equal(await ask(dial(t, echo), 'hello'), 'hello');

    assert.equal(echo.guests[0]?.transport.peer.certificate, undefined);
  });

  test('a peer that never finishes the handshake is closed', async (t) => {
    const echo = await openTls(t, { handshakeMs: 50 });
    const client = connectTcp(echo.port, '127.0.0.1');
    client.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00]));

    await closed(client);

    assert.equal(echo.count('refused tlsTimeout'), 1);
    await until(() => echo.sockets.count === 0, 'its place is free again');
  });

  test('a peer that speaks no TLS is closed and counted once', async (t) => {
    const echo = await openTls(t);
    const client = connectTcp(echo.port, '127.0.0.1');
    client.on('error', () => {});
    client.write(Buffer.from('100c00044d5154540402003c0000', 'hex'));

    await closed(client);

    await until(() => echo.sockets.count === 0, 'its place is free again');
    assert.equal(echo.count('refused tlsHandshake'), 1);
    assert.equal(echo.count('refused gone'), 0);
  });

  test('the handshake deadline does not touch who finished', async (t) => {
    const echo = await openTls(t, { handshakeMs: 100 });
    const quick = dial(t, echo);
    await ask(quick, 'hello');
    const slow = connectTcp(echo.port, '127.0.0.1');
    await closed(slow);

    assert.equal(await ask(quick, 'still here'), 'still here');
  });

  test('many pieces, a stalled reader, and a clean end', async (t) => {
    const pieces = Array.from({ length: 40 }, (_, i) => Buffer.alloc(200_000, i));
    const echo = await openTls(t, {
      onData: ({ transport }) => transport.send(pieces, pieces.length),
    });
    const client = dial(t, echo);
    client.pause();
    client.write('go');
    await until(() => echo.guests[0]?.chunkCount === 1, 'the broker has answered');
    const guest = echo.guests[0]!;

    assert.ok(guest.transport.bufferedBytes > 0);
    const received: Buffer[] = [];
    client.on('data', (chunk) => received.push(chunk));
    client.resume();
    await until(() => guest.drainedCount > 0, 'drained');
    guest.transport.end();
    await once(client, 'end');

    assert.ok(Buffer.concat(received).equals(Buffer.concat(pieces)));
    await until(() => guest.closedCount === 1, 'closed');
    assert.equal(echo.sockets.count, 0);
  });
});

describe('certificates', () => {
  test('are reloaded without touching who is connected', async (t) => {
    const files = copyOf('live', server);
    const echo = await openTls(t, { tls: { ...files, clientCertificates: 'off' } });
    const early = dial(t, echo);
    await ask(early, 'hello');
    const renewed = authority.issue('localhost');
    copyFileSync(renewed.certificateFile, files.certificateFile);
    copyFileSync(renewed.keyFile, files.keyFile);

    assert.equal(await echo.reloadCertificates(), true);

    const late = dial(t, echo);
    await ask(late, 'hello');
    const serial = new X509Certificate(renewed.certificate).serialNumber;
    assert.equal(late.getPeerX509Certificate()?.serialNumber, serial);
    assert.equal(await ask(early, 'still here'), 'still here');
  });

  test('that are bad at reload leave the old ones in place', async (t) => {
    const files = copyOf('spoilt', server);
    const echo = await openTls(t, { tls: { ...files, clientCertificates: 'off' } });
    writeFileSync(files.certificateFile, 'not a certificate');

    assert.equal(await echo.reloadCertificates(), false);

    assert.ok(echo.log.some((line) => line.includes('the old ones stay')));
    assert.equal(await ask(dial(t, echo), 'hello'), 'hello');
  });

  test('that have expired are used, with a warning', async (t) => {
    const expired = authority.issue('localhost', { days: -1 });

    const echo = await openTls(t, { tls: { ...expired, clientCertificates: 'off' } });

    assert.ok(echo.log.some((line) => line.includes('the certificate has expired')));
  });

  test('that will not do are named', async (t) => {
    const missing = join(authority.directory, 'missing.pem');
    const other = authority.issue('other');
    const text = join(authority.directory, 'text.pem');
    writeFileSync(text, 'text');
    const cases: [Partial<TlsSettings>, string][] = [
      [{ certificateFile: missing }, `certificate file ${missing}: there is no such file`],
      [{ certificateFile: text }, `certificate file ${text}: not a PEM certificate`],
      [{ keyFile: missing }, `private key file ${missing}: there is no such file`],
      [{ keyFile: text }, `private key file ${text}: not a PEM private key`],
      [
        { keyFile: other.keyFile },
        `private key ${other.keyFile} does not belong to certificate ${server.certificateFile}`,
      ],
      [
        { clientCertificates: 'optional', clientAuthorityFile: text },
        `client authority file ${text}: not a PEM certificate`,
      ],
    ];
    for (const [change, message] of cases) {
      await assert.rejects(openTls(t, { tls: { ...plain, ...change } }), (error) => {
        assert.ok(error instanceof Fault);
        assert.equal(error.message, message);
        return true;
      });
    }
  });
});

test('what is no record, in the middle of a connection, ends it', async (t) => {
  const echo = await openTls(t);
  const raw = connectTcp({ port: echo.port, host: '127.0.0.1' });
  t.after(() => raw.destroy());
  await once(raw, 'connect');
  const wire = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, done) => void raw.write(chunk, () => done()),
  });
  raw.on('data', (chunk) => wire.push(chunk));
  const client = dial(t, echo, { socket: wire });
  assert.equal(await ask(client, 'hello'), 'hello');

  raw.write('this is no record at all, and longer than the header of one');

  await until(() => echo.guests[0]?.closedCount === 1, 'closed');
  assert.equal(echo.sockets.count, 0);
  assert.equal(echo.count('bug'), 0);
});

function openTls(t: TestContext, options: EchoOptions = {}): Promise<EchoListener> {
  return openEcho(t, { url: 'mqtts://127.0.0.1:0', tls: plain, ...options });
}

function dial(t: TestContext, echo: EchoListener, options: ConnectionOptions = {}): TLSSocket {
  const client = connect({
    port: echo.port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: authority.certificate,
    ...options,
  });
  client.on('error', () => {});
  t.after(() => void client.destroy());
  return client;
}

async function ask(client: TLSSocket, text: string): Promise<string> {
  client.write(text);
  return String((await once(client, 'data'))[0]);
}

function copyOf(
  name: string,
  files: { readonly certificateFile: string; readonly keyFile: string },
): { certificateFile: string; keyFile: string } {
  const copies = {
    certificateFile: join(authority.directory, `${name}.pem`),
    keyFile: join(authority.directory, `${name}.key`),
  };
  copyFileSync(files.certificateFile, copies.certificateFile);
  copyFileSync(files.keyFile, copies.keyFile);
  return copies;
}

/** Not `once`, which fails on the errors that closing so may bring. */
function closed(client: NodeJS.EventEmitter): Promise<void> {
  return new Promise((resolve) => client.once('close', () => resolve()));
}
