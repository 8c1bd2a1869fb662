/**
 * The PROXY protocol header in front of a connection, where the listener is told to expect one.
 *
 * It is read from the raw socket; what came with it goes back, so the next stage (TLS, HTTP or
 * MQTT) starts as if the header had never been there.
 */
import type { Socket } from 'node:net';
import { Fault } from '#base';
import { createProxyHeaderReader, type ProxyHeader, type ProxyHeaderReader } from '#wire';
import { isHostName, plainAddress } from './door.ts';
import { type Greeting, greetingOf, type NextStage } from './greeting.ts';

const READER = Symbol('proxyHeaderReader');

type ProxiedSocket = Socket & { [READER]?: ProxyHeaderReader | undefined };

/** The stage that reads the header and goes on with `next`. */
export function createProxyStage(next: NextStage): NextStage {
  function onData(this: ProxiedSocket, chunk: Buffer): void {
    const greeting = greetingOf(this);
    if (greeting === undefined) return;
    const header = readHeader(greeting, this[READER], chunk);
    if (header === undefined) return;
    this.removeListener('data', onData);
    this[READER] = undefined;
    learn(greeting, header);
    this.pause();
    if (header.rest.length > 0) this.unshift(header.rest);
    next(greeting, this);
  }
  return (greeting, raw) => {
    greeting.stage = 'proxy';
    (raw as ProxiedSocket)[READER] = createProxyHeaderReader();
    raw.on('data', onData);
  };
}

function readHeader(
  greeting: Greeting,
  reader: ProxyHeaderReader | undefined,
  chunk: Buffer,
): ProxyHeader | undefined {
  try {
    return reader?.read(chunk);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    greeting.refuse('proxyHeader', error.message);
    return undefined;
  }
}

function learn(greeting: Greeting, header: ProxyHeader): void {
  if (header.source !== undefined) {
    greeting.address = plainAddress(header.source.address);
    greeting.port = header.source.port;
  }
  // The server name the client asked the proxy for; one it asks us for goes before it.
  const name = header.authority;
  if (name !== undefined && isHostName(name)) greeting.serverName = name.toLowerCase();
}
