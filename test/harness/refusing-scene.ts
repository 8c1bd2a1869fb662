/** A broker whose disk refuses writes when a test says so, and the state a crash would leave. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { silentLog, systemClock } from '#base';
import type { Broker } from '#broker';
import type { Engine } from '#ports';
import { type LocalBrokerOptions, openLocalBroker, openLocalDoor } from './local-broker.ts';
import { lyingDisk, openLmdbEngine } from './lying-disk.ts';
import { until } from './until.ts';
import { connectClient, openClient, type V5Client } from './v5-client.ts';

const REFUSED = { shown: 'none', kept: 'none' } as const;
const properties = { sessionExpiry: 600 };

export interface RefusingScene {
  readonly engine: Engine;
  readonly broker: Broker;
  connect(clientId: string, options?: object): Promise<V5Client>;
  /** Sends CONNECT, and waits for nothing. */
  sendConnect(clientId: string, options?: object): Promise<V5Client>;
  /** From now on the disk takes so many writes and refuses the rest. */
  refuseAfter(count: number): void;
  /** It refuses the one behind so many, and nobody hears of that before `lyingDisk.release`. */
  holdAfter(count: number): void;
  heal(): void;
  /** The disk takes writes again, and the engine has found out. */
  healed(): Promise<void>;
  /** All that was written is on the disk. */
  settled(): Promise<void>;
  /** What a broker finds that is started after this one was killed now. */
  killed(): Promise<RefusingScene>;
}

export async function openRefusingScene(
  t: TestContext,
  options: LocalBrokerOptions = {},
): Promise<RefusingScene> {
  return await openSceneIn(t, await freshDirectory(t), options);
}

async function freshDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'refused-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function openSceneIn(
  t: TestContext,
  directory: string,
  options: LocalBrokerOptions,
): Promise<RefusingScene> {
  const heal = (): void => {
    lyingDisk.decide = () => undefined;
  };
  t.after(() => {
    heal();
    lyingDisk.release();
  });
  const engine = await openLmdbEngine({
    directory,
    clock: systemClock,
    log: silentLog,
    // Nothing is applied: a copy of the directory is what a kill leaves.
    limits: { retryMs: 20, applyDelayMs: 1e9 },
  });
  const broker = await openLocalBroker(t, { ...options, engine });
  const port = await openLocalDoor(t, broker);
  const settled = (): Promise<void> =>
    until(
      () => engine.pendingBytes === 0,
      () => 'all that was written is on the disk',
    );
  return {
    engine,
    broker,
    connect: (clientId, options) => connectClient(t, port, { clientId, properties, ...options }),
    sendConnect: async (clientId, options) => {
      const client = await openClient(t, port);
      client.sendConnect({ clientId, properties, ...options });
      return client;
    },
    refuseAfter: (count) => {
      let left = count;
      lyingDisk.decide = () => (left-- > 0 ? undefined : REFUSED);
    },
    holdAfter: (count) => {
      let left = count;
      lyingDisk.decide = () => {
        if (left-- === 0) lyingDisk.holding = true;
        return undefined;
      };
    },
    heal,
    healed: async () => {
      heal();
      const probe = engine.store.table('probe');
      const takes = (): Promise<boolean> =>
        probe.put('row', Buffer.from('x')).then(
          () => true,
          () => false,
        );
      await until(takes, () => 'the disk takes writes again');
    },
    settled,
    killed: async () => {
      const to = await freshDirectory(t);
      lyingDisk.crash(directory, to, 'kill');
      return await openSceneIn(t, to, options);
    },
  };
}
