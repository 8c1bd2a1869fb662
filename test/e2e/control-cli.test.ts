/** From a fresh start to a device's token with nothing but the program itself, as a script does. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Program, startProgram } from '../harness/program.ts';

const KEY = { accessKeyId: 'admin-key', accessKeySecret: 'a-secret-of-this-test' };

interface Scene {
  readonly endpoint: string;
  readonly broker: Program;
  /** Runs `ternmq` with a home and no key of its own. */
  run(words: readonly string[], input?: string): Promise<Program>;
}

async function setScene(t: TestContext): Promise<Scene> {
  const directory = mkdtempSync(join(tmpdir(), 'ternmq-control-'));
  const keyFile = join(directory, 'key.json');
  writeFileSync(keyFile, JSON.stringify(KEY));
  const doors = ['--listen', 'mqtt://127.0.0.1:0', '--control', 'http://127.0.0.1:0'];
  const broker = startProgram(['start', '--memory', ...doors, '--admin-key-file', keyFile]);
  t.after(async () => {
    broker.child.kill();
    await broker.ended;
    rmSync(directory, { recursive: true, force: true });
  });
  await broker.until((program) => program.stdout().includes('\n'));
  return {
    broker,
    endpoint: /http:\/\/\S+/.exec(broker.stdout())?.[0] ?? 'no control door',
    run: async (words, input = '') => {
      const program = startProgram(words, { environment: { XDG_CONFIG_HOME: directory }, input });
      await program.ended;
      return program;
    },
  };
}

test('log in, make an instance, a topic and a group, and apply for a token', async (t) => {
  const { endpoint, broker, run } = await setScene(t);
  const login = ['login', '--endpoint', endpoint, '--access-key-id', KEY.accessKeyId];
  const wrong = await run(login, 'wrong\n');
  assert.equal(await wrong.ended, 1);
  const right = await run(login, `${KEY.accessKeySecret}\n`);
  assert.equal(await right.ended, 0, right.stderr());

  const call = async (...words: string[]): Promise<Readonly<Record<string, unknown>>> => {
    const program = await run(['api', ...words, '--InstanceId', 'mqtt-1']);
    assert.equal(await program.ended, 0, program.stderr());
    assert.equal(program.stderr(), '');
    return JSON.parse(program.stdout()) as Record<string, unknown>;
  };
  await call('CreateInstance');
  await call('CreateTopic', '--Topic', 'plant');
  await call('CreateGroupId', '--GroupId', 'GID_one');
  const expireTime = String(Date.now() + 3_600_000);
  const grant = ['--Actions', 'R', '--Resources', 'plant/#', '--ExpireTime', expireTime];
  const { Token: token } = await call('ApplyToken', ...grant);
  assert.ok(typeof token === 'string' && token.length > 20);
  const { MsgId: id } = await call('SendMessage', '--MqttTopic', 'plant/1', '--Payload', 'on');
  assert.match(String(id), /^[0-9A-F]{32}$/);

  const refused = await run(['api', 'ListGroupId', '--InstanceId', 'nowhere']);
  assert.equal(await refused.ended, 1);
  assert.equal(refused.stdout(), '');
  assert.match(refused.stderr(), /^ternmq: InstanceNotFound: .*\n$/);
  for (const program of [broker, right, refused]) {
    assert.ok(!(program.stdout() + program.stderr()).includes(KEY.accessKeySecret));
  }
});
