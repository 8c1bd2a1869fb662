/** The rules of `Store`, shown on any engine. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault } from '#base';
import type { Row, RowChange } from '#ports';
import {
  append,
  type EngineUnderTest,
  messageOf,
  readAll,
  scanAll,
  until,
  write,
} from './engine-fixture.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (row: Row | undefined): string | undefined => row && Buffer.from(row.value).toString();

export function storeContract(engines: EngineUnderTest): void {
  const named = (rule: string): string => `${rule} (${engines.name})`;

  test(named('[ST1] get answers the newest write issued before it, durable or not'), async (t) => {
    const { engine } = await engines.open(t);
    const table = engine.store.table('t');

    table.write('a', bytes('1'));
    const first = table.get('a');
    table.write('a', bytes('2'));
    const second = table.get('a');
    table.write('a', undefined);

    assert.equal(text(await first), '1');
    assert.equal(text(await second), '2');
    assert.equal(await table.get('a'), undefined);
    assert.equal(engine.store.table('t'), table);
  });

  test(
    named('[ST2] of two claims on one row one wins and the other changes nothing'),
    async (t) => {
      const { engine } = await engines.open(t);
      const table = engine.store.table('t');

      const claims = [table.put('a', bytes('1'), 'absent'), table.put('a', bytes('2'), 'absent')];
      const [won, lost] = await Promise.all(claims);
      assert.ok(won! > 0);
      assert.equal(lost, undefined);
      assert.equal(text(await table.get('a')), '1');

      const again = [table.put('a', bytes('3'), won!), table.put('a', bytes('4'), won!)];
      const [next, stale] = await Promise.all(again);
      assert.equal(stale, undefined);
      assert.equal(text(await table.get('a')), '3');
      assert.equal(await table.remove('a', won!), false);
      assert.equal(await table.remove('a', next!), true);
      assert.equal(await table.remove('a'), false);
    },
  );

  test(
    named('[ST3] a version grows with every change, removal and re-creation included'),
    async (t) => {
      const { engine, reopen } = await engines.open(t);
      let table = engine.store.table('t');

      const first = (await table.put('a', bytes('1')))!;
      await table.remove('a');
      const second = (await table.put('a', bytes('2')))!;
      assert.ok(first > 0 && second > first);
      assert.equal((await table.get('a'))!.version, second);

      if (reopen === undefined) return;
      await table.remove('a');
      table = (await reopen()).store.table('t');
      const third = (await table.put('a', bytes('3')))!;
      assert.ok(third > second);
    },
  );

  test(
    named('[ST3] versions grow across a table; the newest one is known, durable or not'),
    async (t) => {
      const { engine, reopen } = await engines.open(t);
      let table = engine.store.table('t');
      const none = table.newest();

      const puts = [table.put('b', bytes('1')), table.put('a', bytes('1'))];
      const two = table.newest();
      table.write('c', bytes('1'));
      const later = (await table.put('b', bytes('2')))!;
      const [first, second] = await Promise.all(puts);
      assert.ok(none < first! && first! < second! && second! <= two && two < later);
      assert.ok((await table.get('c'))!.version > two);
      assert.ok(later <= table.newest());

      if (reopen === undefined) return;
      table = (await reopen()).store.table('t');
      assert.ok(later <= table.newest());
      assert.ok(table.newest() < (await table.put('a', bytes('3')))!);
    },
  );

  test(named('[ST4] put, remove and settled answer only once the change is durable'), async (t) => {
    const { engine } = await engines.open(t);
    const table = engine.store.table('t');
    let within = true;
    let answered = 0;
    const note = (): void => {
      assert.equal(within, false);
      answered++;
    };

    const put = table.put('a', bytes('1')).then(note);
    const removed = table.remove('a').then(note);
    table.write('b', bytes('1'), { settled: note });
    assert.ok(engine.pendingBytes > 0);
    within = false;
    await Promise.all([put, removed]);
    await until('the write settles', () => answered === 3);
    assert.equal(engine.pendingBytes, 0);
  });

  test(named('[ST5] writes settle in the order of the calls, appends among them'), async (t) => {
    const { engine } = await engines.open(t);
    const table = engine.store.table('t');
    const log = engine.log.instance('i');
    const order: number[] = [];

    for (let i = 0; i < 300; i++) {
      if (i % 3 === 0) {
        const done = (): number => order.push(i);
        log.append(messageOf('t'), { appended: done, refused: done });
      } else {
        table.write(`k${i % 7}`, i % 5 === 0 ? undefined : bytes(`${i}`), {
          settled: () => order.push(i),
        });
      }
      if (i % 50 === 0) await new Promise(setImmediate);
    }

    await until('all settle', () => order.length === 300);
    assert.deepEqual(
      order,
      Array.from({ length: 300 }, (_, i) => i),
    );
  });

  test(named('[ST6] scan yields every row of the prefix once, in bounded pages'), async (t) => {
    const { engine, reopen } = await engines.open(t);
    let table = engine.store.table('t');
    const expected = new Set<string>();
    for (let i = 0; i < 1000; i++) {
      table.write(`a/${i}`, bytes(`${i}`));
      expected.add(`a/${i}`);
    }
    await write(table, 'b/1', bytes('x'));
    if (reopen !== undefined) table = (await reopen()).store.table('t');
    for (let i = 0; i < 100; i++) table.write(`a/${i}`, undefined);
    for (let i = 0; i < 100; i++) expected.delete(`a/${i}`);
    for (let i = 1000; i < 1300; i++) {
      table.write(`a/${i}`, bytes(`${i}`));
      expected.add(`a/${i}`);
    }
    table.write('a/500', bytes('new'));

    const seen = new Map<string, string>();
    let pages = 0;
    for await (const page of table.scan('a/')) {
      assert.ok(page.length <= 1000);
      for (const row of page) {
        assert.equal(seen.has(row.key), false, 'once');
        seen.set(row.key, text(row)!);
      }
      table.write(`a/later-${pages++}`, bytes('x'));
    }

    for (const key of expected) assert.ok(seen.has(key), key);
    for (const key of seen.keys()) assert.ok(expected.has(key) || key.startsWith('a/later-'), key);
    assert.equal(seen.get('a/500'), 'new');
    assert.ok(pages > 1);
    assert.equal((await scanAll(table, 'b/')).length, 1);
    assert.equal((await scanAll(table, 'c')).length, 0);
  });

  test(named('[ST6] scan keeps the order of the bytes of keys, also behind a key'), async (t) => {
    const { engine, reopen } = await engines.open(t);
    let table = engine.store.table('t');
    const levels = ['', 'B', 'a', 'é', '\uffee', '\u{1f600}', 'a b', '0'];
    const keys = levels.flatMap((one) => levels.map((two) => `k/${one}/${two}`));
    const late = (index: number): boolean => index % 3 === 0;
    for (const [index, key] of keys.entries()) {
      if (!late(index)) table.write(key, bytes('1'));
    }
    await write(table, 'l', bytes('1'));
    if (reopen !== undefined) table = (await reopen()).store.table('t');
    for (const [index, key] of keys.entries()) {
      if (late(index)) table.write(key, bytes('1'));
      else if (index % 5 === 0) table.write(key, bytes('2'));
    }
    const sorted = keys.sort((one, other) => Buffer.compare(bytes(one), bytes(other)));
    const found = async (after?: string): Promise<string[]> => {
      const seen: string[] = [];
      for await (const page of table.scan('k/', after)) seen.push(...page.map((row) => row.key));
      return seen;
    };

    assert.deepEqual(await found(), sorted);
    for (const [index, key] of sorted.entries()) {
      assert.deepEqual(await found(key), sorted.slice(index + 1));
      assert.deepEqual(await found(`${key}\u0001`), sorted.slice(index + 1));
    }
    assert.deepEqual(await found('a'), sorted);
    assert.deepEqual(await found('l'), []);
  });

  test(named('[ST6] long keys have an order of their own, and a place behind each'), async (t) => {
    const { engine, reopen } = await engines.open(t);
    let table = engine.store.table('t');
    const keys = Array.from({ length: 24 }, (_, i) => `${'x'.repeat(2000)}${i}`);
    for (const [index, key] of keys.entries()) if (index % 2 === 0) table.write(key, bytes('1'));
    await write(table, 'x', bytes('1'));
    if (reopen !== undefined) table = (await reopen()).store.table('t');
    for (const [index, key] of keys.entries()) if (index % 2 === 1) table.write(key, bytes('1'));

    const all = (await scanAll(table, 'x')).map((row) => row.key);

    assert.equal(all[0], 'x');
    assert.equal(new Set(all).size, 25);
    for (const [index, key] of all.entries()) {
      const rest: string[] = [];
      for await (const page of table.scan('x', key)) rest.push(...page.map((row) => row.key));
      assert.deepEqual(rest, all.slice(index + 1));
    }
  });

  test(named('[ST6] a page ends with the row that makes it large'), async (t) => {
    const { engine } = await engines.open(t);
    const table = engine.store.table('t');
    for (let i = 0; i < 9; i++) table.write(`k${i}`, Buffer.alloc(200_000));

    const pages: number[] = [];
    for await (const page of table.scan('k')) pages.push(page.length);

    assert.deepEqual(pages, [2, 2, 2, 2, 1]);
  });

  test(named('[ST7] a key may have 65,535 bytes, a value 16 MiB'), async (t) => {
    const { engine, reopen } = await engines.open(t);
    let table = engine.store.table('t');
    const long = 'x'.repeat(65_535);
    const other = `${'x'.repeat(65_534)}y`;
    const wide = 'ä'.repeat(32_767);
    const large = Buffer.alloc(16 * 1024 * 1024, 7);

    const version = await table.put(long, bytes('long'));
    await table.put(other, bytes('other'));
    await table.put(wide, bytes('wide'));
    await table.put('large', large);
    if (reopen !== undefined) table = (await reopen()).store.table('t');

    assert.equal(text(await table.get(long)), 'long');
    assert.equal((await table.get(long))!.version, version);
    assert.equal(text(await table.get(other)), 'other');
    assert.equal(text(await table.get(wide)), 'wide');
    assert.ok(large.equals((await table.get('large'))!.value));
    assert.deepEqual(
      (await scanAll(table, 'x'.repeat(65_535))).map((row) => row.key),
      [long],
    );
    assert.equal((await scanAll(table, 'x'.repeat(3000))).length, 2);
    assert.equal((await scanAll(table, 'ä')).length, 1);
    assert.equal(await table.remove(long), true);
    assert.equal(await table.get(long), undefined);
  });

  test(
    named('[ST8] a watcher hears every later change of its prefix once, in order'),
    async (t) => {
      const { engine } = await engines.open(t);
      const table = engine.store.table('t');
      await write(table, 'a/0', bytes('before'));
      const heard: RowChange[] = [];
      const stop = table.watch('a/', (change) => heard.push(change));

      table.write('a/1', bytes('1'));
      assert.equal(heard.length, 0, 'not before it is durable');
      table.write('b/1', bytes('x'));
      table.write('a/1', undefined);
      const version = await table.put('a/2', bytes('2'));
      await until('three changes', () => heard.length === 3);
      stop();
      await write(table, 'a/3', bytes('x'));

      assert.deepEqual(
        heard.map((change) => change.key),
        ['a/1', 'a/1', 'a/2'],
      );
      assert.equal(heard[1]!.value, undefined);
      assert.equal(heard[2]!.version, version);
      assert.equal(heard.length, 3);
    },
  );

  test(named('[ST9] what cannot be made durable is refused without a trace'), async (t) => {
    const full = await engines.openFull(t);
    if (typeof full === 'string') {
      t.skip(full);
      return;
    }
    const { engine, tooMany } = full;
    const table = engine.store.table('t');
    const kept = await table.put('kept', bytes('1'));
    const isFull = (error: unknown): boolean =>
      Fault.is(error, 'storeFull') || Fault.is(error, 'storeUnavailable');
    const heard: RowChange[] = [];
    table.watch('', (change) => heard.push(change));

    await assert.rejects(table.put('large', Buffer.alloc(tooMany)), isFull);
    assert.equal(await table.get('large'), undefined);
    const together = [
      write(table, 'kept', bytes('2')),
      table.put('large', Buffer.alloc(tooMany)),
      table.remove('kept'),
    ];
    for (const one of together) await assert.rejects(one, isFull);
    assert.equal((await table.get('kept'))!.version, kept);
    assert.equal((await scanAll(table, '')).length, 1);
    assert.deepEqual(heard, []);

    await full.makeRoom();
    await until('it works again', () =>
      table.put('large', Buffer.alloc(tooMany)).then(
        () => true,
        () => false,
      ),
    );
    assert.equal((await table.get('large'))!.value.length, tooMany);
  });

  test(
    named('[ST10] writes and appends of one synchronous run stand or fall together'),
    async (t) => {
      const full = await engines.openFull(t);
      if (typeof full === 'string') {
        t.skip(full);
        return;
      }
      const { engine, tooMany } = full;
      const table = engine.store.table('t');
      const log = engine.log.instance('i');

      const run = [
        append(log, messageOf('t', 'small')),
        write(table, 'small', bytes('1')),
        append(log, messageOf('t', '', { payload: Buffer.alloc(tooMany) })),
        write(table, 'small-too', bytes('1')),
      ];
      const results = await Promise.allSettled(run);

      assert.deepEqual(
        results.map((one) => one.status),
        Array(4).fill('rejected'),
      );
      assert.equal((await scanAll(table, '')).length, 0);
      assert.equal((await readAll(log, ['#'])).length, 0);
    },
  );

  if (engines.keeps)
    test(named('[ST11] what was durable is there after the store was opened again'), async (t) => {
      const { engine, reopen } = await engines.open(t);
      assert.ok(reopen !== undefined);
      const table = engine.store.table('t');
      const version = await table.put('a', bytes('1'));
      await write(engine.store.table('other'), 'a', bytes('2'));
      await write(table, 'gone', bytes('x'));
      await write(table, 'gone', undefined);

      const again = await reopen();

      assert.equal(text(await again.store.table('t').get('a')), '1');
      assert.equal((await again.store.table('t').get('a'))!.version, version);
      assert.equal(text(await again.store.table('other').get('a')), '2');
      assert.equal(await again.store.table('t').get('gone'), undefined);
    });

  test(named('[ST12] values are copied on their way in and out'), async (t) => {
    const { engine, reopen } = await engines.open(t);
    let table = engine.store.table('t');
    const value = Buffer.from('abc');

    table.write('a', value);
    value.fill(0);
    await write(table, 'b', bytes('x'));
    const first = (await table.get('a'))!;
    assert.equal(text(first), 'abc');
    first.value.fill(0);
    for (const row of await scanAll(table, 'a')) row.value.fill(0);
    assert.equal(text(await table.get('a')), 'abc');
    if (reopen === undefined) return;
    table = (await reopen()).store.table('t');
    (await table.get('a'))!.value.fill(0);
    for (const row of await scanAll(table, 'a')) row.value.fill(0);
    assert.equal(text(await table.get('a')), 'abc');
  });
}
