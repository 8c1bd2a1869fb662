/**
 * The test harness: a broker process, and clients that speak bytes to it.
 */
export {
  againstPeer,
  type BrokerOptions,
  type BrokerProcess,
  type Scope,
  startBroker,
} from './broker-process.ts';
export {
  type ConnectParts,
  connectBytes,
  field,
  hex,
  packet,
  u16,
  u32,
  type Version,
  varint,
} from './bytes.ts';
export { WAIT_MS_MAX, within } from './deadline.ts';
export type { Received } from './frame-reader.ts';
export { type SharedBroker, sharedBroker } from './shared-broker.ts';
export { expectCut, expectRefusal } from './violation.ts';
export {
  type ConnectOptions,
  connectPacket,
  connectRaw,
  describe,
  introduce,
  openSocket,
  type PublishOptions,
  type Qos,
  type Sent,
  type Subscription,
  unique,
  WireClient,
} from './wire-client.ts';
