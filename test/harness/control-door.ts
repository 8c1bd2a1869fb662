/**
 * A control door on a port of its own, with real accounts and instances in memory, and callers
 * that sign in either generation.
 */
import { createHmac } from 'node:crypto';
import { type IncomingHttpHeaders, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { connect } from 'node:net';
import { openMemoryEngine } from '#adapters/memory';
import { type Clock, createSeededRandom, type Log, silentLog, systemClock } from '#base';
import { type Control, type ControlOptions, openControl, type Services } from '#control';
import { type AccessKey, createSecretBox, openAccounts } from '#identity';
import { openInstances } from '#instances';
import { signApiRequest } from '../../src/cli/api-signature.ts';
import { canonicalPairs, encodePercent } from '../../src/control/percent-encoding.ts';

/** What a door's answer was. */
export interface DoorAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body; every answer is an object. */
  readonly body: Readonly<Record<string, unknown>>;
}

export interface RawRequest {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: string | Uint8Array;
  /** In chunks, of which there may be none. */
  readonly chunked?: boolean;
  readonly ca?: string;
}

export interface TestDoor {
  readonly control: Control;
  readonly services: Services;
  readonly key: AccessKey;
  readonly url: string;
  /** The host as signed: with its port. */
  readonly host: string;
  send(request: RawRequest): Promise<DoorAnswer>;
  /** Signed ACS3, in a form. */
  call(
    action: string,
    parameters?: Readonly<Record<string, string>>,
    key?: AccessKey,
  ): Promise<DoorAnswer>;
  /** Signed RPC 1.0, in the query of a GET; `changes` replace system parameters before signing. */
  callRpc(
    action: string,
    parameters?: Readonly<Record<string, string>>,
    changes?: Readonly<Record<string, string>>,
  ): Promise<DoorAnswer>;
  /** Bytes as they are; answers all that comes until the door closes. */
  sendBytes(bytes: string | Uint8Array): Promise<string>;
}

export interface TestDoorOptions extends Partial<Omit<ControlOptions, 'services'>> {
  readonly clock?: Clock;
  readonly log?: Log;
}

/** Opens the door; it closes with the test. Its instance is `default`. */
export async function openTestDoor(
  scope: { after(cleanUp: () => Promise<void>): void },
  options: TestDoorOptions = {},
): Promise<TestDoor> {
  const { clock = systemClock, log = silentLog } = options;
  const random = createSeededRandom(Math.floor(Math.random() * 2 ** 32));
  const engine = openMemoryEngine({ clock });
  const { store } = engine;
  const box = createSecretBox(random.bytes(32), random);
  const { accounts, firstKey } = await openAccounts({ store, box, clock, random });
  const instances = await openInstances({
    store,
    clock,
    random,
    log,
    defaultId: 'default',
    openDefault: true,
  });
  // The actions of these tests use no more than this; what is not there is a bug and shows as one.
  const services = { clock, random, accounts, instances, box } as unknown as Services;
  const shared = { urls: ['http://127.0.0.1:0'], clock, log, random, services };
  const control = await openControl({ ...shared, ...options });
  scope.after(async () => {
    await control.close();
    instances.close();
    accounts.close();
    await engine.close();
  });
  return testDoor(control, services, firstKey!, clock);
}

function testDoor(control: Control, services: Services, key: AccessKey, clock: Clock): TestDoor {
  const url = control.urls[0]!;
  const { host, hostname, port } = new URL(url);
  const { random } = services;
  const send = (request: RawRequest): Promise<DoorAnswer> => exchange(url, request);
  return {
    control,
    services,
    key,
    url,
    host,
    send,
    call: (action, parameters = {}, by = key) => {
      const signed = signApiRequest(
        {
          host,
          action,
          version: '2020-04-20',
          parameters: Object.entries(parameters),
          key: { accessKeyId: by.id, accessKeySecret: by.secret },
        },
        clock,
        random,
      );
      return send({ method: 'POST', ...signed });
    },
    callRpc: (action, parameters = {}, changes = {}) => {
      const query = signRpc('GET', action, parameters, { key, clock, services, changes });
      return send({ method: 'GET', path: `/?${query}` });
    },
    sendBytes: (bytes) =>
      new Promise((resolve) => {
        let text = '';
        const socket = connect(Number(port), hostname, () => socket.write(bytes));
        socket.on('data', (chunk) => (text += chunk.toString()));
        socket.on('error', () => undefined); // a door may cut off who sends too much
        socket.on('close', () => resolve(text));
      }),
  };
}

interface RpcSigning {
  readonly key: AccessKey;
  readonly clock: Clock;
  readonly services: Services;
  readonly changes: Readonly<Record<string, string>>;
}

/** The query of a request of the older generation. */
function signRpc(
  method: string,
  action: string,
  parameters: Readonly<Record<string, string>>,
  { key, clock, services, changes }: RpcSigning,
): string {
  const pairs = Object.entries({
    Action: action,
    Version: '2020-04-20',
    Format: 'JSON',
    AccessKeyId: key.id,
    SignatureMethod: 'HMAC-SHA1',
    SignatureVersion: '1.0',
    SignatureNonce: Buffer.from(services.random.bytes(16)).toString('hex'),
    Timestamp: `${new Date(clock.nowMs()).toISOString().slice(0, 19)}Z`,
    ...parameters,
    ...changes,
  });
  const query = canonicalPairs(pairs);
  const text = `${method}&%2F&${encodePercent(query)}`;
  const signature = createHmac('sha1', `${key.secret}&`).update(text).digest('base64');
  return `${query}&Signature=${encodePercent(signature)}`;
}

function exchange(url: string, raw: RawRequest): Promise<DoorAnswer> {
  const { hostname, port, protocol } = new URL(url);
  const { method = 'GET', path = '/', headers = {}, body, chunked = false, ca } = raw;
  const options = { hostname, port, method, path, headers, agent: false as const };
  return new Promise((resolve, reject) => {
    const request =
      protocol === 'https:'
        ? requestHttps({ ...options, ...(ca === undefined ? {} : { ca }) })
        : requestHttp(options);
    request.once('error', reject);
    request.once('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.once('error', reject);
      response.once('end', () => {
        const parsed = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
        const { statusCode: status = 0, headers: answered } = response;
        resolve({ status, headers: answered, text, body: parsed });
      });
    });
    if (chunked) {
      request.setHeader('transfer-encoding', 'chunked');
      request.flushHeaders();
    } else if (body !== undefined) request.setHeader('content-length', Buffer.byteLength(body));
    request.end(body);
  });
}
