/** Address lists against node's own, and the ways an entry can be wrong. */
import assert from 'node:assert/strict';
import { BlockList, isIPv4 } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Fault, silentLog } from '#base';
import type { Instance } from '#instances';
import {
  addressNumber,
  compileAddressList,
  createAddressGate,
  parseAddressSettings,
} from './address-list.ts';

const anyV4 = fc
  .tuple(fc.constantFrom(10, 192, 255), fc.nat(2), fc.nat(255), fc.constantFrom(0, 1, 127, 255))
  .map((bytes) => bytes.join('.'));

const anyV6 = fc
  .tuple(
    fc.constantFrom('2001:db8', 'fe80:', '', '::'),
    fc.array(fc.constantFrom('0', '1', 'ffff', 'ABCD'), { maxLength: 3 }),
  )
  .map(([front, groups]) => {
    if (front === '' || front === '::') return `::${groups.join(':')}`;
    return `${front.replace(/:$/, '')}::${groups.join(':')}`;
  });

const anyAddress = fc.oneof(
  anyV4,
  anyV6,
  anyV4.map((address) => `::ffff:${address}`),
);

const anyEntry = fc.oneof(
  anyAddress,
  fc.tuple(anyV4, fc.integer({ min: 0, max: 32 })).map(([address, bits]) => `${address}/${bits}`),
  fc.tuple(anyV6, fc.integer({ min: 97, max: 128 })).map(([address, bits]) => `${address}/${bits}`),
  fc.tuple(anyV6, fc.integer({ min: 1, max: 64 })).map(([address, bits]) => `${address}/${bits}`),
);

function family(address: string): 'ipv4' | 'ipv6' {
  return isIPv4(address) ? 'ipv4' : 'ipv6';
}

function nodeList(entries: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = '', bits] = entry.split('/');
    if (bits === undefined) list.addAddress(address, family(address));
    else list.addSubnet(address, Number(bits), family(address));
  }
  return list;
}

function refusal(settings: unknown): string {
  try {
    parseAddressSettings(settings);
  } catch (error) {
    assert.ok(Fault.is(error, 'invalidParameter'));
    return error.message;
  }
  return 'taken';
}

describe('a list', () => {
  test('holds the addresses that node finds in it', () => {
    fc.assert(
      fc.property(fc.array(anyEntry, { minLength: 1, maxLength: 8 }), anyAddress, (deny, asked) => {
        const expected = nodeList(deny).check(asked, family(asked));

        const { permits } = compileAddressList({ allow: [], deny });

        assert.equal(permits(asked), !expected);
      }),
      { numRuns: 5_000 },
    );
  });

  test('of who may connect keeps everybody else out; denial wins', () => {
    fc.assert(
      fc.property(
        fc.array(anyEntry, { minLength: 1, maxLength: 5 }),
        fc.array(anyEntry, { maxLength: 3 }),
        anyAddress,
        (allow, deny, asked) => {
          const allowed = nodeList(allow).check(asked, family(asked));
          const denied = deny.length > 0 && nodeList(deny).check(asked, family(asked));

          assert.equal(compileAddressList({ allow, deny }).permits(asked), allowed && !denied);
        },
      ),
      { numRuns: 3_000 },
    );
  });

  test('that is empty permits everybody', () => {
    const { permits } = compileAddressList({ allow: [], deny: [] });

    assert.equal(permits('192.0.2.1'), true);
    assert.equal(permits(''), true);
  });

  test('of who may connect does not let in what has no address', () => {
    assert.equal(compileAddressList({ allow: ['::/0'], deny: [] }).permits(''), false);
    assert.equal(compileAddressList({ allow: [], deny: ['::/0'] }).permits(''), true);
  });
});

test('an IPv4 address and its IPv4-mapped form are the same', () => {
  const { permits } = compileAddressList({ allow: ['10.0.0.0/8'], deny: ['::ffff:10.9.0.0/112'] });

  assert.equal(permits('::ffff:10.1.2.3'), true);
  assert.equal(permits('::ffff:a01:203'), true);
  assert.equal(permits('10.9.1.1'), false);
  assert.equal(permits('11.0.0.1'), false);
});

test('a zone does not matter where somebody comes from', () => {
  assert.equal(addressNumber('fe80::1%eth0'), addressNumber('fe80::1'));
});

describe('settings', () => {
  test('that are left out are empty lists', () => {
    assert.deepEqual(parseAddressSettings(undefined), { allow: [], deny: [] });
    assert.deepEqual(parseAddressSettings({ allow: [' 10.0.0.1 '] }), {
      allow: ['10.0.0.1'],
      deny: [],
    });
  });

  test('are refused by the name of the entry that is wrong', () => {
    const wrong = [
      '10.0.0',
      '10.0.0.256',
      '010.0.0.1',
      '10.0.0.0/33',
      '10.0.0.0/',
      '10.0.0.0/08',
      '10.0.0.0/8/8',
      '2001:db8::/129',
      ':::',
      'fe80::1%eth0',
      'localhost',
      '',
      '*',
    ];
    for (const entry of wrong) {
      const said = refusal({ deny: ['10.0.0.1', entry] });
      assert.equal(said, `${JSON.stringify(entry)} is not an IP address or CIDR`);
    }
    assert.match(refusal({ allow: [7] }), /^7 is not/);
  });

  test('of another shape are refused', () => {
    for (const shape of [null, [], 'all', 7, { allow: '10.0.0.1' }, { permit: [] }]) {
      assert.notEqual(refusal(shape), 'taken');
    }
  });
});

describe('the gate of an instance', () => {
  test('follows the instance, version by version', () => {
    const instance = { id: 'i', version: 1, authentication: {} as Record<string, unknown> };
    const gate = createAddressGate(silentLog);
    const permits = (): boolean => gate.permits(instance as unknown as Instance, '10.0.0.1');

    assert.equal(permits(), true);
    instance.authentication = { addresses: { deny: ['10.0.0.1'] } };
    instance.version = 2;
    assert.equal(permits(), false);
    instance.authentication = { addresses: { deny: ['10.0.0.2'] } };
    instance.version = 3;
    assert.equal(permits(), true);
  });

  test('is shut where the lists cannot be understood', () => {
    const instance = { id: 'i', version: 1, authentication: { addresses: { deny: ['x'] } } };

    const gate = createAddressGate(silentLog);

    assert.equal(gate.permits(instance as unknown as Instance, '10.0.0.1'), false);
  });
});
