/** Where the control door is, in one URL: `http://127.0.0.1:8080` or `https://host:port`. */
import { Fault } from '#base';

export interface ControlUrl {
  readonly secure: boolean;
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: number;
}

const SHAPE = /^(https?):\/\/(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?\/?$/;

/** Reads a URL, or says what is wrong with it. Without a port: 80 and 443. */
export function parseControlUrl(url: string): ControlUrl {
  const [, scheme, host, port] = SHAPE.exec(url) ?? [];
  const secure = scheme === 'https';
  const number = port === undefined ? (secure ? 443 : 80) : Number(port);
  if (host === undefined || number > 65_535) {
    const text = `cannot serve ${JSON.stringify(url)}: expected http://127.0.0.1:8080`;
    throw new Fault('invalidParameter', text);
  }
  return { secure, host: host.replace(/^\[|\]$/g, ''), port: number };
}

/** The URL of the address that was taken. */
export function formatControlUrl(url: ControlUrl, port: number): string {
  const host = url.host.includes(':') ? `[${url.host}]` : url.host;
  return `${url.secure ? 'https' : 'http'}://${host}:${port}`;
}
