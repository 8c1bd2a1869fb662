/**
 * Expired retained messages are removed without anybody subscribing: their table is looked
 * through a part at a time, for ever, at a pace nobody feels, and not at all where none expires.
 */
import type { Broker } from './broker.ts';
import type { InstanceSpace } from './instance-space.ts';

export class RetainedSweep {
  readonly #broker: Broker;
  /** Whose turn it is; those behind it follow. */
  #left: InstanceSpace[] = [];
  #running = false;

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  /** One step of it. */
  async step(): Promise<void> {
    const { closing, limits, log } = this.#broker;
    if (this.#running || closing) return;
    this.#running = true;
    try {
      await this.#look(limits.retainedSweepRows);
    } catch (error) {
      log.error('looking for expired retained messages failed; tried again', {
        error: String(error),
      });
    } finally {
      this.#running = false;
    }
  }

  async #look(rowsMax: number): Promise<void> {
    if (this.#left.length === 0) this.#left = [...this.#broker.spaces.values()];
    let rows = 0;
    for (let space = this.#left.at(-1); space !== undefined; space = this.#left.at(-1)) {
      rows += await space.retained.sweep(rowsMax - rows);
      if (rows >= rowsMax) return;
      this.#left.pop();
    }
  }
}
