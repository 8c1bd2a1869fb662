/** The composed table is the product's, operation by operation, and its document is whole. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { Action, Parameter, ResultField } from './action.ts';
import { ACTIONS } from './actions.ts';
import { API_FAULTS } from './api-fault.ts';
import { answerFields, describeApi } from './openapi.ts';

type ProductType =
  | string
  | { readonly array: ProductType }
  | { readonly object: Readonly<Record<string, ProductType>> };

interface Operation {
  readonly action: string;
  readonly parameters: readonly {
    readonly name: string;
    readonly type: ProductType;
    readonly required: boolean;
  }[];
  readonly response: Readonly<Record<string, ProductType>>;
  readonly callsPerSecond: number | null;
}

const FILE = new URL('../../test/spec/control-operations.json', import.meta.url);
const { operations } = JSON.parse(readFileSync(FILE, 'utf8')) as {
  operations: readonly Operation[];
};
const byName = new Map(ACTIONS.map((action) => [action.name, action]));

/** Fields of the vendor's access control, said only where it refuses. */
const LEFT_OUT = new Set(['AccessDeniedDetail']);

/** Numbers that the product's table has as text; the wire does not tell them apart. */
const NUMBERS_AS_TEXT = new Set(['PageNo', 'PageSize']);

/** What a parameter of ours is called in the product's table. */
function parameterType(action: Action, name: string, wanted: string): string | undefined {
  if (wanted === 'string' && NUMBERS_AS_TEXT.has(name)) return wanted;
  const type = action.parameters.find((one) => one.name === name)?.type;
  if (type === 'integer' || type === 'long') return 'number';
  return type === 'json' ? 'string' : type;
}

function productType(type: ProductType): string {
  if (typeof type === 'string') return type;
  if ('array' in type) return typeof type.array === 'string' ? 'list' : 'tags';
  return 'object';
}

/** A field of ours, written as the product's table writes it. */
function shapeOf(field: ResultField): ProductType {
  const one = typeof field.type === 'string' ? field.type : { object: shapesOf(field.type) };
  if (one === 'string[]') return { array: 'string' };
  return field.many === true ? { array: one } : one;
}

function shapesOf(fields: readonly ResultField[]): Record<string, ProductType> {
  return Object.fromEntries(fields.map((field) => [field.name, shapeOf(field)]));
}

describe('the table of actions', () => {
  test('no name is there twice', () => {
    assert.equal(byName.size, ACTIONS.length);
  });

  test('all 50 operations of the product are there', () => {
    assert.equal(operations.length, 50);
    const missing = operations.filter(({ action }) => !byName.has(action));
    assert.deepEqual(
      missing.map(({ action }) => action),
      [],
    );
  });

  for (const operation of operations) {
    const action = byName.get(operation.action);
    if (action === undefined) continue; // told by the test above

    test(`${operation.action} takes and answers what the product's does`, () => {
      assert.equal(action.origin, 'product');
      for (const { name, type, required } of operation.parameters) {
        const wanted = productType(type);
        assert.equal(parameterType(action, name, wanted), wanted, name);
        const own: Parameter | undefined = action.parameters.find((one) => one.name === name);
        assert.equal(own?.required, required, `${name} is required`);
      }
      const shapes = shapesOf(answerFields(action));
      for (const [name, type] of Object.entries(operation.response)) {
        if (!LEFT_OUT.has(name)) assert.deepEqual(shapes[name], type, name);
      }
      if (operation.callsPerSecond !== null) {
        assert.equal(action.callsPerSecondMax, operation.callsPerSecond);
      }
    });
  }

  for (const action of ACTIONS) {
    test(`${action.name} is described well enough to be served`, () => {
      const names = action.parameters.map(({ name }) => name);
      assert.equal(new Set(names).size, names.length);
      for (const name of names) assert.match(name, /^[A-Z][A-Za-z0-9]*$/);
      if (action.instanceParameter !== undefined) {
        const instance = action.parameters.find(({ name }) => name === action.instanceParameter);
        assert.ok(instance?.required, 'the instance must be named');
      }
      for (const fault of action.faults) assert.ok(Object.hasOwn(API_FAULTS, fault), fault);
      assert.match(action.permission, /^mq:\w+$/);
      assert.ok(action.callsPerSecondMax >= 1);
      for (const { about } of action.parameters) assert.match(about, /\.$/);
      assert.match(action.about, /\.$/);
    });
  }
});

describe('the OpenAPI document', () => {
  test('has every action, as GET and as POST', () => {
    const document = describeApi(ACTIONS);
    const paths = document['paths'] as Record<string, { get?: unknown; post?: unknown }>;

    assert.equal(document['openapi'], '3.1.0');
    assert.equal(Object.keys(paths).length, ACTIONS.length);
    for (const { get, post } of Object.values(paths))
      assert.ok(get !== undefined && post !== undefined);
  });

  test('names each operation once, and refers only to what is there', () => {
    const text = JSON.stringify(describeApi(ACTIONS));
    const names = [...text.matchAll(/"operationId":"(\w+)"/g)].map(([, name]) => name);

    assert.equal(new Set(names).size, names.length);
    for (const [, name] of text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)) {
      assert.equal(name, 'Error');
    }
  });
});
