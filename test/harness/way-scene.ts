/**
 * What a way of authentication needs around it: an instance over a store in memory, a clock that a
 * test moves, and a client that writes down what it is told.
 */
import { TimerWheel, createSeededRandom, type FaultCode, type Random, silentLog } from '#base';
import { openMemoryEngine } from '#adapters/memory';
import {
  type ConnectRequest,
  createSecretBox,
  isRefusal,
  type LiveClient,
  type SecretBox,
  type Verdict,
} from '#identity';
import { type Instance, type Instances, openInstances } from '#instances';
import type { Store } from '#ports';
import { ManualClock } from './manual-clock.ts';

/** A live connection as identity sees it, and what became of it. */
export interface WatchedClient extends LiveClient {
  readonly told: FaultCode[];
  readonly notices: [topic: string, payload: string][];
  permissionChanges: number;
}

export interface WayScene {
  readonly clock: ManualClock;
  readonly wheel: TimerWheel;
  readonly random: Random;
  readonly store: Store;
  readonly box: SecretBox;
  readonly instances: Instances;
  readonly instance: Instance;
  /** Sets (or takes away) the settings of one way. */
  set(way: string, settings: unknown): Promise<void>;
  request(changes?: Partial<ConnectRequest> & { readonly secret?: string }): ConnectRequest;
}

export async function openWayScene(): Promise<WayScene> {
  const clock = new ManualClock();
  const random = createSeededRandom(7);
  const { store } = openMemoryEngine({ clock });
  const instances = await openInstances({
    store,
    clock,
    random,
    log: silentLog,
    defaultId: 'default',
    openDefault: true,
  });
  const instance = await instances.create({ id: 'plant', kind: 'open' });
  return {
    clock,
    wheel: new TimerWheel(clock),
    random,
    store,
    box: createSecretBox(random.bytes(32), random),
    instances,
    instance,
    async set(way, settings) {
      await instances.update('plant', { authentication: { [way]: settings } });
    },
    request: ({ secret, ...changes } = {}) => ({
      instance,
      protocolVersion: 5,
      clientId: 'sensor-1',
      userName: 'ann',
      password: secret === undefined ? undefined : Buffer.from(secret),
      address: '127.0.0.1',
      listener: 'mqtt://127.0.0.1:1883',
      serverName: undefined,
      certificate: undefined,
      certificateVerified: false,
      ...changes,
    }),
  };
}

export function watchedClient(clientId = 'sensor-1'): WatchedClient {
  const client: WatchedClient = {
    clientId,
    address: '127.0.0.1',
    told: [],
    notices: [],
    permissionChanges: 0,
    notify: (topic, payload) => void client.notices.push([topic, payload]),
    disconnect: (code) => void client.told.push(code),
    permissionsChanged: () => void client.permissionChanges++,
  };
  return client;
}

/** A verdict in a word: `in`, `next` (another way is asked), or why not. */
export function outcomeOf(verdict: Verdict | undefined): string {
  if (verdict === undefined) return 'next';
  return isRefusal(verdict) ? verdict.refused : 'in';
}
