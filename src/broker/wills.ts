/**
 * Wills: kept on disk from CONNECT on, so that a client's last word is said even when it is the
 * broker that died; sent at the end of the connection, or later where a delay was asked for.
 *
 * Nobody is told where the disk refuses any of that: it is written again until the disk takes it.
 */
import { Timer } from '#base';
import type { Table } from '#ports';
import type { Qos, Will } from '#wire';
import type { Acknowledging } from './acks.ts';
import type { Broker } from './broker.ts';
import type { Connection } from './connection.ts';
import type { InstanceSpace } from './instance-space.ts';
import { KeptMessage } from './kept-message.ts';
import { keepAgain, publishMessage } from './publish.ts';
import type { Session } from './session.ts';
import { NEVER_EXPIRES } from './session-store.ts';

/** A will as it is stored. */
export interface StoredWill {
  readonly clientId: string;
  readonly topic: string;
  /** base64 */
  readonly payload: string;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly delaySeconds: number;
  /** base64: the property bytes that travel with the message. */
  readonly properties: string;
  /** Wall clock; 0: the connection was open when this was written. */
  readonly dueMs: number;
}

/** What a row that waits to be written again takes beside its text, roughly. */
const WAITING_BYTES = 512;

class PendingWill extends Timer {
  readonly #wills: Wills;
  readonly key: string;

  constructor(wills: Wills, key: string) {
    super();
    this.#wills = wills;
    this.key = key;
  }

  expired(): void {
    this.#wills.due(this);
  }
}

export class Wills {
  readonly #broker: Broker;
  readonly #table: Table;
  /** Wills whose delay runs, by session key; what they say is on disk. */
  readonly #pending = new Map<string, PendingWill>();
  /** What a row is to be, until the disk has it. */
  readonly #underWay = new Map<string, RowWrite>();

  constructor(broker: Broker) {
    this.#broker = broker;
    this.#table = broker.engine.store.table('wills');
  }

  /**
   * Keeps the will of a connection that is being accepted [MQTT-3.1.2-7]; resolves once the disk
   * has taken it, or has refused it for now.
   */
  keep(session: Session, will: Will): Promise<StoredWill> {
    const stored: StoredWill = {
      clientId: session.clientId,
      topic: will.topic,
      payload: Buffer.from(will.payload).toString('base64'),
      qos: will.qos,
      retain: will.retain,
      delaySeconds: will.willDelayInterval,
      properties: Buffer.from(will.publishProperties).toString('base64'),
      dueMs: 0,
    };
    return new Promise((resolve) => this.#write(session.key, stored, () => resolve(stored)));
  }

  /** The connection it was kept for was not accepted: it is not sent. */
  forget(session: Session): void {
    this.#write(session.key, undefined);
  }

  /** DISCONNECT without a reason to send it [MQTT-3.14.4-3] [MQTT-3.1.2-10]. */
  cancel(connection: Connection): void {
    if (connection.will === undefined) return;
    connection.will = undefined;
    this.#write(connection.session!.key, undefined);
  }

  /** The connection has ended; its session stays for `expirySeconds`. */
  connectionClosed(connection: Connection, expirySeconds: number): void {
    const { will, session } = connection;
    if (will === undefined) return;
    connection.will = undefined;
    if (connection.caller?.permissions?.mayPublish(will.topic) === false) {
      this.#write(session!.key, undefined); // the right was withdrawn meanwhile
      return;
    }
    // Whichever comes first, the delay or the session's end (3.1.3.2.2).
    const delaySeconds =
      expirySeconds === NEVER_EXPIRES
        ? will.delaySeconds
        : Math.min(will.delaySeconds, expirySeconds);
    this.#sendAfter(session!.key, will, delaySeconds);
  }

  /** The session was taken up again in time [MQTT-3.1.3-9]. */
  resumed(key: string): void {
    const pending = this.#drop(key);
    if (pending !== undefined) this.#write(key, undefined);
  }

  /** The session is over: its will waits no longer. */
  async sessionEnded(key: string): Promise<void> {
    if (this.#drop(key) !== undefined) await this.#sendStored(key);
  }

  due(pending: PendingWill): void {
    this.#pending.delete(pending.key);
    void this.#sendStored(pending.key);
  }

  /** After a start: the wills of connections that ended with the last process, and delayed ones. */
  async load(): Promise<void> {
    const { sessions, clock } = this.#broker;
    const found: { readonly key: string; readonly will: StoredWill }[] = [];
    for await (const rows of this.#table.scan('')) {
      for (const row of rows) {
        const text = Buffer.from(row.value).toString();
        found.push({ key: row.key, will: JSON.parse(text) as StoredWill });
      }
    }
    for (const { key, will } of found) {
      const session = await sessions.read(key);
      let seconds = 0;
      if (session !== undefined) {
        const left = will.dueMs === 0 ? will.delaySeconds : (will.dueMs - clock.nowMs()) / 1000;
        seconds = Math.max(0, Math.min(left, session.expirySeconds));
      }
      this.#sendAfter(key, will, seconds);
    }
  }

  #sendAfter(key: string, will: StoredWill, seconds: number): void {
    if (seconds === 0) {
      this.#send(key, will);
      return;
    }
    const dueMs = this.#broker.clock.nowMs() + seconds * 1000;
    const pending = new PendingWill(this, key);
    this.#pending.set(key, pending);
    this.#broker.wheel.schedule(pending, seconds * 1000);
    this.#write(key, { ...will, dueMs });
  }

  #drop(key: string): PendingWill | undefined {
    const pending = this.#pending.get(key);
    if (pending === undefined) return undefined;
    this.#pending.delete(key);
    this.#broker.wheel.cancel(pending);
    return pending;
  }

  async #sendStored(key: string): Promise<void> {
    try {
      const will = await this.#read(key);
      // A connection made meanwhile has a will of its own there, not due.
      if (will !== undefined && will.dueMs > 0) this.#send(key, will);
    } catch (error) {
      this.#broker.log.error('a will could not be read', { key, error: String(error) });
    }
  }

  /** Publishes, and forgets in the same commit: sent once [MQTT-3.1.2-10]. */
  #send(key: string, will: StoredWill): void {
    const space = this.#broker.spaceOfKey(key);
    this.#write(key, undefined);
    if (space === undefined) return;
    this.#broker.metrics.willsPublished++;
    const message = new KeptMessage(
      will.topic,
      Buffer.from(will.topic),
      Buffer.from(will.payload, 'base64'),
      Buffer.from(will.properties, 'base64'),
      will.qos,
      will.retain,
      will.clientId,
      this.#broker.clock.nowMs(),
      0,
    );
    publishMessage(space, message, this.#untilKept(key, space, message));
  }

  /** Who is online has had it; the others get it once the disk takes it. */
  #untilKept(key: string, space: InstanceSpace, message: KeptMessage): Acknowledging {
    return {
      settle: (fault) => {
        if (fault === undefined) return;
        this.#broker.refusedWrites.again(message.bytes, () => {
          // With the row, which says that it is still to be sent: unless there is a newer one.
          if (!this.#hasWill(key, space, message.publisher)) this.#write(key, undefined);
          keepAgain(space, message, this.#untilKept(key, space, message));
        });
      },
    };
  }

  #hasWill(key: string, space: InstanceSpace, clientId: string): boolean {
    return this.#pending.has(key) || space.online.get(clientId)?.connection?.will !== undefined;
  }

  async #read(key: string): Promise<StoredWill | undefined> {
    const write = this.#underWay.get(key);
    if (write !== undefined) return write.will;
    const row = await this.#table.get(key);
    return row && (JSON.parse(Buffer.from(row.value).toString()) as StoredWill);
  }

  /**
   * `undefined`: it is sent or cancelled. Nothing waits for it, but a crash a moment later must not
   * bring back what was cancelled.
   */
  #write(key: string, will: StoredWill | undefined, decided?: () => void): void {
    const write: RowWrite = { will };
    this.#underWay.set(key, write);
    const value = will && Buffer.from(JSON.stringify(will));
    const bytes = WAITING_BYTES + key.length + (value?.length ?? 0);
    this.#table.write(key, value, {
      settled: (fault) => {
        decided?.();
        if (this.#underWay.get(key) !== write) return; // there is a newer one
        const waits =
          fault !== undefined &&
          this.#broker.refusedWrites.again(bytes, () => this.#writeAgain(key, write));
        if (!waits) this.#underWay.delete(key);
      },
    });
  }

  #writeAgain(key: string, write: RowWrite): void {
    if (this.#underWay.get(key) === write) this.#write(key, write.will);
  }
}

interface RowWrite {
  readonly will: StoredWill | undefined;
}
