/**
 * Every bound of an instance, once: what it counts, its default in the two kinds of instance,
 * and what happens there. `docs/instance-limits.md` is generated from the table.
 *
 * Only what was set for an instance is stored; a default that changes later holds for the rest.
 */
import { Fault } from '#base';
import type { InstanceKind, InstanceLimits } from './instance.ts';

const NONE = Number.POSITIVE_INFINITY;

export type InstanceLimitName = keyof InstanceLimits;

export interface InstanceLimitRow {
  readonly name: InstanceLimitName;
  readonly unit: string;
  /** `Infinity`: no bound. */
  readonly compatible: number;
  readonly open: number;
  readonly policy: string;
  /** `product`: its documented number; `ours`: it has or documents none. */
  readonly source: 'product' | 'ours';
  /** What it can be set to. */
  readonly min: number;
  readonly max: number;
}

/** How "no bound" is written in the control API. */
export const NO_BOUND = -1;

const DAY_MS = 86_400_000;
const EXPIRY_SECONDS_MAX = 0xffff_ffff;

type Numbers = readonly [compatible: number, open: number, min: number, max: number];

// biome-ignore format: a table reads in columns
const NUMBERS: Readonly<Record<InstanceLimitName, Numbers>> = {
  connectionCountMax:        [NONE,        NONE,    0,     1e9],
  connectsPerSecondMax:      [NONE,        NONE,    0,     1e9],
  messagesPerSecondMax:      [NONE,        NONE,    0,     1e9],
  subscriptionsPerClientMax: [30,          NONE,    0,     1e9],
  subscriptionCountMax:      [NONE,        NONE,    0,     1e9],
  wildcardsPerTopicMax:      [100,         NONE,    0,     1e9],
  parentTopicCountMax:       [25,          10_000,  0,     100_000],
  groupCountMax:             [10_000,      10_000,  0,     100_000],
  topicCharsMax:             [64,          NONE,    3,     65_535],
  clientIdCharsMax:          [64,          NONE,    1,     65_535],
  payloadBytesMax:           [65_536,      NONE,    0,     268_435_455],
  packetBytesMax:            [131_072,     NONE,    1024,  268_435_460],
  keepAliveSecondsMax:       [480,         NONE,    1,     65_535],
  sessionExpirySecondsMin:   [600,         0,       0,     EXPIRY_SECONDS_MAX],
  sessionExpirySecondsMax:   [0x7fff_ffff, NONE,    0,     EXPIRY_SECONDS_MAX],
  offlineMessageCountMax:    [1_000_000,   NONE,    0,     1e12],
  offlineMessageAgeMs:       [3 * DAY_MS,  NONE,    1000,  3650 * DAY_MS],
  customAuthRowCountMax:     [NONE,        NONE,    0,     1e9],
};

/** The table behind `docs/instance-limits.md`. */
export const INSTANCE_LIMITS: readonly InstanceLimitRow[] = [
  row('connectionCountMax', 'connections', 'CONNECT is refused with 0x97 (3.x: 3)', 'ours'),
  row('connectsPerSecondMax', 'CONNECTs/s', 'CONNECT is refused with 0x9F (3.x: 3)', 'ours'),
  row(
    'messagesPerSecondMax',
    'weighed messages/s, both ways',
    'PUBLISH is refused with 0x97',
    'ours',
  ),
  row('subscriptionsPerClientMax', 'filters a session', 'SUBACK 0x97 (3.x: 0x80)', 'product'),
  row('subscriptionCountMax', 'filters of all sessions', 'SUBACK 0x97 (3.x: 0x80)', 'ours'),
  row(
    'wildcardsPerTopicMax',
    'different wildcard filters a parent topic',
    'SUBACK 0x97 (3.x: 0x80)',
    'product',
  ),
  row('parentTopicCountMax', 'parent topics', 'no further one can be made', 'product'),
  row('groupCountMax', 'groups', 'no further one can be made', 'ours'),
  row('topicCharsMax', 'characters', 'PUBLISH 0x90, SUBACK 0x8F', 'product'),
  row('clientIdCharsMax', 'characters', 'CONNECT is refused with 0x85 (3.x: 2)', 'product'),
  row('payloadBytesMax', 'bytes', 'PUBLISH is refused with 0x97, or DISCONNECT 0x95', 'product'),
  row('packetBytesMax', 'bytes', 'DISCONNECT 0x95 (3.x: close)', 'product'),
  row('keepAliveSecondsMax', 's', 'a longer one is cut; 5.0 is told', 'product'),
  row(
    'sessionExpirySecondsMin',
    's',
    'a shorter one that is not 0 is raised; 5.0 is told',
    'product',
  ),
  row('sessionExpirySecondsMax', 's', 'a longer one is cut; 5.0 is told', 'product'),
  row('offlineMessageCountMax', 'messages', 'the oldest make room', 'product'),
  row('offlineMessageAgeMs', 'ms', 'older ones are dropped', 'product'),
  row(
    'customAuthRowCountMax',
    'custom identities, rules, refused clients',
    'no further one can be made',
    'ours',
  ),
];

/** The bounds of an instance of that kind for which `set` was set. */
export function limitsOf(kind: InstanceKind, set: Partial<InstanceLimits>): InstanceLimits {
  const limits: Partial<Record<InstanceLimitName, number>> = {};
  for (const row of INSTANCE_LIMITS) limits[row.name] = set[row.name] ?? row[kind];
  return limits as InstanceLimits;
}

/** New bounds by name; `undefined` sets one back to its default. */
export type LimitChanges = {
  readonly [Name in InstanceLimitName]?: number | undefined;
};

/** What is set once `changes` are made to `set`. A Fault `invalidParameter` for what cannot be. */
export function mergeLimits(
  kind: InstanceKind,
  set: Partial<InstanceLimits>,
  changes: LimitChanges,
): Partial<InstanceLimits> {
  const merged: Partial<Record<InstanceLimitName, number>> = { ...set };
  for (const [name, value] of Object.entries(changes)) {
    const row = INSTANCE_LIMITS.find((one) => one.name === name);
    if (row === undefined) throw new Fault('invalidParameter', `there is no limit ${name}`);
    if (value === undefined) delete merged[row.name];
    else merged[row.name] = checked(row, value);
  }
  const { sessionExpirySecondsMin, sessionExpirySecondsMax } = limitsOf(kind, merged);
  if (sessionExpirySecondsMin > sessionExpirySecondsMax) {
    const both = 'sessionExpirySecondsMin and sessionExpirySecondsMax';
    throw new Fault('invalidParameter', `${both} leave nothing between them`);
  }
  return merged;
}

function checked(row: InstanceLimitRow, value: number): number {
  // A bound that every kind of instance has is one of ours as well: memory, or sense.
  const boundless = row.compatible === NONE || row.open === NONE;
  if (value === NONE && boundless) return value;
  if (!Number.isSafeInteger(value) || value < row.min || value > row.max) {
    const range = `a whole number from ${row.min} to ${row.max}${boundless ? ', or no bound' : ''}`;
    throw new Fault('invalidParameter', `${row.name} is ${range}`);
  }
  return value;
}

function row(
  name: InstanceLimitName,
  unit: string,
  policy: string,
  source: 'product' | 'ours',
): InstanceLimitRow {
  const [compatible, open, min, max] = NUMBERS[name];
  return { name, unit, compatible, open, policy, source, min, max };
}
