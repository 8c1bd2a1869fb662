/**
 * What all connections of one listener share, so that a connection itself holds next to nothing.
 */
import type { Clock, Log, TimerWheel } from '#base';
import type { Doorkeeper, TransportKind } from '#broker';
import type { SocketLimit } from './admission.ts';
import type { EdgeMetrics } from './metrics.ts';
import type { ReadBlocks } from './read-blocks.ts';

export interface Door {
  readonly kind: TransportKind;
  /** The listener's URL, as configured. */
  readonly url: string;
  /** Where its clients go that name no instance. */
  readonly instanceId: string | undefined;
  readonly doorkeeper: Doorkeeper;
  readonly wheel: TimerWheel;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: EdgeMetrics;
  readonly sockets: SocketLimit;
  readonly blocks: ReadBlocks;
  /** From accept until the broker has the connection: PROXY header, TLS and upgrade together. */
  readonly handshakeMs: number;
  /** How long an ended connection may take to send what is left. */
  readonly lingerMs: number;
}

/** `::ffff:10.0.0.1` is what a socket that takes both families calls an IPv4 peer. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

const HOST_NAME = /^[\w.-]{1,253}$|^\[[0-9a-fA-F:.]{2,45}\]$/;

/** Whether `name`, said by a stranger, can be a host name or an address at all. */
export function isHostName(name: string): boolean {
  return HOST_NAME.test(name);
}
