/**
 * From a topic to its subscribers: tree, route and cache against a plain list of subscriptions.
 *
 * Whatever changes in between and however small the cache, the route must be the one that a look
 * through the whole list gives.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { matchesFilter } from '#ports';
import { anyFilter, anyTopic } from '../../test/harness/topic-model.ts';
import type { InstanceSpace } from './instance-space.ts';
import { createRoute, type Route } from './route.ts';
import { Session } from './session.ts';
import type { SharedGroup } from './shared-group.ts';
import { createSubscription, type Delivery, type Subscription } from './subscription.ts';
import { type Leaf, SubscriptionTree } from './subscription-tree.ts';
import { TopicCache, type TopicEntry } from './topic-cache.ts';

const SESSION_COUNT = 4;

/** What one session is to get, comparable. */
interface Expected {
  readonly session: string;
  readonly qos: number;
  readonly retainAsPublished: boolean;
  readonly identifiers: readonly number[];
  readonly toPublisher: Omit<Expected, 'toPublisher'> | undefined;
}

interface Held {
  readonly filter: string;
  readonly subscription: Subscription | undefined;
  readonly group: SharedGroup | undefined;
  readonly offline: boolean;
}

/** The tree under test, and beside it the list of all that was put in. */
class Model {
  readonly tree = new SubscriptionTree();
  readonly held = new Map<string, Held>();
  readonly sessions: readonly Session[] = Array.from({ length: SESSION_COUNT }, (_, index) => {
    const nowhere = undefined as unknown as InstanceSpace; // a route does not ask where it is
    return new Session(nowhere, `s${index}`, `s${index}`, index % 2 === 0 ? 0 : 60);
  });

  apply(change: Change): void {
    const key = `${change.kind} ${change.session} ${change.filter}`;
    const old = this.held.get(key);
    if (old !== undefined) {
      this.held.delete(key);
      this.tree.change(change.filter, (leaf) => takeOut(leaf, old));
      if (change.remove) return;
    }
    if (change.remove) return;
    const held = this.#make(change);
    this.held.set(key, held);
    this.tree.change(change.filter, (leaf) => putIn(leaf, held));
  }

  /** Looks through everything. */
  expect(topic: string): ReturnType<typeof show> {
    const hits = [...this.held.values()].filter(({ filter }) => matchesFilter(filter, topic));
    const deliveries = this.sessions.flatMap((session) => {
      const mine = hits.flatMap(({ subscription }) =>
        subscription?.delivery.session === session ? [subscription] : [],
      );
      return mine.length === 0 ? [] : [summary(session, mine)];
    });
    const groups = hits.flatMap(({ group }) => (group === undefined ? [] : [group]));
    const durableOnline =
      deliveries.some(({ session, qos }) => this.#session(session).durable && qos > 0) ||
      groups.some((group) => group.durable);
    const durable = durableOnline || hits.some(({ offline }) => offline);
    return {
      deliveries,
      groups: groups.map((group) => group.key).sort(),
      durableOnline,
      durable,
      empty: deliveries.length === 0 && groups.length === 0 && !durable,
    };
  }

  #session(clientId: string): Session {
    return this.sessions.find((session) => session.clientId === clientId)!;
  }

  #make(change: Change): Held {
    const { filter, qos, noLocal, retainAsPublished, identifier } = change;
    const session = this.sessions[change.session]!;
    const stored = { text: filter, qos, noLocal, retainAsPublished, identifier, since: 0 };
    const group = { key: `${change.session}/${filter}`, durable: qos > 0 };
    return {
      filter,
      subscription: change.kind === 'online' ? createSubscription(session, stored) : undefined,
      group: change.kind === 'group' ? (group as SharedGroup) : undefined,
      offline: change.kind === 'offline',
    };
  }
}

function putIn(leaf: Leaf, { subscription, group, offline }: Held): void {
  if (subscription !== undefined) leaf.add(subscription.delivery);
  if (group !== undefined) leaf.groups.push(group);
  if (offline) leaf.offlineCount++;
}

function takeOut(leaf: Leaf, { subscription, group, offline }: Held): void {
  if (subscription !== undefined) leaf.remove(subscription.delivery);
  if (group !== undefined) leaf.groups.splice(leaf.groups.indexOf(group), 1);
  if (offline) leaf.offlineCount--;
}

function summary(session: Session, subscriptions: readonly Subscription[]): Expected {
  const told = subscriptions.filter(({ noLocal }) => !noLocal);
  const merged = (of: readonly Subscription[]): Omit<Expected, 'toPublisher'> => ({
    session: session.clientId,
    qos: Math.max(...of.map(({ qos }) => qos)),
    retainAsPublished: of.some(({ retainAsPublished }) => retainAsPublished),
    identifiers: of
      .map(({ identifier }) => identifier)
      .filter((identifier) => identifier > 0)
      .sort((a, b) => a - b),
  });
  return {
    ...merged(subscriptions),
    toPublisher: told.length === 0 ? undefined : merged(told),
  };
}

/** The property bytes of subscription identifiers, read. */
function readIdentifiers(bytes: Uint8Array): number[] {
  const identifiers: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    assert.equal(bytes[at++], 0x0b);
    let value = 0;
    for (let place = 1; ; place *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 0x7f) * place;
      if (byte < 128) break;
    }
    identifiers.push(value);
  }
  return identifiers.sort((a, b) => a - b);
}

function showDelivery(delivery: Delivery): Omit<Expected, 'toPublisher'> {
  return {
    session: delivery.session.clientId,
    qos: delivery.qos,
    retainAsPublished: delivery.retainAsPublished,
    identifiers: readIdentifiers(delivery.identifiers),
  };
}

function show(route: Route): {
  readonly deliveries: readonly Expected[];
  readonly groups: readonly string[];
  readonly durableOnline: boolean;
  readonly durable: boolean;
  readonly empty: boolean;
} {
  const { solo, ...rest } = route;
  const alone = rest.deliveries.length === 1 && rest.groups.length === 0;
  assert.equal(solo, alone ? rest.deliveries[0] : undefined);
  const deliveries = rest.deliveries.map((delivery) => ({
    ...showDelivery(delivery),
    toPublisher: delivery.toPublisher && showDelivery(delivery.toPublisher),
  }));
  return {
    ...rest,
    deliveries: deliveries.sort((a, b) => (a.session < b.session ? -1 : 1)),
    groups: rest.groups.map((group) => group.key).sort(),
  };
}

const anyChange = fc.record({
  kind: fc.constantFrom('online' as const, 'online' as const, 'group' as const, 'offline' as const),
  session: fc.nat(SESSION_COUNT - 1),
  filter: anyFilter,
  remove: fc.boolean(),
  qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
  noLocal: fc.boolean(),
  retainAsPublished: fc.boolean(),
  identifier: fc.constantFrom(0, 1, 127, 128, 268_435_455),
});
type Change = typeof anyChange extends fc.Arbitrary<infer T> ? T : never;

describe('the subscription tree', () => {
  test('property: matches what a look through all filters matches', () => {
    fc.assert(
      fc.property(
        fc.array(anyChange, { maxLength: 30, size: 'max' }),
        anyTopic,
        (changes, topic) => {
          const model = new Model();
          for (const change of changes) model.apply(change);
          assert.deepEqual(show(createRoute(model.tree, topic)), model.expect(topic));
        },
      ),
      { numRuns: 250 },
    );
  });

  test('property: counts the filters held, and is empty when all are gone', () => {
    fc.assert(
      fc.property(fc.array(anyChange, { maxLength: 30, size: 'max' }), (changes) => {
        const model = new Model();
        for (const change of changes) model.apply(change);
        const filters = new Set([...model.held.values()].map(({ filter }) => filter));
        assert.equal(model.tree.filterCount, filters.size);
        for (const change of changes) model.apply({ ...change, remove: true });
        assert.equal(model.tree.filterCount, 0);
        assert.equal(createRoute(model.tree, 'a').empty, true);
      }),
    );
  });

  test('property: a change that alters the route of a topic alters the version of its fan', () => {
    fc.assert(
      fc.property(
        fc.array(anyChange, { maxLength: 15, size: 'max' }),
        anyTopic,
        (changes, topic) => {
          const model = new Model();
          for (const change of changes) {
            const before = model.expect(topic);
            const version = model.tree.version(model.tree.fan(topic));
            model.apply(change);
            const same = version === model.tree.version(model.tree.fan(topic));
            if (same) assert.deepEqual(model.expect(topic), before);
          }
        },
      ),
    );
  });

  test('the subscription identifiers of a session are joined once, however many match', (t) => {
    const model = new Model();
    const levels = 10;
    for (let bits = 0; bits < 2 ** levels; bits++) {
      const filter = Array.from({ length: levels }, (_, i) => ((bits >> i) & 1 ? '+' : 'a')).join(
        '/',
      );
      model.apply({
        kind: 'online',
        session: 0,
        filter,
        remove: false,
        qos: 1,
        noLocal: bits % 2 === 0,
        retainAsPublished: false,
        identifier: 268_435_455,
      });
    }
    const topic = Array.from({ length: levels }, () => 'a').join('/');
    const concat = t.mock.method(Buffer, 'concat');

    const route = createRoute(model.tree, topic);

    assert.deepEqual(show(route), model.expect(topic));
    const joined = concat.mock.calls.reduce((sum, { result }) => sum + result!.length, 0);
    assert.ok(joined <= 2 * 2 ** levels * 5, `${joined} bytes of identifiers were joined`);
  });

  test('a change elsewhere leaves the version of a topic alone', () => {
    const { tree } = new Model();
    const touch = (filter: string): void => tree.change(filter, (leaf) => void leaf.offlineCount++);
    const fan = tree.fan('a/b/c');
    const version = tree.version(fan);
    assert.notEqual(tree.fan('b'), fan);

    touch('b/b/c');
    assert.equal(tree.version(fan), version);
    touch('a/x');
    assert.notEqual(tree.version(fan), version);
  });
});

describe('the topic cache', () => {
  const anyStep = fc.oneof(
    anyChange.map((change) => ({ change, topic: undefined, padding: 0 })),
    fc.record({ change: fc.constant(undefined), topic: anyTopic, padding: fc.nat(9) }),
  );

  for (const countMax of [1, 3, 65_536]) {
    test(`property: a cached route is the route there is now (at most ${countMax} topics)`, () => {
      fc.assert(
        fc.property(
          fc.array(anyStep, { maxLength: 60, size: 'max' }),
          fc.integer(),
          (steps, seed) => {
            const model = new Model();
            const cache = new TopicCache(model.tree, countMax, seed);
            const known: TopicEntry[] = []; // a connection remembers entries beyond their eviction
            for (const { change, topic, padding } of steps) {
              if (change !== undefined) model.apply(change);
              else known.push(look(cache, topic, padding));
              for (const entry of known) {
                assert.deepEqual(show(cache.route(entry)), model.expect(entry.topic));
                assertHolds(cache, entry, known);
              }
            }
          },
        ),
        { numRuns: 40 },
      );
    });
  }

  /** An entry stands for its own topic while it is in the cache, and never for another. */
  function assertHolds(cache: TopicCache, entry: TopicEntry, known: readonly TopicEntry[]): void {
    for (const { bytes } of known) {
      const found = cache.lookUp(bytes, 0, bytes.length);
      assert.equal(cache.holds(entry, bytes, 0, bytes.length), found === entry);
    }
  }

  /** As a publish does it: the name somewhere in a chunk. */
  function look(cache: TopicCache, topic: string, padding: number): TopicEntry {
    const name = Buffer.from(topic);
    const chunk = Buffer.concat([Buffer.alloc(padding, 'a'), name, Buffer.alloc(padding, '/')]);
    const entry =
      cache.lookUp(chunk, padding, padding + name.length) ??
      cache.add(chunk, padding, padding + name.length);
    assert.equal(entry.topic, topic);
    assert.equal(cache.lookUp(name, 0, name.length), entry);
    return entry;
  }

  test('keeps a route object as long as nothing that may matter changes', () => {
    const model = new Model();
    const cache = new TopicCache(model.tree, 10, 1);
    const entry = cache.entry('a/b');
    const route = cache.route(entry);

    model.tree.change('x/y', (leaf) => void leaf.offlineCount++);
    assert.equal(cache.route(cache.entry('a/b')), route);
    model.tree.change('a/+', (leaf) => void leaf.offlineCount++);
    assert.notEqual(cache.route(entry), route);
  });

  test('topics whose hashes collide are told apart', () => {
    const cache = new TopicCache(new SubscriptionTree(), 10, 0);

    const [one, other] = [cache.entry('t/39614'), cache.entry('t/72794')];

    assert.equal(one.hash, other.hash, 'they collide no more: look for two that do');
    assert.notEqual(one.topic, other.topic);
    assert.equal(cache.entry('t/39614'), one);
    assert.equal(cache.entry('t/72794'), other);
  });

  test('what begins with $SYS/ is reserved, and only that', () => {
    const cache = new TopicCache(new SubscriptionTree(), 10, 1);

    const reserved = ['$SYS/a', '$SYS', '$SYSTEM/a', 'a/$SYS/b', '$sys/a', '$SYS/'].map(
      (topic) => cache.entry(topic).reserved,
    );

    assert.deepEqual(reserved, [true, false, false, false, false, true]);
  });
});
