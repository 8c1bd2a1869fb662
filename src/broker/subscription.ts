/**
 * One session's subscription, and what a publish needs to know to deliver by it.
 *
 * A session that matches a topic by several filters gets one copy, by a merged delivery: the
 * highest QoS, all subscription identifiers [MQTT-3.3.4-2] [MQTT-3.3.4-4].
 */
import type { Position } from '#ports';
import { type Qos, varintSize, writeVarint } from '#wire';
import { isMailbox, mailboxFilter } from './mailbox.ts';
import type { Route } from './route.ts';
import type { Session } from './session.ts';
import type { SharedGroup } from './shared-group.ts';

/** How a message reaches one session. Read for every copy, so it has one shape. */
export class Delivery {
  readonly session: Session;
  qos: Qos;
  retainAsPublished: boolean;
  /** Property bytes of the subscription identifiers; empty: none. */
  identifiers: Uint8Array;
  /** How the session gets what its own client published; `undefined`: not at all. */
  toPublisher: Delivery | undefined;
  /** The route of every topic that only this delivery matches. */
  soloRoute: Route | undefined = undefined;
  /** Its index in the leaf it stands in. */
  slot = -1;

  constructor(
    session: Session,
    qos: Qos,
    noLocal: boolean,
    retainAsPublished: boolean,
    identifiers: Uint8Array,
  ) {
    this.session = session;
    this.qos = qos;
    this.retainAsPublished = retainAsPublished;
    this.identifiers = identifiers;
    this.toPublisher = noLocal ? undefined : this;
  }
}

export interface Subscription {
  /** As the client wrote it, `$share/...` included: its key within the session. */
  readonly text: string;
  /** What is matched: without the `$share/group/` in front. */
  readonly filter: string;
  /** Share name; `undefined`: not shared. */
  readonly share: string | undefined;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /** 0: none. */
  readonly identifier: number;
  /** Only messages after this position are this subscription's. */
  readonly since: Position;
  readonly delivery: Delivery;
  /** Where it stands in its group; `undefined`: not shared, or its session is offline. */
  group: SharedGroup | undefined;
}

/** The parts of a subscription that outlive a connection. */
export interface StoredSubscription {
  readonly text: string;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly identifier: number;
  readonly since: Position;
}

const NO_IDENTIFIERS = new Uint8Array(0);
const SUBSCRIPTION_IDENTIFIER = 0x0b;

export function createSubscription(session: Session, stored: StoredSubscription): Subscription {
  const shared = splitShare(stored.text);
  const own = isMailbox(stored.text) ? mailboxFilter(stored.text) : stored.text;
  return {
    ...stored,
    filter: shared === undefined ? own : shared.filter,
    share: shared?.share,
    delivery: new Delivery(
      session,
      stored.qos,
      stored.noLocal,
      stored.retainAsPublished,
      encodeIdentifier(stored.identifier),
    ),
    group: undefined,
  };
}

/** `$share/name/filter` in its parts; the text was validated before. */
export function splitShare(
  text: string,
): { readonly share: string; readonly filter: string } | undefined {
  if (!text.startsWith('$share/')) return undefined;
  const end = text.indexOf('/', 7);
  return end < 0 ? undefined : { share: text.slice(7, end), filter: text.slice(end + 1) };
}

/** One delivery for all matching subscriptions of one session. */
export function mergeDeliveries(matching: readonly Delivery[]): Delivery {
  if (matching.length === 1) return matching[0]!;
  const merged = join(matching);
  // What the client published itself comes by those subscriptions only that are not No Local.
  const told = matching.filter((delivery) => delivery.toPublisher !== undefined);
  if (told.length === 0) merged.toPublisher = undefined;
  else if (told.length < matching.length) merged.toPublisher = mergeDeliveries(told);
  return merged;
}

/** Joined in one go: a session may match by thousands of its filters. */
function join(matching: readonly Delivery[]): Delivery {
  let qos: Qos = 0;
  let retainAsPublished = false;
  const identifiers: Uint8Array[] = [];
  for (const delivery of matching) {
    if (delivery.qos > qos) qos = delivery.qos;
    if (delivery.retainAsPublished) retainAsPublished = true;
    if (delivery.identifiers.length > 0) identifiers.push(delivery.identifiers);
  }
  const { session } = matching[0]!;
  return new Delivery(session, qos, false, retainAsPublished, Buffer.concat(identifiers));
}

function encodeIdentifier(identifier: number): Uint8Array {
  if (identifier === 0) return NO_IDENTIFIERS;
  const bytes = new Uint8Array(1 + varintSize(identifier));
  bytes[0] = SUBSCRIPTION_IDENTIFIER;
  writeVarint(bytes, 1, identifier);
  return bytes;
}
