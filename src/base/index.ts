/** Small tools with no knowledge of messaging. */
export { AssertionFailure, assert } from './assert.ts';
export { type Clock, showSecond, systemClock } from './clock.ts';
export { FAULTS, Fault, type FaultCode, type FaultRow } from './fault.ts';
export { type LimitRow, limitRow } from './limit-row.ts';
export { Timer, TimerWheel } from './timer-wheel.ts';
export {
  createLog,
  LOG_LEVELS,
  type Log,
  type LogFields,
  type LogLevel,
  silentLog,
} from './log.ts';
export { createSeededRandom, type Random, systemRandom } from './random.ts';
export { Slab } from './slab.ts';
