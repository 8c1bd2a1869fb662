/** Device credential mode: the device that was registered gets in with its own pair, nobody else. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { silentLog, systemRandom } from '#base';
import { openInstances } from '#instances';
import { ManualClock } from '../../../test/harness/manual-clock.ts';
import {
  type AuthenticationWay,
  type ConnectRequest,
  isRefusal,
  type LiveClient,
  type Verdict,
} from '../authenticator.ts';
import { createDeviceCredentialWay } from './device-credential-authenticator.ts';
import {
  type DeviceCredential,
  type DeviceCredentials,
  openDeviceCredentials,
} from './device-credentials.ts';
import { createSecretBox } from '../secret-box.ts';

const CLIENT_ID = 'GID_a@@@d1';

interface World {
  readonly credentials: DeviceCredentials;
  readonly way: AuthenticationWay;
  readonly made: DeviceCredential;
  readonly request: ConnectRequest;
  login(changes?: Partial<ConnectRequest>): Promise<Verdict | undefined>;
}

async function openWorld(t: TestContext): Promise<World> {
  const clock = new ManualClock();
  const { store } = openMemoryEngine({ clock });
  const ground = { store, clock, random: systemRandom, log: silentLog };
  const instances = await openInstances({ ...ground, defaultId: 'default', openDefault: true });
  const box = createSecretBox(Buffer.alloc(32, 1), systemRandom);
  const credentials = openDeviceCredentials({ ...ground, box });
  t.after(() => {
    credentials.close();
    instances.close();
  });
  const instance = await instances.create({ id: 'mqtt-1', kind: 'open' });
  const made = await credentials.register('mqtt-1', CLIENT_ID);
  const way = createDeviceCredentialWay({ credentials });
  const request: ConnectRequest = {
    instance,
    protocolVersion: 4,
    clientId: CLIENT_ID,
    userName: userNameOf(made),
    password: sign(made.accessKeySecret, CLIENT_ID),
    address: '127.0.0.1',
    listener: 'mqtt://127.0.0.1:1883',
    serverName: undefined,
    certificate: undefined,
    certificateVerified: false,
  };
  const login = async (changes: Partial<ConnectRequest> = {}): Promise<Verdict | undefined> =>
    await way.authenticate({ ...request, ...changes });
  return { credentials, way, made, request, login };
}

function userNameOf(credential: DeviceCredential, instanceId = 'mqtt-1'): string {
  return `DeviceCredential|${credential.accessKeyId}|${instanceId}`;
}

function sign(secret: string, clientId: string, hash = 'sha1'): Buffer {
  return Buffer.from(createHmac(hash, secret).update(clientId).digest('base64'));
}

function outcome(verdict: Verdict | undefined): string {
  if (verdict === undefined) return 'not mine';
  return isRefusal(verdict) ? verdict.refused : 'welcome';
}

describe('a device with its own pair', () => {
  test('is welcome, with all topics, the first time and from memory', async (t) => {
    const { credentials, login } = await openWorld(t);

    for (const expectedCount of [1, 1]) {
      const verdict = await login();
      assert.ok(verdict !== undefined && !isRefusal(verdict));
      assert.equal(verdict.permissions, undefined);
      assert.equal(verdict.instance.id, 'mqtt-1');
      assert.equal(credentials.cachedCount, expectedCount);
    }
  });

  test('signs the client identifier with its secret', () => {
    // HMAC-SHA1 with key "secret" over "GID_Test@@@0001", computed with openssl.
    assert.equal(sign('secret', 'GID_Test@@@0001').toString(), '/mBrVEVHdfwyOD8mkgwK8LnvjEk=');
  });

  test('is out with the former pair at once after a refresh, and in with the new one', async (t) => {
    const { credentials, login } = await openWorld(t);
    assert.equal(outcome(await login()), 'welcome');

    const fresh = await credentials.refresh('mqtt-1', CLIENT_ID);

    assert.equal(outcome(await login()), 'badSignature');
    const password = sign(fresh.accessKeySecret, CLIENT_ID);
    assert.equal(outcome(await login({ userName: userNameOf(fresh), password })), 'welcome');
    assert.equal(outcome(await login({ password })), 'badSignature');
    assert.equal(outcome(await login({ userName: userNameOf(fresh) })), 'badSignature');
  });

  test('is out once it is unregistered', async (t) => {
    const { credentials, login } = await openWorld(t);
    assert.equal(outcome(await login()), 'welcome');

    await credentials.unregister('mqtt-1', CLIENT_ID);

    assert.equal(outcome(await login()), 'badSignature');
  });
});

describe('everybody else', () => {
  test('hears the same thing, whatever was wrong', async (t) => {
    const { credentials, made, login } = await openWorld(t);
    const other = await credentials.register('mqtt-1', 'GID_a@@@d2');
    await credentials.register('mqtt-2', CLIENT_ID);
    const good = sign(made.accessKeySecret, CLIENT_ID);
    const tampered = [0, 13, 26].map((at) => {
      const bytes = Buffer.from(good);
      bytes[at] = bytes[at]! ^ 1;
      return bytes;
    });

    const wrong: Partial<ConnectRequest>[] = [
      ...tampered.map((password) => ({ password })),
      { password: undefined },
      { password: Buffer.alloc(0) },
      { password: good.subarray(0, 27) },
      { password: Buffer.concat([good, Buffer.from('=')]) },
      { password: Buffer.alloc(60_000, 'A') },
      { password: Buffer.from(made.accessKeySecret) },
      { password: sign(made.accessKeySecret, CLIENT_ID, 'sha256') },
      { password: Buffer.from(good.toString().toLowerCase()) },
      { password: sign('nobody', CLIENT_ID) },
      // The pair of one client does not speak for another.
      { clientId: 'GID_a@@@d2', password: sign(made.accessKeySecret, 'GID_a@@@d2') },
      { userName: userNameOf(other) },
      { userName: userNameOf(other), password: sign(other.accessKeySecret, CLIENT_ID) },
      { userName: userNameOf(made).replace('DC.', 'dc.') },
      { userName: 'DeviceCredential|DC.unknown|mqtt-1' },
      { clientId: 'GID_a@@@unknown', password: sign('nobody', 'GID_a@@@unknown') },
      { clientId: CLIENT_ID.toLowerCase() },
      { clientId: '', password: sign(made.accessKeySecret, '') },
      { clientId: 'x'.repeat(60_000) },
    ];
    for (const changes of wrong) {
      assert.deepEqual(await login(changes), { refused: 'badSignature' }, JSON.stringify(changes));
    }
    assert.equal(outcome(await login()), 'welcome');
  });

  test('in the wrong instance, with a malformed name or in another mode is told so', async (t) => {
    const { made, login } = await openWorld(t);

    const tries: [string | undefined, string][] = [
      [userNameOf(made, 'mqtt-2'), 'instanceMismatch'],
      [userNameOf(made, 'MQTT-1'), 'instanceMismatch'],
      [`DeviceCredential|${made.accessKeyId}`, 'userNameMalformed'],
      [`DeviceCredential||mqtt-1`, 'userNameMalformed'],
      [`devicecredential|${made.accessKeyId}|mqtt-1`, 'not mine'],
      [`Signature|${made.accessKeyId}|mqtt-1`, 'not mine'],
      ['DeviceCredential', 'not mine'],
      [undefined, 'not mine'],
    ];
    for (const [userName, expected] of tries) {
      assert.equal(outcome(await login({ userName })), expected, userName);
    }
  });
});

describe('a connected device whose pair is withdrawn', () => {
  async function connect(way: AuthenticationWay, request: ConnectRequest) {
    const verdict = await way.authenticate(request);
    assert.ok(verdict !== undefined && !isRefusal(verdict));
    const ends: string[] = [];
    const live: LiveClient = {
      clientId: request.clientId,
      address: request.address,
      notify: () => {},
      disconnect: (code) => void ends.push(code),
      permissionsChanged: () => {},
    };
    return { ends, drop: verdict.connected?.(live) };
  }

  test('stays, as in the product', async (t) => {
    const { credentials, way, request } = await openWorld(t);
    const { ends } = await connect(way, request);

    await credentials.unregister('mqtt-1', CLIENT_ID);

    assert.deepEqual(ends, []);
  });

  test('goes, where that is chosen', async (t) => {
    const { credentials, request } = await openWorld(t);
    const way = createDeviceCredentialWay({ credentials, withdrawalEndsConnections: true });
    const [one, gone] = [await connect(way, request), await connect(way, request)];
    gone.drop?.();

    await credentials.refresh('mqtt-1', CLIENT_ID);

    assert.deepEqual(one.ends, ['credentialRevoked']);
    assert.deepEqual(gone.ends, []);
  });
});
