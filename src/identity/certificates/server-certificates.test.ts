/** Server certificates by name: whose name it is, what answers to it, and what is refused. */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { after, describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { Fault, type FaultCode, silentLog, systemRandom } from '#base';
import type { Store } from '#ports';
import { type Issued, openWorkshop } from '../../../test/harness/device-authority.ts';
import { ManualClock } from '../../../test/harness/manual-clock.ts';
import { createSecretBox } from '../secret-box.ts';
import { openServerCertificates, type ServerCertificates } from './server-certificates.ts';

// The clock is ahead, so that certificates made meanwhile are valid.
const HOUR_MS = 60 * 60 * 1_000;
const root = openWorkshop({ after }).authority();
const names = (...list: string[]): { extensions: string[] } => ({
  extensions: [`subjectAltName=${list.map((name) => `DNS:${name}`).join(',')}`],
});
const acme = root.issue('acme', names('mqtt.acme.example', '*.iot.acme.example'));
const fallback = root.issue('fallback', names('*.broker.example'));

interface World {
  readonly servers: ServerCertificates;
  readonly store: Store;
  readonly clock: ManualClock;
  again(boxKey?: number): Promise<ServerCertificates>;
  upload(id: string, issued: Issued, instanceId?: string): Promise<void>;
}

async function openWorld(t: TestContext): Promise<World> {
  const clock = new ManualClock(Date.now() + HOUR_MS);
  const { store } = openMemoryEngine({ clock });
  const again = async (boxKey = 1): Promise<ServerCertificates> => {
    const secretBox = createSecretBox(Buffer.alloc(32, boxKey), systemRandom);
    const opened = await openServerCertificates({ store, clock, log: silentLog, secretBox });
    t.after(() => opened.close());
    return opened;
  };
  const servers = await again();
  return {
    servers,
    store,
    clock,
    again,
    upload: (id, { certificate, key }, instanceId = 'One') =>
      servers.upload({ instanceId, id, certificate, key }),
  };
}

function refused(work: Promise<unknown>, code: FaultCode): Promise<void> {
  return assert.rejects(work, (error) => Fault.is(error, code));
}

describe('server certificates', () => {
  test('answer to their names, and the default to names under the instance', async (t) => {
    const { servers, upload } = await openWorld(t);
    await upload('c-1', acme);
    await upload('c-2', fallback);

    await servers.setNames('One', {
      defaultId: 'c-2',
      names: [
        { domain: 'MQTT.acme.example', id: 'c-1' },
        { domain: '*.iot.acme.example', id: 'c-1' },
      ],
    });

    const found = servers.find('mqtt.acme.example');
    assert.equal(found?.certificate, acme.certificate);
    assert.ok(createPrivateKey(found.key).equals(createPrivateKey(acme.key)));
    assert.equal(servers.find('MQTT.ACME.EXAMPLE'), found);
    assert.equal(servers.find('pump.iot.acme.example'), found);
    assert.equal(servers.find('a.pump.iot.acme.example'), undefined);
    assert.equal(servers.find('one.broker.example')?.certificate, fallback.certificate);
    assert.equal(servers.find('two.broker.example'), undefined);
    assert.equal(servers.find('acme.example'), undefined);
    assert.equal(servers.find(''), undefined);
    assert.equal(servers.instanceOf('pump.iot.acme.example'), 'One');
  });

  test('are there after a restart, and their keys sealed', async (t) => {
    const { servers, upload, store, again } = await openWorld(t);
    await upload('c-1', acme);
    await servers.setNames('One', {
      defaultId: 'c-1',
      names: [{ domain: 'mqtt.acme.example', id: 'c-1' }],
    });

    const later = await again();
    const stranger = await again(2);

    assert.equal(later.find('mqtt.acme.example')?.certificate, acme.certificate);
    assert.equal(stranger.find('mqtt.acme.example'), undefined);
    const row = await store.table('server-certificates').get('One/c-1');
    const secret = acme.key.split('\n')[1] as string;
    assert.ok(row !== undefined && !Buffer.from(row.value).includes(secret));
    assert.doesNotMatch(JSON.stringify(servers.list('One')), /PRIVATE|sealed/i);
  });

  test('change at once, on every node', async (t) => {
    const { servers, upload, again } = await openWorld(t);
    const elsewhere = await again();
    await upload('c-1', acme);
    const setting = { defaultId: 'c-1', names: [{ domain: 'mqtt.acme.example', id: 'c-1' }] };
    await servers.setNames('One', setting);
    const renewed = root.issue('acme', names('mqtt.acme.example'));

    await upload('c-1', renewed);

    for (const each of [servers, elsewhere]) {
      assert.equal(each.find('mqtt.acme.example')?.certificate, renewed.certificate);
    }
    await servers.setNames('One', { defaultId: 'c-1', names: [] });
    assert.equal(elsewhere.find('mqtt.acme.example'), undefined);
  });

  test('a name that another instance has is refused', async (t) => {
    const { servers, upload } = await openWorld(t);
    await upload('c-1', acme);
    await upload('c-1', acme, 'Two');
    const setting = { defaultId: 'c-1', names: [{ domain: 'mqtt.acme.example', id: 'c-1' }] };
    await servers.setNames('One', setting);
    await servers.setNames('One', setting);

    await refused(servers.setNames('Two', setting), 'alreadyExists');

    assert.equal(servers.instanceOf('mqtt.acme.example'), 'One');
  });

  test('that do not fit are refused', async (t) => {
    const { servers, upload, clock } = await openWorld(t);
    const given = { instanceId: 'One', id: 'c-1', certificate: acme.certificate, key: acme.key };
    for (const wrong of [
      { id: 'c/1' },
      { id: '' },
      { key: fallback.key },
      { key: 'text' },
      { certificate: 'text' },
    ]) {
      await refused(servers.upload({ ...given, ...wrong }), 'invalidParameter');
    }
    await upload('c-1', acme);
    const set = (domain: string, id = 'c-1'): Promise<void> =>
      servers.setNames('One', { defaultId: 'c-1', names: [{ domain, id }] });
    await refused(set('other.example'), 'invalidParameter');
    await refused(set('not a name'), 'invalidParameter');
    await refused(set('mqtt.acme.example', 'c-9'), 'notFound');
    await refused(servers.setNames('One', { defaultId: 'c-9', names: [] }), 'notFound');
    await set('mqtt.acme.example');
    await refused(servers.remove('One', 'c-1'), 'invalidParameter');
    await refused(servers.remove('One', 'c-9'), 'notFound');
    clock.advance(30 * 24 * 60 * 60 * 1_000);
    await refused(upload('c-3', acme), 'invalidParameter');
  });

  test('a key that is encrypted needs its password, which is not kept', async (t) => {
    const { servers, store } = await openWorld(t);
    const cipher = { cipher: 'aes-256-cbc', passphrase: 'open sesame' };
    const key = createPrivateKey(acme.key)
      .export({ type: 'pkcs8', format: 'pem', ...cipher })
      .toString();
    const given = { instanceId: 'One', id: 'c-1', certificate: acme.certificate, key };

    await refused(servers.upload(given), 'invalidParameter');
    await refused(servers.upload({ ...given, keyPassword: 'wrong' }), 'invalidParameter');
    await servers.upload({ ...given, keyPassword: 'open sesame' });

    const row = await store.table('server-certificates').get('One/c-1');
    assert.ok(row !== undefined && !Buffer.from(row.value).includes('sesame'));
  });
});
