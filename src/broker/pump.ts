/**
 * A session that is behind catches up: its own queue, then the log from its cursor, then what is
 * retained, as far as window and socket allow. Called whenever either opens.
 */
import type { LogPage } from '#ports';
import type { Connection } from './connection.ts';
import { effectiveQos, handOver, pumpPending } from './delivery.ts';
import { isMailbox } from './mailbox.ts';
import { resend } from './redelivery.ts';
import type { Session } from './session.ts';
import { deliveryFor } from './session-match.ts';
import type { Delivery } from './subscription.ts';

const NO_BYTES: Buffer = Buffer.alloc(0);
const PAGE_COUNT_MAX = 256;
const PAGE_BYTES_MAX = 512 * 1024;

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
  const free = session.windowMax - session.inflight.count;
  if (free <= 0 || connection.congested) return;
  const { log } = session.space;
  const filters = logFilters(session);
  if (filters.length === 0) {
    session.live = true;
    return;
  }
  if (session.next < log.floor() && session.next > 0) {
    session.space.broker.metrics.cursorsFellOff++;
    session.next = log.floor();
  }
  session.reading = true;
  const request = {
    filters,
    after: session.next,
    countMax: Math.min(free, PAGE_COUNT_MAX),
    bytesMax: PAGE_BYTES_MAX,
  };
  log.read(request).then(
    (page) => {
      session.reading = false;
      if (session.connection === connection) handPage(session, page);
    },
    (error: unknown) => {
      session.reading = false;
      connection.broker.failed(connection, error);
    },
  );
}

function handPage(session: Session, page: LogPage): void {
  const { broker } = session.space;
  const nowMs = broker.clock.nowMs();
  const merged = new Map<string, Delivery | undefined>();
  let topic = '';
  let topicBytes = NO_BYTES;
  const settledAt = newestSince(session);
  for (const entry of page.entries) {
    // Others may have used up the window since the page was asked for.
    if (!session.windowOpen) {
      broker.turn.schedule();
      return;
    }
    if (entry.position > session.readsUntil) break;
    session.next = entry.position;
    if (entry.expiresMs > 0 && entry.expiresMs <= nowMs) {
      broker.metrics.messagesExpired++; // [MQTT-3.3.2-5]
      continue;
    }
    let delivery = merged.get(entry.topic);
    if (!merged.has(entry.topic)) {
      delivery = deliveryFor(session, entry.topic, entry.position);
      // Before that position another subscription may still have to begin.
      if (entry.position > settledAt) merged.set(entry.topic, delivery);
    }
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
  session.next = page.next;
  const end = Math.min(session.space.dispatched, session.readsUntil);
  if (page.complete && page.next >= end) session.live = true;
  broker.markDirty(session);
  broker.turn.schedule();
  pump(session);
}

function newestSince(session: Session): number {
  let newest = 0;
  for (const { since, earlier } of session.subscriptions.values()) {
    newest = Math.max(newest, since, earlier?.until ?? 0);
  }
  return newest;
}

function logFilters(session: Session): { filter: string; after: number }[] {
  const filters: { filter: string; after: number }[] = [];
  for (const subscription of session.subscriptions.values()) {
    const { share, text, filter, qos, since, earlier } = subscription;
    if (share !== undefined) continue;
    if (!session.durable && !isMailbox(text)) continue; // comes live
    if (qos > 0) filters.push({ filter, after: since });
    if (earlier !== undefined && earlier.until > session.next) {
      filters.push({ filter, after: earlier.since });
    }
  }
  return filters;
}
