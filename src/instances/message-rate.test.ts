/** Rates: what a second holds, what debt costs, and what the last minute saw. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../test/harness/manual-clock.ts';
import type { Instance, InstanceLimits } from './instance.ts';
import { Belongings, LiveInstance } from './live-instance.ts';
import { ConnectRate, MessageRate, messageWeight } from './message-rate.ts';

function instanceWith(limits: Partial<InstanceLimits>): LiveInstance {
  const row = {
    id: 'i',
    kind: 'open',
    name: 'i',
    limits,
    overstepping: 'reject',
    trailingSlash: false,
    authentication: {},
    withdrawn: false,
    tags: {},
    createdMs: 0,
    updatedMs: 0,
    leaving: false,
  } as const;
  return new LiveInstance(row, new Belongings());
}

function taken(rate: { take(weight: number): boolean }, attempts: number, weight: number): number {
  let count = 0;
  for (let i = 0; i < attempts; i++) if (rate.take(weight)) count++;
  return count;
}

test('a message weighs 1, 2 or 5 by its QoS and whether it is kept', () => {
  const weights = ([0, 1, 2] as const).map((qos) => [
    messageWeight(qos, true),
    messageWeight(qos, false),
  ]);

  assert.deepEqual(weights, [
    [1, 1],
    [2, 5],
    [5, 5],
  ]);
});

test("the product's worked example weighs 2800", () => {
  const sent = messageWeight(0, true) + 2 * messageWeight(1, true) + 3 * messageWeight(2, true);
  const received = messageWeight(0, true) + messageWeight(1, true) + messageWeight(2, true);

  assert.equal(100 * sent + 100 * received, 2800);
});

test("a second's worth goes at once, then as much as time brings", () => {
  const clock = new ManualClock();
  const rate = new MessageRate(instanceWith({ messagesPerSecondMax: 100 }), clock);

  assert.equal(taken(rate, 500, 1), 100);
  clock.advance(500);
  assert.equal(taken(rate, 500, 1), 50);
  clock.advance(60_000);
  assert.equal(taken(rate, 500, 1), 100);
  assert.equal(rate.refused, 400 + 450 + 400);
});

test('heavy messages use it up sooner', () => {
  const clock = new ManualClock();
  const rate = new MessageRate(instanceWith({ messagesPerSecondMax: 100 }), clock);

  assert.equal(taken(rate, 500, 5), 20);
});

test('a bound below the weight of one message slows it and does not stop it', () => {
  const clock = new ManualClock();
  const rate = new MessageRate(instanceWith({ messagesPerSecondMax: 1 }), clock);

  let count = 0;
  for (let second = 0; second < 60; second++) {
    if (rate.take(5)) count++;
    clock.advance(1000);
  }

  assert.equal(count, 12);
});

test('deliveries are charged in any case and hold up what comes after', () => {
  const clock = new ManualClock();
  const rate = new MessageRate(instanceWith({ messagesPerSecondMax: 100 }), clock);

  for (let i = 0; i < 1000; i++) rate.charge(5);

  assert.equal(rate.take(1), false);
  clock.advance(1100);
  assert.equal(rate.take(1), true, 'debt is bounded by a second');
});

test('nought stops everything, and no bound nothing', () => {
  const clock = new ManualClock();
  const closed = new MessageRate(instanceWith({ messagesPerSecondMax: 0 }), clock);
  const free = new MessageRate(instanceWith({}), clock);

  clock.advance(10_000);

  assert.equal(taken(closed, 10, 1), 0);
  assert.equal(taken(free, 100_000, 5), 100_000);
});

test('a bound that changes holds from the next message on', () => {
  const clock = new ManualClock();
  const instance = instanceWith({});
  const rate = new MessageRate(instance, clock);
  taken(rate, 1000, 1);

  instance.replace({ ...instance.row, limits: { messagesPerSecondMax: 10 } });
  const first = taken(rate, 1000, 1);
  instance.replace({ ...instance.row, limits: { messagesPerSecondMax: 1000 } });
  clock.advance(1000);

  assert.equal(first, 10);
  assert.equal(taken(rate, 5000, 1), 1000);
});

test('the last minute has a peak and a mean, and forgets', () => {
  const clock = new ManualClock();
  const rate = new MessageRate(instanceWith({}), clock);

  taken(rate, 600, 1);
  clock.advance(1000);
  taken(rate, 60, 5);
  assert.equal(rate.peakPerSecond(), 600);
  assert.equal(rate.averagePerSecond(), 15);

  clock.advance(59_000);
  assert.equal(rate.peakPerSecond(), 300);
  assert.equal(rate.averagePerSecond(), 5);

  clock.advance(1000);
  assert.equal(rate.peakPerSecond(), 0);
  assert.equal(rate.averagePerSecond(), 0);
});

test('connections have a rate of their own', () => {
  const clock = new ManualClock();
  const instance: Instance = instanceWith({ connectsPerSecondMax: 3 });
  const rate = new ConnectRate(instance, clock);

  assert.deepEqual(
    [1, 2, 3, 4].map(() => rate.take()),
    [true, true, true, false],
  );
  clock.advance(1000);
  assert.equal(rate.take(), true);
  assert.equal(new ConnectRate(instanceWith({ connectsPerSecondMax: 0 }), clock).take(), false);
});
