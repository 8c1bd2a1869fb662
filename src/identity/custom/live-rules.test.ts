/** Rule sets in memory: shared, bounded, and never stale, also when they left and came back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { systemClock } from '#base';
import { ManualClock } from '../../../test/harness/manual-clock.ts';
import { until } from '../../../test/harness/until.ts';
import type { LiveClient } from '../authenticator.ts';
import { permissionRowKey, writePermission } from './custom-records.ts';
import { openRuleSets, type RuleSets } from './live-rules.ts';
import type { Table } from '#ports';

function open(idleCountMax?: number): {
  readonly table: Table;
  readonly clock: ManualClock;
  readonly sets: RuleSets;
} {
  const table = openMemoryEngine({ clock: systemClock }).store.table('rules');
  const clock = new ManualClock();
  const failed = (error: unknown): never => assert.fail(String(error));
  return { table, clock, sets: openRuleSets(table, clock, failed, idleCountMax) };
}

async function allow(table: Table, identity: string, topic: string): Promise<void> {
  const permission = { type: 'USER', identity, topic, action: 'PUB', effect: 'ALLOW' } as const;
  await table.put(permissionRowKey('i', permission), writePermission(permission, true));
}

function client(told: () => void = () => undefined): LiveClient {
  return {
    clientId: 'c',
    address: '192.0.2.1',
    notify: () => undefined,
    disconnect: () => undefined,
    permissionsChanged: told,
  };
}

test('connections of one user share its set', async () => {
  const { sets } = open();

  const rules = await Promise.all(['c1', 'c2', 'c3'].map((id) => sets.rulesFor('i', 'ann', id)));

  assert.equal(rules.length, 3);
  assert.equal(sets.size, 4);
});

test('what nobody uses leaves memory, what is in use does not', async () => {
  const { sets } = open(10);
  const used = await sets.rulesFor('i', 'ann', 'c');
  const leave = used.join(client());

  for (let i = 0; i < 50; i++) await sets.rulesFor('i', `user-${i}`, `client-${i}`);
  assert.equal(sets.size, 12);
  assert.equal(sets.clientsOf('i', 'c').length, 1);

  leave();
  assert.equal(sets.size, 10);
  assert.equal(sets.clientsOf('i', 'c').length, 0);
});

test('rules that left memory before their client came are read again', async () => {
  const { table, sets } = open(2);
  let told = 0;
  const rules = await sets.rulesFor('i', 'ann', 'c');
  await sets.rulesFor('i', 'bob', 'd');
  await allow(table, 'ann', 'a');
  assert.equal(rules.mayPublish('a'), false);
  const { version } = rules;

  rules.join(client(() => told++));

  await until(
    () => told > 0 && rules.mayPublish('a'),
    () => 'not read again',
  );
  assert.ok(rules.version > version);
});

test('rules that left memory join those that took their place', async () => {
  const { table, clock, sets } = open(2);
  const early = await sets.rulesFor('i', 'ann', 'c');
  await sets.rulesFor('i', 'bob', 'd');
  await allow(table, 'ann', 'a');
  const late = await sets.rulesFor('i', 'ann', 'c');
  const { version } = early;
  assert.equal(late.mayPublish('a'), true);

  early.join(client());
  clock.advance(1_000);

  assert.equal(early.mayPublish('a'), true);
  assert.ok(early.version > version);
});

test('a change that overtakes the reading of the rows is not lost', async () => {
  const { table, clock, sets } = open();
  for (let i = 0; i < 300; i++) await allow(table, 'ann', `a/${i}`);

  const reading = sets.rulesFor('i', 'ann', 'c');
  const permission = { type: 'USER', identity: 'ann', topic: 'a/0' } as const;
  const removed = table.remove(permissionRowKey('i', permission));
  const added = allow(table, 'ann', 'b');
  const rules = await reading;
  await Promise.all([removed, added]);
  clock.advance(1_000);

  assert.equal(rules.mayPublish('a/0'), false);
  assert.equal(rules.mayPublish('a/299'), true);
  assert.equal(rules.mayPublish('b'), true);
});

test('who comes right after a change meets it, though a burst compiles once', async () => {
  const { table, clock, sets } = open();
  await allow(table, 'ann', 'a');
  const first = await sets.rulesFor('i', 'ann', 'c');
  assert.ok(first.mayPublish('a'));

  await table.remove(permissionRowKey('i', { type: 'USER', identity: 'ann', topic: 'a' }));
  await allow(table, 'ann', 'b');
  const again = await sets.rulesFor('i', 'ann', 'c');

  assert.equal(again.mayPublish('a'), false);
  assert.ok(again.mayPublish('b'));
  const { version } = again;
  clock.advance(1_000);
  assert.equal(again.version, version);
});
