/**
 * The control door: HTTP and HTTPS listeners, and one way to answer, whatever happened.
 *
 * Clients of this API cannot do with anything but JSON: every answer is JSON with a request id,
 * those to requests that Node itself would refuse included. Never empty, never a redirect.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContextOptions } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { type Clock, Fault, type Log, type Random } from '#base';
import type { Store } from '#ports';
import type { Action } from './action.ts';
import { ACTIONS } from './actions.ts';
import { ApiFault } from './api-fault.ts';
import { readCertificateFiles } from './certificate-files.ts';
import { type ControlUrl, formatControlUrl, parseControlUrl } from './control-url.ts';
import { type ControlMetrics, createDispatcher, type Dispatcher } from './dispatch.ts';
import { type BodyBudget, readRequest } from './http-request.ts';
import { CONTROL_LIMITS, type ControlLimits } from './limits.ts';
import { NONCE_TABLE, Nonces } from './nonces.ts';
import { describeApi } from './openapi.ts';
import { Rates } from './rates.ts';
import type { Services } from './services.ts';

export interface ControlOptions {
  /** `http://host:port` or `https://host:port`; port 0 takes any. */
  readonly urls: readonly string[];
  /** Required for `https`. */
  readonly certificateFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly services: Services;
  /** Where the nonces that were seen outlive the process; left out, they do not. */
  readonly store?: Store | undefined;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics?: ControlMetrics | undefined;
  readonly actions?: readonly Action[];
  readonly limits?: Partial<ControlLimits>;
}

export interface Control {
  /** With the ports that were taken. */
  readonly urls: readonly string[];
  /**
   * Reads the files again; true: other certificates hold from now on. Where they will not do, the
   * old ones stay and the log says so.
   */
  reloadCertificates(): Promise<boolean>;
  /** Lets requests under way finish, for a moment. */
  close(): Promise<void>;
}

const CLOSE_MS = 3_000;
const IDLE_MS_MAX = 120_000;
/** For a refusal to be read. */
const LINGER_MS = 1_000;

/** Serves the control API on every URL, or rejects with a `Fault` that says why not. */
export async function openControl(options: ControlOptions): Promise<Control> {
  const door = new Door(options);
  await door.load();
  const servers: Server[] = [];
  const secured: Secured[] = [];
  const urls: string[] = [];
  try {
    for (const text of options.urls) {
      const url = parseControlUrl(text);
      const secure = url.secure ? await createSecure(options, door) : undefined;
      if (secure !== undefined) secured.push(secure);
      const server = secure?.server ?? createServer(door.settings);
      servers.push(server);
      door.serve(server);
      urls.push(await listen(server, url, text));
    }
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }
  return {
    urls,
    reloadCertificates: () => reload(options, secured),
    close: async () => {
      const stop = options.clock.after(CLOSE_MS, () => {
        for (const server of servers) server.closeAllConnections();
      });
      await Promise.all(servers.map(closeServer));
      stop();
    },
  };
}

/** A server, and the certificates it has. */
interface Secured {
  readonly server: SecureServer;
  context: SecureContextOptions;
}

async function createSecure(options: ControlOptions, door: Door): Promise<Secured> {
  const { certificateFile, keyFile } = options;
  if (certificateFile === undefined || keyFile === undefined) {
    throw new Fault('unspecified', 'https needs a certificate file and a key file');
  }
  const context = await readCertificateFiles(certificateFile, keyFile);
  try {
    return { server: createSecureServer({ ...door.settings, ...context }), context };
  } catch (cause) {
    throw new Fault('unspecified', `certificate ${certificateFile} does not do`, { cause });
  }
}

async function reload(options: ControlOptions, secured: readonly Secured[]): Promise<boolean> {
  const { certificateFile, keyFile, log } = options;
  if (certificateFile === undefined || keyFile === undefined) return false;
  try {
    const context = await readCertificateFiles(certificateFile, keyFile);
    const former = secured.filter((one) => !isDeepStrictEqual(one.context, context));
    for (const one of former) {
      one.server.setSecureContext(context);
      one.context = context;
    }
    if (former.length > 0) log.info('certificates of the control door reloaded');
    return former.length > 0;
  } catch (error) {
    const text = 'certificates of the control door not reloaded, the old ones stay';
    log.error(text, { error: error instanceof Error ? error.message : String(error) });
    return false;
  }
}

async function listen(server: Server, url: ControlUrl, text: string): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(new Fault('unspecified', `cannot serve ${text}: ${cause.code}`, { cause }));
    });
    server.listen(url.port, url.host, resolve);
  });
  server.removeAllListeners('error');
  return formatControlUrl(url, (server.address() as AddressInfo).port);
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
}

/** What Node's own refusals are to our callers. */
const PARSER_STATUS: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What all listeners share: one budget, one memory of nonces, one count of everything. */
class Door {
  readonly settings: Parameters<typeof createServer>[0] & object;
  readonly #options: ControlOptions;
  readonly #limits: ControlLimits;
  readonly #dispatcher: Dispatcher;
  readonly #budget: BodyBudget;
  readonly #description: string;
  readonly #nonces: Nonces;
  /** Connections with an answer under way: a second one must not be written into it. */
  readonly #answering: WeakSet<Duplex> = new WeakSet();
  /** Connections by address. */
  readonly #connections = new Map<string, number>();
  #requestCount = 0;

  constructor(options: ControlOptions) {
    const limits = { ...CONTROL_LIMITS, ...options.limits };
    const { clock, random, services, log, metrics } = options;
    const actions = options.actions ?? ACTIONS;
    this.#options = options;
    this.#limits = limits;
    this.#description = JSON.stringify(describeApi(actions));
    this.#budget = {
      requestBytesMax: limits.bodyBytesMax,
      totalBytesMax: limits.bodyBytesTotalMax,
      heldBytes: 0,
    };
    const nonces = new Nonces(clock, random, limits, options.store?.table(NONCE_TABLE));
    this.#nonces = nonces;
    const rates = new Rates(clock, limits);
    const shared = { actions, services, nonces, rates, clock, log, limits, metrics };
    this.#dispatcher = createDispatcher(shared);
    this.settings = {
      maxHeaderSize: limits.headerBytesMax,
      headersTimeout: limits.headersMsMax,
      requestTimeout: limits.requestMsMax,
      keepAliveTimeout: limits.keepAliveMs,
      connectionsCheckingInterval: limits.checkEveryMs,
      requireHostHeader: false, // Node's refusal has no body; ours follows
      noDelay: true,
    };
  }

  /** What the process before has seen, before the first request comes. */
  async load(): Promise<void> {
    await this.#nonces.load();
  }

  serve(server: Server): void {
    server.maxConnections = this.#limits.connectionCountMax;
    server.setTimeout(IDLE_MS_MAX);
    const answer = (message: IncomingMessage, response: ServerResponse): void => {
      void this.#serve(message, response);
    };
    server.on('connection', (socket) => this.#bound(socket));
    server.on('request', answer);
    server.on('checkExpectation', answer); // whatever is expected: we answer
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
      this.#refuseUnread(error, socket);
    });
  }

  /** One address must not have every place. */
  #bound(socket: Socket): void {
    const address = socket.remoteAddress ?? '';
    const count = this.#connections.get(address) ?? 0;
    if (count >= this.#limits.connectionsPerAddressMax) {
      socket.destroy();
      return;
    }
    this.#connections.set(address, count + 1);
    socket.once('close', () => {
      const left = (this.#connections.get(address) ?? 1) - 1;
      if (left === 0) this.#connections.delete(address);
      else this.#connections.set(address, left);
    });
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#requestCount++;
    this.#answering.add(message.socket);
    response.once('close', () => {
      this.#requestCount--;
      this.#answering.delete(message.socket);
    });
    const requestId = this.#createRequestId();
    try {
      const answer = await this.#answer(message, requestId);
      this.#write(response, answer, requestId);
    } catch (error) {
      if (message.destroyed && !message.complete) return; // its sender has gone
      this.#write(response, this.#refusal(error, requestId, hostOf(message)), requestId);
    }
  }

  async #answer(message: IncomingMessage, requestId: string): Promise<Answer> {
    if (this.#requestCount > this.#limits.requestCountMax) throw new ApiFault('ServiceUnavailable');
    const url = message.url ?? '';
    const mark = url.indexOf('?');
    const path = mark < 0 ? url : url.slice(0, mark);
    const fixed = path === '/health' || path === '/openapi.json';
    if (!fixed && path !== '/') throw new ApiFault('InvalidApi.NotFound');
    if (message.method !== 'GET' && (fixed || message.method !== 'POST')) {
      throw new ApiFault('UnsupportedHTTPMethod', fixed ? 'Use GET.' : undefined);
    }
    if (path === '/health') return success(JSON.stringify({ status: 'ok' }));
    if (path === '/openapi.json') return success(this.#description);
    const query = mark < 0 ? '' : url.slice(mark + 1);
    const request = await readRequest(message, query, this.#budget);
    const address = message.socket.remoteAddress ?? '';
    return success(JSON.stringify(await this.#dispatcher.call(request, address, requestId)));
  }

  #refusal(error: unknown, requestId: string, host: string): Answer {
    const fault = error instanceof ApiFault ? error : new ApiFault('InternalError');
    const { log, metrics } = this.#options;
    if (fault !== error) {
      const shown = error instanceof Error ? (error.stack ?? error.message) : String(error);
      log.error('a request of the control API failed', { requestId, error: shown });
      metrics?.bug();
    } else log.debug('control request refused', { requestId, code: fault.wireCode });
    const body = {
      RequestId: requestId,
      HostId: host,
      Code: fault.wireCode,
      Message: fault.message,
    };
    const headers: Record<string, string> = {};
    if (fault.status === 405) headers['allow'] = 'GET, POST';
    if (fault.code.startsWith('Throttling')) headers['x-acs-retry-after'] = '1000';
    return { status: fault.status, body: JSON.stringify(body), headers };
  }

  #write(response: ServerResponse, answer: Answer, requestId: string): void {
    if (response.destroyed) return;
    const unread = !response.req.complete;
    response.writeHead(answer.status, {
      ...HEADERS,
      ...answer.headers,
      'x-acs-request-id': requestId,
      'content-length': Buffer.byteLength(answer.body),
      ...(unread ? { connection: 'close' } : {}),
    });
    response.end(answer.body);
  }

  /** Node refused the request before it was one: too large a header, too slow, not HTTP. */
  #refuseUnread(error: NodeJS.ErrnoException, socket: Duplex): void {
    if (!socket.writable || error.code === 'ECONNRESET' || this.#answering.has(socket)) {
      socket.destroy();
      return;
    }
    const status = PARSER_STATUS[error.code ?? ''] ?? 400;
    const requestId = this.#createRequestId();
    const large = status === 431 || status === 413;
    const code = large ? 'RequestTooLarge' : 'MalformedRequest';
    const { wireCode, message } = new ApiFault(code, TEXTS.get(status));
    const fields = { RequestId: requestId, HostId: '', Code: wireCode, Message: message };
    const body = JSON.stringify(fields);
    const headers = Object.entries({
      ...HEADERS,
      'x-acs-request-id': requestId,
      'content-length': String(Buffer.byteLength(body)),
      connection: 'close',
    }).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(`HTTP/1.1 ${status} Refused\r\n${headers.join('')}\r\n${body}`);
    // Whoever does not close would keep his place, and all that he has sent.
    const stop = this.#options.clock.after(LINGER_MS, () => socket.destroy());
    socket.once('close', stop);
  }

  /** A random UUID in upper case, as the vendor's are. */
  #createRequestId(): string {
    const bytes = Buffer.from(this.#options.random.bytes(16));
    bytes[6] = (bytes[6]! & 0x0f) | 0x40;
    bytes[8] = (bytes[8]! & 0x3f) | 0x80;
    const digits = bytes.toString('hex').toUpperCase();
    return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  }
}

const HEADERS = {
  'content-type': 'application/json;charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
};

const TEXTS: ReadonlyMap<number, string> = new Map([
  [408, 'The request did not come in time.'],
  [431, 'The headers or the URL are too large.'],
]);

function success(body: string): Answer {
  return { status: 200, body, headers: {} };
}

function hostOf(message: IncomingMessage): string {
  return message.headers.host ?? '';
}
