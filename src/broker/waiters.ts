/**
 * Publishers that wait for one client: what they send is not read until it has taken what it is
 * owed, first come first served.
 *
 * A client that takes nothing, or has kept somebody waiting for long, holds up nobody until it
 * has caught up: what it cannot take is dropped, or ends its session, by the bounds of its queues.
 *
 * @hot
 */
import { Block, type Connection } from './connection.ts';

export class Waiters {
  readonly #client: Connection;
  #queue: Connection[] = [];
  #timed = false;
  #holdsNobody = false;

  constructor(client: Connection) {
    this.#client = client;
  }

  /** `publisher` waits from now on, if this client may hold anybody. */
  add(publisher: Connection): void {
    if (this.#holdsNobody) return;
    const { broker } = this.#client;
    broker.metrics.publishersPaused++;
    publisher.waitsSinceMs = broker.clock.monotonicMs();
    publisher.block(Block.subscribers);
    this.#queue.push(publisher);
    this.#lookLater();
  }

  /** Lets them go on, the longest waiting first, until the client is behind again. */
  wake(): void {
    const queue = this.#queue;
    if (queue.length === 0) return;
    this.#queue = [];
    const client = this.#client;
    let woken = 0;
    while (woken < queue.length && (woken === 0 || client.gone || !client.congested)) {
      queue[woken++]!.unblock(Block.subscribers);
    }
    if (woken < queue.length) this.#queue = queue.slice(woken).concat(this.#queue);
  }

  /** The client has all that it is owed: it may hold publishers again. */
  caughtUp(): void {
    this.#holdsNobody = false;
    this.wake();
  }

  #lookLater(): void {
    if (this.#timed) return;
    this.#timed = true;
    const { clock, limits } = this.#client.broker;
    clock.after(limits.stallMs, this.#look);
  }

  /** Somebody has waited for a while: for nothing, or for too long? */
  readonly #look = (): void => {
    this.#timed = false;
    const queue = this.#queue;
    if (queue.length === 0) return;
    const { broker, session } = this.#client;
    const nowMs = broker.clock.monotonicMs();
    const { stallMs, holdMs } = broker.limits;
    const stuckSinceMs = session?.stuckSinceMs ?? 0;
    const moves = stuckSinceMs > 0 && nowMs - stuckSinceMs < stallMs;
    if (moves && nowMs - queue[0]!.waitsSinceMs < holdMs) {
      this.#lookLater();
      return;
    }
    this.#holdsNobody = stuckSinceMs > 0;
    this.#queue = [];
    for (let i = 0; i < queue.length; i++) queue[i]!.unblock(Block.subscribers);
  };
}
