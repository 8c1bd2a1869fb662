/** Adapters that need nothing outside this process. */
export { createFabricHub, type FabricHub } from './fabric-hub.ts';
export { createLoneFabric } from './lone-fabric.ts';
export { openMemoryEngine } from './memory-engine.ts';
