/**
 * Who may connect now: a bounded rate, a bounded count, and nobody while the loop is late.
 *
 * A flood is smoothed: CONNECTs beyond the rate wait their turn in a bounded queue and are
 * admitted a few at a time; beyond the queue they are refused with the reason.
 */
import type { FaultCode } from '#base';
import type { Broker } from './broker.ts';
import type { Connection } from './connection.ts';

const PERIOD_MS = 20;
/** Weight of a new reading of the loop's lateness. */
const LATENESS_WEIGHT = 0.5;

interface Waiting {
  readonly connection: Connection;
  readonly admitted: () => void;
}

export class Admission {
  readonly #broker: Broker;
  readonly #waiting: Waiting[] = [];
  readonly #stop: () => void;
  #head = 0;
  #tokens: number;
  #lastMs: number;
  #latenessMs = 0;
  /** Connections admitted and not gone. */
  #admitted = new Set<Connection>();

  constructor(broker: Broker) {
    this.#broker = broker;
    this.#tokens = this.#burst;
    this.#lastMs = broker.clock.monotonicMs();
    this.#stop = broker.clock.every(PERIOD_MS, () => this.#tick());
  }

  /** Calls `admitted` now or later, or answers why not. */
  ask(connection: Connection, admitted: () => void): FaultCode | undefined {
    const { limits, closing } = this.#broker;
    if (closing) return 'serverShuttingDown';
    if (this.#latenessMs > limits.latenessMaxMs) return 'serverBusy';
    const waiting = this.#waiting.length - this.#head;
    if (this.#admitted.size + waiting >= limits.connectionCountMax) return 'quotaExceeded';
    if (this.#tokens >= 1 && this.#head === this.#waiting.length) {
      this.#tokens--;
      this.#admitted.add(connection);
      admitted();
      return undefined;
    }
    if (this.#waiting.length - this.#head >= limits.connectsWaitingMax) return 'connectionRate';
    this.#waiting.push({ connection, admitted });
    return undefined;
  }

  forget(connection: Connection): void {
    this.#admitted.delete(connection);
  }

  stop(): void {
    this.#stop();
  }

  get #burst(): number {
    return Math.max(1, this.#broker.limits.connectsPerSecondMax / 10);
  }

  #tick(): void {
    const { clock, limits, metrics } = this.#broker;
    const nowMs = clock.monotonicMs();
    const elapsedMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    const lateMs = Math.max(0, elapsedMs - PERIOD_MS);
    this.#latenessMs = Math.max(
      0,
      this.#latenessMs + (lateMs - this.#latenessMs) * LATENESS_WEIGHT,
    );
    metrics.loopLatenessMs = Math.round(this.#latenessMs);
    const earned = (elapsedMs * limits.connectsPerSecondMax) / 1000;
    this.#tokens = Math.min(this.#burst, this.#tokens + earned);
    while (this.#tokens >= 1 && this.#head < this.#waiting.length) {
      const { connection, admitted } = this.#waiting[this.#head++]!;
      if (connection.gone) continue;
      this.#tokens--;
      this.#admitted.add(connection);
      admitted();
    }
    if (this.#head > 1024 && this.#head * 2 > this.#waiting.length) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
    if (this.#head === this.#waiting.length) {
      this.#waiting.length = 0;
      this.#head = 0;
    }
  }
}
