/** SCRAM-SHA-256 against a client written from the RFCs, and the RFC's own example. */
import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { describe, test, type TestContext } from 'node:test';
import { until } from '../../../test/harness/until.ts';
import {
  openWayScene,
  outcomeOf,
  type WayScene,
  watchedClient,
} from '../../../test/harness/way-scene.ts';
import type { Fault } from '#base';
import {
  type Caller,
  type Exchange,
  type ExchangeStep,
  isRefusal,
  type Verdict,
} from '../authenticator.ts';
import { createScramExchange, createScramMethod } from './scram.ts';
import { deriveScramKeys } from './scram-keys.ts';
import { prepare } from './scram-message.ts';
import { openScramUsers, SCRAM_USER_TABLE, type ScramUsers } from './scram-users.ts';

interface Scene extends WayScene {
  readonly users: ScramUsers;
  begin(): Exchange;
}

async function open(t: TestContext): Promise<Scene> {
  const scene = await openWayScene();
  const users = await openScramUsers(scene);
  t.after(() => users.close());
  const method = createScramMethod({ users, random: scene.random });
  assert.equal(method.method, 'SCRAM-SHA-256');
  return { ...scene, users, begin: () => method.begin(scene.request()) };
}

const bytes = (text: string): Buffer => Buffer.from(text, 'utf8');
const hmac = (key: Uint8Array, text: string): Buffer =>
  createHmac('sha256', key).update(text).digest();

interface ClientSettings {
  readonly user: string;
  readonly password: string;
  readonly header?: string;
  readonly nonce?: string;
  readonly extension?: string;
  /** Changes the last message before it is sent. */
  readonly tamper?: (final: string) => string;
}

interface Conversation {
  readonly serverFirst: string;
  readonly verdict: Verdict;
  /** The server has shown that it knows the password's keys. */
  readonly serverProven: boolean;
}

async function step(exchange: Exchange, text: string): Promise<ExchangeStep> {
  return exchange.step(bytes(text));
}

function serverFirstOf(given: ExchangeStep): string {
  assert.ok('more' in given && given.more !== undefined, JSON.stringify(given));
  return Buffer.from(given.more).toString('utf8');
}

/** The client's side of one log-in. */
async function converse(exchange: Exchange, client: ClientSettings): Promise<Conversation> {
  const { user, password, header = 'n,,', nonce = 'clientNonce', extension = '' } = client;
  const bare = `n=${user.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}${extension}`;
  const serverFirst = serverFirstOf(await step(exchange, header + bare));
  const [, whole, salt, count] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? [];
  assert.ok(whole!.startsWith(nonce) && whole!.length > nonce.length, 'the nonce is continued');
  const salted = pbkdf2Sync(password, Buffer.from(salt!, 'base64'), Number(count), 32, 'sha256');
  const clientKey = hmac(salted, 'Client Key');
  const storedKey = createHash('sha256').update(clientKey).digest();
  const unproven = `c=${bytes(header).toString('base64')},r=${whole}`;
  const conversation = `${bare},${serverFirst},${unproven}`;
  const signature = hmac(storedKey, conversation);
  const proof = Buffer.from(clientKey.map((byte, i) => byte ^ signature[i]!));
  const final = `${unproven},p=${proof.toString('base64')}`;
  const end = await step(exchange, client.tamper?.(final) ?? final);
  assert.ok('verdict' in end);
  const expected = `v=${hmac(hmac(salted, 'Server Key'), conversation).toString('base64')}`;
  const said = end.data === undefined ? undefined : Buffer.from(end.data).toString('utf8');
  return { serverFirst, verdict: end.verdict, serverProven: said === expected };
}

function callerOf(verdict: Verdict): Caller {
  assert.ok(!isRefusal(verdict), JSON.stringify(verdict));
  return verdict;
}

const isFault = (code: string) => (error: Fault) => error.code === code;

test("the RFC's example", async () => {
  const keys = await deriveScramKeys(
    'pencil',
    Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'),
    4096,
  );
  const exchange = createScramExchange({
    nonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
    lookUp: async (userName) => ({
      keys,
      unknown: userName !== 'user',
      admit: () => ({ refused: 'serverBusy' }),
    }),
  });

  const first = await step(exchange, 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
  const end = await step(
    exchange,
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,' +
      'p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  );

  assert.equal(
    serverFirstOf(first),
    'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  );
  assert.ok('verdict' in end);
  assert.equal(outcomeOf(end.verdict), 'serverBusy'); // what `admit` said: the proof was right
  assert.equal(Buffer.from(end.data!).toString(), 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
});

describe('logging in', () => {
  test('with the password, and the server proves itself as well', async (t) => {
    const { users, begin } = await open(t);
    await users.set('plant', { userName: 'ann', password: 'pencil' });

    const { verdict, serverProven, serverFirst } = await converse(begin(), {
      user: 'ann',
      password: 'pencil',
    });

    const caller = callerOf(verdict);
    assert.equal(caller.userName, 'ann');
    assert.equal(caller.instance.id, 'plant');
    assert.equal(caller.permissions?.mayPublish('anything'), true);
    assert.equal(serverProven, true);
    assert.match(serverFirst, /,i=10000$/);
  });

  for (const [name, client] of Object.entries<Partial<ClientSettings>>({
    'a client that could bind channels': { header: 'y,,' },
    'acting for oneself': { header: 'n,a=a=3Dn=2Cn,' },
    'an extension': { extension: ',x=1' },
  })) {
    test(`${name} gets in`, async (t) => {
      const { users, begin } = await open(t);
      await users.set('plant', { userName: 'a=n,n', password: 'pencil' });

      const { verdict } = await converse(begin(), { user: 'a=n,n', password: 'pencil', ...client });

      assert.equal(outcomeOf(verdict), 'in');
    });
  }

  test('names and passwords beyond ASCII are the same however they are typed', async (t) => {
    const { users, begin } = await open(t);
    await users.set('plant', { userName: 'Zo\u00eb', password: 'caf\u00e9\u00a0\u2168' });

    const { verdict } = await converse(begin(), { user: 'Zoe\u0308', password: 'caf\u00e9 IX' });

    assert.equal(callerOf(verdict).userName, 'Zo\u00eb');
  });

  test('again on the same connection, with a new exchange', async (t) => {
    const { users, begin } = await open(t);
    await users.set('plant', { userName: 'ann', password: 'pencil' });

    const nonces: string[] = [];
    for (let time = 0; time < 2; time++) {
      const { verdict, serverFirst } = await converse(begin(), { user: 'ann', password: 'pencil' });
      assert.equal(outcomeOf(verdict), 'in');
      nonces.push(serverFirst);
    }
    assert.notEqual(nonces[0], nonces[1]);
  });

  test('a wrong password, a stranger, and a user of another instance hear the same', async (t) => {
    const { users, begin } = await open(t);
    await users.set('plant', { userName: 'ann', password: 'pencil' });
    await users.set('other', { userName: 'bob', password: 'pencil' });

    for (const user of ['ann', 'nobody', 'bob']) {
      const { verdict, serverProven } = await converse(begin(), { user, password: 'pen' });
      assert.deepEqual(verdict, { refused: 'badUserOrPassword' });
      assert.equal(serverProven, false);
    }
    const { verdict } = await converse(begin(), { user: 'bob', password: 'pencil' });
    assert.equal(outcomeOf(verdict), 'badUserOrPassword');
  });

  test('a stranger has one salt, the same after a restart, as a user has', async (t) => {
    const { users, begin, ...scene } = await open(t);
    await users.set('plant', { userName: 'ann', password: 'pencil' });
    const restarted = await openScramUsers(scene);
    t.after(() => restarted.close());
    const later = createScramMethod({ users: restarted, random: scene.random });
    const saltOf = async (exchange: Exchange, user: string): Promise<string> =>
      serverFirstOf(await step(exchange, `n,,n=${user},r=abc`)).replace(/^r=[^,]*/, '');

    for (const user of ['nobody', 'ann']) {
      const salt = await saltOf(begin(), user);
      assert.match(salt, /^,s=[A-Za-z0-9+/]{22}==,i=10000$/);
      assert.equal(await saltOf(begin(), user), salt);
      assert.equal(await saltOf(later.begin(scene.request()), user), salt);
    }
    assert.notEqual(await saltOf(begin(), 'nobody'), await saltOf(begin(), 'nobody2'));
  });
});

describe('what is no SCRAM', () => {
  for (const message of [
    '',
    'n',
    'n,,',
    'n,,n=ann',
    'n,,r=abc,n=ann',
    'n,,n=,r=abc',
    'n,,n=ann,r=',
    'n,,n=ann,r=a b',
    `n,,n=ann,r=${'x'.repeat(257)}`,
    'n,,n=a=nn,r=abc',
    'n,,n=a\u0000,r=abc',
    'n,,n=a\u0007,r=abc',
    'n,,m=x,n=ann,r=abc',
    'n,,n=ann,r=abc,m=x',
    'n,,n=ann,r=abc,x',
    'p=tls-exporter,,n=ann,r=abc',
    'x,,n=ann,r=abc',
    'n,b=x,n=ann,r=abc',
    `n,,n=ann,r=abc,x=${'y'.repeat(4_096)}`,
  ]) {
    test(`${JSON.stringify(message.slice(0, 30))} as the first message`, async (t) => {
      const { begin } = await open(t);

      const given = await step(begin(), message);

      assert.ok('verdict' in given, 'it was taken');
      assert.equal(outcomeOf(given.verdict), 'passwordMalformed');
    });
  }

  test('no data, or no text', async (t) => {
    const { begin } = await open(t);

    for (const data of [undefined, Buffer.of(0x6e, 0x2c, 0x2c, 0xff)]) {
      const given = await begin().step(data);
      assert.ok('verdict' in given);
      assert.equal(outcomeOf(given.verdict), 'passwordMalformed');
    }
  });

  test('to act for somebody else', async (t) => {
    const { begin } = await open(t);

    const given = await step(begin(), 'n,a=root,n=ann,r=abc');

    assert.ok('verdict' in given);
    assert.equal(outcomeOf(given.verdict), 'notAuthorized');
  });

  for (const [name, tamper] of Object.entries<(final: string) => string>({
    'another nonce': (final) => final.replace(/r=[^,]*/, 'r=clientNonceAndAnother'),
    "the client's nonce alone": (final) => final.replace(/r=[^,]*/, 'r=clientNonce'),
    'another binding': (final) => final.replace('c=biws', 'c=eSws'),
    'no proof': (final) => final.replace(/,p=.*/, ''),
    'an empty proof': (final) => final.replace(/,p=.*/, ',p='),
    'a short proof': (final) => final.replace(/,p=.*/, `,p=${Buffer.alloc(31).toString('base64')}`),
    'something behind the proof': (final) => `${final},x=1`,
    'a mandatory extension': (final) => final.replace(',p=', ',m=1,p='),
  })) {
    test(`${name} in the last message`, async (t) => {
      const { users, begin } = await open(t);
      await users.set('plant', { userName: 'ann', password: 'pencil' });

      const { verdict } = await converse(begin(), { user: 'ann', password: 'pencil', tamper });

      assert.equal(outcomeOf(verdict), 'passwordMalformed');
    });
  }

  test('a proof with one bit changed, or of an extension not sent', async (t) => {
    const { users, begin } = await open(t);
    await users.set('plant', { userName: 'ann', password: 'pencil' });
    const flip = (final: string): string => {
      const [unproven, encoded] = final.split(',p=');
      const proof = Buffer.from(encoded!, 'base64');
      proof[31]! ^= 1;
      return `${unproven},p=${proof.toString('base64')}`;
    };

    for (const tamper of [flip, (final: string) => final.replace(',p=', ',x=1,p=')]) {
      const { verdict } = await converse(begin(), { user: 'ann', password: 'pencil', tamper });
      assert.equal(outcomeOf(verdict), 'badUserOrPassword');
    }
  });

  test('more messages after the end, whatever the end was', async (t) => {
    const { users, begin } = await open(t);
    await users.set('plant', { userName: 'ann', password: 'pencil' });
    let good = '';
    const keep = (final: string): string => (good = final);

    for (const password of ['pencil', 'pen']) {
      const exchange = begin();
      await converse(exchange, { user: 'ann', password, tamper: keep });
      const given = await step(exchange, good);
      assert.ok('verdict' in given);
      assert.equal(outcomeOf(given.verdict), 'passwordMalformed');
    }
  });

  test('a recorded log-in does not work again', async (t) => {
    const { users, begin } = await open(t);
    await users.set('plant', { userName: 'ann', password: 'pencil' });
    let recorded = '';
    await converse(begin(), {
      user: 'ann',
      password: 'pencil',
      tamper: (final) => (recorded = final),
    });

    const exchange = begin();
    await step(exchange, 'n,,n=ann,r=clientNonce');
    const given = await step(exchange, recorded);

    assert.ok('verdict' in given && isRefusal(given.verdict));
  });
});

describe('the users', () => {
  test('the store holds no password', async (t) => {
    const { users, store } = await open(t);

    await users.set('plant', { userName: 'ann', password: 'pencil-of-ann' });

    const row = await store.table(SCRAM_USER_TABLE).get('plant/ann');
    const text = Buffer.from(row!.value).toString('latin1');
    assert.ok(!text.includes('pencil'));
    assert.ok(!text.includes(bytes('pencil-of-ann').toString('base64')));
  });

  test('what is not fit to be stored is refused', async (t) => {
    const { users } = await open(t);
    const ann = { userName: 'ann', password: 'pencil' };

    for (const change of [
      { userName: 'ann' },
      { ...ann, userName: '' },
      { ...ann, userName: 'a\u0000b' },
      { ...ann, userName: 'x'.repeat(257) },
      { ...ann, password: '' },
      { ...ann, password: 'a\nb' },
      { ...ann, password: 'x'.repeat(1_025) },
      { ...ann, iterations: 4_095 },
      { ...ann, iterations: 5_000.5 },
      { ...ann, iterations: 1_000_001 },
    ]) {
      await assert.rejects(users.set('plant', change), isFault('invalidParameter'));
    }
    await assert.rejects(users.remove('plant', 'ann'), isFault('notFound'));
  });

  test('listed in the order of their names, a page at a time, each instance its own', async (t) => {
    const { users } = await open(t);
    const password = 'pencil';
    const rules = [{ effect: 'allow', publish: true, subscribe: false, filter: 'a/#' }] as const;
    await users.set('plant', { userName: 'cid', password });
    await users.set('plant', { userName: 'ann', password, rules, iterations: 4_096 });
    await users.set('plant', { userName: 'bob', password });
    await users.set('plant2', { userName: 'dan', password });

    const first = await users.list('plant', { size: 2 });
    const second = await users.list('plant', { size: 2, nextToken: first.nextToken });

    assert.deepEqual(
      first.results.map(({ userName, iterations }) => [userName, iterations]),
      [
        ['ann', 4_096],
        ['bob', 10_000],
      ],
    );
    assert.deepEqual(first.results[0]!.rules, rules);
    assert.deepEqual(
      second.results.map(({ userName }) => userName),
      ['cid'],
    );
    assert.equal(second.nextToken, '');
  });

  async function connected(t: TestContext) {
    const scene = await open(t);
    const { users, begin } = scene;
    await users.set('plant', {
      userName: 'ann',
      password: 'pencil',
      rules: [{ effect: 'allow', publish: true, subscribe: true, filter: 'a/#' }],
    });
    const { verdict } = await converse(begin(), { user: 'ann', password: 'pencil' });
    const caller = callerOf(verdict);
    return { ...scene, caller, client: watchedClient() };
  }

  test('other rules count on live connections', async (t) => {
    const { users, caller, client } = await connected(t);
    caller.connected!(client);
    const permissions = caller.permissions!;
    const before = permissions.version;
    assert.equal(permissions.mayPublish('a/1'), true);
    assert.equal(permissions.mayPublish('b'), false);

    await users.set('plant', {
      userName: 'ann',
      rules: [{ effect: 'allow', publish: true, subscribe: false, filter: 'b' }],
    });
    await until(
      () => client.permissionChanges > 0,
      () => 'nothing changed',
    );

    assert.equal(permissions.mayPublish('a/1'), false);
    assert.equal(permissions.mayPublish('b'), true);
    assert.ok(permissions.version > before);
    assert.deepEqual(client.told, []);
    await users.set('plant', { userName: 'ann', rules: 'all' });
    await until(
      () => permissions.mayPublish('c'),
      () => 'not everything',
    );
  });

  test('who is removed, or gets another password, is disconnected', async (t) => {
    for (const change of ['remove', 'password'] as const) {
      const { users, caller, client, begin } = await connected(t);
      const other = await converse(begin(), { user: 'ann', password: 'pencil' });
      const gone = watchedClient();
      caller.connected!(client);
      callerOf(other.verdict).connected!(gone)();

      if (change === 'remove') await users.remove('plant', 'ann');
      else await users.set('plant', { userName: 'ann', password: 'chalk' });
      await until(
        () => client.told.length > 0,
        () => 'still connected',
      );

      assert.deepEqual(client.told, ['credentialRevoked']);
      assert.deepEqual(gone.told, []);
    }
  });

  test('who is removed between the proof and the connection is disconnected', async (t) => {
    const { users, caller, client } = await connected(t);
    await users.remove('plant', 'ann');

    caller.connected!(client);
    await until(
      () => client.told.length > 0,
      () => 'still connected',
    );

    assert.deepEqual(client.told, ['credentialRevoked']);
  });

  test('a user of that name made anew is another user', async (t) => {
    const { users, caller, client } = await connected(t);
    await users.remove('plant', 'ann');
    await users.set('plant', { userName: 'ann', password: 'pencil' });

    caller.connected!(client);
    await until(
      () => client.told.length > 0,
      () => 'still connected',
    );

    assert.deepEqual(client.told, ['credentialRevoked']);
  });
});

test('names and passwords are prepared', () => {
  assert.equal(prepare('I\u00adX'), 'IX');
  assert.equal(prepare('user'), 'user');
  assert.equal(prepare('\u00aa'), 'a');
  assert.equal(prepare('\u2168'), 'IX');
  assert.equal(prepare('a\u00a0b'), 'a b');
  assert.equal(prepare('\u0007'), undefined);
  assert.equal(prepare(''), undefined);
  assert.equal(prepare('\u00ad'), undefined);
  assert.equal(prepare('\ud800'), undefined);
  assert.equal(prepare('\ue000'), undefined);
});
