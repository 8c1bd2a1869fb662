/** What `pub` and `sub` share: where to connect, as whom, and how; `bench` shares the whom. */
import {
  anyTextKind,
  choiceKind,
  durationKind,
  optional,
  type OptionTable,
  readEnvironment,
  readFlags,
  type Resolved,
  resolveOptions,
  type ServerUrl,
  switchKind,
  textKind,
  UsageError,
  urlKind,
  wholeKind,
} from '#config';
import { CONNECT_PROPERTY_DEFAULTS, type ConnectPacket, type ProtocolVersion } from '#wire';
import { openByteStream } from './byte-stream.ts';
import { Client, type ClientOptions } from './client.ts';
import { type CommandIo, orStopped } from './io.ts';

/** As whom to connect. */
export interface Credentials {
  readonly user: string | undefined;
  readonly password: string | undefined;
}

export interface ConnectOptions extends Credentials {
  readonly url: ServerUrl;
  readonly clientId: string | undefined;
  readonly protocol: '3' | '4' | '5';
  readonly clean: boolean;
  readonly sessionExpiry: number | undefined;
  readonly keepAlive: number;
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly insecure: boolean;
  readonly help: boolean;
}

const GROUP = 'Connection';
const EXPIRY_MAX_MS = 4_294_967_294_000;

export const CREDENTIAL_OPTIONS: OptionTable<Credentials> = {
  user: {
    kind: optional(textKind('NAME')),
    short: 'u',
    environment: true,
    group: GROUP,
    text: 'User name: the access key. TERNMQ_USER sets it as well.',
  },
  password: {
    kind: optional(anyTextKind('TEXT')),
    short: 'P',
    environment: true,
    secret: true,
    group: GROUP,
    text: 'Password: the secret. Others can see flags: better set TERNMQ_PASSWORD.',
  },
};

export const CONNECT_OPTIONS: OptionTable<ConnectOptions> = {
  url: {
    kind: urlKind,
    byDefault: 'mqtt://127.0.0.1:1883',
    environment: true,
    group: GROUP,
    text: 'Broker to connect to. TERNMQ_URL sets it as well.',
  },
  ...CREDENTIAL_OPTIONS,
  clientId: {
    kind: optional(textKind('ID')),
    short: 'i',
    group: GROUP,
    text: 'Client identifier. Without one, a random one.',
  },
  protocol: {
    kind: choiceKind(['3', '4', '5']),
    byDefault: '5',
    group: GROUP,
    text: 'MQTT version: 3 is 3.1, 4 is 3.1.1, 5 is 5.0.',
  },
  sessionExpiry: {
    kind: optional(durationKind(0, EXPIRY_MAX_MS)),
    group: GROUP,
    text: 'Keep the session this long after leaving, and take up one that is there.',
  },
  clean: {
    kind: switchKind,
    byDefault: 'false',
    group: GROUP,
    text: 'With --session-expiry: throw away a session that is there.',
  },
  keepAlive: {
    kind: wholeKind(0, 65_535, 'SECONDS'),
    byDefault: '60',
    group: GROUP,
    text: 'Let the broker notice after this time that we are gone; 0: never.',
  },
  ca: {
    kind: optional(textKind('FILE')),
    group: GROUP,
    text: 'Trust the certificates in this PEM file (mqtts, wss).',
  },
  cert: {
    kind: optional(textKind('FILE')),
    group: GROUP,
    text: 'Show this client certificate (PEM).',
  },
  key: {
    kind: optional(textKind('FILE')),
    group: GROUP,
    text: 'Private key of the client certificate (PEM).',
  },
  insecure: {
    kind: switchKind,
    byDefault: 'false',
    group: GROUP,
    text: 'Do not check the certificate of the broker. For trying things out only.',
  },
  help: {
    kind: switchKind,
    byDefault: 'false',
    short: 'h',
    group: GROUP,
    text: 'Show this.',
  },
};

/** Reads a command's options from its words and the environment. */
export function readCommand<T extends ConnectOptions>(
  table: OptionTable<T>,
  argv: readonly string[],
  io: CommandIo,
): Resolved<T> {
  const { source, operands } = readFlags(table, argv);
  if (operands.length > 0) {
    throw new UsageError([`unexpected word ${JSON.stringify(operands[0])}: see --help`]);
  }
  return resolveOptions(table, [source, readEnvironment(table, io.environment)]);
}

/** Connects as the options say. */
export async function openClient(
  options: ConnectOptions,
  io: CommandIo,
  onMessage?: ClientOptions['onMessage'],
): Promise<Client> {
  const protocolVersion = Number(options.protocol) as ProtocolVersion;
  const subprotocol = protocolVersion === 3 ? 'mqttv3.1' : 'mqtt';
  const connect = connectPacket(options, protocolVersion, io);
  const stream = await orStopped(openByteStream(options.url, options, subprotocol), io);
  const { clock } = io;
  const opening = Client.open(
    onMessage === undefined ? { stream, clock, connect } : { stream, clock, connect, onMessage },
  );
  return await orStopped(opening, io);
}

function connectPacket(
  options: ConnectOptions,
  protocolVersion: ProtocolVersion,
  io: CommandIo,
): ConnectPacket {
  const expiryMs = options.sessionExpiry ?? 0;
  const clean = options.clean || expiryMs === 0;
  if (!clean && options.clientId === undefined) {
    throw new UsageError(['--session-expiry needs --client-id: the session is kept under it']);
  }
  const random = Buffer.from(io.random.bytes(6)).toString('hex');
  return {
    protocolVersion,
    bridge: false,
    cleanStart: protocolVersion === 5 ? clean : expiryMs === 0,
    keepAliveSeconds: options.keepAlive,
    clientId: options.clientId ?? `ternmq-${random}`,
    userName: options.user,
    password: options.password === undefined ? undefined : Buffer.from(options.password),
    will: undefined,
    properties: {
      ...CONNECT_PROPERTY_DEFAULTS,
      sessionExpiryInterval: expiryMs === 0 ? undefined : Math.ceil(expiryMs / 1000),
    },
  };
}
