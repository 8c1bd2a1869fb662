/**
 * Who is calling, and what may they do: the interface every way of authentication fulfils.
 *
 * An authenticator answers at once or with a promise; MQTT 5.0's enhanced authentication
 * (section 4.12) is an exchange that takes several steps. A caller stays an authenticator's
 * concern for as long as the connection lives: it holds the `LiveClient` and ends it where the
 * right to be there ends.
 */
import type { FaultCode } from '#base';
import type { Instance } from '#instances';

/** What a CONNECT and its connection tell of the caller. */
export interface ConnectAttempt {
  readonly protocolVersion: 3 | 4 | 5;
  readonly clientId: string;
  readonly userName: string | undefined;
  readonly password: Uint8Array | undefined;
  /** IPv4 or IPv6, without a port. */
  readonly address: string;
  readonly listener: string;
  /** The listener's own instance; `undefined`: it has none. */
  readonly listenerInstanceId?: string | undefined;
  readonly serverName: string | undefined;
  /** The client certificate in DER. The client has shown that it has its key, nothing more. */
  readonly certificate: Uint8Array | undefined;
  /** The listener's own authorities have signed the certificate. */
  readonly certificateVerified: boolean;
}

/** An attempt, and where it wants to go: from the user name, the server name, or the listener. */
export interface ConnectRequest extends ConnectAttempt {
  readonly instance: Instance;
}

/**
 * Answers from a snapshot in memory, synchronously: asked for PUBLISH and SUBSCRIBE.
 * `version` grows whenever an answer may have changed, so that answers can be remembered.
 */
export interface Permissions {
  readonly version: number;
  mayPublish(topic: string): boolean;
  maySubscribe(filter: string): boolean;
}

/** A connection that was accepted, as identity sees it. */
export interface LiveClient {
  readonly clientId: string;
  readonly address: string;
  /** Sends a message of the server's own to this client alone; QoS 0, no subscription needed. */
  notify(topic: string, payload: string): void;
  /** Ends the connection. */
  disconnect(code: FaultCode): void;
  /** Permissions have shrunk: subscriptions that are no longer allowed end now. */
  permissionsChanged(): void;
}

/** A proven identity. */
export interface Caller {
  readonly instance: Instance;
  readonly userName: string | undefined;
  /** `undefined`: everything is allowed. */
  readonly permissions: Permissions | undefined;
  /** What the caller gets told in CONNACK, where the authenticator knows better than the client. */
  readonly assignedClientId?: string;
  /** The client identifier need not be `GroupID@@@DeviceID` in a compatible instance. */
  readonly anyClientId?: boolean;
  /** The connection was accepted; returns what to do when it has ended. */
  connected?(client: LiveClient): () => void;
  /**
   * A PUBLISH to `$SYS/uploadToken`. `undefined`: taken, and `permissions` answer accordingly;
   * else why not (the client is told and disconnected).
   */
  upload?(payload: Uint8Array): Refusal | undefined | Promise<Refusal | undefined>;
  /** A PUBLISH or SUBSCRIBE was refused and the connection is about to end for it. */
  refused?(action: 'publish' | 'subscribe', topic: string): void;
}

export interface Refusal {
  readonly refused: FaultCode;
  /**
   * For the reason string, the log and the trace, where it says more than the fault's own text;
   * never a secret.
   */
  readonly detail?: string;
  /** Where the caller wanted to go, once that was known. */
  readonly instance?: Instance;
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
  authenticate(attempt: ConnectAttempt): Verdict | Promise<Verdict>;
  /** Begins (or begins again) an exchange; `undefined`: the method is not known here. */
  exchange(method: string, attempt: ConnectAttempt): Exchange | undefined;
  /** The connection was accepted: what may have changed since the verdict is looked at again. */
  accepted?(caller: Caller, client: LiveClient): void;
}

/** One way of authentication among several; `undefined`: not mine, ask the next. */
export interface AuthenticationWay {
  authenticate(request: ConnectRequest): Verdict | undefined | Promise<Verdict | undefined>;
}

export function isRefusal(verdict: Verdict): verdict is Refusal {
  return 'refused' in verdict && typeof verdict.refused === 'string';
}
