/**
 * A publishing client. Its frames are encoded beforehand in a ring whose slots are the packet
 * ids, so sending `n` messages is writing one slice, and an acknowledgement moves one counter.
 *
 * @hot
 */
import type { FrameRing } from './frames.ts';
import type { Link, Player } from './link.ts';

const PUBACK = 4;
const PUBREC = 5;
const PUBCOMP = 7;
const PUBREL_FIRST = 0x62;
const REFUSED = 0x80;

/** How much of a ring goes into one write where only back-pressure limits. */
const BULK_BYTES = 64 * 1024;

export class Publisher implements Player {
  /** Messages handed to the socket. */
  sent = 0;
  /** Messages no longer counted in the window: acknowledged, or credited at QoS 0. */
  done = 0;
  /** No more than so many are ever sent. */
  limit: number;
  isActive = false;
  /** True while a bulk write is not yet with the kernel. */
  isBlocked = false;
  readonly #link: Link;
  readonly #ring: FrameRing;
  readonly #window: number;
  readonly #qos: number;
  readonly #bulkCount: number;
  /** By slot: acknowledged before an earlier one was. */
  readonly #early: Uint8Array;
  /** PUBRELs owed, four bytes each. */
  #releases = Buffer.allocUnsafeSlow(4 * 64);
  #releaseBytes = 0;

  constructor(link: Link, ring: FrameRing, windowCount: number, limit: number) {
    this.#link = link;
    this.#ring = ring;
    this.limit = limit;
    this.#qos = (ring.bytes[0]! >> 1) & 3;
    const room = Math.min(link.receiveMaximum, ring.count);
    this.#window = this.#qos > 0 ? Math.min(windowCount, room) : windowCount;
    this.#bulkCount = Math.max(1, Math.min(ring.count, Math.floor(BULK_BYTES / ring.frameBytes)));
    this.#early = new Uint8Array(ring.count);
  }

  start(): void {
    this.isActive = true;
    this.#sendWindow();
  }

  stop(): void {
    this.isActive = false;
  }

  frame(first: number, bytes: Buffer, body: number, end: number): void {
    const type = first >> 4;
    const packetId = (bytes[body]! << 8) | bytes[body + 1]!;
    const isRefused = end - body > 2 && bytes[body + 2]! >= REFUSED;
    if (isRefused) this.#link.context.refused += 1;
    if (type === PUBACK || type === PUBCOMP || (type === PUBREC && isRefused)) {
      this.#settle(packetId);
    } else if (type === PUBREC) {
      this.#owe(packetId);
    }
  }

  readEnd(): void {
    this.#sendWindow();
  }

  /** QoS 0 has no acknowledgement: whoever sees messages delivered says so here. */
  credit(count: number): void {
    this.done += count;
    this.#sendWindow();
  }

  /** Sends one message whose payload begins with `timeMs`; false when no packet id is free. */
  sendStamped(timeMs: number): boolean {
    const size = this.#ring.frameBytes;
    if (this.#qos > 0 && this.sent - this.done >= this.#window) return false;
    const frame = Buffer.from(this.#slice(this.sent % this.#ring.count, 1));
    frame.writeDoubleBE(timeMs, size - this.#link.context.plan.payloadBytes);
    this.sent += 1;
    this.#link.socket.write(frame);
    return true;
  }

  /** Writes as much as goes into one write, until `onFlushed`. */
  sendBulk(onFlushed: () => void): void {
    const from = this.sent % this.#ring.count;
    const count = Math.min(this.#bulkCount, this.#ring.count - from, this.limit - this.sent);
    if (count <= 0) return;
    this.isBlocked = true;
    this.sent += count;
    this.#link.socket.write(this.#slice(from, count), onFlushed);
  }

  #slice(from: number, count: number): Buffer {
    const size = this.#ring.frameBytes;
    return this.#ring.bytes.subarray(from * size, (from + count) * size);
  }

  #sendWindow(): void {
    const room = this.#window - (this.sent - this.done);
    const count = this.isActive ? Math.min(room, this.limit - this.sent) : 0;
    if (count <= 0 && this.#releaseBytes === 0) return;
    const { socket } = this.#link;
    const from = this.sent % this.#ring.count;
    const straight = Math.min(count, this.#ring.count - from);
    if (this.#releaseBytes === 0 && straight === count) {
      this.sent += count;
      socket.write(this.#slice(from, count));
      return;
    }
    socket.cork();
    if (this.#releaseBytes > 0) {
      socket.write(Buffer.from(this.#releases.subarray(0, this.#releaseBytes)));
      this.#releaseBytes = 0;
    }
    if (straight > 0) socket.write(this.#slice(from, straight));
    if (count > straight) socket.write(this.#slice(0, count - straight));
    if (count > 0) this.sent += count;
    socket.uncork();
  }

  #owe(packetId: number): void {
    if (this.#releaseBytes === this.#releases.length) {
      this.#releases = Buffer.concat([this.#releases, this.#releases]);
    }
    this.#releases[this.#releaseBytes] = PUBREL_FIRST;
    this.#releases[this.#releaseBytes + 1] = 2;
    this.#releases[this.#releaseBytes + 2] = packetId >> 8;
    this.#releases[this.#releaseBytes + 3] = packetId & 0xff;
    this.#releaseBytes += 4;
  }

  /** A slot is free again only when all before it are: ids are reused in their order. */
  #settle(packetId: number): void {
    const count = this.#ring.count;
    if (this.done % count !== packetId - 1) {
      if (packetId > 0 && packetId <= count) this.#early[packetId - 1] = 1;
      return;
    }
    this.done += 1;
    while (this.done < this.sent && this.#early[this.done % count] === 1) {
      this.#early[this.done % count] = 0;
      this.done += 1;
    }
  }
}

/** Keeps QoS 0 publishers writing, each one bulk at a time, reads getting their turn between. */
export class Pump {
  readonly #publishers: readonly Publisher[];
  readonly #flushed: (() => void)[] = [];
  #isScheduled = false;
  #isStopped = false;

  constructor(publishers: readonly Publisher[]) {
    this.#publishers = publishers;
    for (let index = 0; index < publishers.length; index++) {
      const publisher = publishers[index]!;
      this.#flushed.push(() => {
        publisher.isBlocked = false;
        this.#schedule();
      });
    }
  }

  start(): void {
    this.#schedule();
  }

  stop(): void {
    this.#isStopped = true;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isStopped) return;
    this.#isScheduled = true;
    setImmediate(this.#turn);
  }

  readonly #turn = (): void => {
    this.#isScheduled = false;
    if (this.#isStopped) return;
    for (let index = 0; index < this.#publishers.length; index++) {
      const publisher = this.#publishers[index]!;
      if (!publisher.isBlocked) publisher.sendBulk(this.#flushed[index]!);
    }
  };
}
