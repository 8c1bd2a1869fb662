/** MQTT.js as a device's program uses it; every packet that came is kept for tests to look at. */
import { createHmac } from 'node:crypto';
import mqtt, {
  type IClientOptions,
  type IConnackPacket,
  type IDisconnectPacket,
  type IPublishPacket,
  type MqttClient,
  type Packet,
} from 'mqtt';
import { within } from './deadline.ts';
import { until } from './until.ts';

const WAIT_MS_MAX = 10_000;

export interface Device {
  readonly mqtt: MqttClient;
  readonly packets: readonly Packet[];
  readonly connack: IConnackPacket;
  /** The next message on `topic`, waited for; those on other topics stay. */
  take(topic: string, limitMs?: number): Promise<IPublishPacket>;
  /** The return code of SUBACK. */
  subscribe(filter: string, qos?: 0 | 1): Promise<number>;
  /** The reason code of PUBACK where it is a refusal, else 0; 3.1.1 has none. */
  publish(topic: string, payload: string): Promise<number>;
  /** The DISCONNECT that came, once the connection is over; in 3.1.1 there is none. */
  ended(): Promise<IDisconnectPacket | undefined>;
}

/** What a broker answered that does not want this client. */
export class Refused extends Error {
  override readonly name = 'Refused';
  /** Of CONNACK. */
  readonly code: number;

  constructor(code: number) {
    super(`refused with ${code}`);
    this.code = code;
  }
}

/** Connects once and never again; rejects with `Refused` where a CONNACK says no. */
export async function connectDevice(
  scope: { after(cleanUp: () => void): void },
  url: string,
  options: IClientOptions,
): Promise<Device> {
  const client = mqtt.connect(url, {
    protocolVersion: 5,
    reconnectPeriod: 0,
    rejectUnauthorized: options.ca !== undefined,
    ...options,
  });
  scope.after(() => void client.end(true));
  const packets: Packet[] = [];
  const heard: IPublishPacket[] = [];
  const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
  client.on('packetreceive', (packet) => {
    packets.push(packet);
    if (packet.cmd === 'publish') heard.push(packet);
  });
  const connack = await new Promise<IConnackPacket>((resolve, reject) => {
    client.once('connect', resolve);
    client.once('error', (error) => {
      const { code } = error as { readonly code?: unknown };
      reject(typeof code === 'number' ? new Refused(code) : error);
    });
    client.once('close', () => reject(new Error('closed before it was connected')));
  });
  client.on('error', () => undefined);
  return {
    mqtt: client,
    packets,
    connack,
    take: async (topic, limitMs = WAIT_MS_MAX) => {
      const find = (): number => heard.findIndex((packet) => packet.topic === topic);
      const has = (): string => heard.map((packet) => packet.topic).join(', ') || 'nothing';
      await until(
        () => find() >= 0,
        () => `no message on ${topic}, but ${has()}`,
        limitMs,
      );
      return heard.splice(find(), 1)[0]!;
    },
    subscribe: (filter, qos = 1) => subscribe(client, packets, filter, qos),
    publish: (topic, payload) => publish(client, topic, payload),
    ended: async () => {
      await within(WAIT_MS_MAX, closed, () => `${client.options.clientId} is still connected`);
      return packets.find((packet) => packet.cmd === 'disconnect');
    },
  };
}

/** MQTT.js calls a refused filter an error and keeps the code to itself; the packet has it. */
async function subscribe(
  client: MqttClient,
  packets: readonly Packet[],
  filter: string,
  qos: 0 | 1,
): Promise<number> {
  const from = packets.length;
  const suback = (): Packet | undefined =>
    packets.slice(from).find((packet) => packet.cmd === 'suback');
  let failure: unknown;
  client.subscribe(filter, { qos }, (error) => (failure = error));
  await until(
    () => suback() !== undefined || !client.connected,
    () => `no SUBACK for ${filter}`,
  );
  const packet = suback();
  if (packet?.cmd !== 'suback') throw new Error(`closed without a SUBACK: ${String(failure)}`);
  const [granted] = packet.granted;
  return typeof granted === 'number' ? granted : -1;
}

async function publish(client: MqttClient, topic: string, payload: string): Promise<number> {
  try {
    const published = client.publishAsync(topic, payload, { qos: 1 });
    await within(WAIT_MS_MAX, published, () => `no PUBACK for ${topic}`);
    return 0;
  } catch (error) {
    const { code } = error as { readonly code?: unknown };
    if (typeof code === 'number') return code;
    throw error;
  }
}

/** A device that connects by Signature with an access key, over TCP. */
export async function connectSigned(
  scope: { after(cleanUp: () => void): void },
  url: string,
  key: { readonly keyId: string; readonly secret: string },
  instanceId: string,
  clientId: string,
): Promise<Device> {
  const username = `Signature|${key.keyId}|${instanceId}`;
  const password = signClientId(key.secret, clientId);
  return await connectDevice(scope, url, { clientId, username, password });
}

/** The password of Signature and DeviceCredential mode. */
export function signClientId(secret: string, clientId: string): string {
  return createHmac('sha1', secret).update(clientId).digest('base64');
}
