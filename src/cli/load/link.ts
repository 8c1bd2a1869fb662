/**
 * One client connection: a raw socket, a frame reader, and whoever plays the client on it. It
 * settles CONNECT and SUBSCRIBE itself and hands PUBLISH and the acknowledgements on.
 */
import { connect, type Socket } from 'node:net';
import { assert, Fault } from '#base';
import { decodeConnack } from '#wire';
import { inWords, refusedInWords } from '../client.ts';
import {
  type ConnectOptions,
  encodeConnect,
  encodeDisconnect,
  encodeSubscribe,
  receiveMaximumOf,
} from './frames.ts';
import { FrameReader } from './frame-reader.ts';
import type { LoadContext } from './load-context.ts';

/** The part a connection plays once it stands. */
export interface Player {
  /** Called once, before anything can arrive. */
  attach?(link: Link): void;
  /** PUBLISH, PUBACK, PUBREC, PUBREL or PUBCOMP; the bytes are borrowed. */
  frame(first: number, bytes: Buffer, body: number, end: number): void;
  /** All frames of one read are handled: now is the time to answer, once. */
  readEnd(): void;
}

export interface LinkOptions {
  readonly clientId: string;
  readonly clean?: boolean;
  readonly keepAliveSeconds?: number;
  readonly wantsPayload?: boolean;
  readonly player?: Player;
  /** Which of many sources to connect from; matters only on the loopback. */
  readonly index?: number;
}

const CONNACK = 2;
const SUBACK = 9;
const DISCONNECT = 14;
const REFUSED = 0x80;
const LOOPBACK_SOURCES = 16;

export class Link {
  readonly socket: Socket;
  readonly reader: FrameReader;
  readonly context: LoadContext;
  readonly clientId: string;
  receiveMaximum = 0xffff;
  player: Player | undefined;
  #closing = false;
  #waiting: PromiseWithResolvers<void> | undefined;

  constructor(context: LoadContext, options: LinkOptions) {
    this.context = context;
    this.clientId = options.clientId;
    this.player = options.player;
    this.reader = new FrameReader(this, options.wantsPayload ?? false);
    this.socket = connect({
      host: context.plan.host,
      port: context.plan.port,
      noDelay: true,
      ...sourceOf(context.plan.host, options.index),
      onread: {
        buffer: context.readBuffer,
        callback: (count, bytes) => this.#read(count, bytes as Buffer),
      },
    });
    this.player?.attach?.(this);
    this.socket.on('error', (error) => this.#lost(error.message));
    this.socket.on('close', () => this.#lost('closed by the broker'));
  }

  /** Sends CONNECT and resolves when it is accepted. */
  open(connectOptions: ConnectOptions): Promise<void> {
    this.socket.write(encodeConnect(connectOptions));
    return this.#wait();
  }

  /** Resolves when the one filter is granted. */
  subscribe(filter: string, qos: number): Promise<void> {
    this.socket.write(encodeSubscribe(this.context.plan.protocol, 1, filter, qos));
    return this.#wait();
  }

  /** Says goodbye; resolves when the socket has closed. */
  close(): Promise<void> {
    this.#closing = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.socket.closed) resolve();
    else this.socket.once('close', () => resolve());
    this.socket.end(encodeDisconnect());
    return promise;
  }

  /** Ends at once and leaves no port waiting: the next run may need it. */
  destroy(): void {
    this.#closing = true;
    this.socket.resetAndDestroy();
  }

  frame(first: number, bytes: Buffer, body: number, end: number): void {
    const type = first >> 4;
    if (type >= 3 && type <= 7) this.player?.frame(first, bytes, body, end);
    else if (type === CONNACK) this.#connack(bytes, body, end);
    else if (type === SUBACK) this.#suback(bytes[end - 1]!);
    else if (type === DISCONNECT) this.#lost(`broker says DISCONNECT ${codeAt(bytes, body, end)}`);
  }

  #connack(bytes: Buffer, body: number, end: number): void {
    const { protocol } = this.context.plan;
    if (protocol === 5) this.receiveMaximum = receiveMaximumOf(bytes, body, end);
    if (bytes[body + 1] === 0) this.#settle(undefined);
    else this.#settle(refusedInWords(protocol, decodeConnack(protocol, bytes, body, end)));
  }

  #suback(code: number): void {
    const why = `the broker refused the subscription: ${inWords(code, undefined)}`;
    this.#settle(code < REFUSED ? undefined : why);
  }

  #settle(refused: string | undefined): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (refused === undefined) waiting?.resolve();
    else waiting?.reject(new Fault('notAuthorized', refused));
  }

  #wait(): Promise<void> {
    assert(this.#waiting === undefined, 'one question at a time');
    this.#waiting = Promise.withResolvers<void>();
    return this.#waiting.promise;
  }

  #read(count: number, bytes: Buffer): boolean {
    this.reader.feed(bytes, count);
    this.player?.readEnd();
    if (this.reader.broken) this.#lost('sent what is no MQTT');
    return true;
  }

  #lost(why: string): void {
    if (this.#closing || this.context.closing) return;
    this.#closing = true;
    const text = `${this.clientId}: ${why}`;
    this.#waiting?.reject(new Fault('serverUnavailable', text));
    this.context.fail(text);
    this.socket.destroy();
  }
}

/**
 * The kernel looks longer and longer for a free port as one address runs out of them; on the
 * loopback there are addresses enough.
 */
function sourceOf(host: string, index: number | undefined): { localAddress?: string } {
  if (host !== '127.0.0.1' || index === undefined) return {};
  return { localAddress: `127.0.0.${2 + (index % LOOPBACK_SOURCES)}` };
}

function codeAt(bytes: Buffer, body: number, end: number): string {
  return body < end ? `0x${bytes[body]!.toString(16)}` : '';
}

/** Connects one client under the plan's credentials. */
export async function openLink(context: LoadContext, options: LinkOptions): Promise<Link> {
  const { plan } = context;
  const link = new Link(context, options);
  const clean = options.clean ?? true;
  const opened = link.open({
    protocol: plan.protocol,
    clientId: options.clientId,
    clean,
    keepAliveSeconds: options.keepAliveSeconds ?? 0,
    sessionExpirySeconds: clean ? 0 : 3600,
    userName: plan.userName,
    password: plan.password,
  });
  await context.race(opened);
  return link;
}

/** Runs `open` for each index, at most `atOnce` under way: an accept queue is short. */
export async function openAll<T>(
  context: LoadContext,
  indexes: readonly number[],
  atOnce: number,
  open: (index: number) => Promise<T>,
): Promise<T[]> {
  const opened: T[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < indexes.length) {
      const position = next;
      next += 1;
      opened[position] = await open(indexes[position]!);
    }
  };
  let isDone = false;
  const lanes = Array.from({ length: Math.min(atOnce, indexes.length) }, lane);
  const all = Promise.all(lanes).then(() => {
    isDone = true;
  });
  const watch = context.until(
    `connecting (${indexes.length} wanted)`,
    () => isDone,
    () => next,
  );
  await Promise.all([all, watch]);
  return opened;
}
