/** Thousands of subscriptions of one session: each is where it was, and a change writes little. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { openMemoryEngine } from '#adapters/memory';
import { systemClock } from '#base';
import type { Store } from '#ports';
import { durably } from './durably.ts';
import type { InstanceSpace } from './instance-space.ts';
import { Session } from './session.ts';
import { SessionStore } from './session-store.ts';
import { createSubscription, type StoredSubscription } from './subscription.ts';

const KEY = 'default/many';

function createSession(): Session {
  return new Session({ dispatched: 0 } as InstanceSpace, 'many', KEY, 300);
}

function stored(index: number, since: number): StoredSubscription {
  // One filter in ten is larger than a page.
  const text =
    index % 10 === 9 ? `${String(index)}/${'x'.repeat(9_000)}` : `device/${String(index)}`;
  return { text, qos: 1, noLocal: false, retainAsPublished: false, identifier: 0, since };
}

async function rowsOf(store: Store): Promise<number> {
  let count = 0;
  for await (const rows of store.table('subscriptions').scan('')) count += rows.length;
  return count;
}

type Step =
  | { readonly kind: 'subscribe' | 'unsubscribe'; readonly index: number; readonly since: number }
  | { readonly kind: 'changed' | 'all' | 'resume' };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constantFrom('subscribe' as const, 'unsubscribe' as const),
      index: fc.nat(299),
      since: fc.nat(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('changed' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('all' as const, 'resume' as const) }) },
);

test('property: whatever a client subscribes and drops, what was written is what is read', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { maxLength: 250 }), async (steps) => {
      const engine = openMemoryEngine({ clock: systemClock });
      const store = new SessionStore(engine.store);
      let session = createSession();
      for (let index = 0; index < 150; index++) {
        session.hold(createSubscription(session, stored(index, 0)));
      }
      for (const step of [...steps, { kind: 'changed' } as const]) {
        if (step.kind === 'subscribe') {
          session.hold(createSubscription(session, stored(step.index, step.since)));
        } else if (step.kind === 'unsubscribe') {
          const subscription = session.subscriptions.get(stored(step.index, 0).text);
          if (subscription !== undefined) session.drop(subscription);
        } else {
          if (step.kind === 'changed')
            await durably((settled) => store.writeChanged(session, settled));
          else await durably((settled) => store.write(session, 0, settled));
          const read = (await store.read(KEY))!;
          const found = new Map(read.subscriptions.map(({ text, since }) => [text, since]));
          assert.equal(found.size, read.subscriptions.length, 'each once');
          const held = [...session.subscriptions.values()];
          assert.deepEqual(found, new Map(held.map(({ text, since }) => [text, since])));
          if (step.kind === 'resume') {
            session = createSession();
            for (const item of read.subscriptions) {
              session.hold(createSubscription(session, item));
            }
          }
        }
      }
      const { pages } = (await store.read(KEY))!;
      await durably((settled) => {
        store.remove(KEY, pages ?? 0, { inbound: [], retained: [] }, settled);
      });
      assert.equal(await rowsOf(engine.store), 0, 'nothing of it is left');
    }),
    { numRuns: 30 },
  );
});

test('one changed subscription of ten thousand writes the row of the session and one page', async () => {
  const engine = openMemoryEngine({ clock: systemClock });
  const store = new SessionStore(engine.store);
  const session = createSession();
  for (let index = 0; index < 100_000; index += 10) {
    session.hold(createSubscription(session, stored(index, 0)));
  }
  await durably((settled) => store.writeChanged(session, settled));
  assert.equal((await store.read(KEY))!.subscriptions.length, 10_000);

  let rows = 0;
  let bytes = 0;
  for (const name of ['sessions', 'subscriptions']) {
    engine.store.table(name).watch('', ({ value }) => {
      rows++;
      bytes += value!.byteLength;
    });
  }
  session.hold(createSubscription(session, stored(50_000, 7)));
  await durably((settled) => store.writeChanged(session, settled));

  assert.equal(rows, 2);
  assert.ok(bytes < 32 * 1024, `${String(bytes)} bytes`);
  assert.equal(
    (await store.read(KEY))!.subscriptions.find(({ text }) => text === 'device/50000')?.since,
    7,
  );
});
