/**
 * Packets as the broker handles them, decoded: all but PUBLISH, whose bytes are read in place
 * (`publish-view.ts`) because nearly all traffic is PUBLISH.
 *
 * Field names are the standard's. Binary fields and raw property bytes are views of the bytes
 * that were fed in: borrowed, valid until the caller lets go of them.
 */

/** 3: MQTT 3.1, 4: MQTT 3.1.1, 5: MQTT 5.0. */
export type ProtocolVersion = 3 | 4 | 5;
export type Qos = 0 | 1 | 2;

export type UserProperties = readonly (readonly [name: string, value: string])[];

export const PacketType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  auth: 15,
} as const;

export interface ConnectPacket {
  readonly protocolVersion: ProtocolVersion;
  /** True where bit 7 of the level was set: a bridge, by common habit. */
  readonly bridge: boolean;
  /** Clean Session before 5.0. */
  readonly cleanStart: boolean;
  readonly keepAliveSeconds: number;
  readonly clientId: string;
  readonly userName: string | undefined;
  readonly password: Uint8Array | undefined;
  readonly will: Will | undefined;
  /** 5.0 only; the defaults elsewhere. */
  readonly properties: ConnectProperties;
}

export interface ConnectProperties {
  /** `undefined`: absent. */
  readonly sessionExpiryInterval: number | undefined;
  readonly receiveMaximum: number;
  /** `undefined`: no limit but the protocol's. */
  readonly maximumPacketSize: number | undefined;
  readonly topicAliasMaximum: number;
  readonly requestResponseInformation: boolean;
  readonly requestProblemInformation: boolean;
  readonly userProperties: UserProperties;
  readonly authenticationMethod: string | undefined;
  readonly authenticationData: Uint8Array | undefined;
}

export interface Will {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly willDelayInterval: number;
  /** The properties that travel with the message, as raw bytes: all but Will Delay Interval. */
  readonly publishProperties: Uint8Array;
}

export interface ConnackPacket {
  readonly sessionPresent: boolean;
  /** Reason code in 5.0, return code before it. */
  readonly reasonCode: number;
  readonly properties?: ConnackProperties;
}

export interface ConnackProperties {
  readonly sessionExpiryInterval?: number | undefined;
  readonly receiveMaximum?: number | undefined;
  readonly maximumQos?: 0 | 1 | undefined;
  readonly retainAvailable?: boolean | undefined;
  readonly maximumPacketSize?: number | undefined;
  readonly assignedClientIdentifier?: string | undefined;
  readonly topicAliasMaximum?: number | undefined;
  readonly reasonString?: string | undefined;
  readonly userProperties?: UserProperties | undefined;
  readonly wildcardSubscriptionAvailable?: boolean | undefined;
  readonly subscriptionIdentifiersAvailable?: boolean | undefined;
  readonly sharedSubscriptionAvailable?: boolean | undefined;
  readonly serverKeepAlive?: number | undefined;
  readonly responseInformation?: string | undefined;
  readonly serverReference?: string | undefined;
  readonly authenticationMethod?: string | undefined;
  readonly authenticationData?: Uint8Array | undefined;
}

export interface SubscribePacket {
  readonly packetId: number;
  readonly subscriptions: readonly SubscriptionRequest[];
  /** 0: none. */
  readonly subscriptionIdentifier: number;
  readonly userProperties: UserProperties;
}

export interface SubscriptionRequest {
  readonly filter: string;
  /** Badly written: refused in SUBACK on its own, the other filters of the packet stand. */
  readonly invalid: boolean;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
}

export interface UnsubscribePacket {
  readonly packetId: number;
  readonly filters: readonly string[];
  readonly userProperties: UserProperties;
}

/** SUBACK and UNSUBACK. Before 5.0 an UNSUBACK has no reason codes. */
export interface ListAckPacket {
  readonly packetId: number;
  readonly reasonCodes: readonly number[];
  readonly reasonString?: string | undefined;
  readonly userProperties?: UserProperties | undefined;
}

/** PUBACK, PUBREC, PUBREL, PUBCOMP. */
export interface AckPacket {
  readonly packetId: number;
  /** 0 before 5.0. */
  readonly reasonCode: number;
  readonly reasonString?: string | undefined;
  readonly userProperties?: UserProperties | undefined;
}

export interface DisconnectPacket {
  readonly reasonCode: number;
  readonly sessionExpiryInterval?: number | undefined;
  readonly reasonString?: string | undefined;
  readonly serverReference?: string | undefined;
  readonly userProperties?: UserProperties | undefined;
}

export interface AuthPacket {
  readonly reasonCode: number;
  readonly authenticationMethod: string | undefined;
  readonly authenticationData?: Uint8Array | undefined;
  readonly reasonString?: string | undefined;
  readonly userProperties?: UserProperties | undefined;
}

/** A PUBLISH as values: for wills, retained messages, tests and our own clients. */
export interface PublishPacket {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly dup: boolean;
  /** 0 at QoS 0. */
  readonly packetId: number;
  /** 5.0 only: property bytes without their length. */
  readonly properties: Uint8Array;
}
