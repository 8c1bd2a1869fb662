/** The project's source as text: what tidy reads and generate writes beside. */
import { readFileSync } from 'node:fs';
import { glob } from 'node:fs/promises';
import { join, resolve } from 'node:path';

/** The checkout's folder. */
export const PROJECT: string = resolve(import.meta.dirname, '..');

/** Every TypeScript file of the project by its path, with its text. */
export async function readSources(root: string = PROJECT): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for await (const path of glob('{src,test,scripts,benches}/**/*.ts', { cwd: root })) {
    files.set(path.replaceAll('\\', '/'), readFileSync(join(root, path), 'utf8'));
  }
  return new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * `text` with comments and the insides of strings blanked, line by line as before; code inside
 * a template literal stays. Good enough to look for words; not a parser of regular expressions.
 */
export function blankNonCode(text: string): string {
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|(?<=[=(,:[!&|?{};\n]\s*)\/(?![*/])(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*|`(?:[^`\\$]|\\[\s\S]|\$(?!\{))*`/g;
  return text.replace(token, (match) => match.replace(/[^\n]/g, ' '));
}
