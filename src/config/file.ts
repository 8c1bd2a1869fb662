/** The configuration file: YAML, one flat mapping, checked by name before it is believed. */
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import { nearest } from './nearest.ts';
import { listOptions, type OptionTable, type Source, UsageError } from './options.ts';

/** Reads the settings in `text`; `path` is for messages. */
export function readFileSettings<T>(table: OptionTable<T>, path: string, text: string): Source {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const problems = document.errors.map(
    (error) => `${path}:${error.linePos?.[0].line ?? 1}: ${error.message.split('\n')[0]}`,
  );
  if (problems.length > 0) throw new UsageError(problems);
  const allowed = listOptions(table).filter(({ option }) => option.file === true);
  const names = new Set(allowed.map(({ name }) => name));
  const texts = new Map<string, readonly string[]>();
  const places = new Map<string, string>();
  const root = document.contents;
  if (root !== null && !isMap(root)) {
    throw new UsageError([`${path}:1: expected lines such as "max-connections: 1000"`]);
  }
  for (const { key, value } of root?.items ?? []) {
    const name = isScalar(key) ? String(key.value) : '(not a name)';
    const line = isScalar(key) ? lines.linePos(key.range?.[0] ?? 0).line : 1;
    const place = `${path}:${line}`;
    const given = isSeq(value) ? value.items : [value];
    if (!names.has(name)) {
      const meant = nearest(name, names);
      problems.push(
        `${place}: unknown setting ${name}${meant === undefined ? '' : `: did you mean ${meant}?`}`,
      );
    } else {
      const scalars = given.flatMap(readScalar);
      if (scalars.length < given.length) problems.push(`${place}: ${name} has no value`);
      texts.set(name, scalars);
      places.set(name, `${place} ${name}`);
    }
  }
  if (problems.length > 0) throw new UsageError(problems);
  return { where: (name) => places.get(name) ?? path, texts };
}

/** The text as it stands in the file, not YAML's idea of it: `0123` is a fine directory. */
function readScalar(node: unknown): string[] {
  return isScalar(node) && node.value !== null ? [node.source ?? ''] : [];
}
