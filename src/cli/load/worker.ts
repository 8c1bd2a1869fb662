/**
 * A load worker: a process of its own, told what to do by its parent over the IPC channel. It
 * ends when its report is given or its parent is gone.
 */
import { systemClock } from '#base';
import { runFlow, type Stage } from './flow-workloads.ts';
import { LoadContext } from './load-context.ts';
import type { LoadPlan, Share, WorkerOrder, WorkerReport, WorkerWord } from './plan.ts';
import { runConnect, runOffline, runRetained } from './session-workloads.ts';

/** The argument that makes this file a worker; merely importing it does nothing. */
export const WORKER_ARGUMENT = 'ternmq-load-worker';

/** Listens to the parent process. */
export function startWorker(): void {
  let release: (() => void) | undefined;
  const say = (word: WorkerWord): void => {
    process.send?.(word);
  };
  const stage: Stage = {
    barrier(step) {
      const { promise, resolve } = Promise.withResolvers<void>();
      release = resolve;
      say({ kind: 'waiting', step });
      return promise;
    },
    progress: (step, count) => say({ kind: 'progress', step, count }),
  };
  process.on('disconnect', () => process.exit(1));
  process.on('message', (order: WorkerOrder) => {
    if (order.kind === 'go') {
      release?.();
      return;
    }
    run(order.plan, order.share, stage).then(
      (report) => say({ kind: 'report', report }),
      (error: unknown) => {
        say({ kind: 'failed', text: error instanceof Error ? error.message : String(error) });
      },
    );
  });
}

function run(plan: LoadPlan, share: Share, stage: Stage): Promise<WorkerReport> {
  const context = new LoadContext(plan, share, systemClock);
  const racing: Stage = {
    barrier: (step) => context.race(stage.barrier(step)),
    progress: stage.progress,
  };
  switch (plan.workload) {
    case 'connect':
      return runConnect(context, racing);
    case 'offline':
      return runOffline(context, racing);
    case 'retained':
      return runRetained(context, racing);
    case 'pairs':
    case 'fan-in':
    case 'fan-out':
    case 'wildcards':
    case 'shared':
    case 'trickle':
    case 'latency':
      return runFlow(context, racing);
  }
}

if (process.argv[2] === WORKER_ARGUMENT) startWorker();
