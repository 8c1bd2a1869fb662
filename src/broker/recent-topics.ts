/** The topics written last: whether what was read a moment ago may still be told. */

const COUNT_MAX = 1024;
const NONE: ReadonlySet<string> = new Set();

export class RecentTopics {
  readonly #ring: string[] = [];
  #count = 0;

  /** A moment: `since` tells what was written after it. */
  get mark(): number {
    return this.#count;
  }

  add(topic: string): void {
    this.#ring[this.#count++ % COUNT_MAX] = topic;
  }

  /** `undefined`: too many to say. */
  since(mark: number): ReadonlySet<string> | undefined {
    if (mark === this.#count) return NONE;
    if (this.#count - mark > COUNT_MAX) return undefined;
    const topics = new Set<string>();
    for (let i = mark; i < this.#count; i++) topics.add(this.#ring[i % COUNT_MAX]!);
    return topics;
  }
}
