/**
 * Server certificates by name, and what an instance makes of client certificates.
 *
 * `SetSniConfig` is the product's; there the certificates it points to live in another service,
 * so uploading them is ours.
 */
import { parseCertificateSettings } from '#identity';
import { type Action, type Call, type Parameter, type ResultField, text } from '../action.ts';
import { ApiFault, type ApiFaultCode } from '../api-fault.ts';
import type { Services } from '../services.ts';

const INSTANCE_ID: Parameter = {
  name: 'MqttInstanceId',
  type: 'string',
  required: true,
  about: 'The instance that the devices use.',
};

const CERTIFICATE_ID: Parameter = {
  name: 'CertificateId',
  type: 'string',
  required: true,
  about: 'Your name for the certificate: 1 to 64 of A-Z, a-z, 0-9, _ and -.',
  charsMax: 64,
};

const FAULTS: readonly ApiFaultCode[] = [
  'ParameterFieldCheckFailed',
  'MqttInstanceNotFound',
  'MqttOwnerCheckError',
  'PermissionCheckFailed',
  'InternalError',
];

interface Description {
  readonly name: string;
  readonly family: string;
  readonly origin: Action['origin'];
  readonly about: string;
  readonly parameters: readonly Parameter[];
  readonly result: readonly ResultField[];
  run(services: Services, instanceId: string, call: Call): Promise<Record<string, unknown>>;
}

function describeAction(description: Description): Action {
  const { run, ...rest } = description;
  return {
    ...rest,
    parameters: [INSTANCE_ID, ...description.parameters],
    answer: 'bare',
    faults: FAULTS,
    permission: `mq:${description.name}`,
    instanceParameter: 'MqttInstanceId',
    callsPerSecondMax: 100,
    handle: (services, call) => run(services, text(call, 'MqttInstanceId'), call),
  };
}

const setSniConfig = describeAction({
  name: 'SetSniConfig',
  family: 'instance',
  origin: 'product',
  about: 'Sets which server certificate answers to which name; it takes effect at once.',
  parameters: [
    {
      name: 'DefaultCertificate',
      type: 'string',
      required: true,
      about: 'Certificate for names of the instance that SniConfig does not hold.',
      charsMax: 64,
    },
    {
      name: 'SniConfig',
      type: 'string',
      required: false,
      about:
        '`domain#certificate;domain#certificate`; a password after a further `#` is not needed ' +
        'here and is ignored.',
      charsMax: 65_536,
    },
  ],
  result: [{ name: 'Success', type: 'string', about: '`true`.' }],
  async run({ certificates }, instanceId, call) {
    await certificates.servers.setNames(instanceId, {
      defaultId: text(call, 'DefaultCertificate'),
      names: parseSniConfig(text(call, 'SniConfig')),
    });
    return { Success: 'true' };
  },
});

function parseSniConfig(config: string): { domain: string; id: string }[] {
  const entries = config.split(';').map((entry) => entry.trim());
  return entries
    .filter((entry) => entry !== '')
    .map((entry) => {
      const [domain = '', id = ''] = entry.split('#', 2);
      if (domain === '' || id === '') {
        const form = 'SniConfig is domain#certificate, several with semicolons.';
        throw new ApiFault('ParameterFieldCheckFailed', form);
      }
      return { domain, id };
    });
}

const uploadServerCertificate = describeAction({
  name: 'UploadServerCertificate',
  family: 'server-certificate',
  origin: 'ternmq',
  about: 'Stores a server certificate and its key, or replaces them; SetSniConfig puts it to use.',
  parameters: [
    CERTIFICATE_ID,
    {
      name: 'Certificate',
      type: 'string',
      required: true,
      about: 'The certificate, then any intermediate ones, PEM.',
      charsMax: 65_536,
    },
    {
      name: 'PrivateKey',
      type: 'string',
      required: true,
      about: 'Its private key, PEM; stored sealed and never told again.',
      charsMax: 65_536,
    },
    {
      name: 'KeyPassword',
      type: 'string',
      required: false,
      about: 'Password of the private key, where it is encrypted.',
      charsMax: 1_024,
    },
  ],
  result: [{ name: 'CertificateId', type: 'string', about: 'As it was given.' }],
  async run({ certificates }, instanceId, call) {
    const id = text(call, 'CertificateId');
    await certificates.servers.upload({
      instanceId,
      id,
      certificate: text(call, 'Certificate'),
      key: text(call, 'PrivateKey'),
      keyPassword: text(call, 'KeyPassword') || undefined,
    });
    return { CertificateId: id };
  },
});

const listServerCertificates = describeAction({
  name: 'ListServerCertificates',
  family: 'server-certificate',
  origin: 'ternmq',
  about: 'Lists the server certificates of an instance and the names that point to them.',
  parameters: [],
  result: [
    {
      name: 'ServerCertificates',
      about: 'All of them.',
      many: true,
      type: [
        { name: 'CertificateId', type: 'string', about: 'Your name for it.' },
        { name: 'Subject', type: 'string', about: 'Its subject.' },
        { name: 'AlternativeNames', type: 'string', about: 'The names it is for.' },
        { name: 'ValidBegin', type: 'string', about: 'Valid from, in ms since 1970.' },
        { name: 'ValidEnd', type: 'string', about: 'Valid to, in ms since 1970.' },
        { name: 'CreateTime', type: 'number', about: 'When it was uploaded, in ms since 1970.' },
        { name: 'Domains', type: 'string[]', about: 'The names it answers to.' },
        { name: 'Default', type: 'boolean', about: 'It answers where no name matches.' },
      ],
    },
  ],
  async run({ certificates }, instanceId) {
    const names = certificates.servers.names(instanceId);
    return {
      ServerCertificates: certificates.servers.list(instanceId).map((record) => ({
        CertificateId: record.id,
        Subject: record.subject,
        AlternativeNames: record.alternativeNames,
        ValidBegin: String(record.validFromMs),
        ValidEnd: String(record.validToMs),
        CreateTime: record.createdMs,
        Domains: (names?.names ?? [])
          .filter(({ id }) => id === record.id)
          .map(({ domain }) => domain),
        Default: names?.defaultId === record.id,
      })),
    };
  },
});

const deleteServerCertificate = describeAction({
  name: 'DeleteServerCertificate',
  family: 'server-certificate',
  origin: 'ternmq',
  about: 'Removes a server certificate that no name points to.',
  parameters: [CERTIFICATE_ID],
  result: [{ name: 'CertificateId', type: 'string', about: 'As it was given.' }],
  async run({ certificates }, instanceId, call) {
    const id = text(call, 'CertificateId');
    await certificates.servers.remove(instanceId, id);
    return { CertificateId: id };
  },
});

const AUTH_PARAMETERS: readonly Parameter[] = [
  {
    name: 'Required',
    type: 'boolean',
    required: false,
    about: 'Nobody connects without a certificate that holds.',
  },
  {
    name: 'Bind',
    type: 'string',
    required: false,
    about:
      'What must be the client identifier, or its DeviceID: `cn` the common name, `san` a DNS ' +
      'name or URI among the alternative names, `none` nothing.',
    oneOf: ['none', 'cn', 'san'],
  },
  {
    name: 'Passwordless',
    type: 'boolean',
    required: false,
    about: 'A CONNECT without user name and password is admitted on its certificate; needs Bind.',
  },
];

const setCertificateAuth = describeAction({
  name: 'SetCertificateAuth',
  family: 'instance',
  origin: 'ternmq',
  about: 'Sets what an instance makes of client certificates; what is left out stays.',
  parameters: AUTH_PARAMETERS,
  result: [
    { name: 'Required', type: 'boolean', about: 'As it is now.' },
    { name: 'Bind', type: 'string', about: 'As it is now.' },
    { name: 'Passwordless', type: 'boolean', about: 'As it is now.' },
  ],
  async run({ certificates, instances }, instanceId, call) {
    const instance = instances.find(instanceId);
    if (instance === undefined) throw new ApiFault('MqttInstanceNotFound');
    const present = certificates.settings(instance);
    const settings = parseCertificateSettings({
      required: call.arguments['Required'] ?? present.required,
      bind: call.arguments['Bind'] ?? present.bind,
      passwordless: call.arguments['Passwordless'] ?? present.passwordless,
    });
    await instances.update(instanceId, { authentication: { certificates: settings } });
    const { required, bind, passwordless } = settings;
    return { Required: required, Bind: bind, Passwordless: passwordless };
  },
});

/** Server certificates by name, and the settings of client certificates. */
export const serverCertificateActions: readonly Action[] = [
  setSniConfig,
  uploadServerCertificate,
  listServerCertificates,
  deleteServerCertificate,
  setCertificateAuth,
];
