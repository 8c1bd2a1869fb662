/**
 * `Fabric`: live traffic between nodes by interest in topic filters, and who is alive.
 * On a single node it has nobody to talk to.
 *
 * Rules, each shown by `test/contracts/fabric-contract.ts`:
 *
 * - [FA1] A message published on one node reaches each other node with a matching interest
 *   once, however many of its filters match, and never the node that published it.
 * - [FA2] Messages of one node arrive in the order of its publishes.
 * - [FA3] Interest counts from the moment `interest` has settled on every live node.
 * - [FA4] Without interest nothing arrives.
 * - [FA5] `request` answers what the named node's handler answered, or fails with
 *   `serverUnavailable` where that node is gone or does not answer in time.
 * - [FA6] `nodes` lists the live nodes, this one first; listeners hear of each change once.
 */

export interface FabricMessage {
  readonly instance: string;
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly properties: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly publisher: string;
}

export interface Fabric {
  /** This node's interest: `wanted` false withdraws it. */
  interest(instance: string, filter: string, wanted: boolean): Promise<void>;
  publish(message: FabricMessage): void;
  /** Who hears what other nodes publish. One listener. */
  onMessage(listener: (message: FabricMessage) => void): void;
  request(node: string, body: Uint8Array): Promise<Uint8Array>;
  onRequest(handler: (body: Uint8Array) => Promise<Uint8Array>): void;
  nodes(): readonly string[];
  onNodes(listener: (nodes: readonly string[]) => void): void;
  close(): Promise<void>;
}
