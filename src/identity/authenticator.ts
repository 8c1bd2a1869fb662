/**
 * Who is calling, and what may they do: the interface every way of authentication fulfils.
 *
 * An authenticator answers at once or with a promise; MQTT 5.0's enhanced authentication
 * (section 4.12) is an exchange that takes several steps.
 */
import type { FaultCode } from '#base';
import type { Instance } from '#instances';

/** What a CONNECT and its connection tell of the caller. */
export interface ConnectRequest {
  readonly protocolVersion: 3 | 4 | 5;
  readonly clientId: string;
  readonly userName: string | undefined;
  readonly password: Uint8Array | undefined;
  readonly address: string;
  readonly listener: string;
  readonly serverName: string | undefined;
  /** DER of the verified client certificate. */
  readonly certificate: Uint8Array | undefined;
}

/** Answers from a snapshot in memory, synchronously: asked for every PUBLISH and SUBSCRIBE. */
export interface Permissions {
  mayPublish(topic: string): boolean;
  maySubscribe(filter: string): boolean;
}

/** A proven identity. */
export interface Caller {
  readonly instance: Instance;
  readonly userName: string | undefined;
  /** `undefined`: everything is allowed. */
  readonly permissions: Permissions | undefined;
  /** What the caller gets told in CONNACK, where the authenticator knows better than the client. */
  readonly assignedClientId?: string;
}

export interface Refusal {
  readonly refused: FaultCode;
  /** For the reason string, the log and the trace; never a secret. */
  readonly detail: string;
  /** With `useAnotherServer` and `serverMoved`. */
  readonly serverReference?: string;
}

export type Verdict = Caller | Refusal;

/** One step of enhanced authentication: more data for the client, or the end. */
export type ExchangeStep =
  | { readonly more: Uint8Array | undefined }
  | { readonly verdict: Verdict; readonly data?: Uint8Array };

/** Enhanced authentication under way, for one connection. */
export interface Exchange {
  step(data: Uint8Array | undefined): ExchangeStep | Promise<ExchangeStep>;
}

export interface Authenticator {
  authenticate(request: ConnectRequest): Verdict | Promise<Verdict>;
  /** Begins (or begins again) an exchange; `undefined`: the method is not known here. */
  exchange(method: string, request: ConnectRequest): Exchange | undefined;
}

export function isRefusal(verdict: Verdict): verdict is Refusal {
  return 'refused' in verdict;
}
