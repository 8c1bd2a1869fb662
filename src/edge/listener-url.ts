/**
 * A listener is said in one URL: `mqtt://host:port`, `mqtts://`, `ws://host:port/path`, `wss://`.
 *
 * Read by hand, for the platform's `URL` drops `:80` from a `ws:` URL and could not tell it from
 * no port at all.
 */
import { Fault } from '#base';
import type { TransportKind } from '#broker';

export interface ListenerUrl {
  readonly scheme: string;
  readonly kind: TransportKind;
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: number;
  /** Where WebSockets are served; empty for the others. */
  readonly path: string;
}

interface Scheme {
  readonly kind: TransportKind;
  readonly port: number;
  readonly path: string;
}

const SCHEMES: ReadonlyMap<string, Scheme> = new Map([
  ['mqtt', { kind: 'tcp', port: 1883, path: '' }],
  ['mqtts', { kind: 'tls', port: 8883, path: '' }],
  ['ws', { kind: 'ws', port: 8083, path: '/mqtt' }],
  ['wss', { kind: 'wss', port: 8084, path: '/mqtt' }],
]);

const HOST = String.raw`\[[0-9a-fA-F:.%\w]+\]|[^\s/:@?#[\]]+`;
const SHAPE = new RegExp(
  String.raw`^(?<scheme>[a-z]+)://(?<host>${HOST})(?::(?<port>\d{1,5}))?(?<path>/[^\s?#]*)?$`,
);

/** Reads a listener's URL, or says in one line what is wrong with it. */
export function parseListenerUrl(url: string): ListenerUrl {
  const { scheme = '', host = '', port, path = '/' } = SHAPE.exec(url)?.groups ?? {};
  if (host === '') throw refusal(url, 'it should look like mqtt://127.0.0.1:1883');
  const known = SCHEMES.get(scheme);
  if (known === undefined) throw refusal(url, 'its scheme is none of mqtt, mqtts, ws, wss');
  const portNumber = port === undefined ? known.port : Number(port);
  if (portNumber > 65_535) throw refusal(url, 'its port is above 65535');
  if (known.path === '' && path !== '/') throw refusal(url, `${scheme} has no path`);
  return {
    scheme,
    kind: known.kind,
    host: host.startsWith('[') ? host.slice(1, -1) : host,
    port: portNumber,
    path: known.path === '' ? '' : path === '/' ? known.path : path,
  };
}

/** The URL of the address that was taken. */
export function formatListenerUrl(url: ListenerUrl, port: number): string {
  const host = url.host.includes(':') ? `[${url.host}]` : url.host;
  return `${url.scheme}://${host}:${port}${url.path}`;
}

function refusal(url: string, why: string): Fault {
  return new Fault('unspecified', `cannot listen on ${JSON.stringify(url)}: ${why}`);
}
