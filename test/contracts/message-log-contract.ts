/** The rules of `MessageLog`, shown on any engine. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '#base';
import { FilterSet, type LogEntry, type LogFilter, matchesFilter, type Position } from '#ports';
import {
  append,
  type EngineUnderTest,
  messageOf,
  payloadOf,
  propertiesOf,
  readAll,
  scanAll,
  textOf,
  until,
  wordsOf,
  write,
} from './engine-fixture.ts';

const NEVER = Number.POSITIVE_INFINITY;

export function messageLogContract(engines: EngineUnderTest): void {
  const named = (rule: string): string => `${rule} (${engines.name})`;

  test(named('[ML1] positions grow in the order of the append calls'), async (t) => {
    const { engine } = await engines.open(t);
    const log = engine.log.instance('i');

    const positions = await Promise.all(
      Array.from({ length: 500 }, (_, i) => append(log, messageOf(`t/${i % 3}`, `${i}`))),
    );

    for (let i = 1; i < positions.length; i++) assert.ok(positions[i]! > positions[i - 1]!);
    assert.ok(positions[0]! > 0);
    assert.equal(log.end(), positions.at(-1));
    assert.equal(engine.log.instance('i'), log);
  });

  test(named('[ML15] issued counts what is not durable yet'), async (t) => {
    const { engine } = await engines.open(t);
    const log = engine.log.instance('i');
    const first = await append(log, messageOf('t'));
    assert.equal(log.issued(), first);

    const under = append(log, messageOf('t'));
    const issued = log.issued();

    assert.equal(log.end(), first, 'not durable within the call');
    assert.equal(issued, await under);
    assert.equal(log.end(), issued);
    await write(engine.store.table('rows'), 'key', Buffer.from('value'));
    assert.equal(log.issued(), issued, 'rows are not messages');
  });

  test(named('[ML2] appended is called in order and never within the call'), async (t) => {
    const { engine } = await engines.open(t);
    const log = engine.log.instance('i');
    const told: number[] = [];
    const positions: Position[] = [];

    for (let i = 0; i < 200; i++) {
      log.append(messageOf('t'), {
        appended: (position) => {
          told.push(i);
          positions.push(position);
          assert.ok(log.end() >= position, 'durable by then');
        },
        refused: () => assert.fail('refused'),
      });
      assert.equal(told.includes(i), false);
    }

    await until('all are told', () => told.length === 200);
    assert.deepEqual(
      told,
      Array.from({ length: 200 }, (_, i) => i),
    );
    const sorted = positions.toSorted((a, b) => a - b);
    assert.deepEqual(positions, sorted);
  });

  test(named('[ML3] what cannot be made durable is refused and never read'), async (t) => {
    const full = await engines.openFull(t);
    if (typeof full === 'string') {
      t.skip(full);
      return;
    }
    const log = full.engine.log.instance('i');
    const before = await append(log, messageOf('t', 'before'));
    const large = messageOf('t', '', { payload: Buffer.alloc(full.tooMany) });

    await assert.rejects(append(log, large), (error) => Fault.is(error, 'storeFull'));
    assert.equal(log.end(), before);
    assert.deepEqual((await readAll(log, ['#'])).map(textOf), ['before']);
    await full.makeRoom();
    await until('it works again', () =>
      append(log, messageOf('t', 'after')).then(
        () => true,
        () => false,
      ),
    );

    assert.deepEqual((await readAll(log, ['t'])).map(textOf), ['before', 'after']);
    assert.ok(log.end() > before);
  });

  test(named('[ML4] read answers what is durable and matches, once, oldest first'), async (t) => {
    const { engine, reopen } = await engines.open(t);
    let log = engine.log.instance('i');
    for (let i = 0; i < 300; i++) await0(append(log, messageOf(`a/${i % 10}/b`, `${i}`)));
    const last = await append(log, messageOf('$sys/a', 'hidden'));
    for (const again of [false, true]) {
      if (again && reopen !== undefined) log = (await reopen()).log.instance('i');

      const all = await readAll(log, ['a/3/b', 'a/+/b', '#', 'a/#']);
      assert.deepEqual(
        all.map(textOf),
        Array.from({ length: 300 }, (_, i) => `${i}`),
      );
      const some = await readAll(log, ['a/3/b', 'a/7/b']);
      assert.deepEqual(
        some.map(textOf),
        Array.from({ length: 300 }, (_, i) => `${i}`).filter((text) => /[37]$/.test(text)),
      );
      const rest = await readAll(log, ['#'], { after: all[250]!.position });
      assert.equal(rest.length, 49);
      assert.equal((await readAll(log, ['$sys/a']))[0]!.position, last);
    }
    const pending = append(log, messageOf('new'));
    assert.equal((await log.read(page(['new'], 0))).entries.length <= 1, true);
    await pending;
    assert.equal((await readAll(log, ['new'])).length, 1);
    assert.deepEqual(await log.read(page([], 0)).then((one) => one.complete), true);
  });

  test(named('[ML5] reading on from next misses nothing and repeats nothing'), async (t) => {
    const { engine } = await engines.open(t);
    const log = engine.log.instance('i');
    let issued = 0;
    let stop = false;
    const writing = (async () => {
      while (!stop) {
        const run: Promise<Position>[] = [];
        for (let i = 0; i < 50; i++)
          run.push(append(log, messageOf(`t/${issued % 20}`, `${issued++}`)));
        await Promise.all(run);
        await new Promise(setImmediate);
      }
    })();

    const seen: number[] = [];
    let after: Position = 0;
    while (seen.length < 3000) {
      const one = await log.read(page(['t/+', 't/3'], after, 37));
      for (const entry of one.entries) seen.push(Number(textOf(entry)));
      assert.ok(one.next >= after);
      after = one.next;
    }
    stop = true;
    await writing;
    for (;;) {
      const one = await log.read(page(['t/#'], after, 1000));
      for (const entry of one.entries) seen.push(Number(textOf(entry)));
      after = one.next;
      if (one.complete) break;
    }

    assert.deepEqual(
      seen,
      Array.from({ length: issued }, (_, i) => i),
    );
    assert.equal((await log.read(page(['nothing'], 0))).next >= log.end(), true);
  });

  test(named('[ML6] a filter of its own after hides older messages from it alone'), async (t) => {
    const { engine } = await engines.open(t);
    const log = engine.log.instance('i');
    const positions: Position[] = [];
    for (let i = 0; i < 20; i++) positions.push(await append(log, messageOf(`t/${i % 2}`, `${i}`)));
    const wild = { filter: 't/#', after: positions[15]! };

    const exact = await readAll(log, [
      { filter: 't/0', after: positions[9]! },
      { filter: 't/1', after: 0 },
    ]);
    const mixed = await readAll(log, [wild, { filter: 't/1', after: positions[12]! }]);

    assert.deepEqual(
      exact.map((entry) => Number(textOf(entry))),
      [1, 3, 5, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
    );
    assert.deepEqual(
      mixed.map((entry) => Number(textOf(entry))),
      [13, 15, 16, 17, 18, 19],
    );
  });

  test(named('[ML7] filters match as matchesFilter does, whatever the way'), async (t) => {
    const { engine, reopen } = await engines.open(t);
    let log = engine.log.instance('i');
    const level = fc.constantFrom('a', 'b', '', 'ä', '$x');
    const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
    const topics = fc.sample(topic, { numRuns: 400, seed: 7 }).filter((one) => one !== '');
    const entries: { topic: string; position: Position }[] = [];
    for (const one of topics) {
      entries.push({ topic: one, position: await append(log, messageOf(one)) });
    }
    const part = fc.constantFrom('a', 'b', '', 'ä', '$x', '+');
    const filter = fc
      .tuple(fc.array(part, { maxLength: 3 }), fc.boolean())
      .map(([levels, hash]) => [...levels, ...(hash ? ['#'] : [])].join('/'))
      .filter((one) => one !== '');
    const place = fc.nat({ max: entries.length - 1 });
    const wanted = fc.oneof(
      fc.array(fc.tuple(filter, place), { minLength: 1, maxLength: 5 }),
      fc.array(fc.tuple(filter, place), { minLength: 10, maxLength: 300, size: 'max' }),
    );
    const holds = async (): Promise<void> => {
      const check = async (
        chosen: [string, number][],
        from: number,
        countMax: number,
      ): Promise<void> => {
        const filters: LogFilter[] = chosen.map(([one, index]) => ({
          filter: one,
          after: index % 3 === 0 ? entries[index]!.position : 0,
        }));
        const after = from % 2 === 0 ? entries[from]!.position : 0;
        const expected = entries.filter(
          ({ topic: one, position }) =>
            position > after &&
            filters.some((f) => position > f.after && matchesFilter(f.filter, one)),
        );
        const found = await readAll(log, filters, { after, countMax });
        assert.deepEqual(
          found.map((entry) => ({ topic: entry.topic, position: entry.position })),
          expected,
        );
      };
      const property = fc.asyncProperty(wanted, place, fc.integer({ min: 1, max: 50 }), check);
      await fc.assert(property, { numRuns: 150 });
    };

    await holds();
    if (reopen === undefined) return;
    log = (await reopen()).log.instance('i');
    await holds();
  });

  test(named('[ML8] a page holds countMax messages or stops at bytesMax'), async (t) => {
    const { engine } = await engines.open(t);
    const log = engine.log.instance('i');
    for (let i = 0; i < 50; i++) await append(log, messageOf('t', 'x'.repeat(100)));

    for (const filter of ['t', '#']) {
      assert.equal((await log.read(page([filter], 0, 7))).entries.length, 7);
      const bytes = { ...page([filter], 0), bytesMax: 250 };
      assert.equal((await log.read(bytes)).entries.length, 3);
      const tiny = { ...page([filter], 0), bytesMax: 1 };
      const one = await log.read(tiny);
      assert.equal(one.entries.length, 1);
      assert.equal(one.complete, false);
      assert.equal(one.next, one.entries[0]!.position);
    }
  });

  test(named('[ML9] retention removes the oldest first, by age, bytes and count'), async (t) => {
    const { engine, clock, reopen } = await engines.open(t);
    let log = engine.log.instance('i');
    const positions: Position[] = [];
    const add = async (count: number, text: string): Promise<void> => {
      const acceptedMs = clock.nowMs();
      for (let i = 0; i < count; i++) {
        positions.push(await append(log, messageOf(`t/${i % 5}`, text, { acceptedMs })));
      }
    };
    const keeps = (count: number) => async (): Promise<boolean> => {
      const all = await readAll(log, ['#']);
      return log.size().count === count && all.length === count;
    };
    await add(500, '0123456789');
    assert.equal(log.size().count, 500);
    assert.equal(log.size().bytes, 500 * 13);
    assert.equal(log.floor(), 0);

    log.retain({ ageMs: NEVER, bytesMax: NEVER, countMax: 300 });
    await until('count', keeps(300));
    assert.equal(log.floor(), positions[199]);
    assert.equal((await readAll(log, ['t/0'], { after: positions[10]! })).length, 60);
    assert.deepEqual(await log.get([positions[199]!]), [undefined]);
    if (reopen !== undefined) {
      log = (await reopen()).log.instance('i');
      assert.equal(log.floor(), positions[199]);
      assert.ok(await keeps(300)());
    }
    log.retain({ ageMs: NEVER, bytesMax: 100 * 13, countMax: NEVER });
    await until('bytes', keeps(100));
    await add(10, '0123456789');
    await until('bytes go on', keeps(100));
    if (reopen !== undefined) log = (await reopen()).log.instance('i');
    log.retain({ ageMs: 5000, bytesMax: NEVER, countMax: NEVER });
    clock.advance(4000);
    await add(7, 'young');
    assert.ok(await keeps(107)());
    clock.advance(2000);
    await until('age', keeps(7));
    clock.advance(10_000);
    await until('all are gone', keeps(0));
    assert.equal(log.end(), positions.at(-1));
    assert.equal(log.floor(), positions.at(-1));
    if (reopen !== undefined) {
      log = (await reopen()).log.instance('i');
      assert.equal(log.end(), positions.at(-1));
    }
    const next = await append(log, messageOf('t', 'next', { acceptedMs: clock.nowMs() }));
    assert.ok(next > positions.at(-1)!);
    assert.deepEqual((await readAll(log, ['#'])).map(textOf), ['next']);
  });

  test(
    named('[ML10] get answers the messages at these positions, undefined for others'),
    async (t) => {
      const { engine } = await engines.open(t);
      const log = engine.log.instance('i');
      const other = engine.log.instance('other');
      const positions: Position[] = [];
      for (let i = 0; i < 100; i++) {
        positions.push(await append(log, messageOf(`t/${i}`, `${i}`)));
        if (i % 10 === 0) await append(other, messageOf('x', 'other'));
      }
      const message = messageOf('all', 'fields', {
        properties: Buffer.from([1, 2, 3]),
        qos: 2,
        retain: true,
        publisher: 'ünïcode',
        acceptedMs: 123_456_789_012.5,
        expiresMs: 987_654_321_098,
      });
      const full = await append(log, message);

      const asked = [positions[50]!, positions[3]!, log.end() + 1000, full, positions[50]!, 0];
      const found = await log.get(asked);

      assert.deepEqual(found.map(textOf), ['50', '3', undefined, 'fields', '50', undefined]);
      assert.equal(found[3]!.position, full);
      assert.deepEqual(wordsOf(found[3]!), wordsOf(message));
    },
  );

  if (engines.keeps)
    test(named('[ML11] what was durable is there after the log was opened again'), async (t) => {
      const { engine, reopen } = await engines.open(t);
      assert.ok(reopen !== undefined);
      let log = engine.log.instance('i');
      let end: Position = 0;
      const texts: string[] = [];
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < 100; i++) {
          texts.push(`${round}/${i}`);
          const position = await append(log, messageOf(`t/${i % 3}`, `${round}/${i}`));
          assert.ok(position > end);
          end = position;
        }
        log = (await reopen()).log.instance('i');
        assert.equal(log.end(), end);
        assert.deepEqual((await readAll(log, ['t/#'])).map(textOf), texts);
        assert.equal((await readAll(log, ['t/1'])).length, 33 * (round + 1));
        assert.equal(log.size().count, texts.length);
      }
    });

  test(named('[ML12] the logs of two instances never meet'), async (t) => {
    const { engine, reopen } = await engines.open(t);
    for (let i = 0; i < 50; i++) {
      await append(engine.log.instance(`i${i % 2}`), messageOf('t', `${i}`));
    }
    const open = reopen === undefined ? engine : await reopen();

    for (const filter of ['t', '#']) {
      const even = await readAll(open.log.instance('i0'), [filter]);
      assert.equal(even.length, 25);
      assert.ok(even.every((entry) => Number(textOf(entry)) % 2 === 0));
    }
    assert.equal((await readAll(open.log.instance('i'), ['#'])).length, 0);
    open.log.instance('i0').retain({ ageMs: NEVER, bytesMax: NEVER, countMax: 1 });
    await until('retention', () => open.log.instance('i0').size().count === 1);
    assert.equal(open.log.instance('i1').size().count, 25);
  });

  test(named('[ML13] bytes are copied on their way in and out'), async (t) => {
    const { engine } = await engines.open(t);
    const log = engine.log.instance('i');
    const message = messageOf('t', 'abc', { properties: Buffer.from('def') });

    const issued = append(log, message);
    message.payload.fill(0);
    message.properties.fill(0);
    const position = await issued;
    for (let round = 0; round < 2; round++) {
      const found: (LogEntry | undefined)[] = [
        ...(await readAll(log, ['t'])),
        ...(await readAll(log, ['#'])),
        ...(await log.get([position])),
      ];
      for (const entry of found) {
        assert.equal(textOf(entry), 'abc');
        assert.equal(propertiesOf(entry!).toString(), 'def');
        payloadOf(entry!).fill(0);
        propertiesOf(entry!).fill(0);
      }
    }
  });

  test(
    named('[ML14] appends and writes of one synchronous run become durable together'),
    async (t) => {
      const { engine } = await engines.open(t);
      const log = engine.log.instance('i');
      const table = engine.store.table('t');
      let told = 0;

      for (let i = 0; i < 1000; i++) {
        log.append(messageOf('t', `${i}`), {
          appended: () => {
            // The first to be told already finds all of its run.
            if (told++ === 0) assert.equal(log.size().count, 1000);
          },
          refused: () => assert.fail('refused'),
        });
      }
      await write(table, 'a', Buffer.from('x'));

      assert.equal(told, 1000);
      assert.equal((await scanAll(table, '')).length, 1);
    },
  );

  test(named('[ML4] publishers whose names look alike in UTF-8 are told apart'), async (t) => {
    const { engine } = await engines.open(t);
    const log = engine.log.instance('i');
    // The two bytes of the second are the two characters of the first.
    const publishers = ['\u00c3\u00a9', '\u00e9', '\u00e9', 'a', 'ab', 'ab', 'ac', '', ''];

    for (const publisher of publishers) await append(log, messageOf('t', 'x', { publisher }));

    const read = await readAll(log, ['t']);
    assert.deepEqual(
      read.map((entry) => entry.publisher),
      publishers,
    );
  });

  test(named('[ML4] topics of 65,535 bytes and many topics are found'), async (t) => {
    const { engine, reopen } = await engines.open(t);
    let log = engine.log.instance('i');
    const long = 'x'.repeat(65_535);
    const other = `${'x'.repeat(65_534)}y`;
    await append(log, messageOf(long, 'long'));
    for (let i = 0; i < 100_000; i += 1000) {
      const run = Array.from({ length: 1000 }, (_, j) =>
        append(log, messageOf(`d/${i + j}/s`, `${i + j}`)),
      );
      await Promise.all(run);
    }
    await append(log, messageOf(other, 'other'));
    if (reopen !== undefined) log = (await reopen()).log.instance('i');

    assert.deepEqual((await readAll(log, [long])).map(textOf), ['long']);
    assert.deepEqual((await readAll(log, [other])).map(textOf), ['other']);
    assert.deepEqual((await readAll(log, ['d/77777/s'])).map(textOf), ['77777']);
    assert.deepEqual((await readAll(log, ['d/77777/+', other])).map(textOf), ['77777', 'other']);
    assert.equal((await readAll(log, ['#'])).length, 100_002);
  });
}

function page(
  filters: readonly string[],
  after: Position,
  countMax = 1000,
): { filters: FilterSet; after: Position; countMax: number; bytesMax: number } {
  return {
    filters: new FilterSet(filters.map((filter) => ({ filter, after: 0 }))),
    after,
    countMax,
    bytesMax: 1_000_000,
  };
}

/** Lets a promise run on; its failure fails the test. */
function await0(promise: Promise<unknown>): void {
  void promise;
}
