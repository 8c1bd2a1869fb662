/** Broken rules of the protocol, counted in all and by kind. */
import type { FaultCode } from '#base';
import type { Metrics } from './metrics.ts';

/** By the fault that a broken rule is answered with. */
const KINDS: { readonly [Code in FaultCode]?: keyof Metrics } = {
  malformedPacket: 'violationsMalformedPacket',
  protocolError: 'violationsProtocolError',
  unsupportedVersion: 'violationsVersion',
  clientIdNotValid: 'violationsClientId',
  topicNameInvalid: 'violationsTopicName',
  topicAliasInvalid: 'violationsTopicAlias',
  receiveMaximum: 'violationsReceiveMaximum',
  packetTooLarge: 'violationsPacketTooLarge',
};

export function countViolation(metrics: Metrics, code: FaultCode): void {
  metrics.protocolViolations++;
  metrics[KINDS[code] ?? 'violationsOther']++;
}
