/** Medians of runs, as a table for readers and as data for programs. */
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import type { LoadResult } from '../src/cli/load/plan.ts';
import type { Figure, Row } from './workloads.ts';

export interface Cell {
  readonly row: string;
  readonly broker: string;
  readonly runs: readonly LoadResult[];
}

/** The broker every other is compared to. */
export const REFERENCE = 'mosquitto';

/** Below this the broker had time to spare and above it the generator had none. */
const BROKER_BUSY_PERCENT = 85;
const GENERATOR_BUSY_PERCENT = 92;
const IDLE_PERCENT = 65;

/** What the figures depend on, with nothing that names the machine's owner. */
export function describeMachine(): Readonly<Record<string, string | number>> {
  const load = /^[\d.]+/.exec(readLoad())?.[0] ?? 'unknown';
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: process.platform,
    kernel: release().split('-')[0] ?? 'unknown',
    node: process.version,
    loadBefore: load,
  };
}

function readLoad(): string {
  try {
    return readFileSync('/proc/loadavg', 'latin1');
  } catch {
    return '';
  }
}

/** The table: a line a figure, brokers across, each with its ratio to mosquitto. */
export function renderTable(
  rows: readonly Row[],
  brokers: readonly string[],
  cells: readonly Cell[],
): string {
  const others = brokers.filter((broker) => broker !== REFERENCE);
  const columns = brokers.includes(REFERENCE) ? [REFERENCE, ...others] : others;
  const head = ['workload', 'unit', ...columns, 'ternmq to reach'];
  const lines = [line(head), line(head.map(() => '---'))];
  for (const row of rows) {
    for (const figure of row.figures) {
      const reference = medianOf(find(cells, row, REFERENCE), figure);
      const shown = columns.map((broker) => show(find(cells, row, broker), figure, reference));
      lines.push(line([figure.title, figure.unit, ...shown, targetOf(figure)]));
    }
  }
  return `${lines.join('\n')}\n`;
}

/** Failed runs, each with its reason: a table cell is too small for it. */
export function renderFailures(cells: readonly Cell[]): string {
  const lines = cells.flatMap((cell) =>
    cell.runs.flatMap((run, index) =>
      run.failure === undefined
        ? []
        : [`- ${cell.row}, ${cell.broker}, run ${index + 1}: ${run.failure}`],
    ),
  );
  return lines.length === 0 ? '' : `\nFailed:\n\n${lines.join('\n')}\n`;
}

function find(cells: readonly Cell[], row: Row, broker: string): Cell | undefined {
  return cells.find((cell) => cell.row === row.id && cell.broker === broker);
}

function line(columns: readonly string[]): string {
  return `| ${columns.join(' | ')} |`;
}

function show(cell: Cell | undefined, figure: Figure, reference: number | undefined): string {
  if (cell === undefined || cell.runs.length === 0) return '-';
  const value = medianOf(cell, figure);
  if (value === undefined) return '**failed**';
  const ratio = reference === undefined || reference <= 0 ? undefined : value / reference;
  const isOwn = cell.broker === REFERENCE || figure.isAbsolute === true;
  const times = isOwn || ratio === undefined ? '' : ` (${ratio.toFixed(2)}x)`;
  const failed = cell.runs.filter((run) => run.failure !== undefined).length;
  const note = failed === 0 ? '' : ` !${failed} failed`;
  return `${format(value, figure)}${times}${markOf(cell)}${note}`;
}

function format(value: number, figure: Figure): string {
  const shown = figure.unit.startsWith('k ') ? value / 1000 : value;
  return shown.toFixed(shown >= 100 ? 0 : shown >= 10 ? 1 : 2);
}

function targetOf(figure: Figure): string {
  const number = figure.isAbsolute ? String(figure.target) : `${figure.target}x`;
  return figure.isLowerBetter ? `at most ${number}` : number;
}

/** The median of the runs that did not fail. */
export function medianOf(cell: Cell | undefined, figure: Figure): number | undefined {
  const values = (cell?.runs ?? [])
    .flatMap((run) => run.measures)
    .filter((measure) => measure.name === figure.measure)
    .map((measure) => measure.value)
    .toSorted((a, b) => a - b);
  if (values.length === 0) return undefined;
  const middle = Math.floor(values.length / 2);
  return values.length % 2 === 1 ? values[middle] : (values[middle - 1]! + values[middle]!) / 2;
}

/** `g`: the generator had no time left and the broker had. `?`: neither was short of time. */
function markOf(cell: Cell): string {
  // A paced generator turns without sleeping, and idle connections are not a matter of time.
  const runs = cell.runs.filter(
    (run) => run.failure === undefined && run.workload !== 'latency' && run.workload !== 'connect',
  );
  const isFull = runs.some(
    (run) =>
      run.generatorCpuPercent > GENERATOR_BUSY_PERCENT &&
      (run.broker?.cpuPercent ?? 0) < BROKER_BUSY_PERCENT,
  );
  const isIdle = runs.some(
    (run) =>
      run.generatorCpuPercent < IDLE_PERCENT && (run.broker?.cpuPercent ?? 100) < IDLE_PERCENT,
  );
  return isFull ? ' g' : isIdle ? ' ?' : '';
}
