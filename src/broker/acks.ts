/**
 * Acknowledgements to one publisher, in the order of its publishes [MQTT-4.6.0-2] [MQTT-4.6.0-3].
 *
 * One that waits for a commit holds back those behind it; when nothing waits, an acknowledgement
 * is written at once. The waiting ones are a list of the very objects the engine tells.
 *
 * @hot
 */
import { type Fault, type FaultCode, FAULTS, Slab } from '#base';
import { type AckType, encodeAck, isReasonAllowed, reasonName } from '#wire';
import type { Connection } from './connection.ts';

const QUOTA_EXCEEDED = 0x97;

/** Whoever waits for a message to be kept. */
export interface Acknowledging {
  settle(fault: Fault | undefined): void;
}

export class PendingAck implements Acknowledging {
  readonly connection: Connection;
  readonly firstByte: number;
  readonly packetId: number;
  reason: number;
  ready: boolean;
  next: PendingAck | undefined = undefined;

  constructor(
    connection: Connection,
    firstByte: number,
    packetId: number,
    reason: number,
    ready: boolean,
  ) {
    this.connection = connection;
    this.firstByte = firstByte;
    this.packetId = packetId;
    this.reason = reason;
    this.ready = ready;
  }

  /** The message is on disk, or was refused: then its packet id is free again. */
  settle(fault: Fault | undefined): void {
    const { connection } = this;
    if (fault === undefined) {
      connection.settleAck(this, this.reason);
      return;
    }
    if (this.firstByte === PUBREC) connection.session?.inbound?.delete(this.packetId);
    if (connection.version5) connection.settleAck(this, publishReason(fault.code));
    else connection.broker.disconnect(connection, fault.code, fault.message);
  }
}

/** The reason as PUBACK and PUBREC can say it. */
export function publishReason(fault: FaultCode): number {
  const reason = FAULTS[fault].v5;
  return isReasonAllowed(reason, 'puback', 'server') ? reason : QUOTA_EXCEEDED;
}

/** First bytes of the acknowledgements we send. */
export const PUBACK = 0x40;
export const PUBREC = 0x50;
export const PUBREL = 0x62;
export const PUBCOMP = 0x70;

const SLAB_BYTES = 32 * 1024;

/** Writes short acknowledgements side by side, for all connections. */
export class AckWriter {
  readonly #slab = new Slab(SLAB_BYTES);

  write(connection: Connection, firstByte: number, packetId: number, reason: number): void {
    if (reason >= 0x80 && connection.version5) {
      writeRefusal(connection, firstByte, packetId, reason);
      return;
    }
    const size = reason === 0 || !connection.version5 ? 4 : 5;
    const at = this.#slab.take(size);
    const target = this.#slab.buffer;
    target[at] = firstByte;
    target[at + 1] = size - 2;
    target[at + 2] = packetId >> 8;
    target[at + 3] = packetId & 0xff;
    if (size === 5) target[at + 4] = reason;
    connection.append(target, at, at + size);
  }
}

/** A refusal says why in words as well, unless the client asked not to be told [MQTT-3.1.2-29]. */
function writeRefusal(
  connection: Connection,
  firstByte: number,
  packetId: number,
  reason: number,
): void {
  const reasonString = connection.tellsReasons ? reasonName(reason) : undefined;
  const packet = { packetId, reasonCode: reason, reasonString };
  const type = (firstByte >> 4) as AckType;
  connection.appendPacket(encodeAck(5, type, packet, connection.packetBytesMax));
}

/** The acknowledgements of one connection that wait for a commit, or behind one that does. */
export class AckQueue {
  #head: PendingAck | undefined = undefined;
  #tail: PendingAck | undefined = undefined;
  /** QoS 1 publishes taken and not acknowledged yet: they count against our Receive Maximum. */
  pubackCount = 0;

  get empty(): boolean {
    return this.#head === undefined;
  }

  push(ack: PendingAck): void {
    if (ack.firstByte === PUBACK) this.pubackCount++;
    if (this.#tail === undefined) this.#head = ack;
    else this.#tail.next = ack;
    this.#tail = ack;
  }

  /** Writes what is ready, up to the first that is not. */
  release(writer: AckWriter): void {
    let ack = this.#head;
    while (ack?.ready === true) {
      writer.write(ack.connection, ack.firstByte, ack.packetId, ack.reason);
      if (ack.firstByte === PUBACK) this.pubackCount--;
      ack = ack.next;
    }
    this.#head = ack;
    if (ack === undefined) this.#tail = undefined;
  }
}
