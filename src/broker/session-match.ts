/** How one session gets a message that does not come by a route: from the log, or once more. */
import { matchesFilter } from '#ports';
import { isMailbox, receiverOf } from './mailbox.ts';
import type { Session } from './session.ts';
import { type Delivery, mergeDeliveries } from './subscription.ts';

/** Like the merge of routes, for one session and a message from the log. */
export function deliveryFor(
  session: Session,
  topic: string,
  position: number,
): Delivery | undefined {
  const { compatible } = session.space.guard;
  const receiver = compatible ? receiverOf(topic) : undefined;
  if (receiver !== undefined && receiver !== session.clientId) return undefined;
  const matching: Delivery[] = [];
  for (const subscription of session.subscriptions.values()) {
    if (subscription.share !== undefined || subscription.since >= position) continue;
    if (receiver !== undefined && !isMailbox(subscription.text)) continue;
    if (matchesFilter(subscription.filter, topic)) matching.push(subscription.delivery);
  }
  return matching.length === 0 ? undefined : mergeDeliveries(matching);
}
