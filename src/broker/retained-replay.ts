/**
 * The retained messages a new subscription is owed, streamed through the same window and socket
 * as everything else: a page in memory at a time, however many there are.
 */
import { hasWildcard } from '#ports';
import { deliverQos0, deliverTransient, effectiveQos, fits, sendWithId } from './delivery.ts';
import { InflightState } from './inflight.ts';
import type { KeptMessage } from './kept-message.ts';
import type { RetainedWatcher } from './retained.ts';
import type { Session } from './session.ts';
import type { Subscription } from './subscription.ts';

export class RetainedReplay implements RetainedWatcher {
  readonly #session: Session;
  readonly #subscription: Subscription;
  readonly #pages: AsyncGenerator<readonly KeptMessage[]>;
  /** Topics written since their page was asked for: those messages came live. */
  #written = new Set<string>();
  #page: readonly KeptMessage[] = [];
  #index = 0;
  #topics = new Set<string>();
  #fetching = false;
  #nowMs = 0;
  #ended = false;

  constructor(session: Session, subscription: Subscription) {
    this.#session = session;
    this.#subscription = subscription;
    const { retained } = session.space;
    retained.watch(this);
    const { filter } = subscription;
    this.#pages = hasWildcard(filter)
      ? retained.matching(filter)
      : one(() => retained.get(filter), session.space.broker.clock.nowMs());
    session.replays ??= [];
    session.replays.push(this);
    session.behind = true;
  }

  /** What was read of this topic is older than what was sent live, and must not follow it. */
  written(topic: string): void {
    if (this.#fetching || this.#topics.has(topic)) this.#written.add(topic);
  }

  /** Sends as much as window and socket allow. */
  pump(): void {
    const { connection } = this.#session;
    if (this.#ended || this.#fetching || connection === undefined) return;
    while (this.#index < this.#page.length) {
      if (connection.congested) return;
      const message = this.#page[this.#index]!;
      const qos = effectiveQos(message.qos, this.#subscription.qos);
      if (qos > 0 && !this.#session.windowOpen) return;
      this.#index++;
      if (this.#written.has(message.topic)) continue;
      if (!this.#session.space.guard.isFor(this.#session.clientId, message.topic)) continue;
      if (message.expiresMs === 0 || message.expiresMs > this.#nowMs) this.#send(message);
    }
    void this.#fetch();
  }

  /** The subscription or its connection is gone. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#session.space.retained.unwatch(this);
    void this.#pages.return(undefined);
    const { replays } = this.#session;
    const at = replays?.indexOf(this) ?? -1;
    if (at >= 0) replays!.splice(at, 1);
    if (replays?.length === 0) this.#session.replays = undefined;
  }

  get subscription(): Subscription {
    return this.#subscription;
  }

  #send(message: KeptMessage): void {
    const { delivery } = this.#subscription;
    const { broker } = this.#session.space;
    const publication = broker.replayed;
    publication.load(message, message.topicBytes, this.#nowMs);
    const qos = effectiveQos(message.qos, delivery.qos);
    // RETAIN is set on what a subscribe brings about [MQTT-3.3.1-8].
    if (qos === 0) deliverQos0(delivery, publication, true);
    else if (!this.#session.durable) deliverTransient(delivery, publication, qos, true, undefined);
    else this.#sendDurable(message);
  }

  /** Not in the log: kept apart, should the client reconnect before it answers. */
  #sendDurable(message: KeptMessage): void {
    const session = this.#session;
    const connection = session.connection!;
    const { delivery } = this.#subscription;
    const publication = session.space.broker.replayed;
    if (!fits(connection, delivery, publication, true)) return;
    const qos = effectiveQos(message.qos, delivery.qos);
    const { broker } = session.space;
    const waits = qos === 2 || session.sendsBehindCommit;
    if (waits) {
      const state = qos === 1 ? InflightState.awaitsPuback : InflightState.awaitsPubrec;
      const packetId = session.inflight.take(state, 0);
      session.unsent ??= [];
      session.unsent.push({ packetId, message, delivery, qos, retain: true });
    } else {
      sendWithId(delivery, publication, qos, true, 0);
    }
    session.retainedInflight ??= new Map();
    const id = session.inflight.lastId;
    session.retainedInflight.set(id, message.topic);
    broker.sessions.keepRetained(session, id, message);
    if (waits) broker.markUrgent(session);
    else broker.markDirty(session);
  }

  async #fetch(): Promise<void> {
    this.#fetching = true;
    this.#written.clear();
    const { broker } = this.#session.space;
    try {
      const result = await this.#pages.next();
      if (this.#ended) return;
      if (result.done === true) {
        this.end();
        return;
      }
      this.#page = result.value;
      this.#index = 0;
      this.#nowMs = broker.clock.nowMs();
      this.#topics = new Set(this.#page.map((message) => message.topic));
    } catch (error) {
      this.end();
      const { connection } = this.#session;
      if (connection !== undefined) broker.failed(connection, error);
      return;
    } finally {
      this.#fetching = false;
    }
    this.pump();
    broker.turn.schedule();
  }
}

async function* one(
  read: () => Promise<KeptMessage | undefined>,
  nowMs: number,
): AsyncGenerator<readonly KeptMessage[]> {
  const found = await read();
  if (found !== undefined && (found.expiresMs === 0 || found.expiresMs > nowMs)) yield [found];
}
