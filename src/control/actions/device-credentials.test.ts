/** The five actions on device credentials: their answers, word for word, and who may call them. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { systemRandom } from '#base';
import { createSecretBox, openDeviceCredentials } from '#identity';
import { ManualClock } from '../../../test/harness/manual-clock.ts';
import { ApiFault } from '../api-fault.ts';
import { readArguments } from '../arguments.ts';
import { resourceForbidden, translateFault } from '../fault-translation.ts';
import type { Services } from '../services.ts';
import { deviceCredentialActions } from './device-credentials.ts';

interface World {
  readonly clock: ManualClock;
  /** Calls as somebody who may act on the group `GID_a` alone. */
  call(name: string, parameters: Record<string, string>): Promise<Record<string, unknown>>;
}

interface Credential {
  readonly DeviceAccessKeyId: string;
  readonly DeviceAccessKeySecret: string;
  readonly CreateTime: number;
  readonly UpdateTime: number;
}

function openWorld(t: TestContext): World {
  const clock = new ManualClock();
  const { store } = openMemoryEngine({ clock });
  const box = createSecretBox(Buffer.alloc(32, 1), systemRandom);
  const deviceCredentials = openDeviceCredentials({ store, box, clock, random: systemRandom });
  t.after(() => deviceCredentials.close());
  // All that these actions use.
  const services = { clock, deviceCredentials } as Partial<Services> as Services;
  const principal = { accountId: 'a', accessKeyId: 'k', may: () => true, mayAll: () => true };
  return {
    clock,
    async call(name, parameters) {
      const action = deviceCredentialActions.find((one) => one.name === name)!;
      const demand = (resource: string): void => {
        if (resource !== 'GID_a') throw resourceForbidden(action, resource);
      };
      try {
        const values = readArguments(
          action,
          new Map(Object.entries({ InstanceId: 'mqtt-1', ...parameters })),
        );
        return await action.handle(services, {
          arguments: values,
          principal,
          requestId: '',
          demand,
        });
      } catch (error) {
        throw translateFault(action, error) ?? error;
      }
    },
  };
}

function credentialOf(answer: Record<string, unknown>): Credential {
  return answer['DeviceCredential'] as Credential;
}

function isFault(code: string): (error: unknown) => boolean {
  return (error) => error instanceof ApiFault && error.code === code;
}

const DEVICE = { ClientId: 'GID_a@@@d1' };

describe('the credential of a device', () => {
  test('is registered, told again, refreshed and taken away', async (t) => {
    const { clock, call } = openWorld(t);

    const registered = await call('RegisterDeviceCredential', DEVICE);
    const first = credentialOf(registered);
    assert.deepEqual(registered, {
      DeviceCredential: {
        ClientId: 'GID_a@@@d1',
        CreateTime: clock.nowMs(),
        DeviceAccessKeyId: first.DeviceAccessKeyId,
        DeviceAccessKeySecret: first.DeviceAccessKeySecret,
        InstanceId: 'mqtt-1',
        UpdateTime: clock.nowMs(),
      },
    });
    assert.match(first.DeviceAccessKeyId, /^DC\./);
    assert.match(first.DeviceAccessKeySecret, /^DC\./);
    assert.deepEqual(await call('GetDeviceCredential', DEVICE), registered);

    clock.advance(1_000);
    const refreshed = await call('RefreshDeviceCredential', DEVICE);
    assert.deepEqual(Object.keys(credentialOf(refreshed)), Object.keys(first));
    assert.notEqual(credentialOf(refreshed).DeviceAccessKeyId, first.DeviceAccessKeyId);
    assert.equal(credentialOf(refreshed).CreateTime, first.CreateTime);
    assert.equal(credentialOf(refreshed).UpdateTime, first.UpdateTime + 1_000);
    assert.deepEqual(await call('GetDeviceCredential', DEVICE), refreshed);

    assert.deepEqual(await call('UnRegisterDeviceCredential', DEVICE), {});
    const unknown = isFault('ParameterCheckFailed');
    await assert.rejects(call('GetDeviceCredential', DEVICE), unknown);
    await assert.rejects(call('RefreshDeviceCredential', DEVICE), unknown);
    await assert.rejects(call('UnRegisterDeviceCredential', DEVICE), unknown);
  });

  test('is asked for by who may act on its group', async (t) => {
    const { call } = openWorld(t);
    const names = deviceCredentialActions.map(({ name }) => name);
    const other = { ClientId: 'GID_b@@@d1', GroupId: 'GID_b', PageSize: '1' };

    for (const name of names) {
      await assert.rejects(call(name, other), isFault('PermissionCheckFailed'), name);
    }
  });

  test('needs a client identifier of a sane length', async (t) => {
    const { call } = openWorld(t);

    for (const parameters of [{}, { ClientId: '' }, { ClientId: `GID_a@@@${'x'.repeat(2_000)}` }]) {
      const called = call('RegisterDeviceCredential', parameters as Record<string, string>);
      await assert.rejects(called, isFault('ParameterCheckFailed'));
    }
  });
});

describe('the list of a group', () => {
  test('comes in pages, with numbers as texts', async (t) => {
    const { call } = openWorld(t);
    for (const name of ['d1', 'd2', 'd3']) {
      await call('RegisterDeviceCredential', { ClientId: `GID_a@@@${name}` });
    }
    const list = async (parameters: Record<string, string>) =>
      (await call('ListDeviceCredentialClientId', { GroupId: 'GID_a', ...parameters }))[
        'DeviceCredentialClientIdList'
      ] as Record<string, unknown>;

    const first = await list({ PageSize: '2' });
    const numbered = await list({ PageSize: '2', PageNo: '2' });
    const followed = await list({ PageSize: '2', NextToken: String(first['NextToken']) });

    assert.deepEqual(Object.keys(first), [
      'ClientIdList',
      'NextToken',
      'PageNo',
      'PageSize',
      'Total',
    ]);
    assert.equal((first['ClientIdList'] as string[]).length, 2);
    assert.notEqual(first['NextToken'], '');
    assert.deepEqual([first['PageNo'], first['PageSize'], first['Total']], ['1', '2', '3']);
    assert.deepEqual(numbered, { ...followed, PageNo: '2' });
    assert.equal(followed['NextToken'], '');
    const all = [first, followed].flatMap((page) => page['ClientIdList'] as string[]);
    assert.deepEqual(all.sort(), ['GID_a@@@d1', 'GID_a@@@d2', 'GID_a@@@d3']);
  });

  test('keeps its bounds', async (t) => {
    const { call } = openWorld(t);

    const wrong: Record<string, string>[] = [
      {},
      { PageSize: '0' },
      { PageSize: '101' },
      { PageSize: 'many' },
      { PageSize: '1', PageNo: '0' },
      { PageSize: '1', NextToken: 'nonsense' },
      { PageSize: '1', NextToken: Buffer.from('GID_b@@@d').toString('base64url') },
    ];
    for (const parameters of wrong) {
      await assert.rejects(
        call('ListDeviceCredentialClientId', { GroupId: 'GID_a', ...parameters }),
        isFault('ParameterCheckFailed'),
        JSON.stringify(parameters),
      );
    }
  });
});
