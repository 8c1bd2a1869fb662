/** The product's operations as its SDKs know them: where parameters go, what an answer holds. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A scalar's name, or what a list or an object holds. */
export type Shape =
  | 'string'
  | 'number'
  | 'boolean'
  | { readonly array: Shape }
  | { readonly object: Readonly<Record<string, Shape>> };

export interface Operation {
  readonly action: string;
  readonly method: 'GET' | 'POST';
  readonly place: 'query' | 'body';
  readonly response: Readonly<Record<string, Shape>>;
}

const FILE = join(import.meta.dirname, '..', 'spec', 'control-operations.json');

const { operations } = JSON.parse(readFileSync(FILE, 'utf8')) as {
  readonly operations: readonly Operation[];
};

/** All 50, by name. */
export const OPERATIONS: ReadonlyMap<string, Operation> = new Map(
  operations.map((operation) => [operation.action, operation]),
);

/** Fields of the vendor's access control, said only where it refuses. */
const LEFT_OUT: ReadonlySet<string> = new Set(['AccessDeniedDetail']);

/** Fails unless `answer` has the operation's fields, all of them and no other, each of its type. */
export function assertShape(action: string, answer: object): void {
  const operation = OPERATIONS.get(action);
  assert.ok(operation !== undefined, `${action} is no operation of the product`);
  assertObject(operation.response, answer as Readonly<Record<string, unknown>>, action);
}

function assertObject(
  fields: Readonly<Record<string, Shape>>,
  value: Readonly<Record<string, unknown>>,
  place: string,
): void {
  const wanted = Object.keys(fields).filter((name) => !LEFT_OUT.has(name));
  assert.deepEqual(Object.keys(value).sort(), wanted.sort(), `fields of ${place}`);
  for (const name of wanted) assertValue(fields[name]!, value[name], `${place}.${name}`);
}

function assertValue(shape: Shape, value: unknown, place: string): void {
  if (typeof shape === 'string') {
    assert.equal(typeof value, shape, `type of ${place}`);
    return;
  }
  if ('array' in shape) {
    assert.ok(Array.isArray(value), `${place} is a list`);
    for (const [index, member] of value.entries()) {
      assertValue(shape.array, member, `${place}.${index}`);
    }
    return;
  }
  assert.ok(typeof value === 'object' && value !== null, `${place} is an object`);
  assertObject(shape.object, value as Readonly<Record<string, unknown>>, place);
}
