/** Limits: defaults of the two kinds, what was set over them, and what cannot be set. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault } from '#base';
import { INSTANCE_LIMITS, limitsOf, mergeLimits } from './limits.ts';

const NONE = Number.POSITIVE_INFINITY;

test("a compatible instance has the product's documented numbers", () => {
  const limits = limitsOf('compatible', {});

  assert.equal(limits.subscriptionsPerClientMax, 30);
  assert.equal(limits.wildcardsPerTopicMax, 100);
  assert.equal(limits.parentTopicCountMax, 25);
  assert.equal(limits.topicCharsMax, 64);
  assert.equal(limits.clientIdCharsMax, 64);
  assert.equal(limits.payloadBytesMax, 64 * 1024);
  assert.equal(limits.packetBytesMax, 128 * 1024);
  assert.equal(limits.keepAliveSecondsMax, 480);
  assert.equal(limits.sessionExpirySecondsMin, 600);
  assert.equal(limits.sessionExpirySecondsMax, 2_147_483_647);
  assert.equal(limits.offlineMessageCountMax, 1_000_000);
  assert.equal(limits.offlineMessageAgeMs, 3 * 24 * 3_600_000);
  assert.equal(limits.connectionCountMax, NONE);
});

test('an open instance bounds only what is kept in memory', () => {
  const limits = limitsOf('open', {});

  const bounded = INSTANCE_LIMITS.filter(({ name }) => limits[name] !== NONE);
  assert.deepEqual(
    bounded.map(({ name }) => name),
    ['parentTopicCountMax', 'groupCountMax', 'sessionExpirySecondsMin'],
  );
});

test('what was set stands over the default, and undefined sets it back', () => {
  const set = mergeLimits('compatible', {}, { payloadBytesMax: 10, connectionCountMax: NONE });
  assert.equal(limitsOf('compatible', set).payloadBytesMax, 10);

  const back = mergeLimits('compatible', set, { payloadBytesMax: undefined });

  assert.deepEqual(back, { connectionCountMax: NONE });
  assert.equal(limitsOf('compatible', back).payloadBytesMax, 64 * 1024);
});

test('numbers out of range, fractions, and names that are none are refused', () => {
  const impossible: Readonly<Record<string, number>>[] = [
    { payloadBytesMax: -1 },
    { payloadBytesMax: 1.5 },
    { payloadBytesMax: Number.NaN },
    { keepAliveSecondsMax: 0 },
    { keepAliveSecondsMax: 65_536 },
    { topicCharsMax: 65_536 },
    { noSuchLimit: 1 },
    { toString: 1 },
  ];
  for (const changes of impossible) {
    assert.throws(
      () => mergeLimits('open', {}, changes),
      (error) => Fault.is(error, 'invalidParameter'),
      JSON.stringify(changes),
    );
  }
});

test('groups and parent topics always have a bound: all of them are in memory', () => {
  for (const name of ['groupCountMax', 'parentTopicCountMax'] as const) {
    assert.throws(
      () => mergeLimits('open', {}, { [name]: NONE }),
      (error) => Fault.is(error, 'invalidParameter'),
    );
  }
});

test('the shortest session expiry cannot be longer than the longest', () => {
  const crossed = { sessionExpirySecondsMax: 599 };

  assert.throws(
    () => mergeLimits('compatible', {}, crossed),
    (error) => Fault.is(error, 'invalidParameter'),
  );
  assert.deepEqual(mergeLimits('open', {}, crossed), crossed);
});
