/**
 * What the disk refused and nobody could be told of, until it is written: nothing of it is
 * forgotten while the process lives, up to a bound.
 */
import type { Broker } from './broker.ts';

const RETRY_MS = 1000;

export class RefusedWrites {
  readonly #broker: Broker;
  /** What waits to be written again, and how much memory it holds. */
  readonly #waiting = new Map<() => void, number>();
  #bytes = 0;
  #closed = false;

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  /**
   * Writes it again a little later; `bytes` is what it holds in memory until then. False, and
   * counted: there is no room for it.
   */
  again(bytes: number, write: () => void): boolean {
    const { limits, metrics, clock } = this.#broker;
    if (this.#closed || this.#bytes + bytes > limits.refusedBytesMax) {
      metrics.droppedRefusedByDisk++;
      return false;
    }
    this.#bytes += bytes;
    this.#waiting.set(write, bytes);
    clock.after(RETRY_MS, () => this.#write(write));
    return true;
  }

  /** The broker is stopping: the disk is asked a last time. */
  close(): void {
    this.#closed = true;
    for (const write of this.#waiting.keys()) this.#write(write);
  }

  #write(write: () => void): void {
    const bytes = this.#waiting.get(write);
    if (bytes === undefined) return; // it was the last time
    this.#waiting.delete(write);
    this.#bytes -= bytes;
    write();
  }
}
