/**
 * An action's arguments, read from the parameters of a request by the action's table.
 *
 * Names count exactly, case included. What the table does not name is ignored: clients add
 * parameters of their own. An empty value is the same as none.
 */
import type { Action, Arguments, ArgumentValue, Parameter, Tag } from './action.ts';
import { parameterFault } from './fault-translation.ts';
import { LIST_COUNT_MAX } from './limits.ts';

/** Reads and checks every argument, or throws the action's fault for the first that is wrong. */
export function readArguments(action: Action, parameters: ReadonlyMap<string, string>): Arguments {
  const result: Record<string, ArgumentValue | undefined> = Object.create(null);
  for (const parameter of action.parameters) {
    const complain = (what: string): never => {
      throw parameterFault(action, parameter.name, `${parameter.name} ${what}.`);
    };
    const value = readOne(parameter, parameters, complain);
    if (value !== undefined) result[parameter.name] = value;
    else if (parameter.required) complain('is missing');
  }
  return result;
}

type Complain = (what: string) => never;

function readOne(
  parameter: Parameter,
  parameters: ReadonlyMap<string, string>,
  complain: Complain,
): ArgumentValue | undefined {
  if (parameter.type === 'list') {
    const list = readMembers(parameters, parameter.name, '').map(([, value]) => value);
    for (const text of list) checkText(parameter, text, complain);
    return checkCount(parameter, list, complain);
  }
  if (parameter.type === 'tags') {
    return checkCount(parameter, readTags(parameter, parameters, complain), complain);
  }
  const text = parameters.get(parameter.name) ?? '';
  if (text === '') return undefined;
  switch (parameter.type) {
    case 'integer':
    case 'long':
      return readNumber(parameter, text, complain);
    case 'boolean':
      // One SDK writes its language's own capitals.
      if (!/^(true|false)$/i.test(text)) complain('is neither true nor false');
      return text.toLowerCase() === 'true';
    case 'json':
      checkJson(text, complain);
      return checkText(parameter, text, complain);
    case 'string':
      return checkText(parameter, text, complain);
  }
}

function checkText(parameter: Parameter, text: string, complain: Complain): string {
  const { charsMax, oneOf } = parameter;
  if (charsMax !== undefined && text.length > charsMax) {
    complain(`has more than ${charsMax} characters`);
  }
  if (oneOf !== undefined && !oneOf.includes(text)) complain(`is none of ${oneOf.join(', ')}`);
  return text;
}

function readNumber(parameter: Parameter, text: string, complain: Complain): number {
  const value = /^-?\d{1,15}$/.test(text) ? Number(text) : complain('is not a whole number');
  if (value < (parameter.min ?? value)) complain(`is less than ${parameter.min}`);
  if (value > (parameter.max ?? value)) complain(`is more than ${parameter.max}`);
  return value;
}

function checkJson(text: string, complain: Complain): void {
  try {
    JSON.parse(text);
  } catch {
    complain('is not JSON');
  }
}

function checkCount<T>(
  parameter: Parameter,
  list: readonly T[],
  complain: Complain,
): readonly T[] | undefined {
  if (list.length === 0) return undefined;
  const countMax = parameter.max ?? LIST_COUNT_MAX;
  if (list.length > countMax) complain(`has more than ${countMax} members`);
  if (list.length < (parameter.min ?? 0)) complain(`has fewer than ${parameter.min} members`);
  return list;
}

function readTags(
  parameter: Parameter,
  parameters: ReadonlyMap<string, string>,
  complain: Complain,
): readonly Tag[] {
  const { name } = parameter;
  const values = new Map(readMembers(parameters, name, '.Value'));
  const keys = readMembers(parameters, name, '.Key');
  const known = new Set(keys.map(([place]) => place));
  for (const place of values.keys()) {
    if (!known.has(place)) complain(`has a value without a key (${name}.${place}.Key)`);
  }
  return keys.map(([place, key]) => {
    if (key === '') complain('has an empty key');
    return { key, value: values.get(place) ?? '' };
  });
}

/** `Name.1`, `Name.2` and so on in the order of their numbers; gaps do no harm. */
function readMembers(
  parameters: ReadonlyMap<string, string>,
  name: string,
  ending: string,
): (readonly [place: number, value: string])[] {
  const members: (readonly [number, string])[] = [];
  for (const [full, value] of parameters) {
    if (!full.startsWith(`${name}.`) || !full.endsWith(ending)) continue;
    const place = full.slice(name.length + 1, full.length - ending.length);
    if (/^[1-9]\d{0,5}$/.test(place)) members.push([Number(place), value]);
  }
  return members.sort(([one], [other]) => one - other);
}
