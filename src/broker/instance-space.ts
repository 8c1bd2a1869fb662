/**
 * All that belongs to one instance on this node: its subscriptions, online sessions, groups,
 * retained messages and log. Spaces of two instances never meet.
 */
import type { Instance } from '#instances';
import type { InstanceLog, Position } from '#ports';
import { InstanceMetrics } from '#telemetry';
import type { Broker } from './broker.ts';
import { effectiveQos, handOver } from './delivery.ts';
import { InstanceGuard } from './instance-guard.ts';
import type { KeptMessage } from './kept-message.ts';
import type { Lease } from './leases.ts';
import { isMailbox, Mailboxes } from './mailbox.ts';
import { lag } from './pump.ts';
import { RetainedMessages } from './retained.ts';
import type { Session } from './session.ts';
import type { Delivery } from './subscription.ts';
import { SharedGroup } from './shared-group.ts';
import { type Leaf, SubscriptionTree } from './subscription-tree.ts';
import { createSubscription, type StoredSubscription, type Subscription } from './subscription.ts';
import { TopicCache, type TopicEntry } from './topic-cache.ts';

export class InstanceSpace {
  readonly broker: Broker;
  readonly instance: Instance;
  readonly log: InstanceLog;
  readonly tree: SubscriptionTree = new SubscriptionTree();
  readonly mailboxes: Mailboxes = new Mailboxes();
  readonly topics: TopicCache;
  readonly retained: RetainedMessages;
  /** Online sessions by client identifier. */
  readonly online: Map<string, Session> = new Map();
  readonly groups: Map<string, SharedGroup> = new Map();
  /** What groups gave to durable sessions that are away, by session key and packet id. */
  readonly absent: Map<string, Map<number, Lease>> = new Map();
  readonly guard: InstanceGuard;
  readonly metrics: InstanceMetrics = new InstanceMetrics();
  /** Every logged message up to here was offered to the online sessions. */
  dispatched: Position;

  constructor(broker: Broker, instance: Instance) {
    this.broker = broker;
    this.instance = instance;
    this.log = broker.engine.log.instance(instance.id);
    this.topics = new TopicCache(
      this.tree,
      broker.limits.topicCacheCountMax,
      broker.random.below(0x7fff_ffff),
      instance.kind === 'compatible' ? this.mailboxes : undefined,
    );
    this.retained = new RetainedMessages(this);
    this.guard = new InstanceGuard(this);
    this.dispatched = this.log.end();
  }

  /** What is kept: by the broker's retention, or the instance's own where that is less. */
  retain(): void {
    const { ageMs, bytesMax, countMax } = this.broker.retention;
    const { offlineMessageAgeMs, offlineMessageCountMax } = this.instance.limits;
    this.log.retain({
      ageMs: Math.min(ageMs, offlineMessageAgeMs),
      bytesMax,
      countMax: Math.min(countMax, offlineMessageCountMax),
    });
  }

  /** Key of a session in every table; no two clients share one, whatever is in their names. */
  sessionKey(clientId: string): string {
    return `${this.instance.id}/${clientId}`;
  }

  isOnline(sessionKey: string): boolean {
    return this.online.has(sessionKey.slice(this.instance.id.length + 1));
  }

  /** A logged message is on disk: durable sessions that are online get it. */
  dispatch(entry: TopicEntry, message: KeptMessage | undefined, position: Position): void {
    const before = this.dispatched;
    this.dispatched = position;
    const route = this.topics.route(entry);
    if (!route.durableOnline) return;
    if (message === undefined) {
      this.#leaveToCursors(route.deliveries, route.groups, position, before);
      return;
    }
    const publication = this.broker.replayed;
    publication.load(message, message.topicBytes, message.acceptedMs);
    const { deliveries, groups } = route;
    for (let i = 0; i < deliveries.length; i++) {
      const now = deliveries[i]!;
      const { session } = now;
      let delivery: Delivery | undefined = now.at(position);
      if (message.publisher === session.clientId) delivery = delivery.toPublisher;
      if (delivery === undefined) continue; // [MQTT-3.8.3-3]
      const qos = effectiveQos(message.qos, delivery.qosAt(position));
      if (qos === 0 || !session.durable || !session.live || position <= session.next) continue;
      const { connection } = session;
      if (connection === undefined) continue;
      if (session.windowOpen && !connection.congested) {
        handOver(delivery, publication, qos, position, undefined);
      } else lag(session, before);
    }
    for (let i = 0; i < groups.length; i++) groups[i]!.dispatch(publication, position, before);
    this.broker.turn.schedule();
  }

  /** Who came online since the message was published reads it from the log. */
  #leaveToCursors(
    deliveries: readonly { readonly session: Session }[],
    groups: readonly SharedGroup[],
    position: Position,
    before: Position,
  ): void {
    for (const { session } of deliveries) {
      if (!session.durable || !session.live || position <= session.next) continue;
      lag(session, before);
      this.broker.pumpLater(session);
    }
    for (const group of groups) group.fallBehind(position, before);
  }

  /** Puts a subscription of an online session into the tree, or in another's place. */
  subscribe(session: Session, stored: StoredSubscription): Subscription {
    const old = session.subscriptions.get(stored.text);
    const subscription = createSubscription(session, stored);
    session.hold(subscription);
    if (old === undefined) countFilter(session, stored.text, 1);
    this.#attach(subscription);
    if (old !== undefined) this.#detach(old); // after: a group of this one alone must not end
    return subscription;
  }

  /** False: the session held no such filter. */
  unsubscribe(session: Session, text: string): boolean {
    const subscription = session.subscriptions.get(text);
    if (subscription === undefined) return false;
    session.drop(subscription);
    countFilter(session, text, -1);
    this.#detach(subscription);
    return true;
  }

  #attach(subscription: Subscription): void {
    const { session } = subscription.delivery;
    if (subscription.share === undefined) {
      this.#change(subscription, (leaf) => leaf.add(subscription.delivery));
      return;
    }
    const group = this.#group(subscription);
    if (session.durable && subscription.qos > 0) group.addDurable();
    group.join(subscription);
    this.groupChanged(group);
  }

  #change({ text, filter }: Subscription, change: (leaf: Leaf) => void): void {
    if (isMailbox(text)) this.mailboxes.change(text, change);
    else this.tree.change(filter, change);
  }

  #detach(subscription: Subscription): void {
    if (subscription.share === undefined) {
      this.#change(subscription, (leaf) => leaf.remove(subscription.delivery));
      return;
    }
    const { group } = subscription;
    if (group === undefined) return;
    group.leave(subscription);
    if (subscription.delivery.session.durable && subscription.qos > 0) group.countDurable(-1);
    this.#dropIfEmpty(group);
  }

  /** The session's client is gone and its session stays: its subscriptions become counts. */
  goOffline(session: Session): void {
    for (const subscription of session.subscriptions.values()) {
      const counts = subscription.qos > 0;
      if (subscription.share === undefined) {
        this.#change(subscription, (leaf) => {
          leaf.remove(subscription.delivery);
          if (counts) leaf.offlineCount++;
        });
      } else {
        const { group } = subscription;
        if (group === undefined) continue;
        group.leave(subscription);
        this.#dropIfEmpty(group);
      }
    }
  }

  /** An offline session's subscriptions, found in the store: they count. */
  countOffline(stored: readonly StoredSubscription[]): void {
    this.#changeOffline(stored, 1);
  }

  /** They do not any more: the session is back, or over. */
  uncountOffline(stored: readonly StoredSubscription[]): void {
    this.#changeOffline(stored, -1);
  }

  #changeOffline(stored: readonly StoredSubscription[], by: 1 | -1): void {
    for (const item of stored) {
      if (item.qos === 0) continue;
      const subscription = createSubscription(OFFLINE, item);
      if (subscription.share === undefined) {
        this.#change(subscription, (leaf) => {
          leaf.offlineCount += by;
        });
      } else {
        const group = this.#group(subscription);
        group.countDurable(by);
        this.#dropIfEmpty(group);
      }
    }
  }

  /** The session is over: leases come back, subscriptions go. */
  endSession(session: Session): void {
    for (const text of session.subscriptions.keys()) this.unsubscribe(session, text);
  }

  #group(subscription: Subscription): SharedGroup {
    const name = groupKey(subscription.share!, subscription.filter);
    let group = this.groups.get(name);
    if (group === undefined) {
      group = new SharedGroup(this, name, subscription.filter);
      this.groups.set(name, group);
      const made = group;
      this.tree.change(subscription.filter, (leaf) => leaf.groups.push(made));
    }
    return group;
  }

  /** Routes that name the group are worked out anew: it has other members, or another way. */
  groupChanged(group: SharedGroup): void {
    this.tree.change(group.filter, () => {});
  }

  #dropIfEmpty(group: SharedGroup): void {
    if (!group.empty) {
      this.groupChanged(group);
      return;
    }
    this.groups.delete(group.key);
    group.leases.clear();
    this.tree.change(group.filter, (leaf) => {
      const at = leaf.groups.indexOf(group);
      if (at >= 0) leaf.groups.splice(at, 1);
    });
    this.broker.sessions.removeGroup(group);
  }
}

/** Stands for a session that is not in memory: nothing is delivered through it. */
const OFFLINE = undefined as unknown as Session;

function countFilter(session: Session, text: string, by: 1 | -1): void {
  session.filterLevels += by * levelCount(text);
  session.filterBytes += by * Buffer.byteLength(text);
}

/** By which a group is known in its instance. */
export function groupKey(share: string, filter: string): string {
  return `${share}/${filter}`;
}

/** Levels of a filter: what it costs in the tree. */
export function levelCount(filter: string): number {
  let count = 1;
  for (let i = 0; i < filter.length; i++) if (filter.charCodeAt(i) === SLASH) count++;
  return count;
}

const SLASH = 0x2f;
