/**
 * Every way of proving who one is, proven wrong in every way we can think of; and afterwards a
 * search for every secret that was used, in what the broker wrote anywhere.
 */
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startBroker } from '../harness/broker-process.ts';
import {
  ADMIN,
  type Key,
  openSecurityScene,
  type SecurityScene,
  sign,
} from '../harness/security-scene.ts';
import { openClient, type V5Client } from '../harness/v5-client.ts';
import { authPacket, type ConnectOptions } from '../harness/v5-packets.ts';

const HOME = 'mqtt-home';
const OTHER = 'mqtt-other';
const CLIENT = 'GID_test@@@device';
const JWT_SECRET = 'jwt-secret-0123456789abcdef0123456789abcdef';
const HEADER_SECRET = 'http-header-secret-5f0c';
const SCRAM_PASSWORD = 'scram-password-81d3';
const CUSTOM_SECRET = 'custom-secret-77aa';
const SIGNED_SECRET = 'signed-secret-19bc';
const HTTP_PASSWORD = 'http-user-password-e2e2';

/** Everything that must be nowhere, in clear. */
const secrets = new Map<string, string>([
  ['the admin secret', ADMIN.secret],
  ['the JWT secret', JWT_SECRET],
  ['the header secret', HEADER_SECRET],
  ['the SCRAM password', SCRAM_PASSWORD],
  ['the custom secret', CUSTOM_SECRET],
  ['the signing secret', SIGNED_SECRET],
  ['the password that the service judges', HTTP_PASSWORD],
]);

/** A JWT speaks for itself: the user name beside it says nothing. */
interface Way {
  readonly name: string;
  good: ConnectOptions;
  /** It belongs to one client. */
  readonly bound: boolean;
  /** The user name is of the form with bars. */
  readonly barred: boolean;
}

let scene: SecurityScene;
let sub: Key;
const ways: Way[] = [];
const cleanUps: (() => Promise<void>)[] = [];

before(async () => {
  const scope = { after: (cleanUp: () => Promise<void>) => void cleanUps.push(cleanUp) };
  const args = ['--default-instance', HOME, '--log-level', 'debug'];
  scene = await openSecurityScene(scope, args);
  for (const id of [HOME, OTHER]) await scene.instance(id);
  sub = await scene.account('sub', { Effect: 'Allow', Action: '*', Resource: `${HOME}*` });
  secrets.set('the secret of a sub-account', sub.secret);
  await openWays();
});

after(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

async function openWays(): Promise<void> {
  const add = (name: string, username: string, password: string, bound: boolean): void => {
    const good = { clientId: CLIENT, username, password };
    ways.push({ name, good, bound, barred: username.includes('|') });
    secrets.set(`the password of ${name}`, password);
  };
  add('Signature', `Signature|${sub.id}|${HOME}`, sign(sub.secret, CLIENT), true);
  add('SignatureV2', ...timed(Date.now()), true);
  const { DeviceCredential } = await scene.ok('RegisterDeviceCredential', {
    InstanceId: HOME,
    ClientId: CLIENT,
  });
  const device = DeviceCredential as Readonly<Record<string, string>>;
  secrets.set('the secret of a device', device['DeviceAccessKeySecret']!);
  const deviceName = `DeviceCredential|${device['DeviceAccessKeyId']!}|${HOME}`;
  add('DeviceCredential', deviceName, sign(device['DeviceAccessKeySecret']!, CLIENT), true);
  const token = await apply('R,W', 'news/#', CLIENT);
  add('Token', `Token|${ADMIN.id}|${HOME}`, `RW|${token}`, true);
  secrets.set('a token', token);
  await identity('plain', CUSTOM_SECRET, 'ORIGIN');
  await identity('signing', SIGNED_SECRET, 'SIGNED');
  add('an identity with its secret', 'plain', CUSTOM_SECRET, false);
  add('an identity that signs', 'signing', sign(SIGNED_SECRET, CLIENT), true);
  await scene.ok('SetJwtAuth', { InstanceId: HOME, Secret: JWT_SECRET, ClientIdClaim: 'clientid' });
  add('JWT', 'somebody', jwt({ clientid: CLIENT, exp: soon() }), true);
  const url = await openService();
  const Headers = JSON.stringify({ 'x-secret': HEADER_SECRET });
  await scene.ok('SetHttpAuth', { InstanceId: HOME, Url: url, Headers });
  add('an HTTP service', 'served', HTTP_PASSWORD, true);
  await scene.ok('SetScramUser', { InstanceId: HOME, UserName: 'scram', Password: SCRAM_PASSWORD });
}

function timed(ms: number): [string, string] {
  const username = `SignatureV2|${sub.id}|${HOME}|${ms}`;
  const text = `${CLIENT}\n${ms}\n${HOME}`;
  return [username, createHmac('sha256', sub.secret).update(text).digest('base64')];
}

async function apply(Actions: string, Resources: string, ClientId?: string): Promise<string> {
  const { Token } = await scene.ok('ApplyToken', {
    InstanceId: HOME,
    Actions,
    Resources,
    ExpireTime: String(Date.now() + 3_600_000),
    ...(ClientId !== undefined && { ClientId }),
  });
  return String(Token);
}

async function identity(Username: string, Secret: string, SignMode: string): Promise<void> {
  const user = { InstanceId: HOME, Username, IdentityType: 'USER' };
  await scene.ok('AddCustomAuthIdentity', { ...user, Secret, SignMode });
}

function soon(): number {
  return Math.floor(Date.now() / 1_000) + 600;
}

function jwt(claims: object, secret: string | undefined = JWT_SECRET, alg = 'HS256'): string {
  const encode = (value: object): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${encode({ alg, typ: 'JWT' })}.${encode(claims)}`;
  const hmac = createHmac('sha256', secret).update(text);
  return `${text}.${alg === 'none' ? '' : hmac.digest('base64url')}`;
}

/** Lets in who is called so and has the password, as that one client. */
async function openService(): Promise<string> {
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => (text += chunk.toString()));
    request.on('end', () => {
      const { username, password, clientid, clientId } = JSON.parse(text) as Record<
        string,
        unknown
      >;
      const known = request.headers['x-secret'] === HEADER_SECRET;
      const right = username === 'served' && password === HTTP_PASSWORD;
      const own = (clientid ?? clientId) === CLIENT;
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ result: known && right && own ? 'allow' : 'deny' }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanUps.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth`;
}

function without(good: ConnectOptions, name: 'username' | 'password'): ConnectOptions {
  const rest: { -readonly [Name in keyof ConnectOptions]: ConnectOptions[Name] } = { ...good };
  delete rest[name];
  return rest;
}

/** The same CONNECT, spoilt. `undefined`: does not apply to this way. */
type Spoil = (way: Way, text: { user: string; password: string }) => ConnectOptions | undefined;

const SPOILT: Readonly<Record<string, Spoil>> = {
  'another client': (way) =>
    way.bound ? { ...way.good, clientId: 'GID_test@@@other' } : undefined,
  'the client in another case': (way) =>
    way.bound ? { ...way.good, clientId: 'GID_test@@@DEVICE' } : undefined,
  'a client of no group': (way, { user }) =>
    user === 'plain' ? undefined : { ...way.good, clientId: 'GID_none@@@device' },
  'another instance': (way, { user }) =>
    way.barred ? { ...way.good, username: user.replace(HOME, OTHER) } : undefined,
  'an instance that is not': (way, { user }) =>
    way.barred ? { ...way.good, username: user.replace(HOME, 'mqtt-none') } : undefined,
  'another key': (way, { user }) => {
    if (way.name === 'JWT') return undefined;
    return way.barred
      ? { ...way.good, username: user.replace(/\|[^|]+\|/, '|LTAI-nobody|') }
      : { ...way.good, username: `${user}2` };
  },
  'the user name in capitals': (way, { user }) =>
    way.name === 'JWT' ? undefined : { ...way.good, username: user.toUpperCase() },
  'the user name in small letters': (way, { user }) =>
    way.barred ? { ...way.good, username: user.toLowerCase() } : undefined,
  'a space behind the user name': (way, { user }) =>
    way.name === 'JWT' ? undefined : { ...way.good, username: `${user} ` },
  'a bar more': (way, { user }) =>
    way.barred ? { ...way.good, username: `${user}|x` } : undefined,
  'a changed password': (way, { password }) => {
    const middle = Math.floor(password.length / 2);
    const other = password[middle] === 'A' ? 'B' : 'A';
    const changed = password.slice(0, middle) + other + password.slice(middle + 1);
    secrets.set(`the changed password of ${way.name}`, changed);
    return { ...way.good, password: changed };
  },
  'a longer password': (way, { password }) => ({ ...way.good, password: `${password}x` }),
  'a NUL behind the password': (way, { password }) => ({ ...way.good, password: `${password}\0` }),
  'a shorter password': (way, { password }) => ({ ...way.good, password: password.slice(0, -3) }),
  'the password in capitals': (way, { password }) => ({
    ...way.good,
    password: password.toUpperCase(),
  }),
  'an empty password': (way) => ({ ...way.good, password: '' }),
  'no password': ({ good }) => without(good, 'password'),
  'no user name': ({ name, good }) => (name === 'JWT' ? undefined : without(good, 'username')),
  'an empty user name': (way) => (way.name === 'JWT' ? undefined : { ...way.good, username: '' }),
  'a password of odd bytes': (way) => ({ ...way.good, password: Buffer.of(0xff, 0xfe, 0, 1) }),
  'a password of 65535 bytes': (way) => ({ ...way.good, password: 'x'.repeat(65_535) }),
  'the password, and 60000 bytes': (way, { password }) => ({
    ...way.good,
    password: password + 'x'.repeat(60_000),
  }),
  'a user name of 65535 bytes': (way) =>
    way.name === 'JWT' ? undefined : { ...way.good, username: 'x'.repeat(65_535) },
  'the user name, and 60000 bytes': (way, { user }) =>
    way.name === 'JWT' ? undefined : { ...way.good, username: user + 'x'.repeat(60_000) },
  'a client identifier of 65535 bytes': (way) => ({ ...way.good, clientId: 'x'.repeat(65_535) }),
  'a client identifier one too long': (way) => ({
    ...way.good,
    clientId: `GID_test@@@${'x'.repeat(54)}`,
  }),
};

describe('each way', () => {
  test('lets in whom it should', async () => {
    for (const way of ways) assert.equal(await scene.tryConnect(way.good), 0, way.name);
  });

  for (const [name, spoil] of Object.entries(SPOILT)) {
    test(`keeps out whoever comes with ${name}`, async () => {
      for (const way of ways) {
        const text = { user: String(way.good.username), password: String(way.good.password) };
        const options = spoil(way, text);
        if (options === undefined) continue;
        const reason = await scene.tryConnect(options);
        assert.ok(reason >= 0x80, `${way.name} says ${reason}`);
      }
    });
  }

  test('a signature of another time is refused', async () => {
    for (const ms of [Date.now() - 360_000, Date.now() + 360_000, 0]) {
      const [username, password] = timed(ms);
      assert.ok((await scene.tryConnect({ clientId: CLIENT, username, password })) >= 0x80);
    }
    const [username, password] = timed(Date.now());
    const later = username.replace(/\d$/, (digit) => String((Number(digit) + 1) % 10));
    assert.ok((await scene.tryConnect({ clientId: CLIENT, username: later, password })) >= 0x80);
  });

  test('still lets in whom it should', async () => {
    const [username, password] = timed(Date.now());
    for (const way of ways) {
      const fresh = way.name === 'SignatureV2' ? { username, password } : {};
      assert.equal(await scene.tryConnect({ ...way.good, ...fresh }), 0, way.name);
    }
  });

  test('a client identifier as long as may be is let in', async () => {
    const clientId = `GID_test@@@${'x'.repeat(53)}`;
    const username = `Signature|${sub.id}|${HOME}`;
    const options = { clientId, username, password: sign(sub.secret, clientId) };
    assert.equal(await scene.tryConnect(options), 0);
  });
});

describe('JWT', () => {
  const CLAIMS = { clientid: CLIENT, exp: 0 };
  const BAD: Readonly<Record<string, () => string>> = {
    expired: () => jwt({ ...CLAIMS, exp: soon() - 3_600 }),
    'without an end': () => jwt({ clientid: CLIENT }),
    'not yet valid': () => jwt({ ...CLAIMS, exp: soon(), nbf: soon() }),
    'that ends in the year 1e300': () => jwt({ ...CLAIMS, exp: 1e300 }).replace(/.$/, 'x'),
    'whose end is a text': () => jwt({ ...CLAIMS, exp: String(soon()) }),
    unsigned: () => jwt({ ...CLAIMS, exp: soon() }, JWT_SECRET, 'none'),
    'of another secret': () =>
      jwt({ ...CLAIMS, exp: soon() }, 'another-secret-0123456789abcdef0123'),
    'of an empty secret': () => jwt({ ...CLAIMS, exp: soon() }, ''),
    'of another algorithm': () => jwt({ ...CLAIMS, exp: soon() }, JWT_SECRET, 'RS256'),
    'of another client': () => jwt({ clientid: 'GID_test@@@other', exp: soon() }),
    'of no client': () => jwt({ exp: soon() }),
    'whose permissions are odd': () => jwt({ ...CLAIMS, exp: soon(), acl: 'all' }),
  };
  for (const [name, make] of Object.entries(BAD)) {
    test(`${name} is refused`, async () => {
      const options = { clientId: CLIENT, username: 'somebody', password: make() };
      assert.ok((await scene.tryConnect(options)) >= 0x80);
    });
  }
});

describe('tokens', () => {
  const tokenOptions = (password: string): ConnectOptions => ({
    clientId: CLIENT,
    username: `Token|${ADMIN.id}|${HOME}`,
    password,
  });

  test('of another type, of another key, twice, or revoked are refused', async () => {
    const read = await apply('R', 'news/#');
    const both = await apply('R,W', 'news/#');
    secrets.set('a reading token', read);
    const bad = [
      `W|${read}`,
      `RW|${read}`,
      `r|${read}`,
      `R|${read}|R|${both}`,
      `R|${read}|R|${read}`,
      `R|${read}|`,
      `|${read}`,
      read,
      `R|${read}|X|${both}`,
      `__proto__|${read}`,
      `R|${read}|W|${both}|RW|${both}|R|${read}`,
    ];
    for (const password of bad) {
      assert.ok((await scene.tryConnect(tokenOptions(password))) >= 0x80, password.slice(0, 9));
    }
    const stranger = { ...tokenOptions(`R|${read}`), username: `Token|${sub.id}|${HOME}` };
    assert.ok((await scene.tryConnect(stranger)) >= 0x80);
    assert.equal(await scene.tryConnect(tokenOptions(`R|${read}`)), 0);
    const live = await scene.connect(tokenOptions(`R|${read}`));

    await scene.ok('RevokeToken', { InstanceId: HOME, Token: read });

    assert.equal((await live.find('disconnect')).reason >= 0x80, true);
    assert.ok((await scene.tryConnect(tokenOptions(`R|${read}`))) >= 0x80);
  });

  test('nobody gives away more than he has', async () => {
    const key = await scene.account(
      'giver',
      { Effect: 'Allow', Action: ['mq:ApplyToken'], Resource: HOME },
      { Effect: 'Allow', Action: 'mq:SUB', Resource: `${HOME}/news/mine/*` },
      { Effect: 'Deny', Action: 'mq:SUB', Resource: `${HOME}/news/mine/secret` },
    );
    secrets.set('the giver’s secret', key.secret);
    const ExpireTime = String(Date.now() + 600_000);
    const ask = async (Actions: string, Resources: string): Promise<string> => {
      const fields = { InstanceId: HOME, Actions, Resources, ExpireTime };
      return (await scene.send(key, 'ApplyToken', fields)).code;
    };
    assert.equal(await ask('R', 'news/mine/a'), '');
    for (const topics of [
      '#',
      'news/#',
      'news/mine/#',
      'news/+/a',
      'news/mine/secret',
      'news/mine/+',
      'news/mine',
      'news/mine/a,news/x',
      'news/mine/a,',
      'NEWS/mine/a',
    ]) {
      assert.notEqual(await ask('R', topics), '', topics);
    }
    assert.notEqual(await ask('W', 'news/mine/a'), '');
    assert.notEqual(await ask('R,W', 'news/mine/a'), '');
  });
});

describe('SCRAM', () => {
  const FIRST = 'n,,n=scram,r=abcdef';

  async function begin(first: string): Promise<V5Client> {
    const scope = {
      after: (action: () => void | Promise<void>) => void cleanUps.push(async () => action()),
    };
    const client = await openClient(scope, scene.port);
    const properties = { authMethod: 'SCRAM-SHA-256', authData: Buffer.from(first) };
    client.sendConnect({ clientId: CLIENT, properties });
    return client;
  }

  test('wrong proofs, bent nonces and strangers are refused', async () => {
    const proof = randomBytes(32).toString('base64');
    for (const name of ['scram', 'nobody']) {
      for (const bend of [
        (nonce: string) => nonce,
        (nonce: string) => `${nonce}x`,
        () => 'abcdef',
      ]) {
        const client = await begin(FIRST.replace('scram', name));
        const { properties } = await client.next('auth');
        const nonce = /r=([^,]+)/.exec(Buffer.from(properties.authData!).toString())![1]!;
        const last = Buffer.from(`c=biws,r=${bend(nonce)},p=${proof}`);
        client.send(authPacket(0x18, { authMethod: 'SCRAM-SHA-256', authData: last }));
        assert.ok((await client.next('connack')).reason >= 0x80);
      }
    }
  });

  for (const first of [
    '',
    'n,,',
    'p=tls-unique,,n=scram,r=a',
    'n,a=other,n=scram,r=a',
    'n,,n=,r=a',
    'n,,n=scram',
    'n,,m=x,n=scram,r=a',
    'n,,n=scram,r=\0',
    `n,,n=scram,r=${'a'.repeat(5_000)}`,
    `n,,n=${'a'.repeat(3_000)},r=a`,
  ]) {
    test(`a first message ${JSON.stringify(first.slice(0, 30))} is refused or leads nowhere`, async () => {
      const client = await begin(first);
      const packet = await client.next();
      assert.ok(packet.type === 'auth' || packet.reason >= 0x80);
      if (packet.type === 'auth') client.drop();
    });
  }
});

describe('secrets', () => {
  test('are nowhere in what the broker said, nor on its disk', async () => {
    const { Credentials } = await scene.ok('AssumeRole', { DurationSeconds: '900' });
    const made = Credentials as Readonly<Record<string, string>>;
    secrets.set('a temporary secret', made['AccessKeySecret']!);
    secrets.set('a security token', made['SecurityToken']!);
    const temporary = {
      id: made['AccessKeyId']!,
      secret: made['AccessKeySecret']!,
      token: made['SecurityToken']!,
    };
    await scene.send(temporary, 'ListInstances');
    await scene.send({ ...temporary, secret: 'wrong-secret-0d0d' }, 'ListInstances');
    secrets.set('a wrong secret', 'wrong-secret-0d0d');

    await scene.broker.stop();
    const places = new Map<string, Buffer>([['output', Buffer.from(scene.broker.output())]]);
    for (const file of filesIn(scene.broker.dataDirectory)) places.set(file, readFileSync(file));

    assert.match(scene.broker.output(), /connect refused/, 'debug is logged');
    assert.ok(places.size > 2);
    for (const [name, secret] of secrets) {
      const forms = [
        secret,
        Buffer.from(secret).toString('base64').replace(/=+$/, ''),
        Buffer.from(secret).toString('hex'),
        encodeURIComponent(secret),
      ];
      for (const [place, bytes] of places) {
        for (const form of forms) assert.equal(bytes.indexOf(form), -1, `${name} is in ${place}`);
      }
    }
  });

  test('the key of the data directory is for its owner alone', () => {
    for (const file of filesIn(scene.broker.dataDirectory)) {
      if (!file.endsWith('secret.key')) continue;
      assert.equal(statSync(file).mode & 0o077, 0);
      return;
    }
    assert.fail('there is no secret.key');
  });

  test('a generated admin key is told once, on standard error, and works', async (t) => {
    const scope = { after: (cleanUp: () => Promise<void>) => t.after(cleanUp) };
    const args = ['--control', 'http://127.0.0.1:0', '--log-level', 'debug'];
    const broker = await startBroker(scope, { closed: true, args });
    const [, id, secret] =
      /user name {2}(\S+)\n password {3}(\S+)|user name\s+(\S+)\s+password\s+(\S+)/
        .exec(broker.output())!
        .filter((part) => part !== undefined);
    assert.ok(id !== undefined && secret !== undefined);
    assert.equal(broker.output().split(secret).length, 2, 'told once');

    await broker.restart();

    assert.equal(broker.output().includes(secret), false);
    for (const file of filesIn(broker.dataDirectory)) {
      assert.equal(readFileSync(file).indexOf(secret), -1, file);
    }
  });
});

function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
