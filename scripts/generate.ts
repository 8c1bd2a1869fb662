/**
 * Documentation that is really a table in the code: written from it, and checked to be fresh.
 *
 * `node --conditions=source scripts/generate.ts` writes; tidy compares.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FAULTS, type LimitRow } from '#base';
import { listOptions, type Option, SETTINGS, switchKind, variableName } from '#config';
import { GAUGES, INSTANCE_METRICS, METRICS } from '#telemetry';
import { actionsPage } from './generate-actions.ts';
import { conformance } from './generate-conformance.ts';
import { instanceLimitsPage } from './generate-instance-limits.ts';
import { PROJECT } from './source-tree.ts';

/** Every generated file: its path and what it should hold. */
export async function generate(): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  files.set('docs/actions.md', actionsPage(notice('src/control/actions')));
  files.set('docs/config.md', configPage());
  files.set('docs/faults.md', faultsPage());
  files.set('docs/instance-limits.md', instanceLimitsPage(notice('src/instances/limits.ts')));
  files.set('docs/metrics.md', metricsPage());
  const { path, text } = conformance();
  files.set(path, text);
  const limits = await limitsPage();
  if (limits !== undefined) files.set('docs/limits.md', limits);
  return files;
}

function notice(source: string): string {
  return `<!-- Written by scripts/generate.ts from ${source}. Do not edit. -->\n`;
}

function configPage(): string {
  let text = `# Configuration

${notice('src/config/settings.ts')}
Every setting has one name and can be given in three places. A flag wins over the environment,
the environment over the file, and the file over the default.

| Where | \`max-packet-size\`, for example |
|---|---|
| flag | \`ternmq start --max-packet-size 1MiB\` |
| environment | \`TERNMQ_MAX_PACKET_SIZE=1MiB\` |
| file (YAML), named by \`--config\` | \`max-packet-size: 1MiB\` |

A name that does not exist or a value that cannot be is an error at start, with the name, the
value and what was expected; the exit code is then 2. \`ternmq start --print-config\` prints what
would hold and where each value comes from, and starts nothing. What it prints is itself a file
for \`--config\`.

Durations are a number and \`d\`, \`h\`, \`m\`, \`s\` or \`ms\`. Sizes are bytes, or a number and
\`kB\`, \`MB\`, \`GB\`, \`TB\` (thousands) or \`KiB\`, \`MiB\`, \`GiB\`, \`TiB\` (1024).
A setting marked *reload* takes a new value from the file on SIGHUP; see
[operating](operating.md).
`;
  let group = '';
  for (const { name, option } of listOptions(SETTINGS)) {
    if (name === 'help') continue;
    if (option.group !== group) {
      group = option.group;
      text += `\n## ${group}\n`;
    }
    text += settingEntry(name, option);
  }
  return text;
}

function settingEntry(name: string, option: Option<unknown>): string {
  const facts = [`Value: ${option.kind.expected}.`];
  if (option.byDefault !== undefined) facts.push(`Default: \`${option.byDefault}\`.`);
  else facts.push('Not set by default.');
  const flag =
    option.kind === switchKind ? `\`--${name}\` or \`--${name}=false\`` : `\`--${name}\``;
  const doors = [flag];
  if (option.environment === true) doors.push(`\`${variableName(name)}\``);
  if (option.file === true) doors.push(`\`${name}:\` in the file`);
  if (option.reload === true) facts.push('*Reload.*');
  const more = option.more === undefined ? '' : `${option.more}\n\n`;
  const given = `Given as ${doors.join(', ')}.`;
  return `\n### ${name}\n\n${option.text}\n\n${more}${facts.join(' ')} ${given}\n`;
}

function faultsPage(): string {
  let text = `# Refusals and failures

${notice('src/base/fault.ts')}
What the broker says when it refuses or fails: the MQTT 5.0 reason code, the CONNACK return code
before 5.0 (a dash: the connection is closed without one), and whether trying again can help. A
packet that may not carry a code carries another: DISCONNECT 0x87 or 0x80, PUBACK and PUBREC 0x97.

| name | meaning | 5.0 | before | try again |
|---|---|---|---|---|
`;
  for (const [name, row] of Object.entries(FAULTS)) {
    const code = `0x${row.v5.toString(16).toUpperCase().padStart(2, '0')}`;
    const retry = row.retry ? 'yes' : 'no';
    text += `| ${name} | ${row.text} | ${code} | ${row.v3 ?? '–'} | ${retry} |\n`;
  }
  return text;
}

function metricsPage(): string {
  let text = `# Metrics

${notice('the tables in src/telemetry')}
What the broker counts, and what it measures. Each number is a message on
\`$SYS/broker/NAME\`, every ten seconds, for clients of the default instance that subscribe to it.

| name | counts |
|---|---|
`;
  for (const [name, meaning] of Object.entries(METRICS)) text += `| ${name} | ${meaning} |\n`;
  text += `
| name | measures |
|---|---|
`;
  for (const [name, meaning] of Object.entries(GAUGES)) text += `| ${name} | ${meaning} |\n`;
  text += `
## Of each instance

Answered by \`GetInstanceMetrics\` ([actions](actions.md)), which begins them with a capital letter.

| counter | meaning |
| --- | --- |
`;
  for (const [name, meaning] of Object.entries(INSTANCE_METRICS))
    text += `| ${name} | ${meaning} |\n`;
  return text;
}

const LIMIT_TABLES = [
  ['src/broker/limits.ts', 'The broker'],
  ['src/edge/limits.ts', 'The listeners'],
  ['src/control/limits.ts', 'The control API'],
  ['src/adapters/lmdb/limits.ts', 'The store on disk'],
] as const;

async function limitsPage(): Promise<string | undefined> {
  const tables = LIMIT_TABLES.filter(([path]) => existsSync(join(PROJECT, path)));
  if (tables.length === 0) return undefined;
  let text = `# Limits

${notice(tables.map(([path]) => path).join(', '))}
Every queue has an end. These are the ends, and what happens there. Where a bound can be set, the
setting is in [configuration](config.md).
`;
  for (const [path, title] of tables) {
    const module = (await import(join(PROJECT, path))) as Record<string, unknown>;
    const rows = Object.values(module).find(Array.isArray) as readonly LimitRow[] | undefined;
    if (rows === undefined) throw new Error(`${path} exports no table of limits`);
    text += `\n## ${title}\n\n| bound | default | unit | at the bound |\n|---|---|---|---|\n`;
    for (const row of rows) {
      const value = row.value.toLocaleString('en');
      text += `| ${row.name} | ${value} | ${row.unit} | ${row.policy} |\n`;
    }
  }
  return text;
}

if (import.meta.main) {
  for (const [path, text] of await generate()) writeFileSync(join(PROJECT, path), text);
}
