/** Debian's mosquitto_pub and mosquitto_sub, as a device's programs. */
import { once } from 'node:events';
import { type Program, runProgram, startProgram } from './program.ts';

export interface MosquittoLogin {
  /** `mqtt://host:port` or `mqtts://host:port`. */
  readonly url: string;
  readonly clientId: string;
  readonly userName: string;
  readonly password: string;
  /** '311' where absent. */
  readonly version?: '311' | '5';
  /** Path of a PEM file. */
  readonly authorityFile?: string;
}

function words(login: MosquittoLogin): string[] {
  const { hostname, port } = new URL(login.url);
  const { version = '311', authorityFile } = login;
  const options: Readonly<Record<string, string>> = {
    '-h': hostname,
    '-p': port,
    '-V': version,
    '-i': login.clientId,
    '-u': login.userName,
    '-P': login.password,
    '-q': '1',
    ...(authorityFile !== undefined && { '--cafile': authorityFile }),
  };
  return Object.entries(options).flat();
}

export interface Ended {
  readonly code: number | string;
  /** What it wrote, both ways. */
  readonly text: string;
}

/** Publishes one message with QoS 1. */
export async function mosquittoPublish(
  login: MosquittoLogin,
  topic: string,
  payload: string,
): Promise<Ended> {
  const command = ['mosquitto_pub'];
  const all = [...words(login), '-t', topic, '-m', payload];
  const { code, stdout, stderr } = await runProgram(all, { command });
  return { code, text: stdout + stderr };
}

export interface Listener {
  readonly program: Program;
  /** Waits until `topic payload` has come on a line of its own. */
  heard(topic: string, payload: string | RegExp): Promise<void>;
  /** Everything it wrote, once it has ended by itself. */
  ended(): Promise<Ended>;
}

/** Subscribes; resolves once the subscription was answered, or the program has ended. */
export async function mosquittoSubscribe(
  scope: { after(cleanUp: () => void): void },
  login: MosquittoLogin,
  filter: string,
): Promise<Listener> {
  const all = [...words(login), '-t', filter, '-d', '-F', '%t %p'];
  // Into a pipe it would say nothing of SUBACK until there is more to say.
  const program = startProgram(all, { command: ['stdbuf', '-oL', 'mosquitto_sub'] });
  scope.after(() => void program.child.kill('SIGKILL'));
  const closed = once(program.child, 'close');
  const answered = program.until(({ stdout }) => /received SUBACK/.test(stdout()));
  await Promise.race([answered, closed]);
  answered.catch(() => undefined); // it ended instead, which its caller sees
  return {
    program,
    heard: (topic, payload) =>
      program.until(({ stdout }) =>
        stdout()
          .split('\n')
          .filter((line) => line.startsWith(`${topic} `))
          .map((line) => line.slice(topic.length + 1))
          .some((text) => (typeof payload === 'string' ? text === payload : payload.test(text))),
      ),
    ended: async () => ({ code: await program.ended, text: program.stdout() + program.stderr() }),
  };
}
