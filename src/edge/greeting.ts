/**
 * A connection on its way from accept to the broker: PROXY header, TLS handshake, HTTP upgrade.
 *
 * All stages share one deadline, so a peer cannot be slow three times over. Plain TCP has no such
 * way to go and makes no greeting.
 */
import type { Socket } from 'node:net';
import { Timer } from '#base';
import { onError, type PeerHints } from './connection.ts';
import type { Door } from './door.ts';
import type { Refusal } from './metrics.ts';

const GREETING = Symbol('greeting');

type GreetedSocket = Socket & { [GREETING]?: Greeting | undefined };

export type Stage = 'proxy' | 'tls' | 'http';

/** What takes a connection one stage further; `socket` is the topmost so far. */
export type NextStage = (greeting: Greeting, socket: Socket) => void;

const TIMEOUTS: Readonly<Record<Stage, Refusal>> = {
  proxy: 'proxyTimeout',
  tls: 'tlsTimeout',
  http: 'httpTimeout',
};

export class Greeting extends Timer implements PeerHints {
  readonly door: Door;
  readonly raw: Socket;
  stage: Stage = 'proxy';
  address: string | undefined = undefined;
  port: number | undefined = undefined;
  serverName: string | undefined = undefined;
  certificate: Uint8Array | undefined = undefined;
  certificateVerified = false;
  #noted = false;

  constructor(door: Door, raw: Socket) {
    super();
    this.door = door;
    this.raw = raw;
    (raw as GreetedSocket)[GREETING] = this;
    raw.on('close', onClose);
    raw.on('error', onError);
    door.wheel.schedule(this, door.handshakeMs);
  }

  override expired(): void {
    this.refuse(TIMEOUTS[this.stage]);
  }

  /** Counts why this connection will not reach the broker; the first reason stands. */
  note(reason: Refusal, detail?: string): void {
    if (this.#noted) return;
    this.#noted = true;
    this.door.metrics.refused(this.door.kind, reason);
    if (!this.door.log.debugEnabled) return;
    this.door.log.debug('connection refused', {
      listener: this.door.url,
      peer: this.address ?? this.raw.remoteAddress,
      reason,
      detail,
    });
  }

  /** Counts and closes. */
  refuse(reason: Refusal, detail?: string): void {
    this.note(reason, detail);
    this.raw.destroy();
  }

  /** The connection is the broker's now, and so is its place among the sockets. */
  finish(): void {
    this.#noted = true;
    this.door.wheel.cancel(this);
    this.raw.removeListener('close', onClose);
    (this.raw as GreetedSocket)[GREETING] = undefined;
  }

  /** The raw socket closed before the broker had it. */
  closed(): void {
    this.note('gone');
    this.door.wheel.cancel(this);
    this.door.sockets.give();
  }
}

/** The greeting `socket` was tied to, if it has not finished. */
export function greetingOf(socket: Socket): Greeting | undefined {
  return (socket as GreetedSocket)[GREETING];
}

/** Lets a socket stacked on the raw one answer for the same greeting. */
export function tieGreeting(socket: Socket, greeting: Greeting): void {
  (socket as GreetedSocket)[GREETING] = greeting;
}

function onClose(this: GreetedSocket): void {
  this[GREETING]?.closed();
}
