/**
 * Instances, groups and parent topics as rows: JSON, so that a later version can add fields.
 *
 *   instances      <id in lower case>               no two ids differ in case alone: host names
 *   groups         <instance id>/<group id>
 *   parent-topics  <instance id>/<topic in lower case>
 */
import type { InstanceKind, InstanceLimits, Overstepping } from './instance.ts';
import { INSTANCE_LIMITS, type InstanceLimitName, NO_BOUND } from './limits.ts';
import type { TagRecord } from './tags.ts';

export interface InstanceRow {
  readonly id: string;
  readonly kind: InstanceKind;
  readonly name: string;
  /** What was set; the rest are defaults. */
  readonly limits: Partial<InstanceLimits>;
  readonly overstepping: Overstepping;
  readonly trailingSlash: boolean;
  readonly authentication: Readonly<Record<string, unknown>>;
  readonly withdrawn: boolean;
  readonly tags: TagRecord;
  readonly createdMs: number;
  readonly updatedMs: number;
  /** It is removed; what belonged to it is being cleared away. */
  readonly leaving: boolean;
}

export interface GroupRow {
  readonly tags: TagRecord;
  readonly createdMs: number;
  readonly updatedMs: number;
}

export interface ParentTopicRow {
  readonly topic: string;
  readonly createdMs: number;
}

export function encodeInstance(row: InstanceRow): Uint8Array {
  const limits: Record<string, number> = {};
  for (const [name, value] of Object.entries(row.limits)) {
    // JSON knows no Infinity.
    limits[name] = value === Number.POSITIVE_INFINITY ? NO_BOUND : value;
  }
  return encode({ ...row, limits });
}

export function decodeInstance(bytes: Uint8Array): InstanceRow {
  const row = decode(bytes) as Partial<InstanceRow> &
    Pick<InstanceRow, 'id' | 'kind' | 'createdMs'>;
  const limits: Partial<Record<InstanceLimitName, number>> = {};
  for (const { name } of INSTANCE_LIMITS) {
    const value = row.limits?.[name];
    if (value !== undefined) limits[name] = value === NO_BOUND ? Number.POSITIVE_INFINITY : value;
  }
  return {
    id: row.id,
    kind: row.kind,
    name: row.name ?? row.id,
    limits,
    overstepping: row.overstepping ?? 'reject',
    trailingSlash: row.trailingSlash ?? false,
    authentication: row.authentication ?? {},
    withdrawn: row.withdrawn ?? false,
    tags: row.tags ?? {},
    createdMs: row.createdMs,
    updatedMs: row.updatedMs ?? row.createdMs,
    leaving: row.leaving ?? false,
  };
}

export function encodeGroup(row: GroupRow): Uint8Array {
  return encode(row);
}

export function decodeGroup(bytes: Uint8Array): GroupRow {
  return decode(bytes) as GroupRow;
}

export function encodeParentTopic(row: ParentTopicRow): Uint8Array {
  return encode(row);
}

export function decodeParentTopic(bytes: Uint8Array): ParentTopicRow {
  return decode(bytes) as ParentTopicRow;
}

function encode(row: object): Uint8Array {
  return Buffer.from(JSON.stringify(row));
}

function decode(bytes: Uint8Array): unknown {
  return JSON.parse(Buffer.from(bytes).toString());
}
