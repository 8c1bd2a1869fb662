/** Every bound of the listeners in one table; the documentation prints it. */
import { type LimitRow, limitRow as row } from '#base';

export interface EdgeLimits {
  /** Of one listener: connections taken in a turn of the event loop. */
  readonly listeningSockets: number;
  /** Connections the system may hold for each of them until we accept them. */
  readonly backlog: number;
  /** Sockets whose client is not the broker's yet, over the connections that may be. */
  readonly socketsOverConnections: number;
  readonly handshakeMs: number;
  readonly lingerMs: number;
  readonly headerBytesMax: number;
  readonly aheadBytesMax: number;
}

export const EDGE_LIMITS: EdgeLimits = {
  listeningSockets: 16,
  backlog: 1024,
  socketsOverConnections: 1024,
  handshakeMs: 10_000,
  lingerMs: 5000,
  headerBytesMax: 8 * 1024,
  aheadBytesMax: 16 * 1024,
};

const L: EdgeLimits = EDGE_LIMITS;

// biome-ignore format: a table reads in columns
export const EDGE_LIMIT_ROWS: readonly LimitRow[] = [
  row('connections taken in a turn', 'count a listener, on Linux; else 1', L.listeningSockets, 'taken in the next'),
  row('connections not accepted yet', 'count, each of these', L.backlog, 'the system lets further ones wait, or try again'),
  row('sockets over the connections allowed', 'count', L.socketsOverConnections, 'closed as they come'),
  row('time for PROXY header, TLS and upgrade', 'ms', L.handshakeMs, 'closed'),
  row('time to take what is left', 'ms', L.lingerMs, 'closed, whatever is left'),
  row('request of a WebSocket', 'bytes', L.headerBytesMax, 'answered 431, closed'),
  row('bytes from a client that is not to be read', 'bytes, and a read of at most 256 KiB', L.aheadBytesMax, 'it is not read'),
];
