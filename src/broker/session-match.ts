/** How one session gets a message that does not come by a route: from the log. */
import { isMailbox, receiverOf } from './mailbox.ts';
import type { Session } from './session.ts';
import { type Delivery, deliveryAt, mergeDeliveries, type Subscription } from './subscription.ts';

/** Like the merge of routes, for one session and a message from the log. */
export function deliveryFor(
  session: Session,
  topic: string,
  position: number,
): Delivery | undefined {
  const { guard, broker } = session.space;
  const receiver = guard.compatible ? receiverOf(topic) : undefined;
  if (receiver !== undefined && receiver !== session.clientId) return undefined;
  const matching: Delivery[] = [];
  const take = (subscription: Subscription): void => {
    if (subscription.share !== undefined) return;
    if (receiver !== undefined && !isMailbox(subscription.text)) return;
    const delivery = deliveryAt(subscription, position);
    if (delivery !== undefined) matching.push(delivery);
  };
  const exact = session.subscriptions.get(topic);
  if (exact !== undefined) take(exact);
  const { filters } = broker.catchUps.of(session);
  filters.eachWildcard(topic, ({ subscription }) => take(subscription));
  return matching.length === 0 ? undefined : mergeDeliveries(matching);
}
