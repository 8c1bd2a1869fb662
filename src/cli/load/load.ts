/**
 * Runs one load plan: starts the workers, keeps them in step, adds up what they report. Whatever
 * happens it comes back, with a result or with the reason there is none, and no worker stays.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Clock, systemClock } from '#base';
import { Histogram } from './histogram.ts';
import type {
  LoadPlan,
  LoadResult,
  Measure,
  WorkerOrder,
  WorkerReport,
  WorkerWord,
} from './plan.ts';
import { WORKER_ARGUMENT } from './worker.ts';

export interface LoadOptions {
  readonly processes: number;
  /** The whole run ends after so long, done or not. */
  readonly deadlineMs: number;
  readonly onProgress?: (step: string, count: number) => void;
}

/** Runs `plan` and resolves to what was measured; it does not reject for what a broker does. */
export async function runLoad(plan: LoadPlan, options: LoadOptions): Promise<LoadResult> {
  const outcome = await gather(plan, options, systemClock);
  return Array.isArray(outcome) ? summarize(plan, outcome) : failure(plan, outcome);
}

/** The reports of all workers, or the text of the first failure. */
function gather(
  plan: LoadPlan,
  options: LoadOptions,
  clock: Clock,
): Promise<WorkerReport[] | string> {
  const { promise, resolve } = Promise.withResolvers<WorkerReport[] | string>();
  const workers: ChildProcess[] = [];
  const reports: WorkerReport[] = [];
  const progress = new Map<ChildProcess, number>();
  let waiting = 0;
  const hear = (worker: ChildProcess, word: WorkerWord): void => {
    if (word.kind === 'failed') resolve(word.text);
    else if (word.kind === 'report') {
      reports.push(word.report);
      if (reports.length === workers.length) resolve(reports);
    } else if (word.kind === 'progress') {
      progress.set(worker, word.count);
      const count = [...progress.values()].reduce((sum, one) => sum + one, 0);
      options.onProgress?.(word.step, count);
    } else {
      waiting += 1;
      if (waiting < workers.length) return;
      waiting = 0;
      progress.clear();
      for (const each of workers) order(each, { kind: 'go' });
    }
  };
  for (let index = 0; index < options.processes; index++) {
    const worker = startWorkerProcess();
    workers.push(worker);
    worker.on('message', (word: WorkerWord) => hear(worker, word));
    worker.on('error', (error) => resolve(`load worker: ${error.message}`));
    worker.on('exit', (code, signal) => resolve(`load worker ended (${signal ?? code})`));
  }
  for (const [index, worker] of workers.entries()) {
    order(worker, { kind: 'start', plan, share: { index, count: workers.length } });
  }
  const text = `not done after ${Math.round(options.deadlineMs / 1000)} s`;
  const cancel = clock.after(options.deadlineMs, () => resolve(text));
  return promise.finally(() => {
    cancel();
    for (const worker of workers) worker.kill('SIGKILL');
  });
}

function order(worker: ChildProcess, message: WorkerOrder): void {
  worker.send(message, () => undefined); // a worker that is gone is heard of by its exit
}

/** The worker's file runs as it lies: source under the `source` condition, else compiled. */
function startWorkerProcess(): ChildProcess {
  const isSource = import.meta.url.endsWith('.ts');
  const file = new URL(isSource ? './worker.ts' : './worker.js', import.meta.url);
  return fork(fileURLToPath(file), [WORKER_ARGUMENT], {
    execArgv: isSource ? ['--conditions=source'] : [],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
}

function summarize(plan: LoadPlan, reports: readonly WorkerReport[]): LoadResult {
  const sum = (pick: (report: WorkerReport) => number): number =>
    reports.reduce((total, report) => total + pick(report), 0);
  const delivered = sum((report) => report.delivered);
  if (plan.publishers > 0 && plan.subscribers > 0 && delivered === 0) {
    return failure(plan, 'nothing was delivered');
  }
  const isSettled = reports.every((report) => report.settled);
  const broker = reports.find((report) => report.broker !== undefined)?.broker;
  return {
    workload: plan.workload,
    measures: [...rates(reports), ...latencies(reports), ...memory(plan, broker)],
    published: sum((report) => report.published),
    delivered,
    lost: isSettled ? Math.max(0, sum((report) => report.expected) - delivered) : undefined,
    redelivered: sum((report) => report.redelivered),
    refused: sum((report) => report.refused),
    generatorCpuPercent: sum((report) => report.generatorCpuPercent),
    broker,
    failure: undefined,
  };
}

/** From the first worker's start of a phase to the last one's end. */
function rates(reports: readonly WorkerReport[]): Measure[] {
  const names = new Set(reports.flatMap((report) => report.phases.map((phase) => phase.name)));
  return [...names].map((name) => {
    const phases = reports.flatMap((one) => one.phases.filter((phase) => phase.name === name));
    const startMs = Math.min(...phases.map((phase) => phase.startMs));
    const endMs = Math.max(...phases.map((phase) => phase.endMs));
    const count = phases.reduce((total, phase) => total + phase.count, 0);
    const value = count / (Math.max(endMs - startMs, 0.001) / 1000);
    return { name, value, unit: phases[0]!.unit };
  });
}

const PERCENTILES: readonly (readonly [name: string, fraction: number])[] = [
  ['p50', 0.5],
  ['p90', 0.9],
  ['p99', 0.99],
  ['p99.9', 0.999],
];

function latencies(reports: readonly WorkerReport[]): Measure[] {
  const histogram = new Histogram();
  for (const report of reports) {
    if (report.latencyUs !== undefined) histogram.add(report.latencyUs);
  }
  if (histogram.total === 0) return [];
  return [
    ...PERCENTILES.map(([name, fraction]) => {
      return { name, value: histogram.percentile(fraction) / 1000, unit: 'ms' };
    }),
    { name: 'max', value: histogram.max / 1000, unit: 'ms' },
  ];
}

function memory(plan: LoadPlan, broker: LoadResult['broker']): Measure[] {
  if (broker === undefined || plan.workload !== 'connect') return [];
  const bytes = (broker.rssBytesAfter - broker.rssBytesBefore) / plan.connections;
  return [{ name: 'memory', value: bytes / 1024, unit: 'KB/conn' }];
}

function failure(plan: LoadPlan, text: string): LoadResult {
  return {
    workload: plan.workload,
    measures: [],
    published: 0,
    delivered: 0,
    lost: undefined,
    redelivered: 0,
    refused: 0,
    generatorCpuPercent: 0,
    broker: undefined,
    failure: text,
  };
}
