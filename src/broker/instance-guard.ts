/**
 * What an instance allows beside permissions: its topics, sizes, counts and rates.
 *
 * Answers come from the instance's settings in memory. Those that depend on the topic alone are
 * worked out once per topic and change of the settings.
 *
 * @hot
 */
import type { FaultCode } from '#base';
import { ConnectRate, type Instance, MessageRate, messageWeight, parentOf } from '#instances';
import type { Qos, Will } from '#wire';
import type { InstanceSpace } from './instance-space.ts';
import { receiverOf } from './mailbox.ts';
import type { Session } from './session.ts';
import { isWild } from './subscription-tree.ts';
import type { TopicEntry } from './topic-cache.ts';

export class InstanceGuard {
  readonly #space: InstanceSpace;
  readonly #instance: Instance;
  readonly #messages: MessageRate;
  readonly #connects: ConnectRate;
  #version = -1;
  #limitsMessages = false;

  constructor(space: InstanceSpace) {
    this.#space = space;
    this.#instance = space.instance;
    const { clock } = space.broker;
    this.#messages = new MessageRate(space.instance, clock);
    this.#connects = new ConnectRate(space.instance, clock);
  }

  /** Client identifiers, groups and parent topics follow the product's rules; P2P works. */
  get compatible(): boolean {
    return this.#instance.kind === 'compatible';
  }

  /** False: a P2P message of somebody else's. */
  isFor(clientId: string, topic: string): boolean {
    if (!this.compatible) return true;
    const receiver = receiverOf(topic);
    return receiver === undefined || receiver === clientId;
  }

  /** Why that client may not connect now, or `undefined`. */
  connect(clientId: string): FaultCode | undefined {
    if (this.#instance.removed) return 'instanceUnknown';
    const { online } = this.#space;
    const full = online.size >= this.#instance.limits.connectionCountMax;
    if (full && !online.has(clientId)) return 'quotaExceeded'; // else it takes its own place
    return this.#connects.take() ? undefined : 'connectionRate';
  }

  /** Why a client may not have such a will, or `undefined`. */
  will({ topic, payload }: Will): FaultCode | undefined {
    if (topic.startsWith('$SYS/')) return 'notAuthorized'; // the server's own to say
    if (payload.length > this.#instance.limits.payloadBytesMax) return 'messageTooLarge';
    return this.#topicFault(topic);
  }

  /** How long a session is kept that wants to be; 0 ends with the connection and is never raised. */
  expirySeconds(asked: number): number {
    if (asked === 0) return 0;
    const { sessionExpirySecondsMin, sessionExpirySecondsMax } = this.#instance.limits;
    const own = this.#space.broker.limits.sessionExpirySecondsMax;
    return Math.min(Math.max(asked, sessionExpirySecondsMin), sessionExpirySecondsMax, own);
  }

  /** Why this may not be published, or `undefined`. */
  publish(
    entry: TopicEntry,
    payloadBytes: number,
    qos: Qos,
    clean: boolean,
  ): FaultCode | undefined {
    const instance = this.#instance;
    if (this.#version !== instance.version) this.#refresh();
    if (entry.checkedVersion !== this.#version) {
      entry.checkedVersion = this.#version;
      entry.fault = this.#topicFault(entry.topic);
    }
    if (entry.fault !== undefined) return entry.fault;
    if (payloadBytes > instance.limits.payloadBytesMax) return 'messageTooLarge';
    if (this.#limitsMessages && !this.#messages.take(messageWeight(qos, clean))) {
      return 'quotaExceeded';
    }
    return undefined;
  }

  /** Deliveries count as messages as well; those under way are not held back. */
  delivered(qos: Qos, count: number): void {
    if (this.#limitsMessages) this.#messages.charge(messageWeight(qos, true) * count);
  }

  /** Why this filter may not be subscribed to, or `undefined`. `isNew`: not held yet. */
  subscribe(session: Session, filter: string, isNew: boolean): FaultCode | undefined {
    const { limits } = this.#instance;
    if (this.compatible) {
      const fault = this.#filterFault(filter);
      if (fault !== undefined) return fault;
    }
    if (!isNew) return undefined;
    if (session.ownSubscriptionCount >= limits.subscriptionsPerClientMax) return 'quotaExceeded';
    const { tree } = this.#space;
    if (tree.filterCount >= limits.subscriptionCountMax) return 'quotaExceeded';
    if (!isWild(filter) || tree.holds(filter)) return undefined;
    return tree.wildcardCount(filter) >= limits.wildcardsPerTopicMax ? 'quotaExceeded' : undefined;
  }

  #refresh(): void {
    this.#version = this.#instance.version;
    this.#limitsMessages = this.#instance.limits.messagesPerSecondMax !== Number.POSITIVE_INFINITY;
  }

  #topicFault(topic: string): FaultCode | undefined {
    if (!this.compatible) {
      return topic.length > this.#instance.limits.topicCharsMax ? 'topicNameInvalid' : undefined;
    }
    const parent = parentOf(topic);
    if (!this.#instance.hasParentTopic(parent)) return 'topicUnknown';
    // The client identifier in a P2P topic has a bound of its own.
    const receiver = receiverOf(topic);
    const size = receiver === undefined ? topic.length : parent.length;
    return size > this.#instance.limits.topicCharsMax ? 'topicNameInvalid' : undefined;
  }

  #filterFault(filter: string): FaultCode | undefined {
    const parent = parentOf(filter);
    if (parent.startsWith('$')) return undefined; // the server's own: nothing of the instance's
    if (!this.#instance.hasParentTopic(parent)) return 'topicFilterInvalid';
    const size = receiverOf(filter) === undefined ? filter.length : parent.length;
    return size > this.#instance.limits.topicCharsMax ? 'topicFilterInvalid' : undefined;
  }
}
