/** The fabric of a single node: there is nobody else to talk to. */
import { Fault } from '#base';
import type { Fabric } from '#ports';

/** A fabric whose only node is `name`. */
export function createLoneFabric(name: string): Fabric {
  return {
    interest: async () => {},
    publish: () => {},
    onMessage: () => {},
    request: async (node) => {
      throw new Fault('serverUnavailable', `there is no node ${node}`);
    },
    onRequest: () => {},
    nodes: () => [name],
    onNodes: () => {},
    close: async () => {},
  };
}
