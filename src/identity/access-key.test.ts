/** Access keys: who has the secret gets in, nobody else, and the store does not know it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { createSeededRandom, systemClock, systemRandom } from '#base';
import type { Store } from '#ports';
import {
  type AccessKey,
  createAccessKeyAuthenticator,
  createFirstAccessKey,
} from './access-key.ts';
import type { Authenticator, ConnectRequest, Verdict } from './authenticator.ts';
import { isRefusal } from './authenticator.ts';
import { createOpenAuthenticator } from './open-authenticator.ts';

function openStore(): Store {
  return openMemoryEngine({ clock: systemClock }).store;
}

function request(userName?: string, password?: string): ConnectRequest {
  return {
    protocolVersion: 5,
    clientId: 'c',
    userName,
    password: password === undefined ? undefined : Buffer.from(password),
    address: '127.0.0.1',
    listener: 'mqtt://127.0.0.1:1883',
    serverName: undefined,
    certificate: undefined,
  };
}

async function open(): Promise<{ key: AccessKey; store: Store; authenticator: Authenticator }> {
  const store = openStore();
  const key = await createFirstAccessKey(store, systemRandom);
  assert.ok(key !== undefined);
  return { key, store, authenticator: createAccessKeyAuthenticator(store, systemRandom) };
}

function outcome(verdict: Verdict): string {
  return isRefusal(verdict) ? verdict.refused : `welcome ${verdict.userName}`;
}

describe('the first access key', () => {
  test('is made once', async () => {
    const store = openStore();

    const first = await createFirstAccessKey(store, systemRandom);
    const second = await createFirstAccessKey(store, systemRandom);

    assert.match(first!.id, /^ak-[0-9a-f]{12}$/);
    assert.equal(Buffer.from(first!.secret, 'base64url').length, 24);
    assert.equal(second, undefined);
  });

  test('differs from broker to broker, also from the same start of chance', async () => {
    const random = createSeededRandom(1);

    const one = await createFirstAccessKey(openStore(), random);
    const other = await createFirstAccessKey(openStore(), random);

    assert.notEqual(one!.id, other!.id);
    assert.notEqual(one!.secret, other!.secret);
  });

  test('is not kept in clear, in no encoding', async () => {
    const { key, store } = await open();
    let rows = 0;
    for await (const page of store.table('access-keys').scan('')) {
      for (const row of page) {
        rows++;
        const kept = Buffer.from(row.value);
        assert.equal(row.key, key.id);
        assert.equal(kept.includes(key.secret), false);
        assert.equal(kept.includes(Buffer.from(key.secret, 'base64url')), false);
        assert.equal(kept.length, 16 + 32); // salt and hash: room for nothing else
      }
    }
    assert.equal(rows, 1);
  });
});

describe('authentication', () => {
  test('the right secret is welcome, the first time and later', async () => {
    const { key, authenticator } = await open();

    for (let i = 0; i < 2; i++) {
      const verdict = await authenticator.authenticate(request(key.id, key.secret));
      assert.equal(outcome(verdict), `welcome ${key.id}`);
      assert.ok(!isRefusal(verdict) && verdict.instance.id === 'default');
    }
  });

  test('a wrong secret and an unknown key are refused alike', async () => {
    const { key, authenticator } = await open();
    const last = key.secret.endsWith('A') ? 'B' : 'A';
    const wrong = [
      request(key.id, 'wrong'),
      request(key.id, ''),
      request(key.id, `${key.secret.slice(0, -1)}${last}`),
      request(key.id, `${key.secret} `),
      request('ak-000000000000', key.secret),
      request('', key.secret),
      request(key.id.toUpperCase(), key.secret),
    ];

    const verdicts = await Promise.all(
      wrong.map(async (one) => await authenticator.authenticate(one)),
    );

    for (const verdict of verdicts) {
      assert.deepEqual(verdict, {
        refused: 'badUserOrPassword',
        detail: 'bad user name or password',
      });
    }
  });

  test('a secret that was right once opens for nothing else', async () => {
    const { key, authenticator } = await open();
    await authenticator.authenticate(request(key.id, key.secret));

    assert.equal(
      outcome(await authenticator.authenticate(request(key.id, 'wrong'))),
      'badUserOrPassword',
    );
    const other = await authenticator.authenticate(request('ak-other', key.secret));
    assert.equal(outcome(other), 'badUserOrPassword');
  });

  test('without user name or password there is no way in', async () => {
    const { key, authenticator } = await open();

    for (const one of [request(), request(key.id), request(undefined, key.secret)]) {
      assert.equal(outcome(await authenticator.authenticate(one)), 'notAuthorized');
    }
  });

  test('endless names and secrets are refused before they are hashed', async () => {
    const { key, authenticator } = await open();

    for (const one of [request('x'.repeat(129), key.secret), request(key.id, 'x'.repeat(1025))]) {
      const verdict = authenticator.authenticate(one);
      assert.ok(!(verdict instanceof Promise), 'answered at once');
      assert.equal(outcome(verdict), 'badUserOrPassword');
    }
  });

  test('a flood of wrong secrets is told to come back, and then the right one gets in', async () => {
    const { key, authenticator } = await open();
    const flood = Array.from({ length: 24 }, async (_, index) =>
      outcome(await authenticator.authenticate(request(key.id, `wrong ${index}`))),
    );

    const outcomes = await Promise.all(flood);

    const hashed = outcomes.filter((one) => one === 'badUserOrPassword').length;
    assert.equal(hashed, 8);
    assert.equal(outcomes.filter((one) => one === 'serverBusy').length, 16);
    const after = await authenticator.authenticate(request(key.id, key.secret));
    assert.equal(outcome(after), `welcome ${key.id}`);
  });

  test('knows no enhanced authentication', async () => {
    const { authenticator } = await open();

    assert.equal(authenticator.exchange('SCRAM-SHA-256', request()), undefined);
  });
});

test('the open authenticator welcomes everybody, by the name they gave', async () => {
  const authenticator = createOpenAuthenticator();

  assert.equal(outcome(await authenticator.authenticate(request())), 'welcome undefined');
  assert.equal(outcome(await authenticator.authenticate(request('me', 'x'))), 'welcome me');
  assert.equal(authenticator.exchange('x', request()), undefined);
});
