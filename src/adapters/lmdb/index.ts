/** The embedded durable engine. */
export { ENGINE_LIMITS, LMDB_LIMITS, type LmdbLimits } from './limits.ts';
export { type LmdbEngineOptions, openLmdbEngine } from './lmdb-engine.ts';
