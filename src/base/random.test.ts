/** Chance: in bounds, and where it is seeded the same again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSeededRandom, type Random, systemRandom } from './random.ts';

for (const [name, random] of [
  ['system', systemRandom],
  ['seeded', createSeededRandom(7)],
] as const satisfies readonly (readonly [string, Random])[]) {
  test(`${name}: below() gives each whole number from 0 to the limit, and no other`, () => {
    const seen = new Set<number>();
    for (let i = 0; i < 2_000; i++) seen.add(random.below(10));
    assert.deepEqual(
      [...seen].sort((a, b) => a - b),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    );
    assert.equal(random.below(1), 0);
  });

  test(`${name}: bytes() gives as many as asked for, never the same ones`, () => {
    assert.equal(random.bytes(0).length, 0);
    const drawn = Array.from({ length: 50 }, () => Buffer.from(random.bytes(16)).toString('hex'));
    assert.equal(new Set(drawn).size, 50);
    assert.ok(drawn.every((text) => text.length === 32));
  });
}

test('a seed gives the same numbers again, another one others', () => {
  const draw = (seed: number): string => {
    const random = createSeededRandom(seed);
    const numbers = Array.from({ length: 20 }, () => random.below(1_000_000));
    return `${numbers.join()} ${Buffer.from(random.bytes(20)).toString('hex')}`;
  };

  assert.equal(draw(1), draw(1));
  assert.notEqual(draw(1), draw(2));
  assert.notEqual(draw(0), draw(-1));
});
