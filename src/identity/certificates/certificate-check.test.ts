/** Which client certificates hold at CONNECT, and whose they are. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import {
  accepted,
  DAY_MS,
  openCertificateScene,
  refusedAs,
  request,
  setCertificateAuth,
} from '../../../test/harness/certificate-scene.ts';
import { openWorkshop } from '../../../test/harness/device-authority.ts';
import { createCertificateWay } from './certificates.ts';

const workshop = openWorkshop({ after });
const root = workshop.authority({ name: 'maker' });
const impostor = workshop.authority({ name: 'maker' });
const rsa = workshop.authority({ name: 'maker of old', algorithm: 'rsa' });
const device = root.issue('device-1');
const other = root.issue('device-2');

describe('a certificate at CONNECT', () => {
  test('of a registered authority holds, RSA and EC, and at once the second time', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    await scene.register(rsa);
    const old = rsa.issue('old');

    const identity = accepted(await scene.guard(device));
    assert.equal(accepted(await scene.guard(old)).authoritySerial, rsa.serial);

    assert.equal(identity.authoritySerial, root.serial);
    assert.equal(identity.serial, device.serial);
    const second = scene.certificates.guard(request(scene.one, device.der));
    assert.ok(!(second instanceof Promise));
    accepted(second);
  });

  test('is not needed unless the instance says so', async (t) => {
    const scene = await openCertificateScene(t);
    assert.equal(await scene.guard(undefined), undefined);

    await setCertificateAuth(scene, { required: true });

    assert.equal(refusedAs(await scene.guard(undefined)), 'certificateMissing');
  });

  test('of nobody we know is refused, whatever it calls itself', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const selfSigned = workshop.authority({ name: 'device-1' });
    const tampered = Buffer.from(device.der);
    tampered[tampered.length - 1]! ^= 1;
    const spoilt = Buffer.from(device.der);
    spoilt[0] = 0;
    const strangers = [
      impostor.issue('device-1', { serial: Number.parseInt(device.serial, 16) }).der,
      selfSigned.issue('device-1').der,
      rsa.issue('device-1').der,
      tampered,
      spoilt,
      Buffer.alloc(0),
    ];
    accepted(await scene.guard(device));

    for (const stranger of strangers) {
      assert.equal(refusedAs(await scene.guard(stranger)), 'certificateUnknown');
      assert.equal(refusedAs(await scene.guard(stranger)), 'certificateUnknown');
    }
    const elsewhere = scene.certificates.guard(request(scene.two, device.der));
    assert.equal(refusedAs(await elsewhere), 'certificateUnknown');
  });

  test('that names another use than a client’s is refused', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const server = root.issue('server', { extensions: ['extendedKeyUsage=serverAuth'] });
    const both = root.issue('both', { extensions: ['extendedKeyUsage=serverAuth,clientAuth'] });

    assert.equal(refusedAs(await scene.guard(server)), 'certificateUnknown');
    accepted(await scene.guard(both));
  });

  test('holds while it and its authority are valid, cached or not', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    accepted(await scene.guard(device));

    scene.clock.advance(-DAY_MS);
    assert.equal(refusedAs(await scene.guard(device)), 'certificateExpired');
    assert.equal(refusedAs(await scene.guard(other)), 'certificateExpired');
    scene.clock.advance(22 * DAY_MS);
    assert.equal(refusedAs(await scene.guard(device)), 'certificateExpired');
    const long = root.issue('long', { days: 100 });
    accepted(await scene.guard(long));
    scene.clock.advance(10 * DAY_MS);
    assert.equal(refusedAs(await scene.guard(long)), 'certificateExpired');
  });

  test('of an authority renewed with its key holds on', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    accepted(await scene.guard(device));
    const renewed = workshop.authority({ name: 'maker', keyOf: root, days: 300 });
    await scene.register(renewed, 'two');
    const unmoved = root.issue('device-3');
    assert.equal(accepted(await scene.guard(unmoved)).authoritySerial, root.serial);

    await scene.register(renewed);

    assert.equal(accepted(await scene.guard(device)).authoritySerial, renewed.serial);
  });

  test('that the listener trusts passes as a channel, not where a CA of ours is off', async (t) => {
    const scene = await openCertificateScene(t);
    const verified = { certificateVerified: true };
    assert.equal(accepted(await scene.guard(device, verified)).authoritySerial, undefined);
    await setCertificateAuth(scene, { required: true, bind: 'cn', passwordless: true });

    const way = createCertificateWay(scene.certificates);
    assert.equal(await way.authenticate(request(scene.one, device.der, verified)), undefined);
    assert.equal(refusedAs(await scene.guard(other, verified)), 'certificateMismatch');
    await scene.register(root);
    await scene.certificates.setAuthorityActive('one', root.serial, false);

    assert.equal(refusedAs(await scene.guard(device, verified)), 'certificateInactive');
  });
});

describe('a certificate bound to the client identifier', () => {
  const names = 'subjectAltName=DNS:pump-1,URI:GID_a@@@pump-2,email:pump-3';
  const cases: [bind: 'cn' | 'san', clientId: string, holds: boolean][] = [
    ['cn', 'device-1', true],
    ['cn', 'GID_a@@@device-1', true],
    ['cn', 'GID_a@@@device-2', false],
    ['cn', 'device-1@@@x', false],
    ['cn', 'Device-1', false],
    ['cn', '', false],
    ['cn', '@@@', false],
    ['cn', 'pump-1', false],
    ['san', 'pump-1', true],
    ['san', 'GID_b@@@pump-1', true],
    ['san', 'GID_a@@@pump-2', true],
    ['san', 'GID_b@@@pump-2', false],
    ['san', 'pump-3', false],
    ['san', 'device-1', false],
  ];
  for (const [bind, clientId, holds] of cases) {
    test(`by ${bind}: '${clientId}' ${holds ? 'may' : 'may not'}`, async (t) => {
      const scene = await openCertificateScene(t);
      await scene.register(root);
      await setCertificateAuth(scene, { bind });
      const shown = root.issue('device-1', { extensions: [names] });

      const answer = await scene.guard(shown, { clientId });

      if (holds) accepted(answer);
      else assert.equal(refusedAs(answer), 'certificateMismatch');
    });
  }

  test('by several common names, or by none, is bound to nobody', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    await setCertificateAuth(scene, { bind: 'cn' });

    const twins = root.issue('device-1/CN=device-2');

    assert.equal(refusedAs(await scene.guard(twins)), 'certificateMismatch');
    const answer = await scene.guard(twins, { clientId: 'device-2' });
    assert.equal(refusedAs(answer), 'certificateMismatch');
  });

  test('a comma in a name cannot bring in another name', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    await setCertificateAuth(scene, { bind: 'san' });
    const extensions = ['subjectAltName=@names', '[names]', 'URI.1=a, DNS:device-1'];
    const sly = root.issue('x', { extensions });

    assert.equal(refusedAs(await scene.guard(sly)), 'certificateMismatch');
    accepted(await scene.guard(sly, { clientId: 'a, DNS:device-1' }));
  });
});

describe('log-in by certificate alone', () => {
  test('is for CONNECTs without user name and password, where the instance says so', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const way = createCertificateWay(scene.certificates);
    assert.equal(await way.authenticate(request(scene.one, device.der)), undefined);

    await setCertificateAuth(scene, { bind: 'cn', passwordless: true });

    const caller = await way.authenticate(request(scene.one, device.der));
    assert.ok(caller !== undefined && 'instance' in caller);
    assert.equal(caller.instance, scene.one);
    const named = { userName: 'somebody', password: Buffer.from('x') };
    assert.equal(await way.authenticate(request(scene.one, device.der, named)), undefined);
    const secret = { password: Buffer.from('x') };
    assert.equal(await way.authenticate(request(scene.one, device.der, secret)), undefined);
    assert.equal(await way.authenticate(request(scene.one, undefined)), undefined);
    assert.equal(
      refusedAs(await way.authenticate(request(scene.one, other.der))),
      'certificateMismatch',
    );
  });

  test('settings that do not hold open no door', async (t) => {
    const scene = await openCertificateScene(t);
    await scene.register(root);
    const way = createCertificateWay(scene.certificates);

    await setCertificateAuth(scene, { passwordless: true });

    assert.equal(await way.authenticate(request(scene.one, device.der)), undefined);
    assert.equal(refusedAs(await scene.guard(undefined)), 'certificateMissing');
  });
});
