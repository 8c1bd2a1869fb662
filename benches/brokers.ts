/**
 * Brokers under test, each a fresh process pinned to the first core, listening on a free port of
 * the loopback. Whoever starts one ends it, by its own pid.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../test/harness/free-port.ts';
import type { Endpoint } from './workloads.ts';

export interface Broker {
  readonly name: string;
  /** The rows it can run; `undefined`: all. */
  readonly rows: readonly string[] | undefined;
  version(): string;
  /** The command to run, given a directory of its own. */
  command(directory: string): Promise<Command>;
}

interface Command {
  readonly argv: readonly string[];
  /** Known before the start, or else printed by the broker when it is ready. */
  readonly port: number | undefined;
}

export interface RunningBroker {
  readonly endpoint: Endpoint;
  /** Why it is no longer there, if it is not. */
  ended(): string | undefined;
  stop(): Promise<void>;
}

const ROOT = join(import.meta.dirname, '..');
const BROKER_CORE = '0';
const READY_MS = 20_000;
const STOP_MS = 5000;
const ERROR_CHARACTERS_MAX = 300;

const node = (...argv: string[]): string[] => [process.execPath, ...argv];

const mosquitto: Broker = {
  name: 'mosquitto',
  rows: undefined,
  version: () => /[\d.]+/.exec(output('mosquitto', ['-h']))?.[0] ?? 'unknown',
  async command(directory) {
    const port = await freePort();
    const file = join(directory, 'mosquitto.conf');
    const lines = [
      `listener ${port} 127.0.0.1`,
      'allow_anonymous true',
      'persistence false',
      'max_queued_messages 0',
      'log_type none',
    ];
    await writeFile(file, `${lines.join('\n')}\n`);
    return { argv: ['mosquitto', '-c', file], port };
  },
};

const ternmq: Broker = {
  name: 'ternmq',
  rows: undefined,
  version: () => packageVersion('package.json'),
  async command(directory) {
    const options = ['--open', '--listen', 'mqtt://127.0.0.1:0', '--data', join(directory, 'data')];
    return {
      argv: node(
        '--max-semi-space-size=32',
        '--conditions=source',
        join(ROOT, 'src/main.ts'),
        'start',
        ...options,
      ),
      port: undefined,
    };
  },
};

const aedes: Broker = {
  name: 'aedes',
  rows: undefined,
  version: () => packageVersion('node_modules/aedes/package.json'),
  async command() {
    return { argv: node(join(import.meta.dirname, 'aedes.ts')), port: undefined };
  },
};

const relay: Broker = {
  name: 'relay',
  rows: ['pairs-qos0', 'fan-out-qos0', 'trickle-qos0', 'pairs-16k', 'latency'],
  version: () => process.version,
  async command() {
    return { argv: node(join(import.meta.dirname, 'relay.ts')), port: undefined };
  },
};

export const BROKERS: readonly Broker[] = [mosquitto, ternmq, aedes, relay];

/** Starts `broker` and resolves when it accepts connections; rejects with the reason it does not. */
export async function startBroker(broker: Broker, isPinned: boolean): Promise<RunningBroker> {
  const directory = await mkdtemp(join(tmpdir(), 'bench-'));
  const { argv, port } = await broker.command(directory);
  const pinned = isPinned ? ['taskset', '-c', BROKER_CORE, ...argv] : [...argv];
  const child = spawn(pinned[0]!, pinned.slice(1), {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const watch = watchChild(child);
  const stop = async (): Promise<void> => {
    await endChild(child, watch.exited);
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const ready = port ?? (await watch.readyPort);
    await accepts(ready, watch.ended);
    const endpoint = { host: '127.0.0.1', port: ready, pid: child.pid ?? 0 };
    return { endpoint, ended: watch.ended, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Watch {
  readonly exited: Promise<void>;
  readonly readyPort: Promise<number>;
  ended(): string | undefined;
}

/** Reads a broker's output for the line that says where it listens and for its last words. */
function watchChild(child: ChildProcess): Watch {
  const { promise: readyPort, resolve, reject } = Promise.withResolvers<number>();
  readyPort.catch(() => undefined); // nobody waits for it where the port is known
  const { promise: exited, resolve: exit } = Promise.withResolvers<void>();
  let printed = '';
  let lastWords = '';
  let ended: string | undefined;
  const timer = setTimeout(() => reject(new Error('not ready in time')), READY_MS);
  const leave = (why: string): void => {
    clearTimeout(timer);
    ended ??= `${why}${lastWords === '' ? '' : `: ${lastWords.trim()}`}`;
    reject(new Error(ended));
    exit();
  };
  child.stdout?.on('data', (chunk: Buffer) => {
    printed = (printed + chunk.toString()).slice(-4096);
    const port = /ready mqtt:\/\/[^\s:]+:(\d+)/.exec(printed)?.[1];
    if (port === undefined) return;
    clearTimeout(timer);
    resolve(Number(port));
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    lastWords = withoutPaths(lastWords + chunk.toString()).slice(0, ERROR_CHARACTERS_MAX);
  });
  child.on('error', (error) => leave(error.message));
  child.on('exit', (code, signal) => leave(`broker ended (${signal ?? code})`));
  return { exited, readyPort, ended: () => ended };
}

/** Results are published; where this project lies on somebody's disk is not. */
function withoutPaths(text: string): string {
  return text.replaceAll(/(?:file:\/\/)?\/[\w./-]{3,}/g, (path) => path.split('/').at(-1) ?? '');
}

async function endChild(child: ChildProcess, exited: Promise<void>): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await exited;
  clearTimeout(timer);
}

async function accepts(port: number, ended: () => string | undefined): Promise<void> {
  const untilMs = Date.now() + READY_MS;
  while (Date.now() < untilMs) {
    const why = ended();
    if (why !== undefined) throw new Error(why);
    if (await canConnect(port)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('does not accept connections');
}

function canConnect(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ port, host: '127.0.0.1' });
  socket.on('connect', () => {
    socket.destroy();
    resolve(true);
  });
  socket.on('error', () => resolve(false));
  return promise;
}

/** What a command prints; empty where there is no such command. */
export function output(command: string, argv: readonly string[]): string {
  try {
    return execFileSync(command, argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch (error) {
    return (error as { stdout?: string }).stdout ?? '';
  }
}

function packageVersion(path: string): string {
  const script = `process.stdout.write(require(${JSON.stringify(join(ROOT, path))}).version)`;
  return output(process.execPath, ['-e', script]);
}
