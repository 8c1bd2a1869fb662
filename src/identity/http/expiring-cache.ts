/** Remembers answers for a while: bounded, the longest unused goes first. */
import type { Clock } from '#base';

interface Entry<Value> {
  readonly value: Value;
  readonly untilMs: number;
}

export class ExpiringCache<Value> {
  readonly #clock: Clock;
  readonly #countMax: number;
  /** The longest unused comes first. */
  readonly #entries = new Map<string, Entry<Value>>();

  constructor(clock: Clock, countMax: number) {
    this.#clock = clock;
    this.#countMax = countMax;
  }

  get count(): number {
    return this.#entries.size;
  }

  get(key: string): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    if (entry.untilMs <= this.#clock.monotonicMs()) return undefined;
    this.#entries.set(key, entry);
    return entry.value;
  }

  set(key: string, value: Value, durationMs: number): void {
    if (durationMs <= 0) return;
    this.#entries.delete(key);
    this.#entries.set(key, { value, untilMs: this.#clock.monotonicMs() + durationMs });
    if (this.#entries.size <= this.#countMax) return;
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined) this.#entries.delete(oldest);
  }
}
