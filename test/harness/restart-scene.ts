/**
 * Scenes of a restart: each is set up on one broker, which then ends, asked for or not, and is
 * started again on the same data; after that every scene says what it finds.
 */
import { strict as assert } from 'node:assert';
import { type TestContext, test } from 'node:test';
import { type BrokerProcess, startBroker } from './index.ts';
import { connectClient, elapse, unique, type V5Client } from './v5-client.ts';
import type { ConnectOptions, Properties } from './v5-packets.ts';

export type Way = 'SIGTERM' | 'kill -9';
export type Verify = (t: TestContext, broker: BrokerProcess) => Promise<void>;

export interface Scene {
  readonly name: string;
  readonly prepare: (t: TestContext, broker: BrokerProcess, way: Way) => Promise<Verify>;
}

/** Longer than any expiry that is to run out while the broker is down. */
export const DOWN_MS: number = 3_200;

/** A client of that id with a session that outlives it. */
export function lasting(
  clientId: string,
  expiry = 3_600,
  properties: Properties = {},
): ConnectOptions {
  return { clientId, cleanStart: false, properties: { sessionExpiry: expiry, ...properties } };
}

/** A session that is offline and holds that filter. */
export async function sleeper(
  t: TestContext,
  broker: BrokerProcess,
  filter: string,
  options = 1,
): Promise<string> {
  const clientId = unique('c');
  const client = await connectClient(t, broker.port, lasting(clientId));
  await client.subscribe(filter, options);
  await client.disconnect();
  return clientId;
}

/** Its client is back, and the session was there. */
export async function resume(
  t: TestContext,
  broker: BrokerProcess,
  clientId: string,
  properties: Properties = {},
): Promise<V5Client> {
  const client = await connectClient(t, broker.port, lasting(clientId, 3_600, properties));
  assert.equal(client.connack?.sessionPresent, true, 'the session is there');
  return client;
}

/** What it gets until a message that was sent last of all; each acknowledged. */
export async function receiveAll(
  t: TestContext,
  broker: BrokerProcess,
  client: V5Client,
): Promise<string[]> {
  const topic = unique('fence/');
  await client.subscribe(topic, 1);
  const sender = await connectClient(t, broker.port);
  await sender.publish(topic, 'fence', { qos: 1 });
  const seen: string[] = [];
  for (;;) {
    const packet = await client.next();
    if (packet.type !== 'publish') continue;
    await client.settle(packet);
    if (packet.topic === topic) return seen;
    seen.push(packet.payload);
  }
}

/** One test for each way to end, with a subtest for each scene. */
export function testScenes(scenes: readonly Scene[]): void {
  for (const way of ['SIGTERM', 'kill -9'] as const) {
    test(`what survives ${way}`, async (t) => {
      const broker = await startBroker(t);
      const checks: { readonly name: string; readonly verify: Verify }[] = [];
      for (const scene of scenes) {
        checks.push({ name: scene.name, verify: await scene.prepare(t, broker, way) });
      }

      await (way === 'SIGTERM' ? broker.stop() : broker.kill());
      await elapse(DOWN_MS);
      await broker.restart();

      for (const { name, verify } of checks) {
        await t.test(name, async (t2) => await verify(t2, broker));
      }
    });
  }
}
