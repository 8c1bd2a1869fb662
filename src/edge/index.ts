/** The doors devices come through. */
export { ConnectRate, SocketLimit } from './admission.ts';
export type { ClientCertificates, TlsSettings } from './certificates.ts';
export { ReadGarbage } from './garbage.ts';
export { type Listener, type ListenerOptions, openListener } from './listener.ts';
export { type ListenerUrl, parseListenerUrl } from './listener-url.ts';
export { type EdgeMetrics, type Refusal, silentEdgeMetrics } from './metrics.ts';
