/**
 * Compiled code, kept from one run to the next: half of a start is compiling, and so is much of
 * what a broker's first clients wait for.
 *
 * Node does it all. What lies in its directory is run, and Node asks only whether it is whole; so
 * the directory is one that nobody but this user can write to, or there is none. That is not the
 * temporary one that Node would take, nor what HOME says, which `sudo` may leave at another user's.
 */
import { lstatSync, mkdirSync, statfsSync } from 'node:fs';
import module from 'node:module';
import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** Node leaves its unfinished files behind on a disk that is full. */
const ROOM_BYTES_MIN = 64 * 1024 * 1024;
const WRITABLE_BY_OTHERS = 0o022;

/** For what is loaded from here on; without a place to keep it in, everything is as it would be. */
export function keepCompiledCode(environment: NodeJS.ProcessEnv): void {
  // A Node too old to run us has no such function, and is told of later.
  const enable = module.enableCompileCache as typeof module.enableCompileCache | undefined;
  try {
    const directory = openDirectory(environment);
    if (directory !== undefined) enable?.(directory);
  } catch {
    // No home, no name, no right, no room: it was only to be faster.
  }
}

function openDirectory(environment: NodeJS.ProcessEnv): string | undefined {
  const parent = parentOf(environment);
  const directory = join(parent, 'ternmq');
  if (!isAbsolute(directory)) return undefined;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (!isOursAlone(parent) || !isOursAlone(directory)) return undefined;
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize < ROOM_BYTES_MIN ? undefined : directory;
}

function parentOf(environment: NodeJS.ProcessEnv): string {
  const named = environment['XDG_CACHE_HOME'] ?? '';
  return isAbsolute(named) ? named : join(userInfo().homedir, '.cache');
}

function isOursAlone(directory: string): boolean {
  const { uid, mode } = lstatSync(directory);
  const user = process.geteuid?.();
  if (user === undefined) return true; // a system where the home is what counts
  return uid === user && (mode & WRITABLE_BY_OTHERS) === 0;
}
