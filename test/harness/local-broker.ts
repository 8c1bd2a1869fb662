/**
 * A broker inside the test's own process, over the memory engine: for what needs an authenticator,
 * a limit or a clock of the test's own. What a black box can show belongs to `startBroker`.
 */
import { openMemoryEngine } from '#adapters/memory';
import { type Clock, type Random, silentLog, systemClock, systemRandom, TimerWheel } from '#base';
import { type Broker, DEFAULT_LIMITS, type Limits, openBroker } from '#broker';
import { openListener, SocketLimit } from '#edge';
import type { Authenticator } from '#identity';
import { DEFAULT_INSTANCE_ID, type Instances, openInstances } from '#instances';
import type { Engine } from '#ports';
import { Metrics } from '#telemetry';

export interface LocalBrokerOptions {
  readonly authenticator?: (instances: Instances) => Authenticator;
  readonly limits?: Partial<Limits>;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly engine?: Engine;
}

function admitEverybody(instances: Instances): Authenticator {
  return {
    authenticate: ({ userName }) => ({
      instance: instances.find(DEFAULT_INSTANCE_ID)!,
      userName,
      permissions: undefined,
    }),
    exchange: () => undefined,
  };
}

/** Opens a broker that ends with the test. */
export async function openLocalBroker(
  scope: { after(cleanUp: () => Promise<void>): void },
  options: LocalBrokerOptions = {},
): Promise<Broker> {
  const clock = options.clock ?? systemClock;
  const engine = options.engine ?? openMemoryEngine({ clock });
  const random = options.random ?? systemRandom;
  const instances = await openInstances({
    store: engine.store,
    clock,
    random,
    log: silentLog,
    defaultId: DEFAULT_INSTANCE_ID,
    openDefault: true,
  });
  const broker = await openBroker({
    engine,
    clock,
    random,
    log: silentLog,
    metrics: new Metrics(),
    instances,
    defaultInstanceId: DEFAULT_INSTANCE_ID,
    authenticator: options.authenticator?.(instances) ?? admitEverybody(instances),
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    retention: { ageMs: 3 * 86_400_000, bytesMax: 1024 ** 3, countMax: 1_000_000 },
  });
  scope.after(async () => {
    await broker.close();
    instances.close();
    await engine.close();
  });
  return broker;
}

/** Opens a TCP door to it on a free port of 127.0.0.1, and says which. */
export async function openLocalDoor(
  scope: { after(cleanUp: () => void): void },
  broker: Broker,
): Promise<number> {
  const wheel = new TimerWheel(systemClock);
  const listener = await openListener({
    url: 'mqtt://127.0.0.1:0',
    doorkeeper: broker,
    wheel,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    sockets: new SocketLimit(1_000),
  });
  scope.after(() => {
    listener.close();
    wheel.stop();
  });
  return Number(/:(\d+)$/.exec(listener.url)?.[1]);
}
