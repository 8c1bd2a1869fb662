/**
 * The retained messages a session's new subscriptions are owed, through the same window and socket
 * as everything else: one walk through the table for all that were made until it began, a piece in
 * memory at a time. Those made meanwhile wait for the next walk.
 *
 * How far a walk came is one topic, for the table has an order [ST6]. A durable session keeps it
 * in its cursor, in the same row as what is in flight, so that whoever resumes it goes on there,
 * and no QoS 2 message comes twice.
 */
import type { Version } from '#ports';
import type { Qos } from '#wire';
import { deliverQos0, deliverTransient, effectiveQos, handOverApart } from './delivery.ts';
import type { KeptMessage } from './kept-message.ts';
import type { RetainedPiece, RetainedRow } from './retained.ts';
import { RetainedFilters, type RetainedRange } from './retained-filters.ts';
import type { RetainedReader } from './retained-reads.ts';
import type { Session } from './session.ts';
import type { Subscription } from './subscription.ts';

/** That a subscription is owed retained messages. */
export interface RetainedOwed {
  /** Those with a larger version were written after the SUBSCRIBE: they come as any message. */
  readonly upTo: Version;
  /** The walk that serves it: one with a larger number says that it has them all. */
  readonly walk: number;
}

/** How far a session's walk came. Walks are counted; the next begins where the last one ends. */
export interface RetainedWalk {
  number: number;
  /** All up to this topic is sent, and of the topic itself all up to the filter; `''`: none yet. */
  topic: string;
  /** `''`: the topic is done. */
  filter: string;
}

/** Topics looked up in one go. */
const GO_TOPICS_MAX = 64;

/** What a SUBSCRIBE that is handled now owes. */
export function oweRetained(session: Session): RetainedOwed {
  const { number, topic } = session.walk ?? { number: 1, topic: '' };
  // One that came somewhere, under way or left by a connection before, is not its walk.
  const walk = session.replay === undefined && topic === '' ? number : number + 1;
  return { upTo: session.space.retained.newest(), walk };
}

/** Begins the next walk, if one is owed and none is under way. */
export function replayRetained(session: Session): void {
  if (session.replay !== undefined || session.connection === undefined) return;
  const walk = (session.walk ??= { number: 1, topic: '', filter: '' });
  let number = Number.POSITIVE_INFINITY;
  const waiting: Subscription[] = [];
  for (const text of session.owed ?? []) {
    const subscription = session.subscriptions.get(text);
    if (subscription?.owed === undefined || subscription.owed.walk < walk.number) continue;
    waiting.push(subscription);
    number = Math.min(number, subscription.owed.walk);
  }
  const served = waiting.filter(({ owed }) => owed!.walk === number);
  const later = waiting.filter(({ owed }) => owed!.walk > number);
  session.owed = later.length > 0 ? new Set(later.map(({ text }) => text)) : undefined;
  if (served.length === 0) return;
  if (number > walk.number) session.walk = { number, topic: '', filter: '' };
  session.replay = new RetainedReplay(session, session.walk, served);
  session.behind = true;
}

export class RetainedReplay implements RetainedReader {
  readonly #session: Session;
  readonly #walk: RetainedWalk;
  readonly #filters: RetainedFilters;
  /** The range that is being read, and behind which topic; `undefined`: from its beginning. */
  #range = 0;
  #after: string | undefined = undefined;
  /** The walk was broken off within a topic: what other filters are owed of it comes first. */
  #begunTopic: string | undefined = undefined;
  /** The topic at hand, the filters it matches in their order, and how many of them are served. */
  #matched: string | undefined = undefined;
  #matching: readonly string[] = [];
  #served = 0;
  #piece: RetainedPiece | undefined = undefined;
  #index = 0;
  #reading = false;
  #ended = false;

  constructor(session: Session, walk: RetainedWalk, subscriptions: readonly Subscription[]) {
    this.#session = session;
    this.#walk = walk;
    this.#filters = new RetainedFilters(subscriptions);
    const { topic } = walk;
    if (topic === '') return;
    this.#range = this.#filters.rangeAt(topic);
    const range = this.#filters.ranges[this.#range];
    if (range === undefined || !topic.startsWith(range.prefix)) return;
    this.#after = topic;
    if (walk.filter !== '') this.#begunTopic = topic;
  }

  /** Sends as much as window and socket allow. */
  pump(): void {
    const session = this.#session;
    if (this.#ended || this.#reading || session.resend !== undefined) return;
    while (this.#piece !== undefined) {
      if (!this.#sendPiece(this.#piece)) return;
    }
    if (this.#nextRange() === undefined) {
      this.#finish();
      return;
    }
    this.#reading = true;
    session.space.broker.retainedReads.want(this);
  }

  /** The connection is gone, or the walk is over. */
  end(): void {
    this.#ended = true;
    this.#piece = undefined;
    this.#session.space.broker.retainedReads.forget(this);
    this.#session.replay = undefined;
  }

  async readPiece(): Promise<void> {
    const { space, connection } = this.#session;
    try {
      const piece = await this.#read();
      if (this.#ended) return;
      this.#piece = piece;
      this.#index = 0;
    } catch (error) {
      if (this.#ended) return;
      this.end();
      if (connection !== undefined) space.broker.failed(connection, error);
      return;
    }
    this.#reading = false;
    this.pump();
    space.broker.turn.schedule();
  }

  async #read(): Promise<RetainedPiece | undefined> {
    const { retained } = this.#session.space;
    const { mark } = retained.recent;
    if (this.#begunTopic !== undefined) {
      const row = await retained.get(this.#begunTopic);
      return pieceOf(row, mark, this.#begunTopic);
    }
    for (let count = 0; count < GO_TOPICS_MAX; count++) {
      const range = this.#nextRange();
      if (range === undefined) return undefined;
      if (!range.exact) return await retained.read(this.#filters, range, this.#after);
      const row = this.#after === undefined ? await retained.get(range.prefix) : undefined;
      if (this.#ended) return undefined;
      if (row !== undefined) return pieceOf(row, mark, undefined);
      this.#range++;
      this.#after = undefined;
    }
    return undefined;
  }

  /** The first range left that somebody is still owed. */
  #nextRange(): RetainedRange | undefined {
    const { ranges } = this.#filters;
    for (; this.#range < ranges.length; this.#range++) {
      const range = ranges[this.#range]!;
      if (range.filters.some((filter) => this.#owedBy(filter) !== undefined)) return range;
      this.#after = undefined;
    }
    return undefined;
  }

  /** The subscription as it is now, if this walk is still to serve it. */
  #owedBy(filter: string): Subscription | undefined {
    const subscription = this.#session.subscriptions.get(filter);
    return subscription?.owed?.walk === this.#walk.number ? subscription : undefined;
  }

  /** False: window or socket is shut. */
  #sendPiece(piece: RetainedPiece): boolean {
    const { space } = this.#session;
    const written = space.retained.recent.since(piece.mark);
    if (written === undefined) {
      // Nobody can tell what of it is still so: it is read again.
      if (this.#begunTopic === undefined) this.#after = piece.rows[this.#index - 1]?.message.topic;
      this.#after ??= piece.after;
      this.#piece = undefined;
      return true;
    }
    const nowMs = space.broker.clock.nowMs();
    for (; this.#index < piece.rows.length; this.#index++) {
      const row = piece.rows[this.#index]!;
      const { topic, expiresMs } = row.message;
      const current = !written.has(topic) && (expiresMs === 0 || expiresMs > nowMs);
      if (current && !this.#sendRow(row, nowMs)) {
        this.#piece = held(piece, this.#index, space.broker.limits.retainedHeldBytesMax);
        this.#index = 0;
        return false;
      }
      this.#walk.topic = topic;
      this.#walk.filter = '';
    }
    this.#piece = undefined;
    this.#begunTopic = undefined;
    this.#after = piece.next;
    if (piece.next === undefined) this.#range++;
    return true;
  }

  /** To each subscription that is owed it; false: window or socket is shut. */
  #sendRow({ message, version }: RetainedRow, nowMs: number): boolean {
    const session = this.#session;
    const walk = this.#walk;
    const { topic } = message;
    if (!session.space.guard.isFor(session.clientId, topic)) return true;
    if (topic !== this.#matched) {
      this.#matched = topic;
      this.#matching = this.#filters.matching(topic);
      this.#served = 0;
    }
    for (; this.#served < this.#matching.length; this.#served++) {
      const filter = this.#matching[this.#served]!;
      if (topic === walk.topic && filter <= walk.filter) continue;
      const subscription = this.#owedBy(filter);
      if (subscription === undefined) continue;
      const own = message.publisher === session.clientId;
      if (own && subscription.noLocal) continue; // [MQTT-3.8.3-3]
      const qos = effectiveQos(message.qos, subscription.qos);
      const { upTo } = subscription.owed!;
      // What was written while the client was away waits for it in the log, but not QoS 0.
      if (version > (qos === 0 ? Math.max(upTo, session.absentUpTo) : upTo)) continue;
      if (session.connection!.congested || (qos > 0 && !session.windowOpen)) return false;
      walk.topic = topic;
      walk.filter = filter;
      this.#send(subscription, message, qos, nowMs);
    }
    return true;
  }

  #send({ delivery }: Subscription, message: KeptMessage, qos: Qos, nowMs: number): void {
    const { broker } = this.#session.space;
    const publication = broker.replayed;
    publication.load(message, message.topicBytes, nowMs);
    // RETAIN is set on what a subscribe brings about [MQTT-3.3.1-8].
    if (qos === 0) deliverQos0(delivery, publication, true);
    else if (!this.#session.durable) deliverTransient(delivery, publication, qos, true, undefined);
    else handOverApart(delivery, message, qos, true, undefined);
    broker.markDirty(this.#session);
  }

  #finish(): void {
    const session = this.#session;
    this.end();
    session.walk = { number: this.#walk.number + 1, topic: '', filter: '' };
    session.space.broker.markDirty(session);
    replayRetained(session);
    session.replay?.pump();
  }
}

function pieceOf(
  row: RetainedRow | undefined,
  mark: number,
  next: string | undefined,
): RetainedPiece {
  const rows = row === undefined ? [] : [row];
  return { after: undefined, rows, bytes: row?.message.bytes ?? 0, next, mark };
}

/** What is kept of a piece, from `index` on, while the client takes nothing: the rest is read again. */
function held(piece: RetainedPiece, index: number, bytesMax: number): RetainedPiece {
  let bytes = 0;
  let end = index;
  while (end < piece.rows.length && (end === index || bytes < bytesMax)) {
    bytes += piece.rows[end++]!.message.bytes;
  }
  const rows = piece.rows.slice(index, end);
  const after = piece.rows[index - 1]?.message.topic ?? piece.after;
  const next = end < piece.rows.length ? rows.at(-1)!.message.topic : piece.next;
  return { after, rows, bytes, next, mark: piece.mark };
}
