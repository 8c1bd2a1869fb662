/**
 * What the doors count. The broker counts what it refuses itself; these are the connections that
 * never reached it, and those that did.
 */
import type { TransportKind } from '#broker';

/** Why a connection ended before the broker had it. */
export type Refusal =
  | 'socketLimit' // more sockets than the process may hold
  | 'doorkeeper' // the broker takes nobody now
  | 'proxyHeader' // no PROXY header, or a bad one
  | 'proxyTimeout'
  | 'tlsHandshake'
  | 'tlsTimeout'
  | 'clientCertificate' // absent where required, or not of our authority
  | 'httpRequest' // not a request to become a WebSocket of ours
  | 'httpTimeout'
  | 'gone'; // the peer left first

/** The hooks a listener calls. */
export interface EdgeMetrics {
  /** A connection reached the broker. */
  accepted(kind: TransportKind): void;
  /** A connection that was accepted is gone. */
  closed(kind: TransportKind): void;
  /** A connection ended before the broker had it. */
  refused(kind: TransportKind, reason: Refusal): void;
  /** A WebSocket peer sent a text frame, or no WebSocket frame at all. */
  badFrame(kind: TransportKind): void;
  /** The operating system would not give us the socket (no file descriptors left). */
  acceptFailed(kind: TransportKind): void;
  /** The broker threw while it was handling a connection, which was then destroyed. */
  bug(kind: TransportKind): void;
}

/** Counts nothing. */
export const silentEdgeMetrics: EdgeMetrics = {
  accepted: () => {},
  closed: () => {},
  refused: () => {},
  badFrame: () => {},
  acceptFailed: () => {},
  bug: () => {},
};
