/**
 * The properties of MQTT 5.0 as data (section 2.2.2.2): what each is called, how it is written,
 * who may send it in which packet, and which values it may have.
 *
 * Decoders and encoders walk this table; only PUBLISH on its way in is read by hand
 * (`publish-properties.ts`).
 */
import type { UserProperties } from './packet.ts';

export type Sender = 'client' | 'server';

/** Where properties stand: a packet that has them, or the will inside CONNECT. */
export type PropertyPlace =
  | 'connect'
  | 'will'
  | 'connack'
  | 'publish'
  | 'puback'
  | 'pubrec'
  | 'pubrel'
  | 'pubcomp'
  | 'subscribe'
  | 'suback'
  | 'unsubscribe'
  | 'unsuback'
  | 'disconnect'
  | 'auth';

/** `flag`: a byte that is 0 or 1 and means no or yes. */
export type PropertyType =
  | 'byte'
  | 'flag'
  | 'u16'
  | 'u32'
  | 'varint'
  | 'string'
  | 'binary'
  | 'pair';

export interface PropertyRow {
  readonly id: number;
  readonly name: keyof PropertyValues;
  readonly type: PropertyType;
  /** Where a client, and where a broker, may send it. */
  readonly client: readonly PropertyPlace[];
  readonly server: readonly PropertyPlace[];
  /** Where it may stand more than once. */
  readonly repeatable: readonly PropertyPlace[];
  /** The least and the largest value allowed, where the type allows others. */
  readonly least?: number;
  readonly most?: number;
}

/** Every property there is, as values. */
export interface PropertyValues {
  payloadFormatIndicator?: number | undefined;
  messageExpiryInterval?: number | undefined;
  contentType?: string | undefined;
  responseTopic?: string | undefined;
  correlationData?: Uint8Array | undefined;
  subscriptionIdentifiers?: readonly number[] | undefined;
  sessionExpiryInterval?: number | undefined;
  assignedClientIdentifier?: string | undefined;
  serverKeepAlive?: number | undefined;
  authenticationMethod?: string | undefined;
  authenticationData?: Uint8Array | undefined;
  requestProblemInformation?: boolean | undefined;
  willDelayInterval?: number | undefined;
  requestResponseInformation?: boolean | undefined;
  responseInformation?: string | undefined;
  serverReference?: string | undefined;
  reasonString?: string | undefined;
  receiveMaximum?: number | undefined;
  topicAliasMaximum?: number | undefined;
  topicAlias?: number | undefined;
  maximumQos?: number | undefined;
  retainAvailable?: boolean | undefined;
  userProperties?: UserProperties | undefined;
  maximumPacketSize?: number | undefined;
  wildcardSubscriptionAvailable?: boolean | undefined;
  subscriptionIdentifiersAvailable?: boolean | undefined;
  sharedSubscriptionAvailable?: boolean | undefined;
}

/** Identifiers that code asks for by name. */
export const PropertyId = {
  payloadFormatIndicator: 0x01,
  messageExpiryInterval: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlationData: 0x09,
  subscriptionIdentifier: 0x0b,
  willDelayInterval: 0x18,
  topicAlias: 0x23,
  userProperty: 0x26,
} as const;

type Limits = Partial<Pick<PropertyRow, 'least' | 'most' | 'repeatable'>>;

const NONE: readonly PropertyPlace[] = [];
const MESSAGE: readonly PropertyPlace[] = ['publish', 'will'];
const PUBLISH: readonly PropertyPlace[] = ['publish'];
const CONNECT: readonly PropertyPlace[] = ['connect'];
const CONNACK: readonly PropertyPlace[] = ['connack'];
const ACKS: readonly PropertyPlace[] = ['puback', 'pubrec', 'pubrel', 'pubcomp'];
const SUBSCRIBE: readonly PropertyPlace[] = ['subscribe'];
const WILL: readonly PropertyPlace[] = ['will'];
const EXPIRY: readonly PropertyPlace[] = ['connect', 'disconnect'];
const FAREWELL: readonly PropertyPlace[] = ['connack', 'disconnect'];
const AUTH_CLIENT: readonly PropertyPlace[] = ['connect', 'auth'];
const AUTH_SERVER: readonly PropertyPlace[] = ['connack', 'auth'];
const REASONED_CLIENT: readonly PropertyPlace[] = [...ACKS, 'disconnect', 'auth'];
const REASONED_SERVER: readonly PropertyPlace[] = [
  'connack',
  'suback',
  'unsuback',
  ...REASONED_CLIENT,
];
const FROM_CLIENT: readonly PropertyPlace[] = [
  'connect',
  'will',
  'publish',
  'subscribe',
  'unsubscribe',
  'disconnect',
  'auth',
  ...ACKS,
];
const FROM_SERVER: readonly PropertyPlace[] = [
  'connack',
  'publish',
  'suback',
  'unsuback',
  'disconnect',
  'auth',
  ...ACKS,
];
const IDENTIFIERS: Limits = { least: 1, repeatable: PUBLISH };
const ANY_NUMBER: Limits = { repeatable: [...FROM_CLIENT, ...FROM_SERVER] };

/** The 27 properties by ascending identifier. */
// biome-ignore format: a table reads in columns
export const PROPERTIES: readonly PropertyRow[] = [
  row(0x01, 'payloadFormatIndicator',          'byte',   MESSAGE,         PUBLISH, { most: 1 }),
  row(0x02, 'messageExpiryInterval',           'u32',    MESSAGE,         PUBLISH),
  row(0x03, 'contentType',                     'string', MESSAGE,         PUBLISH),
  row(0x08, 'responseTopic',                   'string', MESSAGE,         PUBLISH),
  row(0x09, 'correlationData',                 'binary', MESSAGE,         PUBLISH),
  row(0x0b, 'subscriptionIdentifiers',         'varint', SUBSCRIBE,       PUBLISH, IDENTIFIERS),
  row(0x11, 'sessionExpiryInterval',           'u32',    EXPIRY,          CONNACK),
  row(0x12, 'assignedClientIdentifier',        'string', NONE,            CONNACK),
  row(0x13, 'serverKeepAlive',                 'u16',    NONE,            CONNACK),
  row(0x15, 'authenticationMethod',            'string', AUTH_CLIENT,     AUTH_SERVER),
  row(0x16, 'authenticationData',              'binary', AUTH_CLIENT,     AUTH_SERVER),
  row(0x17, 'requestProblemInformation',       'flag',   CONNECT,         NONE),
  row(0x18, 'willDelayInterval',               'u32',    WILL,            NONE),
  row(0x19, 'requestResponseInformation',      'flag',   CONNECT,         NONE),
  row(0x1a, 'responseInformation',             'string', NONE,            CONNACK),
  row(0x1c, 'serverReference',                 'string', NONE,            FAREWELL),
  row(0x1f, 'reasonString',                    'string', REASONED_CLIENT, REASONED_SERVER),
  row(0x21, 'receiveMaximum',                  'u16',    CONNECT,         CONNACK, { least: 1 }),
  row(0x22, 'topicAliasMaximum',               'u16',    CONNECT,         CONNACK),
  row(0x23, 'topicAlias',                      'u16',    PUBLISH,         PUBLISH, { least: 1 }),
  row(0x24, 'maximumQos',                      'byte',   NONE,            CONNACK, { most: 1 }),
  row(0x25, 'retainAvailable',                 'flag',   NONE,            CONNACK),
  row(0x26, 'userProperties',                  'pair',   FROM_CLIENT,     FROM_SERVER, ANY_NUMBER),
  row(0x27, 'maximumPacketSize',               'u32',    CONNECT,         CONNACK, { least: 1 }),
  row(0x28, 'wildcardSubscriptionAvailable',   'flag',   NONE,            CONNACK),
  row(0x29, 'subscriptionIdentifiersAvailable','flag',   NONE,            CONNACK),
  row(0x2a, 'sharedSubscriptionAvailable',     'flag',   NONE,            CONNACK),
];

const ROW_BY_ID: readonly (PropertyRow | undefined)[] = Array.from({ length: 0x2b }, (_, id) =>
  PROPERTIES.find((property) => property.id === id),
);

/** The table's row, or `undefined`: no such property. */
export function propertyRow(id: number): PropertyRow | undefined {
  return ROW_BY_ID[id];
}

function row(
  id: number,
  name: keyof PropertyValues,
  type: PropertyType,
  client: readonly PropertyPlace[],
  server: readonly PropertyPlace[],
  limits: Limits = {},
): PropertyRow {
  return { id, name, type, client, server, repeatable: NONE, ...limits };
}
