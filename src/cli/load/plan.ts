/**
 * What a load run is asked to do and what it found, as plain data: it crosses to the worker
 * processes and back, and every number of a report can be summed over workers.
 */
import type { HistogramCounts } from './histogram.ts';

export type Workload =
  | 'pairs'
  | 'fan-in'
  | 'fan-out'
  | 'wildcards'
  | 'shared'
  | 'trickle'
  | 'latency'
  | 'connect'
  | 'offline'
  | 'retained';

/** One run against one broker. All workers get the same plan and take their share of it. */
export interface LoadPlan {
  readonly workload: Workload;
  readonly host: string;
  readonly port: number;
  readonly protocol: 4 | 5;
  readonly userName: string | undefined;
  readonly password: string | undefined;
  readonly clientIdPrefix: string;
  /** Topics start with it, so that two runs never meet. */
  readonly topicPrefix: string;
  readonly qos: 0 | 1 | 2;
  readonly payloadBytes: number;
  readonly publishers: number;
  readonly subscribers: number;
  /** Distinct topics of `wildcards` and `retained`. */
  readonly topics: number;
  /** Messages a publisher may have unacknowledged; at QoS 0 undelivered, and 0 is no bound. */
  readonly windowCount: number;
  /** Messages a second over all publishers, for `latency`. */
  readonly ratePerSecond: number;
  /** Connections of `connect`, sessions of `offline`. */
  readonly connections: number;
  readonly messagesPerSession: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** How long to wait, after the measuring, for what is still under way. */
  readonly settleMs: number;
  /** No connection or message for so long ends the run as failed. */
  readonly stallMs: number;
  /** To read its memory and processor time where the system tells; 0: unknown. */
  readonly brokerPid: number;
}

/** So many things of one kind between two instants, by a clock the processes agree on. */
export interface Phase {
  readonly name: string;
  readonly unit: string;
  readonly count: number;
  readonly startMs: number;
  readonly endMs: number;
}

/** What one worker saw. */
export interface WorkerReport {
  readonly phases: readonly Phase[];
  readonly published: number;
  readonly delivered: number;
  /** What should have been delivered of `published`. */
  readonly expected: number;
  /** False where messages were still arriving when the wait for them ended. */
  readonly settled: boolean;
  readonly redelivered: number;
  readonly refused: number;
  readonly latencyUs: HistogramCounts | undefined;
  readonly generatorCpuPercent: number;
  readonly broker: BrokerUse | undefined;
}

/** What the broker process took, read from the system. */
export interface BrokerUse {
  readonly cpuPercent: number;
  readonly rssBytesBefore: number;
  readonly rssBytesAfter: number;
}

export interface Measure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

/** All workers together. `failure` says why there are no measures. */
export interface LoadResult {
  readonly workload: Workload;
  readonly measures: readonly Measure[];
  readonly published: number;
  readonly delivered: number;
  /** `undefined`: messages were still arriving, nobody can say. */
  readonly lost: number | undefined;
  readonly redelivered: number;
  readonly refused: number;
  readonly generatorCpuPercent: number;
  readonly broker: BrokerUse | undefined;
  readonly failure: string | undefined;
}

export type WorkerOrder =
  | { readonly kind: 'start'; readonly plan: LoadPlan; readonly share: Share }
  | { readonly kind: 'go' };

export type WorkerWord =
  | { readonly kind: 'waiting'; readonly step: string }
  | { readonly kind: 'progress'; readonly step: string; readonly count: number }
  | { readonly kind: 'report'; readonly report: WorkerReport }
  | { readonly kind: 'failed'; readonly text: string };

/** Which of how many workers this one is. */
export interface Share {
  readonly index: number;
  readonly count: number;
}

/** The clients of `total` that fall to `share`: every worker takes each `count`-th. */
export function indexesOf(total: number, share: Share): number[] {
  const indexes: number[] = [];
  for (let index = share.index; index < total; index += share.count) indexes.push(index);
  return indexes;
}
