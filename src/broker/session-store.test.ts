/** What is written of a session is what is read again. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { openMemoryEngine } from '#adapters/memory';
import { systemClock } from '#base';
import { durably } from './durably.ts';
import { Inflight } from './inflight.ts';
import type { InstanceSpace } from './instance-space.ts';
import type { Lease } from './leases.ts';
import { Session } from './session.ts';
import {
  EXPIRY_BUCKET_MS,
  expiryMs,
  NEVER_EXPIRES,
  SessionStore,
  type StoredSession,
} from './session-store.ts';
import { createSubscription } from './subscription.ts';

function openStore(): SessionStore {
  return new SessionStore(openMemoryEngine({ clock: systemClock }).store);
}

function createSession(key: string, dispatched = 0): Session {
  const space = { dispatched } as InstanceSpace; // all that is written of it
  return new Session(space, key, key, 300);
}

const anyDelivery = fc.record({
  state: fc.constantFrom(1 as const, 2 as const, 3 as const),
  position: fc.maxSafeNat(),
  retain: fc.boolean(),
  leased: fc.boolean(),
  identifiers: fc.oneof(
    fc.constant(new Uint8Array(0)),
    fc.uint8Array({ minLength: 1, maxLength: 12 }),
    fc.constant(new Uint8Array(70_000).fill(0xc3)),
  ),
  topic: fc.option(
    fc.oneof(fc.constantFrom('a', 'a/é', '\u{1f600}/x', '/'), fc.constant('x'.repeat(65_535))),
    { nil: undefined },
  ),
});

const anyWalk = fc.option(
  fc.record(
    {
      number: fc.integer({ min: 1, max: 0xffff_ffff }),
      topic: fc.constantFrom('', 'a/é', 'x'.repeat(65_535)),
      filter: fc.constantFrom('', '#', '\u{1f600}/+'),
    },
    { noNullPrototype: true },
  ),
  { nil: undefined },
);

test('property: a cursor comes back with its position, its walk, its deliveries and their order', async () => {
  const store = openStore();
  let count = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyDelivery, { maxLength: 12 }),
      fc.integer({ min: 1, max: 0xffff }),
      fc.maxSafeNat(),
      anyWalk,
      async (deliveries, lastId, next, walk) => {
        const session = createSession(`default/c${++count}`);
        session.live = false;
        session.next = next;
        session.inflight.lastId = lastId;
        session.walk = walk;
        const expected = deliveries.map((delivery) => {
          const { state, position, retain, identifiers, topic } = delivery;
          const id = session.inflight.take(state, position, retain, identifiers);
          if (topic !== undefined) (session.retainedInflight ??= new Map()).set(id, topic);
          if (delivery.leased) (session.leases ??= new Map()).set(id, {} as Lease);
          const leased = delivery.leased && position > 0; // else the log has no part in it
          return { id, state, position, retain, identifiers, topic, leased };
        });

        await durably((settled) => store.writeCursor(session, settled));
        const read = await store.readCursor(session.key);

        assert.deepEqual(read, {
          next,
          lastId: session.inflight.lastId,
          deliveries: expected,
          walk,
        });
        const again = new Inflight();
        for (const item of read!.deliveries) again.restore(item);
        again.lastId = read!.lastId;
        assert.deepEqual(again.list(), session.inflight.list());
      },
    ),
    { numRuns: 60 },
  );
});

test('a cursor written before RETAIN and identifiers were kept has neither', async () => {
  const store = openMemoryEngine({ clock: systemClock }).store;
  // next 9, last id 4, two deliveries: QoS 1 from position 7; QoS 2, a retained one of topic `a`
  const head = '4022000000000000' + '0004' + '00000002';
  const logged = '0003' + '01' + '401c000000000000' + '0000';
  const retained = '0004' + '02' + '0000000000000000' + '0001';
  const row = Buffer.from(`${head}${logged}${retained}61`, 'hex');
  await store.table('cursors').put('default/old', row);

  const read = await new SessionStore(store).readCursor('default/old');

  const without = { retain: false, identifiers: new Uint8Array(0), leased: false };
  assert.deepEqual(read, {
    next: 9,
    lastId: 4,
    deliveries: [
      { id: 3, state: 1, position: 7, ...without, topic: undefined },
      { id: 4, state: 2, position: 0, ...without, topic: 'a' },
    ],
    walk: undefined,
  });
});

test('a session that is live stands where its instance has got to, and never goes back', async () => {
  const store = openStore();
  const session = createSession('default/live', 500);

  session.next = 100;
  await durably((settled) => store.writeCursor(session, settled));
  assert.equal((await store.readCursor(session.key))?.next, 500);
  session.next = 900;
  await durably((settled) => store.writeCursor(session, settled));
  assert.equal((await store.readCursor(session.key))?.next, 900);
  session.live = false;
  session.next = 100;
  await durably((settled) => store.writeCursor(session, settled));
  assert.equal((await store.readCursor(session.key))?.next, 100);
});

test('property: subscriptions come back as they were', async () => {
  const store = openStore();
  const anyStored = fc.record(
    {
      text: fc.constantFrom('a', '#', 'é/+', '$share/g/a', '"', '\n', '\u{1f600}'),
      qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
      noLocal: fc.boolean(),
      retainAsPublished: fc.boolean(),
      identifier: fc.constantFrom(0, 1, 268_435_455),
      since: fc.maxSafeNat(),
    },
    { noNullPrototype: true },
  );
  const unique = fc.uniqueArray(anyStored, { selector: ({ text }) => text, maxLength: 10 });
  await fc.assert(
    fc.asyncProperty(unique, async (subscriptions) => {
      const session = createSession('default/s');
      for (const stored of subscriptions) {
        session.hold(createSubscription(session, stored));
      }
      await durably((settled) => store.write(session, 1_700_000_000_123, settled));
      const expected: StoredSession = {
        expirySeconds: 300,
        disconnectedMs: 1_700_000_000_123,
        keepsIds: false,
        subscriptions: subscriptions.map((item) => ({ ...item, page: 0 })),
      };
      assert.deepEqual(await store.read('default/s'), expected);
    }),
    { numRuns: 40 },
  );
});

describe('names that look like others', () => {
  const keys = [
    'default/a',
    'default/a\u0001',
    'default/a\u00015',
    'default/',
    'default/a\u000112',
  ];

  test('packet ids received belong to one session each', async () => {
    const store = openStore();
    const ids = (index: number): number[] => [index + 1, index + 100, 0xffff];
    for (const [index, key] of keys.entries()) {
      const session = createSession(key);
      for (const id of ids(index)) {
        await store.inbound.put(store.inboundKey(session, id), Buffer.alloc(0));
      }
    }

    for (const [index, key] of keys.entries()) {
      const read = [...(await store.readIds(key)).inbound].sort((a, b) => a - b);
      assert.deepEqual(read, ids(index), JSON.stringify(key));
    }
  });

  test('removing one leaves the others alone', async () => {
    const store = openStore();
    for (const key of keys) {
      const session = createSession(key);
      store.write(session, 0);
      store.writeCursor(session);
      await store.inbound.put(store.inboundKey(session, 5), Buffer.alloc(0));
    }

    await durably((settled) => store.remove(keys[0]!, 0, { inbound: [5], retained: [] }, settled));

    assert.equal(await store.read(keys[0]!), undefined);
    assert.equal(await store.readCursor(keys[0]!), undefined);
    assert.deepEqual([...(await store.readIds(keys[0]!)).inbound], []);
    for (const key of keys.slice(1)) {
      assert.notEqual(await store.read(key), undefined);
      assert.notEqual(await store.readCursor(key), undefined);
      assert.deepEqual([...(await store.readIds(key)).inbound], [5]);
    }
    const left: string[] = [];
    for await (const { key } of store.all()) left.push(key);
    assert.deepEqual(left.sort(), keys.slice(1).sort());
  });
});

describe('expiries', () => {
  test('are found by their bucket, each with its own time', async () => {
    const store = openStore();
    const at = (bucket: number, offsetMs: number): number => bucket * EXPIRY_BUCKET_MS + offsetMs;
    store.setExpiry('default/a', at(7, 0));
    store.setExpiry('default/b', at(7, EXPIRY_BUCKET_MS - 1));
    store.setExpiry('default/c/7', at(8, 0));
    store.setExpiry('default/gone', at(7, 5));
    store.setExpiry('default/d', at(70, 3));
    store.clearExpiry('default/gone', at(7, 5));

    const found: (readonly [string, number])[] = [];
    await durably((settled) => store.inbound.write('x', undefined, settled));
    for await (const one of store.expiring(at(7, 0))) found.push([one.key, one.atMs]);

    assert.deepEqual(
      found.sort(([one], [other]) => (one < other ? -1 : 1)),
      [
        ['default/a', at(7, 0)],
        ['default/b', at(7, EXPIRY_BUCKET_MS - 1)],
      ],
    );
  });

  test('are counted from the disconnection, or never come', () => {
    assert.equal(expiryMs(60, 1_000), 61_000);
    assert.equal(expiryMs(NEVER_EXPIRES - 1, 0), (NEVER_EXPIRES - 1) * 1_000);
    assert.equal(expiryMs(NEVER_EXPIRES, 1_000), undefined);
  });
});
