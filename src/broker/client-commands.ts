/**
 * What a client tells the broker by publishing: `$SYS/uploadToken` replaces a token of the live
 * connection, `$SYS/enableOrderMsg` asks for ordered export. Neither is delivered to anybody, and
 * neither needs a permission. The acknowledgement says that the command was carried out.
 */
import type { Refusal } from '#identity';
import { PUBACK, PUBREC } from './acks.ts';
import type { Connection } from './connection.ts';
import type { Publication } from './publication.ts';
import type { TopicEntry } from './topic-cache.ts';

const UPLOAD_TOKEN = '$SYS/uploadToken';
const ENABLE_ORDER = '$SYS/enableOrderMsg';
const COMMAND_BYTES_MAX = 64 * 1024;

/** Carries out a command; false: this is none, or none for this client. */
export function receiveCommand(
  connection: Connection,
  publication: Publication,
  entry: TopicEntry,
  packetId: number,
): boolean {
  const { topic } = entry;
  const caller = connection.caller!;
  if (publication.payloadSize > COMMAND_BYTES_MAX) return false;
  if (topic === UPLOAD_TOKEN && caller.upload !== undefined) {
    const bytes = Uint8Array.from(publication.payloadBytes);
    carryOut(connection, publication.qos, packetId, caller.upload(bytes));
    return true;
  }
  if (topic === ENABLE_ORDER && connection.session!.space.guard.compatible) {
    // A client's messages keep their order anyway; who exports them is told it matters.
    connection.session!.ordered = true;
    carryOut(connection, publication.qos, packetId, undefined);
    return true;
  }
  return false;
}

type Outcome = Refusal | undefined | Promise<Refusal | undefined>;

function carryOut(connection: Connection, qos: number, packetId: number, outcome: Outcome): void {
  const { broker } = connection;
  const session = connection.session!;
  if (qos === 2) (session.inbound ??= new Set()).add(packetId);
  const ack = broker.pendingAck(connection, qos === 1 ? PUBACK : PUBREC, packetId, 0);
  ack.ready = false;
  if (qos > 0) connection.acks.push(ack);
  const done = (refusal: Refusal | undefined): void => {
    if (connection.gone) return;
    if (refusal !== undefined) broker.disconnect(connection, refusal.refused, refusal.detail);
    else if (qos > 0) connection.settleAck(ack, 0);
    broker.turn.schedule();
  };
  if (!(outcome instanceof Promise)) {
    done(outcome);
    return;
  }
  outcome.then(done, (error: unknown) => broker.failed(connection, error));
}
