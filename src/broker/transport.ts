/**
 * The seam between a door and the broker: what a door gives for one connection, and what the
 * broker gives back. The broker knows neither sockets nor TLS nor WebSocket.
 */

export type TransportKind = 'tcp' | 'tls' | 'ws' | 'wss';

/** What the door knows of the other end. */
export interface Peer {
  readonly transport: TransportKind;
  /** Address of the client, from the PROXY header where there is one. */
  readonly address: string;
  readonly port: number;
  /** The listener's URL, as configured. */
  readonly listener: string;
  /** The instance of the listener, for clients that name none; `undefined`: it has none. */
  readonly instanceId: string | undefined;
  /** SNI server name, or the WebSocket request's host; `undefined`: not told. */
  readonly serverName: string | undefined;
  /** The client certificate in DER; TLS has shown that the client has its key. */
  readonly certificate: Uint8Array | undefined;
  /** The listener's own authorities have signed it. */
  readonly certificateVerified: boolean;
}

/** One connection's bytes, given by a door. */
export interface Transport {
  readonly peer: Peer;
  /** Bytes handed over and not yet taken by the operating system. */
  readonly bufferedBytes: number;
  /**
   * Sends `pieces[0]` to `pieces[count - 1]` in order, in as few system calls as it can. The
   * bytes are the transport's until `bufferedBytes` is 0; the array stays the caller's. No piece
   * is empty.
   */
  send(pieces: readonly Uint8Array[], count: number): void;
  /** Stops and resumes reading. After `pause` 16 KiB may still come, and a read of up to 256 KiB. */
  pause(): void;
  resume(): void;
  /** This client promises no sign of life: the system shall look now and then if it is there. */
  watchPeer(): void;
  /** Sends what was handed over, then closes; destroys where that takes too long. */
  end(): void;
  /** Closes now. */
  destroy(): void;
  /** The same, for a bug met while handling this connection: counted and told as one. */
  fail(error: unknown): void;
}

/** The broker's end of a connection. The door calls it, never after `closed`. */
export interface Endpoint {
  /** The chunk belongs to the broker from here on: the door neither reads nor reuses it. */
  data(chunk: Buffer): void;
  /** All bytes handed over have been taken. */
  drained(): void;
  /** The connection is gone, for whatever reason; called exactly once. */
  closed(): void;
}

/** What a door needs of the broker. */
export interface Doorkeeper {
  /** Takes a new connection, or `undefined`: not now, close it. */
  accept(transport: Transport): Endpoint | undefined;
}
