/**
 * A disk that lies about journal writes, and what a kill or a power cut leaves of it.
 *
 * There are two images of the journal: what the kernel shows (the files themselves), and what is
 * on the disk (kept here). A write that is reported failed may be in both, in the first only, in
 * part or not at all, and what failed is not written again by itself. A kill leaves the first
 * image, a power cut the second, without the names that nobody synced.
 *
 * It changes `node:fs` for its process: the engine must be imported after it.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { LmdbEngineOptions } from '#adapters/lmdb';
import type { Engine } from '#ports';
import { type Chance, chanceOf } from './chance.ts';

const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;

type Part = 'all' | 'some' | 'none';

/** What became of a write that is reported failed. */
export interface Fate {
  /** How much the kernel took over, from the front. */
  readonly shown: Part;
  /** How much of that reached the disk, sector by sector. */
  readonly kept: Part;
}

export interface JournalWrite {
  readonly path: string;
  readonly offset: number;
  readonly bytes: Buffer;
}

export interface HeldRead {
  /** The file its descriptor leads to now. */
  file(): string;
  start(): void;
}

type Told = (error: Error | null, bytes: number) => void;

class LyingDisk {
  chance: Chance = chanceOf(1);
  /** Asked before each journal write: `undefined` lets it succeed. */
  decide: (write: JournalWrite) => Fate | undefined = () => undefined;
  /** Hears of each journal write as it is reported. */
  told: (write: JournalWrite, succeeded: boolean) => void = () => {};
  /** Nobody hears of what is written until `release`. */
  holding = false;
  /** Journal writes that nobody has heard of. */
  pending = 0;
  readonly #held: (() => void)[] = [];
  /** Takes the next read of the journal, to let it start later. */
  heldRead: ((read: HeldRead) => void) | undefined = undefined;
  readonly #images = new Map<string, Buffer>();
  readonly #names = new Map<string, Set<string>>();

  write(fd: number, write: JournalWrite, told: Told): void {
    const fate = this.decide(write);
    const held = this.holding;
    this.pending++;
    this.#land(fd, write, fate ?? { shown: 'all', kept: 'all' });
    if (fate === undefined) this.#flush(fd, write);
    this.told(write, fate === undefined && !held);
    const tell = (): void => {
      this.pending--;
      if (fate === undefined && !held) told(null, write.bytes.length);
      else told(Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' }), 0);
    };
    if (held) this.#held.push(tell);
    else setImmediate(tell);
  }

  release(): void {
    this.holding = false;
    for (const tell of this.#held.splice(0)) tell();
  }

  /** Holds the next read of the journal; answers once it has come. */
  holdRead(): Promise<HeldRead> {
    return new Promise((resolve) => {
      this.heldRead = resolve;
    });
  }

  /** The names in this directory are on the disk now. */
  synced(directory: string): void {
    this.#names.set(directory, new Set(fs.readdirSync(directory)));
  }

  /** What is left of the store in `from`, as the store in `to`. */
  crash(from: string, to: string, how: 'kill' | 'power'): void {
    this.#copy(from, to, how);
    this.#copy(join(from, 'journal'), join(to, 'journal'), how);
  }

  #copy(from: string, to: string, how: 'kill' | 'power'): void {
    fs.mkdirSync(to, { recursive: true });
    const synced = this.#names.get(from) ?? new Set();
    for (const entry of fs.readdirSync(from, { withFileTypes: true })) {
      if (!entry.isFile() || (how === 'power' && !synced.has(entry.name))) continue;
      const bytes = fs.readFileSync(join(from, entry.name));
      const path = join(to, entry.name);
      const image = this.#image(join(from, entry.name), bytes.length);
      const journal = basename(from) === 'journal';
      fs.writeFileSync(path, journal && how === 'power' ? image.subarray(0, bytes.length) : bytes);
      this.#images.set(path, Buffer.from(image));
    }
    this.#names.set(to, new Set(how === 'power' ? fs.readdirSync(to) : synced));
  }

  #land(fd: number, { path, offset, bytes }: JournalWrite, fate: Fate): void {
    const { chance } = this;
    const sizes = { all: bytes.length, some: 1 + chance.below(bytes.length - 1), none: 0 };
    const shown = sizes[fate.shown];
    if (shown > 0) real.writeSync(fd, bytes, 0, shown, offset);
    const image = this.#image(path, offset + bytes.length);
    for (let at = offset; at < offset + shown; ) {
      const end = Math.min(offset + shown, at - (at % SECTOR_BYTES) + SECTOR_BYTES);
      const kept = fate.kept === 'all' || (fate.kept === 'some' && chance.happens(0.5));
      if (kept) bytes.copy(image, at, at - offset, end - offset);
      at = end;
    }
  }

  /** A write that succeeded takes its pages along as they are. */
  #flush(fd: number, { path, offset, bytes }: JournalWrite): void {
    const from = offset - (offset % PAGE_BYTES);
    const to = Math.ceil((offset + bytes.length) / PAGE_BYTES) * PAGE_BYTES;
    const image = this.#image(path, to);
    fs.readSync(fd, image, from, to - from, from);
  }

  #image(path: string, length: number): Buffer {
    const image = this.#images.get(path) ?? Buffer.alloc(0);
    if (image.length >= length) return image;
    const longer = Buffer.alloc(length * 2);
    image.copy(longer);
    this.#images.set(path, longer);
    return longer;
  }
}

const real = {
  write: fs.write,
  writeSync: fs.writeSync,
  readv: fs.readv,
  fsync: fs.fsync,
};

export const lyingDisk: LyingDisk = new LyingDisk();

function pathOf(fd: number): string {
  return fs.readlinkSync(`/proc/self/fd/${fd}`);
}

function write(fd: number, buffer: Buffer, ...rest: [number, number, number, Told]): void {
  const [from, length, offset, told] = rest;
  const bytes = buffer.subarray(from, from + length);
  const path = pathOf(fd);
  // Zeros are space made ahead; both images have them anyway.
  if (!path.endsWith('.seg') || bytes.readUInt32LE(0) === 0) {
    real.write(fd, buffer, from, length, offset, told);
    return;
  }
  lyingDisk.write(fd, { path, offset, bytes: Buffer.from(bytes) }, told);
}

function writeAndWait(
  fd: number,
  buffer: Buffer,
  ...rest: [number, number, number]
): Promise<{ readonly bytesWritten: number }> {
  return new Promise((resolve, reject) => {
    write(fd, buffer, ...rest, (error, bytesWritten) => {
      if (error === null) resolve({ bytesWritten });
      else reject(error);
    });
  });
}

function readv(fd: number, buffers: Buffer[], position: number, told: Told): void {
  const start = (): void => real.readv(fd, buffers, position, told);
  const hold = lyingDisk.heldRead;
  lyingDisk.heldRead = undefined;
  if (hold === undefined) start();
  else hold({ file: () => pathOf(fd), start });
}

function fsync(fd: number, told: (error: Error | null) => void): void {
  if (fs.fstatSync(fd).isDirectory()) lyingDisk.synced(pathOf(fd));
  real.fsync(fd, told);
}

Object.assign(write, { [promisify.custom]: writeAndWait });
Object.assign(fs, { write, readv, fsync });
syncBuiltinESMExports();

/** The engine, on this disk. */
export async function openLmdbEngine(options: LmdbEngineOptions): Promise<Engine> {
  return (await import('#adapters/lmdb')).openLmdbEngine(options);
}
