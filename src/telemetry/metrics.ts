/**
 * What is counted: one object of plain numbers that hot paths add to, and one table that says
 * what each number means. `docs/metrics.md` is generated from the table.
 */

export class Metrics {
  connectionsOpened = 0;
  connectionsClosed = 0;
  connectsAccepted = 0;
  connectsRefused = 0;
  sessionsResumed = 0;
  sessionsExpired = 0;
  sessionsTakenOver = 0;
  packetsReceived = 0;
  bytesReceived = 0;
  messagesReceivedQos0 = 0;
  messagesReceivedQos1 = 0;
  messagesReceivedQos2 = 0;
  messagesSentQos0 = 0;
  messagesSentQos1 = 0;
  messagesSentQos2 = 0;
  messagesLogged = 0;
  messagesRefused = 0;
  messagesUnmatched = 0;
  messagesExpired = 0;
  messagesRetained = 0;
  droppedQos0SlowSubscriber = 0;
  droppedPacketTooLarge = 0;
  droppedNotAuthorized = 0;
  droppedNoMember = 0;
  droppedRefusedByDisk = 0;
  droppedOverLimit = 0;
  subscriptionsRefused = 0;
  clientsExpelled = 0;
  slowSubscribersDisconnected = 0;
  cursorsFellOff = 0;
  cursorsLagging = 0;
  publishersPaused = 0;
  willsPublished = 0;
  keepAliveTimeouts = 0;
  handshakeTimeouts = 0;
  protocolViolations = 0;
  violationsMalformedPacket = 0;
  violationsProtocolError = 0;
  violationsVersion = 0;
  violationsClientId = 0;
  violationsTopicName = 0;
  violationsTopicAlias = 0;
  violationsReceiveMaximum = 0;
  violationsPacketTooLarge = 0;
  violationsWebSocketFrame = 0;
  violationsOther = 0;
  doorSocketLimit = 0;
  doorProxyHeader = 0;
  doorTlsHandshake = 0;
  doorClientCertificate = 0;
  doorHttpRequest = 0;
  doorAcceptFailures = 0;
  overloadRefusals = 0;
  bugs = 0;
  loopLatenessMs = 0;
}

/** What each counter means, in the order of the documentation. */
export const METRICS: Readonly<Record<keyof Metrics, string>> = {
  connectionsOpened: 'connections handed over by the doors',
  connectionsClosed: 'connections that have ended',
  connectsAccepted: 'CONNECT packets answered with success',
  connectsRefused: 'CONNECT packets refused, for whatever reason',
  sessionsResumed: 'connections that found their session stored',
  sessionsExpired: 'stored sessions removed because their expiry interval was over',
  sessionsTakenOver: 'connections closed because their client identifier connected again',
  packetsReceived: 'packets received, of every type',
  bytesReceived: 'bytes received',
  messagesReceivedQos0: 'PUBLISH packets received at QoS 0',
  messagesReceivedQos1: 'PUBLISH packets received at QoS 1',
  messagesReceivedQos2: 'PUBLISH packets received at QoS 2, repetitions left out',
  messagesSentQos0: 'PUBLISH packets sent at QoS 0',
  messagesSentQos1: 'PUBLISH packets sent at QoS 1',
  messagesSentQos2: 'PUBLISH packets sent at QoS 2',
  messagesLogged: 'messages appended to the log because a durable subscriber must get them',
  messagesRefused: 'messages refused because the store could not take them',
  messagesUnmatched: 'messages that no subscription matched',
  messagesExpired: 'deliveries left out because the message had expired',
  messagesRetained: 'retained messages stored or cleared',
  droppedQos0SlowSubscriber: 'QoS 0 deliveries dropped because the subscriber reads too slowly',
  droppedPacketTooLarge: "deliveries dropped because they exceed the client's Maximum Packet Size",
  droppedNotAuthorized: 'messages dropped because the publisher may not publish to the topic',
  droppedNoMember: 'messages for a shared group with no member to take them',
  droppedRefusedByDisk: 'wills that the disk refused, too many to be written again',
  droppedOverLimit: "messages refused because of the instance's topics or limits",
  subscriptionsRefused: 'subscriptions refused, for whatever reason',
  clientsExpelled: 'connections ended because their right to be there ended',
  slowSubscribersDisconnected: 'transient sessions ended because their QoS 1/2 queue was full',
  cursorsFellOff: 'sessions that lost messages to retention before they read them',
  cursorsLagging: 'times a session that was online fell back to reading the log',
  publishersPaused: 'times a publisher was not read from because its subscribers were behind',
  willsPublished: 'will messages published',
  keepAliveTimeouts: 'connections closed because the client was silent for too long',
  handshakeTimeouts: 'connections closed because no CONNECT came in time',
  protocolViolations: 'connections closed because the client broke the protocol; by kind:',
  violationsMalformedPacket: 'a packet is not encoded as MQTT says (0x81)',
  violationsProtocolError:
    'a packet that is out of place, or fields that exclude each other (0x82)',
  violationsVersion: 'CONNECT of a protocol or version that does not exist (0x84)',
  violationsClientId: 'a client identifier that the version does not allow (0x85)',
  violationsTopicName: 'a topic name that is none (0x90)',
  violationsTopicAlias: 'a topic alias beyond the maximum (0x94)',
  violationsReceiveMaximum: 'more publishes open than the Receive Maximum (0x93)',
  violationsPacketTooLarge: 'a packet beyond the maximum size (0x95)',
  violationsWebSocketFrame: 'no WebSocket frame, or one that is not binary',
  violationsOther: 'anything else',
  doorSocketLimit: 'connections closed because the process holds as many sockets as it may',
  doorProxyHeader: 'connections closed because the PROXY header was missing or bad',
  doorTlsHandshake: 'TLS handshakes that failed',
  doorClientCertificate: 'TLS connections closed because of the certificate of the client',
  doorHttpRequest: 'HTTP requests refused, for they were not for a WebSocket of ours',
  doorAcceptFailures: 'connections that the system could not give us',
  overloadRefusals: 'CONNECT packets refused because of rate, connection count or overload',
  bugs: 'broken invariants of our own: please report them',
  loopLatenessMs: 'how late the event loop was when last looked at, in milliseconds (a gauge)',
};
