/**
 * `InstanceLog`: appends go into the journal's batch; reads find their way by topic or along the
 * journal, whichever is shorter.
 *
 * @hot
 */
import type { Clock, Log } from '#base';
import type {
  Appended,
  FilterSet,
  InstanceLog,
  LogEntry,
  LogMessage,
  LogPage,
  LogRead,
  LogRetention,
  Position,
} from '#ports';
import { SortedKeys } from '../sorted-keys.ts';
import type { BlockCache } from './block-cache.ts';
import type { Databases } from './database.ts';
import type { Journal } from './journal.ts';
import type { LmdbLimits } from './limits.ts';
import type { ScanPoint } from './journal-scan.ts';
import { getMessages, readMarks, readPage } from './log-reader.ts';
import { KIND_INSTANCE, type Place } from './record.ts';
import { Retention } from './retention.ts';
import type { Segments } from './segments.ts';
import { TopicTail } from './topic-tail.ts';

/** What all instances' logs share. */
export interface LogShared {
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: LmdbLimits;
  readonly databases: Databases;
  readonly segments: Segments;
  readonly cache: BlockCache;
  journal: Journal;
  /** Topics with entries that the index on disk does not have. */
  dirtyTopics: TopicTail[];
  tailEntries: number;
  /** Another number whenever the index has taken over entries of a tail. */
  indexState: number;
}

const TOPICS_KEPT = 20_000; // known topics without a tail that stay for the next append

export class LmdbInstanceLog implements InstanceLog {
  readonly id: string;
  readonly number: number;
  readonly shared: LogShared;
  readonly retention: Retention = new Retention();
  /** The journal says what its number means. */
  named = false;
  /** Removed since the index was last swept. */
  removedCount = 0;
  /** Where walks along the journal stopped, by the position they reached. */
  readonly points: Map<Position, ScanPoint> = new Map();
  /**
   * Filters whose messages lie so close together that a walk finds a page of them sooner than the
   * index does, as long as it spans no more records than that.
   */
  readonly dense: WeakMap<FilterSet, number> = new WeakMap();
  readonly #tails = new Map<string, TopicTail>();
  readonly #topics = new SortedKeys();
  #end: Position = 0;
  #issued: Position = 0;
  #refining = false;

  constructor(shared: LogShared, id: string, number: number) {
    this.shared = shared;
    this.id = id;
    this.number = number;
  }

  append(message: LogMessage, appended: Appended): void {
    const { journal } = this.shared;
    const batch = journal.open();
    const position = journal.nextPosition();
    this.#issued = position;
    if (!this.named) {
      this.named = true;
      batch.name(KIND_INSTANCE, this.number, this.id, position);
    }
    const tail = this.#tails.get(message.topic) ?? this.#addTail(message.topic);
    batch.message(message, position, tail, appended);
    tail.pendingCount++;
  }

  /** A message is durable. */
  admit(
    tail: TopicTail,
    position: Position,
    place: Place,
    bytes: number,
    acceptedMs: number,
  ): void {
    tail.push(position, place);
    this.shared.tailEntries++;
    if (!tail.listed) {
      tail.listed = true;
      this.shared.dirtyTopics.push(tail);
    }
    this.#end = position;
    this.retention.add(position, place, bytes, acceptedMs);
    if (this.retention.exceeded) this.enforce();
  }

  /** The same for a message from the journal, at start. */
  replay(topic: string, position: Position, place: Place, bytes: number, acceptedMs: number): void {
    const tail = this.#tails.get(topic) ?? this.#addTail(topic);
    this.admit(tail, position, place, bytes, acceptedMs);
  }

  /** What was known when the journal was applied last. */
  restore(floor: Position, end: Position): void {
    this.retention.floor = floor;
    this.#end = end;
    this.named = true;
  }

  read(request: LogRead): Promise<LogPage> {
    return readPage(this, request);
  }

  get(positions: readonly Position[]): Promise<readonly (LogEntry | undefined)[]> {
    return getMessages(this, positions);
  }

  end(): Position {
    return this.#end;
  }

  issued(): Position {
    return Math.max(this.#issued, this.#end); // at start the end is all that is known
  }

  floor(): Position {
    return this.retention.floor;
  }

  retain(limits: LogRetention): void {
    this.retention.limits = limits;
    this.enforce();
  }

  size(): { readonly count: number; readonly bytes: number } {
    return { count: this.retention.count, bytes: this.retention.bytes };
  }

  /** Removes what retention no longer allows. */
  enforce(): void {
    if (this.#refining) return;
    const { retention, shared } = this;
    const before = retention.count;
    const coarse = retention.enforce(shared.clock.nowMs());
    this.removedCount += before - retention.count;
    if (coarse === undefined) return;
    this.#refining = true;
    retention.close(coarse);
    readMarks(this, coarse).then(
      (fine) => {
        this.#refining = false;
        retention.refine(coarse, fine);
        this.enforce();
      },
      (error: unknown) => {
        this.#refining = false;
        shared.log.warn('retention could not read the journal', { cause: String(error) });
      },
    );
  }

  tail(topic: string): TopicTail | undefined {
    return this.#tails.get(topic);
  }

  /** Topics in memory that begin with `prefix`; not all of them have entries. */
  topicsInMemory(prefix: string): readonly string[] {
    return this.#topics.withPrefix(prefix, this.#isKnown);
  }

  /** The index on disk has the first `length` numbers of the tail. */
  release(tail: TopicTail, length: number): void {
    this.shared.indexState++;
    this.shared.tailEntries -= length / 2;
    tail.drop(length);
    if (tail.entries.length > 0 || tail.pendingCount > 0) return;
    if (this.#tails.size <= TOPICS_KEPT) return;
    this.#tails.delete(tail.topic);
    this.#topics.remove();
  }

  #addTail(topic: string): TopicTail {
    const tail = new TopicTail(this, topic);
    this.#tails.set(topic, tail);
    this.#topics.add(topic);
    return tail;
  }

  readonly #isKnown = (topic: string): boolean => this.#tails.has(topic);
}
