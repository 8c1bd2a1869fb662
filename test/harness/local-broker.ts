/**
 * A broker inside the test's own process, over the memory engine: for what needs an authenticator,
 * a limit or a clock of the test's own. What a black box can show belongs to `startBroker`.
 */
import { openMemoryEngine } from '#adapters/memory';
import { type Clock, type Random, silentLog, systemClock, systemRandom, TimerWheel } from '#base';
import { type Broker, DEFAULT_LIMITS, type Limits, openBroker } from '#broker';
import { openListener, SocketLimit } from '#edge';
import { type Authenticator, createOpenAuthenticator } from '#identity';
import type { Engine } from '#ports';
import { Metrics } from '#telemetry';

export interface LocalBrokerOptions {
  readonly authenticator?: Authenticator;
  readonly limits?: Partial<Limits>;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly engine?: Engine;
}

/** Opens a broker that ends with the test. */
export async function openLocalBroker(
  scope: { after(cleanUp: () => Promise<void>): void },
  options: LocalBrokerOptions = {},
): Promise<Broker> {
  const clock = options.clock ?? systemClock;
  const engine = options.engine ?? openMemoryEngine({ clock });
  const broker = await openBroker({
    engine,
    clock,
    random: options.random ?? systemRandom,
    log: silentLog,
    metrics: new Metrics(),
    authenticator: options.authenticator ?? createOpenAuthenticator(),
    limits: { ...DEFAULT_LIMITS, ...options.limits },
  });
  scope.after(async () => {
    await broker.close();
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
