/**
 * Retained messages: the last one of each topic, in the store, not in memory.
 *
 * A row is `qos, accepted, expires, sizes, publisher, properties, payload`. A write is one row of
 * the same commit as its message; the empty payload removes it [MQTT-3.3.1-6].
 */
import type { Row, Settled, Table, Version } from '#ports';
import type { Qos } from '#wire';
import { ownTable } from './instance-remains.ts';
import type { InstanceSpace } from './instance-space.ts';
import { KeptMessage } from './kept-message.ts';
import type { Publication } from './publication.ts';
import { RecentTopics } from './recent-topics.ts';
import type { RetainedFilters, RetainedRange } from './retained-filters.ts';
import { RetainedSnapshots } from './retained-snapshots.ts';

export interface RetainedRow {
  readonly message: KeptMessage;
  readonly version: Version;
}

/** What one go of reading found. */
export interface RetainedPiece {
  /** All up to this topic was looked at before; `undefined`: it begins its range. */
  readonly after: string | undefined;
  readonly rows: readonly RetainedRow[];
  readonly bytes: number;
  /** Reading goes on behind this topic; `undefined`: the range ends here. */
  readonly next: string | undefined;
  /** When it was read, for `recent`. */
  readonly mark: number;
}

const HEAD_BYTES = 23;
/** Rows looked at in one go where nothing matches. */
const GO_ROWS_MAX = 2_000;
/** What more filters share is not likely to be asked for twice. */
const SHARED_FILTERS_MAX = 16;

export class RetainedMessages {
  /** What was written last. */
  readonly recent: RecentTopics = new RecentTopics();
  readonly #space: InstanceSpace;
  readonly #table: Table;
  readonly #snapshots = new RetainedSnapshots();
  /** The sweep for expired messages has come so far; `undefined`: it begins anew. */
  #sweptTo: string | undefined = undefined;
  /** Something that expires was written since the sweep began, or met by it. */
  #expiring = true;

  constructor(space: InstanceSpace) {
    this.#space = space;
    this.#table = space.broker.engine.store.table(ownTable('retained', space.instance.id));
  }

  write(publication: Publication, settled: Settled): void {
    this.#space.broker.metrics.messagesRetained++;
    this.#snapshots.changed();
    this.recent.add(publication.topic);
    if (publication.expiresMs > 0) this.#expiring = true;
    const empty = publication.payloadSize === 0; // [MQTT-3.3.1-7]
    const value = empty ? undefined : encodeRetained(publication);
    this.#table.write(publication.topic, value, settled);
  }

  /** What was written up to now has a version no larger than this, what comes later a larger. */
  newest(): Version {
    return this.#table.newest();
  }

  /** The retained message of one topic. */
  async get(topic: string): Promise<RetainedRow | undefined> {
    const row = await this.#table.get(topic);
    return row === undefined ? undefined : this.#alive(row);
  }

  /** The next messages behind `after` that one of the range's filters matches; perhaps none yet. */
  async read(
    filters: RetainedFilters,
    range: RetainedRange,
    after: string | undefined,
  ): Promise<RetainedPiece> {
    const shared = range.filters.length <= SHARED_FILTERS_MAX;
    const key = shared ? `${range.filters.join('\u0000')}\u0000\u0000${after ?? ''}` : '';
    const known = shared ? this.#snapshots.get(key) : undefined;
    if (known !== undefined) return known;
    const { piece, lookedAt } = await this.#scan(filters, range, after);
    if (shared && piece.mark === this.recent.mark) this.#snapshots.add(key, piece, lookedAt);
    return piece;
  }

  async #scan(
    filters: RetainedFilters,
    range: RetainedRange,
    after: string | undefined,
  ): Promise<{ readonly piece: RetainedPiece; readonly lookedAt: number }> {
    let lookedAt = 0;
    let seen = after;
    let { mark } = this.recent;
    for await (const page of this.#table.scan(range.prefix, after)) {
      const rows: RetainedRow[] = [];
      let bytes = 0;
      for (const row of page) {
        if (filters.matching(row.key).length === 0) continue;
        const found = this.#alive(row);
        if (found === undefined) continue;
        rows.push(found);
        bytes += found.message.bytes;
      }
      lookedAt += page.length;
      const next = page.at(-1)!.key;
      const enough = rows.length > 0 || lookedAt >= GO_ROWS_MAX || this.#space.broker.closing;
      if (enough) return { piece: { after: seen, rows, bytes, next, mark }, lookedAt };
      seen = next;
      mark = this.recent.mark;
    }
    return { piece: { after: seen, rows: [], bytes: 0, next: undefined, mark }, lookedAt };
  }

  /** `undefined`: it has expired, and goes [MQTT-3.3.2-5]. */
  #alive(row: Row): RetainedRow | undefined {
    const expiresMs = expiryOf(row.value);
    if (expiresMs === 0 || expiresMs > this.#space.broker.clock.nowMs()) {
      return { message: decodeRetained(row.key, row.value), version: row.version };
    }
    // Nobody waits for that; where it is refused, whoever comes next tries again.
    this.#table.remove(row.key, row.version).catch(() => {});
    return undefined;
  }

  /** Gives back the room of what has expired, a part of the table at a time; says how large. */
  async sweep(rowsMax: number): Promise<number> {
    if (this.#sweptTo === undefined) {
      if (!this.#expiring) return 0;
      this.#expiring = false;
    }
    let lookedAt = 0;
    for await (const page of this.#table.scan('', this.#sweptTo)) {
      for (const row of page) {
        if (expiryOf(row.value) > 0 && this.#alive(row) !== undefined) this.#expiring = true;
      }
      lookedAt += page.length;
      this.#sweptTo = page.at(-1)!.key;
      if (lookedAt >= rowsMax || this.#space.broker.closing) return lookedAt;
    }
    this.#sweptTo = undefined;
    return lookedAt;
  }
}

function expiryOf(value: Uint8Array): number {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).readDoubleBE(9);
}

/** What a row holds. */
export function encodeRetained(message: Publication | KeptMessage): Buffer {
  const kept = message instanceof KeptMessage;
  const publisher = kept ? message.publisher : message.publisherId;
  const publisherSize = Buffer.byteLength(publisher);
  const propertiesSize = kept
    ? message.properties.length
    : message.propertiesEnd - message.propertiesStart;
  const payloadSize = kept ? message.payload.length : message.payloadSize;
  const row = Buffer.allocUnsafe(HEAD_BYTES + publisherSize + propertiesSize + payloadSize);
  row[0] = message.qos;
  row.writeDoubleBE(message.acceptedMs, 1);
  row.writeDoubleBE(message.expiresMs, 9);
  row.writeUInt16BE(publisherSize, 17);
  row.writeUInt32BE(propertiesSize, 19);
  row.write(publisher, HEAD_BYTES);
  const at = HEAD_BYTES + publisherSize;
  if (kept) {
    message.properties.copy(row, at);
    message.payload.copy(row, at + propertiesSize);
  } else {
    message.properties.copy(row, at, message.propertiesStart, message.propertiesEnd);
    message.copyPayload(row, at + propertiesSize);
  }
  return row;
}

export function decodeRetained(topic: string, value: Uint8Array): KeptMessage {
  const row = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  const publisherEnd = HEAD_BYTES + row.readUInt16BE(17);
  const propertiesEnd = publisherEnd + row.readUInt32BE(19);
  return new KeptMessage(
    topic,
    Buffer.from(topic),
    row.subarray(propertiesEnd),
    row.subarray(publisherEnd, propertiesEnd),
    row[0] as Qos,
    true,
    row.toString('utf8', HEAD_BYTES, publisherEnd),
    row.readDoubleBE(1),
    row.readDoubleBE(9),
  );
}
