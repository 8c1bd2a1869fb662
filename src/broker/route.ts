/** Where the messages of one topic go, worked out once per topic and change of subscriptions. */
import type { SharedGroup } from './shared-group.ts';
import type { Leaf, SubscriptionTree } from './subscription-tree.ts';
import { type Delivery, mergeDeliveries } from './subscription.ts';
import type { Session } from './session.ts';

export interface Route {
  /** One for each online session, merged where several of its filters match. */
  readonly deliveries: readonly Delivery[];
  readonly groups: readonly SharedGroup[];
  /** Online durable sessions, or durable groups, that get QoS 1/2 from the log. */
  readonly durableOnline: boolean;
  /** Somebody durable must get what is published at QoS 1 or 2. */
  readonly durable: boolean;
  /** Nobody at all. */
  readonly empty: boolean;
}

/** Of a topic that nobody hears. */
export const NOWHERE: Route = {
  deliveries: [],
  groups: [],
  durableOnline: false,
  durable: false,
  empty: true,
};

/** The route of a client's P2P messages: to its mailbox, whatever others subscribe to. */
export function createMailboxRoute(leaf: Leaf | undefined): Route {
  if (leaf === undefined) return NOWHERE;
  const deliveries = [...leaf.deliveries];
  const durableOnline = deliveries.some(({ session }) => session.durable);
  const durable = durableOnline || leaf.offlineCount > 0;
  return { deliveries, groups: [], durableOnline, durable, empty: false };
}

export function createRoute(tree: SubscriptionTree, topic: string): Route {
  const deliveries: Delivery[] = [];
  const groups: SharedGroup[] = [];
  let at: Map<Session, number> | undefined;
  /** Of sessions that match by several filters: all of their deliveries, by index. */
  let several: Map<number, Delivery[]> | undefined;
  let offline = false;
  tree.match(topic, (leaf) => {
    if (leaf.offlineCount > 0) offline = true;
    for (const group of leaf.groups) groups.push(group);
    for (const delivery of leaf.deliveries) {
      if (deliveries.length === 0) {
        deliveries.push(delivery);
        continue;
      }
      at ??= new Map(deliveries.map((seen, index) => [seen.session, index]));
      const index = at.get(delivery.session);
      if (index === undefined) {
        at.set(delivery.session, deliveries.length);
        deliveries.push(delivery);
        continue;
      }
      several ??= new Map();
      const matching = several.get(index);
      if (matching === undefined) several.set(index, [deliveries[index]!, delivery]);
      else matching.push(delivery);
    }
  });
  for (const [index, matching] of several ?? []) deliveries[index] = mergeDeliveries(matching);
  const durableOnline =
    deliveries.some((delivery) => delivery.session.durable && delivery.logged) ||
    groups.some((group) => group.durable);
  const durable = durableOnline || offline;
  // Most topics have one subscriber: all of its topics share one route.
  const solo = deliveries.length === 1 && groups.length === 0 && !offline;
  if (solo && deliveries[0]!.soloRoute !== undefined) return deliveries[0]!.soloRoute;
  const route: Route = {
    deliveries,
    groups,
    durableOnline,
    durable,
    empty: deliveries.length === 0 && groups.length === 0 && !durable,
  };
  if (solo) deliveries[0]!.soloRoute = route;
  return route;
}
