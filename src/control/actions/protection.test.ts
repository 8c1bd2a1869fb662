/** Bans listed and lifted, and address lists set, each refusal by the name of what is wrong. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { silentLog, systemRandom } from '#base';
import { createAddressGate, createBans } from '#identity';
import { openInstances } from '#instances';
import { ManualClock } from '../../../test/harness/manual-clock.ts';
import { ApiFault } from '../api-fault.ts';
import { readArguments } from '../arguments.ts';
import { translateFault } from '../fault-translation.ts';
import type { Services } from '../services.ts';
import { protectionActions } from './protection.ts';

interface World {
  readonly clock: ManualClock;
  readonly services: Services;
  call(name: string, parameters?: Readonly<Record<string, string>>): Promise<object>;
}

async function openWorld(t: TestContext): Promise<World> {
  const clock = new ManualClock();
  const { store } = openMemoryEngine({ clock });
  const bans = createBans(clock, { clientFailureCountMax: 1, addressFailureCountMax: 2 });
  const instances = await openInstances({
    store,
    clock,
    random: systemRandom,
    log: silentLog,
    defaultId: 'plant',
    openDefault: true,
  });
  t.after(() => instances.close());
  // All that these actions use.
  const services = { bans, instances } as Partial<Services> as Services;
  return {
    clock,
    services,
    async call(name, parameters = {}) {
      const action = protectionActions.find((one) => one.name === name)!;
      try {
        return await action.handle(services, {
          arguments: readArguments(action, new Map(Object.entries(parameters))),
          principal: { accountId: 'a', accessKeyId: 'k', may: () => true, mayAll: () => true },
          requestId: '',
          demand: () => undefined,
        });
      } catch (error) {
        throw translateFault(action, error) ?? error;
      }
    },
  };
}

function isFault(code: string): (error: unknown) => boolean {
  return (error) => error instanceof ApiFault && error.wireCode === code;
}

describe('bans', () => {
  test('are listed with their end, and lifted', async (t) => {
    const { call, clock, services } = await openWorld(t);
    services.bans.failed('192.0.2.1', 'plant', 'c');
    services.bans.failed('192.0.2.1', 'plant', 'd');
    const shared = { Reason: 'failures', BanCount: 1, EndTime: clock.nowMs() + 60_000 };

    assert.deepEqual(await call('ListBans'), {
      Bans: [
        { Address: '192.0.2.1', InstanceId: '', ClientId: '', ...shared },
        { Address: '192.0.2.1', InstanceId: 'plant', ClientId: 'c', ...shared },
        { Address: '192.0.2.1', InstanceId: 'plant', ClientId: 'd', ...shared },
      ],
    });
    assert.deepEqual(await call('LiftBan', { Address: '192.0.2.1' }), { Lifted: true });
    const client = { BannedInstanceId: 'plant', ClientId: 'c' };
    assert.deepEqual(await call('LiftBan', client), { Lifted: true });
    assert.deepEqual(await call('LiftBan', client), { Lifted: false });
    assert.equal(services.bans.ask('192.0.2.1', 'plant', 'c'), undefined);
    assert.equal(services.bans.ask('192.0.2.1', 'plant', 'd'), 'banned');
  });

  test('are lifted by one name', async (t) => {
    const { call } = await openWorld(t);

    await assert.rejects(call('LiftBan'), isFault('InvalidParameter.Address'));
    await assert.rejects(call('LiftBan', { ClientId: 'c' }), isFault('InvalidParameter.Address'));
    await assert.rejects(
      call('LiftBan', { Address: '192.0.2.1', ClientId: 'c' }),
      isFault('InvalidParameter.ClientId'),
    );
  });
});

describe('address lists', () => {
  test('are set, answered, at work, and taken away', async (t) => {
    const { call, services } = await openWorld(t);
    const gate = createAddressGate(silentLog);
    const instance = services.instances.find('plant')!;
    const lists = { Allow: ['10.0.0.0/8', '2001:db8::/32'], Deny: ['10.0.0.1'] };

    const set = await call('SetAddressLists', {
      InstanceId: 'plant',
      'Allow.1': '10.0.0.0/8',
      'Allow.2': '2001:db8::/32',
      'Deny.1': '10.0.0.1',
    });

    assert.deepEqual(set, lists);
    assert.deepEqual(await call('GetAddressLists', { InstanceId: 'plant' }), lists);
    assert.equal(gate.permits(instance, '10.0.0.2'), true);
    assert.equal(gate.permits(instance, '10.0.0.1'), false);
    assert.equal(gate.permits(instance, '192.0.2.1'), false);

    await call('SetAddressLists', { InstanceId: 'plant' });
    assert.deepEqual(await call('GetAddressLists', { InstanceId: 'plant' }), {
      Allow: [],
      Deny: [],
    });
    assert.equal(gate.permits(instance, '192.0.2.1'), true);
  });

  test('are refused whole for one entry that is wrong', async (t) => {
    const { call } = await openWorld(t);
    const set = call('SetAddressLists', {
      InstanceId: 'plant',
      'Allow.1': '10.0.0.1',
      'Deny.1': '10.0.0.300',
    });

    await assert.rejects(set, isFault('InvalidParameter.Deny'));
    await assert.rejects(set, /"10\.0\.0\.300"/);
    assert.deepEqual(await call('GetAddressLists', { InstanceId: 'plant' }), {
      Allow: [],
      Deny: [],
    });
  });

  test('belong to an instance', async (t) => {
    const { call } = await openWorld(t);

    for (const name of ['GetAddressLists', 'SetAddressLists']) {
      const asked = call(name, { InstanceId: 'other' });
      await assert.rejects(asked, isFault('InstancePermissionCheckFailed'));
    }
  });
});
