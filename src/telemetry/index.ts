/** What happened: counters today, typed events and traces where the design draws them. */
export { METRICS, Metrics } from './metrics.ts';
