#!/usr/bin/env -S node --min-semi-space-size=16 --max-semi-space-size=32
/**
 * `ternmq`: the one program. Chooses the command; `start.ts` builds the broker, `cli/` holds the
 * rest. Process-wide affairs (signals, exit codes, broken pipes) are settled here and only here.
 */
import { readFileSync } from 'node:fs';
import { systemClock, systemRandom } from '#base';
import { CommandError, type CommandIo, EXIT, keepCompiledCode, orStopped } from '#cli';
import { nearest, UsageError } from '#config';

/** A bug of ours, as sysexits(3) numbers it: an internal software error. */
const EXIT_BUG = 70;

/** How much later the second of two signals may come and still be the echo of the first. */
const ECHO_MS = 500;

type Command = (argv: readonly string[], io: CommandIo) => Promise<number>;

const COMMANDS: Readonly<Record<string, readonly [text: string, run: Command]>> = {
  start: [
    'Run the broker.',
    async (argv, io) => {
      const { runStart } = await import('./start.ts');
      return runStart(argv, io);
    },
  ],
  pub: [
    'Publish messages.',
    async (argv, io) => {
      const { runPub } = await import('./cli/pub.ts');
      return runPub(argv, io);
    },
  ],
  sub: [
    'Subscribe, and print what comes.',
    async (argv, io) => {
      const { runSub } = await import('./cli/sub.ts');
      return runSub(argv, io);
    },
  ],
  api: [
    'Call the control API.',
    async (argv, io) => {
      const [{ runApi }, { ACTIONS }] = await Promise.all([
        import('./cli/api.ts'),
        import('#control'),
      ]);
      return runApi(argv, io, ACTIONS);
    },
  ],
  login: [
    'Keep an endpoint and its key for ternmq api.',
    async (argv, io) => {
      const { runLogin } = await import('./cli/login.ts');
      return runLogin(argv, io);
    },
  ],
  bench: [
    'Measure a broker.',
    async (argv, io) => {
      const { runBench } = await import('./cli/bench.ts');
      return orStopped(runBench([...argv], io), io);
    },
  ],
};

function help(io: CommandIo): string {
  const { bold } = io.paint;
  const { version } = readPackage();
  const commands = Object.entries(COMMANDS).map(([name, [text]]) => `  ${name.padEnd(7)}${text}\n`);
  return `${bold('TernMQ')} ${version}: an MQTT broker; an acknowledged message is on disk.

${bold('Usage:')} ternmq COMMAND [OPTIONS]

${commands.join('')}
  ternmq COMMAND --help    what the command can do
  ternmq --version         the version

Exit codes: 0 done, 1 failed, 2 asked for in a way that cannot be.
`;
}

interface Package {
  readonly version: string;
  readonly engines: { readonly node: string };
}

function readPackage(): Package {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
}

/** npm only warns of it, and what fails then looks like a bug of ours. */
function refuseOldNode(): void {
  const least = readPackage().engines.node.replace('>=', '');
  const order = process.versions.node.localeCompare(least, 'en', { numeric: true });
  if (order >= 0) return;
  const { node } = process.versions;
  throw new CommandError(`Node ${least} or newer is needed; this is ${node}: ${process.execPath}`);
}

async function dispatch(argv: readonly string[], io: CommandIo): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined) {
    io.writeError(help(io));
    return EXIT.usage;
  }
  if (name === 'help' || name === '--help' || name === '-h') {
    const topic = rest[0];
    if (topic !== undefined) return dispatch([topic, '--help'], io);
    io.write(help(io));
    return EXIT.ok;
  }
  if (name === '--version' || name === '-V' || name === 'version') {
    io.write(`${readPackage().version}\n`);
    return EXIT.ok;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    const meant = nearest(name, [...Object.keys(COMMANDS), 'help', '--help', '--version']);
    const hint = meant === undefined ? 'see ternmq --help' : `did you mean ${meant}?`;
    throw new UsageError([`unknown command ${name}: ${hint}`]);
  }
  return command[1](rest, io);
}

function createIo(stop: AbortSignal): CommandIo {
  const { stdout, stderr, env } = process;
  const plain = (text: string): string => text;
  const colours = stdout.isTTY && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  const paint = colours
    ? {
        bold: (text: string) => `\u001b[1m${text}\u001b[22m`,
        dim: (text: string) => `\u001b[2m${text}\u001b[22m`,
      }
    : { bold: plain, dim: plain };
  return {
    write: (text) => void stdout.write(text),
    writeError: (text) => void stderr.write(text),
    isTerminal: stderr.isTTY,
    paint,
    columns: Math.min(stdout.isTTY ? stdout.columns : 100, 100),
    environment: env,
    input: process.stdin,
    clock: systemClock,
    random: systemRandom,
    stop,
  };
}

/**
 * The first signal asks for an end, the second makes one. Ctrl-C under npm comes twice, from the
 * terminal and from npm, which hands it on: the same signal at the same moment is one.
 */
function stopOnSignals(): AbortSignal {
  const controller = new AbortController();
  let askedMs = 0;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      const nowMs = systemClock.monotonicMs();
      if (!controller.signal.aborted) {
        askedMs = nowMs;
        controller.abort(signal);
      } else if (controller.signal.reason !== signal || nowMs - askedMs > ECHO_MS) {
        process.exit(EXIT.failure);
      }
    });
  }
  return controller.signal;
}

/** A reader that has gone (`ternmq sub | head`) is no failure of ours; a bug is. */
function settleStreamsAndBugs(isBroker: boolean): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (!isBroker) process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failure);
  });
  process.stderr.on('error', () => undefined); // nobody is left to tell
  const die = (error: unknown): void => {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(`ternmq: a bug; what was acknowledged is safe. Please report:\n${text}\n`);
    process.exit(EXIT_BUG);
  };
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
}

async function main(argv: readonly string[]): Promise<void> {
  keepCompiledCode(process.env);
  settleStreamsAndBugs(argv[0] === 'start');
  const io = createIo(stopOnSignals());
  let code: number;
  try {
    refuseOldNode();
    code = await dispatch(argv, io);
  } catch (error) {
    if (error instanceof UsageError) {
      for (const problem of error.problems) io.writeError(`ternmq: ${problem}\n`);
      code = EXIT.usage;
    } else if (error instanceof CommandError) {
      io.writeError(`ternmq: ${error.message}\n`);
      code = EXIT.failure;
    } else throw error;
  }
  // What is written must be out before the process is; what is open must not hold it.
  process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
}

await main(process.argv.slice(2));
