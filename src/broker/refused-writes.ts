/**
 * What the disk refused and nobody could be told of, until it is written: nothing of it is
 * forgotten while the process lives, up to a bound.
 */
import type { Broker } from './broker.ts';

const RETRY_MS = 1000;

export class RefusedWrites {
  readonly #broker: Broker;
  /** Of what waits to be written again. */
  #bytes = 0;

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  /**
   * Writes it again a little later; `bytes` is what it holds in memory until then. False, and
   * counted: there is no room for it.
   */
  again(bytes: number, write: () => void): boolean {
    const { limits, metrics, clock } = this.#broker;
    if (this.#bytes + bytes > limits.refusedBytesMax) {
      metrics.droppedRefusedByDisk++;
      return false;
    }
    this.#bytes += bytes;
    clock.after(RETRY_MS, () => {
      this.#bytes -= bytes;
      if (!this.#broker.closing) write();
    });
    return true;
  }
}
