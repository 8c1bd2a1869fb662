/** JWT authentication with real keys; tokens are made without the library that reads them. */
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import { until } from '../../../test/harness/until.ts';
import {
  openWayScene,
  outcomeOf,
  type WayScene,
  watchedClient,
} from '../../../test/harness/way-scene.ts';
import { type Caller, isRefusal, type Verdict } from '../authenticator.ts';
import { sealText } from '../auth-settings.ts';
import { createJwtWay, type JwtWay } from './jwt.ts';

const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 });
const EC = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ED = generateKeyPairSync('ed25519');
const STRANGER = generateKeyPairSync('rsa', { modulusLength: 2048 });
const SECRET = 'a secret of more than thirty-two bytes';

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

type Signer = (text: string) => Buffer;
const rs256: Signer = (text) => sign('sha256', Buffer.from(text), RSA.privateKey);
const hs256 =
  (key: string | Buffer): Signer =>
  (text) =>
    createHmac('sha256', key).update(text).digest();
const es256: Signer = (text) =>
  sign('sha256', Buffer.from(text), { key: EC.privateKey, dsaEncoding: 'ieee-p1363' });

function token(header: object, claims: unknown, signer: Signer): string {
  const text = `${encode(header)}.${encode(claims)}`;
  return `${text}.${signer(text).toString('base64url')}`;
}

function jwk(key: KeyObject, more: object = {}): object {
  return { ...key.export({ format: 'jwk' }), ...more };
}

interface Scene extends WayScene {
  readonly way: JwtWay;
  /** In seconds. */
  readonly now: number;
  ask(secret: string, changes?: Parameters<WayScene['request']>[0]): Promise<Verdict | undefined>;
  outcome(secret: string, changes?: Parameters<WayScene['request']>[0]): Promise<string>;
}

async function open(t: TestContext, settings?: Record<string, unknown>): Promise<Scene> {
  const scene = await openWayScene();
  const way = createJwtWay(scene);
  t.after(() => way.close());
  await scene.set('jwt', { jwks: { keys: [jwk(RSA.publicKey)] }, ...settings });
  const ask: Scene['ask'] = async (secret, changes) =>
    way.authenticate(scene.request({ secret, ...changes }));
  return {
    ...scene,
    way,
    now: Math.floor(scene.clock.nowMs() / 1000),
    ask,
    outcome: async (secret, changes) => outcomeOf(await ask(secret, changes)),
  };
}

function callerOf(verdict: Verdict | undefined): Caller {
  assert.ok(verdict !== undefined && !isRefusal(verdict), JSON.stringify(verdict));
  return verdict;
}

describe('signatures', () => {
  test('RS256, PS256, ES256 and EdDSA with public keys', async (t) => {
    const keys = [jwk(RSA.publicKey), jwk(EC.publicKey), jwk(ED.publicKey)];
    const { outcome, now } = await open(t, { jwks: { keys } });
    const claims = { exp: now + 60 };
    const ps256: Signer = (text) =>
      sign('sha256', Buffer.from(text), { key: RSA.privateKey, padding: 6, saltLength: 32 });
    const eddsa: Signer = (text) => sign(null, Buffer.from(text), ED.privateKey);

    assert.equal(await outcome(token({ alg: 'RS256' }, claims, rs256)), 'in');
    assert.equal(await outcome(token({ alg: 'PS256' }, claims, ps256)), 'in');
    assert.equal(await outcome(token({ alg: 'ES256' }, claims, es256)), 'in');
    assert.equal(await outcome(token({ alg: 'EdDSA' }, claims, eddsa)), 'in');
  });

  test('HS256 with a shared secret, as text or as base64', async (t) => {
    const { outcome, now, set, box } = await open(t);
    const secret = sealText(box, SECRET);
    const bytes = Buffer.alloc(32, 0xf9);

    await set('jwt', { secret });
    assert.equal(await outcome(token({ alg: 'HS256' }, { exp: now + 60 }, hs256(SECRET))), 'in');
    assert.equal(
      await outcome(token({ alg: 'HS256' }, { exp: now + 60 }, hs256(`${SECRET}!`))),
      'jwtInvalid',
    );
    await set('jwt', { secret: sealText(box, bytes.toString('base64')), secretIsBase64: true });
    assert.equal(await outcome(token({ alg: 'HS256' }, { exp: now + 60 }, hs256(bytes))), 'in');
  });

  test('a token without a signature is never taken', async (t) => {
    const { outcome, now, set, box } = await open(t);
    const claims = { exp: now + 60 };
    const bare = (alg: string): string => token({ alg }, claims, () => Buffer.alloc(0));

    for (const alg of ['none', 'None', 'NONE', ''])
      assert.equal(await outcome(bare(alg)), 'jwtInvalid');
    await set('jwt', { secret: sealText(box, SECRET) });
    for (const alg of ['none', 'nOnE', 'HS256'])
      assert.equal(await outcome(bare(alg)), 'jwtInvalid');
  });

  test('a public key is no shared secret', async (t) => {
    const { outcome, now } = await open(t);
    const claims = { exp: now + 60 };
    const pem = RSA.publicKey.export({ format: 'pem', type: 'spki' });
    const der = RSA.publicKey.export({ format: 'der', type: 'spki' });
    const modulus = Buffer.from((jwk(RSA.publicKey) as { n: string }).n, 'base64url');

    for (const key of [pem, der, modulus, JSON.stringify(jwk(RSA.publicKey))]) {
      assert.equal(await outcome(token({ alg: 'HS256' }, claims, hs256(key))), 'jwtInvalid');
    }
  });

  test('a key that comes with the token counts for nothing', async (t) => {
    const { outcome, now } = await open(t);
    const mine: Signer = (text) => sign('sha256', Buffer.from(text), STRANGER.privateKey);
    const header = { alg: 'RS256', jwk: jwk(STRANGER.publicKey), jku: 'http://127.0.0.1:1/' };

    assert.equal(await outcome(token(header, { exp: now + 60 }, mine)), 'jwtInvalid');
  });

  test('an algorithm outside of those set is refused', async (t) => {
    const { outcome, now } = await open(t, { algorithms: ['RS512'] });

    assert.equal(await outcome(token({ alg: 'RS256' }, { exp: now + 60 }, rs256)), 'jwtInvalid');
  });

  test('a changed claim, header or signature is seen', async (t) => {
    const { outcome, now } = await open(t);
    const [header, , signature] = token({ alg: 'RS256' }, { exp: now + 60 }, rs256).split('.');
    const claims = encode({ exp: now + 6000 });

    assert.equal(await outcome(`${header}.${claims}.${signature}`), 'jwtInvalid');
    assert.equal(await outcome(`${header}.${claims}.`), 'jwtInvalid');
  });

  test('critical extensions nobody knows are refused', async (t) => {
    const { outcome, now } = await open(t);
    const header = { alg: 'RS256', crit: ['x'], x: 1 };

    assert.equal(await outcome(token(header, { exp: now + 60 }, rs256)), 'jwtInvalid');
  });

  test('of several keys without a name each is tried', async (t) => {
    const keys = [jwk(STRANGER.publicKey), jwk(RSA.publicKey)];
    const { outcome, now } = await open(t, { jwks: { keys } });

    assert.equal(await outcome(token({ alg: 'RS256' }, { exp: now + 60 }, rs256)), 'in');
  });
});

describe('claims', () => {
  const signed = (claims: unknown): string => token({ alg: 'RS256' }, claims, rs256);

  test('a token that has ended, has not begun, or has no end', async (t) => {
    const { outcome, now, set } = await open(t);

    assert.equal(await outcome(signed({ exp: now - 11 })), 'jwtExpired');
    assert.equal(await outcome(signed({ exp: now - 9 })), 'in');
    assert.equal(await outcome(signed({ exp: now + 60, nbf: now + 60 })), 'jwtInvalid');
    assert.equal(await outcome(signed({ exp: now + 60, nbf: now + 9 })), 'in');
    assert.equal(await outcome(signed({})), 'jwtInvalid');
    for (const exp of [`${now + 60}`, null, true, {}, [now + 60]]) {
      assert.equal(await outcome(signed({ exp })), 'jwtInvalid', JSON.stringify(exp));
    }
    await set('jwt', { jwks: { keys: [jwk(RSA.publicKey)] }, expiryRequired: false });
    assert.equal(await outcome(signed({})), 'in');
    assert.equal(await outcome(signed({ exp: now - 60 })), 'jwtExpired');
  });

  test('issuer and audience must be those set', async (t) => {
    const { outcome, now } = await open(t, { issuer: 'us', audience: ['mqtt', 'broker'] });
    const exp = now + 60;

    assert.equal(await outcome(signed({ exp, iss: 'us', aud: 'mqtt' })), 'in');
    assert.equal(await outcome(signed({ exp, iss: 'us', aud: ['web', 'broker'] })), 'in');
    assert.equal(await outcome(signed({ exp, iss: 'them', aud: 'mqtt' })), 'jwtInvalid');
    assert.equal(await outcome(signed({ exp, iss: ['us'], aud: 'mqtt' })), 'jwtInvalid');
    assert.equal(await outcome(signed({ exp, aud: 'mqtt' })), 'jwtInvalid');
    assert.equal(await outcome(signed({ exp, iss: 'us', aud: 'web' })), 'jwtInvalid');
    assert.equal(await outcome(signed({ exp, iss: 'us', aud: [] })), 'jwtInvalid');
    assert.equal(await outcome(signed({ exp, iss: 'us' })), 'jwtInvalid');
  });

  test('claims that are no object', async (t) => {
    const { outcome } = await open(t, { expiryRequired: false });

    for (const claims of [[], 'text', null, 7]) {
      assert.equal(await outcome(signed(claims)), 'jwtInvalid');
    }
  });

  test('a token is bound to its client where a claim is set', async (t) => {
    const { outcome, now } = await open(t, { clientIdClaim: 'device' });
    const exp = now + 60;

    assert.equal(await outcome(signed({ exp, device: 'sensor-1' })), 'in');
    assert.equal(await outcome(signed({ exp, device: 'sensor-2' })), 'tokenMismatch');
    assert.equal(await outcome(signed({ exp })), 'tokenMismatch');
    assert.equal(await outcome(signed({ exp, device: '' }), { clientId: '' }), 'tokenMismatch');
  });

  test('a token is bound to its user where a claim is set', async (t) => {
    const { ask, outcome, now } = await open(t, { userNameClaim: 'user' });
    const exp = now + 60;

    assert.equal(await outcome(signed({ exp, user: 'ann' })), 'in');
    assert.equal(await outcome(signed({ exp, user: 'bob' })), 'tokenMismatch');
    assert.equal(await outcome(signed({ exp })), 'jwtInvalid');
    const unnamed = await ask(signed({ exp, user: 'bob' }), { userName: undefined });
    assert.equal(callerOf(unnamed).userName, 'bob');
  });

  test('permissions as lists of what is allowed', async (t) => {
    const { ask, now } = await open(t);
    const acl = { pub: ['up/${clientid}/#'], sub: ['down/+'], all: ['chat'] };

    const { permissions } = callerOf(await ask(signed({ exp: now + 60, acl })));

    assert.ok(permissions !== undefined);
    assert.equal(permissions.mayPublish('up/sensor-1/t'), true);
    assert.equal(permissions.mayPublish('up/sensor-2/t'), false);
    assert.equal(permissions.maySubscribe('up/sensor-1/t'), false);
    assert.equal(permissions.maySubscribe('down/1'), true);
    assert.equal(permissions.mayPublish('down/1'), false);
    assert.equal(permissions.mayPublish('chat'), true);
    assert.equal(permissions.maySubscribe('chat'), true);
  });

  test('permissions as rules, and everything without any', async (t) => {
    const { ask, now } = await open(t);
    const acl = [
      { permission: 'allow', action: 'publish', topic: 'a/#' },
      { permission: 'deny', action: 'all', topic: 'a/b' },
    ];

    const ruled = callerOf(await ask(signed({ exp: now + 60, acl })));
    const free = callerOf(await ask(signed({ exp: now + 60 })));

    assert.equal(ruled.permissions?.mayPublish('a/c'), true);
    assert.equal(ruled.permissions?.mayPublish('a/b'), false);
    assert.equal(free.permissions, undefined);
  });

  test('permissions that cannot be understood let nobody in', async (t) => {
    const { outcome, now } = await open(t);
    const exp = now + 60;

    for (const acl of ['a/#', 7, { publish_: ['a'] }, { pub: [7] }, [{ topic: 'a' }], [null]]) {
      assert.equal(await outcome(signed({ exp, acl })), 'jwtInvalid', JSON.stringify(acl));
    }
  });

  test('a connection ends with its token', async (t) => {
    const { ask, now, clock } = await open(t, { toleranceSeconds: 0 });
    const caller = callerOf(await ask(signed({ exp: now + 3_600 })));
    const [stays, leaves] = [watchedClient(), watchedClient()];
    caller.connected!(stays);
    caller.connected!(leaves)();

    clock.advance(3_599_000);
    assert.deepEqual(stays.told, []);
    clock.advance(3_000);

    assert.deepEqual(stays.told, ['jwtExpired']);
    assert.deepEqual(leaves.told, []);
  });
});

describe('where the token is', () => {
  const signed = (claims: unknown): string => token({ alg: 'RS256' }, claims, rs256);

  test('whatever is no JWT is left to the other ways', async (t) => {
    const { outcome, set } = await open(t);

    for (const secret of ['', 'pa55', 'a.b', 'a.b.c.d', 'ä.b.c', `a.${'b'.repeat(20_000)}.c`]) {
      assert.equal(await outcome(secret), 'next', secret.slice(0, 20));
    }
    assert.equal(await outcome('x', { password: undefined }), 'next');
    await set('jwt', undefined);
    assert.equal(await outcome(signed({ exp: 0 })), 'next');
  });

  test('in the user name, where so it is set', async (t) => {
    const { ask, outcome, now } = await open(t, { from: 'username' });
    const userName = signed({ exp: now + 60, sub: 'ann' });

    assert.equal(callerOf(await ask('pw', { userName })).userName, 'ann');
    assert.equal(await outcome(userName), 'next');
  });

  test('settings that cannot be used let nobody in', async (t) => {
    const { outcome, set, now, box } = await open(t);
    const keys = [jwk(RSA.publicKey)];
    const secret = sealText(box, SECRET);
    const good = signed({ exp: now + 60 });

    for (const settings of [
      {},
      { jwks: { keys: [] } },
      { jwks: { keys }, secret },
      { jwks: { keys: [jwk(RSA.privateKey)] } },
      { jwks: { keys: [{ kty: 'oct', k: 'AAAA' }] } },
      { jwks: { keys }, algorithms: ['none'] },
      { jwks: { keys }, algorithms: ['HS256'] },
      { secret, algorithms: ['RS256'] },
      { secret: SECRET },
      { secret: sealText(box, 'short') },
      { jwks: { keys }, isuer: 'us' },
      { jwks: { keys }, audience: [] },
      { jwksUrl: 'file:///etc/passwd' },
    ]) {
      await set('jwt', settings);
      assert.equal(await outcome(good), 'authServiceDown', JSON.stringify(settings));
    }
  });
});

describe('keys from a URL', () => {
  async function openRemote(t: TestContext, serve: (response: ServerResponse) => void) {
    let fetches = 0;
    const server = createServer((_, response) => {
      fetches++;
      serve(response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const scene = await open(t);
    const jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
    await scene.set('jwt', { jwksUrl, timeoutMs: 1_000 });
    const signed = (kid: string, signer: Signer): string =>
      token({ alg: 'RS256', kid }, { exp: scene.now + 86_400 }, signer);
    return { ...scene, signed, fetchCount: () => fetches };
  }

  const keySet = (...kids: string[]): string =>
    JSON.stringify({ keys: kids.map((kid) => jwk(RSA.publicKey, { kid })) });

  test('they are fetched once, and again where a token names a new one', async (t) => {
    let body = keySet('one');
    const { signed, outcome, clock, fetchCount } = await openRemote(t, (r) => void r.end(body));

    assert.equal(await outcome(signed('one', rs256)), 'in');
    assert.equal(await outcome(signed('one', rs256)), 'in');
    assert.equal(fetchCount(), 1);

    body = keySet('one', 'two');
    assert.equal(await outcome(signed('two', rs256)), 'jwtInvalid'); // too soon to fetch again
    assert.equal(fetchCount(), 1);
    clock.advance(30_000);
    assert.equal(await outcome(signed('two', rs256)), 'in');
    assert.equal(fetchCount(), 2);
  });

  test('forged names of keys do not hammer the URL', async (t) => {
    const { signed, outcome, clock, fetchCount } = await openRemote(
      t,
      (r) => void r.end(keySet('one')),
    );
    await outcome(signed('one', rs256));
    clock.advance(30_000);

    const forged = Array.from({ length: 20 }, (_, i) => outcome(signed(`forged-${i}`, rs256)));

    assert.ok((await Promise.all(forged)).every((outcome) => outcome === 'jwtInvalid'));
    assert.equal(fetchCount(), 2);
  });

  test('a withdrawn key is gone within minutes', async (t) => {
    let body = keySet('one');
    const { signed, outcome, clock, fetchCount } = await openRemote(t, (r) => void r.end(body));
    assert.equal(await outcome(signed('one', rs256)), 'in');
    body = keySet('two');

    clock.advance(600_000);
    await outcome(signed('one', rs256));
    await until(
      () => fetchCount() === 2,
      () => 'not fetched',
    );

    await until(
      async () => (await outcome(signed('one', rs256))) === 'jwtInvalid',
      () => 'the withdrawn key is still good',
    );
  });

  test('while the URL is down old keys serve for an hour, then nobody gets in', async (t) => {
    let broken = false;
    const { signed, outcome, clock } = await openRemote(t, (response) =>
      broken ? void response.writeHead(503).end() : void response.end(keySet('one')),
    );
    assert.equal(await outcome(signed('one', rs256)), 'in');
    broken = true;

    clock.advance(3_599_000);
    assert.equal(await outcome(signed('one', rs256)), 'in');
    clock.advance(60_000);
    assert.equal(await outcome(signed('one', rs256)), 'authServiceDown');

    broken = false;
    clock.advance(5_000);
    assert.equal(await outcome(signed('one', rs256)), 'in');
  });

  for (const [name, serve] of Object.entries<(response: ServerResponse) => void>({
    'no JSON': (response) => void response.end('<html>'),
    'no key set': (response) => void response.end('[]'),
    endless: (response) => {
      const pour = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536, 0x20)));
        if (!response.destroyed) response.once('drain', pour);
      };
      pour();
    },
    'a closed socket': (response) => void response.destroy(),
  })) {
    test(`${name}: nobody gets in`, async (t) => {
      const { signed, outcome } = await openRemote(t, serve);

      assert.equal(await outcome(signed('one', rs256)), 'authServiceDown');
    });
  }

  test('secret and private keys in the set are passed over', async (t) => {
    const keys = [{ kty: 'oct', k: encode('x'.repeat(40)), kid: 'one', alg: 'HS256' }];
    const { outcome, now } = await openRemote(
      t,
      (response) => void response.end(JSON.stringify({ keys })),
    );
    const key = Buffer.from(keys[0]!.k, 'base64url');

    const forged = token({ alg: 'HS256', kid: 'one' }, { exp: now + 60 }, hs256(key));

    assert.equal(await outcome(forged), 'jwtInvalid');
  });
});
