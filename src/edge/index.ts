/** The doors devices come through. */
export { SocketLimit } from './admission.ts';
export type {
  CertificateDirectory,
  ClientCertificates,
  ServerCertificate,
  TlsSettings,
} from './certificates.ts';
export { ReadGarbage } from './garbage.ts';
export { EDGE_LIMITS } from './limits.ts';
export { type Listener, type ListenerOptions, openListener } from './listener.ts';
export { type ListenerUrl, parseListenerUrl } from './listener-url.ts';
export { type EdgeMetrics, type Refusal, silentEdgeMetrics } from './metrics.ts';
export { ReadBlocks } from './read-blocks.ts';
export { createTicketKeys, type TicketKeys } from './ticket-keys.ts';
