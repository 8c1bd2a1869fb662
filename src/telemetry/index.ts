/** What happened: counters today, typed events and traces where the design draws them. */
export { GAUGES, type Gauges } from './gauges.ts';
export { INSTANCE_METRICS, InstanceMetrics } from './instance-metrics.ts';
export { METRICS, Metrics } from './metrics.ts';
export { countViolation } from './violations.ts';
