/** `ternmq` run as a user runs it: a process with words, an environment, input and output. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { within } from './deadline.ts';

const PROJECT = join(import.meta.dirname, '..', '..');
const RUN_MS_MAX = 30_000;

export interface Program {
  readonly child: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** Resolves once what it has written so far satisfies `holds`. */
  until(holds: (program: Program) => boolean): Promise<void>;
  /** Resolves to the exit code, or to the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

export interface ProgramOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** More may come after the input: whoever types is still there. */
  readonly inputOpen?: boolean;
  readonly directory?: string;
  /** Another command than `ternmq` itself. */
  readonly command?: readonly string[];
  /** Leads a process group of its own, as a command typed into a terminal does. */
  readonly group?: boolean;
}

/** Starts it; whoever starts it waits for its end. */
export function startProgram(words: readonly string[], options: ProgramOptions = {}): Program {
  const ternmq = [process.execPath, '--conditions=source', join(PROJECT, 'src', 'main.ts')];
  const [command, ...first] = options.command ?? ternmq;
  const child = spawn(command!, [...first, ...words], {
    cwd: options.directory ?? PROJECT,
    env: { ...process.env, ...options.environment },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: options.group ?? false,
  });
  child.stdin.on('error', () => undefined); // it may end before it has read everything
  child.stdin.write(options.input ?? '');
  if (options.inputOpen !== true) child.stdin.end();
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const closed = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? signal ?? -1));
  });
  const program: Program = {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    get ended() {
      return within(RUN_MS_MAX, closed, () => `it does not end; it wrote:\n${stdout}${stderr}`);
    },
    until: async (holds) => {
      const held = new Promise<void>((resolve, reject) => {
        const look = (): void => {
          if (holds(program)) resolve();
        };
        child.stdout.on('data', look);
        child.stderr.on('data', look);
        child.once('close', () => reject(new Error(`it has ended:\n${stdout}${stderr}`)));
        look();
      });
      await within(RUN_MS_MAX, held, () => `not yet; it wrote:\n${stdout}${stderr}`);
    },
  };
  return program;
}

/** Runs it to its end. */
export async function runProgram(
  words: readonly string[],
  options: ProgramOptions = {},
): Promise<{ readonly code: number | string; readonly stdout: string; readonly stderr: string }> {
  const program = startProgram(words, options);
  const code = await program.ended;
  return { code, stdout: program.stdout(), stderr: program.stderr() };
}
