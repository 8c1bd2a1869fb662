/** HTTP authentication against a real server: whatever it does, nobody gets in by mistake. */
import assert from 'node:assert/strict';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { createAuthority } from '../../../test/harness/certificates.ts';
import { ALLOW, type Asked, callerOf, openHttpScene } from '../../../test/harness/http-scene.ts';
import { until } from '../../../test/harness/until.ts';
import { openWayScene, outcomeOf } from '../../../test/harness/way-scene.ts';
import { sealText } from '../auth-settings.ts';
import { createHttpWay } from './http-auth.ts';

describe('what the service is asked and answers', () => {
  test('an instance without settings leaves the client to the other ways', async (t) => {
    const { ask, set } = await openHttpScene(t);
    await set('http', undefined);

    assert.equal(outcomeOf(await ask()), 'next');
  });

  test('the service hears who connects, and allow lets in to do everything', async (t) => {
    const { ask, asked } = await openHttpScene(t, { headers: { 'X-Key': 'abc' } }, ALLOW);

    const caller = callerOf(await ask({ secret: 'pä55"' }));

    assert.equal(caller.permissions, undefined);
    assert.equal(caller.userName, 'ann');
    assert.deepEqual(asked[0]!.body, {
      username: 'ann',
      password: 'pä55"',
      clientId: 'sensor-1',
      ipaddress: '127.0.0.1',
      instanceId: 'plant',
      protocolVersion: 5,
    });
    assert.equal(asked[0]!.headers['x-key'], 'abc');
    assert.equal(asked[0]!.headers['content-type'], 'application/json');
  });

  test('sealed headers are opened for the call', async (t) => {
    const { ask, asked, set, box, url } = await openHttpScene(t, {}, ALLOW);
    await set('http', { url, headers: { authorization: sealText(box, 'Bearer xyz') } });

    assert.equal(outcomeOf(await ask()), 'in');

    assert.equal(asked[0]!.headers.authorization, 'Bearer xyz');
  });

  test("the answer's rules are the permissions; what no rule allows is denied", async (t) => {
    const acl = [
      { effect: 'allow', action: ['publish', 'subscribe'], topic: 'topic/abc/#' },
      { effect: 'deny', action: ['publish'], topic: 'topic/abc/secret' },
      { permission: 'allow', action: 'all', topic: 'of/${clientid}/+' },
    ];
    const { ask } = await openHttpScene(t, {}, (asked) =>
      asked.answer({ result: 'allow', acl, is_superuser: true, client_attrs: { a: 'b' } }),
    );

    const { permissions } = callerOf(await ask());

    assert.ok(permissions !== undefined);
    assert.equal(permissions.mayPublish('topic/abc/1'), true);
    assert.equal(permissions.mayPublish('topic/abc/secret'), false);
    assert.equal(permissions.maySubscribe('topic/abc/#'), true);
    assert.equal(permissions.maySubscribe('topic/#'), false);
    assert.equal(permissions.mayPublish('of/sensor-1/x'), true);
    assert.equal(permissions.mayPublish('of/sensor-2/x'), false);
    assert.equal(permissions.mayPublish('other'), false);
  });

  test('an empty list of rules allows nothing', async (t) => {
    const { ask } = await openHttpScene(t, {}, (asked) =>
      asked.answer({ result: 'allow', acl: [] }),
    );

    const { permissions } = callerOf(await ask());

    assert.equal(permissions?.mayPublish('a'), false);
    assert.equal(permissions?.maySubscribe('a'), false);
  });

  test('ignore leaves the client to the other ways', async (t) => {
    const { ask } = await openHttpScene(t, {}, (asked) => asked.answer({ result: 'ignore' }));

    assert.equal(outcomeOf(await ask()), 'next');
  });

  test('deny refuses', async (t) => {
    const { ask } = await openHttpScene(t, {}, (asked) => asked.answer({ result: 'deny' }));

    assert.equal(outcomeOf(await ask()), 'authServiceDenied');
  });

  test('a password that is no text, or endless, is refused unasked', async (t) => {
    const { ask, asked } = await openHttpScene(t, {}, ALLOW);

    assert.equal(outcomeOf(await ask({ password: Buffer.of(0xff) })), 'passwordMalformed');
    assert.equal(outcomeOf(await ask({ password: Buffer.alloc(20_000) })), 'passwordMalformed');
    assert.equal(outcomeOf(await ask({ userName: 'u'.repeat(2_000) })), 'userNameMalformed');
    assert.equal(asked.length, 0);
  });

  test('a client without credentials is asked about as well', async (t) => {
    const { ask, asked } = await openHttpScene(t, {}, (one) => one.answer({ result: 'deny' }));

    await ask({ userName: undefined, password: undefined });

    assert.equal(asked[0]!.body['username'], null);
    assert.equal(asked[0]!.body['password'], null);
  });
});

describe('answers that are not', () => {
  const eleven = Array.from({ length: 11 }, () => ({ effect: 'allow', topic: 'a' }));
  const cases: Readonly<Record<string, [serve: (asked: Asked) => void, outcome: string]>> = {
    'status 500': [({ response }) => void response.writeHead(500).end(), 'authServiceDown'],
    'status 302': [
      ({ response }) => void response.writeHead(302, { location: '/' }).end(),
      'authServiceDown',
    ],
    'status 401': [({ response }) => void response.writeHead(401).end(), 'authServiceDenied'],
    'status 204': [({ response }) => void response.writeHead(204).end(), 'authServiceDown'],
    'another content type': [
      ({ response }) =>
        void response.setHeader('content-type', 'text/html').end('{"result":"allow"}'),
      'authServiceDown',
    ],
    'no content type': [
      ({ response }) => void response.end('{"result":"allow"}'),
      'authServiceDown',
    ],
    'cut JSON': [(asked) => asked.answer('{"result":"allow"'), 'authServiceDown'],
    'a list': [(asked) => asked.answer([{ result: 'allow' }]), 'authServiceDown'],
    'no result': [(asked) => asked.answer({ allow: true }), 'authServiceDown'],
    'result true': [(asked) => asked.answer({ result: true }), 'authServiceDown'],
    'more than 4 KB': [
      (asked) => asked.answer({ result: 'allow', padding: 'x'.repeat(4_096) }),
      'authServiceDown',
    ],
    endless: [
      ({ response }) => {
        response.setHeader('content-type', 'application/json');
        const pour = (): void => {
          while (!response.destroyed && response.write(Buffer.alloc(65_536, 0x20)));
          if (!response.destroyed) response.once('drain', pour);
        };
        pour();
      },
      'authServiceDown',
    ],
    'a closed socket': [({ response }) => void response.socket!.destroy(), 'authServiceDown'],
    'a socket closed half-way': [
      ({ response }) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': '20' });
        response.write('{"result":', () => response.socket!.destroy());
      },
      'authServiceDown',
    ],
    '11 rules': [(asked) => asked.answer({ result: 'allow', acl: eleven }), 'authServiceDown'],
    'a rule of no effect': [
      (asked) => asked.answer({ result: 'allow', acl: [{ action: 'all', topic: 'a' }] }),
      'authServiceDown',
    ],
    'a rule of an unknown action': [
      (asked) =>
        asked.answer({ result: 'allow', acl: [{ effect: 'deny', action: 'x', topic: 'a' }] }),
      'authServiceDown',
    ],
    'a rule with a bad topic': [
      (asked) => asked.answer({ result: 'allow', acl: [{ effect: 'deny', topic: 'a/#/b' }] }),
      'authServiceDown',
    ],
    'a rule for one QoS only': [
      (asked) =>
        asked.answer({ result: 'allow', acl: [{ effect: 'allow', topic: 'a', qos: [0] }] }),
      'authServiceDown',
    ],
    'an allowance that is over': [
      (asked) => asked.answer({ result: 'allow', expireAt: 1234 }),
      'authServiceDenied',
    ],
    'an end that is no time': [
      (asked) => asked.answer({ result: 'allow', expireAt: 'soon' }),
      'authServiceDown',
    ],
  };
  for (const [name, [serve, outcome]] of Object.entries(cases)) {
    test(`${name}: ${outcome}`, async (t) => {
      const { ask } = await openHttpScene(t, {}, serve);

      assert.equal(outcomeOf(await ask()), outcome);
    });
  }

  test('a client identifier with a wildcard cannot widen a rule', async (t) => {
    const acl = [{ effect: 'allow', action: 'all', topic: 'of/${clientid}' }];
    const { ask } = await openHttpScene(t, {}, (asked) => asked.answer({ result: 'allow', acl }));

    assert.equal(outcomeOf(await ask({ clientId: '#' })), 'authServiceDown');
    assert.equal(outcomeOf(await ask({ clientId: 'a/b' })), 'authServiceDown');
    assert.equal(outcomeOf(await ask({ clientId: 'ab' })), 'in');
  });

  test('nobody listens: down', async (t) => {
    const { ask, server } = await openHttpScene(t);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));

    assert.equal(outcomeOf(await ask()), 'authServiceDown');
  });

  test('a silent service: down once the deadline has passed, and not before', async (t) => {
    const { ask, asked, clock } = await openHttpScene(t, { timeoutMs: 2_000 });
    let outcome: string | undefined;
    const verdict = ask().then((given) => (outcome = outcomeOf(given)));
    await until(
      () => asked.length === 1,
      () => 'the service was not asked',
    );

    clock.advance(1_999);
    await new Promise(setImmediate);
    assert.equal(outcome, undefined);
    clock.advance(1);
    await verdict;

    assert.equal(outcome, 'authServiceDown');
  });

  test('a service that begins to answer and stops: down at the same deadline', async (t) => {
    const { ask, clock } = await openHttpScene(t, { timeoutMs: 2_000 }, ({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('{"result":', () => clock.advance(2_000));
    });

    assert.equal(outcomeOf(await ask()), 'authServiceDown');
  });

  test('failOpen lets in where there is no answer, and not where it is a bad one', async (t) => {
    const { ask, asked } = await openHttpScene(t, { failOpen: true }, (one) => {
      if (asked.length === 1) one.response.writeHead(503).end();
      else if (asked.length === 2) one.answer({ result: 'deny' });
      else one.answer('[]');
    });

    assert.equal(outcomeOf(await ask()), 'in');
    assert.equal(outcomeOf(await ask()), 'authServiceDenied');
    assert.equal(outcomeOf(await ask()), 'authServiceDown');
  });

  test('settings that cannot be used let nobody in', async (t) => {
    const { ask, set, url, asked } = await openHttpScene(t, {}, ALLOW);

    for (const settings of [
      {},
      { url: 'ftp://x/' },
      { url, timeoutMs: '3' },
      { url, failOpne: true },
      { url, headers: { host: 'x' } },
      { url, headers: { a: 'b\r\nc: d' } },
      { url: url.replace('http://', 'http://ann:pw@') },
      { url, ca: 'no PEM' },
      { url, headers: { a: { sealed: 'AAAA' } } },
      'http://x',
    ]) {
      await set('http', settings);
      assert.equal(outcomeOf(await ask()), 'authServiceDown', JSON.stringify(settings));
    }
    assert.equal(asked.length, 0);
  });
});

test('over TLS: the private authority is trusted, any other is not', async (t) => {
  const authority = createAuthority(t);
  const stranger = createAuthority(t, 'stranger');
  const { certificate, key } = authority.issue('localhost');
  const server = createSecureServer({ cert: certificate, key }, (_, response) => {
    response.setHeader('content-type', 'application/json').end('{"result":"allow"}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const scene = await openWayScene();
  const way = createHttpWay(scene);
  t.after(() => {
    way.close();
    server.closeAllConnections();
    server.close();
  });
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const ask = async (settings: object): Promise<string> => {
    await scene.set('http', settings);
    return outcomeOf(await way.authenticate(scene.request({ secret: 'x' })));
  };

  assert.equal(await ask({ url, ca: authority.certificate }), 'in');
  assert.equal(await ask({ url, ca: stranger.certificate }), 'authServiceDown');
  assert.equal(await ask({ url }), 'authServiceDown');
});
