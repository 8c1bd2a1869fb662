/**
 * The limits of an instance as parameters and in answers: each by a name of its own
 * (`PayloadBytesMax`), or several as JSON.
 */
import { Fault } from '#base';
import {
  INSTANCE_LIMITS,
  type InstanceLimitName,
  type InstanceLimits,
  type LimitChanges,
  NO_BOUND,
} from '#instances';
import { type Call, number, type Parameter, text } from '../action.ts';

const NONE = Number.POSITIVE_INFINITY;

/** A limit's name in parameters and answers. */
export function limitField(name: InstanceLimitName): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

export const LIMIT_PARAMETERS: readonly Parameter[] = [
  {
    name: 'Limits',
    type: 'json',
    required: false,
    about:
      'Limits by name as JSON, `{"PayloadBytesMax":1024}`; -1: no bound, null: the default of ' +
      'its kind.',
  },
  ...INSTANCE_LIMITS.map(
    (row): Parameter => ({
      name: limitField(row.name),
      type: 'long',
      required: false,
      about: `A limit, in ${row.unit}; -1: no bound.`,
      min: NO_BOUND,
    }),
  ),
];

/** What the call changes; a limit given by its own name counts more than one in `Limits`. */
export function limitChanges(call: Call): LimitChanges {
  const changes: { [Name in InstanceLimitName]?: number | undefined } = {};
  for (const [field, value] of Object.entries(readJson(text(call, 'Limits')))) {
    changes[limitName(field)] = readValue(field, value);
  }
  for (const { name } of INSTANCE_LIMITS) {
    const value = number(call, limitField(name));
    if (value !== undefined) changes[name] = value === NO_BOUND ? NONE : value;
  }
  return changes;
}

/** Limits as answers hold them. */
export function answerLimits(limits: InstanceLimits): Readonly<Record<string, number>> {
  const answer: Record<string, number> = {};
  for (const { name } of INSTANCE_LIMITS) {
    answer[limitField(name)] = limits[name] === NONE ? NO_BOUND : limits[name];
  }
  return answer;
}

function readJson(json: string): object {
  const parsed: unknown = json === '' ? {} : JSON.parse(json);
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed;
  throw new Fault('invalidParameter', 'Limits is not a JSON object.');
}

function limitName(field: string): InstanceLimitName {
  const row = INSTANCE_LIMITS.find(({ name }) => name === field || limitField(name) === field);
  if (row === undefined) throw new Fault('invalidParameter', `There is no limit ${field}.`);
  return row.name;
}

function readValue(field: string, value: unknown): number | undefined {
  if (value === null) return undefined;
  // JSON writes no infinity, yet 1e309 is read as one, which would be no bound.
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw new Fault('invalidParameter', `${field} is not a number.`);
  }
  return value === NO_BOUND ? NONE : value;
}
