/** The actions on certificates: their exact answers, and their codes for what is wrong. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { after, describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { silentLog, systemRandom } from '#base';
import {
  type Certificates,
  type ConnectRequest,
  createSecretBox,
  openAccounts,
  openCertificates,
} from '#identity';
import { type Instances, openInstances } from '#instances';
import {
  type DeviceAuthority,
  type Issued,
  openWorkshop,
} from '../../../test/harness/device-authority.ts';
import { ManualClock } from '../../../test/harness/manual-clock.ts';
import { ApiFault } from '../api-fault.ts';
import { readArguments } from '../arguments.ts';
import { translateFault } from '../fault-translation.ts';
import type { Services } from '../services.ts';
import { certificateActions } from './certificates.ts';

// The clock is ahead, so that certificates made meanwhile are valid.
const HOUR_MS = 60 * 60 * 1_000;
const workshop = openWorkshop({ after });
const root = workshop.authority({ name: 'maker' });
const rsa = workshop.authority({ name: 'maker of old', algorithm: 'rsa' });
const device = root.issue('device-1');
const acme = root.issue('acme', { extensions: ['subjectAltName=DNS:mqtt.acme.example'] });
const PAGE = { PageNo: '1', PageSize: '10' };

type Answer = Record<string, unknown>;

interface World {
  readonly certificates: Certificates;
  readonly instances: Instances;
  /** A refusal rejects with the fault that the caller would read. */
  call(name: string, parameters?: Record<string, string>): Promise<Answer>;
  register(authority: DeviceAuthority): Promise<Answer>;
  connect(shown: Issued): Promise<void>;
}

async function openWorld(t: TestContext): Promise<World> {
  const clock = new ManualClock(Date.now() + HOUR_MS);
  const { store } = openMemoryEngine({ clock });
  const ground = { store, clock, random: systemRandom, log: silentLog };
  const box = createSecretBox(Buffer.alloc(32, 1), systemRandom);
  const adminKey = { accessKeyId: 'ak', accessKeySecret: 'secret' };
  const { accounts } = await openAccounts({ ...ground, box, adminKey });
  const instances = await openInstances({ ...ground, defaultId: 'one', openDefault: true });
  const certificates = await openCertificates({ ...ground, secretBox: box });
  t.after(() => {
    for (const opened of [accounts, instances, certificates]) opened.close();
  });
  // All that these actions use.
  const services = { clock, instances, certificates } as Partial<Services> as Services;
  const call = async (name: string, parameters: Record<string, string> = {}): Promise<Answer> => {
    const action = certificateActions.find((one) => one.name === name)!;
    const { principal } = accounts.lookUp('ak', undefined)!;
    try {
      const given = new Map(Object.entries({ MqttInstanceId: 'one', ...parameters }));
      const values = readArguments(action, given);
      const demand = (): void => {};
      return await action.handle(services, { arguments: values, principal, requestId: '', demand });
    } catch (error) {
      throw translateFault(action, error) ?? error;
    }
  };
  return {
    certificates,
    instances,
    call,
    register: async (authority) => {
      const { RegisterCode } = await call('GetRegisterCode');
      return await call('RegisterCaCertificate', {
        CaName: 'ours',
        CaContent: authority.certificate,
        VerificationContent: authority.issue(String(RegisterCode)).certificate,
      });
    },
    connect: async ({ der, serial }) => {
      const identity = await certificates.guard(request(instances, der));
      assert.ok(identity !== undefined && !('refused' in identity));
      const client = { clientId: 'x', address: '', notify() {}, permissionsChanged() {} };
      certificates.watch(identity, { ...client, disconnect() {} });
      const key = { instanceId: 'one', authoritySerial: identity.authoritySerial!, serial };
      while ((await certificates.device(key)) === undefined);
    },
  };
}

function request(instances: Instances, certificate: Uint8Array): ConnectRequest {
  return {
    instance: instances.find('one')!,
    certificate,
    certificateVerified: false,
    protocolVersion: 5,
    clientId: 'x',
    userName: undefined,
    password: undefined,
    address: '127.0.0.1',
    listener: 'mqtts://127.0.0.1:8883',
    serverName: undefined,
  };
}

function isFault(code: string): (error: unknown) => boolean {
  return (error) => error instanceof ApiFault && error.code === code;
}

/** Dates in ms as texts, as the certificate has them. */
function dates(certificate: string): Answer {
  const { validFromDate, validToDate } = new X509Certificate(certificate);
  return { ValidBegin: String(+validFromDate), ValidEnd: String(+validToDate) };
}

describe('CA certificates', () => {
  test('are registered, told, listed, switched and deleted', async (t) => {
    const { call, register } = await openWorld(t);
    const Sn = root.serial;

    assert.deepEqual(await register(root), { Sn });

    const { Data } = (await call('GetCaCertificate', { Sn })) as { Data: Answer };
    assert.match(String(Data['RegistrationCode']), /^[0-9a-f-]{36}\d{10}$/);
    assert.match(String(Data['VerificationContent']), /^-----BEGIN CERTIFICATE-----/);
    assert.partialDeepStrictEqual(Data, {
      CaContent: root.certificate,
      CaName: 'ours',
      Sn,
      Status: '1',
      ...dates(root.certificate),
    });
    assert.deepEqual(await call('ListCaCertificate', PAGE), {
      Data: { CaCertificateVOS: [Data], PageNo: 1, PageSize: 10, Total: 1 },
    });
    assert.deepEqual(await call('InactivateCaCertificate', { Sn }), { Sn });
    const off = (await call('GetCaCertificate', { Sn })) as { Data: Answer };
    assert.equal(off.Data['Status'], '0');
    assert.deepEqual(await call('ActiveCaCertificate', { Sn: Sn.toLowerCase() }), { Sn });
    assert.deepEqual(await call('DeleteCaCertificate', { Sn }), { Sn });
    await assert.rejects(call('GetCaCertificate', { Sn }), isFault('FindCaBySnError'));
    await assert.rejects(call('DeleteCaCertificate', { Sn }), isFault('FindCaBySnError'));
  });

  test('are listed by pages; Total counts rows', async (t) => {
    const { call, register } = await openWorld(t);
    await register(root);
    await register(rsa);

    const { Data } = (await call('ListCaCertificate', { PageNo: '2', PageSize: '1' })) as {
      Data: { CaCertificateVOS: Answer[] };
    };

    assert.partialDeepStrictEqual(Data, { PageNo: 2, PageSize: 1, Total: 2 });
    assert.equal(Data.CaCertificateVOS.length, 1);
    const beyond = await call('ListCaCertificate', { PageNo: '3', PageSize: '1' });
    assert.partialDeepStrictEqual(beyond, { Data: { CaCertificateVOS: [], Total: 2 } });
    const wrong = [{ PageNo: '0' }, { PageSize: '101' }, { PageSize: '0' }, { PageNo: 'x' }];
    for (const bad of wrong) {
      const asked = call('ListCaCertificate', { ...PAGE, ...bad });
      await assert.rejects(asked, isFault('ParameterFieldCheckFailed'));
    }
  });

  test('that cannot be registered are refused by their codes', async (t) => {
    const { call, register } = await openWorld(t);
    const { RegisterCode } = await call('GetRegisterCode');
    const code = String(RegisterCode);
    const ask = (
      authority: { certificate: string },
      signer: DeviceAuthority,
      name = code,
    ): Promise<Answer> =>
      call('RegisterCaCertificate', {
        CaName: 'ours',
        CaContent: authority.certificate,
        VerificationContent: signer.issue(name).certificate,
      });

    await assert.rejects(ask(root, root, 'client-test'), isFault('RegisterCodeError'));
    await assert.rejects(ask(root, rsa), isFault('CertificateContentError'));
    await assert.rejects(ask(device, root), isFault('CertificateContentError'));
    await ask(root, root);
    await assert.rejects(ask(rsa, rsa), isFault('RegisterCodeUsed'));
    await assert.rejects(register(root), isFault('SnNotUnique'));
  });
});

describe('device certificates', () => {
  test('are told, listed, switched and deleted', async (t) => {
    const { call, register, connect } = await openWorld(t);
    await register(root);
    await register(rsa);
    await connect(device);
    const key = { CaSn: root.serial, DeviceSn: device.serial };
    const Data = {
      CaSn: root.serial,
      DeviceContent: device.certificate,
      DeviceName: 'device-1',
      DeviceSn: device.serial,
      Status: '1',
      ...dates(device.certificate),
    };

    assert.deepEqual(await call('GetDeviceCertificate', key), { Data });
    const page = { DeviceCertificateVOS: [Data], PageNo: 1, PageSize: 10, Total: 1 };
    assert.deepEqual(await call('ListDeviceCertificate', PAGE), { Data: page });
    const ofRoot = { CaSn: root.serial, ...PAGE };
    assert.deepEqual(await call('ListDeviceCertificateByCaSn', ofRoot), { Data: page });
    const none = { DeviceCertificateVOS: [], PageNo: 1, PageSize: 10, Total: 0 };
    const ofRsa = { CaSn: rsa.serial, ...PAGE };
    assert.deepEqual(await call('ListDeviceCertificateByCaSn', ofRsa), { Data: none });
    const told = { DeviceSn: device.serial };
    assert.deepEqual(await call('InactivateDeviceCertificate', key), told);
    const off = await call('GetDeviceCertificate', key);
    assert.partialDeepStrictEqual(off, { Data: { Status: '0' } });
    assert.deepEqual(await call('ActiveDeviceCertificate', key), told);
    assert.deepEqual(await call('DeleteDeviceCertificate', key), told);
    assert.deepEqual(await call('ListDeviceCertificate', PAGE), { Data: none });
    const gone = call('DeleteDeviceCertificate', key);
    await assert.rejects(gone, isFault('ParameterFieldCheckFailed'));
    const foreign = call('GetDeviceCertificate', { ...key, CaSn: '99' });
    await assert.rejects(foreign, isFault('FindCaBySnError'));
  });
});

describe('server certificates', () => {
  test('are uploaded, named, listed and deleted; the key is never told', async (t) => {
    const { call, certificates } = await openWorld(t);
    const CertificateId = '1533-cn-hangzhou';
    const Certificate = acme.certificate;

    const upload = { CertificateId, Certificate, PrivateKey: acme.key };
    assert.deepEqual(await call('UploadServerCertificate', upload), { CertificateId });
    const setting = {
      DefaultCertificate: CertificateId,
      SniConfig: `mqtt.acme.example#${CertificateId}#password;`,
    };
    assert.deepEqual(await call('SetSniConfig', setting), { Success: 'true' });

    assert.equal(certificates.servers.find('mqtt.acme.example')?.certificate, Certificate);
    const listed = await call('ListServerCertificates');
    assert.partialDeepStrictEqual(listed, {
      ServerCertificates: [{ CertificateId, Domains: ['mqtt.acme.example'], Default: true }],
    });
    assert.doesNotMatch(JSON.stringify(listed), /PRIVATE/);
    const deleted = call('DeleteServerCertificate', { CertificateId });
    await assert.rejects(deleted, isFault('ParameterFieldCheckFailed'));
  });

  test('that do not fit are refused', async (t) => {
    const { call } = await openWorld(t);
    const upload = { CertificateId: 'c', Certificate: acme.certificate, PrivateKey: device.key };
    const unfit = call('UploadServerCertificate', upload);
    await assert.rejects(unfit, isFault('ParameterFieldCheckFailed'));
    await call('UploadServerCertificate', { ...upload, PrivateKey: acme.key });

    for (const SniConfig of [
      'mqtt.acme.example',
      '#c',
      'x#',
      'other.example#c',
      'mqtt.acme.example#d',
    ]) {
      const asked = call('SetSniConfig', { DefaultCertificate: 'c', SniConfig });
      await assert.rejects(asked, isFault('ParameterFieldCheckFailed'));
    }
    const unknown = call('SetSniConfig', { DefaultCertificate: 'd' });
    await assert.rejects(unknown, isFault('ParameterFieldCheckFailed'));
  });
});

describe('settings of client certificates', () => {
  test('are set one by one, and must make sense', async (t) => {
    const { call, certificates, instances } = await openWorld(t);

    assert.deepEqual(await call('SetCertificateAuth', { Required: 'true', Bind: 'cn' }), {
      Required: true,
      Bind: 'cn',
      Passwordless: false,
    });
    assert.deepEqual(await call('SetCertificateAuth', { Passwordless: 'true' }), {
      Required: true,
      Bind: 'cn',
      Passwordless: true,
    });

    assert.deepEqual(certificates.settings(instances.find('one')!), {
      required: true,
      bind: 'cn',
      passwordless: true,
    });
    for (const wrong of [{ Bind: 'none' }, { Bind: 'dn' }, { Required: 'maybe' }]) {
      const asked = call('SetCertificateAuth', wrong as Record<string, string>);
      await assert.rejects(asked, isFault('ParameterFieldCheckFailed'));
    }
  });
});
