/**
 * MQTT over WebSocket: the HTTP upgrade, then frames in and frames out.
 *
 * `ws` does the upgrade and reads frames. Outgoing frames need no masking, so a flush is written
 * here as one frame: a header of a few bytes in front of the broker's own pieces, with no copy.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { attachWriter, Connection, type PeerHints, sizeOf } from './connection.ts';
import { type Door, isHostName } from './door.ts';
import { greetingOf, type Greeting, type NextStage, tieGreeting } from './greeting.ts';

const CONNECTION = Symbol('webSocketConnection');
const HEADER_BYTES_MAX = 8 * 1024;
const PROTOCOLS = ['mqtt', 'mqttv3.1'];
const FINAL_BINARY = 0x82;
const CLOSE_NORMAL = 1000;
const CLOSE_UNSUPPORTED = 1003;

type ConnectedWebSocket = WebSocket & { [CONNECTION]?: WebSocketConnection };

class WebSocketConnection extends Connection {
  readonly #webSocket: WebSocket;
  readonly #framed: Uint8Array[] = [];

  constructor(door: Door, socket: Socket, hints: PeerHints, webSocket: WebSocket) {
    super(door, socket, hints);
    this.#webSocket = webSocket;
  }

  override send(pieces: readonly Uint8Array[], count: number): void {
    // After a close frame, of either side, nothing may follow.
    if (count === 0 || this.#webSocket.readyState !== this.#webSocket.OPEN) return;
    const framed = this.#framed;
    framed.push(frameHeader(sizeOf(pieces, count)));
    for (let i = 0; i < count; i++) framed.push(pieces[i] as Uint8Array);
    super.send(framed, count + 1);
    framed.length = 0;
  }

  override pause(): void {
    if (!this.ending) this.#webSocket.pause();
  }

  override resume(): void {
    this.#webSocket.resume();
  }

  override end(): void {
    this.close(CLOSE_NORMAL);
  }

  /** Says why in a close frame, then waits for the other's. */
  close(code: number): void {
    if (this.ending) return;
    this.ending = true;
    this.#webSocket.resume();
    this.#webSocket.close(code);
    this.startLinger();
  }

  message(payload: Buffer, binary: boolean): void {
    if (this.ending) return;
    if (binary) {
      this.take(payload);
      return;
    }
    // [MQTT-6.0.0-1]
    this.door.metrics.badFrame(this.door.kind);
    this.close(CLOSE_UNSUPPORTED);
  }

  /** `ws` answers a bad frame with a close frame itself. */
  failed(): void {
    this.door.metrics.badFrame(this.door.kind);
    this.startLinger();
  }
}

function frameHeader(size: number): Buffer {
  if (size < 126) return Buffer.of(FINAL_BINARY, size);
  if (size <= 0xffff) return Buffer.of(FINAL_BINARY, 126, size >> 8, size & 0xff);
  const header = Buffer.alloc(10);
  header[0] = FINAL_BINARY;
  header[1] = 127;
  header.writeUIntBE(size, 4, 6);
  return header;
}

/** The stage that takes an HTTP upgrade at `path` and hands the connection to the broker. */
export function createWebSocketStage(options: {
  readonly door: Door;
  readonly path: string;
  readonly payloadBytesMax: number;
}): NextStage {
  const { door, path, payloadBytesMax } = options;
  const upgrader = createUpgrader(payloadBytesMax);
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
    const why = refusalOf(request, path);
    if (why !== undefined) refuse(socket, why.status, why.text);
    else upgrader.handleUpgrade(request, socket, head, welcome);
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
  upgrader.on('wsClientError', (error, socket) => {
    refuse(socket as Socket, '400 Bad Request', `${error.message}.`);
  });
  function welcome(webSocket: WebSocket, request: IncomingMessage): void {
    const greeting = greetingOf(request.socket);
    if (greeting === undefined) {
      webSocket.terminate();
      return;
    }
    greeting.serverName ??= hostOf(request);
    openConnection(door, greeting, request.socket, webSocket);
  }
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
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: 0,
    requestTimeout: 0,
    keepAliveTimeout: 0,
  });
}

function createUpgrader(payloadBytesMax: number): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: payloadBytesMax,
    // Text frames are refused, whatever they hold.
    skipUTF8Validation: true,
    handleProtocols: (offered) => PROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
  });
}

function openConnection(
  door: Door,
  greeting: Greeting,
  socket: Socket,
  webSocket: WebSocket,
): void {
  greeting.finish();
  const connection = new WebSocketConnection(door, socket, greeting, webSocket);
  attachWriter(connection, socket);
  (webSocket as ConnectedWebSocket)[CONNECTION] = connection;
  webSocket.on('close', onClose);
  webSocket.on('error', onFailed);
  if (connection.open()) webSocket.on('message', onMessage);
}

function onMessage(this: WebSocket, payload: unknown, binary: boolean): void {
  (this as ConnectedWebSocket)[CONNECTION]?.message(payload as Buffer, binary);
}

function onClose(this: WebSocket): void {
  (this as ConnectedWebSocket)[CONNECTION]?.closed();
}

function onFailed(this: WebSocket): void {
  (this as ConnectedWebSocket)[CONNECTION]?.failed();
}

interface Refused {
  readonly status: string;
  readonly text: string;
}

function refusalOf(request: IncomingMessage, path: string): Refused | undefined {
  if (pathOf(request) !== path) return { status: '404 Not Found', text: 'Nothing is here.' };
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',');
  // [MQTT-6.0.0-3]
  if (offered.some((protocol) => PROTOCOLS.includes(protocol.trim()))) return undefined;
  return { status: '400 Bad Request', text: 'The subprotocol must be mqtt.' };
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
