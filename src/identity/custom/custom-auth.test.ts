/** Custom identities, permissions and the blacklist: what is kept, and what live clients notice. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { createLog, Fault, type FaultCode, systemClock, systemRandom } from '#base';
import { type Instance, type Instances, openInstances } from '#instances';
import type { Store } from '#ports';
import { ManualClock } from '../../../test/harness/manual-clock.ts';
import { until } from '../../../test/harness/until.ts';
import type { LiveClient } from '../authenticator.ts';
import { type CustomAuth, type FoundIdentity, openCustomAuth } from './custom-auth.ts';
import type { CustomIdentity, CustomPermission } from './custom-records.ts';
import { createSecretBox } from '../secret-box.ts';

const BOX = createSecretBox(systemRandom.bytes(32), systemRandom);

interface Scene {
  readonly store: Store;
  readonly clock: ManualClock;
  readonly customAuth: CustomAuth;
  readonly instances: Instances;
  readonly instance: Instance;
  readonly log: string[];
}

async function open(t: TestContext, used?: Store): Promise<Scene> {
  const store = used ?? openMemoryEngine({ clock: systemClock }).store;
  const clock = new ManualClock();
  const lines: string[] = [];
  const log = createLog({ level: 'debug', clock, write: (line) => void lines.push(line) });
  const instances = await openInstances({
    store,
    clock,
    random: systemRandom,
    log,
    defaultId: 'plant',
    openDefault: true,
  });
  const customAuth = await openCustomAuth({ store, box: BOX, clock, log });
  t.after(() => {
    customAuth.close();
    instances.close();
  });
  return { store, clock, customAuth, instances, instance: instances.find('plant')!, log: lines };
}

class Recorder implements LiveClient {
  readonly clientId: string;
  readonly address = '192.0.2.1';
  readonly ends: FaultCode[] = [];
  changeCount = 0;

  constructor(clientId: string) {
    this.clientId = clientId;
  }

  notify(): void {}

  disconnect(code: FaultCode): void {
    this.ends.push(code);
  }

  permissionsChanged(): void {
    this.changeCount++;
  }
}

function user(userName: string, secret = 'hush'): CustomIdentity {
  return { type: 'USER', userName, clientId: '', signMode: 'ORIGIN', secret };
}

function client(userName: string, clientId: string): CustomIdentity {
  return { type: 'CLIENT', userName, clientId, signMode: 'SIGNED', secret: 'own' };
}

function permission(identity: string, topic: string): CustomPermission {
  return { type: 'USER', identity, topic, action: 'PUB_SUB', effect: 'ALLOW' };
}

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return error instanceof Fault ? error.code : String(error);
  }
  return 'done';
}

async function connect(
  scene: Scene,
  identity: FoundIdentity,
  clientId: string,
): Promise<{ readonly live: Recorder; readonly end: () => void }> {
  const { customAuth } = scene;
  const rules = await customAuth.rulesFor('plant', identity.userName, clientId);
  const live = new Recorder(clientId);
  const end = customAuth.connected('plant', identity, rules, live);
  return { live, end };
}

describe('identities', () => {
  test('are found as they were added, the secret sealed in the store', async (t) => {
    const { customAuth, instance, store } = await open(t);

    await customAuth.addIdentity(instance, user('ann/1%', 'secret-of-ann'));

    const found = await customAuth.findIdentity('plant', 'ann/1%', 'any');
    assert.equal(found?.secret, 'secret-of-ann');
    for await (const rows of store.table('custom-identities').scan('')) {
      for (const row of rows) assert.ok(!Buffer.from(row.value).includes('secret-of-ann'));
    }
  });

  test('of a user with one client take precedence over those of the user', async (t) => {
    const { customAuth, instance } = await open(t);
    await customAuth.addIdentity(instance, user('ann'));
    await customAuth.addIdentity(instance, client('ann', 'c1'));

    assert.equal((await customAuth.findIdentity('plant', 'ann', 'c1'))?.type, 'CLIENT');
    assert.equal((await customAuth.findIdentity('plant', 'ann', 'c2'))?.type, 'USER');
    assert.equal(await customAuth.findIdentity('plant', 'an', 'n/c1'), undefined);
    assert.equal(await customAuth.findIdentity('plant', 'Ann', 'c1'), undefined);
  });

  test('of another instance are not found, at no cost where there are none', async (t) => {
    const { customAuth, instance } = await open(t);
    await customAuth.addIdentity(instance, user('ann'));

    assert.equal(customAuth.findIdentity('plant2', 'ann', 'c'), undefined);
    assert.equal(customAuth.findIdentity('plan', 'ann', 'c'), undefined);
  });

  test('are not replaced by adding, nor made by changing or deleting', async (t) => {
    const { customAuth, instance } = await open(t);
    await customAuth.addIdentity(instance, user('ann', 'first'));

    assert.equal(
      await refusal(customAuth.addIdentity(instance, user('ann', 'second'))),
      'alreadyExists',
    );
    assert.equal(await refusal(customAuth.updateIdentity(instance, user('bob'))), 'notFound');
    assert.equal(await refusal(customAuth.deleteIdentity(instance, user('bob'))), 'notFound');

    assert.equal((await customAuth.findIdentity('plant', 'ann', 'c'))?.secret, 'first');
    assert.equal(customAuth.identityCount('plant'), 1);
  });

  test('that cannot be are refused', async (t) => {
    const { customAuth, instance } = await open(t);
    const wrong = [
      user(''),
      user('u'.repeat(65)),
      user('a\0'),
      user('\ud800'),
      user('ann', ''),
      user('ann', 's'.repeat(1025)),
      client('ann', ''),
      client('ann', 'c'.repeat(1025)),
    ];

    for (const identity of wrong) {
      assert.equal(await refusal(customAuth.addIdentity(instance, identity)), 'invalidParameter');
    }
    assert.equal(customAuth.identityCount('plant'), 0);
  });

  test('never show their secrets in the log', async (t) => {
    const scene = await open(t);
    await scene.customAuth.addIdentity(scene.instance, user('ann', 'secret-of-ann'));
    await refusal(scene.customAuth.addIdentity(scene.instance, user('ann', 'secret-of-ann')));
    const found = await scene.customAuth.findIdentity('plant', 'ann', 'c');
    await connect(scene, found!, 'c');

    assert.ok(!scene.log.join('').includes('secret-of-ann'));
  });
});

describe('the number of rows', () => {
  test('is bounded for identities', async (t) => {
    const { customAuth, instances, instance } = await open(t);
    await instances.update('plant', { limits: { customAuthRowCountMax: 2 } });

    const outcomes = await Promise.all(
      ['a', 'b', 'c', 'd'].map((name) => refusal(customAuth.addIdentity(instance, user(name)))),
    );

    assert.deepEqual(outcomes, ['done', 'done', 'overCapacity', 'overCapacity']);
    await customAuth.deleteIdentity(instance, user('a'));
    assert.equal(await refusal(customAuth.addIdentity(instance, user('c'))), 'done');
    assert.equal(await refusal(customAuth.addIdentity(instance, user('c'))), 'alreadyExists');
  });

  test('is bounded for permissions and blacklist together', async (t) => {
    const { customAuth, instances, instance } = await open(t);
    await instances.update('plant', { limits: { customAuthRowCountMax: 2 } });

    await customAuth.addPermission(instance, permission('ann', 'a'));
    await customAuth.addBlack(instance, 'c');

    assert.equal(
      await refusal(customAuth.addPermission(instance, permission('ann', 'b'))),
      'overCapacity',
    );
    assert.equal(await refusal(customAuth.addBlack(instance, 'c2')), 'overCapacity');
    assert.equal(await refusal(customAuth.addIdentity(instance, user('ann'))), 'done');
  });

  test('is known after a restart, and changes do not change it', async (t) => {
    const first = await open(t);
    await first.customAuth.addIdentity(first.instance, user('ann'));
    await first.customAuth.addPermission(first.instance, permission('ann', 'a'));
    await first.customAuth.addBlack(first.instance, 'c');

    const { customAuth, instance } = await open(t, first.store);
    await customAuth.updateIdentity(instance, user('ann', 'new'));
    await customAuth.updatePermission(instance, { ...permission('ann', 'a'), effect: 'DENY' });

    assert.equal(customAuth.identityCount('plant'), 1);
    assert.equal(customAuth.permissionCount('plant'), 2);
    assert.equal(first.customAuth.identityCount('plant'), 1);
    assert.equal(first.customAuth.permissionCount('plant'), 2);
  });
});

describe('a long list', () => {
  test('refuses the cursor of another instance, or of none', async (t) => {
    const { customAuth, instance, instances } = await open(t);
    const other = await instances.create({ id: 'plant2' });
    await customAuth.addBlack(instance, 'c1');
    await customAuth.addBlack(instance, 'c2');
    const { nextToken } = await customAuth.queryBlack(instance, { size: 1 });

    assert.notEqual(nextToken, '');
    for (const [of, token] of [
      [other, nextToken],
      [instance, 'x'],
    ] as const) {
      const asked = customAuth.queryBlack(of, { size: 1, nextToken: token });
      assert.equal(await refusal(asked), 'invalidParameter');
    }
  });

  test('of the blacklist is whole, or one client', async (t) => {
    const { customAuth, instance } = await open(t);
    const clientIds = Array.from({ length: 300 }, (_, i) => `client/${i}%`);
    for (const clientId of clientIds) await customAuth.addBlack(instance, clientId);
    const listed: string[] = [];
    let nextToken = '';
    do {
      const page = await customAuth.queryBlack(instance, { nextToken, size: 99 });
      listed.push(...page.results);
      ({ nextToken } = page);
    } while (nextToken !== '');

    assert.deepEqual(listed.sort(), clientIds.sort());
    assert.deepEqual(await customAuth.queryBlack(instance, { clientId: 'client/7%', size: 1 }), {
      results: ['client/7%'],
      nextToken: '',
    });
  });

  test('of identities can be narrowed', async (t) => {
    const { customAuth, instance } = await open(t);
    const all = [user('ann'), user('anna'), client('ann', 'c1'), client('ann', 'c2')];
    for (const identity of all) await customAuth.addIdentity(instance, identity);
    const ask = async (query: object): Promise<string[]> => {
      const { results } = await customAuth.queryIdentities(instance, { ...query, size: 100 });
      return results
        .map(({ type, userName, clientId }) => `${type} ${userName} ${clientId}`)
        .sort();
    };

    assert.deepEqual(await ask({ userName: 'ann' }), [
      'CLIENT ann c1',
      'CLIENT ann c2',
      'USER ann ',
    ]);
    assert.deepEqual(await ask({ type: 'USER' }), ['USER ann ', 'USER anna ']);
    assert.deepEqual(await ask({ clientId: 'c2' }), ['CLIENT ann c2']);
    assert.deepEqual(await ask({ userName: 'nobody' }), []);
  });

  test('of permissions can be narrowed', async (t) => {
    const { customAuth, instance } = await open(t);
    await customAuth.addPermission(instance, permission('ann', 'a/#'));
    await customAuth.addPermission(instance, permission('ann', 'b/c'));
    await customAuth.addPermission(instance, { ...permission('anna', 'b/c'), type: 'CLIENT' });
    const ask = async (query: object): Promise<string[]> => {
      const { results } = await customAuth.queryPermissions(instance, { ...query, size: 100 });
      return results.map(({ type, identity, topic }) => `${type} ${identity} ${topic}`).sort();
    };

    assert.deepEqual(await ask({ identity: 'ann' }), ['USER ann a/#', 'USER ann b/c']);
    assert.deepEqual(await ask({ topic: 'b/c' }), ['CLIENT anna b/c', 'USER ann b/c']);
    assert.deepEqual(await ask({ type: 'CLIENT', topic: 'a/#' }), []);
  });
});

describe('permissions', () => {
  test('of user and client work together, and denial wins', async (t) => {
    const { customAuth, instance } = await open(t);
    await customAuth.addPermission(instance, permission('ann', 'a/#'));
    await customAuth.addPermission(instance, {
      type: 'CLIENT',
      identity: 'c',
      topic: 'a/secret',
      action: 'PUB',
      effect: 'DENY',
    });
    await customAuth.addPermission(instance, {
      type: 'CLIENT',
      identity: 'c',
      topic: 'own/c',
      action: 'SUB',
      effect: 'ALLOW',
    });

    const rules = await customAuth.rulesFor('plant', 'ann', 'c');

    assert.equal(rules.mayPublish('a/x'), true);
    assert.equal(rules.mayPublish('a/secret'), false);
    assert.equal(rules.maySubscribe('a/secret'), true);
    assert.equal(rules.maySubscribe('own/c'), true);
    assert.equal(rules.mayPublish('own/c'), false);
    assert.equal(rules.mayPublish('b'), false);
    const others = await customAuth.rulesFor('plant', 'ann', 'c2');
    assert.equal(others.mayPublish('a/secret'), true);
    assert.equal(others.maySubscribe('own/c'), false);
  });

  test('with a filter that is none are refused', async (t) => {
    const { customAuth, instance } = await open(t);

    for (const topic of ['', 'a#', 'a/#/b', 'a+/b', '\0']) {
      const adding = customAuth.addPermission(instance, permission('ann', topic));
      assert.equal(await refusal(adding), 'invalidParameter');
    }
  });

  test('change for live clients, each of which is told once', async (t) => {
    const scene = await open(t);
    const { customAuth, instance, clock } = scene;
    await customAuth.addIdentity(instance, user('ann'));
    await customAuth.addPermission(instance, permission('ann', 'a/#'));
    const found = await customAuth.findIdentity('plant', 'ann', 'c');
    const rules = await customAuth.rulesFor('plant', 'ann', 'c');
    const { live } = await connect(scene, found!, 'c');
    const { version } = rules;

    await customAuth.addPermission(instance, { ...permission('ann', 'a/b'), effect: 'DENY' });
    await customAuth.addPermission(instance, permission('ann', 'b'));
    clock.advance(1_000);

    assert.equal(rules.mayPublish('a/b'), false);
    assert.equal(rules.mayPublish('b'), true);
    assert.ok(rules.version > version);
    assert.equal(live.changeCount, 1);

    await customAuth.deletePermission(instance, permission('ann', 'a/b'));
    await customAuth.updatePermission(instance, { ...permission('ann', 'b'), action: 'SUB' });
    clock.advance(1_000);

    assert.equal(rules.mayPublish('a/b'), true);
    assert.equal(rules.mayPublish('b'), false);
    assert.equal(rules.maySubscribe('b'), true);
    assert.equal(live.changeCount, 2);
  });

  test('for a client identifier alone reach the client that had none', async (t) => {
    const scene = await open(t);
    const { customAuth, instance, clock } = scene;
    await customAuth.addIdentity(instance, user('ann'));
    const found = await customAuth.findIdentity('plant', 'ann', 'c');
    const one = await connect(scene, found!, 'c');
    const other = await connect(scene, found!, 'c2');

    await customAuth.addPermission(instance, { ...permission('c', 'a'), type: 'CLIENT' });
    clock.advance(1_000);

    assert.equal(one.live.changeCount, 1);
    assert.equal(other.live.changeCount, 0);
  });

  test('no longer concern a client that has gone', async (t) => {
    const scene = await open(t);
    const { customAuth, instance, clock } = scene;
    await customAuth.addIdentity(instance, user('ann'));
    const found = await customAuth.findIdentity('plant', 'ann', 'c');
    const { live, end } = await connect(scene, found!, 'c');

    end();
    await customAuth.addPermission(instance, permission('ann', 'a'));
    await customAuth.deleteIdentity(instance, user('ann'));
    await customAuth.addBlack(instance, 'c');
    clock.advance(1_000);

    assert.equal(live.changeCount, 0);
    assert.deepEqual(live.ends, []);
  });

  test('written by another node are heard as well', async (t) => {
    const scene = await open(t);
    const other = await open(t, scene.store);
    const rules = await scene.customAuth.rulesFor('plant', 'ann', 'c');

    await other.customAuth.addPermission(other.instance, permission('ann', 'a'));
    scene.clock.advance(1_000);

    assert.equal(rules.mayPublish('a'), true);
  });
});

describe('a live client', () => {
  test('ends where its identity is deleted or changed, and only then', async (t) => {
    const scene = await open(t);
    const { customAuth, instance } = scene;
    await customAuth.addIdentity(instance, user('ann'));
    await customAuth.addIdentity(instance, user('bob'));
    const ann = await customAuth.findIdentity('plant', 'ann', 'c1');
    const bob = await customAuth.findIdentity('plant', 'bob', 'c2');
    const first = await connect(scene, ann!, 'c1');
    const second = await connect(scene, bob!, 'c2');

    await customAuth.updateIdentity(instance, user('ann'));
    assert.deepEqual(first.live.ends, []);
    await customAuth.updateIdentity(instance, user('ann', 'changed'));
    assert.deepEqual(first.live.ends, ['credentialRevoked']);
    assert.deepEqual(second.live.ends, []);
    await customAuth.deleteIdentity(instance, user('bob'));
    assert.deepEqual(second.live.ends, ['credentialRevoked']);
  });

  test('ends where its identity went while it was on its way in', async (t) => {
    const scene = await open(t);
    const { customAuth, instance } = scene;
    await customAuth.addIdentity(instance, user('ann'));
    const ann = await customAuth.findIdentity('plant', 'ann', 'c1');

    await customAuth.deleteIdentity(instance, user('ann'));
    const { live } = await connect(scene, ann!, 'c1');

    await until(
      () => live.ends.length > 0,
      () => 'still connected',
    );
    assert.deepEqual(live.ends, ['credentialRevoked']);
  });

  test('ends where it is put on the blacklist', async (t) => {
    const scene = await open(t);
    const { customAuth, instance } = scene;
    const heard: string[] = [];
    customAuth.onBlacklisted((instanceId, clientId) => heard.push(`${instanceId} ${clientId}`));
    await customAuth.addIdentity(instance, user('ann'));
    const ann = await customAuth.findIdentity('plant', 'ann', 'c/1');
    const { live } = await connect(scene, ann!, 'c/1');
    const other = await connect(scene, ann!, 'c/2');

    await customAuth.addBlack(instance, 'c/1');
    await customAuth.deleteBlack(instance, 'c/1');

    assert.deepEqual(live.ends, ['clientBlacklisted']);
    assert.deepEqual(other.live.ends, []);
    assert.deepEqual(heard, ['plant c/1']);
  });
});

describe('the blacklist', () => {
  test('holds who was added, until deleted', async (t) => {
    const { customAuth, instance } = await open(t);
    await customAuth.addBlack(instance, 'c');

    assert.equal(await customAuth.isBlacklisted('plant', 'c'), true);
    assert.equal(await customAuth.isBlacklisted('plant', 'c2'), false);
    assert.equal(await customAuth.isBlacklisted('plant2', 'c'), false);
    assert.equal(await refusal(customAuth.addBlack(instance, 'c')), 'alreadyExists');
    await customAuth.deleteBlack(instance, 'c');
    assert.equal(await refusal(customAuth.deleteBlack(instance, 'c')), 'notFound');
    assert.equal(customAuth.isBlacklisted('plant', 'c'), false);
  });

  test('answers at once where an instance has none', async (t) => {
    const { customAuth } = await open(t);

    assert.equal(customAuth.isBlacklisted('plant', 'c'), false);
  });
});
