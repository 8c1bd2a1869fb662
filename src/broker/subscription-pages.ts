/**
 * Where the subscriptions of a durable session are kept: the first in its own row, what has no
 * room there in pages, each a row. So a client of ten thousand filters that changes one of them
 * has one page written, not all.
 */

/** The session's own row, which also says how many others there are. */
export const OWN_ROW = 0;
const PAGE_BYTES_MAX = 8 * 1024;
/** About what is written of a subscription beside its filter. */
const BYTES_EACH = 120;

/** What is in a page: a filter as the client wrote it, and where it stands. */
export interface Placed {
  readonly text: string;
  page: number | undefined;
}

/** How full one session's pages are, and which of them are to be written. */
export class SubscriptionPages {
  readonly #bytes: number[] = [0];
  readonly #changed = new Set<number>();

  /** Pages beside the session's own row; `undefined`: none. */
  get count(): number | undefined {
    return this.#bytes.length === 1 ? undefined : this.#bytes.length - 1;
  }

  /** A new subscription gets a place; one found in the store keeps it. */
  add(item: Placed): void {
    const bytes = bytesOf(item);
    if (item.page === undefined) {
      item.page = this.#roomFor(bytes);
      this.#changed.add(item.page);
    }
    while (this.#bytes.length <= item.page) this.#bytes.push(0);
    this.#bytes[item.page]! += bytes;
  }

  /** Another subscription to the same filter takes its place. */
  replace(old: Placed, item: Placed): void {
    item.page = old.page!;
    this.#changed.add(item.page);
  }

  remove(item: Placed): void {
    this.#bytes[item.page!]! -= bytesOf(item);
    this.#changed.add(item.page!);
  }

  /** The pages that changed since this was last asked. */
  takeChanged(): readonly number[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  #roomFor(bytes: number): number {
    const page = this.#bytes.findIndex((used) => used === 0 || used + bytes <= PAGE_BYTES_MAX);
    return page < 0 ? this.#bytes.length : page;
  }
}

function bytesOf({ text }: Placed): number {
  return Buffer.byteLength(text) + BYTES_EACH;
}
