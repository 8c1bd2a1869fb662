/**
 * The size and shape of each workload unless told otherwise, and the bounds no option may pass:
 * a typing slip must not become an hour of load.
 */
import type { Workload } from './plan.ts';

export interface Shape {
  readonly about: string;
  readonly publishers: number;
  readonly subscribers: number;
  readonly topics: number;
  readonly connections: number;
  /** Windows by QoS; 0: only back-pressure limits. */
  readonly windows: readonly [qos0: number, qos1: number, qos2: number];
  readonly qos: 0 | 1 | 2;
  /** Which of the counts above `--clients` sets. */
  readonly clients: readonly ('publishers' | 'subscribers' | 'connections')[];
}

const NONE = { publishers: 0, subscribers: 0, topics: 0, connections: 0 } as const;

/**
 * mosquitto takes at most 20 messages of QoS 2 under way before 5.0 and so does nobody harm; at
 * QoS 1 it takes any number.
 */
const WINDOWS = [0, 100, 20] as const;

// biome-ignore format: a table reads in columns
export const SHAPES: Readonly<Record<Workload, Shape>> = {
  pairs: {
    about: 'each publisher has a subscriber and a topic of its own',
    ...NONE, publishers: 50, subscribers: 50, windows: WINDOWS, qos: 0,
    clients: ['publishers', 'subscribers'],
  },
  'fan-in': {
    about: 'many publishers, one subscriber to all their topics',
    ...NONE, publishers: 50, subscribers: 1, windows: WINDOWS, qos: 0, clients: ['publishers'],
  },
  'fan-out': {
    about: 'one publisher, many subscribers to its topic',
    ...NONE, publishers: 1, subscribers: 1000, windows: [200, 200, 20], qos: 0,
    clients: ['subscribers'],
  },
  wildcards: {
    about: 'many topics, subscribers by wildcard',
    ...NONE, publishers: 50, subscribers: 50, topics: 20_000, windows: WINDOWS, qos: 0,
    clients: ['publishers', 'subscribers'],
  },
  shared: {
    about: 'many publishers, one shared group of many members',
    ...NONE, publishers: 50, subscribers: 50, windows: WINDOWS, qos: 0,
    clients: ['publishers', 'subscribers'],
  },
  trickle: {
    about: 'pairs with one message under way each: nothing can be gathered',
    ...NONE, publishers: 500, subscribers: 500, windows: [1, 1, 1], qos: 0,
    clients: ['publishers', 'subscribers'],
  },
  latency: {
    about: 'pairs at a steady offered rate; how long messages take',
    ...NONE, publishers: 50, subscribers: 50, windows: [0, 1000, 1000], qos: 0,
    clients: ['publishers', 'subscribers'],
  },
  connect: {
    about: 'connections that do nothing',
    ...NONE, connections: 1000, windows: WINDOWS, qos: 0, clients: ['connections'],
  },
  offline: {
    about: 'messages for sessions that are away, then all return',
    ...NONE, publishers: 10, connections: 1000, windows: [20, 20, 20], qos: 1,
    clients: ['connections'],
  },
  retained: {
    about: 'retained messages stored, then replayed to new subscribers',
    ...NONE, publishers: 10, topics: 20_000, windows: [100, 100, 20], qos: 1,
    clients: ['publishers'],
  },
};

export type BoundedOption =
  | 'clients'
  | 'topics'
  | 'size'
  | 'seconds'
  | 'warmUp'
  | 'rate'
  | 'window'
  | 'messages'
  | 'processes';

export interface Bound {
  readonly least: number;
  readonly most: number;
}

// biome-ignore format: a table reads in columns
export const BOUNDS: Readonly<Record<BoundedOption, Bound>> = {
  clients:      { least: 1,   most: 60_000 },
  topics:       { least: 1,   most: 99_999 },
  size:         { least: 0,   most: 16 * 1024 * 1024 },
  seconds:      { least: 0.1, most: 3600 },
  warmUp:       { least: 0,   most: 600 },
  rate:         { least: 1,   most: 1_000_000 },
  window:       { least: 0,   most: 60_000 },
  messages:     { least: 1,   most: 100_000 },
  processes:    { least: 1,   most: 64 },
};
