/** A message somebody keeps beyond the turn it came in: all its bytes are its own. */
import type { LogMessage } from '#ports';
import type { Qos } from '#wire';

/** U+0000 is in no client identifier: a publisher that begins with it is none. */
const SHOWN_MARK = '\u0000';

/** The publisher of a message of the cloud's that devices see under another topic. */
export function publisherShowing(topic: string): string {
  return `${SHOWN_MARK}${topic}`;
}

/** The topic devices see, where it is not the one the message goes by. */
export function shownTopicOf(publisher: string): string | undefined {
  return publisher.charCodeAt(0) === 0 ? publisher.slice(SHOWN_MARK.length) : undefined;
}

export class KeptMessage {
  readonly topic: string;
  readonly topicBytes: Uint8Array;
  readonly payload: Buffer;
  readonly properties: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  /** Client identifier. */
  readonly publisher: string;
  readonly acceptedMs: number;
  readonly expiresMs: number;

  // A constructor of many parameters: this is the hot class that `Publication.keep` fills.
  // oxlint-disable-next-line max-params
  constructor(
    topic: string,
    topicBytes: Uint8Array,
    payload: Buffer,
    properties: Buffer,
    qos: Qos,
    retain: boolean,
    publisher: string,
    acceptedMs: number,
    expiresMs: number,
  ) {
    this.topic = topic;
    this.topicBytes = topicBytes;
    this.payload = payload;
    this.properties = properties;
    this.qos = qos;
    this.retain = retain;
    this.publisher = publisher;
    this.acceptedMs = acceptedMs;
    this.expiresMs = expiresMs;
  }

  get bytes(): number {
    return this.payload.length + this.properties.length + this.topicBytes.length;
  }

  // Its bytes are its own, all of them.
  get payloadStart(): number {
    return 0;
  }

  get payloadEnd(): number {
    return this.payload.length;
  }

  get propertiesStart(): number {
    return 0;
  }

  get propertiesEnd(): number {
    return this.properties.length;
  }

  /** As the log takes it; only for messages of QoS 1 or 2. */
  get logMessage(): LogMessage {
    return this as LogMessage;
  }
}
