/** The control door as an HTTP server: whatever comes, the answer is JSON. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { createAuthority } from '../../test/harness/certificates.ts';
import { ACTIONS, assertRefused, GIVEN, sign } from '../../test/harness/control-actions.ts';
import { openTestDoor, type TestDoor } from '../../test/harness/control-door.ts';
import { ManualClock } from '../../test/harness/manual-clock.ts';
import { needs } from '../../test/harness/tool.ts';
import { until } from '../../test/harness/until.ts';

describe('HTTP that is not a call', () => {
  test('health needs no signature', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.send({ path: '/health' });

    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, { status: 'ok' });
  });

  test('the description of the API needs none either', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });

    const answer = await door.send({ path: '/openapi.json?x=1' });

    assert.equal(answer.body['openapi'], '3.1.0');
    assert.ok(Object.hasOwn(answer.body['paths'] as object, '/?Action=Echo'));
  });

  const paths = ['/prefix/', '/index.html', '//', '/health/', '/%2F', '/openapi.json/..'];
  for (const path of paths) {
    test(`${path} is nowhere, even signed`, async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });

      const answer = await door.send({ method: 'POST', ...sign(door), path });

      assertRefused(answer, 404, 'InvalidApi.NotFound');
    });
  }

  for (const method of ['PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE']) {
    test(`${method} is refused`, async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });

      const answer = await door.send({ ...sign(door), method, path: '/' });

      assertRefused(answer, 405, 'UnsupportedHTTPMethod');
      assert.equal(answer.headers['allow'], 'GET, POST');
    });
  }

  const malformed: readonly (readonly [what: string, bytes: string, status: number])[] = [
    ['nonsense', 'hello there\r\n\r\n', 400],
    ['no host', 'GET /?Signature=x HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
    ['two hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n', 400],
    [
      'an expectation',
      'GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nConnection: close\r\n\r\n',
      400,
    ],
    ['bad escapes', 'GET /?a=%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 400],
    [
      'a body that is no form',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}',
      400,
    ],
    ['a URL beyond the bound', `GET /?a=${'x'.repeat(1_200_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431],
  ];
  for (const [what, bytes, status] of malformed) {
    test(`${what} is answered in JSON`, async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS });

      const answer = await door.sendBytes(bytes);

      const [head = '', body = ''] = answer.split('\r\n\r\n');
      assert.match(head, new RegExp(`^HTTP/1.1 ${status} `));
      assert.match(head, /content-type: application\/json/i);
      const fields = JSON.parse(body) as Record<string, unknown>;
      assert.match(head, new RegExp(`x-acs-request-id: ${String(fields['RequestId'])}`));
      assert.ok(String(fields['Code']).length > 0);
    });
  }

  test('a body beyond the bound is refused, and the door stays open for others', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS, limits: { bodyBytesMax: 1_000 } });
    const body = `Text=${'x'.repeat(200_000)}`;

    for (const chunked of [false, true]) {
      const answer = await door.send({ method: 'POST', ...sign(door), body, chunked });
      assertRefused(answer, 413, 'RequestTooLarge');
    }
    assert.equal((await door.call('Echo', GIVEN)).status, 200);
  });

  test('bodies of all requests together have a bound', async (t) => {
    const limits = { bodyBytesTotalMax: 1_000 };
    const door = await openTestDoor(t, { actions: ACTIONS, limits });

    const answer = await door.call('Echo', { ...GIVEN, Text: 'x'.repeat(2_000) });
    assertRefused(answer, 503, 'ServiceUnavailable');
    assert.equal((await door.call('Echo', GIVEN)).status, 200);
  });

  test('requests beyond the bound are told to try again', async (t) => {
    const limits = { requestCountMax: 1, handlerMsMax: 60_000 };
    const clock = new ManualClock(Date.now());
    const door = await openTestDoor(t, { actions: ACTIONS, clock, limits });
    const waitingCount = clock.waitingCount;
    const hanging = door.call('Hang');
    await until(
      () => clock.waitingCount > waitingCount,
      () => 'the action is not called',
    );

    assertRefused(await door.call('Rare'), 503, 'ServiceUnavailable');
    clock.advance(60_000);
    assertRefused(await hanging, 503, 'ServiceUnavailable');
  });

  for (const bound of ['connectionCountMax', 'connectionsPerAddressMax']) {
    test(`connections beyond ${bound} are closed, and room comes back`, async (t) => {
      const door = await openTestDoor(t, { actions: ACTIONS, limits: { [bound]: 1 } });
      const { hostname, port } = new URL(door.url);
      const first = connect(Number(port), hostname);
      first.on('error', () => undefined);
      await once(first, 'connect');

      await assert.rejects(door.send({ path: '/health' }));
      first.destroy();

      await until(
        () => isServed(door),
        () => 'there is no room',
      );
    });
  }

  test('closing lets a request under way finish', async (t) => {
    const clock = new ManualClock(Date.now());
    const limits = { handlerMsMax: 1_000 };
    const door = await openTestDoor(t, { actions: ACTIONS, clock, limits });
    const waitingCount = clock.waitingCount;
    const hanging = door.call('Hang');
    await until(
      () => clock.waitingCount > waitingCount,
      () => 'the action is not called',
    );

    const closing = door.control.close();
    clock.advance(1_000);

    assertRefused(await hanging, 503, 'ServiceUnavailable');
    await closing;
    await assert.rejects(door.send({ path: '/health' }));
  });

  test('a request that does not come to its end is ended', async (t) => {
    const limits = { headersMsMax: 50, requestMsMax: 50, checkEveryMs: 20 };
    const door = await openTestDoor(t, { actions: ACTIONS, limits });

    const answer = await door.sendBytes('GET / HTTP/1.1\r\nHost: a\r\n');

    assert.match(answer, /^HTTP\/1\.1 408 /);
    assert.match(answer, /"RequestId":"/);
  });
});

async function isServed(door: TestDoor): Promise<boolean> {
  try {
    return (await door.send({ path: '/health' })).status === 200;
  } catch {
    return false; // the one before has not been forgotten yet
  }
}

describe('https', needs('openssl'), () => {
  test('a private authority is enough, and certificates can be exchanged', async (t) => {
    const authority = createAuthority(t);
    const { certificateFile, keyFile } = authority.issue('first');
    const door = await openTestDoor(t, {
      actions: ACTIONS,
      urls: ['https://127.0.0.1:0'],
      certificateFile,
      keyFile,
    });
    const ca = authority.certificate;

    const answer = await door.send({ method: 'POST', ...sign(door), ca });
    assert.equal(answer.status, 200, answer.text);
    await door.control.reloadCertificates();
    assert.equal((await door.send({ path: '/health', ca })).status, 200);
    await assert.rejects(door.send({ path: '/health' }));
  });

  test('a key of another certificate is refused by name', async (t) => {
    const authority = createAuthority(t);
    const { certificateFile } = authority.issue('one');
    const { keyFile } = authority.issue('other');

    const opening = openTestDoor(t, {
      actions: ACTIONS,
      urls: ['https://127.0.0.1:0'],
      certificateFile,
      keyFile,
    });

    await assert.rejects(opening, (error: Error) => error.message.includes(keyFile));
  });
});

test('a URL that cannot be served is refused by name', async (t) => {
  for (const url of ['ftp://127.0.0.1', 'http://127.0.0.1:99999', 'http://127.0.0.1/x']) {
    const opening = openTestDoor(t, { actions: ACTIONS, urls: [url] });
    await assert.rejects(opening, (error: Error) => error.message.includes(url));
  }
});
