/**
 * What a setting's text may be: how it is read, how it is shown, and the words that say so when
 * it is wrong. The same kinds serve the command line, the environment and the file.
 */

/** One kind of value. `parse` answers `undefined` where the text is not of it. */
export interface Kind<T> {
  /** Completes the sentence "expected ...". */
  readonly expected: string;
  /** Stands for the value in help: `FILE`, `N`. Empty: a switch, which takes no value. */
  readonly placeholder: string;
  readonly repeatable: boolean;
  parse(texts: readonly string[]): T | undefined;
  /** The value as its user would write it; an empty list: not set. */
  show(value: T): readonly string[];
}

/** Where the broker listens, or a client connects: one URL, taken apart. */
export interface ServerUrl {
  readonly scheme: 'mqtt' | 'mqtts' | 'ws' | 'wss';
  readonly host: string;
  readonly port: number;
  /** With its slash; `/mqtt` by default, and only for `ws` and `wss`. */
  readonly path: string;
}

/** Where to listen, and what holds for that listener alone. */
export interface ListenUrl extends ServerUrl {
  /** The instance of clients that name none. */
  readonly instance?: string;
  readonly clientCert?: 'off' | 'optional' | 'required';
}

const DEFAULT_PORTS = { mqtt: 1883, mqtts: 8883, ws: 8083, wss: 8084 } as const;

/** The URL as it is written. */
export function showUrl(url: ServerUrl): string {
  const host = url.host.includes(':') ? `[${url.host}]` : url.host;
  return `${url.scheme}://${host}:${url.port}${url.path}`;
}

/** The URL in `text`, or `undefined`. */
export function parseUrl(text: string): ServerUrl | undefined {
  const match = /^(mqtts?|wss?):\/\/(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?(\/[^\s?#]*)?$/.exec(
    text,
  );
  if (match === null) return undefined;
  const scheme = match[1] as ServerUrl['scheme'];
  const web = scheme === 'ws' || scheme === 'wss';
  const port = match[3] === undefined ? DEFAULT_PORTS[scheme] : Number(match[3]);
  const path = match[4] ?? '';
  if (port > 65_535 || (!web && path !== '' && path !== '/')) return undefined;
  return {
    scheme,
    host: match[2]!.replace(/^\[|\]$/g, ''),
    port,
    path: web ? (path === '' ? '/mqtt' : path) : '',
  };
}

const LISTEN_OPTIONS: Readonly<Record<string, RegExp>> = {
  instance: /^[A-Za-z0-9_-]{1,64}$/,
  'client-cert': /^(off|optional|required)$/,
};

/** A URL to listen on, with `?instance=ID&client-cert=required`, or `undefined`. */
export function parseListenUrl(text: string): ListenUrl | undefined {
  const end = text.indexOf('?');
  const url = parseUrl(end < 0 ? text : text.slice(0, end));
  if (url === undefined || end < 0) return url;
  const given = new URLSearchParams(text.slice(end + 1));
  for (const [name, value] of given) {
    if (LISTEN_OPTIONS[name]?.test(value) !== true) return undefined;
  }
  const instance = given.get('instance');
  const clientCert = given.get('client-cert') as ListenUrl['clientCert'] | null;
  return {
    ...url,
    ...(instance !== null && { instance }),
    ...(clientCert !== null && clientCert !== undefined && { clientCert }),
  };
}

/** The same as it is written, options included. */
export function showListenUrl(url: ListenUrl): string {
  const options = new URLSearchParams();
  if (url.instance !== undefined) options.set('instance', url.instance);
  if (url.clientCert !== undefined) options.set('client-cert', url.clientCert);
  return options.size === 0 ? showUrl(url) : `${showUrl(url)}?${options}`;
}

/** True where only this machine can reach `host`. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

function single<T>(
  expected: string,
  placeholder: string,
  read: (text: string) => T | undefined,
  show: (value: T) => string = String,
): Kind<T> {
  return {
    expected,
    placeholder,
    repeatable: false,
    parse: (texts) => (texts.length === 1 ? read(texts[0]!) : undefined),
    show: (value) => [show(value)],
  };
}

/** A switch: off unless given. */
export const switchKind: Kind<boolean> = {
  ...single('true or false', '', (text) => {
    if (/^(true|yes|on|1)$/i.test(text)) return true;
    return /^(false|no|off|0)$/i.test(text) ? false : undefined;
  }),
};

/** Any text but the empty one. */
export function textKind(placeholder: string): Kind<string> {
  return single('some text', placeholder, (text) => (text === '' ? undefined : text));
}

/** Any text, the empty one as well. */
export function anyTextKind(placeholder: string): Kind<string> {
  return single('some text', placeholder, (text) => text);
}

/** What an instance can be called. */
export const instanceKind: Kind<string> = single(
  '1 to 64 letters, digits, _ and -',
  'ID',
  (text) => (/^[A-Za-z0-9_-]{1,64}$/.test(text) ? text : undefined),
);

/** One of `words`. */
export function choiceKind<const T extends string>(words: readonly T[]): Kind<T> {
  const expected = `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
  return single(expected, words.join('|'), (text) => words.find((word) => word === text));
}

/** A whole number from `least` to `most`. */
export function wholeKind(least: number, most: number, placeholder = 'N'): Kind<number> {
  return single(`a whole number from ${least} to ${most}`, placeholder, (text) =>
    between(/^\d{1,15}$/.test(text) ? Number(text) : undefined, least, most),
  );
}

/** A number from `least` to `most`, with a fraction or without. */
export function numberKind(least: number, most: number, placeholder = 'N'): Kind<number> {
  return single(`a number from ${least} to ${most}`, placeholder, (text) =>
    between(/^\d{1,15}(\.\d{1,6})?$/.test(text) ? Number(text) : undefined, least, most),
  );
}

/** Where to listen; repeatable. */
export const urlsKind: Kind<readonly ListenUrl[]> = {
  expected: 'a URL such as mqtt://127.0.0.1:1883, mqtts://0.0.0.0:8883 or ws://127.0.0.1:8083/mqtt',
  placeholder: 'URL',
  repeatable: true,
  parse(texts) {
    const urls = texts.map(parseListenUrl);
    return urls.some((url) => url === undefined) ? undefined : (urls as ListenUrl[]);
  },
  show: (urls) => urls.map(showListenUrl),
};

/** Where to connect. */
export const urlKind: Kind<ServerUrl> = single(urlsKind.expected, 'URL', parseUrl, showUrl);

/** Where HTTP is served, or asked: the control API. */
export interface WebUrl {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
}

/** The URL as it is written. */
export function showWebUrl(url: WebUrl): string {
  const host = url.host.includes(':') ? `[${url.host}]` : url.host;
  return `${url.scheme}://${host}:${url.port}`;
}

/** The URL in `text`, or `undefined`. It has no path: signatures cover `/` alone. */
export function parseWebUrl(text: string): WebUrl | undefined {
  const [, scheme, host, digits] =
    /^(https?):\/\/(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?\/?$/.exec(text) ?? [];
  if (host === undefined) return undefined;
  const secure = scheme === 'https';
  const port = digits === undefined ? (secure ? 443 : 80) : Number(digits);
  if (port > 65_535) return undefined;
  return { scheme: secure ? 'https' : 'http', host: host.replace(/^\[|\]$/g, ''), port };
}

const WEB_URL = 'a URL such as http://127.0.0.1:8080 or https://mqtt.example.com';

/** Where to ask over HTTP. */
export const webUrlKind: Kind<WebUrl> = single(WEB_URL, 'URL', parseWebUrl, showWebUrl);

/** Where to serve HTTP; repeatable. */
export const webUrlsKind: Kind<readonly WebUrl[]> = {
  expected: WEB_URL,
  placeholder: 'URL',
  repeatable: true,
  parse(texts) {
    const urls = texts.map(parseWebUrl);
    return urls.some((url) => url === undefined) ? undefined : (urls as WebUrl[]);
  },
  show: (urls) => urls.map(showWebUrl),
};

/** Several texts, in the order given. */
export function textsKind(placeholder: string): Kind<readonly string[]> {
  return {
    expected: 'some text',
    placeholder,
    repeatable: true,
    parse: (texts) => (texts.includes('') ? undefined : texts),
    show: (texts) => texts,
  };
}

const DURATIONS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;

/** Milliseconds, from a number and a unit. */
export function durationKind(leastMs: number, mostMs: number): Kind<number> {
  const limits = `from ${showDuration(leastMs)} to ${showDuration(mostMs)}`;
  const read = (text: string): number | undefined => {
    const match = /^(\d{1,12}(?:\.\d{1,6})?)(d|h|m|s|ms)$/.exec(text);
    if (match === null) return undefined;
    const ms = Math.round(Number(match[1]) * DURATIONS[match[2] as keyof typeof DURATIONS]);
    return between(ms, leastMs, mostMs);
  };
  return single(`a duration such as 3d, 12h, 30m or 45s, ${limits}`, 'DURATION', read, (ms) =>
    showDuration(ms),
  );
}

/** The duration in the largest unit that fits it exactly. */
export function showDuration(ms: number): string {
  for (const [unit, size] of Object.entries(DURATIONS)) {
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}

// biome-ignore format: a table reads in columns
const SIZES = {
  TiB: 1024 ** 4, TB: 1000 ** 4, GiB: 1024 ** 3, GB: 1000 ** 3, MiB: 1024 ** 2, MB: 1000 ** 2,
  KiB: 1024, kB: 1000, KB: 1000, B: 1,
} as const;

/** Bytes, from a number and a unit; without a unit they are bytes. */
export function sizeKind(least: number, most: number): Kind<number> {
  const limits = `from ${showSize(least)} to ${showSize(most)}`;
  const read = (text: string): number | undefined => {
    const match = /^(\d{1,15}(?:\.\d{1,6})?)([kKMGT]i?B|B)?$/.exec(text);
    if (match === null) return undefined;
    const unit = SIZES[(match[2] ?? 'B') as keyof typeof SIZES];
    return unit === undefined ? undefined : between(Number(match[1]) * unit, least, most);
  };
  return single(`a size such as 10GB, 512MiB or 65536, ${limits}`, 'SIZE', read, showSize);
}

/** The size in the largest unit that fits it exactly. */
export function showSize(bytes: number): string {
  for (const [unit, size] of Object.entries(SIZES)) {
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes}B`;
}

/** `kind`, or the word `none`, which reads as Infinity: no bound. */
export function orNone(kind: Kind<number>): Kind<number> {
  return {
    ...kind,
    expected: `${kind.expected}, or none`,
    parse: (texts) =>
      texts.length === 1 && texts[0] === 'none' ? Number.POSITIVE_INFINITY : kind.parse(texts),
    show: (value) => (value === Number.POSITIVE_INFINITY ? ['none'] : kind.show(value)),
  };
}

/** `kind`, or not set at all. */
export function optional<T>(kind: Kind<T>): Kind<T | undefined> {
  return {
    expected: kind.expected,
    placeholder: kind.placeholder,
    repeatable: kind.repeatable,
    parse: (texts) => kind.parse(texts),
    show: (value) => (value === undefined ? [] : kind.show(value)),
  };
}

function between(value: number | undefined, least: number, most: number): number | undefined {
  return value !== undefined && value >= least && value <= most ? value : undefined;
}
