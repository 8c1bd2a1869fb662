/** Sessions, subscriptions, and the way of a message between them. */
export { Administration, type SessionView } from './administration.ts';
export { Broker, type BrokerOptions, openBroker } from './broker.ts';
export { clearInstance } from './instance-remains.ts';
export { DEFAULT_LIMITS, LIMITS, type Limits } from './limits.ts';
export type { Doorkeeper, Endpoint, Peer, Transport, TransportKind } from './transport.ts';
