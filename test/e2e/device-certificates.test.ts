/** A device's certificate from the handshake to CONNECT: the listener passes on, identity judges. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, type TestContext, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { createAuthority } from '../harness/certificates.ts';
import {
  accepted,
  type CertificateScene,
  client,
  openCertificateScene,
  refusedAs,
  registered,
} from '../harness/certificate-scene.ts';
import { type Issued, openWorkshop } from '../harness/device-authority.ts';
import { type EchoListener, openEcho } from '../harness/echo-listener.ts';
import { needs } from '../harness/tool.ts';

interface World {
  readonly scene: CertificateScene;
  readonly echo: EchoListener;
  /** Connects and answers what CONNECT would. */
  knock(shown: Issued, options?: object): ReturnType<CertificateScene['guard']>;
  readonly sockets: readonly TLSSocket[];
}

async function openWorld(t: TestContext): Promise<World> {
  const scene = await openCertificateScene(t);
  const authority = createAuthority(t);
  const server = authority.issue('localhost');
  const { certificates } = scene;
  const echo = await openEcho(t, {
    url: 'mqtts://127.0.0.1:0',
    tls: {
      ...server,
      clientCertificates: 'required',
      clientAuthorityFile: authority.certificateFile,
    },
    certificates: {
      find: (name) => certificates.servers.find(name),
      mayBeRegistered: (certificate) => certificates.mayBeRegistered(certificate),
    },
  });
  const sockets: TLSSocket[] = [];
  return {
    scene,
    echo,
    sockets,
    async knock({ certificate: cert, key }, options = {}) {
      const socket = connect({
        port: echo.port,
        host: '127.0.0.1',
        servername: 'localhost',
        ca: authority.certificate,
        cert,
        key,
        ...options,
      });
      socket.on('error', () => {});
      t.after(() => void socket.destroy());
      sockets.push(socket);
      socket.write('hello');
      await once(socket, 'data');
      const { certificate, certificateVerified } = echo.guests.at(-1)!.transport.peer;
      return await scene.guard(certificate, { certificateVerified });
    },
  };
}

describe('a device with a certificate of a registered CA', needs('openssl'), () => {
  for (const algorithm of ['ec', 'rsa'] as const) {
    test(`${algorithm}: it gets in, is registered, and is out when made inactive`, async (t) => {
      const { scene, knock } = await openWorld(t);
      const workshop = openWorkshop(t);
      const maker = workshop.authority({ name: 'maker', algorithm });
      const impostor = workshop.authority({ name: 'maker', algorithm });
      const device = maker.issue('device-1');
      await scene.register(maker);

      const identity = accepted(await knock(device));

      assert.equal(identity.authoritySerial, maker.serial);
      const live = client();
      scene.certificates.watch(identity, live);
      await registered(scene, device);
      assert.equal(refusedAs(await knock(impostor.issue('device-1'))), 'certificateUnknown');
      const key = { instanceId: 'one', authoritySerial: maker.serial, serial: device.serial };
      await scene.certificates.setDeviceActive(key, false);
      assert.deepEqual(live.ends, ['certificateInactive']);
      assert.equal(refusedAs(await knock(device)), 'certificateInactive');
    });
  }

  test('resumes its session, and is judged again', async (t) => {
    const { scene, knock, sockets } = await openWorld(t);
    const maker = openWorkshop(t).authority({ name: 'maker' });
    const device = maker.issue('device-1');
    await scene.register(maker);
    accepted(await knock(device, { maxVersion: 'TLSv1.2' }));
    const session = sockets[0]?.getSession();

    accepted(await knock(device, { maxVersion: 'TLSv1.2', session }));
    assert.equal(sockets[1]?.isSessionReused(), true);
    await scene.certificates.setAuthorityActive('one', maker.serial, false);
    const answer = await knock(device, { maxVersion: 'TLSv1.2', session });

    assert.equal(sockets[2]?.isSessionReused(), true);
    assert.equal(refusedAs(answer), 'certificateInactive');
  });
});
