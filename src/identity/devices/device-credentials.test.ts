/** Device credentials: one pair for each client, found by client and key, listed by group. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { Fault, systemRandom } from '#base';
import type { Store } from '#ports';
import { ManualClock } from '../../../test/harness/manual-clock.ts';
import { type DeviceCredentials, openDeviceCredentials } from './device-credentials.ts';
import { createSecretBox } from '../secret-box.ts';

interface World {
  readonly credentials: DeviceCredentials;
  readonly clock: ManualClock;
  readonly store: Store;
  /** Another node with the same store. */
  readonly other: DeviceCredentials;
  /** One more, or a later start. */
  again(): DeviceCredentials;
}

function openWorld(t: TestContext): World {
  const clock = new ManualClock();
  const { store } = openMemoryEngine({ clock });
  const box = createSecretBox(Buffer.alloc(32, 1), systemRandom);
  const open = (): DeviceCredentials => {
    const opened = openDeviceCredentials({
      store,
      box,
      clock,
      random: systemRandom,
      cachedCountMax: 50,
    });
    t.after(() => opened.close());
    return opened;
  };
  return { credentials: open(), other: open(), again: open, clock, store };
}

async function registerMany(
  credentials: DeviceCredentials,
  groupId: string,
  count: number,
): Promise<string[]> {
  const clientIds = Array.from({ length: count }, (_, index) => `${groupId}@@@d${index}`);
  await Promise.all(clientIds.map((clientId) => credentials.register('mqtt-1', clientId)));
  return clientIds;
}

/** A bucket is the first three digits of a hash. */
function clientsOfOneBucket(count: number): string[] {
  const buckets = new Map<string, string[]>();
  for (let i = 0; ; i++) {
    const clientId = `GID_a@@@d${i}`;
    const bucket = createHash('sha256').update(clientId).digest('hex').slice(0, 3);
    const members = [...(buckets.get(bucket) ?? []), clientId];
    if (members.length === count) return members;
    buckets.set(bucket, members);
  }
}

async function rows(store: Store, table: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of store.table(table).scan('')) keys.push(...page.map((row) => row.key));
  return keys;
}

const notFound = (error: unknown): boolean => Fault.is(error, 'notFound');
const invalid = (error: unknown): boolean => Fault.is(error, 'invalidParameter');

describe('a device credential', () => {
  test('is found by client and by key, here and on another node', async (t) => {
    const { credentials, other, clock } = openWorld(t);

    const made = await credentials.register('mqtt-1', 'GID_a@@@d1');

    assert.match(made.accessKeyId, /^DC\.[A-Za-z0-9_-]{22}$/);
    assert.match(made.accessKeySecret, /^DC\.[A-Za-z0-9_-]{32}$/);
    assert.equal(made.createdMs, clock.nowMs());
    assert.equal(made.updatedMs, clock.nowMs());
    for (const one of [credentials, other]) {
      assert.deepEqual(await one.find('mqtt-1', 'GID_a@@@d1'), made);
      assert.equal(await one.findClientId('mqtt-1', made.accessKeyId), 'GID_a@@@d1');
    }
  });

  test('is of one client in one instance', async (t) => {
    const { credentials } = openWorld(t);
    const made = await credentials.register('mqtt-1', 'GID_a@@@d1');

    assert.equal(await credentials.find('mqtt-2', 'GID_a@@@d1'), undefined);
    assert.equal(await credentials.find('mqtt-1', 'GID_a@@@D1'), undefined);
    assert.equal(await credentials.find('mqtt-1', 'GID_a@@@d'), undefined);
    assert.equal(await credentials.find('mqtt-1', ''), undefined);
    assert.equal(await credentials.find('mqtt-1', 'd\0'), undefined);
    assert.equal(await credentials.findClientId('mqtt-2', made.accessKeyId), undefined);
    assert.equal(await credentials.findClientId('mqtt-1', 'DC.other'), undefined);
  });

  test('keeps its secret sealed', async (t) => {
    const { credentials, store } = openWorld(t);
    const made = await credentials.register('mqtt-1', 'GID_a@@@d1');

    for (const table of ['device-credentials', 'device-credential-keys']) {
      for await (const page of store.table(table).scan('')) {
        for (const row of page) {
          assert.equal(Buffer.from(row.value).includes(made.accessKeySecret), false);
        }
      }
    }
  });

  test('is replaced when the client is registered again, on every node', async (t) => {
    const { credentials, other, clock, store } = openWorld(t);
    const first = await credentials.register('mqtt-1', 'c');
    assert.deepEqual(await other.find('mqtt-1', 'c'), first);
    clock.advance(1_000);

    const second = await credentials.register('mqtt-1', 'c');

    assert.notEqual(second.accessKeyId, first.accessKeyId);
    assert.notEqual(second.accessKeySecret, first.accessKeySecret);
    assert.equal(second.createdMs, clock.nowMs());
    assert.deepEqual(await credentials.find('mqtt-1', 'c'), second);
    assert.deepEqual(await other.find('mqtt-1', 'c'), second);
    assert.equal(await credentials.findClientId('mqtt-1', first.accessKeyId), undefined);
    assert.equal((await rows(store, 'device-credential-keys')).length, 1);
  });

  test('is refreshed: another pair, the same beginning', async (t) => {
    const { credentials, clock } = openWorld(t);
    const first = await credentials.register('mqtt-1', 'c');
    clock.advance(1_000);

    const second = await credentials.refresh('mqtt-1', 'c');

    assert.notEqual(second.accessKeyId, first.accessKeyId);
    assert.equal(second.createdMs, first.createdMs);
    assert.equal(second.updatedMs, first.updatedMs + 1_000);
    assert.deepEqual(await credentials.find('mqtt-1', 'c'), second);
    await assert.rejects(credentials.refresh('mqtt-1', 'other'), notFound);
  });

  test('is gone once it is unregistered, and nothing of it is left', async (t) => {
    const { credentials, other, store } = openWorld(t);
    const made = await credentials.register('mqtt-1', 'c');
    await other.find('mqtt-1', 'c');

    await credentials.unregister('mqtt-1', 'c');

    for (const one of [credentials, other]) {
      assert.equal(await one.find('mqtt-1', 'c'), undefined);
      assert.equal(await one.findClientId('mqtt-1', made.accessKeyId), undefined);
    }
    assert.deepEqual(await rows(store, 'device-credentials'), []);
    assert.deepEqual(await rows(store, 'device-credential-keys'), []);
    assert.deepEqual(await rows(store, 'device-credential-counts'), []);
    await assert.rejects(credentials.unregister('mqtt-1', 'c'), notFound);
  });

  test('of two registrations at once, the one that is kept is the one that works', async (t) => {
    const { credentials, other, store } = openWorld(t);

    const made = await Promise.all([
      credentials.register('mqtt-1', 'c'),
      other.register('mqtt-1', 'c'),
      credentials.register('mqtt-1', 'c'),
    ]);

    const kept = await credentials.find('mqtt-1', 'c');
    assert.ok(made.some((one) => one.accessKeyId === kept?.accessKeyId));
    assert.deepEqual(await other.find('mqtt-1', 'c'), kept);
    assert.deepEqual(await rows(store, 'device-credential-keys'), [`mqtt-1/${kept?.accessKeyId}`]);
  });

  test('is for a client whose name can be a key', async (t) => {
    const { credentials } = openWorld(t);

    for (const clientId of ['', 'a\0b', '\ud800', 'x'.repeat(5_000)]) {
      await assert.rejects(credentials.register('mqtt-1', clientId), invalid);
    }
    for (const clientId of ['a/b@@@c', '%2f@@@', '@@@', '设备@@@一', 'é'.repeat(4_000)]) {
      const made = await credentials.register('mqtt-1', clientId);
      assert.deepEqual(await credentials.find('mqtt-1', clientId), made);
    }
  });

  test('is in memory only if it was used lately', async (t) => {
    const { credentials } = openWorld(t);
    const clientIds = await registerMany(credentials, 'GID_a', 60);
    assert.equal(credentials.cachedCount, 0);

    for (const clientId of clientIds) await credentials.find('mqtt-1', clientId);

    assert.equal(credentials.cachedCount, 50);
  });

  test('tells who wants to know that it has changed, until he does not', async (t) => {
    const { credentials, other } = openWorld(t);
    await credentials.register('mqtt-1', 'c');
    let told = 0;
    const stop = credentials.onChanged('mqtt-1', 'c', () => told++);

    await other.register('mqtt-1', 'd');
    assert.equal(told, 0);
    await other.refresh('mqtt-1', 'c');
    assert.equal(told, 1);
    await credentials.unregister('mqtt-1', 'c');
    assert.equal(told, 2);
    stop();
    await credentials.register('mqtt-1', 'c');
    assert.equal(told, 2);
  });
});

describe('the list of a group', () => {
  const list = (credentials: DeviceCredentials, changes: object = {}) =>
    credentials.list({
      instanceId: 'mqtt-1',
      groupId: 'GID_a',
      pageSize: 7,
      pageNumber: 1,
      nextToken: '',
      ...changes,
    });

  test('holds each client once, page by page, by token and by number alike', async (t) => {
    const { credentials } = openWorld(t);
    const clientIds = await registerMany(credentials, 'GID_a', 100);
    await registerMany(credentials, 'GID_b', 5);
    await registerMany(credentials, 'GID_a/x', 5);
    await credentials.register('mqtt-2', 'GID_a@@@else');
    await credentials.register('mqtt-1', 'GID_a');

    const byToken: string[] = [];
    const byNumber: string[] = [];
    let nextToken = '';
    for (let pageNumber = 1; pageNumber <= 15; pageNumber++) {
      const page = await list(credentials, { nextToken });
      const numbered = await list(credentials, { pageNumber });
      byToken.push(...page.clientIds);
      byNumber.push(...numbered.clientIds);
      assert.deepEqual(numbered, page);
      assert.equal(page.total, 100);
      assert.equal(page.clientIds.length, pageNumber < 15 ? 7 : 2);
      assert.equal(page.nextToken === '', pageNumber === 15);
      nextToken = page.nextToken;
    }

    assert.deepEqual([...byToken].sort(), [...clientIds].sort());
    assert.deepEqual(byNumber, byToken);
  });

  test('a page that ends with the group is the last', async (t) => {
    const { credentials } = openWorld(t);
    await registerMany(credentials, 'GID_a', 7);

    const page = await list(credentials);

    assert.equal(page.clientIds.length, 7);
    assert.equal(page.nextToken, '');
    assert.deepEqual(await list(credentials, { pageNumber: 2 }), {
      clientIds: [],
      nextToken: '',
      total: 7,
    });
  });

  test('of an unknown group is empty', async (t) => {
    const { credentials } = openWorld(t);

    const nothing = { clientIds: [], nextToken: '', total: 0 };
    assert.deepEqual(await list(credentials), nothing);
    assert.deepEqual(await list(credentials, { groupId: 'a\0' }), nothing);
  });

  test('keeps up with changes, also those of another node', async (t) => {
    const { credentials, other } = openWorld(t);
    const clientIds = await registerMany(credentials, 'GID_a', 20);
    assert.equal((await list(other)).total, 20);
    assert.equal((await list(credentials)).total, 20);

    await Promise.all(clientIds.slice(0, 5).map((one) => other.unregister('mqtt-1', one)));
    await registerMany(other, 'GID_a', 3); // three of the five again
    await credentials.refresh('mqtt-1', clientIds[19]!);
    await credentials.register('mqtt-1', 'GID_a@@@new');

    for (const one of [credentials, other]) {
      const page = await list(one, { pageSize: 100 });
      assert.equal(page.total, 19);
      assert.deepEqual(
        [...page.clientIds].sort(),
        [...clientIds.slice(0, 3), ...clientIds.slice(5), 'GID_a@@@new'].sort(),
      );
    }
  });

  test('misses nobody while others come and go', async (t) => {
    const { credentials } = openWorld(t);
    const clientIds = await registerMany(credentials, 'GID_a', 60);
    const seen: string[] = [];
    let nextToken = '';
    let round = 0;

    do {
      const page = await list(credentials, { nextToken });
      seen.push(...page.clientIds);
      nextToken = page.nextToken;
      await credentials.register('mqtt-1', `GID_a@@@late${round++}`);
      const gone = page.clientIds.at(-1);
      if (gone !== undefined) await credentials.unregister('mqtt-1', gone);
    } while (nextToken !== '');

    assert.equal(new Set(seen).size, seen.length);
    for (const clientId of clientIds) assert.ok(seen.includes(clientId), clientId);
  });

  test('lists made at once with changes are whole', async (t) => {
    const { credentials } = openWorld(t);

    const registering = registerMany(credentials, 'GID_a', 300);
    const lists = Array.from({ length: 20 }, () => list(credentials, { pageSize: 100 }));
    await registering;
    await Promise.all(lists);

    assert.equal((await list(credentials)).total, 300);
  });

  test('counts clients of one bucket whom two nodes take on and off at once', async (t) => {
    const { credentials, other, again } = openWorld(t);
    const clientIds = clientsOfOneBucket(6);
    const nodes = [credentials, other];
    const all = (act: (node: DeviceCredentials, clientId: string) => Promise<unknown>) =>
      Promise.all(clientIds.map((clientId, index) => act(nodes[index % 2]!, clientId)));

    await all((node, clientId) => node.register('mqtt-1', clientId));
    for (const node of [...nodes, again()]) assert.equal((await list(node)).total, 6);
    await Promise.all([
      ...clientIds.slice(0, 2).map((one) => credentials.unregister('mqtt-1', one)),
      ...clientIds.slice(2, 4).map((one) => other.unregister('mqtt-1', one)),
    ]);

    for (const node of [...nodes, again()]) {
      const page = await list(node);
      assert.equal(page.total, 2);
      assert.deepEqual(page.clientIds, clientIds.slice(4).sort());
    }
  });

  test('knows how many there are after a restart, one of them registered twice', async (t) => {
    const { credentials, again } = openWorld(t);
    await registerMany(credentials, 'GID_a', 50);
    await credentials.register('mqtt-1', 'GID_a@@@d7');

    assert.equal((await list(again())).total, 50);
  });

  test('puts a wrong count right when it shows the bucket', async (t) => {
    const { credentials, again, store } = openWorld(t);
    await registerMany(credentials, 'GID_a', 5);
    const [countKey] = await rows(store, 'device-credential-counts');
    await store.table('device-credential-counts').put(countKey!, Buffer.of(0, 0, 0, 9));

    for (const node of [credentials, again()]) assert.equal((await list(node)).total, 5);
  });

  test('forgets no client whose count was lost', async (t) => {
    const { credentials, store } = openWorld(t);
    await credentials.register('mqtt-1', 'GID_a@@@d');
    const [countKey] = await rows(store, 'device-credential-counts');
    await store.table('device-credential-counts').remove(countKey!);

    await credentials.refresh('mqtt-1', 'GID_a@@@d');

    assert.deepEqual((await list(credentials)).clientIds, ['GID_a@@@d']);
  });

  test('refuses a token that is not of that group', async (t) => {
    const { credentials } = openWorld(t);
    await registerMany(credentials, 'GID_a', 8);
    const { nextToken } = await list(credentials);

    for (const one of [`${nextToken}=`, 'ä', nextToken.slice(1)]) {
      await assert.rejects(list(credentials, { nextToken: one }), invalid);
    }
    await assert.rejects(list(credentials, { groupId: 'GID_b', nextToken }), invalid);
  });
});
