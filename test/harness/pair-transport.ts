/**
 * A connection without a network: the broker's end is a `Transport`, the client's a stream.
 *
 * Every write of the client arrives as a chunk of its own, so a test decides where packets are
 * cut. A client that does not read makes the transport fill up, as a socket would.
 */
import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import type { Doorkeeper, Endpoint, Peer, Transport } from '#broker';

const PEER: Peer = {
  transport: 'tcp',
  address: '127.0.0.1',
  port: 50_000,
  listener: 'mqtt://127.0.0.1:1883',
  serverName: undefined,
  certificate: undefined,
  certificateVerified: false,
  instanceId: undefined,
};

/** What the client holds; `destroy` is a connection that breaks. */
export type PairStream = Duplex;

/** Connects to the broker, which must take the connection. */
export function connectPair(doorkeeper: Doorkeeper, peer: Partial<Peer> = {}): PairStream {
  const transport = new PairTransport({ ...PEER, ...peer });
  const endpoint = doorkeeper.accept(transport);
  assert.ok(endpoint !== undefined, 'the broker takes the connection');
  transport.attach(endpoint);
  return transport.stream;
}

class PairTransport implements Transport {
  readonly peer: Peer;
  readonly stream: Duplex;
  bufferedBytes = 0;
  #endpoint: Endpoint | undefined;
  #paused = false;
  #ending = false;
  #over = false;
  #arriving: { readonly chunk: Buffer; readonly done: () => void }[] = [];
  #scheduled = false;
  #unread: Buffer[] = [];
  #wanted = false;

  constructor(peer: Peer) {
    this.peer = peer;
    this.stream = new Duplex({
      allowHalfOpen: false,
      read: () => {
        this.#wanted = true;
        this.#feed();
      },
      write: (chunk: Buffer, _encoding, done) => {
        this.#arriving.push({ chunk: Buffer.from(chunk), done: () => done() });
        this.#schedule();
      },
      final: (done) => {
        this.#close();
        done();
      },
      destroy: (error, done) => {
        this.#close();
        done(error);
      },
    });
  }

  attach(endpoint: Endpoint): void {
    this.#endpoint = endpoint;
  }

  send(pieces: readonly Uint8Array[], count: number): void {
    for (let i = 0; i < count; i++) {
      this.bufferedBytes += pieces[i]!.length;
      this.#unread.push(Buffer.from(pieces[i]!));
    }
    this.#schedule();
  }

  pause(): void {
    this.#paused = true;
  }

  watchPeer(): void {}

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  end(): void {
    this.#ending = true;
    this.#schedule();
  }

  destroy(): void {
    this.#unread = [];
    this.bufferedBytes = 0;
    this.end();
  }

  /** Nobody is to mistake a bug for a closed connection. */
  fail(error: unknown): void {
    this.destroy();
    throw error;
  }

  /** Both directions move apart from the calls that set them going, as on a network. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#arrive();
      this.#feed();
    });
  }

  #arrive(): void {
    while (this.#arriving.length > 0 && !this.#paused && !this.#over) {
      const { chunk, done } = this.#arriving.shift()!;
      this.#endpoint!.data(chunk);
      done();
    }
  }

  #feed(): void {
    if (this.stream.destroyed) return;
    const waited = this.bufferedBytes > 0;
    while (this.#wanted && this.#unread.length > 0) {
      const piece = this.#unread.shift()!;
      this.bufferedBytes -= piece.length;
      this.#wanted = this.stream.push(piece);
    }
    if (waited && this.bufferedBytes === 0 && !this.#over) this.#endpoint!.drained();
    if (this.#ending && this.#unread.length === 0) {
      this.stream.push(null);
      this.#close();
    }
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    for (const { done } of this.#arriving.splice(0)) done();
    setImmediate(() => this.#endpoint!.closed());
  }
}
