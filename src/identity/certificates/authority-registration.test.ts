/** Who may register an authority: whoever has its key, with a code that is good. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { DAY_MS, openCertificateScene, problem } from '../../../test/harness/certificate-scene.ts';
import { type DeviceAuthority, openWorkshop } from '../../../test/harness/device-authority.ts';
import type { AuthorityVerdict } from './authority-registration.ts';

const workshop = openWorkshop({ after });
const root = workshop.authority({ name: 'maker' });
const impostor = workshop.authority({ name: 'maker' });
const rsa = workshop.authority({ name: 'maker of old', algorithm: 'rsa' });
const device = root.issue('device-1');

describe('registration of an authority', () => {
  for (const authority of [root, rsa]) {
    test(`takes the one that signed the code, and lists it: ${authority.serial}`, async (t) => {
      const scene = await openCertificateScene(t);

      assert.deepEqual(await scene.register(authority), { serial: authority.serial });

      const [listed] = scene.certificates.authorities('one');
      assert.equal(listed?.serial, authority.serial);
      assert.equal(listed.active, true);
      assert.equal(listed.content, authority.certificate);
      assert.match(listed.registrationCode, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\d{10}$/);
      assert.deepEqual(scene.certificates.authorities('two'), []);
      const later = await scene.again();
      assert.equal(later.authority('one', authority.serial.toLowerCase())?.name, 'ours');
    });
  }

  test('spends the code, and not where something else was wrong', async (t) => {
    const { certificates } = await openCertificateScene(t);
    const code = await certificates.createRegistrationCode('one');
    const ask = (authority: DeviceAuthority, signer: DeviceAuthority): Promise<AuthorityVerdict> =>
      certificates.registerAuthority({
        instanceId: 'one',
        name: 'a',
        content: authority.certificate,
        verification: signer.issue(code).certificate,
      });

    assert.equal(problem(await ask(root, impostor)), 'contentUnusable');
    assert.deepEqual(await ask(root, root), { serial: root.serial });
    assert.equal(problem(await ask(rsa, rsa)), 'codeUsed');
  });

  test('of two at once with one code, one wins', async (t) => {
    const { certificates } = await openCertificateScene(t);
    const code = await certificates.createRegistrationCode('one');

    const verdicts = await Promise.all(
      [root, rsa].map((authority) =>
        certificates.registerAuthority({
          instanceId: 'one',
          name: 'a',
          content: authority.certificate,
          verification: authority.issue(code).certificate,
        }),
      ),
    );

    assert.deepEqual(new Set(verdicts.map(problem)), new Set(['codeUsed', undefined]));
    assert.equal(certificates.authorities('one').length, 1);
  });

  test('refuses a code of another instance, of yesterday, or of nobody', async (t) => {
    const { certificates, clock } = await openCertificateScene(t);
    const ask = async (commonName: string): Promise<string | undefined> =>
      problem(
        await certificates.registerAuthority({
          instanceId: 'one',
          name: 'a',
          content: root.certificate,
          verification: root.issue(commonName).certificate,
        }),
      );
    const foreign = await certificates.createRegistrationCode('two');
    const old = await certificates.createRegistrationCode('one');
    clock.advance(DAY_MS);

    assert.equal(await ask(foreign), 'codeUnknown');
    assert.equal(await ask(old), 'codeUnknown');
    assert.equal(await ask('00000000-0000-4000-8000-0000000000000123456789'), 'codeUnknown');
    assert.equal(await ask('two%2F1'), 'codeUnknown');
  });

  test('refuses what is no authority, not valid, or no certificate', async (t) => {
    const { certificates, clock } = await openCertificateScene(t);
    const plain = workshop.authority({ plain: true });
    const ask = async (authority: { certificate: string }, signer: DeviceAuthority) => {
      const code = await certificates.createRegistrationCode('one');
      const verification = signer.issue(code).certificate;
      const content = authority.certificate;
      return problem(
        await certificates.registerAuthority({
          instanceId: 'one',
          name: 'a',
          content,
          verification,
        }),
      );
    };

    assert.equal(await ask(plain, plain), 'contentUnusable');
    assert.equal(await ask(device, root), 'contentUnusable');
    assert.equal(await ask({ certificate: 'text' }, root), 'contentUnusable');
    clock.advance(-DAY_MS);
    assert.equal(await ask(root, root), 'contentUnusable');
    clock.advance(40 * DAY_MS);
    assert.equal(await ask(root, root), 'contentUnusable');
    assert.deepEqual(certificates.authorities('one'), []);
  });

  test('takes a serial number once an instance, and as often as there are instances', async (t) => {
    const scene = await openCertificateScene(t);
    const namesake = workshop.authority({ serial: 77 });
    const same = workshop.authority({ serial: 77 });

    assert.deepEqual(await scene.register(namesake), { serial: '4D' });
    assert.equal(problem(await scene.register(namesake)), 'serialTaken');
    assert.equal(problem(await scene.register(same)), 'serialTaken');
    assert.deepEqual(await scene.register(same, 'two'), { serial: '4D' });
  });
});
