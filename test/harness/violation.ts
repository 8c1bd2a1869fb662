/**
 * What MQTT 3.1.1 wants of a broker that is told nonsense: close the connection the
 * nonsense came on, say nothing, act on nothing behind it, disturb nobody else.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { Received } from './frame-reader.ts';
import type { SharedBroker } from './shared-broker.ts';
import { type ConnectOptions, unique, type WireClient } from './wire-client.ts';

/** A connected client sends `bytes` and must be cut off without a word. */
export async function expectCut(
  t: TestContext,
  broker: SharedBroker,
  bytes: Uint8Array,
  options: Omit<ConnectOptions, 'port' | 't'> = {},
): Promise<void> {
  const culprit = await broker.connect(t, options);
  const answers = await cutAfter(t, broker, culprit, bytes);
  assert.deepEqual(answers, [], `cut off without a word; heard: ${culprit.heard()}`);
}

/** The same for bytes that open a connection; returns what the broker said before the close. */
export async function expectRefusal(
  t: TestContext,
  broker: SharedBroker,
  bytes: Uint8Array,
): Promise<Received[]> {
  const culprit = await broker.open(t);
  return await cutAfter(t, broker, culprit, bytes);
}

async function cutAfter(
  t: TestContext,
  broker: SharedBroker,
  culprit: WireClient,
  bytes: Uint8Array,
): Promise<Received[]> {
  const topic = unique('behind/');
  const bystander = await broker.connect(t);
  await bystander.subscribe(topic);

  const behind = culprit.encode({ cmd: 'publish', topic, payload: 'behind', qos: 0 });
  culprit.sendBytes(Buffer.concat([bytes, behind]));

  const answers = await culprit.closed();
  await bystander.nothing();
  return answers;
}
