/**
 * The words after `ternmq api ACTION`, as parameters of that action.
 *
 * A flag with a capital is a parameter, under the name that it has on the wire; the others are
 * the command's own. Lists are given by repeating the flag, tags as `--Tag KEY=VALUE`.
 */
import { nearest, UsageError } from '#config';

/** An action, as this command needs to know it. */
export interface ApiAction {
  readonly name: string;
  readonly family: string;
  readonly about: string;
  readonly parameters: readonly ApiParameter[];
}

export interface ApiParameter {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  readonly about: string;
}

type Pair = readonly [name: string, value: string];

/** Words sorted into the action's name, its parameters, and the rest. */
export interface ApiWords {
  readonly name: string | undefined;
  readonly given: readonly (readonly [flag: string, value: string | undefined])[];
  readonly rest: readonly string[];
}

/** The command's own flags that are followed by a value. */
const WITH_VALUE: ReadonlySet<string> = new Set(['--endpoint', '--ca']);

/** Sorts the words; nothing is checked yet but the form of a flag. */
export function sortWords(argv: readonly string[]): ApiWords {
  let name: string | undefined;
  const given: (readonly [string, string | undefined])[] = [];
  const rest: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!;
    const [, flag, attached] = /^--([A-Z][^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    if (flag !== undefined) {
      const next = argv[i + 1];
      // A payload may begin with a dash; what looks like another flag is one.
      const apart = attached === undefined && next !== undefined && !/^--[A-Za-z]/.test(next);
      if (apart) i++;
      given.push([flag, attached ?? (apart ? next : undefined)]);
    } else if (WITH_VALUE.has(word)) {
      rest.push(word, ...argv.slice(i + 1, i + 2));
      i++;
    } else if (!word.startsWith('-') && name === undefined) name = word;
    else rest.push(word);
  }
  return { name, given, rest };
}

/** The action of that name, or what is wrong with the name. */
export function findAction(actions: readonly ApiAction[], name: string): ApiAction {
  const action = actions.find((one) => one.name === name);
  if (action !== undefined) return action;
  const same = actions.find((one) => one.name.toLowerCase() === name.toLowerCase())?.name;
  const meant =
    same ??
    nearest(
      name,
      actions.map((one) => one.name),
    );
  const hint = meant === undefined ? 'see ternmq api --help' : `did you mean ${meant}?`;
  throw new UsageError([`unknown action ${name}: ${hint}`]);
}

/** Checks what was given against the action's table; every problem at once. */
export function readParameters(action: ApiAction, given: ApiWords['given']): readonly Pair[] {
  const pairs: Pair[] = [];
  const problems: string[] = [];
  const counts = new Map<string, number>();
  for (const [flag, value] of given) {
    const base = flag.split('.')[0]!;
    const parameter = action.parameters.find(({ name }) => name === base);
    if (parameter === undefined) {
      problems.push(unknownParameter(action, flag));
      continue;
    }
    const text = value ?? (parameter.type === 'boolean' ? 'true' : undefined);
    if (text === undefined) {
      problems.push(`--${flag} needs a value`);
      continue;
    }
    const count = (counts.get(base) ?? 0) + 1;
    counts.set(base, count);
    pairs.push(...write(parameter, flag, text, count, problems));
  }
  for (const { name, required } of action.parameters) {
    if (required && !counts.has(name)) problems.push(`--${name} is missing`);
  }
  if (problems.length > 0) throw new UsageError(problems);
  return pairs;
}

function unknownParameter(action: ApiAction, flag: string): string {
  const names = action.parameters.map(({ name }) => name);
  const same = names.find((name) => name.toLowerCase() === flag.toLowerCase());
  const meant = same ?? nearest(flag, names);
  const see = `see ternmq api ${action.name} --help`;
  const hint = meant === undefined ? see : `did you mean --${meant}?`;
  return `${action.name} has no parameter --${flag}: ${hint}`;
}

/** The parameter as it travels. Names that carry their number are left as they are. */
function write(
  parameter: ApiParameter,
  flag: string,
  text: string,
  count: number,
  problems: string[],
): readonly Pair[] {
  const { name, type } = parameter;
  const numbered = flag !== name;
  if (type === 'list') return [[numbered ? flag : `${name}.${count}`, text]];
  if (type === 'tags') {
    if (numbered) return [[flag, text]];
    const equals = text.indexOf('=');
    if (equals > 0) {
      const tag = `${name}.${count}`;
      return [
        [`${tag}.Key`, text.slice(0, equals)],
        [`${tag}.Value`, text.slice(equals + 1)],
      ];
    }
    problems.push(`--${name}: ${JSON.stringify(text)} is not of the form KEY=VALUE`);
    return [];
  }
  if (numbered) problems.push(`--${flag}: ${name} is no list`);
  else if (count > 1) problems.push(`--${name} was given more than once`);
  if (/^(integer|long)$/.test(type) && !/^-?\d+$/.test(text)) {
    problems.push(`--${name}: ${JSON.stringify(text)} is not a whole number`);
  }
  if (type === 'boolean' && !/^(true|false)$/.test(text)) {
    problems.push(`--${name}: ${JSON.stringify(text)} is neither true nor false`);
  }
  return [[name, text]];
}
