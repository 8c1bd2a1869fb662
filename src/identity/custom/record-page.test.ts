/** Pages of a list: everything once, in order, whatever the sizes and prefixes are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { openMemoryEngine } from '#adapters/memory';
import { Fault, systemClock } from '#base';
import type { Table } from '#ports';
import { type RecordPage, readPage } from './record-page.ts';

const PREFIXES = ['i/a/', 'i/b/', 'i/c/'] as const;
const VALUE = Buffer.of(1);

async function tableOf(keys: Iterable<string>): Promise<Table> {
  const table = openMemoryEngine({ clock: systemClock }).store.table('rows');
  await Promise.all([...keys].map((key) => table.put(key, VALUE)));
  return table;
}

function ask(table: Table, size: number, nextToken: string): Promise<RecordPage<string>> {
  return readPage(
    table,
    { size, nextToken },
    {
      home: 'i/',
      prefixes: PREFIXES,
      takes: (key) => !key.endsWith('!'),
      read: (row) => row.key,
    },
  );
}

const anyKey = fc
  .tuple(fc.constantFrom(...PREFIXES, 'i/d/', 'j/a/'), fc.stringMatching(/^[a-c/é]{0,3}!?$/))
  .map(([prefix, name]) => prefix + name);

test('the pages of a list hold each row that is asked for, once and in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(anyKey, { maxLength: 60 }),
      fc.integer({ min: 1, max: 7 }),
      async (keys, size) => {
        const table = await tableOf(keys);
        const listed: string[] = [];
        let nextToken = '';
        do {
          const page = await ask(table, size, nextToken);
          assert.ok(page.results.length === size || page.nextToken === '');
          listed.push(...page.results);
          ({ nextToken } = page);
        } while (nextToken !== '');

        const expected = keys
          .filter((key) => PREFIXES.some((prefix) => key.startsWith(prefix)))
          .filter((key) => !key.endsWith('!'));
        assert.deepEqual(listed, expected.sort());
      },
    ),
    { numRuns: 200 },
  );
});

test('rows that come and go between pages shift nothing', async () => {
  const table = await tableOf(['i/a/1', 'i/a/3', 'i/a/5', 'i/b/7']);

  const first = await ask(table, 2, '');
  await table.remove('i/a/1');
  await table.remove('i/a/3');
  await table.put('i/a/2', VALUE);
  await table.put('i/a/4', VALUE);
  const second = await ask(table, 3, first.nextToken);

  assert.deepEqual(first.results, ['i/a/1', 'i/a/3']);
  assert.deepEqual(second, { results: ['i/a/4', 'i/a/5', 'i/b/7'], nextToken: '' });
});

test('a cursor of another list is refused', async () => {
  const table = await tableOf(['i/a/1', 'j/a/1']);

  for (const nextToken of ['x', '???', Buffer.from('j/a/1').toString('base64url')]) {
    await assert.rejects(ask(table, 1, nextToken), (error) => Fault.is(error, 'invalidParameter'));
  }
});
