/**
 * `npm run bench`: every workload against every broker, one core for the broker and one for the
 * load, brokers taking turns run by run so that a noisy minute hurts all of them alike.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runLoad } from '../src/cli/load/load.ts';
import type { LoadResult } from '../src/cli/load/plan.ts';
import { type Broker, BROKERS, output, type RunningBroker, startBroker } from './brokers.ts';
import { type Cell, describeMachine, renderFailures, renderTable } from './report.ts';
import { planOf, type Row, ROWS } from './workloads.ts';

const LOAD_CORE = '1';
const CELL_MS = 90_000;
const RUNS_MAX = 20;

interface Asked {
  readonly rows: readonly Row[];
  readonly brokers: readonly Broker[];
  readonly runs: number;
  readonly isQuick: boolean;
  readonly isSaved: boolean;
}

const HELP = `npm run bench -- [--only ID,...] [--brokers NAME,...] [--runs N] [--quick] [--no-save]

  --only      ${ROWS.map((row) => row.id).join(', ')}
  --brokers   ${BROKERS.map((broker) => broker.name).join(', ')}
  --runs      of each workload and broker, 1 to ${RUNS_MAX} (3)
  --quick     short and small, to try the bench itself
`;

function ask(): Asked | undefined {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: ROWS.map((row) => row.id).join() },
      brokers: { type: 'string', default: BROKERS.map((broker) => broker.name).join() },
      runs: { type: 'string' },
      quick: { type: 'boolean', default: false },
      'no-save': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return undefined;
  const runs = Number(values.runs ?? (values.quick ? 1 : 3));
  if (!Number.isInteger(runs) || runs < 1 || runs > RUNS_MAX) return undefined;
  const ids = values.only.split(',');
  const names = values.brokers.split(',');
  const rows = ROWS.filter((row) => ids.includes(row.id));
  const brokers = BROKERS.filter((broker) => names.includes(broker.name));
  if (rows.length !== ids.length || brokers.length !== names.length) return undefined;
  return { rows, brokers, runs, isQuick: values.quick, isSaved: !values['no-save'] };
}

/** One run of one cell; a broker that fails in any way fails here, under its own name. */
async function runCell(
  row: Row,
  broker: Broker,
  asked: Asked,
  isPinned: boolean,
  running: Set<RunningBroker>,
): Promise<LoadResult> {
  let started: RunningBroker;
  try {
    started = await startBroker(broker, isPinned);
  } catch (error) {
    return failed(row, `did not start: ${error instanceof Error ? error.message : error}`);
  }
  running.add(started);
  try {
    const plan = planOf(row, started.endpoint, asked.isQuick);
    const result = await runLoad(plan, { processes: 1, deadlineMs: CELL_MS });
    const ended = started.ended();
    return ended === undefined ? result : failed(row, ended);
  } finally {
    await started.stop();
    running.delete(started);
  }
}

function failed(row: Row, failure: string): LoadResult {
  return {
    workload: row.workload,
    measures: [],
    published: 0,
    delivered: 0,
    lost: undefined,
    redelivered: 0,
    refused: 0,
    generatorCpuPercent: 0,
    broker: undefined,
    failure,
  };
}

/** This process and the load workers it starts go to the second core; false where that fails. */
function pinSelf(): boolean {
  if (availableParallelism() < 2) return false;
  return output('taskset', ['-acp', LOAD_CORE, String(process.pid)]) !== '';
}

async function runAll(asked: Asked, isPinned: boolean, running: Set<RunningBroker>) {
  const cells: { row: string; broker: string; runs: LoadResult[] }[] = [];
  for (const row of asked.rows) {
    const brokers = asked.brokers.filter((broker) => broker.rows?.includes(row.id) ?? true);
    const own = brokers.map((broker) => ({
      row: row.id,
      broker: broker.name,
      runs: [] as LoadResult[],
    }));
    cells.push(...own);
    for (let run = 0; run < asked.runs; run++) {
      for (const [index, broker] of brokers.entries()) {
        const result = await runCell(row, broker, asked, isPinned, running);
        own[index]!.runs.push(result);
        console.error(`${row.id} ${broker.name} ${run + 1}/${asked.runs}: ${told(result)}`);
      }
    }
  }
  return cells;
}

function told(result: LoadResult): string {
  if (result.failure !== undefined) return `failed: ${result.failure}`;
  const measures = result.measures.map((one) => `${one.name} ${one.value.toPrecision(4)}`);
  const cpu = [result.generatorCpuPercent, result.broker?.cpuPercent ?? 0].map(Math.round);
  return `${measures.join(', ')} (generator ${cpu[0]} %, broker ${cpu[1]} %)`;
}

async function save(asked: Asked, cells: readonly Cell[], isPinned: boolean): Promise<string> {
  const rows = asked.rows;
  const names = asked.brokers.map((broker) => broker.name);
  const versions = Object.fromEntries(asked.brokers.map((one) => [one.name, one.version()]));
  const machine = { ...describeMachine(), pinned: String(isPinned) };
  const table = renderTable(rows, names, cells) + renderFailures(cells);
  const facts = Object.entries({ ...machine, ...versions, runs: asked.runs, quick: asked.isQuick });
  const date = new Date().toISOString();
  const text = [
    `# Benchmark, ${date.slice(0, 10)}`,
    '',
    facts.map(([name, value]) => `${name}: ${value}`).join('; '),
    '',
    'Medians. `g`: the generator had no time left and the broker had, a lower bound. `?`: neither',
    'was short of processor time in some run: something else had the cores, or both waited.',
    '',
    table,
  ].join('\n');
  if (asked.isSaved) {
    const directory = join(import.meta.dirname, 'results');
    const name = date.slice(0, 16).replaceAll(/[:T]/g, '-');
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, `${name}.md`), text);
    const data = { date, machine, versions, runs: asked.runs, quick: asked.isQuick, cells };
    await writeFile(join(directory, `${name}.json`), `${JSON.stringify(data, undefined, 1)}\n`);
  }
  return text;
}

async function main(): Promise<void> {
  const asked = ask();
  if (asked === undefined) {
    console.log(HELP);
    process.exitCode = 2;
    return;
  }
  const running = new Set<RunningBroker>();
  const leave = (): void => {
    for (const broker of running) process.kill(broker.endpoint.pid, 'SIGKILL');
    process.exit(130);
  };
  process.once('SIGINT', leave);
  process.once('SIGTERM', leave);
  const isPinned = pinSelf();
  if (!isPinned) console.error('Not pinned: brokers and load share the cores as they come.');
  const cells = await runAll(asked, isPinned, running);
  console.log(await save(asked, cells, isPinned));
}

await main();
