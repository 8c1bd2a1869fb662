/**
 * The data directory: its format, its salt, and that one process at a time uses it.
 *
 * The lock is a socket file somebody listens on. A process that was killed no longer listens, so
 * its lock is void at once, whatever happens to process numbers; containers that share the
 * directory on one machine see each other's.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { Fault, type Random } from '#base';
import { syncDirectory } from './sync-directory.ts';

const FORMAT = 1;
const SOCKET_PATH_MAX = 100; // the kernel's limit is 107 bytes

export interface DataDirectory {
  readonly journal: string;
  readonly database: string;
  /** Chosen once per store: starts every checksum. */
  readonly salt: number;
  /** The files made in it outlast a power cut from now on. */
  sync(): Promise<void>;
  release(): Promise<void>;
}

export async function openDirectory(path: string, random: Random): Promise<DataDirectory> {
  const journal = join(path, 'journal');
  try {
    await makeDirectory(path);
    await makeDirectory(journal);
  } catch (error) {
    throw unusable(path, error);
  }
  const release = await lock(path);
  try {
    const salt = readFormat(path, random);
    const sync = (): Promise<void> => syncDirectory(path);
    return { journal, database: join(path, 'tables.mdb'), salt, sync, release };
  } catch (error) {
    await release();
    throw error instanceof Fault ? error : unusable(path, error);
  }
}

/**
 * Makes it level by level: Node's recursive way calls a read-only disk a missing folder, and in
 * /proc does not come to an end.
 */
async function makeDirectory(path: string): Promise<void> {
  const missing: string[] = [];
  for (let at = resolve(path); !existsSync(at); at = dirname(at)) missing.push(at);
  for (const one of missing.toReversed()) {
    try {
      mkdirSync(one, { mode: 0o700 });
    } catch (error) {
      if (!existsSync(one)) throw error; // else somebody was faster
    }
    await syncDirectory(dirname(one));
  }
}

function readFormat(path: string, random: Random): number {
  const file = join(path, 'format');
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (!isMissing(error)) throw error;
    const salt = random.below(0xffff_ffff);
    // Whole or not at all: one that broke off would be taken for somebody else's.
    const draft = `${file}.new`;
    writeFileSync(draft, `ternmq ${FORMAT} ${salt}\n`, { mode: 0o600, flush: true });
    renameSync(draft, file);
    return salt;
  }
  const match = /^ternmq (\d+) (\d+)\n$/.exec(text);
  if (match === null) throw unusable(path, 'its format file is not one of ours');
  if (Number(match[1]) !== FORMAT) {
    throw unusable(path, `it has format ${match[1]}, this version reads format ${FORMAT}`);
  }
  return Number(match[2]);
}

async function lock(path: string): Promise<() => Promise<void>> {
  const file = join(path, 'lock');
  // A long path is reached through the directory's descriptor.
  const descriptor = Buffer.byteLength(file) > SOCKET_PATH_MAX ? openSync(path, 'r') : undefined;
  const address = descriptor === undefined ? file : `/proc/self/fd/${descriptor}/lock`;
  const done = (): void => {
    if (descriptor !== undefined) closeSync(descriptor);
  };
  try {
    if (await isAnswered(address)) throw unusable(path, 'another process is using it');
    rmSync(file, { force: true });
    const server = await listen(address);
    return () =>
      new Promise((resolve) => {
        server.close(() => {
          done();
          resolve();
        });
      });
  } catch (error) {
    done();
    throw error instanceof Fault ? error : unusable(path, error);
  }
}

function isAnswered(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

function listen(address: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.on('error', reject);
    server.listen(address, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** One line that names the path and the cause. */
export function unusable(path: string, cause: unknown): Fault {
  const text = cause instanceof Error ? cause.message : String(cause);
  const detail = `the data directory ${path} cannot be used: ${text}`;
  return new Fault('storeUnavailable', detail, { cause });
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
