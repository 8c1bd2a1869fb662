/**
 * Every bound of the broker, once: name, unit, default, and what happens at the bound.
 * `docs/limits.md` is generated from the table; what runs takes the numbers from here.
 */
import { type LimitRow, limitRow } from '#base';

/** The bounds one broker runs with. Sizes in bytes, times in milliseconds. */
export interface Limits {
  readonly connectionCountMax: number;
  readonly connectsPerSecondMax: number;
  readonly connectsWaitingMax: number;
  readonly connectTimeoutMs: number;
  readonly packetBytesMax: number;
  readonly connectPacketBytesMax: number;
  readonly connectPartialFreeBytesMax: number;
  readonly connectPartialBytesMax: number;
  readonly partialFreeBytesMax: number;
  readonly partialBytesMax: number;
  readonly receiveMaximum: number;
  readonly inflightCountMax: number;
  readonly inflightIdentifierBytesMax: number;
  readonly pendingCountHigh: number;
  readonly pendingCountMax: number;
  readonly pendingBytesMax: number;
  readonly returnedCountMax: number;
  readonly returnedBytesMax: number;
  readonly readAheadBytesMax: number;
  readonly outboxBytesHigh: number;
  readonly outboxBytesMax: number;
  readonly outboxTotalBytesMax: number;
  readonly commitBytesHigh: number;
  readonly refusedBytesMax: number;
  readonly stallMs: number;
  readonly holdMs: number;
  readonly turnWorkMax: number;
  readonly latenessMaxMs: number;
  readonly topicAliasMaximum: number;
  readonly topicAliasBytesMax: number;
  readonly clientIdBytesMax: number;
  readonly subscriptionsPerSessionMax: number;
  readonly filterLevelsPerSessionMax: number;
  readonly filterBytesPerSessionMax: number;
  readonly mailboxCountMax: number;
  readonly topicCacheCountMax: number;
  readonly retainedReadsMax: number;
  readonly retainedHeldBytesMax: number;
  readonly retainedSweepRows: number;
  readonly sessionExpirySecondsMax: number;
  readonly validatePayloadFormat: boolean;
}

export const DEFAULT_LIMITS: Limits = {
  connectionCountMax: 1_000_000,
  connectsPerSecondMax: 20_000,
  connectsWaitingMax: 20_000,
  connectTimeoutMs: 10_000,
  packetBytesMax: 16 * 1024 * 1024,
  connectPacketBytesMax: 512 * 1024,
  connectPartialFreeBytesMax: 4 * 1024,
  connectPartialBytesMax: 32 * 1024 * 1024,
  partialFreeBytesMax: 32 * 1024,
  partialBytesMax: 256 * 1024 * 1024,
  receiveMaximum: 1024,
  inflightCountMax: 1024,
  inflightIdentifierBytesMax: 512 * 1024,
  pendingCountHigh: 128,
  pendingCountMax: 16_384,
  pendingBytesMax: 8 * 1024 * 1024,
  returnedCountMax: 4096,
  returnedBytesMax: 8 * 1024 * 1024,
  readAheadBytesMax: 64 * 1024 * 1024,
  outboxBytesHigh: 256 * 1024,
  outboxBytesMax: 1024 * 1024,
  outboxTotalBytesMax: 512 * 1024 * 1024,
  commitBytesHigh: 32 * 1024 * 1024,
  refusedBytesMax: 16 * 1024 * 1024,
  stallMs: 250,
  holdMs: 1000,
  turnWorkMax: 16_384,
  latenessMaxMs: 1000,
  topicAliasMaximum: 64,
  topicAliasBytesMax: 128 * 1024,
  clientIdBytesMax: 1024,
  subscriptionsPerSessionMax: 10_000,
  filterLevelsPerSessionMax: 131_072,
  filterBytesPerSessionMax: 1024 * 1024,
  mailboxCountMax: 1_000_000,
  topicCacheCountMax: 65_536,
  retainedReadsMax: 8,
  retainedHeldBytesMax: 64 * 1024,
  retainedSweepRows: 1000,
  sessionExpirySecondsMax: 0xffff_ffff,
  validatePayloadFormat: false,
};

/** The table behind `docs/limits.md`. */
export const LIMITS: readonly LimitRow[] = [
  row('connectionCountMax', 'connections', 'CONNECT is refused with 0x97 (3.x: 3)'),
  row('connectsPerSecondMax', 'CONNECTs/s', 'further ones wait their turn'),
  row('connectsWaitingMax', 'CONNECTs', 'further ones are refused with 0x9F (3.x: 3)'),
  row('connectTimeoutMs', 'ms', 'a socket without CONNECT is closed'),
  row('packetBytesMax', 'bytes', 'larger packets: DISCONNECT 0x95 (3.x: close)'),
  row('connectPacketBytesMax', 'bytes', 'a larger CONNECT: CONNACK 0x95 (3.x: close)'),
  row('connectPartialFreeBytesMax', 'bytes a socket', 'so much of a CONNECT is always taken'),
  row('connectPartialBytesMax', 'bytes, all sockets', 'larger ones: whoever holds most is refused'),
  row('partialFreeBytesMax', 'bytes a connection', 'so much of a packet is always taken, of each'),
  row('partialBytesMax', 'bytes, all connections', 'larger: DISCONNECT 0x97 to who holds most'),
  row('receiveMaximum', 'messages a client', 'more open QoS 1/2 publishes in 5.0: 0x93'),
  row('inflightCountMax', 'messages a session', 'further deliveries wait for acknowledgements'),
  row(
    'inflightIdentifierBytesMax',
    'bytes a session',
    'of subscription identifiers; further deliveries wait for acknowledgements',
  ),
  row('pendingCountHigh', 'messages a session', 'publishers to it alone are not read from'),
  row('pendingCountMax', 'messages a session', 'a transient session is ended with 0x97'),
  row('pendingBytesMax', 'bytes a session', 'a transient session is ended with 0x97'),
  row('returnedCountMax', 'messages a group', 'of members that left; not logged ones are dropped'),
  row('returnedBytesMax', 'bytes a group', 'of such messages in memory; further ones are dropped'),
  row('readAheadBytesMax', 'bytes, all sessions', 'of the log no more is read than windows take'),
  row('outboxBytesHigh', 'bytes a connection', 'publishers to it alone are not read from'),
  row('outboxBytesMax', 'bytes a connection', 'QoS 0 is dropped and counted'),
  row('outboxTotalBytesMax', 'bytes, all connections', 'QoS 0 is dropped at outboxBytesHigh'),
  row('commitBytesHigh', 'bytes', 'publishers that need a commit are not read from'),
  row('refusedBytesMax', 'bytes', 'wills that the disk refused; further ones are not kept'),
  row('stallMs', 'ms', 'a subscriber that took nothing for so long no longer holds publishers'),
  row('holdMs', 'ms', 'nor does one that held a publisher for so long, until it has caught up'),
  row('turnWorkMax', 'deliveries; a packet is 4 or more', 'further input waits for the next turn'),
  row('latenessMaxMs', 'ms', 'CONNECT is refused with 0x89 (3.x: 3) while the loop is so late'),
  row('topicAliasMaximum', 'aliases a connection', 'a larger alias: DISCONNECT 0x94'),
  row(
    'topicAliasBytesMax',
    'bytes of topics',
    "the client's aliases: DISCONNECT 0x97; ours: no more",
  ),
  row('clientIdBytesMax', 'bytes', 'a longer client identifier: CONNACK 0x85 (3.x: 2)'),
  row('subscriptionsPerSessionMax', 'subscriptions', 'further ones: SUBACK 0x97 (3.x: 0x80)'),
  row('filterLevelsPerSessionMax', 'levels of all filters', 'further ones: SUBACK 0x97 (0x80)'),
  row('filterBytesPerSessionMax', 'bytes of all filters', 'further ones: SUBACK 0x97 (0x80)'),
  row('mailboxCountMax', 'P2P receivers an instance', 'absent ones beyond: 0x10, nothing is kept'),
  row('topicCacheCountMax', 'topics an instance', 'the cache of matched topics is begun anew'),
  row('retainedReadsMax', 'reads of retained messages', 'further sessions wait their turn'),
  row(
    'retainedHeldBytesMax',
    'bytes a session',
    'the rest of a page is read again when it is sent',
  ),
  row('retainedSweepRows', 'rows a second', 'expired retained messages beyond are found later'),
  row('sessionExpirySecondsMax', 's', 'a longer expiry is cut, and CONNACK says so'),
];

function row(
  name: Exclude<keyof Limits, 'validatePayloadFormat'>,
  unit: string,
  policy: string,
): LimitRow {
  return limitRow(name, unit, DEFAULT_LIMITS[name], policy);
}
