/** The chain: where a caller goes, who is asked in which order, and what every way is held to. */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { openMemoryEngine } from '#adapters/memory';
import { silentLog, systemClock, systemRandom } from '#base';
import { type Instances, openInstances } from '#instances';
import {
  type AuthenticationWay,
  type Authenticator,
  type Caller,
  type ConnectAttempt,
  isRefusal,
  type LiveClient,
  type Verdict,
} from './authenticator.ts';
import { type ChainParts, createAuthenticator } from './chain.ts';

const GROUP = 'GID_test';
const CLIENT = `${GROUP}@@@1`;

interface Scene {
  readonly instances: Instances;
  readonly authenticator: Authenticator;
  readonly failures: string[];
  connect(attempt?: Partial<ConnectAttempt>): Promise<string>;
}

type Parts = Partial<ChainParts<{ readonly serial: string }>>;

async function open(t: TestContext, parts: Parts = {}): Promise<Scene> {
  const engine = openMemoryEngine({ clock: systemClock });
  const instances = await openInstances({
    store: engine.store,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    defaultId: 'default',
    openDefault: true,
  });
  t.after(async () => {
    instances.close();
    await engine.close();
  });
  await instances.create({ id: 'mqtt-a' });
  await instances.createGroup('mqtt-a', GROUP, []);
  await instances.create({ id: 'mqtt-b', kind: 'open' });
  const failures: string[] = [];
  const authenticator = createAuthenticator({
    instances,
    defaultInstanceId: 'default',
    instanceOfName: (name) => (name === 'own.example' ? 'mqtt-b' : undefined),
    addressPermitted: () => true,
    doorman: {
      ask: () => undefined,
      failed: (address, instanceId, clientId) =>
        void failures.push(`${address} ${instanceId} ${clientId}`),
      succeeded: () => {},
    },
    isBlacklisted: () => false,
    certificates: { guard: () => undefined, watch: () => () => {} },
    ways: [ADMITS],
    methods: [],
    ...parts,
  });
  const connect = async (attempt: Partial<ConnectAttempt> = {}): Promise<string> =>
    outcome(await authenticator.authenticate(attemptOf(attempt)));
  return { instances, authenticator, failures, connect };
}

const ADMITS: AuthenticationWay = {
  authenticate: ({ instance, userName }) => ({ instance, userName, permissions: undefined }),
};

function attemptOf(attempt: Partial<ConnectAttempt>): ConnectAttempt {
  return {
    protocolVersion: 5,
    clientId: CLIENT,
    userName: undefined,
    password: undefined,
    address: '192.0.2.1',
    listener: 'mqtt://127.0.0.1:1883',
    serverName: undefined,
    certificate: undefined,
    certificateVerified: false,
    ...attempt,
  };
}

function outcome(verdict: Verdict): string {
  return isRefusal(verdict) ? verdict.refused : verdict.instance.id;
}

function userOf(instanceId: string): string {
  return `Signature|key|${instanceId}`;
}

describe('where a caller goes', () => {
  const cases: readonly (readonly [string, Partial<ConnectAttempt>, string])[] = [
    ['without a word', {}, 'default'],
    ['by the user name', { userName: userOf('mqtt-a') }, 'mqtt-a'],
    ['by a host name of its id', { serverName: 'mqtt-b.example.com' }, 'mqtt-b'],
    ['by a host name of its id, whatever the case', { serverName: 'MQTT-B.x' }, 'mqtt-b'],
    ['by a host name that was set', { serverName: 'own.example' }, 'mqtt-b'],
    ['by its listener', { listenerInstanceId: 'mqtt-b' }, 'mqtt-b'],
    ['by a host name of nobody', { serverName: 'www.example.com' }, 'default'],
    ['to an instance that is not', { userName: userOf('mqtt-c') }, 'instanceUnknown'],
    ['to a listener of one that is not', { listenerInstanceId: 'mqtt-c' }, 'instanceUnknown'],
    [
      'by user name and host name that agree',
      { userName: userOf('mqtt-b'), serverName: 'mqtt-b.x' },
      'mqtt-b',
    ],
    [
      'by user name and host name that do not',
      { userName: userOf('mqtt-a'), serverName: 'mqtt-b.x' },
      'instanceMismatch',
    ],
    [
      'by user name through the listener of another',
      { userName: userOf('mqtt-a'), listenerInstanceId: 'mqtt-b' },
      'instanceMismatch',
    ],
    [
      'by host name through the listener of another',
      { serverName: 'mqtt-a.x', listenerInstanceId: 'mqtt-b' },
      'instanceMismatch',
    ],
  ];
  for (const [what, attempt, expected] of cases) {
    test(what, async (t) => {
      assert.equal(await (await open(t)).connect(attempt), expected);
    });
  }

  test('to one that was withdrawn or removed', async (t) => {
    const { connect, instances } = await open(t);

    await instances.update('mqtt-b', { withdrawn: true });
    assert.equal(await connect({ userName: userOf('mqtt-b') }), 'serverUnavailable');
    await instances.remove('mqtt-b');
    assert.equal(await connect({ userName: userOf('mqtt-b') }), 'instanceUnknown');
  });
});

describe('a client identifier in a compatible instance', () => {
  const cases: readonly (readonly [string, string])[] = [
    [CLIENT, 'mqtt-a'],
    [`${GROUP}@@@`, 'clientIdNotValid'],
    ['GID_test', 'clientIdNotValid'],
    ['', 'clientIdNotValid'],
    [`${GROUP}@@@${'x'.repeat(60)}`, 'clientIdNotValid'],
    ['GID_other@@@1', 'groupUnknown'],
  ];
  for (const [clientId, expected] of cases) {
    test(`${clientId.slice(0, 20) || 'none'}: ${expected}`, async (t) => {
      const { connect } = await open(t);
      assert.equal(await connect({ clientId, userName: userOf('mqtt-a') }), expected);
    });
  }

  test('is free where the way says so, and in open instances', async (t) => {
    const free = { ...ADMITS, authenticate: admitAnyId };
    const { connect } = await open(t, { ways: [free] });

    assert.equal(await connect({ clientId: 'x', userName: userOf('mqtt-a') }), 'mqtt-a');
    assert.equal(await connect({ clientId: 'x', userName: userOf('mqtt-b') }), 'mqtt-b');
  });
});

function admitAnyId({ instance, userName }: Parameters<AuthenticationWay['authenticate']>[0]) {
  return { instance, userName, permissions: undefined, anyClientId: true };
}

describe('the ways', () => {
  test('are asked in order until one knows the caller, at once or later', async (t) => {
    const asked: string[] = [];
    const way = (
      name: string,
      verdict: Verdict | undefined,
      later: boolean,
    ): AuthenticationWay => ({
      authenticate: () => {
        asked.push(name);
        return later ? Promise.resolve(verdict) : verdict;
      },
    });
    const { connect, failures } = await open(t, {
      ways: [
        way('a', undefined, false),
        way('b', undefined, true),
        way('c', { refused: 'badSignature' }, true),
        way('d', undefined, false),
      ],
    });

    assert.equal(await connect(), 'badSignature');
    assert.deepEqual(asked, ['a', 'b', 'c']);
    assert.deepEqual(failures, [`192.0.2.1 default ${CLIENT}`]);
  });

  test('that do not know the caller leave it outside, and only a guess is counted', async (t) => {
    const { connect, failures } = await open(t, { ways: [] });

    assert.equal(await connect(), 'notAuthorized');
    assert.deepEqual(failures, []);
    assert.equal(await connect({ userName: 'somebody' }), 'badUserOrPassword');
    assert.equal(failures.length, 1);
  });

  test('answer at once where nothing has to be looked up', async (t) => {
    const { authenticator } = await open(t);
    assert.ok(!(authenticator.authenticate(attemptOf({})) instanceof Promise));
  });
});

describe('before any way is asked', () => {
  const never: AuthenticationWay = {
    authenticate: () => assert.fail('nobody should be asked'),
  };
  for (const later of [false, true]) {
    const when = later ? 'later' : 'at once';
    test(`the list of refused clients is asked, ${when}`, async (t) => {
      const isBlacklisted = (): boolean | Promise<boolean> =>
        later ? Promise.resolve(true) : true;
      const { connect } = await open(t, { ways: [never], isBlacklisted });
      assert.equal(await connect(), 'clientBlacklisted');
    });

    test(`a bad certificate refuses, ${when}`, async (t) => {
      const refusal = { refused: 'certificateInactive' } as const;
      const guard = () => (later ? Promise.resolve(refusal) : refusal);
      const certificates = { guard, watch: () => () => {} };
      const { connect } = await open(t, { ways: [never], certificates });
      assert.equal(await connect(), 'certificateInactive');
    });
  }

  test('addresses and bans refuse', async (t) => {
    const closed = await open(t, { ways: [never], addressPermitted: () => false });
    assert.equal(await closed.connect(), 'addressDenied');
    const doorman = { ask: () => 'banned' as const, failed: () => {}, succeeded: () => {} };
    const banned = await open(t, { ways: [never], doorman });
    assert.equal(await banned.connect(), 'banned');
  });
});

test('a caller with a certificate is watched by both, for as long as it is connected', async (t) => {
  const seen: string[] = [];
  const way: AuthenticationWay = {
    authenticate: ({ instance, userName }): Caller => ({
      instance,
      userName,
      permissions: undefined,
      upload: () => undefined,
      connected: () => {
        seen.push('way on');
        return () => seen.push('way off');
      },
    }),
  };
  const { authenticator } = await open(t, {
    ways: [way],
    certificates: {
      guard: () => ({ serial: '01' }),
      watch: ({ serial }) => {
        seen.push(`certificate ${serial} on`);
        return () => seen.push('certificate off');
      },
    },
  });
  const verdict = await authenticator.authenticate(attemptOf({}));
  assert.ok(!isRefusal(verdict));
  const client: LiveClient = {
    clientId: CLIENT,
    address: '192.0.2.1',
    notify: () => {},
    disconnect: () => {},
    permissionsChanged: () => {},
  };

  verdict.connected?.(client)();

  assert.deepEqual(seen, ['way on', 'certificate 01 on', 'way off', 'certificate off']);
  assert.equal(verdict.upload?.(new Uint8Array()), undefined);
});

test('an exchange is held to the same, and a method nobody knows is none', async (t) => {
  const { authenticator } = await open(t, {
    methods: [
      {
        method: 'M',
        begin: ({ instance }) => ({
          step: () => ({ verdict: { instance, userName: 'u', permissions: undefined } }),
        }),
      },
    ],
  });
  const verdictOf = async (attempt: Partial<ConnectAttempt>): Promise<string> => {
    const step = await authenticator.exchange('M', attemptOf(attempt))!.step(undefined);
    assert.ok('verdict' in step);
    return outcome(step.verdict);
  };

  assert.equal(authenticator.exchange('N', attemptOf({})), undefined);
  assert.equal(await verdictOf({}), 'default');
  const wanted = { userName: userOf('mqtt-a') };
  assert.equal(await verdictOf(wanted), 'mqtt-a');
  assert.equal(await verdictOf({ ...wanted, clientId: 'x' }), 'clientIdNotValid');
  assert.equal(await verdictOf({ userName: userOf('mqtt-c') }), 'instanceUnknown');
});
