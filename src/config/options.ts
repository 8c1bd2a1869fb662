/**
 * Options as data: a table says what exists, and everything else follows from it: reading the
 * command line, the environment and a file, the errors, the help, and the documentation.
 *
 * A name has one spelling everywhere: `max-packet-size` in a file is `--max-packet-size` as a
 * flag and `TERNMQ_MAX_PACKET_SIZE` in the environment.
 */
import type { Kind } from './kinds.ts';
import { nearest } from './nearest.ts';

/** One option. */
export interface Option<T> {
  readonly kind: Kind<T>;
  /** What holds where nobody says otherwise, as a user would write it; absent: not set. */
  readonly byDefault?: string;
  /** One letter, for `-t`. */
  readonly short?: string;
  /** Whether the environment may set it. */
  readonly environment?: boolean;
  /** Whether a file may set it. */
  readonly file?: boolean;
  /** Heading in help and documentation. */
  readonly group: string;
  /** One sentence for help. */
  readonly text: string;
  /** More, for the documentation only. */
  readonly more?: string;
  /** Never shown. */
  readonly secret?: boolean;
  /** Whether a running broker takes a new value on SIGHUP. */
  readonly reload?: boolean;
}

/** A table of options, by the name the program uses; users see it in kebab case. */
export type OptionTable<T> = { readonly [K in keyof T]-?: Option<T[K]> };

/** Values somebody gave, before they are understood. */
export interface Source {
  /** Where the option was given, for messages: `--open`, `TERNMQ_OPEN`, `ternmq.yaml:3 open`. */
  readonly where: (name: string) => string;
  readonly texts: ReadonlyMap<string, readonly string[]>;
}

/** What came of a table and its sources. */
export interface Resolved<T> {
  readonly values: T;
  /** Where each value came from; `default` where nobody gave it. */
  readonly origins: ReadonlyMap<string, string>;
}

/** What the user asked for cannot be done as asked; every reason, a line each. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/** `maxPacketSize` as users write it: `max-packet-size`. */
export function optionName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The variable that sets the option of that name. */
export function variableName(name: string): string {
  return `TERNMQ_${name.toUpperCase().replaceAll('-', '_')}`;
}

/** Every option of the table, under its user's name. */
export function listOptions<T>(
  table: OptionTable<T>,
): readonly { readonly key: keyof T; readonly name: string; readonly option: Option<unknown> }[] {
  return (Object.keys(table) as (keyof T & string)[]).map((key) => ({
    key,
    name: optionName(key),
    option: table[key] as Option<unknown>,
  }));
}

/** Reads the command line. Bare words go to `operands`; `--` ends the options. */
export function readFlags<T>(
  table: OptionTable<T>,
  argv: readonly string[],
): { readonly source: Source; readonly operands: readonly string[] } {
  const reader = new FlagReader(listOptions(table));
  const operands = reader.read(argv);
  if (reader.problems.length > 0) throw new UsageError(reader.problems);
  return { source: { where: (name) => `--${name}`, texts: reader.texts }, operands };
}

class FlagReader {
  readonly texts: Map<string, string[]> = new Map();
  readonly problems: string[] = [];
  readonly #options: Map<string, Option<unknown>> = new Map();
  readonly #shorts: Map<string, string> = new Map();

  constructor(options: readonly { readonly name: string; readonly option: Option<unknown> }[]) {
    for (const { name, option } of options) {
      this.#options.set(name, option);
      if (option.short !== undefined) this.#shorts.set(option.short, name);
    }
  }

  read(argv: readonly string[]): readonly string[] {
    const operands: string[] = [];
    for (let i = 0; i < argv.length; i++) {
      const word = argv[i]!;
      if (word === '--') return [...operands, ...argv.slice(i + 1)];
      if (!word.startsWith('-') || word === '-') operands.push(word);
      else if (this.#takeFlag(word, argv[i + 1])) i++;
    }
    return operands;
  }

  /** Takes one flag; true where it used the next word as well. */
  #takeFlag(word: string, next: string | undefined): boolean {
    const [spelling, attached] = splitFlag(word);
    const given = word.startsWith('--') ? spelling : (this.#shorts.get(spelling) ?? `-${spelling}`);
    const option = this.#options.get(given);
    if (option === undefined) {
      const positive = given.startsWith('no-') ? given.slice(3) : '';
      if (this.#options.get(positive)?.kind.placeholder === '' && attached === undefined) {
        this.#add(positive, 'false');
      } else {
        this.#unknown(word.startsWith('--') ? `--${spelling}` : `-${spelling}`, spelling);
      }
      return false;
    }
    if (option.kind.placeholder === '') {
      this.#add(given, attached ?? 'true');
      return false;
    }
    if (attached === undefined && next === undefined) {
      this.problems.push(`--${given} needs a value: expected ${option.kind.expected}`);
      return false;
    }
    if (this.texts.has(given) && !option.kind.repeatable) {
      this.problems.push(`--${given} was given more than once`);
    }
    this.#add(given, attached ?? next!);
    return attached === undefined;
  }

  #add(name: string, text: string): void {
    const texts = this.texts.get(name);
    const repeatable = this.#options.get(name)!.kind.repeatable;
    if (texts === undefined || !repeatable) this.texts.set(name, [text]);
    else texts.push(text);
  }

  #unknown(shown: string, spelling: string): void {
    const meant = spelling.length > 1 ? nearest(spelling, this.#options.keys()) : undefined;
    const hint = meant === undefined ? 'see --help' : `did you mean --${meant}?`;
    this.problems.push(`unknown option ${shown}: ${hint}`);
  }
}

/** `--name=value`, `-nvalue`, `-n`, `--name`: the name, and the value where it is attached. */
function splitFlag(word: string): readonly [name: string, attached: string | undefined] {
  if (!word.startsWith('--')) return [word[1]!, word.length > 2 ? word.slice(2) : undefined];
  const equals = word.indexOf('=');
  return equals < 0 ? [word.slice(2), undefined] : [word.slice(2, equals), word.slice(equals + 1)];
}

/** What Kubernetes and Docker tell a container of a service called `ternmq`, or `ternmq-...`. */
const OF_A_SERVICE = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)?)$/;

/**
 * Reads the environment. With `strict`, a `TERNMQ_` variable that no option has is an error:
 * a mistyped limit must not be a limit that silently does not hold. `strict` lists variables of
 * other commands; those that begin with `TERNMQ_TEST_` are the tests', and a container's are
 * nobody's wish.
 */
export function readEnvironment<T>(
  table: OptionTable<T>,
  environment: Readonly<Record<string, string | undefined>>,
  strict?: readonly string[],
): Source {
  const texts = new Map<string, readonly string[]>();
  const known = new Map<string, Option<unknown>>();
  const problems: string[] = [];
  for (const { name, option } of listOptions(table)) {
    if (option.environment === true) known.set(variableName(name), option);
  }
  for (const [variable, text] of Object.entries(environment)) {
    if (text === undefined || !/^TERNMQ_(?!TEST_)/.test(variable)) continue;
    const option = known.get(variable);
    if (option !== undefined) {
      const name = variable.slice('TERNMQ_'.length).toLowerCase().replaceAll('_', '-');
      texts.set(name, option.kind.repeatable ? text.split(/[\s,]+/).filter(Boolean) : [text]);
    } else if (strict?.includes(variable) === false && !OF_A_SERVICE.test(variable)) {
      const meant = nearest(variable, known.keys());
      const hint = meant === undefined ? '' : `: did you mean ${meant}?`;
      problems.push(`unknown environment variable ${variable}${hint}`);
    }
  }
  if (problems.length > 0) throw new UsageError(problems);
  return { where: variableName, texts };
}

/** The default as texts; `undefined`: the option is not set unless somebody sets it. */
export function defaultTexts(option: Option<unknown>): readonly string[] | undefined {
  if (option.byDefault !== undefined) return [option.byDefault];
  return option.kind.repeatable ? [] : undefined;
}

/** The value of every option: the first source that has one wins, then the default. */
export function resolveOptions<T>(table: OptionTable<T>, sources: readonly Source[]): Resolved<T> {
  const values: Partial<T> = {};
  const origins = new Map<string, string>();
  const problems: string[] = [];
  for (const { key, name, option } of listOptions(table)) {
    const source = sources.find((one) => one.texts.has(name));
    const texts = source?.texts.get(name) ?? defaultTexts(option);
    origins.set(name, source?.where(name) ?? 'default');
    if (texts === undefined) {
      values[key] = undefined as T[keyof T];
      continue;
    }
    const value = option.kind.parse(texts);
    if (value === undefined) {
      const shown = option.secret === true ? '(hidden)' : JSON.stringify(texts.join(' '));
      const where = source?.where(name) ?? name;
      problems.push(`${where}: ${shown} is not valid: expected ${option.kind.expected}`);
    }
    values[key] = value as T[keyof T];
  }
  if (problems.length > 0) throw new UsageError(problems);
  return { values: values as T, origins };
}
