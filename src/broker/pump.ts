/**
 * A session that is behind catches up: its own queue, then the log from its cursor, then what is
 * retained, as far as window and socket allow. Called whenever either opens.
 */
import { type LogEntry, type LogPage, NEVER } from '#ports';
import type { CatchUp } from './catch-up.ts';
import type { Connection } from './connection.ts';
import { effectiveQos, handOver, pumpPending } from './delivery.ts';
import { resend } from './redelivery.ts';
import type { Session } from './session.ts';
import { deliveryFor } from './session-match.ts';
import type { Delivery } from './subscription.ts';

const NO_BYTES: Buffer = Buffer.alloc(0);
const PAGE_COUNT_MAX = 256;
const PAGE_BYTES_MAX = 512 * 1024;
/** A page is handed over in slices: a message that matches thousands of filters takes long. */
const SLICE_MS = 3;
const ENTRIES_PER_LOOK = 8; // at the clock

export function pump(session: Session): void {
  const { connection } = session;
  if (connection === undefined) return;
  if (session.resend !== undefined) {
    resend(session, connection, () => pump(session));
    return;
  }
  pumpPending(session, connection);
  if (!session.live && !session.reading) readOn(session, connection);
  session.replay?.pump();
  const groups = session.groups;
  if (groups !== undefined) {
    for (const group of groups.slice()) group.pump();
  }
  session.behind =
    session.pendingCount > 0 ||
    !session.live ||
    session.replay !== undefined ||
    (session.groups?.some((group) => group.behind) ?? false);
  if (session.pendingCount === 0 && !connection.congested) connection.waiters?.caughtUp();
}

/** Falls back to the cursor: everything up to `before` was handed over. */
export function lag(session: Session, before: number): void {
  session.live = false;
  session.next = before;
  session.behind = true;
  session.space.broker.metrics.cursorsLagging++;
  session.space.broker.markDirty(session);
}

function readOn(session: Session, connection: Connection): void {
  if (!session.windowOpen || connection.congested) return;
  const free = session.windowMax - session.inflight.count;
  const { log, broker } = session.space;
  const { catchUps } = broker;
  const catchUp = catchUps.of(session);
  if (catchUp.filters.lowest === NEVER) {
    session.live = true;
    return;
  }
  if (session.next < log.floor() && session.next > 0) {
    broker.metrics.cursorsFellOff++;
    session.next = log.floor();
  }
  if (catchUp.page !== undefined) {
    handPage(session, catchUp, catchUp.page, catchUp.handed);
    return;
  }
  session.reading = true;
  const request = {
    filters: catchUp.filters,
    after: session.next,
    countMax: catchUps.full ? Math.min(free, PAGE_COUNT_MAX) : PAGE_COUNT_MAX,
    bytesMax: PAGE_BYTES_MAX,
  };
  log.read(request).then(
    (page) => {
      session.reading = false;
      if (session.connection !== connection) return;
      // Read for other subscriptions than there are now: a new one may miss something in it.
      if (session.catchUp === catchUp) handPage(session, catchUp, page, 0);
      else pump(session);
    },
    (error: unknown) => {
      session.reading = false;
      connection.broker.failed(connection, error);
    },
  );
}

/** Hands over what the page holds from its entry number `from` on. */
function handPage(session: Session, catchUp: CatchUp, page: LogPage, from: number): void {
  const { broker } = session.space;
  const nowMs = broker.clock.nowMs();
  const untilMs = broker.clock.monotonicMs() + SLICE_MS;
  let topic = '';
  let topicBytes = NO_BYTES;
  for (let at = from; at < page.entries.length; at++) {
    const entry = page.entries[at]!;
    // Others may have used up the window since the page was asked for.
    const late = at % ENTRIES_PER_LOOK === 0 && broker.clock.monotonicMs() > untilMs;
    if (late || !session.windowOpen) {
      broker.catchUps.keep(catchUp, page, at);
      broker.turn.schedule();
      if (late) setImmediate(pump, session);
      return;
    }
    if (entry.position > session.readsUntil) break;
    if (entry.position <= session.next) continue; // retention took it meanwhile
    session.next = entry.position;
    if (entry.expiresMs > 0 && entry.expiresMs <= nowMs) {
      broker.metrics.messagesExpired++; // [MQTT-3.3.2-5]
      continue;
    }
    let delivery = deliveryOf(session, catchUp, entry);
    if (delivery === undefined) continue;
    if (entry.publisher === session.clientId) delivery = delivery.toPublisher; // [MQTT-3.8.3-3]
    if (delivery === undefined) continue;
    if (entry.topic !== topic) {
      topic = entry.topic;
      topicBytes = Buffer.from(topic);
    }
    broker.replayed.load(entry, topicBytes, nowMs);
    const qos = effectiveQos(entry.qos, delivery.qos);
    if (qos > 0) handOver(delivery, broker.replayed, qos, entry.position, undefined);
  }
  broker.catchUps.turnPage(catchUp);
  session.next = page.next;
  const end = Math.min(session.space.dispatched, session.readsUntil);
  if (page.complete && page.next >= end) session.live = true;
  broker.markDirty(session);
  broker.turn.schedule();
  pump(session);
}

/** Worked out once for each topic of a page. */
function deliveryOf(session: Session, catchUp: CatchUp, entry: LogEntry): Delivery | undefined {
  const { topic, position } = entry;
  const { deliveries } = catchUp;
  const known = deliveries.get(topic);
  if (known !== undefined || deliveries.has(topic)) return known;
  const delivery = deliveryFor(session, topic, position);
  // Before that position another subscription may still have to begin.
  if (position > catchUp.settledAt) deliveries.set(topic, delivery);
  return delivery;
}
