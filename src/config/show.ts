/** Options shown to people: `--help`, and the settings that hold, as YAML that can be kept. */
import { type Option, listOptions, type OptionTable, type Resolved } from './options.ts';

/** Colours for a terminal, or none. */
export interface Paint {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
}

/** The options of a table for `--help`, under their headings. */
export function showOptions<T>(table: OptionTable<T>, paint: Paint, columns = 100): string {
  const rows = listOptions(table);
  const heads = rows.map(({ name, option }) => {
    const short = option.short === undefined ? '    ' : `-${option.short}, `;
    return `  ${short}--${name} ${option.kind.placeholder}`.trimEnd();
  });
  const width = Math.min(34, Math.max(...heads.map((head) => head.length))) + 2;
  let text = '';
  let group = '';
  rows.forEach(({ option }, index) => {
    if (option.group !== group) {
      group = option.group;
      text += `\n${paint.bold(group)}\n`;
    }
    const head = heads[index]!;
    const lines = wrap(describe(option), Math.max(30, columns - width));
    text += head.length < width ? head.padEnd(width) : `${head}\n${' '.repeat(width)}`;
    text += `${lines.join(`\n${' '.repeat(width)}`)}\n`;
  });
  return text;
}

function describe(option: Option<unknown>): string {
  const value = option.byDefault;
  if (value === undefined || option.kind.placeholder === '') return option.text;
  return `${option.text} [${value}]`;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1)!;
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines;
}

/** The values that hold, as a file that would give them, each with where it came from. */
export function showSettings<T>(table: OptionTable<T>, resolved: Resolved<T>): string {
  let text = '';
  for (const { key, name, option } of listOptions(table)) {
    if (option.file !== true) continue;
    const value = resolved.values[key];
    const origin = `# ${resolved.origins.get(name)}`;
    const texts = value === undefined ? [] : option.kind.show(value);
    if (texts.length === 0) text += `# ${name}: not set\n`;
    else if (option.secret === true) text += `${name}: "********" ${origin}\n`;
    else if (option.kind.repeatable) {
      text += `${name}: ${origin}\n${texts.map((one) => `  - ${quote(one)}\n`).join('')}`;
    } else text += `${name}: ${quote(texts[0]!)} ${origin}\n`;
  }
  return text;
}

function quote(text: string): string {
  return /^[\w./][\w./:-]*$/.test(text) && !text.endsWith(':') ? text : JSON.stringify(text);
}
