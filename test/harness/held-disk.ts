/** A disk that takes its time: a memory engine whose commits a test holds back, or has fail. */
import { openMemoryEngine } from '#adapters/memory';
import { systemClock } from '#base';
import type { Engine } from '#ports';

export class HeldDisk {
  readonly engine: Engine;
  readonly #waiting: (() => void)[] = [];
  #held = false;

  constructor() {
    this.engine = openMemoryEngine({
      clock: systemClock,
      schedule: (commit) => {
        if (this.#held) this.#waiting.push(commit);
        else setImmediate(commit);
      },
    });
  }

  /** What is issued from here on becomes durable only after `release`. */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    for (const commit of this.#waiting.splice(0)) commit();
  }
}
