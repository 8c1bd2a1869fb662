/**
 * One broker as a process of its own, seen only from outside.
 *
 * The spec suite must not know how the broker is made, so it gets a port and
 * nothing else. With TERNMQ_TEST_PEER=mosquitto the same tests run against
 * Debian's mosquitto: a second opinion on the tests themselves.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { within } from './deadline.ts';
import { freePort } from './free-port.ts';

const PROJECT_ROOT: string = join(import.meta.dirname, '..', '..');
const READY_MS_MAX = 20_000;
const STOP_MS_MAX = 15_000;

/** True when the tests run against mosquitto in place of TernMQ. */
export const againstPeer: boolean = process.env['TERNMQ_TEST_PEER'] === 'mosquitto';

export interface BrokerOptions {
  /** Further arguments of `ternmq start`; ignored by mosquitto. */
  readonly args?: readonly string[];
  /** Lines for mosquitto.conf; ignored by TernMQ. */
  readonly peerConfiguration?: readonly string[];
  /** URLs to listen on; `mqtt://127.0.0.1:0` when absent. */
  readonly listen?: readonly string[];
  /** Leaves out `--open`, for tests that bring their own permissions. */
  readonly closed?: boolean;
  readonly memory?: boolean;
  /** Kept after the test when given; otherwise a new one, removed at the end. */
  readonly dataDirectory?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface BrokerProcess {
  /** The first listener, as the broker announced it. */
  readonly url: string;
  readonly urls: readonly string[];
  readonly port: number;
  readonly dataDirectory: string;
  readonly pid: number;
  /** All it has written to stdout and stderr so far. */
  output(): string;
  /** Asks it to end (SIGTERM) and waits until it has. */
  stop(): Promise<void>;
  /** Ends it at once (SIGKILL), as a crash would. */
  kill(): Promise<void>;
  /** Starts it on the same data, after ending it if need be; the ports may be others then. */
  restart(): Promise<void>;
}

/** Whatever can run a clean-up at its end: a test context, or the shared broker's hooks. */
export interface Scope {
  after(cleanUp: () => Promise<void>): void;
}

/** Starts a broker that lives as long as `scope` and resolves once it takes connections. */
export async function startBroker(
  scope: Scope,
  options: BrokerOptions = {},
): Promise<BrokerProcess> {
  const dataDirectory = options.dataDirectory ?? (await mkdtemp(join(tmpdir(), 'broker-')));
  let running = await launch(options, dataDirectory);

  scope.after(async () => {
    await running.end('SIGKILL');
    if (options.dataDirectory === undefined) {
      await rm(dataDirectory, { recursive: true, force: true });
    }
  });

  return {
    get url() {
      return running.urls[0]!;
    },
    get urls() {
      return running.urls;
    },
    get port() {
      return Number(new URL(running.urls[0]!).port);
    },
    get pid() {
      return running.pid;
    },
    dataDirectory,
    output: () => running.output(),
    stop: () => running.end('SIGTERM'),
    kill: () => running.end('SIGKILL'),
    restart: async () => {
      await running.end('SIGTERM');
      running = await launch(options, dataDirectory);
    },
  };
}

interface Running {
  readonly urls: readonly string[];
  readonly pid: number;
  output(): string;
  end(signal: NodeJS.Signals): Promise<void>;
}

async function launch(options: BrokerOptions, dataDirectory: string): Promise<Running> {
  const listen = options.listen ?? ['mqtt://127.0.0.1:0'];
  const recipe = againstPeer
    ? await peerRecipe(options, listen, dataDirectory)
    : ternmqRecipe(options, listen, dataDirectory);
  const child = spawn(recipe.command, recipe.args, {
    cwd: PROJECT_ROOT,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  const endWithUs = (): void => void child.kill('SIGKILL');
  process.once('exit', endWithUs);
  void exited.then(() => process.removeListener('exit', endWithUs));

  let written = '';
  const urls = await within(
    READY_MS_MAX,
    new Promise<readonly string[]>((resolve, reject) => {
      const onOutput = (chunk: Buffer): void => {
        written += chunk.toString();
        const ready = recipe.readyUrls(written);
        if (ready !== undefined) resolve(ready);
      };
      child.stdout.on('data', onOutput);
      child.stderr.on('data', onOutput);
      void exited.then(() =>
        reject(new Error(`the broker ended before it was ready:\n${written}`)),
      );
    }),
    () => {
      child.kill('SIGKILL');
      return `the broker did not say it was ready; it wrote:\n${written}`;
    },
  );

  return {
    urls,
    pid: child.pid!,
    output: () => written,
    end: async (signal) => {
      if (!child.kill(signal)) return exited;
      await within(STOP_MS_MAX, exited, () => `the broker did not end on ${signal}:\n${written}`);
    },
  };
}

interface Recipe {
  readonly command: string;
  readonly args: readonly string[];
  /** The announced URLs, once the output so far has them. */
  readyUrls(written: string): readonly string[] | undefined;
}

function ternmqRecipe(
  options: BrokerOptions,
  listen: readonly string[],
  dataDirectory: string,
): Recipe {
  return {
    command: process.execPath,
    args: [
      '--conditions=source',
      join('src', 'main.ts'),
      'start',
      ...(options.closed ? [] : ['--open']),
      ...listen.flatMap((url) => ['--listen', url]),
      '--data',
      dataDirectory,
      ...(options.memory ? ['--memory'] : []),
      ...(options.args ?? []),
    ],
    readyUrls: (written) => /^ternmq ready (.+)$/m.exec(written)?.[1]?.trim().split(/\s+/),
  };
}

async function peerRecipe(
  options: BrokerOptions,
  listen: readonly string[],
  dataDirectory: string,
): Promise<Recipe> {
  const urls: string[] = [];
  const lines = [
    'allow_anonymous true',
    'log_dest stderr',
    'persistence true',
    'max_inflight_messages 0',
    'max_queued_messages 0',
    `persistence_location ${dataDirectory}/`,
    ...(process.getuid?.() === 0 ? ['user root'] : []),
    ...(options.peerConfiguration ?? []),
  ];
  for (const wanted of listen) {
    const url = new URL(wanted);
    if (url.port === '0' || url.port === '') url.port = String(await freePort());
    lines.push(`listener ${url.port} 127.0.0.1`);
    if (url.protocol === 'ws:') lines.push('protocol websockets');
    urls.push(url.href);
  }
  const configuration = join(dataDirectory, 'mosquitto.conf');
  await writeFile(configuration, `${lines.join('\n')}\n`);
  return {
    command: '/usr/sbin/mosquitto',
    args: ['-c', configuration],
    readyUrls: (written) => (/ running$/m.test(written) ? urls : undefined),
  };
}
