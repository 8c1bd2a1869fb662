/**
 * MQTT over WebSocket: the HTTP upgrade, then frames in and frames out.
 *
 * Frames are a way to write a stream of bytes and no more: what a chunk holds of them goes to the
 * broker as a chunk, so a client here is bounded like any other. A flush is one frame: a header of
 * a few bytes in front of the broker's own pieces, with no copy.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { binaryFrameHeader, closeFrame, pongFrame, WebSocketClose, WebSocketReader } from '#wire';
import { attachConnection, Connection, onError } from './connection.ts';
import { type Door, isHostName } from './door.ts';
import { sizeOf } from './gather.ts';
import { greetingOf, type NextStage, tieGreeting } from './greeting.ts';
import { EDGE_LIMITS } from './limits.ts';

const PROTOCOLS = ['mqtt', 'mqttv3.1'];
const VERSION = '13';
/** 16 bytes in base64. */
const KEY = /^[+/0-9A-Za-z]{22}==$/;
/** Whoever can answer with the digest of key and this is a WebSocket server. */
const KEY_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

class WebSocketConnection extends Connection {
  readonly #reader: WebSocketReader = new WebSocketReader();
  readonly #framed: Uint8Array[] = [];
  /** The payload of a ping that waits for the socket. */
  #ping: Buffer | undefined = undefined;

  override take(chunk: Buffer): void {
    const reader = this.#reader;
    const payload = reader.read(chunk);
    if (payload.length > 0) super.take(payload);
    if (reader.ping !== undefined) {
      this.#ping = reader.ping;
      this.#answerPing();
    }
    if (reader.closeCode !== undefined) this.#closed(reader.closeCode, reader.violated);
  }

  override send(pieces: readonly Uint8Array[], count: number): void {
    if (count === 0 || this.ending) return;
    const framed = this.#framed;
    framed.push(binaryFrameHeader(sizeOf(pieces, count)));
    for (let i = 0; i < count; i++) framed.push(pieces[i] as Uint8Array);
    super.send(framed, count + 1);
    framed.length = 0;
  }

  override drained(): void {
    super.drained();
    this.#answerPing();
  }

  /** Says so in a close frame, then waits for the other's. */
  override end(): void {
    if (this.ending) return;
    this.ending = true;
    this.socket.write(closeFrame(WebSocketClose.normal));
    this.readOn();
    this.startLinger();
  }

  /** The last ping is enough to answer, so those of a peer that does not read cost nothing. */
  #answerPing(): void {
    if (this.#ping === undefined || this.ending || this.bufferedBytes > 0) return;
    super.send([pongFrame(this.#ping)], 1);
    this.#ping = undefined;
  }

  /** The last frame was read: the peer's close, or one that no client may send. */
  #closed(code: number, violated: boolean): void {
    if (!this.socket.writable) return;
    if (!this.ending) {
      if (violated) this.door.metrics.badFrame(this.door.kind);
      this.socket.write(closeFrame(code));
    }
    this.finish();
  }
}

/** The stage that takes an HTTP upgrade at `path` and hands the connection to the broker. */
export function createWebSocketStage(options: {
  readonly door: Door;
  readonly path: string;
}): NextStage {
  const { door, path } = options;
  const server = createHttpServer();
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const found = pathOf(request) === path;
    greetingOf(request.socket)?.note('httpRequest');
    response.writeHead(found ? 426 : 404, {
      connection: 'close',
      'content-type': 'text/plain; charset=utf-8',
      ...(found ? { upgrade: 'websocket' } : {}),
    });
    response.end(found ? 'This is MQTT over WebSocket.\n' : 'Nothing is here.\n');
  });
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', onError);
    const why = refusalOf(request, path);
    if (why !== undefined) refuse(socket, why.status, why.text);
    else welcome(door, request, socket, head);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
      return;
    }
    const large = error.code === 'HPE_HEADER_OVERFLOW';
    refuse(
      socket,
      large ? '431 Request Header Fields Too Large' : '400 Bad Request',
      'Bad request.',
    );
  });
  return (greeting, socket) => {
    greeting.stage = 'http';
    tieGreeting(socket, greeting);
    server.emit('connection', socket);
    // Somebody read a PROXY header and paused; HTTP itself would never resume.
    if (socket.isPaused()) socket.resume();
  };
}

function createHttpServer(): Server {
  // Its own timeouts are off: the greeting's deadline covers the request.
  return createServer({
    maxHeaderSize: EDGE_LIMITS.headerBytesMax,
    headersTimeout: 0,
    requestTimeout: 0,
    keepAliveTimeout: 0,
  });
}

/** The connection is a WebSocket from here on, and the broker's. */
function welcome(door: Door, request: IncomingMessage, socket: Socket, head: Buffer): void {
  const greeting = greetingOf(socket);
  if (greeting === undefined) {
    socket.destroy(); // its deadline passed in this very turn
    return;
  }
  const key = `${request.headers['sec-websocket-key']}${KEY_SUFFIX}`;
  const offered = protocolsOf(request);
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${createHash('sha1').update(key).digest('base64')}\r\n` +
      `Sec-WebSocket-Protocol: ${PROTOCOLS.find((one) => offered.includes(one))}\r\n\r\n`,
  );
  greeting.serverName ??= hostOf(request);
  greeting.finish();
  if (head.length > 0) socket.unshift(head);
  attachConnection(new WebSocketConnection(door, socket, greeting), socket);
}

interface Refused {
  readonly status: string;
  readonly text: string;
}

function refusalOf(request: IncomingMessage, path: string): Refused | undefined {
  if (pathOf(request) !== path) return { status: '404 Not Found', text: 'Nothing is here.' };
  const { upgrade, 'sec-websocket-key': key, 'sec-websocket-version': version } = request.headers;
  const badly = (text: string): Refused => ({ status: '400 Bad Request', text });
  if (request.method !== 'GET' || upgrade?.toLowerCase() !== 'websocket') {
    return badly('This is no request for a WebSocket.');
  }
  if (version !== VERSION) return badly(`The WebSocket version must be ${VERSION}.`);
  if (key === undefined || !KEY.test(key)) return badly('The WebSocket key must be 16 bytes.');
  // [MQTT-6.0.0-3]
  if (protocolsOf(request).some((one) => PROTOCOLS.includes(one))) return undefined;
  return badly('The subprotocol must be mqtt.');
}

function protocolsOf(request: IncomingMessage): string[] {
  const offered = request.headers['sec-websocket-protocol'] ?? '';
  return offered.split(',').map((protocol) => protocol.trim());
}

function refuse(socket: Socket, status: string, text: string): void {
  greetingOf(socket)?.note('httpRequest', text);
  // An upgrade takes the parser off the socket, and what was sent after the request is not read.
  socket.resume();
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(text) + 1}\r\n\r\n${text}\n`,
  );
}

function pathOf(request: IncomingMessage): string {
  const url = request.url ?? '';
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}

/** The host a browser asked for, without its port. */
function hostOf(request: IncomingMessage): string | undefined {
  const host = (request.headers.host ?? '').replace(/:\d*$/, '');
  return isHostName(host) ? host.toLowerCase() : undefined;
}
