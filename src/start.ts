/**
 * `ternmq start`: settings in, a running broker out, and its life until a signal ends it.
 *
 * The one line on standard output says that clients are served; everything else is told on
 * standard error.
 */
import { readFileSync, statSync } from 'node:fs';
import { createLog, Fault, type Log, type LogLevel } from '#base';
import { CommandError, type CommandIo, EXIT } from '#cli';
import {
  checkSettings,
  listOptions,
  readEnvironment,
  readFileSettings,
  readFlags,
  type Resolved,
  resolveOptions,
  type Settings,
  SETTINGS,
  showOptions,
  showSettings,
  UsageError,
} from '#config';
import { compose, type House } from './compose.ts';

const CLOSE_MS = 10_000;
const LOOK_EVERY_MS = 5_000;
/** Small buffers are cut from pools, and one that is kept keeps its pool: 64 KiB would be much. */
const POOL_BYTES = 8 * 1024;

/** Variables of other commands that share the prefix. */
const OTHER_VARIABLES = [
  'TERNMQ_URL',
  'TERNMQ_USER',
  'TERNMQ_PASSWORD',
  'TERNMQ_ENDPOINT',
  'TERNMQ_ACCESS_KEY_ID',
  'TERNMQ_ACCESS_KEY_SECRET',
  'TERNMQ_SECURITY_TOKEN',
];

/** Runs `ternmq start`; resolves to the exit code once the broker has ended. */
export async function runStart(argv: readonly string[], io: CommandIo): Promise<number> {
  const { source, operands } = readFlags(SETTINGS, argv);
  if (operands.length > 0) {
    throw new UsageError([`unexpected word ${JSON.stringify(operands[0])}: see start --help`]);
  }
  const resolve = (): Resolved<Settings> => resolveSettings(source, io);
  if (source.texts.get('help')?.[0] === 'true') {
    io.write(`Usage: ternmq start [OPTIONS]\n${showOptions(SETTINGS, io.paint, io.columns)}`);
    return EXIT.ok;
  }
  const resolved = resolve();
  if (resolved.values.printConfig) {
    io.write(showSettings(SETTINGS, resolved));
    checkSettings(resolved);
    return EXIT.ok;
  }
  checkSettings(resolved);
  return await run(resolved, resolve, io);
}

function resolveSettings(flags: Parameters<typeof resolveOptions>[1][number], io: CommandIo) {
  const environment = readEnvironment(SETTINGS, io.environment, OTHER_VARIABLES);
  const path = (flags.texts.get('config') ?? environment.texts.get('config'))?.[0];
  if (path === undefined) return resolveOptions(SETTINGS, [flags, environment]);
  const file = readFileSettings(SETTINGS, path, readConfigFile(path));
  return resolveOptions(SETTINGS, [flags, environment, file]);
}

function readConfigFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError([`cannot read the configuration: ${(error as Error).message}`]);
  }
}

async function run(
  resolved: Resolved<Settings>,
  resolve: () => Resolved<Settings>,
  io: CommandIo,
): Promise<number> {
  const log = createSwitchableLog(resolved.values.logLevel, io);
  const house = await open(resolved.values, log, io);
  const stopReloads = reloadOnDemand({ house, log, resolve, io }, resolved);
  // A signal that came while we were opening counts: then nobody is told that we are ready.
  if (!io.stop.aborted) {
    io.write(`ternmq ready ${house.urls.join(' ')}\n`);
    await new Promise((stop) => io.stop.addEventListener('abort', stop, { once: true }));
  }
  stopReloads();
  log.info('stopping', { why: String(io.stop.reason) });
  const inTime = await Promise.race([
    house.close().then(() => true),
    new Promise<false>((late) => io.clock.after(CLOSE_MS, () => late(false))),
  ]);
  if (!inTime) log.error('did not stop in time; what was acknowledged is on disk');
  else log.info('stopped');
  return inTime ? EXIT.ok : EXIT.failure;
}

async function open(settings: Settings, log: SwitchableLog, io: CommandIo): Promise<House> {
  Buffer.poolSize = POOL_BYTES;
  try {
    return await compose({
      settings,
      log,
      clock: io.clock,
      random: io.random,
      tell: io.writeError,
    });
  } catch (error) {
    if (error instanceof Fault) throw new CommandError(error.message, { cause: error });
    throw error;
  }
}

interface Reloading {
  readonly house: House;
  readonly log: SwitchableLog;
  readonly resolve: () => Resolved<Settings>;
  readonly io: CommandIo;
}

/** Takes up changes on SIGHUP, or when a watched file has changed. Returns the way to stop. */
function reloadOnDemand(reloading: Reloading, first: Resolved<Settings>): () => void {
  let current = first;
  let queue = Promise.resolve();
  const reload = (why: string): void => {
    queue = queue.then(async () => {
      current = await takeUp(reloading, current, why);
    });
  };
  let seen = stamps(first.values);
  const stopLooking = reloading.io.clock.every(LOOK_EVERY_MS, () => {
    const now = stamps(current.values);
    if (now === seen) return;
    seen = now;
    reload('a file has changed');
  });
  const onHangUp = (): void => {
    seen = stamps(current.values);
    reload('SIGHUP');
  };
  process.on('SIGHUP', onHangUp);
  return () => {
    process.off('SIGHUP', onHangUp);
    stopLooking();
  };
}

/** When the files that may be taken up again were last changed. */
function stamps(settings: Settings): string {
  const { config, tlsCert, tlsKey, tlsCa, controlCert, controlKey } = settings;
  return [config, tlsCert, tlsKey, tlsCa, controlCert, controlKey].map(lastChange).join(' ');
}

/** A file that is away for a moment, while it is replaced, is not an error. */
function lastChange(path: string | undefined): number {
  try {
    return path === undefined ? 0 : statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

async function takeUp(
  { house, log, resolve }: Reloading,
  current: Resolved<Settings>,
  why: string,
): Promise<Resolved<Settings>> {
  let next: Resolved<Settings>;
  try {
    next = resolve();
    checkSettings(next);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    for (const problem of error.problems) log.error('not reloaded', { why: problem });
    return current;
  }
  const { values, taken, left } = merge(current.values, next.values);
  log.setLevel(values.logLevel);
  if (await house.reload(values)) taken.push('certificates');
  log.info('reloaded', { why, taken: taken.join(' ') || 'nothing new' });
  if (left.length > 0) log.warn('these need a restart', { settings: left.join(' ') });
  return { values, origins: next.origins };
}

/** What holds from now on, and the settings that differ: those that were taken up, and not. */
function merge(
  running: Settings,
  wanted: Settings,
): { readonly values: Settings; readonly taken: string[]; readonly left: string[] } {
  const values: Record<string, unknown> = { ...wanted };
  const taken: string[] = [];
  const left: string[] = [];
  for (const { key, name, option } of listOptions(SETTINGS)) {
    if (JSON.stringify(running[key]) === JSON.stringify(wanted[key])) continue;
    if (option.reload === true) taken.push(name);
    else {
      left.push(name);
      values[key] = running[key];
    }
  }
  return { values: values as unknown as Settings, taken, left };
}

interface SwitchableLog extends Log {
  setLevel(level: LogLevel): void;
}

/** A log whose level can change while others hold it. */
function createSwitchableLog(level: LogLevel, io: CommandIo): SwitchableLog {
  const create = (one: LogLevel): Log =>
    createLog({ level: one, clock: io.clock, write: io.writeError });
  let log = create(level);
  return {
    error: (text, fields) => log.error(text, fields),
    warn: (text, fields) => log.warn(text, fields),
    info: (text, fields) => log.info(text, fields),
    debug: (text, fields) => log.debug(text, fields),
    get debugEnabled() {
      return log.debugEnabled;
    },
    setLevel: (next) => {
      log = create(next);
    },
  };
}
