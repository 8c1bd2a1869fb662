/** The broker's own numbers, as messages: `$SYS/broker/<metric>`, every ten seconds. */
import { type Gauges, METRICS, type Metrics } from '#telemetry';
import type { Broker } from './broker.ts';
import type { InstanceSpace } from './instance-space.ts';
import { KeptMessage } from './kept-message.ts';
import { publishMessage } from './publish.ts';

const NO_BYTES = Buffer.alloc(0);

/**
 * Says each number to whoever subscribes to it; costs nothing where nobody does. They are the
 * whole broker's: only the default instance hears them, and no other tenant.
 */
export function publishMetrics(broker: Broker): void {
  const space = broker.spaces.get(broker.defaultInstanceId);
  if (space === undefined || space.instance.kind !== 'open') return;
  const say = (name: string, value: number): void => {
    const topic = `$SYS/broker/${name}`;
    const entry = space.topics.entry(topic);
    if (space.topics.route(entry).empty) return;
    const payload = Buffer.from(String(value));
    const nowMs = broker.clock.nowMs();
    publishMessage(
      space,
      new KeptMessage(topic, entry.bytes, payload, NO_BYTES, 0, false, '', nowMs, 0),
    );
  };
  for (const name of Object.keys(METRICS) as (keyof Metrics)[]) say(name, broker.metrics[name]);
  for (const [name, value] of Object.entries(gaugesOf(broker, space))) say(name, value);
}

function gaugesOf(broker: Broker, space: InstanceSpace): Gauges {
  const log = space.log.size();
  return {
    connections: broker.connections.size,
    sessionsOnline: space.online.size,
    outboxBytes: broker.outboxTotal.bytes,
    logMessages: log.count,
    logBytes: log.bytes,
  };
}
