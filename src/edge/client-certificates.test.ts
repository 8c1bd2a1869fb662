/**
 * Client certificates that the listener cannot judge, server certificates by name, and session
 * tickets: all over real handshakes.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { after, describe, type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { systemClock, systemRandom } from '#base';
import {
  type CertificateDirectory,
  createTicketKeys,
  type ServerCertificate,
  type TlsSettings,
} from '#edge';
import { createAuthority } from '../../test/harness/certificates.ts';
import { openWorkshop } from '../../test/harness/device-authority.ts';
import { type EchoListener, type EchoOptions, openEcho } from '../../test/harness/echo-listener.ts';
import { ManualClock } from '../../test/harness/manual-clock.ts';

const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
const authority = createAuthority({ after });
const server = authority.issue('localhost');
const own = authority.issue('own');
const workshop = openWorkshop({ after });
const maker = workshop.authority({ name: 'maker' });
const oldMaker = workshop.authority({ name: 'maker of old', algorithm: 'rsa' });
const device = maker.issue('device-1');
const stranger = workshop.authority({ name: 'stranger' }).issue('device-1');

const anyClient: TlsSettings = { ...server, clientCertificates: 'required' };
const withAuthority: TlsSettings = { ...anyClient, clientAuthorityFile: authority.certificateFile };

/** Knows devices of `maker`. */
const directory: CertificateDirectory = {
  find: () => undefined,
  mayBeRegistered: (certificate) => certificate.checkIssued(new X509Certificate(maker.certificate)),
};

describe('without an authority of the listener', () => {
  for (const version of VERSIONS) {
    test(`${version}: any client certificate passes, and is not called verified`, async (t) => {
      const echo = await openTls(t, { tls: anyClient });
      const cards = [device, oldMaker.issue('old', { algorithm: 'rsa' }), stranger, own];

      for (const card of cards) await ask(dial(t, echo, card, { maxVersion: version }));

      const told = echo.guests.map(({ transport }) => transport.peer);
      const ders = cards.map((card) => new X509Certificate(card.certificate).raw);
      assert.deepEqual(
        told.map(({ certificate }) => certificate),
        ders,
      );
      assert.ok(told.every(({ certificateVerified }) => certificateVerified === false));
    });
  }

  test('a certificate may still be required, or not', async (t) => {
    const strict = await openTls(t, { tls: anyClient });
    const lenient = await openTls(t, { tls: { ...anyClient, clientCertificates: 'optional' } });

    await closed(dial(t, strict));
    await ask(dial(t, lenient));

    assert.equal(strict.count('refused clientCertificate'), 1);
    assert.equal(lenient.guests[0]?.transport.peer.certificate, undefined);
    assert.equal(lenient.guests[0]?.transport.peer.certificateVerified, false);
  });
});

describe('with an authority of the listener', () => {
  for (const version of VERSIONS) {
    test(`${version}: its certificates are verified, those of known makers pass`, async (t) => {
      const echo = await openTls(t, { tls: withAuthority, certificates: directory });

      await ask(dial(t, echo, own, { maxVersion: version }));
      await ask(dial(t, echo, device, { maxVersion: version }));
      await closed(dial(t, echo, stranger, { maxVersion: version }));

      const told = echo.guests.map(({ transport }) => transport.peer.certificateVerified);
      assert.deepEqual(told, [true, false]);
      assert.equal(echo.count('refused clientCertificate'), 1);
    });
  }
});

describe('session tickets', () => {
  for (const version of VERSIONS) {
    test(`${version}: carry the certificate to any listener with the same key`, async (t) => {
      const clock = new ManualClock();
      const ticketKeys = createTicketKeys({ clock, random: systemRandom, periodMs: 1_000 });
      const first = await openTls(t, { tls: anyClient, ticketKeys });
      const second = await openTls(t, { tls: anyClient, ticketKeys });
      clock.advance(1_000); // a later key, which reloading must not lose
      const session = await ticketOf(t, first, version);
      await first.reloadCertificates();

      for (const echo of [first, second]) {
        const client = dial(t, echo, device, { maxVersion: version, session });
        await ask(client);

        assert.equal(client.isSessionReused(), true);
        const peer = echo.guests.at(-1)?.transport.peer;
        assert.deepEqual(peer?.certificate, new X509Certificate(device.certificate).raw);
        assert.equal(peer?.certificateVerified, false);
      }
    });

    test(`${version}: of a former key, or of other terms, cost a full handshake`, async (t) => {
      const clock = new ManualClock();
      const ticketKeys = createTicketKeys({ clock, random: systemRandom, periodMs: 1_000 });
      const lenient: TlsSettings = { ...anyClient, clientCertificates: 'optional' };
      const first = await openTls(t, { tls: lenient, ticketKeys });
      const stricter = await openTls(t, {
        tls: withAuthority,
        ticketKeys,
        certificates: directory,
      });
      const session = await ticketOf(t, first, version);
      const elsewhere = dial(t, stricter, device, { maxVersion: version, session });
      await ask(elsewhere);
      assert.equal(elsewhere.isSessionReused(), false);

      clock.advance(1_000);

      const late = dial(t, first, device, { maxVersion: version, session });
      await ask(late);
      assert.equal(late.isSessionReused(), false);
      const fresh = dial(t, first, device, {
        maxVersion: version,
        session: await ticketOf(t, first, version),
      });
      await ask(fresh);
      assert.equal(fresh.isSessionReused(), true);
    });

    test(`${version}: do not outlive the certificate they carry`, async (t) => {
      let aheadMs = 0;
      const clock = { ...systemClock, nowMs: () => Date.now() + aheadMs };
      const echo = await openTls(t, { tls: withAuthority, clock });
      const session = await ticketOf(t, echo, version, own);
      aheadMs = 31 * 24 * 60 * 60 * 1_000;

      await closed(dial(t, echo, own, { maxVersion: version, session }));

      assert.equal(echo.count('refused clientCertificate'), 1);
    });
  }
});

describe('server certificates by name', () => {
  const acme = maker.issue('acme', { extensions: ['subjectAltName=DNS:acme.example'] });
  const renewed = maker.issue('acme', { extensions: ['subjectAltName=DNS:acme.example'] });
  const ca = [authority.certificate, maker.certificate];

  /** What the listener shows to whoever asks for that name. */
  const shown = async (
    t: TestContext,
    echo: EchoListener,
    servername: string,
    options: ConnectionOptions = {},
  ): Promise<string | undefined> => {
    const checkServerIdentity = (): undefined => undefined;
    const client = dial(t, echo, own, { servername, ca, checkServerIdentity, ...options });
    await ask(client);
    return client.getPeerX509Certificate()?.serialNumber;
  };
  const ownSerial = new X509Certificate(server.certificate).serialNumber;

  for (const version of VERSIONS) {
    test(`${version}: are chosen, renewed and verify clients as the own one does`, async (t) => {
      let current: ServerCertificate = { certificate: acme.certificate, key: acme.key };
      const find = (name: string): ServerCertificate | undefined =>
        ['acme.example', 'localhost'].includes(name) ? current : undefined;
      const echo = await openTls(t, {
        tls: withAuthority,
        certificates: { ...directory, find },
      });
      const options = { maxVersion: version };

      assert.equal(await shown(t, echo, 'ACME.example', options), acme.serial);
      assert.equal(await shown(t, echo, 'other.example', options), ownSerial);
      assert.equal(await shown(t, echo, 'localhost', options), ownSerial);
      current = { certificate: renewed.certificate, key: renewed.key };
      assert.equal(await shown(t, echo, 'acme.example', options), renewed.serial);
      await echo.reloadCertificates();
      assert.equal(await shown(t, echo, 'acme.example', options), renewed.serial);

      const peers = echo.guests.map(({ transport }) => transport.peer);
      assert.ok(peers.every(({ certificateVerified }) => certificateVerified));
      assert.equal(peers[0]?.serverName, 'acme.example');
      const wanted = { servername: 'acme.example', ca, maxVersion: version };
      await closed(dial(t, echo, stranger, wanted));
      assert.equal(echo.count('refused clientCertificate'), 1);
    });

    test(`${version}: sessions resume under them`, async (t) => {
      const found = { certificate: acme.certificate, key: acme.key };
      const echo = await openTls(t, {
        tls: anyClient,
        certificates: { ...directory, find: () => found },
      });
      const options = { servername: 'acme.example', ca, maxVersion: version };
      const session = await ticketOf(t, echo, version, device, options);

      const client = dial(t, echo, device, { ...options, session });
      await ask(client);

      assert.equal(client.isSessionReused(), true);
      assert.deepEqual(echo.guests[1]?.transport.peer.certificate, Buffer.from(device.der));
    });
  }

  test('that TLS cannot use leave the own one in place', async (t) => {
    const find = (): ServerCertificate => ({ certificate: acme.certificate, key: device.key });
    const echo = await openTls(t, { tls: withAuthority, certificates: { ...directory, find } });

    assert.equal(await shown(t, echo, 'acme.example'), ownSerial);

    assert.equal(echo.log.filter((line) => line.includes('not usable')).length, 1);
    assert.ok(!echo.log.some((line) => line.includes('PRIVATE')));
  });
});

function openTls(t: TestContext, options: EchoOptions): Promise<EchoListener> {
  return openEcho(t, { url: 'mqtts://127.0.0.1:0', ...options });
}

interface Card {
  readonly certificate: string;
  readonly key: string;
}

function dial(
  t: TestContext,
  echo: EchoListener,
  card?: Card,
  options: ConnectionOptions = {},
): TLSSocket {
  const client = connect({
    port: echo.port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: authority.certificate,
    ...(card && { cert: card.certificate, key: card.key }),
    ...options,
  });
  client.on('error', () => {});
  t.after(() => void client.destroy());
  return client;
}

async function ticketOf(
  t: TestContext,
  echo: EchoListener,
  version: (typeof VERSIONS)[number],
  card: Card = device,
  options: ConnectionOptions = {},
): Promise<Buffer> {
  const client = dial(t, echo, card, { maxVersion: version, ...options });
  const ticket = once(client, 'session');
  await ask(client);
  return (await ticket)[0];
}

async function ask(client: TLSSocket): Promise<void> {
  client.write('hello');
  assert.equal(String((await once(client, 'data'))[0]), 'hello');
}

/** Not `once`, which fails on the errors that closing so may bring. */
function closed(client: NodeJS.EventEmitter): Promise<void> {
  return new Promise((resolve) => client.once('close', () => resolve()));
}
