/** A slip of the finger finds the name that was meant; nonsense finds none. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearest } from './nearest.ts';

const names = ['start', 'pub', 'sub', 'bench', 'max-packet-size', 'max-connections'];

const slips: readonly (readonly [name: string, meant: string | undefined])[] = [
  ['strat', 'start'],
  ['pubb', 'pub'],
  ['max-pakcet-size', 'max-packet-size'],
  ['max-conn', 'max-connections'],
  ['elephants', undefined],
];

for (const [name, meant] of slips) {
  test(`${name} is near ${meant ?? 'nothing'}`, () => {
    assert.equal(nearest(name, names), meant);
  });
}
