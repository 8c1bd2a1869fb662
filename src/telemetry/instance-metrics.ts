/**
 * What is counted for each instance, beside the broker's own numbers: a tenant sees these and no
 * others. `docs/metrics.md` is generated from the table.
 */

export class InstanceMetrics {
  connectsAccepted = 0;
  connectsRefused = 0;
  messagesReceived = 0;
  bytesReceived = 0;
  deliveries = 0;
  messagesLogged = 0;
  publishesRefused = 0;
  subscriptionsRefused = 0;
  clientsExpelled = 0;
}

/** What each counter means, in the order of the documentation. */
export const INSTANCE_METRICS: Readonly<Record<keyof InstanceMetrics, string>> = {
  connectsAccepted: 'CONNECT packets answered with success',
  connectsRefused: 'CONNECT packets for this instance refused, for whatever reason',
  messagesReceived: 'PUBLISH packets accepted',
  bytesReceived: 'payload bytes of those',
  deliveries: 'copies made of messages for subscribers, dropped ones included',
  messagesLogged: 'messages appended to the log because a durable subscriber must get them',
  publishesRefused: "PUBLISH packets refused: permissions, topics, or the instance's limits",
  subscriptionsRefused: 'filters refused, for the same reasons',
  clientsExpelled: 'connections ended because their right to be there ended',
};
