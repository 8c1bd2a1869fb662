/**
 * A receiving client: acknowledges what wants it, one write a read, and tells whoever waits how
 * much has come.
 *
 * @hot
 */
import type { Histogram } from './histogram.ts';
import type { Link, Player } from './link.ts';

const PUBLISH = 3;
const PUBREL = 6;
const PUBACK_FIRST = 0x40;
const PUBREC_FIRST = 0x50;
const PUBCOMP_FIRST = 0x70;
const DUP = 0x08;

/** A multiple of four: acknowledgements of one read that fit without growing. */
const ACK_BYTES = 4 * 256;

export interface SubscriberOptions {
  /** Hears, after each read, how many messages it brought. */
  readonly onDelivered?: (count: number) => void;
  /** The payload begins with the sending time; its age goes here. */
  readonly latencyUs?: Histogram;
}

export class Subscriber implements Player {
  #link: Link | undefined;
  readonly #onDelivered: ((count: number) => void) | undefined;
  readonly #latencyUs: Histogram | undefined;
  #acks = Buffer.allocUnsafe(0);
  #ackBytes = 0;
  #told = 0;

  constructor(options: SubscriberOptions) {
    this.#onDelivered = options.onDelivered;
    this.#latencyUs = options.latencyUs;
  }

  attach(link: Link): void {
    this.#link = link;
  }

  frame(first: number, bytes: Buffer, body: number, end: number): void {
    const type = first >> 4;
    if (type === PUBLISH) {
      const qos = (first >> 1) & 3;
      if (this.#latencyUs !== undefined) this.#measure(this.#latencyUs, bytes, end);
      if (qos === 0) return;
      if ((first & DUP) !== 0) this.#link!.context.redelivered += 1;
      const id = body + 2 + ((bytes[body]! << 8) | bytes[body + 1]!);
      this.#owe(qos === 1 ? PUBACK_FIRST : PUBREC_FIRST, bytes[id]!, bytes[id + 1]!);
    } else if (type === PUBREL) {
      this.#owe(PUBCOMP_FIRST, bytes[body]!, bytes[body + 1]!);
    }
  }

  readEnd(): void {
    const link = this.#link;
    if (link === undefined) return;
    if (this.#ackBytes > 0) {
      link.socket.write(Buffer.from(this.#acks.subarray(0, this.#ackBytes)));
      this.#ackBytes = 0;
    }
    const count = link.reader.publishes - this.#told;
    if (count > 0 && this.#onDelivered !== undefined) {
      this.#told += count;
      this.#onDelivered(count);
    }
  }

  #measure(latencyUs: Histogram, bytes: Buffer, end: number): void {
    const { context } = this.#link!;
    const sentMs = bytes.readDoubleBE(end - context.plan.payloadBytes);
    latencyUs.record((context.nowMs() - sentMs) * 1000);
  }

  #owe(first: number, idHigh: number, idLow: number): void {
    if (this.#ackBytes === this.#acks.length) {
      const wider = Buffer.allocUnsafeSlow(Math.max(ACK_BYTES, this.#acks.length * 2));
      this.#acks.copy(wider, 0, 0, this.#ackBytes);
      this.#acks = wider;
    }
    this.#acks[this.#ackBytes] = first;
    this.#acks[this.#ackBytes + 1] = 2;
    this.#acks[this.#ackBytes + 2] = idHigh;
    this.#acks[this.#ackBytes + 3] = idLow;
    this.#ackBytes += 4;
  }
}
