/**
 * One session's subscription, and what a publish needs to know to deliver by it.
 *
 * A session that matches a topic by several filters gets one copy, by a merged delivery: the
 * highest QoS, all subscription identifiers [MQTT-3.3.4-2] [MQTT-3.3.4-4].
 */
import type { Position } from '#ports';
import { parseShare, type Qos, varintSize, writeVarint } from '#wire';
import { NO_IDENTIFIERS } from './inflight.ts';
import { isMailbox, mailboxFilter } from './mailbox.ts';
import type { RetainedOwed } from './retained-replay.ts';
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
  /** Logged messages up to here were published before it, or are an earlier grant's. */
  readonly since: Position;
  /** What the client had asked for before, where that is still owed. */
  earlier: readonly EarlierGrant[] = NO_GRANTS;
  /** What was merged into it; `undefined`: nothing was. */
  parts: readonly Delivery[] | undefined = undefined;
  /** Beyond this position it is what it is now. */
  settledAt: Position;
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
    since: Position = 0,
  ) {
    this.session = session;
    this.qos = qos;
    this.retainAsPublished = retainAsPublished;
    this.identifiers = identifiers;
    this.since = since;
    this.settledAt = since;
    this.toPublisher = noLocal ? undefined : this;
  }

  /** The QoS granted for a logged message; 0: it has no part in that one. */
  qosAt(position: Position): Qos {
    if (position > this.settledAt) return this.qos;
    if (this.parts === undefined) {
      return grantAt(this.earlier, position)?.qos ?? (position > this.since ? this.qos : 0);
    }
    let qos: Qos = 0;
    for (const part of this.parts) {
      const own = part.qosAt(position);
      if (own > qos) qos = own;
    }
    return qos;
  }

  /** For a logged message: without the subscriptions made after it was published. */
  at(position: Position): Delivery {
    if (this.parts === undefined || position > this.settledAt) return this;
    const then = this.parts.filter((part) => position > part.since || part.qosAt(position) > 0);
    return then.length === 0 ? this : mergeDeliveries(then);
  }

  /** It had, or has, a part in what is logged. */
  get logged(): boolean {
    if (this.qos > 0 || this.earlier.length > 0) return true;
    return this.parts?.some((part) => part.logged) === true;
  }
}

/** A grant that the client has replaced by QoS 0, for messages after `since` up to `until`. */
export interface EarlierGrant {
  readonly qos: Qos;
  readonly since: Position;
  readonly until: Position;
}

const NO_GRANTS: readonly EarlierGrant[] = [];
const GRANTS_MAX = 16;

function grantAt(grants: readonly EarlierGrant[], position: Position): EarlierGrant | undefined {
  return grants.find(({ since, until }) => position > since && position <= until);
}

/** One grant more; the oldest become one where a client cannot make up its mind. */
export function addGrant(
  grants: readonly EarlierGrant[] = NO_GRANTS,
  grant: EarlierGrant,
): readonly EarlierGrant[] {
  const all = [...grants, grant];
  if (all.length <= GRANTS_MAX) return all;
  const [first, second, ...rest] = all as [EarlierGrant, EarlierGrant, ...EarlierGrant[]];
  const qos = first.qos > second.qos ? first.qos : second.qos;
  return [{ qos, since: first.since, until: second.until }, ...rest];
}

/** Those that are for messages after `next`; `undefined`: none is. */
export function stillOwed(
  grants: readonly EarlierGrant[] | undefined,
  next: Position,
): readonly EarlierGrant[] | undefined {
  const owed = grants?.filter(({ until }) => until > next);
  return owed === undefined || owed.length === 0 ? undefined : owed;
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
  /** What is still owed of an earlier grant; `undefined`: nothing. */
  readonly earlier?: readonly EarlierGrant[] | undefined;
  readonly owed: RetainedOwed | undefined;
  readonly delivery: Delivery;
  /** Where it stands in its group; `undefined`: not shared, or its session is offline. */
  group: SharedGroup | undefined;
  /** Where it is kept on disk; `undefined`: its session is not kept. */
  page: number | undefined;
}

/** The parts of a subscription that outlive a connection. */
export interface StoredSubscription {
  readonly text: string;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly identifier: number;
  readonly since: Position;
  readonly earlier?: readonly EarlierGrant[] | undefined;
  /** Its retained messages, while a walk is to serve them, and for a while longer. */
  readonly owed?: RetainedOwed | undefined;
  /** Which row it was read from; not part of what is written. */
  readonly page?: number | undefined;
}

const SUBSCRIPTION_IDENTIFIER = 0x0b;

export function createSubscription(session: Session, stored: StoredSubscription): Subscription {
  const shared = splitShare(stored.text);
  const own = isMailbox(stored.text) ? mailboxFilter(stored.text) : stored.text;
  return {
    ...stored,
    owed: stored.owed,
    filter: shared === undefined ? own : shared.filter,
    share: shared?.share,
    delivery: createDelivery(session, stored),
    group: undefined,
    page: stored.page,
  };
}

function createDelivery(session: Session, stored: StoredSubscription): Delivery {
  const { qos, noLocal, retainAsPublished, identifier, since, earlier } = stored;
  const identifiers = encodeIdentifier(identifier);
  const delivery = new Delivery(session, qos, noLocal, retainAsPublished, identifiers, since);
  if (earlier !== undefined) {
    delivery.earlier = earlier;
    for (const { until } of earlier) delivery.settledAt = Math.max(delivery.settledAt, until);
  }
  return delivery;
}

/** How a subscription delivers a logged message; `undefined`: it has no part in it. */
export function deliveryAt(
  { delivery, since, earlier }: Subscription,
  position: Position,
): Delivery | undefined {
  const grant = earlier === undefined ? undefined : grantAt(earlier, position);
  if (grant === undefined) return position > since ? delivery : undefined;
  const { session, retainAsPublished, identifiers, toPublisher } = delivery;
  const noLocal = toPublisher === undefined;
  return new Delivery(session, grant.qos, noLocal, retainAsPublished, identifiers, since);
}

/** `$share/name/filter` in its parts; `undefined`: a filter like others. */
export function splitShare(
  text: string,
): { readonly share: string; readonly filter: string } | undefined {
  const parsed = parseShare(text);
  if (parsed === undefined || parsed === 'invalid') return undefined;
  return { share: parsed.group, filter: parsed.filter };
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
  let settledAt: Position = 0;
  let retainAsPublished = false;
  const identifiers: Uint8Array[] = [];
  for (const delivery of matching) {
    if (delivery.qos > qos) qos = delivery.qos;
    if (delivery.settledAt > settledAt) settledAt = delivery.settledAt;
    if (delivery.retainAsPublished) retainAsPublished = true;
    if (delivery.identifiers.length > 0) identifiers.push(delivery.identifiers);
  }
  const { session } = matching[0]!;
  const bytes = Buffer.concat(identifiers);
  const merged = new Delivery(session, qos, false, retainAsPublished, bytes, settledAt);
  merged.parts = matching;
  return merged;
}

function encodeIdentifier(identifier: number): Uint8Array {
  if (identifier === 0) return NO_IDENTIFIERS;
  const bytes = new Uint8Array(1 + varintSize(identifier));
  bytes[0] = SUBSCRIPTION_IDENTIFIER;
  writeVarint(bytes, 1, identifier);
  return bytes;
}
