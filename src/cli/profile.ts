/**
 * Where `ternmq login` keeps an endpoint and its key: one file that only its owner can read.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { CommandError, type CommandIo } from './io.ts';

export interface Profile {
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  /** Path of the certificates to trust. */
  readonly ca?: string | undefined;
}

/** The file: under XDG_CONFIG_HOME, or else under `.config` at home. */
export function profilePath(io: CommandIo): string {
  const home = io.environment['HOME'] ?? homedir();
  const settings = io.environment['XDG_CONFIG_HOME'] ?? '';
  const base = settings === '' ? join(home, '.config') : settings;
  return join(base, 'ternmq', 'profile.json');
}

/** The profile, or `undefined` where nobody has logged in. */
export function readProfile(io: CommandIo): Profile | undefined {
  const path = profilePath(io);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
    if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) {
      throw new CommandError(`${path} can be read by others: chmod 600 it, or log in again`);
    }
  } catch (error) {
    if (error instanceof CommandError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new CommandError(`cannot read ${path}: ${code}`, { cause: error });
  }
  const profile = parse(text);
  if (profile === undefined) throw new CommandError(`${path} is no profile: log in again`);
  return profile;
}

function parse(text: string): Profile | undefined {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof found !== 'object' || found === null) return undefined;
  const { endpoint, accessKeyId, accessKeySecret, ca } = found as Record<string, unknown>;
  if (typeof endpoint !== 'string' || typeof accessKeyId !== 'string') return undefined;
  if (typeof accessKeySecret !== 'string') return undefined;
  return { endpoint, accessKeyId, accessKeySecret, ca: typeof ca === 'string' ? ca : undefined };
}

/** Writes the profile whole, or leaves what was there. Answers the path. */
export function writeProfile(profile: Profile, io: CommandIo): string {
  const path = profilePath(io);
  const draft = `${path}.${Buffer.from(io.random.bytes(6)).toString('hex')}`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(draft, `${JSON.stringify(profile, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(`cannot write ${path}: ${code}`, { cause: error });
  }
  return path;
}
