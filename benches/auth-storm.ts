/**
 * Many devices connect at once and stay: what one CONNECT takes of the broker's processor, from
 * accepting the socket to CONNACK, by way of proving oneself, over TCP and TLS.
 */
import type { Socket } from 'node:net';
import { createAuthority } from '../test/harness/certificates.ts';
import { type Door, isResumed, type Login, openConnection, takeTicket } from './auth-client.ts';
import { inLanes, type Line, median, pause, type Section } from './auth-measure.ts';
import {
  ADMIN,
  clientIdOf,
  createScene,
  DEVICES,
  type Process,
  type Scope,
  sign,
  userNameOf,
} from './auth-scene.ts';

const AT_ONCE = 64;
const SETTLE_MS = 1500;
const TLS_SHARE = 0.4;

type Logins = (index: number) => Login;

interface Storm {
  readonly name: string;
  readonly transport: 'TCP' | 'TLS, full' | 'TLS, resumed';
  readonly logins: Logins;
}

interface Outcome {
  readonly usPerConnect: number;
  readonly connectsPerSecond: number;
}

/** Storms of `count` connects over TCP, and fewer over TLS, taking turns. */
export async function measureStorms(scope: Scope, count: number, runs: number): Promise<Section> {
  const scene = await createScene(scope);
  const workbench = await scene.open();
  const token = workbench.identities.tokens.apply({
    instanceId: DEVICES,
    accessKeyId: ADMIN.accessKeyId,
    actions: 'R,W',
    resources: ['bench/#'],
    expireMs: Date.now() + 3_600_000,
  });
  await workbench.close();
  const { certificateFile, keyFile } = createAuthority({
    after: (cleanUp) => scope.after(async () => cleanUp()),
  }).issue('localhost');
  const broker = await scene.start(
    '--listen',
    'mqtts://127.0.0.1:0',
    '--tls-cert',
    certificateFile,
    '--tls-key',
    keyFile,
  );
  const storms = stormsOf(token);
  const found = new Map<Storm, Outcome[]>(storms.map((storm) => [storm, []]));
  // The first storm finds code that was never run: it is not counted.
  await blow(broker, storms[0]!, count);
  for (let run = 0; run < runs; run++) {
    for (const [storm, outcomes] of found) {
      const size = storm.transport === 'TCP' ? count : Math.ceil(count * TLS_SHARE);
      outcomes.push(await blow(broker, storm, size));
    }
  }
  await broker.stop();
  return {
    title: 'Connect storms, the broker on one core',
    columns: ['us CPU a connect', 'connects/s per core', 'seen connects/s'],
    lines: [...found].map(([storm, outcomes]) => lineOf(storm, outcomes)),
    notes: [
      `${count} connects a storm over TCP, ${Math.ceil(count * TLS_SHARE)} over TLS 1.3 ` +
        `(P-256), ${AT_ONCE} under way, ${runs} storms each; medians.`,
      'Connects/s per core: what the processor time allows. Seen: as the one generator got on, ' +
        'which over TLS has as much to do as the broker.',
    ],
  };
}

function stormsOf(token: string): readonly Storm[] {
  const { accessKeyId, accessKeySecret } = ADMIN;
  const anonymous: Logins = (index) => ({ clientId: `storm-${index}` });
  const signature: Logins = (index) => ({
    clientId: clientIdOf(index),
    userName: userNameOf('Signature', accessKeyId),
    password: sign(accessKeySecret, clientIdOf(index)),
  });
  const tokens: Logins = (index) => ({
    clientId: clientIdOf(index),
    userName: userNameOf('Token', accessKeyId),
    password: `RW|${token}`,
  });
  return [
    { name: 'anonymous', transport: 'TCP', logins: anonymous },
    { name: 'Signature', transport: 'TCP', logins: signature },
    { name: 'Token', transport: 'TCP', logins: tokens },
    { name: 'anonymous', transport: 'TLS, full', logins: anonymous },
    { name: 'Signature', transport: 'TLS, full', logins: signature },
    { name: 'Token', transport: 'TLS, full', logins: tokens },
    { name: 'anonymous', transport: 'TLS, resumed', logins: anonymous },
    { name: 'Signature', transport: 'TLS, resumed', logins: signature },
    { name: 'Token', transport: 'TLS, resumed', logins: tokens },
  ];
}

async function blow(broker: Process, storm: Storm, count: number): Promise<Outcome> {
  const door = await doorOf(broker, storm);
  const logins = Array.from({ length: count }, (_, index) => storm.logins(index));
  const sockets: Socket[] = [];
  const cpuBefore = broker.cpuUs();
  const startMs = performance.now();
  await inLanes(count, AT_ONCE, async (index) => {
    sockets.push(await openConnection(door, logins[index]!));
  });
  const elapsedMs = performance.now() - startMs;
  const usPerConnect = (broker.cpuUs() - cpuBefore) / count;
  const resumed = sockets.filter(isResumed).length;
  for (const socket of sockets) socket.destroy();
  await pause(SETTLE_MS);
  const expected = storm.transport === 'TLS, resumed' ? count : 0;
  if (resumed !== expected) throw new Error(`${resumed} of ${count} sessions were resumed`);
  return { usPerConnect, connectsPerSecond: (count / elapsedMs) * 1000 };
}

async function doorOf(broker: Process, { transport, logins }: Storm): Promise<Door> {
  if (transport === 'TCP') return { port: broker.port('mqtt') };
  const port = broker.port('mqtts');
  const session = transport === 'TLS, full' ? undefined : await takeTicket(port, logins(0));
  return { port, tls: { session } };
}

function lineOf({ name, transport }: Storm, outcomes: readonly Outcome[]): Line {
  const us = median(outcomes.map((one) => one.usPerConnect));
  const seen = median(outcomes.map((one) => one.connectsPerSecond));
  return { name: `${transport}, ${name}`, figures: [us, 1e6 / us, seen] };
}
