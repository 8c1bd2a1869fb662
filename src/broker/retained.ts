/**
 * Retained messages: the last one of each topic, in the store, not in memory.
 *
 * A row is `qos, accepted, expires, sizes, publisher, properties, payload`. A write is one row of
 * the same commit as its message; the empty payload removes it [MQTT-3.3.1-6].
 */
import { literalPrefix, matchesFilter, type Settled, type Table } from '#ports';
import type { Qos } from '#wire';
import type { InstanceSpace } from './instance-space.ts';
import { KeptMessage } from './kept-message.ts';
import type { Publication } from './publication.ts';
import { RetainedSnapshots } from './retained-snapshots.ts';

/** A replay under way hears which topics are written meanwhile. */
export interface RetainedWatcher {
  written(topic: string): void;
}

const HEAD_BYTES = 23;

export class RetainedMessages {
  readonly #space: InstanceSpace;
  readonly #table: Table;
  readonly #watchers = new Set<RetainedWatcher>();
  readonly #snapshots: RetainedSnapshots;

  constructor(space: InstanceSpace) {
    this.#space = space;
    this.#snapshots = new RetainedSnapshots(space.broker.clock);
    // A table an instance: with more in front, the longest topics would not fit a key.
    this.#table = space.broker.engine.store.table(`retained-${space.instance.id}`);
  }

  write(publication: Publication, settled: Settled): void {
    this.#space.broker.metrics.messagesRetained++;
    this.#snapshots.changed();
    for (const watcher of this.#watchers) watcher.written(publication.topic);
    const empty = publication.payloadSize === 0; // [MQTT-3.3.1-7]
    const value = empty ? undefined : encodeRetained(publication);
    this.#table.write(publication.topic, value, settled);
  }

  /** The retained message of one topic. */
  async get(topic: string): Promise<KeptMessage | undefined> {
    const row = await this.#table.get(topic);
    return row === undefined ? undefined : decodeRetained(topic, row.value);
  }

  /** Pages of the retained messages that match. One may have expired since it was found. */
  matching(filter: string): AsyncGenerator<readonly KeptMessage[]> {
    return this.#snapshots.read(filter, () => this.#scan(filter));
  }

  async *#scan(filter: string): AsyncGenerator<readonly KeptMessage[]> {
    const prefix = literalPrefix(filter);
    const nowMs = this.#space.broker.clock.nowMs();
    for await (const rows of this.#table.scan(prefix)) {
      const page: KeptMessage[] = [];
      for (const row of rows) {
        const topic = row.key;
        if (!matchesFilter(filter, topic)) continue;
        const message = decodeRetained(topic, row.value);
        if (message.expiresMs === 0 || message.expiresMs > nowMs) page.push(message);
        else await this.#table.remove(row.key, row.version);
      }
      if (page.length > 0) yield page;
    }
  }

  watch(watcher: RetainedWatcher): void {
    this.#watchers.add(watcher);
  }

  unwatch(watcher: RetainedWatcher): void {
    this.#watchers.delete(watcher);
  }
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
