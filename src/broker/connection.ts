/**
 * One client connection: bytes in, cut into packets; frames out, gathered until the turn ends.
 *
 * Packets are handled where they lie in the chunk; what straddles chunks is a partial packet.
 * While something forbids going on (a CONNECT being decided, subscribers that are behind, a full
 * commit queue, a turn that took long) the rest of the chunk is held and the socket not read.
 *
 * @hot
 */
import { Fault, type FaultCode } from '#base';
import type { Caller, Exchange } from '#identity';
import type { ConnectPacket, ProtocolVersion } from '#wire';
import { AckQueue, type PendingAck } from './acks.ts';
import type { Broker } from './broker.ts';
import { peekVersion } from './connect-version.ts';
import { keepBytes } from './kept-bytes.ts';
import { Outbox } from './outbox.ts';
import { PartialPacket } from './partial-packet.ts';
import type { Session } from './session.ts';
import { Silence } from './silence.ts';
import type { AliasesIn, AliasesOut } from './topic-aliases.ts';
import type { TopicEntry } from './topic-cache.ts';
import type { Endpoint, Transport } from './transport.ts';
import type { Flushable } from './turn.ts';
import type { Waiters } from './waiters.ts';
import type { StoredWill } from './wills.ts';

export const ConnectionState = { fresh: 0, connecting: 1, open: 2, closed: 3 } as const;
export type ConnectionState = 0 | 1 | 2 | 3;

/** Why a connection's input is not handled for now; bits. */
export const Block = { connecting: 1, subscribers: 2, commit: 4, turn: 8, output: 16 } as const;

/** The largest packet there is: a client that gives no Maximum Packet Size takes it. */
export const PACKET_BYTES_ANY = 268_435_460;

const NO_PACKET = -1;
/** So much of an unfinished packet is a sign of life; a byte now and then is none. */
const LIVELY_BYTES = 256;
const LENGTH_TOO_LONG = 'remaining length of more than four bytes';
/** What a packet is counted as, in deliveries; and one from SUBSCRIBE on: it is no traffic. */
const PACKET_WORK = 4;
const REQUEST_WORK = 64;
const REQUEST_FROM = 0x80;
/** From here on the work of a turn is remembered until the turn ends. */
const WORK_NOTED = 512;

export class Connection implements Endpoint, Flushable {
  // What every PUBLISH reads stands first and together: with thousands of connections each line
  // of memory is fetched anew for a message. Going out first, coming in last, both between.
  #outbox: Outbox;
  readonly transport: Transport;
  listed = false;
  /** The client's Maximum Packet Size. */
  packetBytesMax: number = PACKET_BYTES_ANY;
  readonly broker: Broker;
  state: ConnectionState = 0;
  version5 = false;
  /** The transport is gone, and not all it brought is handled. */
  #cut = false;
  session: Session | undefined = undefined;
  #blocked = 0;
  #partial: PartialPacket | undefined = undefined;
  /** What was done for it in this turn, in deliveries. */
  work = 0;
  #workTurn = 0;
  /** When the client was last heard. */
  heardTick: number;
  lastTopic: TopicEntry | undefined = undefined;
  /** The largest packet it may send. */
  packetBytesInMax: number;
  caller: Caller | undefined = undefined;
  aliasOutMax = 0;
  /** Since when the socket has taken nothing; 0: it takes what it gets. */
  blockedSinceMs = 0;
  probeSeen = 0;
  readonly acks: AckQueue = new AckQueue();
  /** Publishers whose input waits for this connection; made when the first one does. */
  waiters: Waiters | undefined = undefined;

  version: ProtocolVersion = 4;
  /** While the handshake runs; later only where the client may authenticate again. */
  connect: ConnectPacket | undefined = undefined;
  /** The client wants reasons in words, where they are not the only thing said. */
  tellsReasons = true;
  readonly silence: Silence = new Silence(this);
  authMethod: string | undefined = undefined;
  /** Enhanced authentication under way. */
  exchange: Exchange | undefined = undefined;
  /** A CONNECT of a known version came, so a refusal can be told. */
  versionKnown = false;
  will: StoredWill | undefined = undefined;
  aliasesIn: AliasesIn | undefined = undefined;
  aliasesOut: AliasesOut | undefined = undefined;
  /** The last topic its caller might publish to, by that version of the permissions. */
  permittedTopic: TopicEntry | undefined = undefined;
  permittedVersion = 0;
  /** Tells whoever authenticated it that the connection has ended. */
  disconnected: (() => void) | undefined = undefined;
  /** Since when it waits itself. */
  waitsSinceMs = 0;
  #paused = false;
  #held: Buffer[] | undefined = undefined;

  constructor(broker: Broker, transport: Transport) {
    this.broker = broker;
    this.transport = transport;
    this.packetBytesInMax = broker.limits.packetBytesMax;
    this.#outbox = new Outbox(broker.outboxTotal);
    this.heardTick = broker.wheel.tick;
  }

  // ---- input

  data(chunk: Buffer): void {
    if (this.state === ConnectionState.closed) return;
    this.broker.metrics.bytesReceived += chunk.length;
    // A large packet may take longer to come than the client may be silent [MQTT-3.1.2-22].
    if (chunk.length >= LIVELY_BYTES) this.heard();
    if (this.#blocked !== 0) {
      (this.#held ??= []).push(keepBytes(chunk));
      if (!this.#paused) {
        this.#paused = true;
        this.transport.pause();
      }
      return;
    }
    // However many chunks a turn brings: it is one share of the loop.
    if (this.#workTurn !== this.broker.turnNumber) {
      this.#workTurn = this.broker.turnNumber;
      this.work = 0;
    }
    this.broker.turn.readHandled(this.#handle(chunk));
  }

  /** Stops handling input for that reason. */
  block(reason: number): void {
    this.#blocked |= reason;
    if (reason === Block.turn || this.#paused) return; // a turn is too short to pause for
    this.#paused = true;
    this.transport.pause();
  }

  /** Goes on where `block` stopped, once no reason is left. */
  unblock(reason: number): void {
    if ((this.#blocked & reason) === 0) return;
    this.#blocked &= ~reason;
    this.heard(); // while it was not read from it could not be heard
    if (reason === Block.turn) this.work = 0;
    if (this.#blocked !== 0 || this.state === ConnectionState.closed) return;
    try {
      this.#handleHeld();
    } catch (error) {
      this.transport.fail(error); // whoever called is no part of it
      if (this.#cut) this.abandon();
      return;
    }
    if (this.#blocked !== 0 || this.gone) return;
    if (this.#cut) return this.abandon();
    if (!this.#paused) return;
    this.#paused = false;
    this.transport.resume();
  }

  #handleHeld(): void {
    let packets = 0;
    while (this.#held !== undefined && this.#blocked === 0) {
      const chunk = this.#held[0]!;
      if (this.#held.length === 1) this.#held = undefined;
      else this.#held.shift();
      packets += this.#handle(chunk);
    }
    this.broker.turn.readHandled(packets);
  }

  /** Closed, or closing: whatever was awaited or called may have brought it about. */
  get gone(): boolean {
    return this.state === ConnectionState.closed;
  }

  get open(): boolean {
    return this.state === ConnectionState.open;
  }

  get blocked(): boolean {
    return this.#blocked !== 0;
  }

  /** Its input is not handled for a reason that is not its own. */
  get waitsForUs(): boolean {
    return (this.#blocked & (Block.connecting | Block.subscribers | Block.commit)) !== 0;
  }

  /** The client has given a sign of life, or could not. */
  heard(): void {
    this.heardTick = this.broker.wheel.tick;
  }

  /** Handles the packets of `chunk`; returns how many there were. */
  #handle(chunk: Buffer): number {
    const broker = this.broker;
    let at = 0;
    let packets = 0;
    if (this.#partial !== undefined) {
      at = this.#fillPartial(chunk, at);
      if (at === NO_PACKET || this.gone) return 0;
      packets++;
      this.work += PACKET_WORK;
    }
    const length = chunk.length;
    while (at < length) {
      if (this.work >= broker.limits.turnWorkMax) this.#giveWay();
      if (this.#blocked !== 0) {
        this.#hold(chunk, at);
        break;
      }
      if (this.state === ConnectionState.fresh && chunk[at] !== 0x10) {
        broker.violated(this, 'protocolError', 'the first packet is not CONNECT');
        return packets; // [MQTT-3.1.0-1]
      }
      // The fixed header: type and flags, then one to four bytes of length.
      let bodyStart = at + 1;
      let size = 0;
      let shift = 0;
      let complete = false;
      while (bodyStart < length) {
        const byte = chunk[bodyStart++]!;
        size |= (byte & 0x7f) << shift;
        if (byte < 128) {
          complete = true;
          break;
        }
        shift += 7;
        if (shift > 21) {
          broker.violated(this, 'malformedPacket', LENGTH_TOO_LONG);
          return packets;
        }
      }
      const end = bodyStart + size;
      if (complete && !this.#sizeAllowed(chunk, bodyStart, end - at)) return packets;
      if (!complete || end > length) {
        this.#startPartial(chunk, at, bodyStart, complete ? end - at : 0);
        break;
      }
      packets++;
      this.work += chunk[at]! < REQUEST_FROM ? PACKET_WORK : REQUEST_WORK;
      broker.metrics.packetsReceived++;
      broker.receive(this, chunk, at, bodyStart, end);
      if (this.gone) return packets;
      if (this.#isOverdrawn() && !this.#cut) this.block(Block.output);
      at = end;
    }
    if (packets > 0) {
      this.heard();
      this.session?.readHandled();
      if (this.work >= WORK_NOTED) broker.turn.schedule();
    }
    return packets;
  }

  /** It has had its share of this turn: the rest waits for the next. */
  #giveWay(): void {
    this.block(Block.turn);
    this.broker.unblockLater(this);
  }

  #hold(chunk: Buffer, at: number): void {
    (this.#held ??= []).unshift(keepBytes(chunk, at));
  }

  /** [MQTT-3.2.2-15] and the smaller bound until a client is admitted. */
  #sizeAllowed(bytes: Buffer, bodyStart: number, size: number): boolean {
    const { limits } = this.broker;
    const open = this.state === ConnectionState.open;
    const most = open ? this.packetBytesInMax : limits.connectPacketBytesMax;
    if (size <= Math.min(most, limits.packetBytesMax)) return true;
    if (this.state === ConnectionState.fresh) peekVersion(this, bytes, bodyStart);
    this.broker.violated(this, 'packetTooLarge', `a packet of ${size} bytes`);
    return false;
  }

  /** Keeps the start of a packet whose rest is still to come. `size` 0: nor has its length. */
  #startPartial(chunk: Buffer, at: number, bodyStart: number, size: number): void {
    const partial = new PartialPacket(this, chunk, at, bodyStart, size);
    this.#partial = partial;
    if (!partial.lent) partial.own(0);
  }

  /** Adds to the unfinished packet; returns where the chunk goes on, or that it was used up. */
  #fillPartial(chunk: Buffer, offset: number): number {
    const partial = this.#partial!;
    let at = offset;
    while (partial.size === 0) {
      if (at === chunk.length) return NO_PACKET;
      if (!partial.addHeader(chunk[at++]!)) {
        this.broker.violated(this, 'malformedPacket', LENGTH_TOO_LONG);
        return NO_PACKET;
      }
      if (!this.#sizeAllowed(partial.bytes, partial.fill, partial.size)) return NO_PACKET;
    }
    const missing = partial.size - partial.fill;
    const usable = Math.min(missing, chunk.length - at);
    const whole = usable === missing;
    if (!partial.lent || !whole) {
      if (!partial.own(usable)) return NO_PACKET;
      chunk.copy(partial.bytes, partial.fill, at, at + usable);
      partial.fill += usable;
      if (!whole) return NO_PACKET;
    }
    at += usable;
    const { bytes, start, bodyStart, size, lent } = partial;
    this.#dropPartial();
    this.broker.metrics.packetsReceived++;
    const end = lent ? bytes.length : start + size;
    const rest = lent ? { bytes: chunk, start: offset, end: at } : undefined;
    this.broker.receive(this, bytes, start, bodyStart, end, rest);
    return at;
  }

  #dropPartial(): void {
    this.#partial?.drop();
    this.#partial = undefined;
  }

  // ---- output

  /** Adds bytes to what leaves at the end of the turn; they must not change any more. */
  append(buffer: Buffer, start: number, end: number): void {
    this.#outbox.append(buffer, start, end);
    if (!this.listed) this.broker.turn.add(this);
  }

  /** The same for a frame that others may get as well. */
  appendFrame(buffer: Buffer, start: number, end: number): void {
    this.#outbox.appendFrame(buffer, start, end);
    if (!this.listed) this.broker.turn.add(this);
  }

  /** Room for bytes to write and then `append`: in `reserved`, from the returned offset on. */
  reserve(size: number): number {
    return this.#outbox.reserve(size);
  }

  get reserved(): Buffer {
    return this.#outbox.reserved;
  }

  appendPacket(packet: Buffer): void {
    if (packet.length > this.packetBytesMax) {
      // Not even its shortest form fits what the client takes [MQTT-3.1.2-24].
      this.broker.unsendable(this, packet.length);
      return;
    }
    this.append(packet, 0, packet.length);
  }

  get waitingBytes(): number {
    return this.#outbox.bytes;
  }

  flush(): void {
    if (this.#cut) return this.#outbox.clear();
    const before = this.congested;
    this.#outbox.flush(this.transport);
    // Taken at once, so no `drained` will tell those who wait for room.
    if (before && !this.congested) this.broker.roomMade(this);
    if (this.transport.bufferedBytes > 0 && this.blockedSinceMs === 0) {
      this.blockedSinceMs = this.broker.clock.monotonicMs();
    }
  }

  drained(): void {
    this.blockedSinceMs = 0;
    if (this.gone) return;
    this.flush();
    if (!this.#isOverdrawn()) this.unblock(Block.output);
    if (!this.congested) this.goOn();
  }

  /** There is room again: for the publishers that wait, and for what the session is owed. */
  goOn(): void {
    if (this.gone) return;
    this.unblock(Block.output);
    if ((this.session?.pendingCount ?? 0) === 0) this.waiters?.caughtUp();
    else this.waiters?.wake();
    this.session?.readHandled();
    this.broker.turn.schedule();
  }

  /**
   * It does not read its answers, so it is not read from either. Deliveries at QoS 0 end at the
   * bound below this one: what comes on top is its own doing.
   */
  #isOverdrawn(): boolean {
    const { outboxBytesMax, outboxBytesHigh } = this.broker.limits;
    return this.#outbox.bytes >= outboxBytesMax + outboxBytesHigh;
  }

  /** Behind by more than it should be. */
  get congested(): boolean {
    return this.#outbox.bytes >= this.broker.limits.outboxBytesHigh;
  }

  /** So far behind that QoS 0 is dropped. */
  get full(): boolean {
    const { limits, outboxTotal } = this.broker;
    const bytes = this.#outbox.bytes;
    if (bytes < limits.outboxBytesHigh) return false;
    return bytes >= limits.outboxBytesMax || outboxTotal.bytes >= limits.outboxTotalBytesMax;
  }

  /** Acknowledges a publish, behind those that still wait. */
  acknowledge(firstByte: number, packetId: number, reason: number): void {
    if (this.acks.empty) this.broker.ackWriter.write(this, firstByte, packetId, reason);
    else this.acks.push(this.broker.pendingAck(this, firstByte, packetId, reason));
  }

  /** A commit has settled this acknowledgement. */
  settleAck(ack: PendingAck, reason: number): void {
    ack.reason = reason;
    ack.ready = true;
    if (this.state !== ConnectionState.open) return;
    this.acks.release(this.broker.ackWriter);
  }

  // ---- end

  /** Sends what waits and closes; input is not looked at any more. */
  finish(): void {
    if (this.gone) return;
    this.#release();
    this.#outbox.handOver(this.transport);
    this.#outbox.clear();
    this.transport.end();
  }

  /** Closes without sending anything more. */
  abandon(): void {
    if (this.gone) return;
    this.#release();
    this.#outbox.clear();
    this.transport.destroy();
  }

  closed(): void {
    if (!this.gone && this.#held !== undefined) {
      this.#cut = true; // what came before the end counts: a DISCONNECT may be in it
      this.unblock(Block.output); // nobody reads it any more
      return;
    }
    if (!this.gone) {
      this.#release();
      this.#outbox.clear();
    }
    this.broker.connectionGone(this);
  }

  #release(): void {
    this.state = ConnectionState.closed;
    this.silence.cancel();
    this.#dropPartial();
    this.#held = undefined;
    this.waiters?.wake();
    this.broker.connectionClosing(this);
    if (this.#cut) this.broker.connectionGone(this);
  }

  /** What a Fault says, or that the bug is ours. */
  static faultOf(error: unknown): { code: FaultCode; detail: string } {
    if (error instanceof Fault) return { code: error.code, detail: error.message };
    return { code: 'unspecified', detail: 'internal error' };
  }
}
