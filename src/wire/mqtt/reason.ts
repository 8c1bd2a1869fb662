/**
 * The reason codes of MQTT 5.0 as data (section 2.4): who may say what in which packet.
 *
 * Codes below 0x80 mean success. PUBACK, PUBREC, PUBREL, PUBCOMP and DISCONNECT from a client
 * with a code that is not theirs are Protocol Errors [MQTT-3.4.2-1] [MQTT-3.14.2-1].
 */
import type { PropertyPlace, Sender } from './properties.ts';

export interface ReasonRow {
  readonly code: number;
  readonly name: string;
  /** The packets a broker, and the packets a client, may say it in. */
  readonly server: readonly PropertyPlace[];
  readonly client: readonly PropertyPlace[];
}

/** Codes that are said by name in more than one place. */
export const Reason = {
  success: 0x00,
  disconnectWithWill: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  continueAuthentication: 0x18,
  reauthenticate: 0x19,
  unspecifiedError: 0x80,
  packetIdentifierInUse: 0x91,
  packetIdentifierNotFound: 0x92,
} as const;

const N: readonly PropertyPlace[] = [];
const A: readonly PropertyPlace[] = ['auth'];
const S: readonly PropertyPlace[] = ['suback'];
const U: readonly PropertyPlace[] = ['unsuback'];
const C: readonly PropertyPlace[] = ['connack'];
const D: readonly PropertyPlace[] = ['disconnect'];
const CD: readonly PropertyPlace[] = ['connack', 'disconnect'];
const PP: readonly PropertyPlace[] = ['puback', 'pubrec'];
const PPD: readonly PropertyPlace[] = ['puback', 'pubrec', 'disconnect'];
const RC: readonly PropertyPlace[] = ['pubrel', 'pubcomp'];
const SD: readonly PropertyPlace[] = ['suback', 'disconnect'];
const SUD: readonly PropertyPlace[] = ['suback', 'unsuback', 'disconnect'];
const PPSU: readonly PropertyPlace[] = ['puback', 'pubrec', 'suback', 'unsuback'];
const CPP: readonly PropertyPlace[] = ['connack', 'puback', 'pubrec', 'disconnect'];
const CPPS: readonly PropertyPlace[] = ['connack', 'puback', 'pubrec', 'suback', 'disconnect'];
const BROKEN: readonly PropertyPlace[] = [...CPPS, 'unsuback'];
const ACKS: readonly PropertyPlace[] = ['puback', 'pubrec', 'pubrel', 'pubcomp'];
const ENDED: readonly PropertyPlace[] = [...ACKS, 'disconnect'];
const DONE: readonly PropertyPlace[] = [
  ...ACKS,
  'connack',
  'suback',
  'unsuback',
  'disconnect',
  'auth',
];

/** Every reason code by ascending number. */
// biome-ignore format: a table reads in columns
export const REASONS: readonly ReasonRow[] = [
  { code: 0x00, name: 'Success',                                server: DONE,   client: ENDED },
  { code: 0x01, name: 'Granted QoS 1',                          server: S,      client: N },
  { code: 0x02, name: 'Granted QoS 2',                          server: S,      client: N },
  { code: 0x04, name: 'Disconnect with Will Message',           server: N,      client: D },
  { code: 0x10, name: 'No matching subscribers',                server: PP,     client: N },
  { code: 0x11, name: 'No subscription existed',                server: U,      client: N },
  { code: 0x18, name: 'Continue authentication',                server: A,      client: A },
  { code: 0x19, name: 'Re-authenticate',                        server: N,      client: A },
  { code: 0x80, name: 'Unspecified error',                      server: BROKEN, client: PPD },
  { code: 0x81, name: 'Malformed Packet',                       server: CD,     client: D },
  { code: 0x82, name: 'Protocol Error',                         server: CD,     client: D },
  { code: 0x83, name: 'Implementation specific error',          server: BROKEN, client: PPD },
  { code: 0x84, name: 'Unsupported Protocol Version',           server: C,      client: N },
  { code: 0x85, name: 'Client Identifier not valid',            server: C,      client: N },
  { code: 0x86, name: 'Bad User Name or Password',              server: C,      client: N },
  { code: 0x87, name: 'Not authorized',                         server: BROKEN, client: PP },
  { code: 0x88, name: 'Server unavailable',                     server: C,      client: N },
  { code: 0x89, name: 'Server busy',                            server: CD,     client: N },
  { code: 0x8a, name: 'Banned',                                 server: C,      client: N },
  { code: 0x8b, name: 'Server shutting down',                   server: D,      client: N },
  { code: 0x8c, name: 'Bad authentication method',              server: CD,     client: N },
  { code: 0x8d, name: 'Keep Alive timeout',                     server: D,      client: N },
  { code: 0x8e, name: 'Session taken over',                     server: D,      client: N },
  { code: 0x8f, name: 'Topic Filter invalid',                   server: SUD,    client: N },
  { code: 0x90, name: 'Topic Name invalid',                     server: CPP,    client: PPD },
  { code: 0x91, name: 'Packet Identifier in use',               server: PPSU,   client: PP },
  { code: 0x92, name: 'Packet Identifier not found',            server: RC,     client: RC },
  { code: 0x93, name: 'Receive Maximum exceeded',               server: D,      client: D },
  { code: 0x94, name: 'Topic Alias invalid',                    server: D,      client: D },
  { code: 0x95, name: 'Packet too large',                       server: CD,     client: D },
  { code: 0x96, name: 'Message rate too high',                  server: D,      client: D },
  { code: 0x97, name: 'Quota exceeded',                         server: CPPS,   client: PPD },
  { code: 0x98, name: 'Administrative action',                  server: D,      client: D },
  { code: 0x99, name: 'Payload format invalid',                 server: CPP,    client: PPD },
  { code: 0x9a, name: 'Retain not supported',                   server: CD,     client: N },
  { code: 0x9b, name: 'QoS not supported',                      server: CD,     client: D },
  { code: 0x9c, name: 'Use another server',                     server: CD,     client: N },
  { code: 0x9d, name: 'Server moved',                           server: CD,     client: N },
  { code: 0x9e, name: 'Shared Subscriptions not supported',     server: SD,     client: N },
  { code: 0x9f, name: 'Connection rate exceeded',               server: CD,     client: N },
  { code: 0xa0, name: 'Maximum connect time',                   server: D,      client: N },
  { code: 0xa1, name: 'Subscription Identifiers not supported', server: SD,     client: N },
  { code: 0xa2, name: 'Wildcard Subscriptions not supported',   server: SD,     client: N },
];

const ROW_BY_CODE: readonly (ReasonRow | undefined)[] = Array.from({ length: 0x100 }, (_, code) =>
  REASONS.find((reason) => reason.code === code),
);

/** True where `sender` may say `code` in the packet at `place`. */
export function isReasonAllowed(code: number, place: PropertyPlace, sender: Sender): boolean {
  return ROW_BY_CODE[code]?.[sender].includes(place) ?? false;
}

/** The standard's name of the code, or its number where it has none. */
export function reasonName(code: number): string {
  return ROW_BY_CODE[code]?.name ?? `0x${code.toString(16).padStart(2, '0')}`;
}
