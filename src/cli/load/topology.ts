/** Who publishes where and who hears it, for each workload of steady flow. */
import type { LoadPlan } from './plan.ts';

export interface Topology {
  /** All of one length, so that all frames are of one size. */
  topicsOf(publisher: number): readonly string[];
  filterOf(subscriber: number): string;
  /** How many deliveries one message makes. */
  readonly deliveries: number;
}

const DIGITS = 5;

/** `7` as `00007`: topics of one workload are of one length. */
export function numbered(value: number): string {
  return String(value).padStart(DIGITS, '0');
}

/** The topics and filters of a workload. */
export function topologyOf(plan: LoadPlan): Topology {
  const { topicPrefix: prefix, subscribers } = plan;
  const own = (index: number): string => `${prefix}/${numbered(index)}`;
  switch (plan.workload) {
    case 'fan-in':
      return {
        topicsOf: (index) => [own(index)],
        filterOf: () => `${prefix}/+`,
        deliveries: subscribers,
      };
    case 'fan-out':
      return {
        topicsOf: () => [own(0)],
        filterOf: () => own(0),
        deliveries: subscribers,
      };
    case 'shared':
      return {
        topicsOf: (index) => [own(index)],
        filterOf: () => `$share/bench/${prefix}/+`,
        deliveries: 1,
      };
    case 'wildcards':
      return wildcardsOf(plan);
    case 'pairs':
    case 'trickle':
    case 'latency':
    case 'connect':
    case 'offline':
    case 'retained':
      return { topicsOf: (index) => [own(index)], filterOf: own, deliveries: 1 };
  }
}

/**
 * Topic `k` belongs to site `k mod subscribers`, and each site has one subscriber, by `+` or by
 * `#` in turn. A publisher's run of topics goes over all sites, so no two clients are a pair.
 */
function wildcardsOf(plan: LoadPlan): Topology {
  const { topicPrefix: prefix, subscribers, topics, publishers } = plan;
  const perPublisher = Math.max(1, Math.floor(topics / publishers));
  const topic = (index: number): string =>
    `${prefix}/${numbered(index % subscribers)}/${numbered(index)}/temperature`;
  return {
    topicsOf: (publisher) =>
      Array.from({ length: perPublisher }, (_, k) => topic(publisher * perPublisher + k)),
    filterOf: (subscriber) =>
      `${prefix}/${numbered(subscriber)}/${subscriber % 2 === 0 ? '+/temperature' : '#'}`,
    deliveries: 1,
  };
}
