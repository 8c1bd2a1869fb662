/**
 * The broker: what all connections share, and what happens beside their packets.
 *
 * It knows connections as `Transport`s, storage as an `Engine`, and callers by an
 * `Authenticator`. One process is one broker; one turn of the event loop is its unit of work.
 */
import type { Clock, FaultCode, Log, Random } from '#base';
import { FAULTS, TimerWheel } from '#base';
import type { Authenticator } from '#identity';
import type { Instance, Instances } from '#instances';
import type { Engine, LogRetention } from '#ports';
import { countViolation, type Metrics } from '#telemetry';
import { encodeDisconnect, isReasonAllowed, PublishPropertyView, Reason } from '#wire';
import { AckWriter, PendingAck } from './acks.ts';
import { Admission } from './admission.ts';
import { CatchUps } from './catch-up.ts';
import { Block, Connection, ConnectionState } from './connection.ts';
import { CursorWriter } from './cursor-writer.ts';
import { DurableAnswers } from './durable-answers.ts';
import { refuseConnect } from './handshake.ts';
import { InstanceSpace } from './instance-space.ts';
import type { Limits } from './limits.ts';
import { LogView } from './log-view.ts';
import { OutboxTotal } from './outbox.ts';
import { PartialTotal } from './partial-packet.ts';
import { Publication } from './publication.ts';
import { pump } from './pump.ts';
import { receive } from './receive.ts';
import { RefusedWrites } from './refused-writes.ts';
import { RetainedReads } from './retained-reads.ts';
import { RetainedSweep } from './retained-sweep.ts';
import { Session } from './session.ts';
import { SessionDirectory } from './session-directory.ts';
import { SessionStore } from './session-store.ts';
import type { SharedGroup } from './shared-group.ts';
import { publishMetrics } from './sys-topics.ts';
import type { Doorkeeper, Endpoint, Transport } from './transport.ts';
import { Turn } from './turn.ts';
import { Waiters } from './waiters.ts';
import { Wills } from './wills.ts';

export interface BrokerOptions {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly authenticator: Authenticator;
  readonly instances: Instances;
  /** The one that hears of the broker's own numbers. */
  readonly defaultInstanceId: string;
  readonly limits: Limits;
  readonly retention: LogRetention;
}

const COMMIT_LOOK_MS = 10;
/** Of a DISCONNECT that says no more than a reason code. */
const DISCONNECT_BYTES = 4;
const SYS_PERIOD_MS = 10_000;
const RETAINED_SWEEP_MS = 1000;

/** Opens the broker over its store: reads what survived, and is then ready to accept. */
export async function openBroker(options: BrokerOptions): Promise<Broker> {
  const broker = new Broker(options);
  await broker.directory.load();
  await broker.wills.load();
  return broker;
}

export class Broker implements Doorkeeper {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly authenticator: Authenticator;
  readonly instances: Instances;
  readonly defaultInstanceId: string;
  readonly limits: Limits;
  retention: LogRetention;
  readonly wheel: TimerWheel;
  readonly turn: Turn;
  readonly outboxTotal: OutboxTotal = new OutboxTotal();
  readonly ackWriter: AckWriter = new AckWriter();
  readonly sessions: SessionStore;
  readonly directory: SessionDirectory;
  readonly wills: Wills;
  readonly refusedWrites: RefusedWrites;
  readonly admission: Admission;
  readonly answers: DurableAnswers;
  readonly cursors: CursorWriter;
  readonly catchUps: CatchUps;
  readonly retainedReads: RetainedReads;
  /** The message coming in. */
  readonly publication: Publication = new Publication();
  /** A message kept, logged or retained, on its way out. */
  readonly replayed: Publication = new Publication();
  readonly propertyView: PublishPropertyView = new PublishPropertyView();
  readonly logView: LogView = new LogView();
  readonly connections: Set<Connection> = new Set();
  readonly spaces: Map<string, InstanceSpace> = new Map();
  readonly receive: typeof receive = receive;
  /** Packets that have not come in whole: of clients, and of whoever is not yet admitted. */
  readonly partials: PartialTotal;
  readonly connectPartials: PartialTotal;
  turnNumber = 0;
  /** No new clients: the broker is stopping. */
  closing = false;
  #commitWaiters: Connection[] = [];
  #later: (() => void)[] = [];
  #looksAgain = false;
  readonly #stopTimers: (() => void)[] = [];

  constructor(options: BrokerOptions) {
    this.engine = options.engine;
    this.clock = options.clock;
    this.random = options.random;
    this.log = options.log;
    this.metrics = options.metrics;
    this.authenticator = options.authenticator;
    this.instances = options.instances;
    this.defaultInstanceId = options.defaultInstanceId;
    this.limits = options.limits;
    this.retention = options.retention;
    const { limits } = options;
    this.partials = new PartialTotal(limits.partialFreeBytesMax, limits.partialBytesMax);
    this.connectPartials = new PartialTotal(
      limits.connectPartialFreeBytesMax,
      limits.connectPartialBytesMax,
    );
    this.wheel = new TimerWheel(this.clock);
    this.cursors = new CursorWriter(this);
    this.answers = new DurableAnswers(this);
    this.catchUps = new CatchUps(this);
    this.retainedReads = new RetainedReads(this.clock, this.limits.retainedReadsMax);
    this.turn = new Turn(() => this.#beforeFlush());
    this.sessions = new SessionStore(this.engine.store);
    this.directory = new SessionDirectory(this);
    this.wills = new Wills(this);
    this.refusedWrites = new RefusedWrites(this);
    this.admission = new Admission(this);
    const sweep = new RetainedSweep(this);
    this.#stopTimers.push(
      this.clock.every(RETAINED_SWEEP_MS, () => void sweep.step()),
      this.clock.every(SYS_PERIOD_MS, () => publishMetrics(this)),
      this.clock.every(1000, () => this.cursors.writeDirty()),
      this.catchUps.start(),
      this.instances.watch((instance) => this.#instanceChanged(instance)),
    );
  }

  /** The space of an instance, made on first use. */
  space(instance: Instance): InstanceSpace {
    let space = this.spaces.get(instance.id);
    if (space?.instance !== instance) {
      space = new InstanceSpace(this, instance);
      // One that was removed has a place no more; another of its name may have it by now.
      if (!instance.removed) {
        space.retain();
        this.spaces.set(instance.id, space);
      }
    }
    return space;
  }

  /** The space a stored key belongs to; `undefined`: its instance is no more. */
  spaceOfKey(key: string): InstanceSpace | undefined {
    const instance = this.instances.find(key.slice(0, key.indexOf('/')));
    return instance === undefined ? undefined : this.space(instance);
  }

  /** Other bounds of what is kept, for every instance. */
  retain(retention: LogRetention): void {
    this.retention = retention;
    for (const space of this.spaces.values()) space.retain();
  }

  #instanceChanged(instance: Instance): void {
    if (!instance.removed) {
      this.spaces.get(instance.id)?.retain();
      return;
    }
    const space = this.spaces.get(instance.id);
    if (space?.instance !== instance) return;
    this.spaces.delete(instance.id);
    for (const session of space.online.values()) {
      session.expirySeconds = 0; // nothing of it stays
      if (session.connection !== undefined) this.disconnect(session.connection, 'instanceUnknown');
    }
  }

  // ---- connections

  accept(transport: Transport): Endpoint | undefined {
    if (this.closing) return undefined;
    this.metrics.connectionsOpened++;
    const connection = new Connection(this, transport);
    this.connections.add(connection);
    connection.silence.awaitConnect(this.limits.connectTimeoutMs);
    return connection;
  }

  /** The connection ends now, for whatever reason: what its session and will become. */
  connectionClosing(connection: Connection): void {
    this.admission.forget(connection);
    connection.disconnected?.();
    connection.disconnected = undefined;
    this.directory.detach(connection);
  }

  connectionGone(connection: Connection): void {
    if (this.connections.delete(connection)) this.metrics.connectionsClosed++;
  }

  /** The client broke the protocol: counted, told the reason where it can be told, closed. */
  violated(connection: Connection, code: FaultCode, detail: string): void {
    if (connection.state === ConnectionState.closed) return;
    countViolation(this.metrics, code);
    this.log.debug('protocol violation', {
      client: connection.session?.clientId,
      address: connection.transport.peer.address,
      code,
      detail,
    });
    this.disconnect(connection, code, detail);
  }

  /** Ends a connection with a reason: CONNACK before the handshake is done, DISCONNECT after. */
  disconnect(
    connection: Connection,
    code: FaultCode,
    detail?: string,
    serverReference?: string,
  ): void {
    if (connection.state === ConnectionState.closed) return;
    if (connection.state !== ConnectionState.open) {
      refuseConnect(connection, { refused: code, detail: detail ?? FAULTS[code].text });
      return;
    }
    if (connection.version5) {
      const reasonString = detail ?? FAULTS[code].text;
      connection.appendPacket(
        encodeDisconnect(
          { reasonCode: disconnectReason(code), reasonString, serverReference },
          connection.packetBytesMax,
        ),
      );
    }
    connection.finish();
  }

  /** The same, when the turn's deliveries are done: for use inside their loops. */
  disconnectSoon(connection: Connection, code: FaultCode, detail: string): void {
    this.#later.push(() => this.disconnect(connection, code, detail));
    this.turn.schedule();
  }

  /** What must be said is more than the client takes: that is said, or nothing. */
  unsendable(connection: Connection, bytes: number): void {
    if (bytes > DISCONNECT_BYTES && connection.version5) {
      this.disconnectSoon(connection, 'packetTooLarge', 'the answer is more than the client takes');
      return;
    }
    this.#later.push(() => connection.abandon());
    this.turn.schedule();
  }

  /** Something we need failed for this client; it may come back. */
  failed(connection: Connection, error: unknown): void {
    const { code, detail } = Connection.faultOf(error);
    this.log.error('a client could not be served', {
      client: connection.session?.clientId,
      detail: error instanceof Error ? error.message : detail,
    });
    if (code === 'unspecified') this.metrics.bugs++;
    this.disconnect(connection, code, detail);
  }

  // ---- back-pressure

  /** `publisher` is not read from until `slowest` has taken what it is owed, or is stuck. */
  waitFor(publisher: Connection, slowest: Session): void {
    const { connection } = slowest;
    if (connection === undefined || publisher.blocked) return;
    // Its acknowledgements stand behind its publishes: not reading these would not help it.
    if (connection === publisher && !connection.congested) return;
    const since = slowest.stuckSinceMs;
    const waitMs = this.limits.stallMs - (this.clock.monotonicMs() - since);
    if (since > 0 && waitMs <= 0) return; // whoever takes nothing holds up nobody
    connection.waiters ??= new Waiters(connection);
    connection.waiters.add(publisher);
  }

  waitForCommit(connection: Connection): void {
    connection.block(Block.commit);
    this.#commitWaiters.push(connection);
  }

  /** A commit has settled: acknowledgements are written, publishers may go on. */
  committed(): void {
    this.turn.schedule();
    if (this.#commitWaiters.length === 0) return;
    if (this.engine.pendingBytes * 2 > this.limits.commitBytesHigh) {
      this.#lookAgain();
      return;
    }
    const waiters = this.#commitWaiters;
    this.#commitWaiters = [];
    for (const connection of waiters) connection.unblock(Block.commit);
  }

  /** In the next turn: this one is being flushed. */
  roomMade(connection: Connection): void {
    setImmediate(() => connection.goOn());
  }

  /** What is pending may be nobody's publish: then no commit tells us. */
  #lookAgain(): void {
    if (this.#looksAgain) return;
    this.#looksAgain = true;
    this.clock.after(COMMIT_LOOK_MS, () => {
      this.#looksAgain = false;
      this.committed();
    });
  }

  unblockLater(connection: Connection): void {
    setImmediate(() => connection.unblock(Block.turn));
  }

  pendingAck(
    connection: Connection,
    firstByte: number,
    packetId: number,
    reason: number,
  ): PendingAck {
    return new PendingAck(connection, firstByte, packetId, reason, true);
  }

  // ---- end of the turn

  pumpLater(item: Session | SharedGroup): void {
    this.#later.push(() => {
      if (item instanceof Session) pump(item);
      else item.pump();
    });
    this.turn.schedule();
  }

  markDirty(session: Session): void {
    this.cursors.markDirty(session);
  }

  markUrgent(session: Session): void {
    this.cursors.markUrgent(session);
    this.turn.schedule();
  }

  markGroupDirty(group: SharedGroup): void {
    this.cursors.markGroupDirty(group);
  }

  writeGroup(group: SharedGroup): void {
    this.cursors.markGroupUrgent(group);
    this.turn.schedule();
  }

  #beforeFlush(): void {
    this.turnNumber++;
    if (this.#later.length > 0) {
      const later = this.#later;
      this.#later = [];
      for (const action of later) action();
    }
    this.answers.writeRows();
    this.cursors.writeUrgent();
  }

  // ---- end

  /**
   * Tells every client, sends the wills a close brings about, and makes durable what is on its
   * way. The engine stays open: it is the caller's.
   */
  async close(): Promise<void> {
    this.closing = true;
    for (const stop of this.#stopTimers) stop();
    for (const connection of this.connections) {
      this.disconnect(connection, 'serverShuttingDown');
    }
    await this.directory.close();
    this.refusedWrites.close();
    this.cursors.writeDirty();
    this.cursors.writeUrgent();
    this.admission.stop();
    this.wheel.stop();
  }
}

/** The reason as DISCONNECT can say it: some exist in CONNACK only. */
function disconnectReason(code: FaultCode): number {
  const reason = FAULTS[code].v5;
  if (isReasonAllowed(reason, 'disconnect', 'server')) return reason;
  return FAULTS[code].retry ? Reason.unspecifiedError : 0x87;
}
