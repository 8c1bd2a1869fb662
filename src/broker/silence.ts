/**
 * When a client counts as gone: no CONNECT in time, or nothing heard for longer than its keep
 * alive allows.
 */
import { Timer } from '#base';
import type { Connection } from './connection.ts';

export class Silence extends Timer {
  readonly #connection: Connection;
  /** How much of it is too much; 0: the client promises no sign of life. */
  #mostMs = 0;

  constructor(connection: Connection) {
    super();
    this.#connection = connection;
  }

  /** The client has so long to connect. */
  awaitConnect(timeoutMs: number): void {
    this.#connection.broker.wheel.schedule(this, timeoutMs);
  }

  /** It is connected, and is heard at least so often; 0: it need not be. */
  bound(mostMs: number): void {
    this.cancel();
    this.#mostMs = mostMs;
    if (mostMs > 0) this.#connection.broker.wheel.schedule(this, mostMs);
  }

  cancel(): void {
    this.#connection.broker.wheel.cancel(this);
  }

  expired(): void {
    const connection = this.#connection;
    if (connection.gone) return;
    if (!connection.open) {
      connection.broker.metrics.handshakeTimeouts++;
      connection.abandon();
      return;
    }
    // Where it is we who do not read, that is not the client's silence.
    if (connection.waitsForUs) connection.heard();
    // What came while the process was held up lies unread: after the next read it counts.
    if (!this.#waitsOn()) setImmediate(() => this.#decide());
  }

  #decide(): void {
    const connection = this.#connection;
    if (connection.gone || this.#waitsOn()) return;
    connection.broker.metrics.keepAliveTimeouts++;
    connection.broker.disconnect(connection, 'keepAliveTimeout'); // [MQTT-3.1.2-24] [MQTT-3.1.2-22]
  }

  /** True, and waiting: the client has some of its time left. */
  #waitsOn(): boolean {
    const { wheel } = this.#connection.broker;
    const silentMs = (wheel.tick - this.#connection.heardTick) * wheel.tickMs;
    if (silentMs >= this.#mostMs) return false;
    wheel.schedule(this, this.#mostMs - silentMs);
    return true;
  }
}
