/**
 * What an instance keeps, in marks: how many messages and bytes lie between two positions.
 *
 * Whole marks are dropped, oldest first. A mark too coarse for the limit that drops it (a tenth
 * of a percent of a large log, all of a small one) is first replaced by one mark per message.
 *
 * @hot
 */
import type { LogRetention, Position } from '#ports';
import type { Place } from './record.ts';

export class Mark {
  readonly firstPosition: Position;
  readonly firstPlace: Place;
  lastPosition: Position;
  readonly firstMs: number;
  lastMs: number;
  count: number;
  bytes: number;
  /** In the list of marks to note in LMDB. */
  listed = false;

  constructor(position: Position, place: Place, bytes: number, acceptedMs: number) {
    this.firstPosition = position;
    this.firstPlace = place;
    this.lastPosition = position;
    this.firstMs = acceptedMs;
    this.lastMs = acceptedMs;
    this.count = 1;
    this.bytes = bytes;
  }
}

const MARK_COUNT = 256;
const MARK_BYTES = 64 * 1024;
const MARK_MS = 60_000;
const MARKS_TARGET = 4096; // with more than that many, new ones get coarser
const COARSE = 32; // a mark may be that part of a limit and still be dropped whole

export class Retention {
  count = 0;
  bytes = 0;
  floor: Position = 0;
  /** Changed, respectively gone, since they were last noted in LMDB. */
  changed: Mark[] = [];
  gone: Mark[] = [];
  #marks: Mark[] = [];
  #head = 0;
  #closed = true;
  #limits: LogRetention = { ageMs: NEVER, bytesMax: NEVER, countMax: NEVER };

  get oldest(): Mark | undefined {
    return this.#marks[this.#head];
  }

  set limits(limits: LogRetention) {
    this.#limits = { ...limits };
  }

  get exceeded(): boolean {
    return this.count > this.#limits.countMax || this.bytes > this.#limits.bytesMax;
  }

  add(position: Position, place: Place, bytes: number, acceptedMs: number): void {
    this.count++;
    this.bytes += bytes;
    const mark = this.#marks[this.#marks.length - 1];
    if (mark === undefined || this.#closed || this.#isFull(mark, acceptedMs)) {
      const next = new Mark(position, place, bytes, acceptedMs);
      this.#marks.push(next);
      this.#closed = false;
      this.#list(next);
      return;
    }
    mark.lastPosition = position;
    mark.count++;
    mark.bytes += bytes;
    if (acceptedMs > mark.lastMs) mark.lastMs = acceptedMs;
    this.#list(mark);
  }

  /** A mark known from before, in order. */
  restore(mark: Mark): void {
    this.#marks.push(mark);
    this.count += mark.count;
    this.bytes += mark.bytes;
    this.#closed = false;
  }

  /** Drops what the limits do not allow; answers a mark that must be refined first. */
  enforce(nowMs: number): Mark | undefined {
    const { ageMs, bytesMax, countMax } = this.#limits;
    const horizonMs = ageMs === NEVER ? Number.NEGATIVE_INFINITY : nowMs - ageMs;
    for (let mark = this.oldest; mark !== undefined; mark = this.oldest) {
      const old = mark.firstMs < horizonMs || mark.lastMs < horizonMs;
      if (!old && !this.exceeded) return undefined;
      const excessive =
        (this.count > countMax && this.count - mark.count < countMax * (1 - 1 / COARSE)) ||
        (this.bytes > bytesMax && this.bytes - mark.bytes < bytesMax * (1 - 1 / COARSE));
      const young = old && mark.lastMs >= horizonMs;
      if (young && !this.exceeded && mark.lastMs - mark.firstMs <= ageMs / COARSE) return undefined;
      if (mark.count > 1 && (excessive || young)) return mark;
      this.#dropOldest(mark);
    }
    return undefined;
  }

  /** Puts one mark per message in the place of the oldest. */
  refine(mark: Mark, fine: readonly Mark[]): void {
    if (this.oldest !== mark) return;
    if (this.#head === this.#marks.length - 1) this.#closed = true;
    this.#marks.splice(0, this.#head + 1, ...fine);
    this.#head = 0;
    this.gone.push(mark);
    for (let i = 0; i < fine.length; i++) this.#list(fine[i]!);
  }

  /** No message is added to the oldest mark any more. */
  close(mark: Mark): void {
    if (this.#marks[this.#marks.length - 1] === mark) this.#closed = true;
  }

  #isFull(mark: Mark, acceptedMs: number): boolean {
    return (
      mark.count >= Math.max(MARK_COUNT, this.count / MARKS_TARGET) ||
      mark.bytes >= Math.max(MARK_BYTES, this.bytes / MARKS_TARGET) ||
      acceptedMs - mark.firstMs > MARK_MS
    );
  }

  #dropOldest(mark: Mark): void {
    this.count -= mark.count;
    this.bytes -= mark.bytes;
    this.floor = mark.lastPosition;
    this.gone.push(mark);
    this.#head++;
    if (this.#head === this.#marks.length) this.#closed = true;
    if (this.#head < 256 || this.#head * 2 < this.#marks.length) return;
    this.#marks = this.#marks.slice(this.#head);
    this.#head = 0;
  }

  #list(mark: Mark): void {
    if (mark.listed) return;
    mark.listed = true;
    this.changed.push(mark);
  }
}

const NEVER = Number.POSITIVE_INFINITY;
