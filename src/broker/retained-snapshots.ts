/**
 * What wildcards found among the retained messages, until the next write: many who come back at
 * once ask for the same. A snapshot still being read counts until its last reader is done, so all
 * of them together are bounded.
 */
import type { Clock } from '#base';
import type { KeptMessage } from './kept-message.ts';

const BYTES_MAX = 16 * 1024 * 1024;
/** What a message costs in memory beside its bytes. */
const MESSAGE_BYTES = 640;
/** A reader that takes longer is slow: what it has seen is not kept beside what it is owed. */
const BUILD_MS_MAX = 500;
/** What was found quickly is not worth remembering, and there may be many such filters. */
const WORTH_BYTES_MIN = 64 * 1024;

class Snapshot {
  readonly pages: (readonly KeptMessage[])[] = [];
  bytes = 0;
  readers = 0;
  current = true;
}

export class RetainedSnapshots {
  readonly #current = new Map<string, Snapshot>();
  readonly #clock: Clock;
  #bytes = 0;
  #writes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A retained message changes: nothing found so far is to be given out again. */
  changed(): void {
    this.#writes++;
    if (this.#current.size === 0) return;
    for (const snapshot of this.#current.values()) {
      snapshot.current = false;
      if (snapshot.readers === 0) this.#bytes -= snapshot.bytes;
    }
    this.#current.clear();
  }

  /** The pages of `filter`: found before, or from `scan`, which is then remembered. */
  async *read(
    filter: string,
    scan: () => AsyncIterable<readonly KeptMessage[]>,
  ): AsyncGenerator<readonly KeptMessage[]> {
    const known = this.#current.get(filter);
    if (known !== undefined) {
      yield* this.#again(known);
      return;
    }
    const writes = this.#writes;
    const untilMs = this.#clock.monotonicMs() + BUILD_MS_MAX;
    let found: Snapshot | undefined = new Snapshot();
    let whole = false;
    try {
      for await (const page of scan()) {
        if (found !== undefined) found = this.#add(found, page, untilMs);
        yield page;
      }
      const worth = found !== undefined && found.bytes >= WORTH_BYTES_MIN;
      whole = worth && this.#writes === writes && !this.#current.has(filter);
    } finally {
      if (found !== undefined && whole) this.#current.set(filter, found);
      else if (found !== undefined) this.#bytes -= found.bytes;
    }
  }

  async *#again(snapshot: Snapshot): AsyncGenerator<readonly KeptMessage[]> {
    snapshot.readers++;
    try {
      for (const page of snapshot.pages) yield page;
    } finally {
      snapshot.readers--;
      if (snapshot.readers === 0 && !snapshot.current) this.#bytes -= snapshot.bytes;
    }
  }

  /** `undefined`: too large to remember, or too slow to come together. */
  #add(snapshot: Snapshot, page: readonly KeptMessage[], untilMs: number): Snapshot | undefined {
    let bytes = 0;
    for (const message of page) bytes += message.bytes + MESSAGE_BYTES;
    if (this.#bytes + bytes > BYTES_MAX || this.#clock.monotonicMs() > untilMs) {
      this.#bytes -= snapshot.bytes;
      return undefined;
    }
    this.#bytes += bytes;
    snapshot.bytes += bytes;
    snapshot.pages.push(page);
    return snapshot;
  }
}
