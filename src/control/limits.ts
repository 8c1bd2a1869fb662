/**
 * Every bound of the control door, once: name, unit, default, and what happens at the bound.
 * `docs/limits.md` is generated from the table; what runs takes the numbers from here.
 */
import { type LimitRow, limitRow as row } from '#base';

/** Sizes in bytes, times in milliseconds. */
export interface ControlLimits {
  readonly headerBytesMax: number;
  readonly bodyBytesMax: number;
  readonly bodyBytesTotalMax: number;
  readonly connectionCountMax: number;
  readonly connectionsPerAddressMax: number;
  readonly requestCountMax: number;
  readonly headersMsMax: number;
  readonly requestMsMax: number;
  readonly checkEveryMs: number;
  readonly keepAliveMs: number;
  readonly handlerMsMax: number;
  readonly callsPerSecondPerAddressMax: number;
  readonly badLargePerSecondPerAddressMax: number;
  readonly bucketCountMax: number;
  readonly nonceCountMax: number;
}

export const CONTROL_LIMITS: ControlLimits = {
  // A message of 64 KiB takes up to 196,643 characters of a URL; some clients send it there.
  headerBytesMax: 1024 * 1024 + 64 * 1024,
  bodyBytesMax: 1024 * 1024,
  bodyBytesTotalMax: 64 * 1024 * 1024,
  connectionCountMax: 1_000,
  // A stranger with a mebibyte of unfinished headers on each of his must not have them all.
  connectionsPerAddressMax: 256,
  requestCountMax: 2_000,
  headersMsMax: 15_000,
  requestMsMax: 30_000,
  checkEveryMs: 5_000,
  // Well above the pauses of SDKs, so that a request seldom meets a closing connection.
  keepAliveMs: 75_000,
  // Most clients wait three seconds.
  handlerMsMax: 2_500,
  callsPerSecondPerAddressMax: 300,
  badLargePerSecondPerAddressMax: 2,
  bucketCountMax: 50_000,
  nonceCountMax: 2_000_000,
};

/** To prove a larger request costs so much that strangers may not have it done at will. */
export const LARGE_REQUEST_BYTES: number = 16 * 1024;

/** The most parameters of one request: lists of a thousand, keys and values, fit. */
export const PARAMETER_COUNT_MAX = 4_096;

/** The most members of any list, whatever its parameter says. */
export const LIST_COUNT_MAX = 1_000;

/** A body that is refused is read to its end up to here: else its sender would not hear of it. */
export const DISCARD_BYTES_MAX: number = 16 * 1024 * 1024;

const L: ControlLimits = CONTROL_LIMITS;

// biome-ignore format: a table reads in columns
export const CONTROL_LIMIT_ROWS: readonly LimitRow[] = [
  row('request line and headers', 'bytes', L.headerBytesMax, 'answered 431'),
  row('body', 'bytes', L.bodyBytesMax, 'answered 413; read on and thrown away up to 16 MiB'),
  row('bodies of all requests', 'bytes', L.bodyBytesTotalMax, 'answered 503: try again'),
  row('parameters of a request', 'count', PARAMETER_COUNT_MAX, 'answered 413'),
  row('members of a list', 'count', LIST_COUNT_MAX, 'refused with the fault for parameters'),
  row('connections', 'count', L.connectionCountMax, 'closed as they come'),
  row('connections from an address', 'count', L.connectionsPerAddressMax, 'closed as they come'),
  row('requests under way', 'count', L.requestCountMax, 'answered 503: try again'),
  row('time for the headers', 'ms', L.headersMsMax, 'answered 408, closed'),
  row('time for a request', 'ms', L.requestMsMax, 'answered 408, closed'),
  row('pause between requests', 'ms', L.keepAliveMs, 'closed'),
  row('time for an action', 'ms', L.handlerMsMax, 'answered 503; what was asked for may still be done'),
  row('calls from an address, of one action', 'per second', L.callsPerSecondPerAddressMax, 'refused with Throttling.Api'),
  row('requests above 16 KiB signed wrongly, from an address', 'per second', L.badLargePerSecondPerAddressMax, 'further ones: Throttling.Api'),
  row('callers whose rate is known', 'count', L.bucketCountMax, 'the one that called longest ago is forgotten, and may burst again'),
  row('nonces remembered', 'count', L.nonceCountMax, 'the oldest go and requests of their time are refused; with none older than a minute, callers are'),
];
