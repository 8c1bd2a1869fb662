/** Instances over a real store: what holds at once, what is refused, and what outlives a restart. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { openLmdbEngine } from '#adapters/lmdb';
import { openMemoryEngine } from '#adapters/memory';
import { createSeededRandom, Fault, type FaultCode, silentLog, systemClock } from '#base';
import type { Engine, Store } from '#ports';
import { type Instances, type InstancesOptions, openInstances } from './instances.ts';

const random = createSeededRandom(4);

function open(store: Store, options: Partial<InstancesOptions> = {}): Promise<Instances> {
  return openInstances({
    store,
    clock: systemClock,
    random,
    log: silentLog,
    defaultId: 'default',
    openDefault: false,
    ...options,
  });
}

function openStore(t: TestContext): Store {
  const engine = openMemoryEngine({ clock: systemClock });
  t.after(() => engine.close());
  return engine.store;
}

async function fresh(t: TestContext): Promise<Instances> {
  return open(openStore(t));
}

const refusedWith =
  (code: FaultCode) =>
  (error: unknown): boolean =>
    Fault.is(error, code);

test('the first start makes the open instance default, and later ones leave it removed', async (t) => {
  const store = openStore(t);
  const first = await open(store);
  assert.equal(first.find('default')?.kind, 'open');
  await first.remove('default');

  const second = await open(store);

  assert.equal(second.find('default'), undefined);
  assert.deepEqual([...second.all()], []);
});

test('another default is made where openDefault says so, and else not', async (t) => {
  const store = openStore(t);
  const without = await open(store, { defaultId: 'plant' });
  assert.deepEqual([...without.all()], []);

  const withIt = await open(store, { defaultId: 'plant', openDefault: true });

  assert.equal(withIt.find('plant')?.kind, 'open');
  assert.equal(without.find('plant')?.kind, 'open', 'the other one hears of it');
});

test('an instance is compatible, standard about overstepping, and named by its id', async (t) => {
  const instances = await fresh(t);

  const made = await instances.create({});

  assert.match(made.id, /^mqtt-[0-9a-f]{12}$/);
  assert.equal(made.name, made.id);
  assert.equal(made.kind, 'compatible');
  assert.equal(made.overstepping, 'reject');
  assert.equal(made.trailingSlash, false);
  assert.equal(made.withdrawn, false);
  assert.equal(made.limits.payloadBytesMax, 65_536);
  assert.equal(instances.find(made.id), made);
});

test('no two ids differ in case alone, and a host name finds either way', async (t) => {
  const instances = await fresh(t);
  const made = await instances.create({ id: 'Post-CN-1' });

  await assert.rejects(instances.create({ id: 'post-cn-1' }), refusedWith('alreadyExists'));

  assert.equal(instances.find('post-cn-1'), undefined);
  assert.equal(instances.findByHostLabel('POST-cn-1'), made);
});

test('names are checked, and belong to one instance whatever the case', async (t) => {
  const instances = await fresh(t);
  await instances.create({ id: 'one', name: 'Plant' });
  await instances.create({ id: 'two' });

  const impossible = { id: 'three', name: 'a b' };
  await assert.rejects(instances.create(impossible), refusedWith('invalidParameter'));
  await assert.rejects(instances.create({ name: 'plant' }), refusedWith('alreadyExists'));
  await assert.rejects(instances.update('two', { name: 'PLANT' }), refusedWith('alreadyExists'));
  await assert.rejects(instances.create({ id: 'a/b' }), refusedWith('invalidParameter'));
  await instances.update('one', { name: 'PLANT' });
  assert.equal(instances.find('one')?.name, 'PLANT');
});

test('of two that make the same instance one wins', async (t) => {
  const instances = await fresh(t);

  const both = await Promise.allSettled([
    instances.create({ id: 'one', kind: 'open' }),
    instances.create({ id: 'one', kind: 'compatible' }),
  ]);

  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  assert.equal([...instances.all()].filter(({ id }) => id === 'one').length, 1);
});

test('changes show in the object everybody holds, and its version grows', async (t) => {
  const instances = await fresh(t);
  const held = await instances.create({ id: 'one', limits: { payloadBytesMax: 10 } });
  const versions = [held.version];

  await instances.update('one', { limits: { subscriptionsPerClientMax: 5 } });
  versions.push(held.version);
  await instances.update('one', { overstepping: 'close', trailingSlash: true, withdrawn: true });
  versions.push(held.version);
  await instances.createGroup('one', 'GID_test', []);
  versions.push(held.version);
  await instances.createTopic('one', 'demo');
  versions.push(held.version);

  assert.deepEqual(
    [...new Set(versions)].sort((a, b) => a - b),
    versions,
  );
  assert.equal(held.limits.payloadBytesMax, 10);
  assert.equal(held.limits.subscriptionsPerClientMax, 5);
  assert.equal(held.overstepping, 'close');
  assert.equal(held.trailingSlash, true);
  assert.equal(held.withdrawn, true);
  await instances.update('one', { limits: { payloadBytesMax: undefined } });
  assert.equal(held.limits.payloadBytesMax, 65_536);
});

test('ways of authentication are set one by one', async (t) => {
  const instances = await fresh(t);
  const held = await instances.create({ id: 'one' });

  await instances.update('one', { authentication: { http: { url: 'http://a' } } });
  await instances.update('one', { authentication: { jwt: { issuer: 'b' } } });
  await instances.update('one', { authentication: { http: undefined } });

  assert.deepEqual(held.authentication, { jwt: { issuer: 'b' } });
});

test('changes at the same time are all made', async (t) => {
  const instances = await fresh(t);
  const held = await instances.create({ id: 'one' });

  await Promise.all([
    instances.update('one', { limits: { payloadBytesMax: 10 } }),
    instances.update('one', { limits: { topicCharsMax: 100 } }),
    instances.update('one', { overstepping: 'close' }),
    instances.addTags('one', [{ key: 'a', value: '1' }]),
    instances.addTags('one', [{ key: 'b', value: '2' }]),
  ]);

  assert.equal(held.limits.payloadBytesMax, 10);
  assert.equal(held.limits.topicCharsMax, 100);
  assert.equal(held.overstepping, 'close');
  assert.equal(instances.tags('one').length, 2);
});

test('what is not permitted changes nothing', async (t) => {
  const instances = await fresh(t);
  const held = await instances.create({ id: 'one' });
  const { version } = held;

  const limits = { payloadBytesMax: -7 };
  const changes = { overstepping: 'close', limits } as const;
  await assert.rejects(instances.update('one', changes), refusedWith('invalidParameter'));
  await assert.rejects(instances.update('none', {}), refusedWith('instanceUnknown'));

  assert.equal(held.version, version);
  assert.equal(held.overstepping, 'reject');
});

test('groups come and go', async (t) => {
  const instances = await fresh(t);
  const held = await instances.create({ id: 'one' });
  await instances.create({ id: 'two' });

  await instances.createGroup('one', 'GID_b', []).catch(() => {});
  await instances.createGroup('one', 'GID_bbb', [{ key: 'k', value: 'v' }]);
  await instances.createGroup('one', 'GID_aaa', []);

  assert.equal(held.hasGroup('GID_aaa'), true);
  assert.equal(held.hasGroup('GID_b'), false, 'too short to be one');
  assert.equal(instances.find('two')?.hasGroup('GID_aaa'), false);
  const groups = instances.groups('one');
  assert.deepEqual(
    groups.map(({ groupId }) => groupId),
    ['GID_aaa', 'GID_bbb'],
  );
  assert.deepEqual(groups[1]?.tags, [{ key: 'k', value: 'v' }]);
  const again = instances.createGroup('one', 'GID_aaa', []);
  await assert.rejects(again, refusedWith('alreadyExists'));
  await instances.deleteGroup('one', 'GID_aaa');
  assert.equal(held.hasGroup('GID_aaa'), false);
  await assert.rejects(instances.deleteGroup('one', 'GID_aaa'), refusedWith('notFound'));
  const nowhere = instances.createGroup('none', 'GID_aaa', []);
  await assert.rejects(nowhere, refusedWith('instanceUnknown'));
});

test('parent topics are one whatever the case, and are known as they were made', async (t) => {
  const instances = await fresh(t);
  const held = await instances.create({ id: 'one' });
  await instances.createTopic('one', 'Demo');

  await assert.rejects(instances.createTopic('one', 'demo'), refusedWith('alreadyExists'));
  await assert.rejects(instances.createTopic('one', 'a/b'), refusedWith('invalidParameter'));
  await assert.rejects(instances.deleteTopic('one', 'demo'), refusedWith('notFound'));

  assert.equal(held.hasParentTopic('Demo'), true);
  assert.equal(held.hasParentTopic('demo'), false);
  assert.deepEqual(
    instances.topics('one').map(({ topic }) => topic),
    ['Demo'],
  );
  await instances.deleteTopic('one', 'Demo');
  assert.equal(held.hasParentTopic('Demo'), false);
});

test('a bound on parent topics and groups holds for those made at the same time', async (t) => {
  const instances = await fresh(t);
  const limits = { parentTopicCountMax: 3, groupCountMax: 2 };
  await instances.create({ id: 'one', limits });

  const numbers = Array.from({ length: 8 }, (_, i) => i);
  const results = await Promise.all([
    Promise.allSettled(numbers.map((i) => instances.createTopic('one', `topic${i}`))),
    Promise.allSettled(numbers.map((i) => instances.createGroup('one', `GID_g${i}x`, []))),
  ]);

  assert.equal(instances.topics('one').length, 3);
  assert.equal(instances.groups('one').length, 2);
  for (const result of results.flat()) {
    if (result.status === 'rejected') assert.ok(Fault.is(result.reason, 'overCapacity'));
  }
  await instances.deleteTopic('one', instances.topics('one')[0]!.topic);
  await instances.createTopic('one', 'another');
  assert.equal(instances.topics('one').length, 3);
});

test('a removed instance says so, is not found, and leaves nothing to a successor', async (t) => {
  const store = openStore(t);
  const credentials = store.table('credentials');
  await credentials.put('one/device', Buffer.from('secret'));
  await credentials.put('onemore/device', Buffer.from('secret'));
  const instances = await open(store, { ownedTables: ['credentials'] });
  const held = await instances.create({ id: 'one', tags: [{ key: 'k', value: 'v' }] });
  await instances.createGroup('one', 'GID_test', []);
  await instances.createTopic('one', 'demo');

  await instances.remove('one');

  assert.equal(held.removed, true);
  assert.equal(instances.find('one'), undefined);
  assert.equal(instances.findByHostLabel('one'), undefined);
  await assert.rejects(instances.update('one', {}), refusedWith('instanceUnknown'));
  await assert.rejects(instances.remove('one'), refusedWith('instanceUnknown'));
  assert.equal(await credentials.get('one/device'), undefined);
  assert.notEqual(await credentials.get('onemore/device'), undefined);
  const successor = await instances.create({ id: 'one' });
  assert.notEqual(successor, held);
  assert.equal(held.removed, true);
  assert.equal(successor.removed, false);
  assert.equal(successor.hasGroup('GID_test'), false);
  assert.equal(successor.hasParentTopic('demo'), false);
  assert.deepEqual(instances.tags('one'), []);
});

test('a start goes on with a removal that a crash cut short', async (t) => {
  const store = openStore(t);
  const before = await open(store);
  await before.create({ id: 'one' });
  await before.createGroup('one', 'GID_test', []);
  const table = store.table('instances');
  const row = await table.get('one');
  const marked = { ...JSON.parse(Buffer.from(row!.value).toString()), leaving: true };
  await table.put('one', Buffer.from(JSON.stringify(marked)));

  const after = await open(store);

  assert.equal(after.find('one'), undefined);
  const create = (): Promise<boolean> =>
    after.create({ id: 'one' }).then(
      () => true,
      () => false,
    );
  while (!(await create())) await setImmediate();
  assert.equal(after.find('one')?.hasGroup('GID_test'), false);
});

test('tags are replaced by key, bounded, and taken off', async (t) => {
  const instances = await fresh(t);
  await instances.create({ id: 'one', tags: [{ key: 'a', value: '1' }] });

  await instances.addTags('one', [
    { key: 'a', value: '2' },
    { key: 'b', value: '' },
  ]);
  assert.deepEqual(instances.tags('one'), [
    { key: 'a', value: '2' },
    { key: 'b', value: '' },
  ]);

  const many = Array.from({ length: 19 }, (_, i) => ({ key: `t${i}`, value: '' }));
  await assert.rejects(instances.addTags('one', many), refusedWith('overCapacity'));
  for (const key of ['', 'x'.repeat(129), 'a\nb', '__proto__']) {
    const odd = instances.addTags('one', [{ key, value: '' }]);
    await assert.rejects(odd, refusedWith('invalidParameter'), key);
  }
  await instances.removeTags('one', ['a', 'nothing']);
  assert.deepEqual(instances.tags('one'), [{ key: 'b', value: '' }]);
  await instances.removeTags('one', 'all');
  assert.deepEqual(instances.tags('one'), []);
});

test('watchers hear of each change, and one that fails does not keep the others', async (t) => {
  const instances = await fresh(t);
  const heard: string[] = [];
  instances.watch(() => {
    throw new Error('a listener of no use');
  });
  const stop = instances.watch(({ id, removed }, change) =>
    heard.push(`${id} ${change} ${removed}`),
  );

  await instances.create({ id: 'one' });
  await instances.createTopic('one', 'demo');
  await instances.remove('one');
  stop();
  await instances.create({ id: 'two' });

  assert.equal(heard[0], 'one created false');
  assert.equal(heard[1], 'one changed false');
  assert.equal(heard.at(-1), 'one removed true');
  assert.equal(heard.filter((one) => one.includes('removed true')).length, 1);
});

test('another node acts on the changes of this one', async (t) => {
  const store = openStore(t);
  const here = await open(store);
  const there = await open(store);

  await here.create({ id: 'one' });
  await here.createGroup('one', 'GID_test', []);
  const seen = there.find('one');
  assert.equal(seen?.hasGroup('GID_test'), true);
  await there.deleteGroup('one', 'GID_test');
  await there.remove('one');

  assert.equal(here.find('one'), undefined);
  assert.equal(seen?.removed, true);
});

test('everything is there again after the store on disk was closed and opened', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'instances-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const engineIn = (): Promise<Engine> =>
    openLmdbEngine({ directory, clock: systemClock, log: silentLog });
  const before = await engineIn();
  const first = await open(before.store);
  const limits = { payloadBytesMax: 7, packetBytesMax: Number.POSITIVE_INFINITY };
  await first.create({ id: 'One', name: 'Plant', limits, tags: [{ key: 'k', value: 'v' }] });
  await first.update('One', { overstepping: 'close', authentication: { http: { a: [1] } } });
  await first.createGroup('One', 'GID_test', [{ key: 'g', value: '' }]);
  await first.createGroup('One', 'GID_gone', []);
  await first.deleteGroup('One', 'GID_gone');
  await first.createTopic('One', 'Demo');
  await first.create({ id: 'gone' });
  await first.remove('gone');
  const { createdMs, updatedMs } = first.find('One')!;
  await before.close();

  const after = await engineIn();
  t.after(() => after.close());
  const second = await open(after.store);

  const one = second.find('One')!;
  assert.deepEqual([...second.all()].map(({ id }) => id).sort(), ['One', 'default']);
  assert.deepEqual([one.name, one.overstepping, one.kind], ['Plant', 'close', 'compatible']);
  assert.deepEqual([one.createdMs, one.updatedMs], [createdMs, updatedMs]);
  assert.equal(one.limits.payloadBytesMax, 7);
  assert.equal(one.limits.packetBytesMax, Number.POSITIVE_INFINITY);
  assert.equal(one.limits.subscriptionsPerClientMax, 30);
  assert.deepEqual(one.authentication, { http: { a: [1] } });
  assert.deepEqual(
    second.groups('One').map(({ groupId }) => groupId),
    ['GID_test'],
  );
  assert.deepEqual(second.groups('One')[0]?.tags, [{ key: 'g', value: '' }]);
  assert.equal(one.hasParentTopic('Demo'), true);
  assert.deepEqual(second.tags('One'), [{ key: 'k', value: 'v' }]);
  await assert.rejects(second.createTopic('One', 'DEMO'), refusedWith('alreadyExists'));
});
