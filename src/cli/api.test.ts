/** `ternmq api` and `ternmq login`, against a real control door. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { createSeededRandom, systemClock } from '#base';
import { UsageError } from '#config';
import { createAuthority } from '../../test/harness/certificates.ts';
import { ACTIONS } from '../../test/harness/control-actions.ts';
import { openTestDoor } from '../../test/harness/control-door.ts';
import { needs } from '../../test/harness/tool.ts';
import { runApi } from './api.ts';
import { CommandError, type CommandIo } from './io.ts';
import { runLogin } from './login.ts';

/** Ours, and one of every type. */
interface World {
  readonly io: CommandIo;
  readonly home: string;
  written(): string;
}

function openWorld(
  t: TestContext,
  environment: Readonly<Record<string, string>> = {},
  input = '',
): World {
  const home = mkdtempSync(join(tmpdir(), 'ternmq-home-'));
  t.after(() => rmSync(home, { recursive: true, force: true }));
  let written = '';
  const plain = (text: string): string => text;
  const io: CommandIo = {
    write: (text) => (written += String(text)),
    writeError: () => undefined,
    isTerminal: false,
    paint: { bold: plain, dim: plain },
    columns: 100,
    environment: { XDG_CONFIG_HOME: home, ...environment },
    input: (async function* () {
      if (input !== '') yield Buffer.from(input);
    })(),
    clock: systemClock,
    random: createSeededRandom(7),
    stop: new AbortController().signal,
  };
  return { io, home, written: () => written };
}

const ECHO = ['Echo', '--InstanceId', 'default', '--Text', '-x y'];

async function problemsOf(run: Promise<number>): Promise<string> {
  try {
    await run;
  } catch (error) {
    if (error instanceof UsageError) return error.problems.join('\n');
    throw error;
  }
  return '';
}

describe('ternmq api', () => {
  test('prints the answer as JSON', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const world = openWorld(t, {
      TERNMQ_ACCESS_KEY_ID: door.key.id,
      TERNMQ_ACCESS_KEY_SECRET: door.key.secret,
    });
    const words = ['--Count=3', '--List', 'a', '--List', 'b', '--Tag', 'k=v=w', '--Tag.7.Key', 'z'];
    const flags = [...words, '--Flag', '--Json', '{"a":[1]}', '--endpoint', door.url];

    const code = await runApi([...ECHO, ...flags], world.io, ACTIONS);

    assert.equal(code, 0);
    const answer = JSON.parse(world.written()) as Record<string, unknown>;
    assert.deepEqual(answer['Given'], {
      InstanceId: 'default',
      Text: '-x y',
      Count: 3,
      List: ['a', 'b'],
      Tag: [
        { key: 'k', value: 'v=w' },
        { key: 'z', value: '' },
      ],
      Flag: true,
      Json: '{"a":[1]}',
    });
  });

  test('a refusal is one line, with its code and request', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const world = openWorld(t, {
      TERNMQ_ACCESS_KEY_ID: door.key.id,
      TERNMQ_ACCESS_KEY_SECRET: 'wrong',
      TERNMQ_ENDPOINT: door.url,
    });

    await assert.rejects(runApi(ECHO, world.io, ACTIONS), (error) => {
      assert.ok(error instanceof CommandError);
      assert.match(error.message, /^SignatureDoesNotMatch: .* \(request [0-9A-F-]{36}\)$/);
      assert.ok(!error.message.includes('\n'));
      return true;
    });
    assert.equal(world.written(), '');
  });

  test('nobody there is one line too', async (t) => {
    const world = openWorld(t, { TERNMQ_ACCESS_KEY_ID: 'a', TERNMQ_ACCESS_KEY_SECRET: 'b' });
    const words = [...ECHO, '--endpoint', 'http://127.0.0.1:1'];

    await assert.rejects(
      runApi(words, world.io, ACTIONS),
      (error) => error instanceof CommandError && /cannot reach http:/.test(error.message),
    );
  });

  const slips: readonly (readonly [words: readonly string[], says: RegExp])[] = [
    [[], /which action/],
    [['echo'], /did you mean Echo\?/],
    [['Ecko'], /did you mean Echo\?/],
    [['Echo', 'more'], /unexpected word "more"/],
    [[...ECHO, '--text', 'x'], /unknown option --text/],
    [[...ECHO, '--Texte', 'x'], /no parameter --Texte: did you mean --Text\?/],
    [['Echo', '--InstanceId', 'x'], /--Text is missing/],
    [[...ECHO, '--Text', 'again'], /--Text was given more than once/],
    [[...ECHO, '--Count', 'three'], /"three" is not a whole number/],
    [[...ECHO, '--Flag=maybe'], /"maybe" is neither true nor false/],
    [[...ECHO, '--Tag', 'k'], /"k" is not of the form KEY=VALUE/],
    [[...ECHO, '--Count.1', '1'], /Count is no list/],
    [[...ECHO, '--Kind', '--endpoint', 'http://127.0.0.1'], /--Kind needs a value/],
    [[...ECHO, '--endpoint', 'mqtt://127.0.0.1'], /expected a URL such as http/],
    [ECHO, /where is the control API\?/],
    [[...ECHO, '--endpoint', 'http://127.0.0.1'], /no access key/],
  ];
  for (const [words, says] of slips) {
    test(`${words.slice(1).join(' ') || words.join(' ')}: ${says}`, async (t) => {
      assert.match(await problemsOf(runApi(words, openWorld(t).io, ACTIONS)), says);
    });
  }

  test('help lists the actions, and of an action its parameters', async (t) => {
    const all = openWorld(t);
    const one = openWorld(t);

    await runApi(['--help'], all.io, ACTIONS);
    await runApi(['Echo', '-h'], one.io, ACTIONS);

    for (const { name } of ACTIONS) assert.ok(all.written().includes(name));
    for (const { name } of ACTIONS[0]!.parameters) assert.ok(one.written().includes(`--${name}`));
  });
});

describe('ternmq login', () => {
  test('what it keeps is what ternmq api uses, and only its owner can read it', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const world = openWorld(t, {}, `${door.key.secret}\n`);
    const words = ['--endpoint', door.url, '--access-key-id', door.key.id];

    assert.equal(await runLogin(words, world.io), 0);
    const path = join(world.home, 'ternmq', 'profile.json');
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.ok(!world.written().includes(door.key.secret));

    assert.equal(await runApi(ECHO, world.io, ACTIONS), 0);
    chmodSync(path, 0o644);
    await assert.rejects(runApi(ECHO, world.io, ACTIONS), /can be read by others/);
  });

  test('a key that is not proven is not kept', async (t) => {
    const door = await openTestDoor(t, { actions: ACTIONS });
    const world = openWorld(t, { TERNMQ_ACCESS_KEY_SECRET: 'wrong' });

    for (const id of [door.key.id, 'nobody']) {
      const run = runLogin(['--endpoint', door.url, '--access-key-id', id], world.io);
      await assert.rejects(run, CommandError);
    }
    assert.ok(!existsSync(join(world.home, 'ternmq')));
  });

  test('there is no flag for the secret', async (t) => {
    const words = ['--endpoint', 'http://127.0.0.1', '--access-key-secret', 'x'];

    assert.match(await problemsOf(runLogin(words, openWorld(t).io)), /unknown option/);
  });

  test('a private authority is kept with the rest', needs('openssl'), async (t) => {
    const authority = createAuthority(t);
    const { certificateFile, keyFile } = authority.issue('door');
    const urls = ['https://127.0.0.1:0'];
    const door = await openTestDoor(t, { actions: ACTIONS, urls, certificateFile, keyFile });
    const world = openWorld(t, { TERNMQ_ACCESS_KEY_SECRET: door.key.secret });
    const words = ['--endpoint', door.url, '--access-key-id', door.key.id];

    await assert.rejects(runLogin(words, world.io), /see --ca/);
    await runLogin([...words, '--ca', authority.certificateFile], world.io);

    assert.equal(await runApi(ECHO, world.io, ACTIONS), 0);
    const profile = readFileSync(join(world.home, 'ternmq', 'profile.json'), 'utf8');
    assert.ok(profile.includes(authority.certificateFile));
  });
});
