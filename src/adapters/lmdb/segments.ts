/**
 * The journal's files: `journal/00000001.seg` and so on, and what is known of each.
 *
 * Space is written with zeros ahead of the journal, because a synced write into space that
 * exists costs half of one that also makes the file grow. The file after the current one is
 * opened before it is needed.
 */
import { close, constants, fdatasync, open, unlink, write } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Log } from '#base';
import type { Position } from '#ports';
import type { LmdbLimits } from './limits.ts';
import { syncDirectory } from './sync-directory.ts';

const openFile = promisify(open);
const closeFile = promisify(close);
const removeFile = promisify(unlink);
const writeFile = promisify(write);
const syncFile = promisify(fdatasync);

const PREPARE_BYTES = 4 * 1024 * 1024;
const MARK_BYTES = 64 * 1024; // a position is noted this often, so that one can be found

export interface Segment {
  readonly number: number;
  readonly path: string;
  readonly fd: number;
  /** Zeroed up to here. */
  prepared: number;
  /** Batches end here; final once a later segment exists. */
  end: number;
  /** Position and offset by turns: a batch that starts with that position at that offset. */
  marks: number[];
  /** The newest position of each instance, by number. */
  readonly newest: Map<number, Position>;
  /** Changed since it was last noted in LMDB. */
  changed: boolean;
  /** Reads under way: the file stays open for them. */
  readers: number;
  /** Told when the last of them is done. */
  unread: (() => void) | undefined;
}

export class Segments {
  /** Ascending by number. */
  readonly list: Segment[] = [];
  readonly #directory: string;
  readonly #limits: LmdbLimits;
  readonly #log: Log;
  readonly #zeros: Buffer = Buffer.alloc(PREPARE_BYTES);
  #preparing: Promise<void> | undefined = undefined;
  #next: Segment | undefined = undefined;
  #closed = false;

  constructor(directory: string, limits: LmdbLimits, log: Log) {
    this.#directory = directory;
    this.#limits = limits;
    this.#log = log;
  }

  path(number: number): string {
    return join(this.#directory, `${String(number).padStart(8, '0')}.seg`);
  }

  find(number: number): Segment | undefined {
    const { list } = this;
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (list[middle]!.number < number) low = middle + 1;
      else high = middle;
    }
    return list[low]?.number === number ? list[low] : undefined;
  }

  /** The first segment with a larger number. */
  after(number: number): Segment | undefined {
    return this.list.find((segment) => segment.number > number);
  }

  /** Opens that segment's file, which is there. */
  open(number: number, size: number): Promise<Segment> {
    return this.#open(number, size, constants.O_RDWR | constants.O_DSYNC);
  }

  /** Makes that segment's file, or takes one that was left empty. */
  async #make(number: number): Promise<Segment> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC;
    const segment = await this.#open(number, 0, flags);
    try {
      await syncDirectory(this.#directory);
      return segment;
    } catch (error) {
      await closeFile(segment.fd);
      throw error;
    }
  }

  async #open(number: number, prepared: number, flags: number): Promise<Segment> {
    const path = this.path(number);
    const fd = await openFile(path, flags, 0o600);
    const empty = { end: 0, marks: [], newest: new Map<number, Position>(), changed: false };
    return { number, path, fd, prepared, ...empty, readers: 0, unread: undefined };
  }

  /** That segment, its file open until `release`; `undefined` where it is gone. */
  hold(number: number): Segment | undefined {
    const segment = this.find(number);
    if (segment !== undefined) segment.readers++;
    return segment;
  }

  release(segment: Segment): void {
    segment.readers--;
    if (segment.readers === 0) segment.unread?.();
  }

  /** The segment after `current`, from stock if it is there. */
  async next(previous: number): Promise<Segment> {
    const number = previous + 1;
    await this.#preparing;
    const stocked = this.#next;
    this.#next = undefined;
    const segment = stocked?.number === number ? stocked : await this.#make(number);
    this.list.push(segment);
    return segment;
  }

  /** Notes where a batch that starts with `position` lies. */
  mark(segment: Segment, position: Position, offset: number): void {
    const { marks } = segment;
    if (marks.length > 0 && offset < marks[marks.length - 1]! + MARK_BYTES) return;
    marks.push(position, offset);
    segment.changed = true;
  }

  /** Keeps prepared space ahead of `offset` in `current`; works in the background. */
  prepare(current: Segment, offset: number): void {
    if (this.#preparing !== undefined || this.#closed) return;
    const { segmentBytes, preparedBytes } = this.#limits;
    const wanted = offset + preparedBytes;
    const inCurrent = current.prepared < Math.min(wanted, segmentBytes);
    const wantedNext = Math.min(wanted - segmentBytes, segmentBytes);
    if (!inCurrent && (this.#next?.prepared ?? 0) >= wantedNext) return;
    this.#preparing = this.#prepare(current, inCurrent).then(
      () => {
        this.#preparing = undefined;
      },
      (error: unknown) => {
        // Not lost: the journal's own write makes room, or is refused and says why.
        this.#preparing = undefined;
        this.#log.debug('journal space could not be prepared', { cause: String(error) });
      },
    );
  }

  /**
   * A write up to `end` must wait for this promise: zeros are on their way to that place.
   * `undefined`: it may start, and is counted as prepared space.
   */
  claim(segment: Segment, end: number): Promise<void> | undefined {
    if (end <= segment.prepared) return undefined;
    if (this.#preparing === undefined) segment.prepared = end;
    return this.#preparing;
  }

  async remove(segment: Segment): Promise<void> {
    const index = this.list.indexOf(segment);
    if (index >= 0) this.list.splice(index, 1);
    await removeFile(segment.path);
    await syncDirectory(this.#directory);
    await letGo(segment);
  }

  /** Writes bytes that were read there once more: then they are on the disk for certain. */
  async rewrite(segment: Segment, offset: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const left = bytes.length - done;
      const { bytesWritten } = await writeFile(segment.fd, bytes, done, left, offset + done);
      done += bytesWritten;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#preparing;
    const open = this.list.splice(0); // from now on nobody finds one to read
    if (this.#next !== undefined) open.push(this.#next);
    for (const segment of open) await letGo(segment);
  }

  async #prepare(current: Segment, inCurrent: boolean): Promise<void> {
    const { segmentBytes } = this.#limits;
    if (!inCurrent) this.#next ??= await this.#make(current.number + 1);
    const segment = inCurrent ? current : this.#next;
    if (segment === undefined) return;
    const from = segment.prepared;
    const bytes = Math.min(PREPARE_BYTES, segmentBytes - from);
    if (bytes <= 0) return;
    // Through a descriptor of its own, so that the journal's writes do not queue behind it.
    const fd = await openFile(segment.path, constants.O_RDWR);
    try {
      await writeFile(fd, this.#zeros, 0, bytes, from);
      await syncFile(fd);
    } finally {
      await closeFile(fd);
    }
    if (segment.prepared < from + bytes) segment.prepared = from + bytes;
  }
}

/** Closes its file once nobody reads it: the descriptor's number then means another file. */
async function letGo(segment: Segment): Promise<void> {
  if (segment.readers > 0) {
    await new Promise<void>((resolve) => {
      segment.unread = resolve;
    });
  }
  await closeFile(segment.fd);
}
