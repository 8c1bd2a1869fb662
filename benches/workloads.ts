/** The rows of the benchmark: what is run, which figures are shown, and what they should reach. */
import { SHAPES } from '../src/cli/load/defaults.ts';
import type { LoadPlan, Workload } from '../src/cli/load/plan.ts';

export interface Figure {
  /** The measure of a result. */
  readonly measure: string;
  readonly title: string;
  readonly unit: string;
  /** Ratio to mosquitto, or an absolute bound where `isAbsolute`. */
  readonly target: number;
  readonly isLowerBetter?: boolean;
  readonly isAbsolute?: boolean;
}

export interface Row {
  readonly id: string;
  readonly workload: Workload;
  readonly changes: Partial<LoadPlan>;
  readonly figures: readonly Figure[];
}

const FLOW_UNIT = 'k msg/s';

function flow(
  id: string,
  workload: Workload,
  title: string,
  target: number,
  changes: Partial<LoadPlan> = {},
): Row {
  const figures: Figure[] = [{ measure: 'delivered', title, unit: FLOW_UNIT, target }];
  return { id, workload, changes, figures };
}

/** Sessions away, filled by publishers with this window. */
function offline(window: number): Row {
  return {
    id: `offline-w${window}`,
    workload: 'offline',
    changes: { qos: 1, windowCount: window },
    figures: [
      { measure: 'fill', title: `offline fill, window ${window}`, unit: FLOW_UNIT, target: 1 },
      { measure: 'drain', title: `offline drain, window ${window}`, unit: FLOW_UNIT, target: 1 },
    ],
  };
}

const PAIRS_500 = { publishers: 500, subscribers: 500 };

// biome-ignore format: a table reads in columns
export const ROWS: readonly Row[] = [
  flow('pairs-qos0',     'pairs',     'pairs, QoS 0', 8),
  flow('pairs-qos1',     'pairs',     'pairs, QoS 1', 5, { qos: 1 }),
  flow('pairs-qos2',     'pairs',     'pairs, QoS 2', 4, { qos: 2 }),
  flow('fan-in-qos0',    'fan-in',    'fan-in 50 -> 1, QoS 0', 8),
  flow('fan-in-qos1',    'fan-in',    'fan-in 50 -> 1, QoS 1', 4, { qos: 1 }),
  flow('fan-out-qos0',   'fan-out',   'fan-out 1 -> 1,000, QoS 0', 5),
  flow('fan-out-qos1',   'fan-out',   'fan-out 1 -> 500, QoS 1', 4, { qos: 1, subscribers: 500 }),
  flow('wildcards-qos0', 'wildcards', 'wildcards over 20,000 topics', 8),
  flow('shared-qos0',    'shared',    'shared group of 50', 6),
  flow('trickle-qos0',   'trickle',   'one message per write, QoS 0', 0.9, PAIRS_500),
  flow('trickle-qos1',   'trickle',   'one message per write, QoS 1', 0.8, { ...PAIRS_500, qos: 1 }),
  flow('pairs-16k',      'pairs',     'pairs, 16 KiB, QoS 0', 1.5, { payloadBytes: 16 * 1024 }),
  {
    id: 'latency', workload: 'latency', changes: { ratePerSecond: 20_000 },
    figures: [
      { measure: 'p50', title: 'latency at 20k msg/s, p50', unit: 'ms', target: 1.2, isLowerBetter: true },
      { measure: 'p99', title: 'latency at 20k msg/s, p99', unit: 'ms', target: 2, isLowerBetter: true },
    ],
  },
  {
    id: 'connect', workload: 'connect', changes: { connections: 18_000 },
    figures: [
      { measure: 'memory', title: 'idle connection', unit: 'KB', target: 6, isLowerBetter: true, isAbsolute: true },
      { measure: 'connects', title: 'connects', unit: 'k conn/s', target: 8, isAbsolute: true },
    ],
  },
  offline(20),
  offline(100),
  {
    id: 'retained', workload: 'retained', changes: { qos: 1, measureMs: 2000 },
    figures: [
      { measure: 'store', title: 'retained, store', unit: FLOW_UNIT, target: 1 },
      { measure: 'replay', title: 'retained, replay to #', unit: FLOW_UNIT, target: 2 },
    ],
  },
];

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly pid: number;
}

/** The plan of a row against one broker; `isQuick` is for trying the bench, not the broker. */
export function planOf(row: Row, endpoint: Endpoint, isQuick: boolean): LoadPlan {
  const shape = SHAPES[row.workload];
  const qos = row.changes.qos ?? shape.qos;
  const plan: LoadPlan = {
    workload: row.workload,
    host: endpoint.host,
    port: endpoint.port,
    protocol: 4,
    userName: undefined,
    password: undefined,
    clientIdPrefix: 'bench-',
    topicPrefix: `bench/${row.workload}`,
    qos,
    payloadBytes: 128,
    publishers: shape.publishers,
    subscribers: shape.subscribers,
    topics: shape.topics,
    windowCount: shape.windows[qos],
    ratePerSecond: 0,
    connections: shape.connections,
    messagesPerSession: 100,
    warmUpMs: 1000,
    measureMs: 3000,
    settleMs: 2000,
    stallMs: 8000,
    brokerPid: endpoint.pid,
    ...row.changes,
  };
  if (!isQuick) return plan;
  const connections = Math.min(plan.connections, row.workload === 'offline' ? 200 : 2000);
  return { ...plan, connections, warmUpMs: 300, measureMs: 1000, settleMs: 500, stallMs: 4000 };
}
