/**
 * Compiled code, kept from one run to the next: half of a start is compiling, and so is much of
 * what a broker's first clients wait for.
 *
 * Node does it all, into a directory that must be this user's alone, for what lies there is run:
 * not the temporary directory it would take, nor what HOME says, which `sudo` may leave at another
 * user's.
 */
import module from 'node:module';
import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** For what is loaded from here on; without a place to keep it in, everything is as it would be. */
export function keepCompiledCode(environment: NodeJS.ProcessEnv): void {
  const directory = directoryOf(environment);
  // A Node too old to run us has no such function, and is told of later.
  const enable = module.enableCompileCache as typeof module.enableCompileCache | undefined;
  if (directory !== undefined) enable?.(directory);
}

function directoryOf(environment: NodeJS.ProcessEnv): string | undefined {
  const named = environment['XDG_CACHE_HOME'] ?? '';
  if (isAbsolute(named)) return join(named, 'ternmq');
  try {
    return join(userInfo().homedir, '.cache', 'ternmq');
  } catch {
    return undefined; // a user without a name, as containers have them
  }
}
