/** Reads by very many filters, on any engine: whichever way it takes, nothing is missed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Position } from '#ports';
import { append, type EngineUnderTest, messageOf, readAll } from './engine-fixture.ts';

export function logFiltersContract(engines: EngineUnderTest): void {
  const named = (rule: string): string => `${rule} (${engines.name})`;

  test(named('[ML4] [ML5] a thousand filters, few of which match anything'), async (t) => {
    const { engine, reopen } = await engines.open(t);
    const told: Promise<Position>[] = [];
    for (let i = 0; i < 4000; i++) {
      const topic = i % 97 > 0 ? `other/${i % 50}` : `${i % 2 > 0 ? 'one' : 'all'}/${i % 500}`;
      told.push(append(engine.log.instance('i'), messageOf(topic, 'x'.repeat(200))));
    }
    const expected = (await Promise.all(told)).filter((_, i) => i % 97 === 0);
    const filters = Array.from({ length: 500 }, (_, i) => [`one/${i}`, `all/${i}/#`]).flat();
    const holds = async ({ log }: typeof engine): Promise<void> => {
      for (const countMax of [3, 1000]) {
        const found = await readAll(log.instance('i'), filters, { countMax });
        const positions = found.map(({ position }) => position);
        assert.deepEqual(positions, expected);
      }
    };
    await holds(engine);
    if (reopen !== undefined) await holds(await reopen());
  });

  test(named('[ML4] [ML5] matches that lie close together and far apart by turns'), async (t) => {
    const opened = await engines.open(t);
    let { engine } = opened;
    const expected: Position[] = [];
    for (let round = 0; round < 6; round++) {
      const told: Promise<Position>[] = [];
      const isDense = round % 2 === 0;
      for (let i = 0; i < 3000; i++) {
        const isWanted = isDense || i % 200 === 0;
        const topic = `${isWanted ? 'ours' : 'others'}/${i % 60}/x`;
        told.push(append(engine.log.instance('i'), messageOf(topic, 'x'.repeat(200))));
      }
      const positions = await Promise.all(told);
      expected.push(...positions.filter((_, i) => isDense || i % 200 === 0));
      engine = (await opened.reopen?.()) ?? engine;
    }

    for (const filter of ['ours/#', 'ours/+/x']) {
      for (const countMax of [20, 256]) {
        const found = await readAll(engine.log.instance('i'), [filter], { countMax });
        const positions = found.map(({ position }) => position);
        assert.deepEqual(positions, expected);
      }
    }
  });
}
