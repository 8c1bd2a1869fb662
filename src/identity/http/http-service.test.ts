/** HTTP authentication over time: crowds, breakdowns, remembered answers, decisions that end. */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { ALLOW, type Asked, callerOf, openHttpScene } from '../../../test/harness/http-scene.ts';
import { until } from '../../../test/harness/until.ts';
import { outcomeOf, watchedClient } from '../../../test/harness/way-scene.ts';

describe('many, and a service in trouble', () => {
  test('so many calls at a time, so many waiting, the rest is told to come again', async (t) => {
    const { ask, asked } = await openHttpScene(t, { concurrencyMax: 2 });
    const verdicts = Array.from({ length: 2 + 16 + 1 }, () => ask());

    assert.equal(outcomeOf(await verdicts.at(-1)!), 'serverBusy');
    await until(
      () => asked.length === 2,
      () => `${asked.length} calls`,
    );
    for (let answered = 0; answered < 18; answered++) {
      await until(
        () => asked.length > answered,
        () => `${asked.length} calls`,
      );
      assert.ok(asked.length - answered <= 2, 'too many calls at once');
      ALLOW(asked[answered]!);
    }

    const outcomes = (await Promise.all(verdicts)).map(outcomeOf);
    assert.equal(outcomes.filter((outcome) => outcome === 'in').length, 18);
  });

  test('who waits too long for a turn is refused, and the service not asked', async (t) => {
    const { ask, asked, clock } = await openHttpScene(t, { concurrencyMax: 1, timeoutMs: 1_000 });
    const first = ask();
    const second = ask();
    await until(
      () => asked.length === 1,
      () => 'not asked',
    );

    clock.advance(1_000);

    assert.equal(outcomeOf(await first), 'authServiceDown');
    assert.equal(outcomeOf(await second), 'authServiceDown');
    assert.equal(asked.length, 1);
  });

  test('after failures in a row the service is left alone, then one asks for all', async (t) => {
    let broken = true;
    const scene = await openHttpScene(
      t,
      { breakerFailureCountMax: 3, breakerOpenMs: 5_000, cacheSeconds: 0 },
      (one) => (broken ? void one.response.writeHead(500).end() : ALLOW(one)),
    );
    const { ask, asked, clock } = scene;
    for (let i = 0; i < 3; i++) await ask();
    assert.equal(asked.length, 3);

    assert.equal(outcomeOf(await ask()), 'authServiceDown');
    clock.advance(4_999);
    assert.equal(outcomeOf(await ask()), 'authServiceDown');
    assert.equal(asked.length, 3);

    clock.advance(1); // one tries, in vain
    const both = await Promise.all([ask(), ask()]);
    assert.deepEqual(both.map(outcomeOf), ['authServiceDown', 'authServiceDown']);
    assert.equal(asked.length, 4);

    broken = false;
    clock.advance(5_000);
    assert.equal(outcomeOf(await ask()), 'in');
    assert.equal(outcomeOf(await ask()), 'in');
    assert.equal(asked.length, 6);
  });

  test('denials do not count as failures', async (t) => {
    const { ask, asked } = await openHttpScene(t, { breakerFailureCountMax: 1 }, (one) =>
      asked.length % 2 === 0 ? void one.response.writeHead(403).end() : one.answer('{}'),
    );

    for (let i = 0; i < 6; i++) await ask();

    assert.equal(asked.length, 6);
  });

  test('one instance in trouble is no trouble for another', async (t) => {
    const { ask, way, instances, request, url } = await openHttpScene(
      t,
      { breakerFailureCountMax: 1 },
      (one) => (one.body['instanceId'] === 'plant' ? void one.response.destroy() : ALLOW(one)),
    );
    const other = await instances.create({ id: 'other', kind: 'open' });
    await instances.update('other', { authentication: { http: { url } } });

    assert.equal(outcomeOf(await ask()), 'authServiceDown');
    assert.equal(outcomeOf(await ask()), 'authServiceDown');

    const verdict = await way.authenticate(request({ instance: other, secret: 'x' }));
    assert.equal(outcomeOf(verdict), 'in');
  });
});

describe('remembered answers', () => {
  test('the same question again is not asked while the answer stands', async (t) => {
    const { ask, asked, clock } = await openHttpScene(t, { cacheSeconds: 10 }, ALLOW);

    await ask();
    clock.advance(9_999);
    assert.equal(outcomeOf(await ask()), 'in');
    assert.equal(asked.length, 1);

    clock.advance(10_000);
    assert.equal(outcomeOf(await ask()), 'in');
    assert.equal(asked.length, 2);
  });

  test('another password, client, user, address or instance is another question', async (t) => {
    const { ask, asked, instances, request, url, way } = await openHttpScene(
      t,
      { cacheSeconds: 10 },
      ALLOW,
    );
    const other = await instances.create({ id: 'other', kind: 'open' });
    await instances.update('other', { authentication: { http: { url, cacheSeconds: 10 } } });

    await ask();
    await ask({ secret: 'pa56' });
    await ask({ clientId: 'sensor-2' });
    await ask({ userName: 'bob' });
    await ask({ address: '127.0.0.2' });
    await way.authenticate(request({ instance: other, secret: 'pa55' }));

    assert.equal(asked.length, 6);
  });

  test('other settings forget', async (t) => {
    const { ask, asked, set, url } = await openHttpScene(t, { cacheSeconds: 10 }, ALLOW);
    await ask();

    await set('http', { url, cacheSeconds: 11 });
    await ask();

    assert.equal(asked.length, 2);
  });

  test('denials are remembered only where that is asked for, failures never', async (t) => {
    const deny = (one: Asked): void => one.answer({ result: 'deny' });
    const forgetful = await openHttpScene(t, { cacheSeconds: 10 }, deny);
    const stubborn = await openHttpScene(t, { denyCacheSeconds: 10 }, deny);
    const broken = await openHttpScene(
      t,
      { cacheSeconds: 10, denyCacheSeconds: 10 },
      (one) => void one.response.writeHead(500).end(),
    );

    for (const { ask } of [forgetful, stubborn, broken]) {
      await ask();
      await ask();
    }

    const counts = [forgetful, stubborn, broken].map(({ asked }) => asked.length);
    assert.deepEqual(counts, [2, 1, 2]);
  });

  test('a remembered answer does not outlive its own end', async (t) => {
    const { ask, clock } = await openHttpScene(t, { cacheSeconds: 60 }, (one) =>
      one.answer({ result: 'allow', expireAt: clock.nowMs() + 30_000 }),
    );
    await ask();

    clock.stall(30_001);

    assert.equal(outcomeOf(await ask()), 'authServiceDenied');
  });
});

describe('decisions that end', () => {
  /** Connected on a decision that ends in two minutes. */
  async function connected(t: TestContext, settings: Record<string, unknown> = {}) {
    // A long deadline: the clock may run on while a question is on its way.
    const scene = await openHttpScene(t, { cacheSeconds: 3_600, timeoutMs: 30_000, ...settings });
    const verdict = scene.ask();
    await until(
      () => scene.asked.length === 1,
      () => 'not asked',
    );
    const endMs = scene.clock.nowMs() + 120_000;
    scene.asked[0]!.answer({
      result: 'allow',
      expire_at: Math.floor(endMs / 1000),
      acl: [{ effect: 'allow', action: 'all', topic: 'a/#' }],
    });
    const caller = callerOf(await verdict);
    const client = watchedClient();
    const ended = caller.connected!(client);
    const nextQuestion = async (count: number): Promise<Asked> => {
      await until(
        () => scene.asked.length === count,
        () => `${scene.asked.length} questions`,
      );
      return scene.asked[count - 1]!;
    };
    return { ...scene, caller, client, ended, nextQuestion };
  }

  test('shortly before its end the service is asked again, and its new word counts', async (t) => {
    const { clock, client, caller, asked, nextQuestion } = await connected(t);
    const before = caller.permissions!.version;
    clock.advance(85_000);
    assert.equal(asked.length, 1);

    clock.advance(22_000);
    const again = await nextQuestion(2);
    assert.equal(again.body['password'], 'pa55');
    again.answer({
      result: 'allow',
      expireAt: clock.nowMs() + 3_600_000,
      acl: [{ effect: 'allow', action: 'publish', topic: 'b' }],
    });
    await until(
      () => client.permissionChanges === 1,
      () => 'nothing changed',
    );

    assert.equal(caller.permissions!.mayPublish('a/1'), false);
    assert.equal(caller.permissions!.mayPublish('b'), true);
    assert.ok(caller.permissions!.version > before);
    clock.advance(600_000);
    assert.deepEqual(client.told, []);
    assert.equal(asked.length, 2);
  });

  test('a client the service no longer wants is disconnected', async (t) => {
    const { clock, client, nextQuestion } = await connected(t);

    clock.advance(107_000);
    (await nextQuestion(2)).answer({ result: 'deny' });
    await until(
      () => client.told.length > 0,
      () => 'still connected',
    );

    assert.deepEqual(client.told, ['credentialRevoked']);
  });

  test('a service that is down is asked until the end, then the client has to go', async (t) => {
    const { clock, client, caller, asked } = await connected(t, { timeoutMs: 1_000 });
    const pass = async (seconds: number): Promise<void> => {
      for (let second = 0; second < seconds; second++) {
        clock.advance(1_000);
        await new Promise(setImmediate);
      }
    };

    await pass(118);
    assert.deepEqual(client.told, []);
    assert.equal(caller.permissions!.mayPublish('a/1'), true);
    await until(
      () => asked.length >= 2,
      () => 'it was not asked again',
    );

    await pass(12);
    assert.deepEqual(client.told, ['authServiceDown']);
  });

  test('a new allowance that is over already is none', async (t) => {
    const { clock, client, caller, nextQuestion } = await connected(t);

    clock.advance(107_000);
    (await nextQuestion(2)).answer({ result: 'allow', expireAt: clock.nowMs() - 1 });
    await until(
      () => client.told.length > 0 || client.permissionChanges > 0,
      () => 'nothing happened',
    );

    assert.deepEqual(client.told, ['credentialRevoked']);
    assert.equal(caller.permissions!.mayPublish('a/1'), true);
  });

  test('failOpen keeps the client while the service is down', async (t) => {
    const { clock, client } = await connected(t, { timeoutMs: 1_000, failOpen: true });

    for (let second = 0; second < 200; second++) {
      clock.advance(1_000);
      await new Promise(setImmediate);
    }

    assert.deepEqual(client.told, []);
  });

  test('nobody is asked about a client that is gone', async (t) => {
    const { clock, asked, ended, client } = await connected(t);

    ended();
    clock.advance(600_000);
    await new Promise(setImmediate);

    assert.equal(asked.length, 1);
    assert.deepEqual(client.told, []);
  });

  test('settings taken away end the client with its decision', async (t) => {
    const { clock, client, set } = await connected(t);
    await set('http', undefined);

    clock.advance(120_000);
    await until(
      () => client.told.length > 0,
      () => 'still connected',
    );

    assert.deepEqual(client.told, ['credentialRevoked']);
  });
});
