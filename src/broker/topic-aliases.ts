/**
 * The topics behind the aliases of one connection, each way.
 *
 * An alias keeps a topic of up to 64 kB for as long as the connection lasts, so their bytes are
 * bounded and not only their number.
 *
 * @hot
 */
import type { TopicEntry } from './topic-cache.ts';

/** What the client set [MQTT-3.3.2-12]. */
export class AliasesIn {
  readonly #topics: (TopicEntry | undefined)[] = [];
  #bytes = 0;

  get(alias: number): TopicEntry | undefined {
    return this.#topics[alias];
  }

  /** False: all topics together would have more than `bytesMax`. */
  set(alias: number, topic: TopicEntry, bytesMax: number): boolean {
    const old = this.#topics[alias];
    if (old === topic) return true;
    const bytes = this.#bytes + topic.size - (old?.size ?? 0);
    if (bytes > bytesMax) return false;
    this.#topics[alias] = topic;
    this.#bytes = bytes;
    return true;
  }
}

/** What the client was told: the first topics it gets each have one, and keep it. */
export class AliasesOut {
  readonly #aliases = new Map<string, number>();
  #bytes = 0;

  get(topic: string): number | undefined {
    return this.#aliases.get(topic);
  }

  /** A new alias for a topic of so many bytes; `undefined`: there is no room for one. */
  give(topic: string, size: number, countMax: number, bytesMax: number): number | undefined {
    if (this.#aliases.size >= countMax || this.#bytes + size > bytesMax) return undefined;
    const alias = this.#aliases.size + 1;
    this.#aliases.set(topic, alias);
    this.#bytes += size;
    return alias;
  }
}
