/**
 * A socket the broker has: the `Transport` over `net.Socket` and `tls.TLSSocket`.
 *
 * Idle connections must be lean, so a connection is one object that the socket points back to,
 * and the listeners on the socket are the same functions for all of them.
 *
 * @hot
 */
import type { Socket } from 'node:net';
import { Timer } from '#base';
import type { Endpoint, Peer, Transport, TransportKind } from '#broker';
import { type Door, plainAddress } from './door.ts';
import { writeGathered } from './gather.ts';
import { EDGE_LIMITS } from './limits.ts';

const CONNECTION = Symbol('connection');
/** Silence after which TCP asks whether the peer is still there. */
const KEEP_ALIVE_MS = 300_000;

type ConnectedSocket = Socket & { [CONNECTION]?: Connection };

/** What was learnt of a peer before the broker had it; empty for plain TCP. */
export interface PeerHints {
  readonly address: string | undefined;
  readonly port: number | undefined;
  readonly serverName: string | undefined;
  readonly certificate: Uint8Array | undefined;
  readonly certificateVerified: boolean;
}

/** Who is at the other end of a socket, read once: a closed socket no longer knows. */
export class SocketPeer implements Peer {
  readonly transport: TransportKind;
  readonly address: string;
  readonly port: number;
  readonly listener: string;
  readonly instanceId: string | undefined;
  readonly serverName: string | undefined;
  readonly certificate: Uint8Array | undefined;
  readonly certificateVerified: boolean;

  constructor(door: Door, socket: Socket, hints: PeerHints | undefined) {
    this.transport = door.kind;
    this.address = hints?.address ?? plainAddress(socket.remoteAddress ?? '');
    this.port = hints?.port ?? socket.remotePort ?? 0;
    this.listener = door.url;
    this.instanceId = door.instanceId;
    this.serverName = hints?.serverName;
    this.certificate = hints?.certificate;
    this.certificateVerified = hints?.certificateVerified ?? false;
  }
}

class LingerTimer extends Timer {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    super();
    this.#connection = connection;
  }

  override expired(): void {
    this.#connection.destroy();
  }
}

/** One connection's bytes. */
export class Connection implements Transport {
  readonly door: Door;
  protected ending = false;
  #endpoint: Endpoint | undefined = undefined;
  protected readonly socket: Socket;
  readonly peer: Peer;
  #stalled = false;
  #paused = false;
  /** Read since it was paused. */
  #aheadBytes = 0;
  #linger: LingerTimer | undefined = undefined;

  constructor(door: Door, socket: Socket, hints: PeerHints | undefined) {
    this.door = door;
    this.socket = socket;
    this.peer = new SocketPeer(door, socket, hints);
  }

  get bufferedBytes(): number {
    return this.socket.writableLength;
  }

  send(pieces: readonly Uint8Array[], count: number): void {
    if (this.ending || count === 0) return;
    if (count === 1) this.#sendOne(pieces[0] as Uint8Array);
    else this.#sendMany(pieces, count);
    if (this.socket.writableLength > 0) this.noteStall();
  }

  pause(): void {
    // An ended connection reads on, to throw away: see `finish`.
    if (this.ending || this.#paused) return;
    this.#paused = true;
    this.#aheadBytes = 0;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#aheadBytes >= EDGE_LIMITS.aheadBytesMax) this.socket.resume();
  }

  watchPeer(): void {
    this.socket.setKeepAlive(true, KEEP_ALIVE_MS);
  }

  end(): void {
    if (this.ending) return;
    this.finish();
  }

  /** Nothing more is sent, and what still comes is thrown away. */
  protected finish(): void {
    this.ending = true;
    this.socket.end();
    this.readOn();
    this.startLinger();
  }

  /** Unread input would turn our FIN into a reset, which may overtake the last bytes we sent. */
  protected readOn(): void {
    this.#paused = false;
    this.socket.resume();
  }

  destroy(): void {
    this.ending = true;
    this.socket.destroy();
  }

  /** The turn's one catch: a bug costs the connection that met it, not the process. */
  fail(error: unknown): void {
    this.door.metrics.bug(this.door.kind);
    this.door.log.error('bug while handling a connection, which is closed', {
      listener: this.door.url,
      peer: this.peer.address,
      error: error instanceof Error ? error.stack : String(error),
    });
    this.destroy();
  }

  /** Asks the broker for an endpoint; false where it takes nobody. */
  open(): boolean {
    try {
      this.#endpoint = this.door.doorkeeper.accept(this);
    } catch (error) {
      this.fail(error);
      return false;
    }
    if (this.#endpoint === undefined) {
      this.door.metrics.refused(this.door.kind, 'doorkeeper');
      this.destroy();
      return false;
    }
    this.door.metrics.accepted(this.door.kind);
    return true;
  }

  /**
   * Bytes the socket brought. While paused it is read on for a while: a peer that goes is noticed,
   * and its last words are here before a reset can take them.
   */
  arrived(chunk: Buffer): void {
    if (this.#paused) {
      this.#aheadBytes += chunk.length;
      if (this.#aheadBytes >= EDGE_LIMITS.aheadBytesMax) this.socket.pause();
    }
    this.take(chunk);
  }

  /** Bytes from the peer, now the broker's. */
  take(chunk: Buffer): void {
    if (this.ending) return;
    try {
      this.#endpoint?.data(chunk);
    } catch (error) {
      this.fail(error);
    }
  }

  /** The socket's buffer is empty again. */
  drained(): void {
    if (!this.#stalled) return;
    this.#stalled = false;
    try {
      this.#endpoint?.drained();
    } catch (error) {
      this.fail(error);
    }
  }

  /** The peer sends no more, and MQTT has no use for half a connection: what is left may go. */
  peerEnded(): void {
    if (this.socket.writableLength > 0) this.startLinger();
  }

  /** The socket is gone. */
  closed(): void {
    this.ending = true;
    this.door.sockets.give();
    if (this.#linger !== undefined) this.door.wheel.cancel(this.#linger);
    const endpoint = this.#endpoint;
    if (endpoint === undefined) return;
    this.#endpoint = undefined;
    this.door.metrics.closed(this.door.kind);
    try {
      endpoint.closed();
    } catch (error) {
      this.fail(error);
    }
  }

  protected startLinger(): void {
    this.#linger ??= new LingerTimer(this);
    if (!this.#linger.scheduled) this.door.wheel.schedule(this.#linger, this.door.lingerMs);
  }

  /** Asks for 'drain', which a socket otherwise emits only after its high-water mark. */
  protected noteStall(): void {
    this.#stalled = true;
    if (this.socket.writableNeedDrain) return;
    (
      this.socket as unknown as { _writableState: { needDrain: boolean } }
    )._writableState.needDrain = true;
  }

  #sendOne(piece: Uint8Array): void {
    // Node's TLS reads on inside a write of nothing, into the block it has just handed over.
    if (piece.length > 0) this.socket.write(piece);
  }

  #sendMany(pieces: readonly Uint8Array[], count: number): void {
    const socket = this.socket;
    if (writeGathered(socket, pieces, count)) return;
    socket.cork();
    for (let i = 0; i < count; i++) socket.write(pieces[i] as Uint8Array);
    socket.uncork();
  }
}

/** Ties `connection` to its socket and starts reading. */
export function attachConnection(connection: Connection, socket: Socket): void {
  attachWriter(connection, socket);
  socket.on('close', onClose);
  if (!connection.open()) return;
  const served = connection.door.blocks.serve(socket, onRead);
  if (!served) socket.on('data', onData);
  // A socket somebody read before us is paused explicitly and would stay so.
  if (socket.isPaused()) socket.resume();
  if (served) takeLeft(connection, socket);
}

/** The listeners every kind of connection needs; reading and closing are the caller's. */
export function attachWriter(connection: Connection, socket: Socket): void {
  (socket as ConnectedSocket)[CONNECTION] = connection;
  socket.on('drain', onDrain);
  socket.on('end', onEnd);
  socket.on('error', onError);
}

/** What was read before us and put back. */
function takeLeft(connection: Connection, socket: Socket): void {
  if (socket.readableLength === 0) return;
  const chunk = socket.read() as Buffer | null;
  if (chunk !== null) connection.arrived(chunk);
}

/** Without `ReadBlocks`. */
function onData(this: ConnectedSocket, chunk: Buffer): void {
  const connection = this[CONNECTION]!;
  connection.door.blocks.note(chunk);
  connection.arrived(chunk);
}

/** What is thrown here would keep the socket from being told where to read next. */
function onRead(this: ConnectedSocket, size: number, block: Buffer): boolean {
  const connection = this[CONNECTION]!;
  try {
    connection.arrived(connection.door.blocks.takeOut(size, block));
  } catch (error) {
    connection.fail(error);
  }
  return true;
}

function onDrain(this: ConnectedSocket): void {
  this[CONNECTION]?.drained();
}

function onEnd(this: ConnectedSocket): void {
  this[CONNECTION]?.peerEnded();
}

function onClose(this: ConnectedSocket): void {
  this[CONNECTION]?.closed();
}

/** 'close' tells the broker. TLS says of a bad record that it is one, and would stay open. */
export function onError(this: Socket): void {
  this.destroy();
}
