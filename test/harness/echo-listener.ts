/**
 * A listener without a broker: whoever connects gets back what it sent, and the test can see what
 * a broker would have seen.
 */
import { type Clock, createLog, systemClock, systemRandom, TimerWheel } from '#base';
import type { Transport } from '#broker';
import {
  type EdgeMetrics,
  type Listener,
  type ListenerOptions,
  openListener,
  SocketLimit,
} from '#edge';
import { WAIT_MS_MAX } from './deadline.ts';

/** One connection as the broker would see it. */
export interface Guest {
  readonly transport: Transport;
  /** All that came, as Latin-1. */
  received: string;
  chunkCount: number;
  drainedCount: number;
  closedCount: number;
}

export interface EchoListener extends Listener {
  readonly port: number;
  readonly guests: readonly Guest[];
  readonly sockets: SocketLimit;
  readonly log: readonly string[];
  /** How often a metrics hook was called: `accepted`, `refused tlsTimeout`, `bug` and so on. */
  count(event: string): number;
}

export interface EchoOptions extends Partial<ListenerOptions> {
  /** What a guest's bytes do instead of coming back. */
  readonly onData?: (guest: Guest, chunk: Buffer) => void;
}

/** Opens a listener on a free port of 127.0.0.1 that ends with the test. */
export async function openEcho(
  t: { after(cleanUp: () => void): void },
  { onData, ...options }: EchoOptions = {},
): Promise<EchoListener> {
  const guests: Guest[] = [];
  const counts = new Map<string, number>();
  const log: string[] = [];
  const sockets = new SocketLimit(1_000);
  const wheel = new TimerWheel(systemClock, 10);
  const listener = await openListener({
    url: 'mqtt://127.0.0.1:0',
    wheel,
    clock: systemClock,
    random: systemRandom,
    log: createLog({ level: 'debug', clock: systemClock, write: (line) => void log.push(line) }),
    sockets,
    metrics: recordMetrics(counts),
    doorkeeper: {
      accept: (transport) => {
        const guest = { transport, received: '', chunkCount: 0, drainedCount: 0, closedCount: 0 };
        guests.push(guest);
        return {
          data: (chunk) => {
            guest.received += chunk.toString('latin1');
            guest.chunkCount++;
            if (onData === undefined) transport.send([chunk], 1);
            else onData(guest, chunk);
          },
          drained: () => void guest.drainedCount++,
          closed: () => void guest.closedCount++,
        };
      },
    },
    ...options,
  });
  t.after(() => {
    listener.close();
    for (const guest of guests) guest.transport.destroy();
    wheel.stop();
  });
  return {
    ...listener,
    port: Number(/:(\d+)(\/|$)/.exec(listener.url)?.[1]),
    guests,
    sockets,
    log,
    count: (event) => counts.get(event) ?? 0,
  };
}

function recordMetrics(counts: Map<string, number>): EdgeMetrics {
  const note = (event: string): void => void counts.set(event, (counts.get(event) ?? 0) + 1);
  return {
    accepted: () => note('accepted'),
    closed: () => note('closed'),
    refused: (_, reason) => note(`refused ${reason}`),
    badFrame: () => note('badFrame'),
    acceptFailed: () => note('acceptFailed'),
    bug: () => note('bug'),
  };
}

/** Waits until `fact` holds; fails saying `what` did not come about. */
export async function until(fact: () => boolean, what: string): Promise<void> {
  const clock: Clock = systemClock;
  const endMs = clock.monotonicMs() + WAIT_MS_MAX;
  while (!fact()) {
    if (clock.monotonicMs() > endMs) throw new Error(`not within ${WAIT_MS_MAX} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
