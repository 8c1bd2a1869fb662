/**
 * Builds the house: the one place where the store, the broker and the doors meet, in the order
 * they depend on each other. What was opened is closed the other way round.
 */
import { openLmdbEngine } from '#adapters/lmdb';
import { openMemoryEngine } from '#adapters/memory';
import type { Clock, Log, Random } from '#base';
import {
  Administration,
  type Broker,
  clearInstance,
  DEFAULT_LIMITS,
  type Limits,
  openBroker,
} from '#broker';
import { type Settings, showUrl, showWebUrl } from '#config';
import { type Control, openControl } from '#control';
import {
  type CertificateDirectory,
  createTicketKeys,
  EDGE_LIMITS,
  type EdgeMetrics,
  type Listener,
  type ListenerOptions,
  openListener,
  ReadBlocks,
  ReadGarbage,
  type Refusal,
  silentEdgeMetrics,
  SocketLimit,
  type TlsSettings,
} from '#edge';
import {
  CERTIFICATE_TABLES,
  CUSTOM_AUTH_TABLES,
  DEVICE_CREDENTIAL_TABLES,
  SCRAM_USER_TABLE,
  TOKEN_TABLES,
} from '#identity';
import { type Instances, openInstances } from '#instances';
import type { Engine, LogRetention, Store } from '#ports';
import { countViolation, Metrics } from '#telemetry';
import { composeIdentities, type Identities } from './compose-identity.ts';

export interface House {
  /** Where clients are served, with the ports that were taken. */
  readonly urls: readonly string[];
  /** Takes up what a running broker can; true: it has other certificates now. */
  reload(settings: Settings): Promise<boolean>;
  /** Ends every connection politely, finishes what is under way, lets go of the disk. */
  close(): Promise<void>;
}

export interface Ground {
  readonly settings: Settings;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
  /** For what an operator must see once: the first access key. */
  readonly tell: (text: string) => void;
}

const EXPIRY_NEVER_SECONDS = 0xffff_ffff;

const LOOK_AT_GARBAGE_MS = 250;

/** Opens everything, or nothing. */
export async function compose(ground: Ground): Promise<House> {
  const { settings, clock, random, log } = ground;
  const engine = await openEngine(ground);
  const closing: (() => void | Promise<void>)[] = [() => engine.close()];
  const close = async (): Promise<void> => {
    for (const step of closing.toReversed()) await step();
  };
  try {
    const instances = await openInstances({
      store: engine.store,
      clock,
      random,
      log,
      defaultId: settings.defaultInstance,
      openDefault: settings.open,
      ownedTables: TABLES_BY_INSTANCE,
      clear: (id) => clearInstance(engine, id),
    });
    closing.push(() => instances.close());
    const parts = { settings, store: engine.store, instances, clock, random, log };
    const identities = await composeIdentities(parts);
    closing.push(() => identities.close());
    if (!settings.memory) tellFirstKey(ground, identities); // it is kept, whatever comes now
    const metrics = new Metrics();
    const broker = await openBroker({
      engine,
      metrics,
      clock,
      random,
      log,
      authenticator: identities.authenticator,
      instances,
      defaultInstanceId: settings.defaultInstance,
      limits: limitsOf(settings),
      retention: retentionOf(settings),
    });
    closing.push(() => broker.close());
    const administration = new Administration(broker);
    closeBlacklisted(identities, instances, administration);
    const ticketKeys = createTicketKeys({ clock, random });
    closing.push(() => ticketKeys.close());
    const garbage = new ReadGarbage();
    closing.push(clock.every(LOOK_AT_GARBAGE_MS, () => garbage.look()));
    const listeners = await openDoors(ground, broker, metrics, {
      certificates: namedCertificates(identities),
      ticketKeys,
      blocks: new ReadBlocks({ garbage }),
    });
    closing.push(() => listeners.forEach((listener) => listener.close()));
    const urls = listeners.map((listener) => listener.url);
    const inside = { store: engine.store, instances, identities, administration, urls };
    const control = await openControlDoor(ground, inside);
    if (control !== undefined) closing.push(() => control.close());
    if (settings.memory) tellFirstKey(ground, identities);
    return {
      urls: [...urls, ...(control?.urls ?? [])],
      reload: async (next) => {
        broker.retain(retentionOf(next));
        return await reloadCertificates(control ? [...listeners, control] : listeners);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** True: at least one door has other certificates now. */
async function reloadCertificates(
  doors: readonly { reloadCertificates(): Promise<boolean> }[],
): Promise<boolean> {
  let isOther = false;
  for (const door of doors) if (await door.reloadCertificates()) isOther = true;
  return isOther;
}

/** Tables whose keys begin with the instance's id: they go with it. */
const TABLES_BY_INSTANCE: readonly string[] = [
  'sessions',
  'cursors',
  'inbound',
  'retained-inflight',
  'wills',
  ...TOKEN_TABLES,
  ...DEVICE_CREDENTIAL_TABLES,
  ...CUSTOM_AUTH_TABLES,
  ...CERTIFICATE_TABLES,
  SCRAM_USER_TABLE,
];

async function openEngine({ settings, clock, log }: Ground): Promise<Engine> {
  if (settings.memory) return openMemoryEngine({ clock });
  return await openLmdbEngine({ directory: settings.data, clock, log });
}

function retentionOf(settings: Settings): LogRetention {
  return {
    ageMs: settings.retentionAge,
    bytesMax: settings.retentionBytes,
    countMax: settings.retentionCount,
  };
}

/** With `--open` and no control door nobody needs it, but it is made and may be wanted later. */
function tellFirstKey({ tell }: Ground, { firstKey }: Identities): void {
  if (firstKey === undefined) return;
  tell(
    'The admin access key of this broker. It is shown once; what is kept of it is sealed.\n' +
      `  user name  ${firstKey.id}\n  password   ${firstKey.secret}\n`,
  );
}

/** Whoever is put on the blacklist does not stay. */
function closeBlacklisted(
  { customAuth }: Identities,
  instances: Instances,
  administration: Administration,
): void {
  customAuth.onBlacklisted((instanceId, clientId) => {
    if (instances.find(instanceId) === undefined) return;
    administration.closeConnection(instanceId, clientId, 'clientBlacklisted');
  });
}

interface Inside {
  readonly store: Store;
  readonly instances: Instances;
  readonly identities: Identities;
  readonly administration: Administration;
  /** Where devices connect. */
  readonly urls: readonly string[];
}

async function openControlDoor(ground: Ground, inside: Inside): Promise<Control | undefined> {
  const { settings, clock, random, log } = ground;
  if (settings.control.length === 0) return undefined;
  const { store, instances, identities, administration, urls } = inside;
  return await openControl({
    urls: settings.control.map(showWebUrl),
    certificateFile: settings.controlCert,
    keyFile: settings.controlKey,
    store,
    log,
    clock,
    random,
    services: {
      ...identities,
      clock,
      random,
      instances,
      broker: administration,
      deviceEndpoints: urls,
    },
  });
}

function limitsOf(settings: Settings): Limits {
  const { maxPacketSize, sessionExpiryMax } = settings;
  const expirySeconds = Math.floor(sessionExpiryMax / 1_000);
  return {
    ...DEFAULT_LIMITS,
    connectionCountMax: settings.maxConnections,
    connectsPerSecondMax: settings.connectRate,
    packetBytesMax: maxPacketSize,
    connectPacketBytesMax: Math.min(DEFAULT_LIMITS.connectPacketBytesMax, maxPacketSize),
    receiveMaximum: settings.maxInflight,
    inflightCountMax: settings.maxInflight,
    sessionExpirySecondsMax: Math.min(expirySeconds, EXPIRY_NEVER_SECONDS),
    validatePayloadFormat: settings.validatePayloadFormat,
  };
}

/** What instances say of certificates, for TLS. */
function namedCertificates({ certificates }: Identities): CertificateDirectory {
  return {
    find: (serverName) => certificates.servers.find(serverName),
    mayBeRegistered: (certificate) => certificates.mayBeRegistered(certificate),
  };
}

async function openDoors(
  ground: Ground,
  broker: Broker,
  metrics: Metrics,
  parts: Pick<ListenerOptions, 'certificates' | 'ticketKeys' | 'blocks'>,
): Promise<Listener[]> {
  const { settings, clock, random, log } = ground;
  const listeners: Listener[] = [];
  const shared = {
    doorkeeper: broker,
    wheel: broker.wheel,
    clock,
    random,
    log,
    sockets: new SocketLimit(settings.maxConnections + EDGE_LIMITS.socketsOverConnections),
    metrics: countDoors(metrics),
    proxyProtocol: settings.proxyProtocol,
    ...parts,
  };
  try {
    for (const url of settings.listen) {
      const { instance, clientCert = settings.tlsClientCert } = url;
      const ownTls = tlsOf(settings, clientCert);
      listeners.push(
        await openListener({ ...shared, ...ownTls, url: showUrl(url), instanceId: instance }),
      );
    }
  } catch (error) {
    for (const listener of listeners) listener.close();
    throw error;
  }
  return listeners;
}

function tlsOf(
  { tlsCert, tlsKey, tlsCa }: Settings,
  clientCertificates: TlsSettings['clientCertificates'],
): { readonly tls?: TlsSettings } {
  if (tlsCert === undefined || tlsKey === undefined) return {};
  const files = {
    certificateFile: tlsCert,
    keyFile: tlsKey,
    clientCertificates,
  };
  return { tls: tlsCa === undefined ? files : { ...files, clientAuthorityFile: tlsCa } };
}

/** Who left by himself, or comes while the broker is stopping, is no refusal. */
const DOOR_COUNTERS: { readonly [Reason in Refusal]: keyof Metrics | undefined } = {
  socketLimit: 'doorSocketLimit',
  doorkeeper: undefined,
  proxyHeader: 'doorProxyHeader',
  proxyTimeout: 'handshakeTimeouts',
  tlsHandshake: 'doorTlsHandshake',
  tlsTimeout: 'handshakeTimeouts',
  clientCertificate: 'doorClientCertificate',
  httpRequest: 'doorHttpRequest',
  httpTimeout: 'handshakeTimeouts',
  gone: undefined,
};

/** What the doors count, beside what the broker does. */
function countDoors(metrics: Metrics): EdgeMetrics {
  return {
    ...silentEdgeMetrics,
    refused: (_kind, reason) => {
      const counter = DOOR_COUNTERS[reason];
      if (counter !== undefined) metrics[counter]++;
    },
    badFrame: () => {
      countViolation(metrics, 'badFrame');
    },
    acceptFailed: () => {
      metrics.doorAcceptFailures++;
    },
    bug: () => {
      metrics.bugs++;
    },
  };
}
