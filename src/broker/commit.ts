/**
 * One publish that waits for the disk: for the log, the retained store, the publisher's packet
 * id, or several of them. When the last has settled, its acknowledgement leaves; when one was
 * refused, the publisher is told, and nothing is kept of it.
 *
 * @hot
 */
import type { Fault } from '#base';
import type { Appended, Position, Settled } from '#ports';
import type { Acknowledging } from './acks.ts';
import type { InstanceSpace } from './instance-space.ts';
import type { KeptMessage } from './kept-message.ts';
import type { TopicEntry } from './topic-cache.ts';

export class Commit implements Appended, Settled {
  /** How many answers are still to come. */
  waits = 0;
  readonly #space: InstanceSpace;
  readonly #entry: TopicEntry;
  /** For durable sessions that are online; `undefined`: none was when it was published. */
  readonly #message: KeptMessage | undefined;
  readonly #ack: Acknowledging | undefined;
  #fault: Fault | undefined = undefined;

  constructor(
    space: InstanceSpace,
    entry: TopicEntry,
    message: KeptMessage | undefined,
    ack: Acknowledging | undefined,
  ) {
    this.#space = space;
    this.#entry = entry;
    this.#message = message;
    this.#ack = ack;
  }

  appended(position: Position): void {
    this.#space.dispatch(this.#entry, this.#message, position);
    this.#answered(undefined);
  }

  refused(fault: Fault): void {
    this.#answered(fault);
  }

  settled(fault: Fault | undefined): void {
    this.#answered(fault);
  }

  #answered(fault: Fault | undefined): void {
    this.#fault ??= fault;
    if (--this.waits > 0) return;
    const { broker } = this.#space;
    if (this.#fault !== undefined) broker.metrics.messagesRefused++;
    this.#ack?.settle(this.#fault);
    broker.committed();
  }
}
