/** Certificates over time: registered by connecting, switched, removed, and who is ended by it. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import {
  accepted,
  client,
  connect,
  openCertificateScene,
  refusedAs,
  registered,
  request,
} from '../../../test/harness/certificate-scene.ts';
import { openWorkshop } from '../../../test/harness/device-authority.ts';
import { until } from '../../../test/harness/until.ts';

const workshop = openWorkshop({ after });
const root = workshop.authority({ name: 'maker' });
const rsa = workshop.authority({ name: 'maker of old', algorithm: 'rsa' });
const device = root.issue('device-1');
const other = root.issue('device-2');

describe('device certificates', () => {
  test('are registered by the first connection, not by an attempt', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const identity = accepted(await scene.guard(device));
    const page = { from: 0, count: 10 };
    assert.equal((await scene.certificates.devices('one', undefined, page)).total, 0);

    scene.certificates.watch(identity, client());
    await registered(scene, device);

    const key = { instanceId: 'one', authoritySerial: root.serial, serial: device.serial };
    const record = await scene.certificates.device(key);
    assert.partialDeepStrictEqual(record, {
      name: 'device-1',
      active: true,
      serial: device.serial,
    });
    assert.equal(record?.content, device.certificate);
    assert.equal((await scene.certificates.devices('one', root.serial, page)).total, 1);
    assert.equal((await scene.certificates.devices('one', rsa.serial, page)).total, 0);
    assert.equal((await scene.certificates.devices('two', undefined, page)).total, 0);
  });

  test('are listed in pages, each once', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const all = [device, other, root.issue('device-3')];
    for (const each of all) await connect(scene, each);

    const serials: string[] = [];
    for (const from of [0, 2, 4]) {
      const page = await scene.certificates.devices('one', root.serial, { from, count: 2 });
      assert.equal(page.total, 3);
      serials.push(...page.rows.map(({ serial }) => serial));
    }

    // Made one after the other, so their numbers grow.
    assert.deepEqual(
      serials,
      all.map(({ serial }) => serial),
    );
  });

  test('that are made inactive end who is connected, and come back when active', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const live = await connect(scene, device);
    const bystander = await connect(scene, other);
    const key = { instanceId: 'one', authoritySerial: root.serial, serial: device.serial };

    assert.equal(await scene.certificates.setDeviceActive(key, false), true);

    assert.deepEqual(live.ends, ['certificateInactive']);
    assert.deepEqual(bystander.ends, []);
    assert.equal(refusedAs(await scene.guard(device)), 'certificateInactive');
    const later = await scene.again();
    const afresh = await later.guard(request(scene.one, device.der));
    assert.equal(refusedAs(afresh), 'certificateInactive');
    await scene.certificates.setDeviceActive(key, true);
    accepted(await scene.guard(device));
  });

  test('that another node makes inactive end who is connected here', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const live = await connect(scene, device);
    const elsewhere = await scene.again();
    const key = { instanceId: 'one', authoritySerial: root.serial, serial: device.serial };

    await elsewhere.setDeviceActive(key, false);

    await until(
      () => live.ends.length === 1,
      () => 'still connected',
    );
  });

  test('made inactive between the check and the connection are ended at once', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const identity = accepted(await scene.guard(device));
    const first = client();
    scene.certificates.watch(identity, first);
    await registered(scene, device);
    const key = { instanceId: 'one', authoritySerial: root.serial, serial: device.serial };
    await scene.certificates.setDeviceActive(key, false);
    const late = client();

    scene.certificates.watch(identity, late);

    assert.deepEqual(late.ends, ['certificateInactive']);
  });

  test('that are removed end who is connected, and are registered anew', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const live = await connect(scene, device);
    const key = { instanceId: 'one', authoritySerial: root.serial, serial: device.serial };

    assert.equal(await scene.certificates.removeDevice(key), true);
    assert.equal(await scene.certificates.removeDevice(key), false);

    assert.deepEqual(live.ends, ['certificateInactive']);
    assert.deepEqual((await connect(scene, device)).ends, []);
  });

  test('who has left is not ended any more', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    await connect(scene, device);
    const live = client();
    const stop = scene.certificates.watch(accepted(await scene.guard(device)), live);

    stop();
    await scene.certificates.setAuthorityActive('one', root.serial, false);

    assert.deepEqual(live.ends, []);
  });
});

describe('an authority', () => {
  test('that is made inactive ends its devices, and lets them in again', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    await scene.register(rsa);
    const live = await connect(scene, device);
    const bystander = await connect(scene, rsa.issue('old'));

    assert.equal(await scene.certificates.setAuthorityActive('one', root.serial, false), true);

    assert.deepEqual(live.ends, ['certificateInactive']);
    assert.deepEqual(bystander.ends, []);
    assert.equal(refusedAs(await scene.guard(device)), 'certificateInactive');
    await scene.certificates.setAuthorityActive('one', root.serial, true);
    accepted(await scene.guard(device));
    assert.deepEqual(bystander.ends, []);
  });

  test('that is removed takes its devices along, and what was known of them', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    await scene.register(root, 'two');
    const live = await connect(scene, device);
    const key = { instanceId: 'one', authoritySerial: root.serial, serial: device.serial };
    await scene.certificates.setDeviceActive(key, false);

    assert.equal(await scene.certificates.removeAuthority('one', root.serial), true);

    assert.deepEqual(live.ends, ['certificateInactive']);
    assert.equal(await scene.certificates.device(key), undefined);
    assert.equal(refusedAs(await scene.guard(device)), 'certificateUnknown');
    accepted(await scene.certificates.guard(request(scene.two, device.der)));
    await scene.register(root);
    accepted(await scene.guard(device));
  });

  test('goes with its instance', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const live = await connect(scene, device);

    await scene.instances.remove('one');

    assert.deepEqual(scene.certificates.authorities('one'), []);
    assert.ok(live.ends.length > 0);
  });

  test('of odd serial numbers finds nothing and harms nothing', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    await connect(scene, device);

    for (const serial of ['', '/', `${root.serial}/${device.serial}`, '..', 'G', 'A'.repeat(129)]) {
      assert.equal(scene.certificates.authority('one', serial), undefined);
      assert.equal(await scene.certificates.setAuthorityActive('one', serial, false), false);
      assert.equal(await scene.certificates.removeAuthority('one', serial), false);
      const key = { instanceId: 'one', authoritySerial: root.serial, serial };
      assert.equal(await scene.certificates.removeDevice(key), false);
    }
    accepted(await scene.guard(device));
  });
});
