/** The settings of HTTP authentication: `instance.authentication.http`. */
import { validateHeaderName, validateHeaderValue } from 'node:http';
import { isSealed, type SealedText, SettingsReader } from '../auth-settings.ts';

export interface HttpSettings {
  readonly url: string;
  /** For the whole call, waiting for a turn included. */
  readonly timeoutMs: number;
  /** How long an allowing answer stands for the very same question; 0: never. */
  readonly cacheSeconds: number;
  /** The same for a denying one. */
  readonly denyCacheSeconds: number;
  readonly concurrencyMax: number;
  /** Whoever comes while the service is down gets in, and may do everything. */
  readonly failOpen: boolean;
  /** Failures in a row after which the service is left alone for `breakerOpenMs`. */
  readonly breakerFailureCountMax: number;
  readonly breakerOpenMs: number;
  /** Beside those every call has; their values may be sealed. */
  readonly headers: Readonly<Record<string, string | SealedText>>;
  /** Authorities (PEM) the service's certificate must come from, instead of the usual ones. */
  readonly ca: string | undefined;
}

const HEADER_COUNT_MAX = 20;
const HEADER_CHARS_MAX = 4096;
/** They are ours, or change where the request ends. */
const RESERVED_HEADERS: readonly string[] = [
  'host',
  'connection',
  'content-length',
  'content-type',
  'transfer-encoding',
  'expect',
  'upgrade',
];

/** Throws `invalidParameter`. */
export function readHttpSettings(value: unknown): HttpSettings {
  const reader = new SettingsReader('http', value);
  const url = reader.url('url');
  if (url === undefined) throw reader.bad('url', 'is missing');
  const settings = {
    url,
    timeoutMs: reader.number('timeoutMs', { min: 100, max: 30_000, usual: 3_000 }),
    cacheSeconds: reader.number('cacheSeconds', { min: 0, max: 3_600, usual: 5 }),
    denyCacheSeconds: reader.number('denyCacheSeconds', { min: 0, max: 3_600, usual: 0 }),
    concurrencyMax: reader.number('concurrencyMax', { min: 1, max: 1_024, usual: 64 }),
    failOpen: reader.flag('failOpen', false),
    breakerFailureCountMax: reader.number('breakerFailureCountMax', {
      min: 1,
      max: 1_000,
      usual: 5,
    }),
    breakerOpenMs: reader.number('breakerOpenMs', { min: 100, max: 600_000, usual: 10_000 }),
    headers: readHeaders(reader),
    ca: reader.certificates('ca'),
  };
  reader.end();
  return settings;
}

function readHeaders(reader: SettingsReader): Readonly<Record<string, string | SealedText>> {
  const record = reader.record('headers') ?? {};
  const entries = Object.entries(record);
  if (entries.length > HEADER_COUNT_MAX) {
    throw reader.bad('headers', `must be ${HEADER_COUNT_MAX} at most`);
  }
  const headers: Record<string, string | SealedText> = {};
  for (const [name, value] of entries) {
    if (!isHeaderName(name)) throw reader.bad('headers', 'has a name that is not allowed');
    if (!isSealed(value) && !isHeaderValue(value)) {
      throw reader.bad('headers', 'has a value that is not allowed');
    }
    headers[name.toLowerCase()] = isSealed(value) ? { sealed: value.sealed } : value;
  }
  return headers;
}

function isHeaderName(name: string): boolean {
  if (RESERVED_HEADERS.includes(name.toLowerCase())) return false;
  try {
    validateHeaderName(name);
    return name.length <= 128 && name !== '__proto__';
  } catch {
    return false;
  }
}

/** True for what a header can hold. */
export function isHeaderValue(value: unknown): value is string {
  if (typeof value !== 'string' || value.length > HEADER_CHARS_MAX) return false;
  try {
    validateHeaderValue('x', value);
    return true;
  } catch {
    return false;
  }
}
