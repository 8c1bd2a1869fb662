/** Where the messages of one topic go, worked out once per topic and change of subscriptions. */
import type { SharedGroup } from './shared-group.ts';
import type { Leaf, SubscriptionTree } from './subscription-tree.ts';
import { type Delivery, mergeDeliveries } from './subscription.ts';
import type { Session } from './session.ts';

const NO_GROUPS: readonly SharedGroup[] = [];

export interface Route {
  /** The only delivery there is, where there are no groups either. */
  readonly solo: Delivery | undefined;
  /** Somebody durable must get what is published at QoS 1 or 2. */
  readonly durable: boolean;
  /** Nobody at all. */
  readonly empty: boolean;
  /** One for each online session, merged where several of its filters match. */
  readonly deliveries: readonly Delivery[];
  readonly groups: readonly SharedGroup[];
  /** Online durable sessions, or durable groups, that get QoS 1/2 from the log. */
  readonly durableOnline: boolean;
}

/** Of a topic that nobody hears. */
export const NOWHERE: Route = {
  solo: undefined,
  durable: false,
  empty: true,
  deliveries: [],
  groups: NO_GROUPS,
  durableOnline: false,
};

/** The route of a client's P2P messages: to its mailbox, whatever others subscribe to. */
export function createMailboxRoute(leaf: Leaf | undefined): Route {
  if (leaf === undefined) return NOWHERE;
  const deliveries = [...leaf.deliveries];
  const durableOnline = deliveries.some(({ session }) => session.durable);
  const durable = durableOnline || leaf.offlineCount > 0;
  const solo = deliveries.length === 1 ? deliveries[0] : undefined;
  return { solo, durable, empty: false, deliveries, groups: NO_GROUPS, durableOnline };
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
  const solo = deliveries.length === 1 && groups.length === 0 ? deliveries[0] : undefined;
  // Most topics have one subscriber: all of its topics share one route.
  const shared = offline ? undefined : solo;
  if (shared?.soloRoute !== undefined) return shared.soloRoute;
  const route: Route = {
    solo,
    durable,
    empty: deliveries.length === 0 && groups.length === 0 && !durable,
    deliveries,
    groups: groups.length === 0 ? NO_GROUPS : groups,
    durableOnline,
  };
  if (shared !== undefined) shared.soloRoute = route;
  return route;
}
