/**
 * Everything an operator can set, once: flags, environment, file, `--help`, `--print-config`
 * and `docs/config.md` all come from this table.
 */
import {
  choiceKind,
  durationKind,
  instanceKind,
  isLoopback,
  optional,
  orNone,
  type ListenUrl,
  showUrl,
  showWebUrl,
  sizeKind,
  switchKind,
  textKind,
  urlsKind,
  type WebUrl,
  webUrlsKind,
  wholeKind,
} from './kinds.ts';
import { type Option, type OptionTable, type Resolved, UsageError } from './options.ts';

/** What a broker is started with. A bound of Infinity is none. */
export interface Settings {
  readonly config: string | undefined;
  readonly printConfig: boolean;
  readonly help: boolean;
  readonly listen: readonly ListenUrl[];
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  readonly tlsCa: string | undefined;
  readonly tlsClientCert: 'off' | 'optional' | 'required';
  readonly proxyProtocol: boolean;
  readonly control: readonly WebUrl[];
  readonly controlCert: string | undefined;
  readonly controlKey: string | undefined;
  readonly adminKeyFile: string | undefined;
  readonly defaultInstance: string;
  readonly open: boolean;
  readonly openToNetwork: boolean;
  readonly data: string;
  readonly memory: boolean;
  readonly retentionAge: number;
  readonly retentionBytes: number;
  readonly retentionCount: number;
  readonly sessionExpiryMax: number;
  readonly maxConnections: number;
  readonly connectRate: number;
  readonly maxPacketSize: number;
  readonly maxInflight: number;
  readonly validatePayloadFormat: boolean;
  readonly logLevel: 'error' | 'warn' | 'info' | 'debug';
}

const SECOND = 1_000;
const DAY = 86_400 * SECOND;
const EXPIRY_MAX = 4_294_967_294 * SECOND; // the largest Session Expiry Interval that ends
const PACKET_MAX = 268_435_460; // the largest packet MQTT can express, its header included

function everywhere<T>(option: Omit<Option<T>, 'environment' | 'file'>): Option<T> {
  return { ...option, environment: true, file: true };
}

const DOORS = 'Where clients connect';
const CONTROL = 'The control API';
const WHO = 'Who may connect';
const STORE = 'What is kept';
const LIMITS = 'Limits';
const RUNNING = 'Running';

/** The table of settings. */
export const SETTINGS: OptionTable<Settings> = {
  listen: everywhere({
    kind: urlsKind,
    byDefault: 'mqtt://127.0.0.1:1883',
    group: DOORS,
    text: 'Serve clients here: mqtt, mqtts, ws or wss. Repeat it for several doors.',
    more:
      'Port 0 takes a free port, which the ready line tells. The ports are 1883, 8883, 8083 and ' +
      '8084 where the URL names none; the path of a WebSocket is `/mqtt` where it names none. In ' +
      'the environment, separate several with spaces or commas. `?instance=ID` says where ' +
      'clients of this listener go that name no instance, `?client-cert=required` (or ' +
      '`optional`, `off`) what `tls-client-cert` says for the others; `&` joins the two.',
  }),
  tlsCert: everywhere({
    kind: optional(textKind('FILE')),
    group: DOORS,
    text: 'Certificate chain in PEM, for mqtts and wss.',
    more: 'Read again on SIGHUP and soon after it changes: certificates renew without a restart.',
  }),
  tlsKey: everywhere({
    kind: optional(textKind('FILE')),
    group: DOORS,
    text: 'Private key of the certificate in PEM.',
    more: 'Read again on SIGHUP and soon after it changes: certificates renew without a restart.',
  }),
  tlsCa: everywhere({
    kind: optional(textKind('FILE')),
    group: DOORS,
    text: 'Certificates in PEM of those who may sign client certificates.',
    more: 'Read again like the certificate.',
  }),
  tlsClientCert: everywhere({
    kind: choiceKind(['off', 'optional', 'required']),
    byDefault: 'off',
    group: DOORS,
    text: 'Whether clients show a certificate of their own.',
  }),
  proxyProtocol: everywhere({
    kind: switchKind,
    byDefault: 'false',
    group: DOORS,
    text: 'Expect a PROXY protocol header (v1 or v2) before every connection.',
    more:
      'For a broker behind a load balancer: the header carries the address of the client. With ' +
      'this on, a connection without the header is closed, on every listener.',
  }),
  control: everywhere({
    kind: webUrlsKind,
    group: CONTROL,
    text: 'Serve the control API here: http or https. Repeat it for several doors.',
    more:
      'Without it there is no control API. Every request is signed with an access key, but over ' +
      'plain http whoever is between can read it: use https beyond this machine. Port 0 takes a ' +
      'free port; without one it is 80 or 443.',
  }),
  controlCert: everywhere({
    kind: optional(textKind('FILE')),
    group: CONTROL,
    text: 'Certificate chain in PEM, for control URLs with https.',
    more: 'Read again on SIGHUP and soon after it changes.',
  }),
  controlKey: everywhere({
    kind: optional(textKind('FILE')),
    group: CONTROL,
    text: 'Private key of the control certificate in PEM.',
    more: 'Read again on SIGHUP and soon after it changes.',
  }),
  adminKeyFile: everywhere({
    kind: optional(textKind('FILE')),
    group: CONTROL,
    text: 'The first access key of a fresh data directory, instead of one made at random.',
    more:
      'A JSON file: `{"accessKeyId": "...", "accessKeySecret": "..."}`. Without it the first ' +
      'start makes a key and prints it once. With a directory that has keys already, it must ' +
      'name the one that was there first.',
  }),
  defaultInstance: everywhere({
    kind: instanceKind,
    byDefault: 'default',
    group: WHO,
    text: 'The instance of clients that name none.',
    more:
      'A client can name its instance in the user name, by SNI or by the host of a WebSocket. ' +
      'This is for all others.',
  }),
  open: everywhere({
    kind: switchKind,
    byDefault: 'false',
    group: WHO,
    text: 'Admit everybody: no user name, any client identifier, any topic.',
    more: 'A user name that names an instance (`Signature|KEY|INSTANCE`) is still held to it.',
  }),
  openToNetwork: everywhere({
    kind: switchKind,
    byDefault: 'false',
    group: WHO,
    text: 'Say it twice: allow --open on an address that other machines can reach.',
  }),
  data: everywhere({
    kind: textKind('DIR'),
    byDefault: './data',
    group: STORE,
    text: 'Directory that holds everything kept. Made if it is not there.',
  }),
  memory: everywhere({
    kind: switchKind,
    byDefault: 'false',
    group: STORE,
    text: 'Keep everything in memory only. Nothing survives the process; --data is not used.',
  }),
  retentionAge: everywhere({
    kind: orNone(durationKind(SECOND, 36_500 * DAY)),
    byDefault: '3d',
    group: STORE,
    text: 'Keep a message for clients that are away this long at most.',
    reload: true,
  }),
  retentionBytes: everywhere({
    kind: orNone(sizeKind(1024 ** 2, 1024 ** 5)),
    byDefault: '10GB',
    group: STORE,
    text: 'Keep this much of messages at most; the oldest go first.',
    reload: true,
  }),
  retentionCount: everywhere({
    kind: orNone(wholeKind(1, 1e15)),
    byDefault: 'none',
    group: STORE,
    text: 'Keep this many messages at most; the oldest go first.',
    reload: true,
  }),
  sessionExpiryMax: everywhere({
    kind: orNone(durationKind(0, EXPIRY_MAX)),
    byDefault: 'none',
    group: STORE,
    text: 'Forget the session of a client that has been away this long, whatever it asked for.',
    more:
      'An MQTT 5.0 client that asks for more is told the shorter time. Clients before 5.0 that ' +
      'connect without Clean Session get exactly this.',
  }),
  maxConnections: everywhere({
    kind: wholeKind(1, 10_000_000),
    byDefault: '1000000',
    group: LIMITS,
    text: 'Connections at once. Those beyond it are refused.',
  }),
  connectRate: everywhere({
    kind: wholeKind(1, 1_000_000),
    byDefault: '20000',
    group: LIMITS,
    text: 'New connections a second. Those beyond it wait their turn.',
  }),
  maxPacketSize: everywhere({
    kind: sizeKind(128, PACKET_MAX),
    byDefault: '16MiB',
    group: LIMITS,
    text: 'The largest packet a client may send.',
  }),
  maxInflight: everywhere({
    kind: wholeKind(1, 65_535),
    byDefault: '1024',
    group: LIMITS,
    text: 'Messages of QoS 1 and 2 that may wait for their acknowledgement, each way, per client.',
  }),
  validatePayloadFormat: everywhere({
    kind: switchKind,
    byDefault: 'false',
    group: LIMITS,
    text: 'Refuse a message that says its payload is UTF-8 when it is not.',
  }),
  logLevel: everywhere({
    kind: choiceKind(['error', 'warn', 'info', 'debug']),
    byDefault: 'info',
    group: RUNNING,
    text: 'How much to say on standard error.',
    reload: true,
  }),
  config: {
    kind: optional(textKind('FILE')),
    environment: true,
    group: RUNNING,
    text: 'Read settings from this YAML file. Flags and environment win over it.',
  },
  printConfig: {
    kind: switchKind,
    byDefault: 'false',
    group: RUNNING,
    text: 'Print the settings that would hold, and where each comes from; start nothing.',
  },
  help: { kind: switchKind, byDefault: 'false', short: 'h', group: RUNNING, text: 'Show this.' },
};

/** Refuses settings that cannot hold together, every reason at once. */
export function checkSettings({ values, origins }: Resolved<Settings>): void {
  const problems: string[] = [];
  const secure = values.listen.find((url) => url.scheme === 'mqtts' || url.scheme === 'wss');
  if (values.listen.length === 0) problems.push(`${origins.get('listen')}: no listener is left`);
  if (secure !== undefined && (values.tlsCert === undefined || values.tlsKey === undefined)) {
    problems.push(`listen: ${showUrl(secure)} needs tls-cert and tls-key`);
  }
  const plain = values.listen.find(
    ({ scheme, clientCert }) => clientCert !== undefined && (scheme === 'mqtt' || scheme === 'ws'),
  );
  if (plain !== undefined) problems.push(`listen: ${showUrl(plain)} has no client certificates`);
  if ((values.tlsCert === undefined) !== (values.tlsKey === undefined)) {
    problems.push('tls-cert and tls-key go together: only one of them is set');
  }
  const web = values.control.find((url) => url.scheme === 'https');
  if (web !== undefined && (values.controlCert === undefined || values.controlKey === undefined)) {
    problems.push(`control: ${showWebUrl(web)} needs control-cert and control-key`);
  }
  if ((values.controlCert === undefined) !== (values.controlKey === undefined)) {
    problems.push('control-cert and control-key go together: only one of them is set');
  }
  const wide = values.listen.find((url) => !isLoopback(url.host));
  if (values.open && !values.openToNetwork && wide !== undefined) {
    problems.push(
      `open: ${showUrl(wide)} can be reached by other machines, and --open admits everybody; ` +
        'listen on 127.0.0.1, or give --open-to-network as well if that is what you want',
    );
  }
  if (problems.length > 0) throw new UsageError(problems);
}
