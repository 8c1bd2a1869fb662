/**
 * Certificates: the authorities that sign those of an instance's devices, and the devices that
 * came with one.
 *
 * Serial numbers are told as upper-case hexadecimal and taken in either case. States, dates and
 * page numbers are texts on the wire, as the product's clients expect.
 */
import type { AuthorityRecord, DeviceKey, DeviceRecord } from '#identity';
import {
  type Action,
  type Call,
  number,
  type Parameter,
  type ResultField,
  text,
} from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import type { Services } from '../services.ts';
import { serverCertificateActions } from './server-certificates.ts';

const INSTANCE_ID: Parameter = {
  name: 'MqttInstanceId',
  type: 'string',
  required: true,
  about: 'The instance that the devices use.',
};

const SN: Parameter = {
  name: 'Sn',
  type: 'string',
  required: true,
  about: 'Serial number of the CA certificate, hexadecimal.',
  charsMax: 128,
};

const CA_SN: Parameter = { ...SN, name: 'CaSn', about: 'Serial number of the issuing CA.' };

const DEVICE_SN: Parameter = {
  ...SN,
  name: 'DeviceSn',
  about: 'Serial number of the device certificate, hexadecimal.',
};

const PAGE: readonly Parameter[] = [
  {
    name: 'PageNo',
    type: 'integer',
    required: true,
    about: 'The page, counted from 1.',
    min: 1,
    max: 1_000_000,
  },
  {
    name: 'PageSize',
    type: 'integer',
    required: true,
    about: 'Rows on a page, 1 to 100.',
    min: 1,
    max: 100,
  },
];

const STATE_AND_DATES: readonly ResultField[] = [
  { name: 'Status', type: 'string', about: '`1` active, `0` inactive.' },
  { name: 'ValidBegin', type: 'string', about: 'Valid from, in ms since 1970.' },
  { name: 'ValidEnd', type: 'string', about: 'Valid to, in ms since 1970.' },
];

const CA_FIELDS: readonly ResultField[] = [
  { name: 'CaContent', type: 'string', about: 'The CA certificate, PEM.' },
  { name: 'CaName', type: 'string', about: 'Its name for people.' },
  { name: 'RegistrationCode', type: 'string', about: 'The code it was registered with.' },
  { name: 'Sn', type: 'string', about: 'Its serial number.' },
  ...STATE_AND_DATES,
  { name: 'VerificationContent', type: 'string', about: 'The certificate with the code, PEM.' },
];

const DEVICE_FIELDS: readonly ResultField[] = [
  { name: 'CaSn', type: 'string', about: 'Serial number of the CA.' },
  { name: 'DeviceContent', type: 'string', about: 'The device certificate, PEM.' },
  { name: 'DeviceName', type: 'string', about: 'Common name of its subject.' },
  { name: 'DeviceSn', type: 'string', about: 'Its serial number.' },
  ...STATE_AND_DATES,
];

const SN_RESULT: readonly ResultField[] = [
  { name: 'Sn', type: 'string', about: 'Serial number of the CA certificate.' },
];

const DEVICE_SN_RESULT: readonly ResultField[] = [
  { name: 'DeviceSn', type: 'string', about: 'Serial number of the device certificate.' },
];

const FAULTS: readonly ApiFaultCode[] = [
  'ParameterFieldCheckFailed',
  'MqttInstanceNotFound',
  'MqttOwnerCheckError',
  'PermissionCheckFailed',
  'FindCaBySnError',
  'InternalError',
];

const REGISTRATION_FAULTS: readonly ApiFaultCode[] = [
  ...FAULTS,
  'RegisterCodeError',
  'RegisterCodeUsed',
  'CertificateContentError',
  'SnNotUnique',
  'CaNumExceed',
];

interface Description {
  readonly name: string;
  readonly about: string;
  readonly parameters: readonly Parameter[];
  readonly result: readonly ResultField[];
  readonly permission?: string;
  readonly faults?: readonly ApiFaultCode[];
  run(
    certificates: Services['certificates'],
    instanceId: string,
    call: Call,
  ): Promise<Record<string, unknown>>;
}

function describeAction(family: string, description: Description): Action {
  return {
    name: description.name,
    family,
    about: description.about,
    origin: 'product',
    parameters: [INSTANCE_ID, ...description.parameters],
    result: description.result,
    answer: 'bare',
    faults: description.faults ?? FAULTS,
    permission: description.permission ?? `mq:${description.name}`,
    instanceParameter: 'MqttInstanceId',
    callsPerSecondMax: 500,
    handle: (services, call) =>
      description.run(services.certificates, text(call, 'MqttInstanceId'), call),
  };
}

const authorityAction = (description: Description): Action =>
  describeAction('ca-certificate', description);

const deviceAction = (description: Description): Action =>
  describeAction('device-certificate', description);

const getRegisterCode = authorityAction({
  name: 'GetRegisterCode',
  about: 'Makes a code that proves, inside a certificate, who has the key of a CA.',
  parameters: [],
  result: [
    {
      name: 'RegisterCode',
      type: 'string',
      about: 'Common name of the verification certificate; good once, within a day.',
    },
  ],
  run: async (certificates, instanceId) => ({
    RegisterCode: await certificates.createRegistrationCode(instanceId),
  }),
});

const registerCaCertificate = authorityAction({
  name: 'RegisterCaCertificate',
  about: 'Registers a CA: from now on its device certificates are known to the instance.',
  permission: 'mq:RegisterCa',
  parameters: [
    {
      name: 'CaName',
      type: 'string',
      required: true,
      about: 'A name for people.',
      charsMax: 128,
    },
    {
      name: 'CaContent',
      type: 'string',
      required: true,
      about: 'The CA certificate in PEM, with basicConstraints CA:TRUE; RSA or ECC.',
      charsMax: 65_536,
    },
    {
      name: 'VerificationContent',
      type: 'string',
      required: true,
      about: 'A certificate in PEM, signed by the CA, with the registration code as common name.',
      charsMax: 65_536,
    },
  ],
  result: SN_RESULT,
  faults: REGISTRATION_FAULTS,
  run: async (certificates, instanceId, call) => {
    const verdict = await certificates.registerAuthority({
      instanceId,
      name: text(call, 'CaName'),
      content: text(call, 'CaContent'),
      verification: text(call, 'VerificationContent'),
    });
    if ('problem' in verdict) throw new ApiFault(PROBLEMS[verdict.problem], verdict.detail);
    return { Sn: verdict.serial };
  },
});

const PROBLEMS = {
  codeUnknown: 'RegisterCodeError',
  codeUsed: 'RegisterCodeUsed',
  contentUnusable: 'CertificateContentError',
  serialTaken: 'SnNotUnique',
  countExceeded: 'CaNumExceed',
} as const satisfies Readonly<Record<string, ApiFaultCode>>;

const getCaCertificate = authorityAction({
  name: 'GetCaCertificate',
  about: 'Answers a registered CA.',
  parameters: [SN],
  result: [{ name: 'Data', about: 'The CA.', type: CA_FIELDS }],
  run: async (certificates, instanceId, call) => ({
    Data: describeAuthority(demandAuthority(certificates, instanceId, text(call, 'Sn'))),
  }),
});

const listCaCertificate = authorityAction({
  name: 'ListCaCertificate',
  about: 'Lists the registered CAs in the order of their registration.',
  parameters: PAGE,
  result: [pageResult('CaCertificateVOS', 'The CAs of the page.', CA_FIELDS)],
  run: async (certificates, instanceId, call) => {
    const all = certificates.authorities(instanceId);
    const { from, count } = pageOf(call);
    const rows = all.slice(from, from + count).map(describeAuthority);
    return { Data: { CaCertificateVOS: rows, ...pageNumbers(call, all.length) } };
  },
});

const activeCaCertificate = authorityAction({
  name: 'ActiveCaCertificate',
  about: 'Makes a CA active again: its devices may connect.',
  parameters: [SN],
  result: SN_RESULT,
  run: (certificates, instanceId, call) => setAuthority(certificates, instanceId, call, true),
});

const inactivateCaCertificate = authorityAction({
  name: 'InactivateCaCertificate',
  about: 'Makes a CA inactive: its devices are disconnected and stay outside.',
  parameters: [SN],
  result: SN_RESULT,
  run: (certificates, instanceId, call) => setAuthority(certificates, instanceId, call, false),
});

const deleteCaCertificate = authorityAction({
  name: 'DeleteCaCertificate',
  about: 'Forgets a CA and all its device certificates; its devices are disconnected.',
  parameters: [SN],
  result: SN_RESULT,
  run: async (certificates, instanceId, call) => {
    const { serial } = demandAuthority(certificates, instanceId, text(call, 'Sn'));
    await certificates.removeAuthority(instanceId, serial);
    return { Sn: serial };
  },
});

const getDeviceCertificate = deviceAction({
  name: 'GetDeviceCertificate',
  about: 'Answers a device certificate that has been connected with.',
  parameters: [CA_SN, DEVICE_SN],
  result: [{ name: 'Data', about: 'The device certificate.', type: DEVICE_FIELDS }],
  run: async (certificates, instanceId, call) => {
    const device = await certificates.device(deviceKey(certificates, instanceId, call));
    if (device === undefined) throw deviceUnknown();
    return { Data: describeDevice(device) };
  },
});

const listDeviceCertificate = deviceAction({
  name: 'ListDeviceCertificate',
  about: 'Lists the device certificates of an instance by CA and serial number.',
  parameters: PAGE,
  result: [pageResult('DeviceCertificateVOS', 'The devices of the page.', DEVICE_FIELDS)],
  run: (certificates, instanceId, call) => listDevices(certificates, instanceId, undefined, call),
});

const listDeviceCertificateByCaSn = deviceAction({
  name: 'ListDeviceCertificateByCaSn',
  about: 'Lists the device certificates of one CA by serial number.',
  parameters: [CA_SN, ...PAGE],
  result: [pageResult('DeviceCertificateVOS', 'The devices of the page.', DEVICE_FIELDS)],
  run: async (certificates, instanceId, call) => {
    const { serial } = demandAuthority(certificates, instanceId, text(call, 'CaSn'));
    return await listDevices(certificates, instanceId, serial, call);
  },
});

const activeDeviceCertificate = deviceAction({
  name: 'ActiveDeviceCertificate',
  about: 'Makes a device certificate active again: the device may connect.',
  parameters: [CA_SN, DEVICE_SN],
  result: DEVICE_SN_RESULT,
  run: (certificates, instanceId, call) => setDevice(certificates, instanceId, call, true),
});

const inactivateDeviceCertificate = deviceAction({
  name: 'InactivateDeviceCertificate',
  about: 'Makes a device certificate inactive: the device is disconnected and stays outside.',
  parameters: [CA_SN, DEVICE_SN],
  result: DEVICE_SN_RESULT,
  run: (certificates, instanceId, call) => setDevice(certificates, instanceId, call, false),
});

const deleteDeviceCertificate = deviceAction({
  name: 'DeleteDeviceCertificate',
  about: 'Forgets a device certificate and disconnects it; connecting again registers it anew.',
  parameters: [CA_SN, DEVICE_SN],
  result: DEVICE_SN_RESULT,
  run: async (certificates, instanceId, call) => {
    const key = deviceKey(certificates, instanceId, call);
    if (!(await certificates.removeDevice(key))) throw deviceUnknown();
    return { DeviceSn: key.serial };
  },
});

function pageResult(rows: string, about: string, fields: readonly ResultField[]): ResultField {
  return {
    name: 'Data',
    about: 'The page.',
    type: [
      { name: rows, about, many: true, type: fields },
      { name: 'PageNo', type: 'number', about: 'As it was asked for.' },
      { name: 'PageSize', type: 'number', about: 'As it was asked for.' },
      { name: 'Total', type: 'number', about: 'Rows on all pages.' },
    ],
  };
}

function pageOf(call: Call): { readonly from: number; readonly count: number } {
  const count = number(call, 'PageSize') ?? 1;
  return { from: ((number(call, 'PageNo') ?? 1) - 1) * count, count };
}

function pageNumbers(call: Call, total: number): Record<string, unknown> {
  return { PageNo: number(call, 'PageNo'), PageSize: number(call, 'PageSize'), Total: total };
}

function demandAuthority(
  certificates: Services['certificates'],
  instanceId: string,
  serial: string,
): AuthorityRecord {
  const authority = certificates.authority(instanceId, serial);
  if (authority === undefined) throw new ApiFault('FindCaBySnError');
  return authority;
}

async function setAuthority(
  certificates: Services['certificates'],
  instanceId: string,
  call: Call,
  active: boolean,
): Promise<Record<string, unknown>> {
  const { serial } = demandAuthority(certificates, instanceId, text(call, 'Sn'));
  if (!(await certificates.setAuthorityActive(instanceId, serial, active))) {
    throw new ApiFault('FindCaBySnError');
  }
  return { Sn: serial };
}

function deviceKey(
  certificates: Services['certificates'],
  instanceId: string,
  call: Call,
): DeviceKey {
  const { serial: authoritySerial } = demandAuthority(certificates, instanceId, text(call, 'CaSn'));
  return { instanceId, authoritySerial, serial: text(call, 'DeviceSn').toUpperCase() };
}

/** The product has no code of its own for it. */
function deviceUnknown(): ApiFault {
  return new ApiFault(
    'ParameterFieldCheckFailed',
    'No device certificate of this CA has this serial number.',
  );
}

async function setDevice(
  certificates: Services['certificates'],
  instanceId: string,
  call: Call,
  active: boolean,
): Promise<Record<string, unknown>> {
  const key = deviceKey(certificates, instanceId, call);
  if (!(await certificates.setDeviceActive(key, active))) throw deviceUnknown();
  return { DeviceSn: key.serial };
}

async function listDevices(
  certificates: Services['certificates'],
  instanceId: string,
  authoritySerial: string | undefined,
  call: Call,
): Promise<Record<string, unknown>> {
  const page = await certificates.devices(instanceId, authoritySerial, pageOf(call));
  const rows = page.rows.map(describeDevice);
  return { Data: { DeviceCertificateVOS: rows, ...pageNumbers(call, page.total) } };
}

function describeAuthority(record: AuthorityRecord): Record<string, unknown> {
  return {
    CaContent: record.content,
    CaName: record.name,
    RegistrationCode: record.registrationCode,
    Sn: record.serial,
    Status: record.active ? '1' : '0',
    ValidBegin: String(record.validFromMs),
    ValidEnd: String(record.validToMs),
    VerificationContent: record.verification,
  };
}

function describeDevice(record: DeviceRecord): Record<string, unknown> {
  return {
    CaSn: record.authoritySerial,
    DeviceContent: record.content,
    DeviceName: record.name,
    DeviceSn: record.serial,
    Status: record.active ? '1' : '0',
    ValidBegin: String(record.validFromMs),
    ValidEnd: String(record.validToMs),
  };
}

/** The product's operations on certificates, and ours. */
export const certificateActions: readonly Action[] = [
  getRegisterCode,
  registerCaCertificate,
  getCaCertificate,
  listCaCertificate,
  activeCaCertificate,
  inactivateCaCertificate,
  deleteCaCertificate,
  getDeviceCertificate,
  listDeviceCertificate,
  listDeviceCertificateByCaSn,
  activeDeviceCertificate,
  inactivateDeviceCertificate,
  deleteDeviceCertificate,
  ...serverCertificateActions,
];
