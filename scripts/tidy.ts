/**
 * The rules of the house that no linter knows, as data and a few small checks.
 *
 * Each check is a function from the tree to its problems, so `tidy.test.ts` can plant a fault
 * of every kind and see it found.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { generate } from './generate.ts';
import { conformance } from './generate-conformance.ts';
import { LAYERS, PACKAGES, ROOTS } from './layers.ts';
import { blankNonCode, PROJECT, readSources } from './source-tree.ts';

const LINES_MAX = 500;
const COLUMNS_MAX = 100;
const TEXT_COLUMNS_MAX = 160;

/** Names that say nothing, in file names. */
const BANNED_FILES = /(^|-)(utils?|helpers?|managers?|common|misc|types)\.(test\.)?ts$/;

/** Words in code, and the better one. */
const BANNED_WORDS: Readonly<Record<string, string>> = {
  tenant: 'instance',
  msg: 'message',
  pkt: 'packet',
  conn: 'connection',
  cfg: 'settings',
  ctx: 'a name for what it holds',
  idx: 'index',
  cnt: 'count',
  impl: 'the name of what it is',
  whitelist: 'allowed',
  blacklist: 'refused',
};

/** What a file that says `@hot` may not hold. */
const HOT_BANS: readonly (readonly [RegExp, string])[] = [
  [/\bawait\b/, 'await'],
  [/\basync\b/, 'async'],
  [/\bnew Promise\b|\bPromise\./, 'a promise'],
  [/\.(map|filter|forEach|reduce|some|every|find|flatMap)\(/, 'an array callback'],
  [/\bJSON\./, 'JSON'],
  [/\bObject\.(keys|entries|values|assign|fromEntries)\b/, 'Object.*'],
];

/** Time and chance come in through `#base` only. */
const CLOCK_AND_CHANCE =
  /\bDate\.now\b|\bnew Date\b|\bMath\.random\b|\bset(Timeout|Interval)\b|\bperformance\.now\b|\brandom(Bytes|UUID|Int|Fill|FillSync)\b|\bgetRandomValues\b|\bhrtime\b/;

type Files = ReadonlyMap<string, string>;
type Check = (files: Files) => string[];

/** Every problem of the tree, as `path:line: what`. */
export function tidy(files: Files): string[] {
  return CHECKS.flatMap((check) => check(files));
}

const isTest = (path: string): boolean => path.startsWith('test/') || path.endsWith('.test.ts');

function checkLayers(): string[] {
  const problems: string[] = [];
  const settled = new Set<string>();
  const visit = (name: string, above: readonly string[]): void => {
    if (above.includes(name)) problems.push(`scripts/layers.ts: ${name} depends on itself`);
    else if (!settled.has(name)) {
      for (const below of LAYERS[name] ?? []) visit(below, [...above, name]);
      settled.add(name);
    }
  };
  for (const name of Object.keys(LAYERS)) visit(name, []);
  return problems;
}

function checkImports(files: Files): string[] {
  return inSource(files, (path, text) => {
    const problems: string[] = [];
    const home = path.split('/')[1]!;
    const root = ROOTS.includes(home);
    if (!root && LAYERS[home] === undefined) problems.push(`${path}: ${home} is not in layers.ts`);
    for (const { target, line } of importsOf(text)) {
      const fault = root ? undefined : importFault(path, home, target);
      if (fault !== undefined) problems.push(`${path}:${line}: ${fault}`);
    }
    return problems;
  });
}

function importFault(path: string, home: string, target: string): string | undefined {
  if (target.startsWith('#')) {
    const module = target.slice(1).split('/')[0]!;
    if (module === home) return `a module reaches itself by './', not ${target}`;
    return LAYERS[home]?.includes(module) ? undefined : `${home} may not import ${target}`;
  }
  if (target.startsWith('.')) {
    const depth = path.split('/').length - 3; // folders between the file and its module
    const ups = target.split('/').filter((part) => part === '..').length;
    if (ups > depth) return `leaves its module by '${target}', use #name`;
    return target.endsWith('.ts') ? undefined : `'${target}' does not end in .ts`;
  }
  if (target.startsWith('node:')) return undefined;
  const name = target.split('/')[0]!;
  return PACKAGES[name]?.includes(home) ? undefined : `${home} may not import package ${target}`;
}

function checkOpenings(files: Files): string[] {
  return [...files]
    .filter(([, text]) => !/^(#!.*\n)?(\/\*\*\s*\S|\/\*\*\n \* \S|\/\/ \S)/.test(text))
    .map(([path]) => `${path}:1: open with a comment: what this is, and the idea worth knowing`);
}

function checkSizes(files: Files): string[] {
  const problems: string[] = [];
  for (const [path, text] of files) {
    const lines = text.split('\n');
    if (lines.length - 1 > LINES_MAX) {
      problems.push(`${path}: ${lines.length - 1} lines, ${LINES_MAX} are enough`);
    }
    let table = false; // what the formatter leaves in columns may be wider
    lines.forEach((line, index) => {
      if (line.includes('biome-ignore format')) table = true;
      else if (/^[}\])]/.test(line)) table = false;
      // The formatter breaks what can be broken; what is left in tests are names of tests.
      const text = table || (isTest(path) && /['"`]/.test(line));
      const most = text ? TEXT_COLUMNS_MAX : COLUMNS_MAX;
      if (line.length <= most || /https?:\/\//.test(line)) return;
      if (/^\s*\/.*\/[a-z]*[;,]?$/.test(line)) return; // a pattern cannot be broken
      problems.push(`${path}:${index + 1}: ${line.length} columns, at most ${most}`);
    });
  }
  return problems;
}

function checkNames(files: Files): string[] {
  const words = new RegExp(`\\b(${Object.keys(BANNED_WORDS).join('|')})\\b`, 'i');
  const problems: string[] = [];
  for (const [path, text] of files) {
    if (BANNED_FILES.test(path.split('/').at(-1)!)) problems.push(`${path}: name it for its thing`);
    if (!/^[a-z0-9.-]+$/.test(path.split('/').at(-1)!)) problems.push(`${path}: use kebab-case`);
    if (path.startsWith('scripts/tidy.')) continue; // they name what they look for
    problems.push(
      ...eachLine(path, blankNonCode(text), (line) => {
        const word = words.exec(line)?.[1];
        return word && `say '${BANNED_WORDS[word.toLowerCase()]}', not '${word}'`;
      }),
      ...eachLine(path, text, (line) => {
        if (/\bFIXME\b|\bXXX\b/.test(line)) return 'FIXME never reaches main';
        return /\bTODO\b(?!\(#\d+\))/.test(line) ? 'write TODO(#issue)' : undefined;
      }),
    );
  }
  return problems;
}

function checkHot(files: Files): string[] {
  return inSource(files, (path, text) => {
    const opening = /^(#!.*\n)?\/\*\*[\s\S]*?\*\//.exec(text)?.[0] ?? '';
    if (!/@hot\b/.test(opening)) return [];
    return eachLine(path, blankNonCode(text), (line) => {
      const ban = HOT_BANS.find(([pattern]) => pattern.test(line));
      return ban && `${ban[1]} on a hot path`;
    });
  });
}

function checkClock(files: Files): string[] {
  return inSource(files, (path, text) => {
    if (path.startsWith('src/base/')) return [];
    return eachLine(path, blankNonCode(text), (line) => {
      const word = CLOCK_AND_CHANCE.exec(line)?.[0];
      return word && `${word}: time and chance come from #base`;
    });
  });
}

function checkRules(files: Files): string[] {
  const promised = new Map<string, string>();
  const cited = new Map<string, string>();
  for (const [path, text] of files) {
    const into = path.startsWith('src/ports/') && !isTest(path) ? promised : cited;
    if (into === cited && !isTest(path)) continue;
    for (const [, rule] of text.matchAll(/\[([A-Z]{2}\d+)\]/g)) {
      if (!into.has(rule!)) into.set(rule!, path);
    }
  }
  const families = new Set([...promised.keys()].map((rule) => rule.slice(0, 2)));
  const problems: string[] = [];
  for (const [rule, path] of promised) {
    if (!cited.has(rule)) problems.push(`${path}: rule [${rule}] has no test`);
  }
  for (const [rule, path] of cited) {
    const known = promised.has(rule) || !families.has(rule.slice(0, 2));
    if (!known) problems.push(`${path}: cites [${rule}], which no port promises`);
  }
  return problems;
}

function checkDead(files: Files): string[] {
  const reached = new Set<string>();
  for (const [path, text] of files) {
    for (const { target } of importsOf(text)) {
      if (target.startsWith('.')) reached.add(join(path, '..', target).replaceAll('\\', '/'));
      else if (target.startsWith('#')) reached.add(`src/${target.slice(1)}/index.ts`);
    }
  }
  return inSource(files, (path) => {
    if (path === 'src/main.ts' || reached.has(path)) return [];
    return [`${path}: nobody imports it`];
  });
}

const CHECKS: readonly Check[] = [
  checkLayers,
  checkImports,
  checkOpenings,
  checkSizes,
  checkNames,
  checkHot,
  checkClock,
  checkRules,
  checkDead,
];

function inSource(files: Files, check: (path: string, text: string) => string[]): string[] {
  return [...files]
    .filter(([path]) => path.startsWith('src/') && !isTest(path))
    .flatMap(([path, text]) => check(path, text));
}

function eachLine(
  path: string,
  text: string,
  check: (line: string) => string | undefined,
): string[] {
  return text.split('\n').flatMap((line, index) => {
    const fault = check(line);
    return fault === undefined ? [] : [`${path}:${index + 1}: ${fault}`];
  });
}

function importsOf(text: string): { target: string; line: number }[] {
  const pattern =
    /^(?:import|export)\b[^'"`;]*?from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm;
  return [...text.matchAll(pattern)].map((match) => ({
    target: (match[1] ?? match[2] ?? match[3])!,
    line: text.slice(0, match.index).split('\n').length,
  }));
}

/**
 * Problems of generated files: missing, not what `generate` would write now, or statements of the
 * standard that have neither a test nor a reason.
 */
export async function findStale(root: string = PROJECT): Promise<string[]> {
  const problems = [...conformance().problems];
  for (const [path, text] of await generate()) {
    const file = join(root, path);
    if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
      problems.push(`${path}: not fresh, run: node --conditions=source scripts/generate.ts`);
    }
  }
  return problems;
}

if (import.meta.main) {
  const files = await readSources();
  const problems = [...tidy(files), ...(await findStale())];
  for (const problem of problems) console.log(problem);
  console.log(
    problems.length === 0 ? `tidy: ${files.size} files` : `tidy: ${problems.length} problems`,
  );
  process.exitCode = problems.length === 0 ? 0 : 1;
}
