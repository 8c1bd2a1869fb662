/**
 * What it costs to find out who a CONNECT is from: the whole chain as the broker asks it, on a
 * store on disk, without sockets. A broker spends this much of its one loop on it.
 */
import { type Authenticator, type ConnectAttempt, isRefusal, type Verdict } from '#identity';
import { openWorkshop } from '../test/harness/device-authority.ts';
import { inLanes, type Line, nsPerCall, type Section } from './auth-measure.ts';
import {
  ADMIN,
  clientIdOf,
  createScene,
  DEFAULT,
  DEVICES,
  type Scope,
  sign,
  userNameOf,
  type Workbench,
} from './auth-scene.ts';

const CALLS = 4000;
const ROUNDS = 15;
/** Fewer than are kept in memory. */
const CACHED_DEVICES = 4000;
/** One after the other, none is in memory any more when its turn comes again. */
const UNCACHED_DEVICES = 24_000;
const SIGNATURE_US_MAX = 100;
const CERTIFICATES = 50;

type Attempts = (index: number) => ConnectAttempt;

/** Microseconds of processor time for one CONNECT, by way. */
export async function measureConnects(scope: Scope): Promise<Section> {
  const scene = await createScene(scope);
  const workbench = await scene.open();
  try {
    const lines: Line[] = [];
    for (const [name, attempts] of Object.entries(await seed(workbench))) {
      const us = await usPerConnect(workbench.identities.authenticator, attempts);
      lines.push({ name, figures: [us] });
    }
    const signature = Number(lines.find(({ name }) => name === 'Signature')?.figures[0]);
    const verdict = signature < SIGNATURE_US_MAX ? 'held' : 'MISSED';
    return {
      title: 'The authenticator, us of processor time for one CONNECT',
      columns: ['us'],
      lines,
      notes: [`To reach: a Signature below ${SIGNATURE_US_MAX} us: ${verdict}.`],
    };
  } finally {
    await workbench.close();
  }
}

async function usPerConnect(authenticator: Authenticator, attempts: Attempts): Promise<number> {
  // Made beforehand: signing is the client's work.
  const made = Array.from({ length: UNCACHED_DEVICES }, (_, index) => attempts(index));
  let next = 0;
  const ns = await nsPerCall(CALLS, ROUNDS, async (count) => {
    for (let i = 0; i < count; i++) {
      const answer = authenticator.authenticate(made[next++ % made.length]!);
      accept(answer instanceof Promise ? await answer : answer);
    }
  });
  return ns / 1000;
}

function accept(verdict: Verdict): void {
  if (isRefusal(verdict)) throw new Error(`refused: ${verdict.refused}`);
}

function attempt(clientId: string, userName?: string, password?: string): ConnectAttempt {
  return {
    protocolVersion: 5,
    clientId,
    userName,
    password: password === undefined ? undefined : Buffer.from(password),
    address: '127.0.0.1',
    listener: 'mqtt://127.0.0.1:1883',
    serverName: undefined,
    certificate: undefined,
    certificateVerified: false,
  };
}

async function seed(workbench: Workbench): Promise<Readonly<Record<string, Attempts>>> {
  const { identities, instances } = workbench;
  const { accessKeyId, accessKeySecret: secret } = ADMIN;
  const names: [userName: string, secret: string][] = [];
  await inLanes(UNCACHED_DEVICES, 500, async (index) => {
    const made = await identities.deviceCredentials.register(DEVICES, clientIdOf(index));
    names[index] = [userNameOf('DeviceCredential', made.accessKeyId), made.accessKeySecret];
  });
  const device = (index: number): ConnectAttempt => {
    const [userName, own] = names[index]!;
    return attempt(clientIdOf(index), userName, sign(own, clientIdOf(index)));
  };
  const devices = instances.find(DEVICES)!;
  const user = { type: 'USER', userName: 'bench', clientId: '' } as const;
  await identities.customAuth.addIdentity(devices, { ...user, signMode: 'SIGNED', secret });
  const token = identities.tokens.apply({
    instanceId: DEVICES,
    accessKeyId,
    actions: 'R,W',
    resources: ['bench/#'],
    expireMs: Date.now() + 3_600_000,
  });
  const signature = userNameOf('Signature', accessKeyId);
  const signed: Attempts = (index) =>
    attempt(clientIdOf(index), signature, sign(secret, clientIdOf(index)));
  const certificates = await issueCertificates(workbench);
  return {
    anonymous: (index) => attempt(`open-${index}`),
    Signature: signed,
    Token: (index) => attempt(clientIdOf(index), userNameOf('Token', accessKeyId), `RW|${token}`),
    'DeviceCredential, in memory': (index) => device(index % CACHED_DEVICES),
    'DeviceCredential, from the store': device,
    'custom identity, SIGNED': (index) => {
      const password = sign(secret, clientIdOf(index));
      return { ...attempt(clientIdOf(index), 'bench', password), serverName: `${DEVICES}.bench` };
    },
    'X.509, seen before': (index) => ({
      ...attempt(certificates[index % CERTIFICATES]!.name),
      certificate: certificates[index % CERTIFICATES]!.der,
    }),
    'X.509 and Signature': (index) => ({
      ...signed(index),
      certificate: certificates[index % CERTIFICATES]!.der,
    }),
  };
}

/** Registers an authority with both instances, which sees some devices for the first time here. */
async function issueCertificates({
  identities,
  instances,
}: Workbench): Promise<{ readonly name: string; readonly der: Uint8Array }[]> {
  const cleanUps: (() => void)[] = [];
  const workshop = openWorkshop({ after: (cleanUp) => void cleanUps.push(cleanUp) });
  const authority = workshop.authority();
  for (const instanceId of [DEVICES, DEFAULT]) {
    const code = await identities.certificates.createRegistrationCode(instanceId);
    const verdict = await identities.certificates.registerAuthority({
      instanceId,
      name: 'bench',
      content: authority.certificate,
      verification: authority.issue(code).certificate,
    });
    if ('problem' in verdict) throw new Error(verdict.problem);
  }
  const settings = { passwordless: true, bind: 'cn' };
  await instances.update(DEFAULT, { authentication: { certificates: settings } });
  const made = Array.from({ length: CERTIFICATES }, (_, index) => {
    const name = `device-${index}`;
    return { name, der: authority.issue(name).der };
  });
  for (const cleanUp of cleanUps) cleanUp();
  return made;
}
