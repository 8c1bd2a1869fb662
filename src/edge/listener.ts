/**
 * Opens one listener; the stages a connection goes through are stacked here, once.
 *
 * Every kind accepts on a plain `net.Server`. PROXY header, TLS and WebSocket are stages behind it
 * in that order, each optional, so any of them works in front of any other.
 */
import type { Socket } from 'node:net';
import { type Clock, Fault, type Log, type Random, type TimerWheel } from '#base';
import type { Doorkeeper } from '#broker';
import type { SocketLimit } from './admission.ts';
import type { CertificateDirectory, TlsSettings } from './certificates.ts';
import { attachConnection, Connection } from './connection.ts';
import type { Door } from './door.ts';
import { Greeting, type NextStage } from './greeting.ts';
import { EDGE_LIMITS } from './limits.ts';
import { openListening } from './listening.ts';
import { formatListenerUrl, type ListenerUrl, parseListenerUrl } from './listener-url.ts';
import { type EdgeMetrics, silentEdgeMetrics } from './metrics.ts';
import { createProxyStage } from './proxy.ts';
import { ReadBlocks } from './read-blocks.ts';
import { createTicketKeys, type TicketKeys } from './ticket-keys.ts';
import { openTlsStage, type TlsStage } from './tls.ts';
import { createWebSocketStage } from './websocket.ts';

export interface ListenerOptions {
  /** `mqtt://host:port`, `mqtts://`, `ws://host:port/path` or `wss://`; port 0 takes any. */
  readonly url: string;
  /** Where its clients go that name no instance; left out: where the broker sends them. */
  readonly instanceId?: string | undefined;
  readonly doorkeeper: Doorkeeper;
  readonly wheel: TimerWheel;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Shared by all listeners of the process. */
  readonly sockets: SocketLimit;
  /** Shared as well; without it the listener makes its own. */
  readonly blocks?: ReadBlocks;
  readonly metrics?: EdgeMetrics;
  /** Required for `mqtts` and `wss`. */
  readonly tls?: TlsSettings;
  /** Certificates that owners of instances have registered, for servers and for clients. */
  readonly certificates?: CertificateDirectory;
  /** Shared by all listeners of the process; without them the listener makes its own. */
  readonly ticketKeys?: TicketKeys;
  /** A PROXY protocol header (v1 or v2) must come before anything else. */
  readonly proxyProtocol?: boolean;
  /** Several processes share the port. */
  readonly reusePort?: boolean;
  /** From accept until the broker has the connection. */
  readonly handshakeMs?: number;
  /** How long an ended connection may take to send what is left. */
  readonly lingerMs?: number;
}

export interface Listener {
  /** The URL with the port that was taken. */
  readonly url: string;
  /**
   * Reads the certificate files again; true: others hold from now on. Where they will not do, the
   * old ones stay and the log says so.
   */
  reloadCertificates(): Promise<boolean>;
  /** Stops accepting; connections that are there stay. */
  close(): void;
}

const WARN_EVERY_MS = 10_000;

/** Listens on `options.url`, or rejects with a `Fault` that says in one line why not. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const url = parseListenerUrl(options.url);
  const door = createDoor(options, url);
  const tls = await openTls(options, url, door);
  const listening = await openListening({
    asked: options.url,
    url,
    clock: options.clock,
    reusePort: options.reusePort ?? false,
    accept: createAccept(options, url, door, tls),
    failed: createAcceptFailure(door),
  });
  return {
    url: formatListenerUrl(url, listening.port),
    reloadCertificates: async () => (tls === undefined ? false : await tls.reload()),
    close: () => {
      listening.close();
      tls?.close();
    },
  };
}

function createDoor(options: ListenerOptions, url: ListenerUrl): Door {
  return {
    kind: url.kind,
    url: options.url,
    instanceId: options.instanceId,
    doorkeeper: options.doorkeeper,
    wheel: options.wheel,
    clock: options.clock,
    log: options.log,
    metrics: options.metrics ?? silentEdgeMetrics,
    sockets: options.sockets,
    blocks: options.blocks ?? new ReadBlocks(),
    handshakeMs: options.handshakeMs ?? EDGE_LIMITS.handshakeMs,
    lingerMs: options.lingerMs ?? EDGE_LIMITS.lingerMs,
  };
}

async function openTls(
  options: ListenerOptions,
  url: ListenerUrl,
  door: Door,
): Promise<TlsStage | undefined> {
  if (url.kind !== 'tls' && url.kind !== 'wss') return undefined;
  const { tls: settings, certificates: directory, ticketKeys } = options;
  if (settings === undefined) {
    throw new Fault('unspecified', `cannot listen on ${options.url}: no certificate is configured`);
  }
  if (ticketKeys !== undefined)
    return await openTlsStage({ settings, door, ticketKeys, directory });
  const ownKeys = createTicketKeys(options);
  const stage = await openTlsStage({ settings, door, ticketKeys: ownKeys, directory });
  return {
    ...stage,
    close: () => {
      stage.close();
      ownKeys.close();
    },
  };
}

function createAccept(
  options: ListenerOptions,
  url: ListenerUrl,
  door: Door,
  tls: TlsStage | undefined,
): (raw: Socket) => void {
  const stage = stackStages(options, url, door, tls);
  return (raw) => {
    if (!door.sockets.take()) {
      door.metrics.refused(door.kind, 'socketLimit');
      raw.destroy();
      return;
    }
    if (stage === undefined) attachConnection(new Connection(door, raw, undefined), raw);
    else stage(new Greeting(door, raw), raw);
  };
}

/** The first stage of the stack, which knows the next; `undefined`: straight to the broker. */
function stackStages(
  options: ListenerOptions,
  url: ListenerUrl,
  door: Door,
  tls: TlsStage | undefined,
): NextStage | undefined {
  const webSocket = url.kind === 'ws' || url.kind === 'wss';
  let stage: NextStage | undefined;
  if (webSocket) stage = createWebSocketStage({ door, path: url.path });
  if (tls !== undefined) stage = tls.before(stage ?? handOver);
  if (options.proxyProtocol === true) stage = createProxyStage(stage ?? handOver);
  return stage;
}

const handOver: NextStage = (greeting, socket) => {
  greeting.finish();
  attachConnection(new Connection(greeting.door, socket, greeting), socket);
};

/** Out of file descriptors is a flood of errors, each of which must be survived, not each told. */
function createAcceptFailure(door: Door): (error: Error) => void {
  let toldMs = Number.NEGATIVE_INFINITY;
  return (error) => {
    door.metrics.acceptFailed(door.kind);
    const nowMs = door.clock.monotonicMs();
    if (nowMs - toldMs < WARN_EVERY_MS) return;
    toldMs = nowMs;
    door.log.warn('cannot accept connections', { listener: door.url, error: error.message });
  };
}
