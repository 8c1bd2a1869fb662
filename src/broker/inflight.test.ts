/** Packet ids in flight, against a plain map of what is open. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { AssertionFailure } from '#base';
import { Inflight, InflightState, type OpenDelivery, type State } from './inflight.ts';

const ID_MAX = 65_535;
const NONE = new Uint8Array(0);

/** A delivery of which nothing but its state is of interest. */
function take(inflight: Inflight, state: State, position: number): number {
  return inflight.take(state, position, false, NONE);
}

const anyStep = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('take' as const),
      qos: fc.integer({ min: 1, max: 2 }),
      retain: fc.boolean(),
      identifiers: fc.oneof(fc.constant(NONE), fc.uint8Array({ minLength: 1, maxLength: 6 })),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('settle' as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('advance' as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('skip' as const), by: fc.nat(40) }) },
);

/** Ids in the order they were handed out, as long as they are open. */
class Model {
  readonly inflight = new Inflight();
  open: OpenDelivery[] = [];
  #positions = 0;

  take(qos: number, retain = false, identifiers = NONE): void {
    const state = qos === 1 ? InflightState.awaitsPuback : InflightState.awaitsPubrec;
    const position = (this.#positions += 2 ** 40 + 1);
    const expected = this.#nextFree();
    const id = this.inflight.take(state, position, retain, identifiers);
    assert.equal(id, expected, 'the next id that is not open');
    this.open.push({ id, state, position, retain, identifiers });
  }

  settle(which: number): void {
    const [item] = this.open.splice(which % this.open.length, 1);
    this.inflight.advance(item!.id, InflightState.free);
  }

  advance(which: number): void {
    const index = which % this.open.length;
    const state = InflightState.awaitsPubcomp;
    // Its PUBLISH is never sent again, so how it was sent is forgotten.
    const over = { retain: false, identifiers: NONE };
    this.open[index] = { ...this.open[index]!, state, ...over };
    this.inflight.advance(this.open[index].id, state);
  }

  /** Many deliveries that are settled at once: ids far apart stay open. */
  skip(by: number): void {
    for (let i = 0; i < by; i++) {
      this.take(1);
      this.settle(this.open.length - 1);
    }
  }

  check(): void {
    assert.equal(this.inflight.count, this.open.length);
    assert.deepEqual(this.inflight.list(), this.open);
    const bytes = this.open.reduce((sum, { identifiers }) => sum + identifiers.length, 0);
    assert.equal(this.inflight.identifierBytes, bytes);
    for (const { id, state, position } of this.open) {
      assert.equal(this.inflight.state(id), state);
      assert.equal(this.inflight.position(id), position);
    }
  }

  #nextFree(): number {
    const taken = new Set(this.open.map(({ id }) => id));
    let id = this.inflight.lastId;
    do id = id === ID_MAX ? 1 : id + 1;
    while (taken.has(id));
    return id;
  }
}

describe('property: any run of deliveries', () => {
  for (const startId of [0, 100, ID_MAX - 20, ID_MAX]) {
    test(`from id ${startId} on: ids never repeat while open, the list keeps its order`, () => {
      fc.assert(
        fc.property(fc.array(anyStep, { maxLength: 80, size: 'max' }), (steps) => {
          const model = new Model();
          model.inflight.lastId = startId;
          for (const step of steps) {
            if (step.kind === 'take') model.take(step.qos, step.retain, step.identifiers);
            else if (step.kind === 'skip') model.skip(step.by);
            else if (model.open.length > 0) model[step.kind](step.which);
            model.check();
          }
        }),
        { numRuns: 60 },
      );
    });
  }

  test('that was stored and restored goes on as if nothing had been', () => {
    fc.assert(
      fc.property(
        fc.array(anyStep, { maxLength: 60, size: 'max' }),
        fc.integer({ min: ID_MAX - 40, max: ID_MAX }),
        (steps, startId) => {
          const model = new Model();
          model.inflight.lastId = startId;
          for (const step of steps) {
            if (step.kind === 'take') model.take(step.qos, step.retain, step.identifiers);
            else if (step.kind === 'skip') model.skip(step.by);
            else if (model.open.length > 0) model[step.kind](step.which);
          }
          const again = new Inflight();
          for (const item of model.inflight.list()) again.restore(item);
          again.lastId = model.inflight.lastId;
          assert.deepEqual(again.list(), model.inflight.list());
          assert.equal(again.count, model.inflight.count);
          assert.equal(again.identifierBytes, model.inflight.identifierBytes);
          assert.equal(take(again, 1, 5), take(model.inflight, 1, 5));
        },
      ),
      { numRuns: 60 },
    );
  });
});

test('an id nobody took, or that is settled, is free', () => {
  const inflight = new Inflight();
  for (const id of [0, 1, 16, 17, ID_MAX]) assert.equal(inflight.state(id), InflightState.free);
  const id = take(inflight, InflightState.awaitsPuback, 7);
  assert.equal(id, 1);
  for (const other of [0, 17, 33, ID_MAX]) assert.equal(inflight.state(other), InflightState.free);

  inflight.advance(id, InflightState.free);

  assert.equal(inflight.state(id), InflightState.free);
  assert.equal(inflight.count, 0);
  assert.equal(take(inflight, InflightState.awaitsPuback, 8), 2); // not 1 again at once
});

test('one delivery that is never settled does not stop the others, round after round', () => {
  const inflight = new Inflight();
  const stuck = take(inflight, InflightState.awaitsPubrec, 1);

  for (let i = 0; i < 2 * ID_MAX; i++) {
    const id = take(inflight, InflightState.awaitsPuback, i);
    if (id === stuck || id === 0 || id > ID_MAX) assert.fail(`took ${id}`);
    inflight.advance(id, InflightState.free);
  }

  assert.equal(inflight.state(stuck), InflightState.awaitsPubrec);
  assert.equal(inflight.position(stuck), 1);
});

test('every id can be open at once, and one more is our bug', () => {
  const inflight = new Inflight();
  inflight.lastId = 30_000;
  const ids = new Set<number>();
  for (let i = 0; i < ID_MAX; i++) ids.add(take(inflight, InflightState.awaitsPuback, i));

  assert.equal(ids.size, ID_MAX);
  assert.equal(ids.has(0), false);
  assert.equal(inflight.list()[0]!.id, 30_001);
  assert.throws(() => take(inflight, InflightState.awaitsPuback, 0), AssertionFailure);
});

test('restoring an id twice is our bug', () => {
  const inflight = new Inflight();
  const item = { id: 5, position: 1, retain: true, identifiers: NONE };
  inflight.restore({ ...item, state: InflightState.awaitsPuback });

  const other = { ...item, state: InflightState.awaitsPubrec };
  assert.throws(() => inflight.restore(other), AssertionFailure);
});
