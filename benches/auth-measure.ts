/**
 * What a process took, by the kernel's accounts of it. The machine may be shared, so processor time
 * is what counts: it hardly depends on who else is at work, where elapsed time does.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { output } from './brokers.ts';

const KIB = 1024;

/** One line of results; figures by column, `undefined` where there is none. */
export interface Line {
  readonly name: string;
  readonly figures: readonly (number | string | undefined)[];
}

export interface Section {
  readonly title: string;
  readonly columns: readonly string[];
  readonly lines: readonly Line[];
  readonly notes: readonly string[];
}

/** Processor time of all threads of a process that are alive, in microseconds. */
export function cpuUsOf(pid: number): number {
  let ns = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
  }
  return ns / 1000;
}

/** Memory that is the process's own: mapped files can be taken from it at any time. */
export function anonymousBytesOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1]) * KIB;
}

/** Puts a process on a core; false where that cannot be. */
export function pin(pid: number, core: number): boolean {
  return output('taskset', ['-acp', String(core), String(pid)]) !== '';
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function quantile(values: readonly number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? Number.NaN;
}

/** Nanoseconds of processor time for one call, the median of some rounds of `count` calls. */
export async function nsPerCall(
  count: number,
  rounds: number,
  run: (count: number) => void | Promise<void>,
): Promise<number> {
  await run(count); // warms up
  const found: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = process.cpuUsage();
    await run(count);
    const { user, system } = process.cpuUsage(start);
    found.push(((user + system) * 1000) / count);
  }
  return median(found);
}

/** Calls `run` for 0 to `count - 1`, at most `atOnce` of them under way. */
export async function inLanes(
  count: number,
  atOnce: number,
  run: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await run(next++);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, lane));
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
