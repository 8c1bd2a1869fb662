/**
 * An instance: the owner of everything. Topic trees, sessions, retained messages, logs and
 * credentials of two instances never meet.
 *
 * One object per instance lives as long as the instance: whoever holds it sees its present
 * settings, synchronously. `version` grows with every change, so that what was derived from them
 * can be remembered.
 */

/** `open`: a plain MQTT broker; `compatible`: the product's naming rules and limits. */
export type InstanceKind = 'open' | 'compatible';

/** What a client meets that oversteps: `reject` a reason code, `close` the end of its connection. */
export type Overstepping = 'reject' | 'close';

/** What an instance allows; each can be set for itself. `Infinity`: no bound. */
export interface InstanceLimits {
  readonly connectionCountMax: number;
  readonly connectsPerSecondMax: number;
  /** Messages a second, both ways, each weighed by its QoS. */
  readonly messagesPerSecondMax: number;
  readonly subscriptionsPerClientMax: number;
  readonly subscriptionCountMax: number;
  readonly wildcardsPerTopicMax: number;
  readonly parentTopicCountMax: number;
  readonly groupCountMax: number;
  readonly topicCharsMax: number;
  readonly clientIdCharsMax: number;
  readonly payloadBytesMax: number;
  readonly packetBytesMax: number;
  readonly keepAliveSecondsMax: number;
  readonly sessionExpirySecondsMin: number;
  readonly sessionExpirySecondsMax: number;
  readonly offlineMessageCountMax: number;
  readonly offlineMessageAgeMs: number;
  readonly customAuthRowCountMax: number;
}

export interface Instance {
  /** `[A-Za-z0-9_-]{1,64}`; part of every stored key. */
  readonly id: string;
  readonly kind: InstanceKind;
  readonly name: string;
  readonly limits: InstanceLimits;
  readonly overstepping: Overstepping;
  /** Topics of messages from RocketMQ lose, and those to it gain, a slash at the end. */
  readonly trailingSlash: boolean;
  /** Ways of authentication with settings of their own, as JSON: `http`, `jwt`, `addresses`, ... */
  readonly authentication: Readonly<Record<string, unknown>>;
  readonly createdMs: number;
  readonly updatedMs: number;
  readonly version: number;
  /** Its public address is withdrawn: new connections are refused, live ones stay. */
  readonly withdrawn: boolean;
  /** It was removed: nobody connects, whoever is connected is disconnected. */
  readonly removed: boolean;
  hasGroup(groupId: string): boolean;
  hasParentTopic(parentTopic: string): boolean;
}

/** The instance of listeners that name none, unless another is set. */
export const DEFAULT_INSTANCE_ID = 'default';
