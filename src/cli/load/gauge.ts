/**
 * Processor time and memory over a stretch of a run, of this process and of the broker's. It is
 * what tells a slow broker from a slow generator.
 */
import { readFileSync } from 'node:fs';
import type { LoadContext } from './load-context.ts';
import type { BrokerUse } from './plan.ts';

/** Linux counts processor time in hundredths of a second, on every machine it runs on. */
const TICK_MS = 10;
const KIB = 1024;

export interface Use {
  readonly generatorCpuPercent: number;
  readonly broker: BrokerUse | undefined;
}

/** Begins to measure; the returned function says what was used since. */
export function startGauge(context: LoadContext): () => Use {
  const { brokerPid } = context.plan;
  const startMs = context.nowMs();
  const own = process.cpuUsage();
  const before = readProcess(brokerPid);
  return () => {
    const elapsedMs = context.nowMs() - startMs;
    const used = process.cpuUsage(own);
    const after = readProcess(brokerPid);
    return {
      generatorCpuPercent: ((used.user + used.system) / 1000 / elapsedMs) * 100,
      broker:
        before === undefined || after === undefined
          ? undefined
          : {
              cpuPercent: ((after.cpuMs - before.cpuMs) / elapsedMs) * 100,
              rssBytesBefore: before.rssBytes,
              rssBytesAfter: after.rssBytes,
            },
    };
  };
}

/** `undefined` where the system does not tell: another machine, another system. */
function readProcess(pid: number): { cpuMs: number; rssBytes: number } | undefined {
  if (pid === 0) return undefined;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const rss = /^VmRSS:\s+(\d+)/m.exec(status);
    return {
      cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS,
      rssBytes: Number(rss?.[1] ?? 0) * KIB,
    };
  } catch {
    return undefined;
  }
}
