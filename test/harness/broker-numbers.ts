/** What a broker costs and what it counts: its memory, and the numbers it publishes. */
import { readFileSync } from 'node:fs';
import { until } from './until.ts';
import { SwarmPeer } from './swarm-peer.ts';

const PERIOD_MS = 10_000;

/** Memory a process holds, in bytes; files it maps are the system's to take back. */
export function residentBytes(pid: number): number {
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kilobytes) * 1024;
}

/** Follows a process's memory; `most()` is the largest seen. */
export function watchMemory(
  scope: { after(cleanUp: () => void): void },
  pid: number,
): { most(): number } {
  let most = residentBytes(pid);
  const look = (): number => {
    try {
      most = Math.max(most, residentBytes(pid));
    } catch {
      // it has ended
    }
    return most;
  };
  const timer = setInterval(look, 50);
  scope.after(() => clearInterval(timer));
  return { most: look };
}

export interface BrokerNumbers {
  /** Resolves to a number told after this call, once it satisfies `holds`. */
  next(name: string, holds?: (value: number) => boolean): Promise<number>;
}

/** Listens to `$SYS/broker/...`, which comes every ten seconds. */
export async function brokerNumbers(
  scope: { after(cleanUp: () => void): void },
  port: number,
): Promise<BrokerNumbers> {
  const told = new Map<string, { readonly value: number; readonly serial: number }>();
  let serial = 0;
  let ready = false;
  const peer = new SwarmPeer(
    port,
    { clientId: 'numbers', clean: true },
    {
      connack: () => peer.subscribe(1, [['$SYS/broker/#', 0]]),
      suback: () => {
        ready = true;
      },
      publish: ({ topic, payload }) => {
        told.set(topic.slice('$SYS/broker/'.length), { value: Number(payload), serial: ++serial });
      },
    },
  );
  scope.after(() => peer.drop());
  await until(
    () => ready,
    () => 'no SUBACK for $SYS/broker/#',
  );
  return {
    next: async (name, holds = () => true) => {
      const after = serial;
      const fresh = (): number | undefined => {
        const found = told.get(name);
        return found !== undefined && found.serial > after ? found.value : undefined;
      };
      await until(
        () => {
          const value = fresh();
          return value !== undefined && holds(value);
        },
        () => `$SYS/broker/${name} is ${fresh()}`,
        PERIOD_MS * 3,
        50,
      );
      return fresh()!;
    },
  };
}
