/**
 * What an administrator may do to the broker: send a message, look at sessions, end connections.
 * The control door calls it; everything is by instance, and an unknown instance is a Fault.
 */
import { Fault, type FaultCode } from '#base';
import type { InstanceMetrics } from '#telemetry';
import { isTopicName } from '#wire';
import type { Broker } from './broker.ts';
import type { InstanceSpace } from './instance-space.ts';
import { KeptMessage, publisherShowing } from './kept-message.ts';
import { isMailbox } from './mailbox.ts';
import { publishMessage } from './publish.ts';
import type { StoredSubscription } from './subscription.ts';

const NO_BYTES = Buffer.alloc(0);
const MESSAGE_ID_BYTES = 16;

/** A client's session, online or not. */
export interface SessionView {
  readonly online: boolean;
  readonly address: string | undefined;
  readonly subscriptions: readonly { readonly filter: string; readonly qos: 0 | 1 | 2 }[];
}

/** Counters and gauges of one instance. */
export interface InstanceNumbers extends Readonly<InstanceMetrics> {
  readonly connections: number;
  /** Filters somebody holds, counted once each. */
  readonly filters: number;
  readonly logMessages: number;
  readonly logBytes: number;
}

/** What the client itself has subscribed to. */
function own(held: Iterable<StoredSubscription>): SessionView['subscriptions'] {
  return Array.from(held)
    .filter(({ text }) => !isMailbox(text))
    .map(({ text, qos }) => ({ filter: text, qos }));
}

function mayBeShown(topic: string): boolean {
  const bytes = Buffer.from(topic);
  return isTopicName(bytes, 0, bytes.length);
}

export class Administration {
  readonly #broker: Broker;

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  /**
   * Publishes at QoS 1; answers the message's identifier, 32 upper-case hex digits, once the
   * message is on disk for everybody durable who must get it. Devices see `shownTopic` (the
   * product's `mqttRealTopic`) where it is given.
   */
  async sendMessage(
    instanceId: string,
    topic: string,
    payload: Uint8Array,
    shownTopic?: string,
  ): Promise<string> {
    const broker = this.#broker;
    const space = this.#space(instanceId);
    const entry = space.topics.entry(topic);
    if (shownTopic !== undefined && !mayBeShown(shownTopic)) throw new Fault('topicNameInvalid');
    const fault = entry.reserved
      ? 'notAuthorized'
      : space.guard.publish(entry, payload.length, 1, false);
    if (fault !== undefined) throw new Fault(fault);
    const id = Buffer.from(broker.random.bytes(MESSAGE_ID_BYTES)).toString('hex').toUpperCase();
    const message = new KeptMessage(
      topic,
      Buffer.from(topic),
      Buffer.from(payload),
      NO_BYTES,
      1,
      false,
      shownTopic === undefined ? '' : publisherShowing(shownTopic),
      broker.clock.nowMs(),
      0,
    );
    await new Promise<void>((resolve, reject) => {
      const settle = (refused: Fault | undefined): void =>
        refused === undefined ? resolve() : reject(refused);
      publishMessage(space, message, { settle });
    });
    return id;
  }

  isOnline(instanceId: string, clientId: string): boolean {
    return this.#space(instanceId).online.has(clientId);
  }

  /** `undefined`: the client has no session. */
  async sessionState(instanceId: string, clientId: string): Promise<SessionView | undefined> {
    const space = this.#space(instanceId);
    const session = space.online.get(clientId);
    if (session !== undefined) {
      const address = session.connection?.transport.peer.address;
      return { online: true, address, subscriptions: own(session.subscriptions.values()) };
    }
    const stored = await this.#broker.sessions.read(space.sessionKey(clientId));
    if (stored === undefined || stored.mailboxOnly === true) return undefined;
    return { online: false, address: undefined, subscriptions: own(stored.subscriptions) };
  }

  /** False: that client is not connected. */
  closeConnection(
    instanceId: string,
    clientId: string,
    code: FaultCode = 'administrativeAction',
  ): boolean {
    const connection = this.#space(instanceId).online.get(clientId)?.connection;
    if (connection === undefined) return false;
    this.#broker.disconnect(connection, code);
    return true;
  }

  /** The instance's own numbers: its counters, and what it holds now. */
  metrics(instanceId: string): InstanceNumbers {
    const { metrics, online, tree, log } = this.#space(instanceId);
    const { count: logMessages, bytes: logBytes } = log.size();
    const gauges = { connections: online.size, filters: tree.filterCount, logMessages, logBytes };
    return Object.assign(gauges, metrics);
  }

  connectionCount(instanceId: string): number {
    return this.#space(instanceId).online.size;
  }

  #space(instanceId: string): InstanceSpace {
    const instance = this.#broker.instances.find(instanceId);
    if (instance === undefined) throw new Fault('instanceUnknown');
    return this.#broker.space(instance);
  }
}
