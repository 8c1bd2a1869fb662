/** Broken rules of the protocol, counted in all and by kind. */
import type { FaultCode } from '#base';
import type { Metrics } from './metrics.ts';

/** What a broken rule is answered with; or the frame was no MQTT at all. */
type Violation = FaultCode | 'badFrame';

const KINDS: { readonly [Kind in Violation]?: keyof Metrics } = {
  malformedPacket: 'violationsMalformedPacket',
  protocolError: 'violationsProtocolError',
  unsupportedVersion: 'violationsVersion',
  clientIdNotValid: 'violationsClientId',
  topicNameInvalid: 'violationsTopicName',
  topicAliasInvalid: 'violationsTopicAlias',
  receiveMaximum: 'violationsReceiveMaximum',
  packetTooLarge: 'violationsPacketTooLarge',
  badFrame: 'violationsWebSocketFrame',
};

export function countViolation(metrics: Metrics, violation: Violation): void {
  metrics.protocolViolations++;
  metrics[KINDS[violation] ?? 'violationsOther']++;
}
