/**
 * Builds the house: the one place where the store, the broker and the doors meet, in the order
 * they depend on each other. What was opened is closed the other way round.
 */
import { openLmdbEngine } from '#adapters/lmdb';
import { openMemoryEngine } from '#adapters/memory';
import type { Clock, Log, Random } from '#base';
import { type Broker, DEFAULT_LIMITS, type Limits, openBroker } from '#broker';
import { type Settings, showUrl } from '#config';
import {
  type EdgeMetrics,
  type Listener,
  openListener,
  ReadGarbage,
  silentEdgeMetrics,
  SocketLimit,
  type TlsSettings,
} from '#edge';
import {
  type Authenticator,
  createAccessKeyAuthenticator,
  createFirstAccessKey,
  createOpenAuthenticator,
} from '#identity';
import { DEFAULT_INSTANCE } from '#instances';
import type { Engine } from '#ports';
import { Metrics } from '#telemetry';

export interface House {
  /** Where clients are served, with the ports that were taken. */
  readonly urls: readonly string[];
  /** Takes up what a running broker can. */
  reload(settings: Settings): Promise<void>;
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

/** Connections that are not yet the broker's (handshakes), over those that may be. */
const SOCKETS_OVER_CONNECTIONS = 1_024;

/** Opens everything, or nothing. */
export async function compose(ground: Ground): Promise<House> {
  const engine = await openEngine(ground);
  try {
    retain(engine, ground.settings);
    const metrics = new Metrics();
    const broker = await openBroker({
      engine,
      metrics,
      clock: ground.clock,
      random: ground.random,
      log: ground.log,
      authenticator: await createAuthenticator(engine, ground),
      limits: limitsOf(ground.settings),
    });
    return await openDoors(ground, engine, broker, metrics);
  } catch (error) {
    await engine.close();
    throw error;
  }
}

async function openEngine({ settings, clock, log }: Ground): Promise<Engine> {
  if (settings.memory) return openMemoryEngine({ clock });
  return await openLmdbEngine({ directory: settings.data, clock, log });
}

function retain(engine: Engine, settings: Settings): void {
  engine.log.instance(DEFAULT_INSTANCE.id).retain({
    ageMs: settings.retentionAge,
    bytesMax: settings.retentionBytes,
    countMax: settings.retentionCount,
  });
}

async function createAuthenticator(engine: Engine, ground: Ground): Promise<Authenticator> {
  if (ground.settings.open) return createOpenAuthenticator();
  const key = await createFirstAccessKey(engine.store, ground.random);
  if (key !== undefined) {
    ground.tell(
      'The first access key of this broker. It is shown once; only a hash of it is kept.\n' +
        `  user name  ${key.id}\n  password   ${key.secret}\n`,
    );
  }
  return createAccessKeyAuthenticator(engine.store, ground.random);
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

/** A WebSocket frame may hold the end of one packet and the next whole. */
const FRAME_SLACK_BYTES = 64 * 1024;

async function openDoors(
  ground: Ground,
  engine: Engine,
  broker: Broker,
  metrics: Metrics,
): Promise<House> {
  const { settings, clock, random, log } = ground;
  const listeners: Listener[] = [];
  const close = async (): Promise<void> => {
    for (const listener of listeners) listener.close();
    await broker.close();
    await engine.close();
  };
  const shared = {
    doorkeeper: broker,
    wheel: broker.wheel,
    clock,
    random,
    log,
    sockets: new SocketLimit(settings.maxConnections + SOCKETS_OVER_CONNECTIONS),
    garbage: new ReadGarbage(),
    metrics: countDoors(metrics),
    proxyProtocol: settings.proxyProtocol,
    frameBytesMax: settings.maxPacketSize + FRAME_SLACK_BYTES,
    ...tlsOf(settings),
  };
  try {
    for (const url of settings.listen) {
      listeners.push(await openListener({ ...shared, url: showUrl(url) }));
    }
  } catch (error) {
    for (const listener of listeners) listener.close();
    await broker.close();
    throw error;
  }
  return {
    urls: listeners.map((listener) => listener.url),
    reload: async (next) => {
      retain(engine, next);
      for (const listener of listeners) await listener.reloadCertificates();
    },
    close,
  };
}

function tlsOf(settings: Settings): { readonly tls?: TlsSettings } {
  const { tlsCert, tlsKey, tlsCa, tlsClientCert } = settings;
  if (tlsCert === undefined || tlsKey === undefined) return {};
  const files = {
    certificateFile: tlsCert,
    keyFile: tlsKey,
    clientCertificates: tlsClientCert,
  };
  return { tls: tlsCa === undefined ? files : { ...files, clientAuthorityFile: tlsCa } };
}

/** The doors' hooks, counted where the broker counts the same things. */
function countDoors(metrics: Metrics): EdgeMetrics {
  return {
    ...silentEdgeMetrics,
    refused: (_kind, reason) => {
      if (reason.endsWith('Timeout')) metrics.handshakeTimeouts++;
    },
    badFrame: () => {
      metrics.protocolViolations++;
    },
    bug: () => {
      metrics.bugs++;
    },
  };
}
