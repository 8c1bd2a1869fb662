/** The eleven actions of custom authentication: answers word for word, and every refusal. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { silentLog, systemClock, systemRandom } from '#base';
import { createSecretBox, openCustomAuth } from '#identity';
import { type InstanceKind, openInstances } from '#instances';
import type { Action } from '../action.ts';
import { ApiFault } from '../api-fault.ts';
import { readArguments } from '../arguments.ts';
import { resourceForbidden, translateFault } from '../fault-translation.ts';
import type { Services } from '../services.ts';
import { customAuthActions } from './custom-auth.ts';

type Parameters = Readonly<Record<string, string>>;

interface World {
  readonly services: Services;
  call(name: string, parameters: Parameters): Promise<Record<string, unknown>>;
  /** The code a caller reads; 'done' where nothing was refused. */
  code(name: string, parameters: Parameters): Promise<string>;
}

/** The caller may act on no topic under `foreign`. */
async function openWorld(t: TestContext, kind: InstanceKind = 'compatible'): Promise<World> {
  const { store } = openMemoryEngine({ clock: systemClock });
  const box = createSecretBox(Buffer.alloc(32, 1), systemRandom);
  const shared = { store, clock: systemClock, log: silentLog };
  const instances = await openInstances({
    ...shared,
    random: systemRandom,
    defaultId: 'default',
    openDefault: true,
  });
  const customAuth = await openCustomAuth({ ...shared, box });
  t.after(() => {
    customAuth.close();
    instances.close();
  });
  await instances.create({ id: 'mqtt-1', kind });
  await instances.createTopic('mqtt-1', 'plant');
  await instances.createTopic('mqtt-1', 'foreign');
  // All that these actions use.
  const services = { customAuth, instances } as Partial<Services> as Services;
  const run = async (name: string, parameters: Parameters): Promise<Record<string, unknown>> => {
    const action = customAuthActions.find((one) => one.name === name)!;
    return await perform(action, services, { InstanceId: 'mqtt-1', ...parameters });
  };
  return {
    services,
    call: run,
    async code(name, parameters) {
      try {
        await run(name, parameters);
      } catch (error) {
        assert.ok(error instanceof ApiFault);
        return error.wireCode;
      }
      return 'done';
    },
  };
}

async function perform(
  action: Action,
  services: Services,
  parameters: Parameters,
): Promise<Record<string, unknown>> {
  const may = (resource: string): boolean => !resource.startsWith('foreign');
  try {
    return await action.handle(services, {
      arguments: readArguments(action, new Map(Object.entries(parameters))),
      principal: {
        accountId: 'a',
        accessKeyId: 'k',
        may: () => true,
        mayAll: (_action, _instanceId, filter) => may(filter) && filter !== 'plant/#',
      },
      requestId: '',
      demand(resource) {
        if (!may(resource)) throw resourceForbidden(action, resource);
      },
    });
  } catch (error) {
    throw translateFault(action, error) ?? error;
  }
}

const ANN = {
  Username: 'ann',
  IdentityType: 'USER',
  Secret: 'hush',
  SignMode: 'SIGNED',
} as const;

const RULE = {
  Identity: 'ann',
  IdentityType: 'USER',
  PermitAction: 'PUB_SUB',
  Effect: 'ALLOW',
  Topic: 'plant/1/+',
} as const;

describe('identities', () => {
  test('are added, changed, listed with the secret in clear, and deleted', async (t) => {
    const { call } = await openWorld(t);

    assert.deepEqual(await call('AddCustomAuthIdentity', ANN), {});
    const ofClient = { ...ANN, IdentityType: 'CLIENT', ClientId: 'c1', SignMode: 'ORIGIN' };
    assert.deepEqual(await call('AddCustomAuthIdentity', ofClient), {});
    assert.deepEqual(await call('UpdateCustomAuthIdentity', { ...ANN, Secret: 'new' }), {});

    assert.deepEqual(await call('QueryCustomAuthIdentity', { Size: '10' }), {
      Data: {
        NextToken: '',
        Results: [
          {
            ClientId: 'c1',
            IdentityType: 'CLIENT',
            Secret: 'hush',
            SignMode: 'ORIGIN',
            Username: 'ann',
          },
          {
            ClientId: '',
            IdentityType: 'USER',
            Secret: 'new',
            SignMode: 'SIGNED',
            Username: 'ann',
          },
        ],
      },
    });
    assert.deepEqual(await call('DeleteCustomAuthIdentity', ANN), {});
    assert.deepEqual(await call('QueryCustomAuthIdentity', { Size: '1', IdentityType: 'USER' }), {
      Data: { NextToken: '', Results: [] },
    });
  });

  test('come in pages', async (t) => {
    const { call } = await openWorld(t);
    await call('AddCustomAuthIdentity', ANN);
    await call('AddCustomAuthIdentity', { ...ANN, Username: 'bob' });

    const names: string[] = [];
    let NextToken = '';
    for (let asked = 0; asked === 0 || NextToken !== ''; asked++) {
      const { Data } = await call('QueryCustomAuthIdentity', { Size: '1', NextToken });
      const page = Data as { NextToken: string; Results: { Username: string }[] };
      names.push(...page.Results.map(({ Username }) => Username));
      ({ NextToken } = page);
    }

    assert.deepEqual(names.sort(), ['ann', 'bob']);
  });

  test('are refused by the parameter that is wrong', async (t) => {
    const { code } = await openWorld(t);
    const add = (changes: Parameters): Promise<string> =>
      code('AddCustomAuthIdentity', { ...ANN, ...changes });

    assert.equal(await add({ Username: '' }), 'InvalidParameter.Username');
    assert.equal(await add({ Username: 'u'.repeat(65) }), 'InvalidParameter.Username');
    assert.equal(await add({ IdentityType: 'user' }), 'InvalidParameter.IdentityType');
    assert.equal(await add({ IdentityType: 'CLIENT' }), 'InvalidParameter.ClientId');
    assert.equal(await add({ SignMode: 'PLAIN' }), 'InvalidParameter.SignMode');
    assert.equal(await add({ Secret: '' }), 'InvalidParameter.Secret');
    assert.equal(await add({ InstanceId: 'mqtt-2' }), 'InstancePermissionCheckFailed');
    assert.equal(await code('UpdateCustomAuthIdentity', ANN), 'InvalidParameter.Username');
    assert.equal(await code('DeleteCustomAuthIdentity', ANN), 'InvalidParameter.Username');
    assert.equal(await add({}), 'done');
    assert.equal(await add({ Secret: 'other' }), 'InvalidParameter.Username');
  });

  test('are listed by a size from 1 to 100 and a token of this list', async (t) => {
    const { code } = await openWorld(t);

    for (const Size of ['', '0', '101', 'x']) {
      assert.equal(await code('QueryCustomAuthIdentity', { Size }), 'InvalidParameter.Size');
    }
    assert.equal(await code('QueryCustomAuthIdentity', { Size: '100' }), 'done');
    for (const family of ['Identity', 'Permission', 'ConnectBlack']) {
      const asked = code(`QueryCustomAuth${family}`, { Size: '1', NextToken: 'x' });
      assert.equal(await asked, 'InvalidParameter.NextToken');
    }
  });

  test('are as many as the instance may have', async (t) => {
    const { code, services } = await openWorld(t);
    await services.instances.update('mqtt-1', { limits: { customAuthRowCountMax: 1 } });

    assert.equal(await code('AddCustomAuthIdentity', ANN), 'done');
    assert.equal(await code('AddCustomAuthPermission', RULE), 'done');

    const full = 'Customauth.over.capacity';
    assert.equal(await code('AddCustomAuthIdentity', { ...ANN, Username: 'bob' }), full);
    assert.equal(await code('AddCustomAuthPermission', { ...RULE, Topic: 'plant/2' }), full);
    assert.equal(await code('AddCustomAuthConnectBlack', { ClientId: 'c' }), full);
  });
});

describe('permissions', () => {
  test('are added, changed, listed and deleted', async (t) => {
    const { call } = await openWorld(t);
    const { PermitAction: _action, Effect: _effect, ...key } = RULE;

    assert.deepEqual(await call('AddCustomAuthPermission', RULE), {});
    const changed = { ...RULE, PermitAction: 'SUB', Effect: 'DENY' };
    assert.deepEqual(await call('UpdateCustomAuthPermission', changed), {});

    assert.deepEqual(await call('QueryCustomAuthPermission', { Size: '10', Identity: 'ann' }), {
      Data: { NextToken: '', Results: [changed] },
    });
    assert.deepEqual(await call('DeleteCustomAuthPermission', key), {});
    assert.deepEqual(await call('QueryCustomAuthPermission', { Size: '10' }), {
      Data: { NextToken: '', Results: [] },
    });
  });

  test('are refused by the parameter that is wrong', async (t) => {
    const { code } = await openWorld(t);
    const add = (changes: Parameters): Promise<string> =>
      code('AddCustomAuthPermission', { ...RULE, ...changes });

    assert.equal(await add({ Topic: 'nowhere/1' }), 'InvalidParameter.Topic');
    assert.equal(await add({ Topic: '+/1' }), 'InvalidParameter.Topic');
    assert.equal(await add({ Topic: 'plant/#/1' }), 'InvalidParameter.Topic');
    assert.equal(await add({ Effect: 'allow' }), 'InvalidParameter.Effect');
    assert.equal(await add({ PermitAction: 'CONNECT' }), 'InvalidParameter.PermitAction');
    assert.equal(await add({ Identity: 'u'.repeat(65) }), 'InvalidParameter.Identity');
    assert.equal(await code('UpdateCustomAuthPermission', RULE), 'InvalidParameter.Topic');
    assert.equal(await code('DeleteCustomAuthPermission', RULE), 'InvalidParameter.Topic');
    assert.equal(await add({}), 'done');
    assert.equal(await add({ Effect: 'DENY' }), 'InvalidParameter.Topic');
  });

  test('need no parent topic in an open instance', async (t) => {
    const { code } = await openWorld(t, 'open');

    assert.equal(await code('AddCustomAuthPermission', { ...RULE, Topic: '#' }), 'done');
  });

  test('are given by who may act on all of the topic', async (t) => {
    const { code } = await openWorld(t);

    for (const Topic of ['foreign/1', 'plant/#']) {
      for (const verb of ['Add', 'Update', 'Delete']) {
        const asked = code(`${verb}CustomAuthPermission`, { ...RULE, Topic });
        assert.equal(await asked, 'PermissionCheckFailed');
      }
    }
  });
});

test('the blacklist is added to, listed and deleted from', async (t) => {
  const { call, code } = await openWorld(t);
  const client = { ClientId: 'GID_a@@@1' };

  assert.deepEqual(await call('AddCustomAuthConnectBlack', client), {});
  assert.equal(await code('AddCustomAuthConnectBlack', client), 'InvalidParameter.ClientId');
  assert.deepEqual(await call('QueryCustomAuthConnectBlack', { Size: '10', ...client }), {
    Data: {
      NextToken: '',
      Results: [{ ClientId: 'GID_a@@@1', Effect: 'DENY', PermitAction: 'CONNECT' }],
    },
  });
  assert.deepEqual(await call('DeleteCustomAuthConnectBlack', client), {});
  assert.equal(await code('DeleteCustomAuthConnectBlack', client), 'InvalidParameter.ClientId');
  assert.equal(
    await code('AddCustomAuthConnectBlack', { ClientId: '\0' }),
    'InvalidParameter.ClientId',
  );
});
