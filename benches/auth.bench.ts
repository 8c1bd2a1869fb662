/**
 * `npm run bench:auth`: what authentication and permissions cost, from one call to a broker with a
 * million registered devices. Results go to `results/<date>-auth`.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureConnects } from './auth-connect.ts';
import { measureCredentials } from './auth-credentials.ts';
import { measureFlow } from './auth-flow.ts';
import { pin, type Section } from './auth-measure.ts';
import { measureRules } from './auth-rules.ts';
import type { Scope } from './auth-scene.ts';
import { measureStorms } from './auth-storm.ts';
import { describeMachine } from './report.ts';

const OWN_CORE = 1;
const NAMES = ['rules', 'flow', 'connects', 'storms', 'credentials'] as const;
type Name = (typeof NAMES)[number];

interface Asked {
  readonly only: readonly Name[];
  readonly runs: number;
  readonly connects: number;
  readonly credentials: number;
  readonly isSaved: boolean;
}

const HELP = `npm run bench:auth -- [OPTION ...]

  --only         ${NAMES.join(', ')}
  --runs         of what is measured from outside (3)
  --connects     in one storm (5000)
  --credentials  registered devices (100000)
  --no-save      only prints
`;

function ask(): Asked | undefined {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: NAMES.join() },
      runs: { type: 'string', default: '3' },
      connects: { type: 'string', default: '5000' },
      credentials: { type: 'string', default: '100000' },
      'no-save': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const only = values.only.split(',') as Name[];
  const numbers = [values.runs, values.connects, values.credentials].map(Number);
  const [runs = 0, connects = 0, credentials = 0] = numbers;
  const known = only.every((name) => NAMES.includes(name));
  const whole = numbers.every((number) => Number.isInteger(number) && number > 0);
  if (values.help || !known || !whole) return undefined;
  return { only, runs, connects, credentials, isSaved: !values['no-save'] };
}

async function measure(name: Name, asked: Asked, scope: Scope): Promise<Section> {
  switch (name) {
    case 'rules':
      return await measureRules();
    case 'flow':
      return await measureFlow(scope, asked.runs);
    case 'connects':
      return await measureConnects(scope);
    case 'storms':
      return await measureStorms(scope, asked.connects, asked.runs);
    case 'credentials':
      return await measureCredentials(scope, asked.credentials);
  }
}

/** One that fails does not take the others with it. */
async function measureOrTell(name: Name, asked: Asked, scope: Scope): Promise<Section> {
  try {
    return await measure(name, asked, scope);
  } catch (error) {
    process.exitCode = 1;
    const why = error instanceof Error ? error.message : String(error);
    return { title: name, columns: [], lines: [], notes: [`FAILED: ${why}`] };
  }
}

function render({ title, columns, lines, notes }: Section): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rows = lines.map(({ name, figures }) => row([name, ...figures.map(format)]));
  const table = [row(['', ...columns]), row(['---', ...columns.map(() => '---:')]), ...rows];
  const told = notes.map((note) => `- ${note}`);
  return [`## ${title}`, '', ...table, ...(told.length > 0 ? ['', ...told] : []), ''].join('\n');
}

function format(figure: number | string | undefined): string {
  if (figure === undefined) return '-';
  if (typeof figure === 'string') return figure;
  const digits = figure >= 100 ? 0 : figure >= 10 ? 1 : 2;
  return figure.toLocaleString('en', { maximumFractionDigits: digits });
}

async function save(asked: Asked, sections: readonly Section[], isPinned: boolean): Promise<void> {
  const machine = { ...describeMachine(), pinned: String(isPinned) };
  const date = new Date().toISOString();
  const facts = Object.entries({ ...machine, runs: asked.runs });
  const text = [
    `# Authentication and permissions, ${date.slice(0, 10)}`,
    '',
    facts.map(([name, value]) => `${name}: ${value}`).join('; '),
    '',
    'Processor time is that of all threads of the process, by the kernel. Others may be at work on',
    'the machine: elapsed times, and rates that were seen, say less than processor time does.',
    '',
    ...sections.map(render),
  ].join('\n');
  console.log(text);
  if (!asked.isSaved) return;
  const directory = join(import.meta.dirname, 'results');
  const name = `${date.slice(0, 16).replaceAll(/[:T]/g, '-')}-auth`;
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, `${name}.md`), text);
  const data = { date, machine, runs: asked.runs, sections };
  await writeFile(join(directory, `${name}.json`), `${JSON.stringify(data, undefined, 1)}\n`);
}

async function main(): Promise<void> {
  const asked = ask();
  if (asked === undefined) {
    console.log(HELP);
    process.exitCode = 2;
    return;
  }
  const cleanUps: (() => Promise<void>)[] = [];
  const scope: Scope = { after: (cleanUp) => void cleanUps.push(cleanUp) };
  const leave = (): void => {
    void cleanUp(cleanUps).finally(() => process.exit(130));
  };
  process.once('SIGINT', leave);
  process.once('SIGTERM', leave);
  const isPinned = pin(process.pid, OWN_CORE);
  try {
    const sections: Section[] = [];
    for (const name of asked.only) {
      const section = await measureOrTell(name, asked, scope);
      console.error(render(section));
      sections.push(section);
      await cleanUp(cleanUps);
    }
    await save(asked, sections, isPinned);
  } finally {
    await cleanUp(cleanUps);
  }
}

async function cleanUp(cleanUps: (() => Promise<void>)[]): Promise<void> {
  for (const one of cleanUps.splice(0).toReversed()) await one();
}

await main();
