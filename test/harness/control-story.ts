/**
 * A day in a backend's life: every operation of the product once or more, in an order that makes
 * sense, with answers looked at field by field. Whoever can call can live it.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import type { ControlBroker } from './control-broker.ts';
import { assertShape, OPERATIONS } from './control-operations.ts';
import {
  connectDevice,
  connectSigned,
  type Device,
  Refused,
  signClientId,
} from './device-client.ts';
import { until } from './until.ts';
import type { Answer, VendorAccess, VendorClient } from './vendor-clients.ts';
import { unique } from './wire-client.ts';

/** Everything that clients escape in different ways, and what some of them take for a space. */
const AWKWARD_LINE = '世界 é+/=&*!\'()~%20 "<>?#;,.';

/** With a second line, which not every text may have. */
export const AWKWARD: string = `${AWKWARD_LINE}\nsecond line`;

interface Scope {
  after(cleanUp: () => void): void;
}

interface Scene {
  readonly scope: Scope;
  readonly broker: ControlBroker;
  readonly access: VendorAccess;
  readonly instanceId: string;
  /** Calls, and fails unless the answer has the operation's shape. */
  call(action: string, parameters: Answer): Promise<Answer>;
}

/** Lives the day as an account of its own in instances of its own. */
export async function liveEveryOperation(
  scope: Scope,
  broker: ControlBroker,
  open: (access: VendorAccess) => VendorClient,
  url: string = broker.url('http'),
): Promise<void> {
  const secure = url.startsWith('https') ? { authority: broker.authority } : {};
  const access = { ...(await broker.createAccount()), url, ...secure };
  const client = open(access);
  const called = new Set<string>();
  const scene: Scene = {
    scope,
    broker,
    access,
    instanceId: await broker.createInstance(),
    call: async (action, parameters) => {
      const answer = await client.call(action, parameters);
      assertShape(action, answer);
      called.add(action);
      // One client's objects have no prototype, which comparing would mind.
      return JSON.parse(JSON.stringify(answer)) as Answer;
    },
  };
  await liveWithTags(scene);
  await liveWithGroups(scene);
  await liveWithTokens(scene);
  await liveWithDevices(scene);
  await liveWithCredentials(scene);
  await liveWithIdentities(scene);
  await liveWithPermissions(scene);
  await liveWithBlacklist(scene);
  await liveWithCertificates(scene);
  await liveWithTraces(scene);
  await liveWithDisaster(scene);
  assert.deepEqual([...called].sort(), [...OPERATIONS.keys()].sort(), 'every operation was called');
}

type Rows = readonly Answer[];

async function liveWithTags({ call, instanceId }: Scene): Promise<void> {
  const resource = { ResourceType: 'instance', ResourceId: [instanceId] };
  const Tag = [
    { Key: instanceId, Value: AWKWARD_LINE },
    { Key: 'stage', Value: 'test' },
  ];
  await call('TagResources', { ...resource, Tag });

  const listed = await call('ListTagResources', resource);
  const row = { ResourceId: instanceId, ResourceType: 'instance' };
  assert.deepEqual(
    listed['TagResources'],
    Tag.map(({ Key, Value }) => ({ ...row, TagKey: Key, TagValue: Value })),
  );
  assert.equal(listed['Code'], '200');
  const found = await call('ListTagResources', { ResourceType: 'instance', Tag: Tag.slice(0, 1) });
  assert.equal((found['TagResources'] as Rows).length, 2);
  const asked = JSON.stringify([{ key: instanceId, value: AWKWARD_LINE }]);
  const mine = (await call('ListInstances', { Tags: asked }))['Instances'] as Rows;
  assert.deepEqual(
    mine.map((one) => [one['InstanceId'], one['InstanceStatus']]),
    [[instanceId, 5]],
  );

  await call('UntagResources', { ...resource, TagKey: ['stage'] });
  const fewer = await call('ListTagResources', resource);
  assert.equal((fewer['TagResources'] as Rows).length, 1);
  await call('UntagResources', { ...resource, All: true });
  assert.deepEqual((await call('ListTagResources', resource))['TagResources'], []);
}

async function liveWithGroups({ call, instanceId: InstanceId }: Scene): Promise<void> {
  const GroupId = 'GID_second';
  await call('CreateGroupId', { InstanceId, GroupId, Tags: '[{"key":"k","value":"v"}]' });
  const groups = (await call('ListGroupId', { InstanceId }))['Data'] as Rows;
  assert.deepEqual(
    groups.map((group) => group['GroupId']),
    [GroupId, 'GID_test'],
  );
  assert.deepEqual(groups[0]!['Tags'], [{ TagKey: 'k', TagValue: 'v' }]);
  await call('DeleteGroupId', { InstanceId, GroupId });
  assert.equal(((await call('ListGroupId', { InstanceId }))['Data'] as Rows).length, 1);
}

async function liveWithTokens({ call, instanceId: InstanceId }: Scene): Promise<void> {
  const { Token } = await call('ApplyToken', {
    InstanceId,
    Actions: 'R,W',
    Resources: 'news/+,news/世界/#',
    ExpireTime: Date.now() + 120_000,
  });
  assert.equal((await call('QueryToken', { InstanceId, Token }))['TokenStatus'], true);
  await call('RevokeToken', { InstanceId, Token });
  assert.equal((await call('QueryToken', { InstanceId, Token }))['TokenStatus'], false);
}

/** A device of the account, by its signature. */
async function connect(
  { scope, broker, access, instanceId }: Scene,
  name: string,
): Promise<Device> {
  const clientId = `GID_test@@@${name}`;
  return await connectSigned(scope, broker.url('mqtt'), access, instanceId, clientId);
}

async function liveWithDevices(scene: Scene): Promise<void> {
  const { call, instanceId: InstanceId } = scene;
  const device = await connect(scene, 'online');
  const ClientId = 'GID_test@@@online';
  assert.equal(await device.subscribe('news/#'), 1);

  assert.equal(
    (await call('QuerySessionByClientId', { InstanceId, ClientId }))['OnlineStatus'],
    true,
  );
  const ClientIdList = [ClientId, 'GID_test@@@nobody'];
  const batch = await call('BatchQuerySessionByClientIds', { InstanceId, ClientIdList });
  assert.deepEqual(
    (batch['OnlineStatusList'] as Rows).map((row) => [row['ClientId'], row['OnlineStatus']]),
    [
      [ClientId, true],
      ['GID_test@@@nobody', false],
    ],
  );

  const MqttTopic = 'news/测试 a&b=c';
  const sent = await call('SendMessage', { InstanceId, MqttTopic, Payload: AWKWARD });
  assert.match(String(sent['MsgId']), /^[0-9A-F]{32}$/);
  assert.equal((await device.take(MqttTopic)).payload.toString(), AWKWARD);
  const personal = `news/p2p/${ClientId}`;
  await call('SendMessage', { InstanceId, MqttTopic: personal, Payload: 'to you' });
  assert.equal((await device.take(personal)).payload.toString(), 'to you');

  const closed = await call('CloseConnection', { InstanceId, ClientId });
  assert.deepEqual([closed['Code'], closed['Success']], [200, true]);
  assert.equal((await device.ended())?.reasonCode, 0x98);
  const after = await call('QuerySessionByClientId', { InstanceId, ClientId });
  assert.equal(after['OnlineStatus'], false);
}

async function liveWithCredentials({ call, instanceId: InstanceId }: Scene): Promise<void> {
  const ClientId = 'GID_test@@@credential';
  const device = { InstanceId, ClientId };
  const read = (answer: Answer): Answer => answer['DeviceCredential'] as Answer;
  const registered = read(await call('RegisterDeviceCredential', device));
  assert.equal(registered['ClientId'], ClientId);
  assert.deepEqual(read(await call('GetDeviceCredential', device)), registered);
  const refreshed = read(await call('RefreshDeviceCredential', device));
  assert.notEqual(refreshed['DeviceAccessKeySecret'], registered['DeviceAccessKeySecret']);
  const listing = { InstanceId, GroupId: 'GID_test', PageNo: '1', PageSize: '10' };
  const listed = (await call('ListDeviceCredentialClientId', listing)) as {
    readonly DeviceCredentialClientIdList: Answer;
  };
  assert.deepEqual(listed.DeviceCredentialClientIdList['ClientIdList'], [ClientId]);
  await call('UnRegisterDeviceCredential', device);
  const after = (await call('ListDeviceCredentialClientId', listing)) as typeof listed;
  assert.deepEqual(after.DeviceCredentialClientIdList['ClientIdList'], []);
}

/** The rows of a query's answer, and where to go on. */
function page(answer: Answer): { readonly rows: Rows; readonly next: unknown } {
  assert.deepEqual([answer['Code'], answer['Success']], [200, true]);
  const { Results, NextToken } = answer['Data'] as { Results: Rows; NextToken: unknown };
  return { rows: Results, next: NextToken };
}

async function liveWithIdentities({ call, instanceId: InstanceId }: Scene): Promise<void> {
  const user = { IdentityType: 'USER', Username: `用户 é*!'()~` };
  const client = { IdentityType: 'CLIENT', Username: 'b', ClientId: 'any client/é' };
  const add = { InstanceId, Secret: AWKWARD, SignMode: 'ORIGIN' };
  const added = await call('AddCustomAuthIdentity', { ...add, ...user });
  assert.deepEqual([added['Code'], added['Success']], [200, true]);
  await call('AddCustomAuthIdentity', { ...add, ...client });

  const found = page(await call('QueryCustomAuthIdentity', { InstanceId, Size: 10, ...user }));
  assert.deepEqual(found.rows, [{ ...user, ClientId: '', Secret: AWKWARD, SignMode: 'ORIGIN' }]);
  const changed = { ...client, Secret: `${AWKWARD}!`, SignMode: 'SIGNED' };
  await call('UpdateCustomAuthIdentity', { InstanceId, ...changed });
  const all: Answer[] = [];
  let NextToken: unknown = '';
  do {
    const one = page(await call('QueryCustomAuthIdentity', { InstanceId, Size: 1, NextToken }));
    all.push(...one.rows);
    NextToken = one.next;
  } while (NextToken !== '');
  const names = (rows: Rows): unknown => new Set(rows.map((row) => row['Username']));
  assert.deepEqual(names(all), new Set(['b', user.Username]));
  assert.equal(all.length, 2);
  assert.deepEqual(
    all.find((row) => row['Username'] === 'b'),
    changed,
  );
  await call('DeleteCustomAuthIdentity', { InstanceId, ...user });
  const left = page(await call('QueryCustomAuthIdentity', { InstanceId, Size: 10 }));
  assert.deepEqual(names(left.rows), new Set(['b']));
}

async function liveWithPermissions({ call, instanceId: InstanceId }: Scene): Promise<void> {
  const key = { InstanceId, IdentityType: 'USER', Identity: '用户', Topic: 'news/世界/+/#' };
  await call('AddCustomAuthPermission', { ...key, PermitAction: 'PUB', Effect: 'ALLOW' });
  await call('UpdateCustomAuthPermission', { ...key, PermitAction: 'PUB_SUB', Effect: 'DENY' });
  const query = { InstanceId, Size: 10, Topic: key.Topic };
  const { InstanceId: _, ...row } = key;
  assert.deepEqual(page(await call('QueryCustomAuthPermission', query)).rows, [
    { ...row, PermitAction: 'PUB_SUB', Effect: 'DENY' },
  ]);
  await call('DeleteCustomAuthPermission', key);
  assert.deepEqual(page(await call('QueryCustomAuthPermission', query)).rows, []);
}

async function liveWithBlacklist({ call, instanceId: InstanceId }: Scene): Promise<void> {
  const key = { InstanceId, ClientId: `GID_test@@@黑 &=+` };
  await call('AddCustomAuthConnectBlack', key);
  const listed = page(await call('QueryCustomAuthConnectBlack', { InstanceId, Size: 10 }));
  assert.deepEqual(listed.rows, [
    { ClientId: key.ClientId, Effect: 'DENY', PermitAction: 'CONNECT' },
  ]);
  await call('DeleteCustomAuthConnectBlack', key);
  const after = page(await call('QueryCustomAuthConnectBlack', { InstanceId, Size: 10 }));
  assert.deepEqual(after.rows, []);
}

async function liveWithCertificates(scene: Scene): Promise<void> {
  const { call, instanceId: MqttInstanceId, broker } = scene;
  const { deviceAuthority } = broker;
  const { RegisterCode } = await call('GetRegisterCode', { MqttInstanceId });
  const registration = {
    MqttInstanceId,
    CaName: AWKWARD_LINE,
    CaContent: deviceAuthority.certificate,
    VerificationContent: deviceAuthority.issue(String(RegisterCode)).certificate,
  };
  const { Sn } = await call('RegisterCaCertificate', registration);
  const authority = { MqttInstanceId, Sn };
  const found = (await call('GetCaCertificate', authority))['Data'] as Answer;
  assert.deepEqual(
    [found['CaName'], found['RegistrationCode'], found['Status']],
    [registration.CaName, RegisterCode, '1'],
  );
  assert.equal(String(found['CaContent']).trim(), registration.CaContent.trim());

  await liveWithDeviceCertificates(scene, String(Sn));

  await call('InactivateCaCertificate', authority);
  const paging = { MqttInstanceId, PageNo: '1', PageSize: '10' };
  const listed = (await call('ListCaCertificate', paging))['Data'] as Answer;
  const rows = listed['CaCertificateVOS'] as Rows;
  assert.deepEqual([listed['Total'], rows.map((row) => row['Status'])], [1, ['0']]);
  await call('ActiveCaCertificate', authority);
  await call('DeleteCaCertificate', authority);
  const after = (await call('ListCaCertificate', paging))['Data'] as Answer;
  assert.deepEqual(after['CaCertificateVOS'], []);
  await liveWithServerCertificates(scene);
}

/** Nobody registers a device's certificate: it connects with it. */
async function liveWithDeviceCertificates(scene: Scene, CaSn: string): Promise<void> {
  const { call, instanceId: MqttInstanceId, broker, access } = scene;
  const { certificate, key, serial } = broker.deviceAuthority.issue('device-1');
  const clientId = 'GID_test@@@certified';
  const connectCertified = (): Promise<Device> =>
    connectDevice(scene.scope, broker.url('mqtts'), {
      clientId,
      username: `Signature|${access.keyId}|${MqttInstanceId}`,
      password: signClientId(access.secret, clientId),
      ca: broker.authority,
      cert: certificate,
      key,
    });
  const device = await connectCertified();
  const paging = { MqttInstanceId, PageNo: '1', PageSize: '10' };
  const rows = (answer: Answer): Rows => (answer['Data'] as Answer)['DeviceCertificateVOS'] as Rows;
  await until(
    async () => rows(await call('ListDeviceCertificate', paging)).length === 1,
    () => 'the device certificate is not registered',
  );
  const byAuthority = rows(await call('ListDeviceCertificateByCaSn', { ...paging, CaSn }));
  assert.deepEqual(
    byAuthority.map((row) => [row['DeviceSn'], row['DeviceName'], row['Status']]),
    [[serial, 'device-1', '1']],
  );
  const one = { MqttInstanceId, CaSn, DeviceSn: serial };
  const found = (await call('GetDeviceCertificate', one))['Data'] as Answer;
  assert.equal(String(found['DeviceContent']).trim(), certificate.trim());
  await call('InactivateDeviceCertificate', one);
  await device.ended();
  await assert.rejects(connectCertified(), Refused);
  await call('ActiveDeviceCertificate', one);
  const again = await connectCertified();
  await call('DeleteDeviceCertificate', one);
  await again.ended();
}

async function liveWithServerCertificates(scene: Scene): Promise<void> {
  const { call, instanceId: MqttInstanceId, broker } = scene;
  const domain = `${MqttInstanceId}.example.org`;
  const extensions = [`subjectAltName=DNS:${domain}`];
  const { certificate, key, serial } = broker.deviceAuthority.issue('server', { extensions });
  const CertificateId = unique('certificate-');
  const upload = { MqttInstanceId, CertificateId, Certificate: certificate, PrivateKey: key };
  await broker.admin.call('UploadServerCertificate', upload);
  const configured = await call('SetSniConfig', {
    MqttInstanceId,
    DefaultCertificate: CertificateId,
    SniConfig: `${domain}#${CertificateId}#password`,
  });
  assert.equal(configured['Success'], 'true');
  assert.equal(await shownSerial(broker.url('mqtts'), domain), serial);
}

/** The serial number of the certificate that a server of that name shows. */
async function shownSerial(url: string, servername: string): Promise<string> {
  const { hostname: host, port } = new URL(url);
  const socket = connectTls({ host, port: Number(port), servername, rejectUnauthorized: false });
  try {
    await once(socket, 'secureConnect');
    return socket.getPeerCertificate().serialNumber;
  } finally {
    socket.destroy();
  }
}

async function liveWithTraces({ call, instanceId: InstanceId }: Scene): Promise<void> {
  const EndTime = Date.now();
  const range = { InstanceId, MqttRegionId: 'cn-hangzhou', BeginTime: EndTime - 60_000, EndTime };
  const paged = { ...range, CurrentPage: 1, PageSize: 10, Reverse: true };
  const ClientId = 'GID_test@@@online';
  const MsgId = '0'.repeat(32);
  await call('QueryMqttTraceDevice', { ...paged, ClientId });
  await call('QueryMqttTraceMessageOfClient', { ...paged, ClientId });
  await call('QueryMqttTraceMessagePublish', { ...range, MsgId });
  await call('QueryMqttTraceMessageSubscribe', { ...paged, ClientId, MsgId });
}

async function liveWithDisaster(scene: Scene): Promise<void> {
  const { call, instanceId, broker } = scene;
  const InstanceId = await broker.createInstance();
  await call('DisasterDowngrade', { InstanceId, DowngradeInstanceId: instanceId });
  await assert.rejects(connect(scene, 'late'), Refused);
  const back = await call('DisasterRecovery', { InstanceId, RecoveryInstanceId: instanceId });
  assert.deepEqual([back['Code'], back['Success']], [200, true]);
  await connect(scene, 'late');
}
