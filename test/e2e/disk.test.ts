/**
 * A disk that is full, and directories that cannot be used.
 *
 * The full disk is a tmpfs of its own, so these tests need root; elsewhere they are skipped by
 * name. The broker keeps what it acknowledged, refuses what it cannot keep, and goes on.
 */
import { strict as assert } from 'node:assert';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type BrokerProcess, connectRaw, startBroker } from '../harness/index.ts';
import { mountSmall, needsMount } from '../harness/mounted.ts';
import { runProgram, startProgram } from '../harness/program.ts';
import { needs } from '../harness/tool.ts';
import { until } from '../harness/until.ts';
import { connectClient, openClient, unique, type V5Client } from '../harness/v5-client.ts';

const DISK_MIB = 96;
const QUOTA_EXCEEDED = 0x97;
const CHUNK = 64 * 1024;
const LASTING = { cleanStart: false, properties: { sessionExpiry: 3_600 } };

interface FullDisk {
  readonly broker: BrokerProcess;
  readonly sleeperId: string;
  readonly topic: string;
  /** Payload heads that were acknowledged. */
  readonly kept: string[];
  readonly sender: V5Client;
  release(): void;
  refill(): Promise<void>;
}

function fill(file: string): void {
  const zeros = Buffer.alloc(256 * 1024);
  const descriptor = openSync(file, 'w');
  try {
    for (let size = zeros.length; size >= 512; ) {
      try {
        writeSync(descriptor, zeros, 0, size);
      } catch {
        size = Math.floor(size / 2);
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

function payload(head: string): string {
  return head.padEnd(CHUNK, '.');
}

/** A broker whose disk has run full while messages for an absent session came in. */
async function fullDisk(t: TestContext): Promise<FullDisk> {
  const { directory } = mountSmall(t, DISK_MIB);
  const broker = await startBroker(t, { dataDirectory: join(directory, 'data') });
  const topic = unique('d/');
  const sleeperId = unique('c');
  const sleeper = await connectClient(t, broker.port, { ...LASTING, clientId: sleeperId });
  await sleeper.subscribe(topic, 2);
  await sleeper.disconnect();
  const sender = await connectClient(t, broker.port);
  const kept: string[] = [];
  for (let i = 0; i < 10; i++) {
    assert.equal(await sender.publish(topic, payload(`early ${i}`), { qos: 1 + (i % 2) }), 0);
    kept.push(`early ${i}`);
  }
  const filler = join(directory, 'filler');
  let serial = 0;
  const refill = async (): Promise<void> => {
    fill(filler);
    // What the store had prepared takes some more.
    for (let i = 0; i < 1_500; i++) {
      const head = `late ${serial++}`;
      const reason = await sender.publish(topic, payload(head), { qos: 1 });
      if (reason === 0) kept.push(head);
      else return assert.equal(reason, QUOTA_EXCEEDED);
    }
    assert.fail(`${DISK_MIB} MiB took ${1_500 * CHUNK} bytes`);
  };
  await refill();
  return { broker, sleeperId, topic, kept, sender, refill, release: () => rmSync(filler) };
}

async function receiveKept(t: TestContext, { broker, sleeperId, kept }: FullDisk): Promise<void> {
  const client = await connectClient(t, broker.port, { ...LASTING, clientId: sleeperId });
  assert.equal(client.connack?.sessionPresent, true);
  const seen: string[] = [];
  while (seen.length < kept.length) {
    const message = await client.receive();
    seen.push(message.payload.replaceAll('.', ''));
  }
  assert.deepEqual(seen.toSorted(), kept.toSorted());
  await client.idle();
}

/** Publishes until the disk is used again. */
async function worksAgain({ sender, topic, kept }: FullDisk): Promise<void> {
  await until(
    async () => {
      const head = unique('again ');
      const reason = await sender.publish(topic, payload(head), { qos: 1 });
      if (reason === 0) kept.push(head);
      else assert.equal(reason, QUOTA_EXCEEDED, 'a session holds that filter');
      return reason === 0;
    },
    () => 'still refused after space was freed',
  );
  for (let i = 0; i < 20; i++) {
    const head = unique('free ');
    assert.equal(await sender.publish(topic, payload(head), { qos: 2 }), 0);
    kept.push(head);
  }
}

test(
  'a full disk: 5.0 publishers are told 0x97, and nothing acknowledged is lost',
  needsMount(),
  async (t) => {
    const disk = await fullDisk(t);
    const { sender, topic } = disk;

    assert.equal(await sender.publish(topic, payload('refused'), { qos: 1 }), QUOTA_EXCEEDED);
    assert.equal(await sender.publish(topic, payload('refused'), { qos: 2 }), QUOTA_EXCEEDED);
    const retained = await sender.publish(unique('r/'), payload('refused'), {
      qos: 1,
      retain: true,
    });
    assert.equal(retained, QUOTA_EXCEEDED);
    assert.equal(sender.isClosed, false);

    disk.release();
    await worksAgain(disk);
    await receiveKept(t, disk);
  },
);

test(
  'a full disk: a packet id whose QoS 2 message was refused may be used again',
  needsMount(),
  async (t) => {
    const disk = await fullDisk(t);
    const lasting = await connectClient(t, disk.broker.port, {
      ...LASTING,
      clientId: unique('c'),
    }).catch(
      () => undefined, // a durable session cannot be made now, which is as good
    );
    const client = lasting ?? disk.sender;
    const packetId = 4_242;
    const refused = await client.publish(disk.topic, payload('refused'), { qos: 2, packetId });
    assert.equal(refused, QUOTA_EXCEEDED);

    disk.release();
    await worksAgain(disk);
    assert.equal(await client.publish(disk.topic, payload('anew'), { qos: 2, packetId }), 0);
    disk.kept.push('anew');
    await receiveKept(t, disk);
  },
);

test(
  'a full disk: 3.1.1 publishers are closed without an acknowledgement',
  needsMount(),
  async (t) => {
    const disk = await fullDisk(t);
    for (const qos of [1, 2] as const) {
      const old = await connectRaw({ port: disk.broker.port, t });
      old.sendPublish(disk.topic, payload('refused'), { qos });
      const answers = await old.closed();
      assert.deepEqual(
        answers.map((packet) => packet.cmd),
        [],
        `QoS ${qos}: what was refused must not be acknowledged`,
      );
    }

    disk.release();
    await worksAgain(disk);
    await receiveKept(t, disk);
  },
);

test('a full disk: QoS 0, transient sessions and newcomers are served', needsMount(), async (t) => {
  const disk = await fullDisk(t);
  const topic = unique('live/');
  const reader = await connectClient(t, disk.broker.port);
  await reader.subscribe(topic, 2);
  const writer = await connectClient(t, disk.broker.port);

  for (const qos of [0, 1, 2]) assert.equal(await writer.publish(topic, `live ${qos}`, { qos }), 0);

  const seen = [await reader.receive(), await reader.receive(), await reader.receive()];
  assert.deepEqual(
    seen.map((one) => [one.payload, one.qos]),
    [0, 1, 2].map((qos) => [`live ${qos}`, qos]),
  );

  disk.release();
  await worksAgain(disk);
  await receiveKept(t, disk);
});

test(
  'a full disk: a session that could not be ended goes on, and so do the others',
  needsMount(),
  async (t) => {
    const disk = await fullDisk(t);
    const { broker, topic } = disk;
    const clientId = unique('c');
    disk.release();
    await worksAgain(disk);
    const other = await connectClient(t, broker.port, { ...LASTING, clientId });
    await other.subscribe(topic, 1);
    await other.disconnect();
    await disk.refill();

    // Clean Start has to remove what is stored, and cannot.
    for (let i = 0; i < 3; i++) {
      const client = await openClient(t, broker.port);
      client.sendConnect({ clientId, cleanStart: true });
      await client.refused(QUOTA_EXCEEDED);
    }
    disk.release();
    await worksAgain(disk);

    await receiveKept(t, disk);
  },
);

test(
  'a full disk and kill -9: what was acknowledged is there once there is room',
  needsMount(),
  async (t) => {
    const disk = await fullDisk(t);
    await disk.broker.kill();
    disk.release();
    await disk.broker.restart();
    await receiveKept(t, disk);
  },
);

test('a start on a full disk serves, or says why not in one line', needsMount(), async (t) => {
  const disk = await fullDisk(t);
  await disk.broker.kill();
  const { dataDirectory } = disk.broker;
  const program = startProgram(startWords(dataDirectory));
  t.after(() => void program.child.kill('SIGKILL'));
  const ready = (): boolean => program.stdout().includes('ternmq ready');
  await until(
    () => ready() || program.child.exitCode !== null,
    () => `neither ready nor ended: ${program.stderr()}`,
    20_000,
  );
  if (!ready()) {
    assert.equal(await program.ended, 1, program.stderr());
    oneLine(program.stderr());
  }
  program.child.kill('SIGKILL');
  await program.ended;
  disk.release();
  await disk.broker.restart();
  await receiveKept(t, disk);
});

function startWords(data: string): string[] {
  return ['start', '--open', '--listen', 'mqtt://127.0.0.1:0', '--data', data];
}

function oneLine(text: string): void {
  assert.match(text, /^ternmq: [^\n]+\n$/, 'one line that says what is wrong');
  assert.doesNotMatch(text, /\n\s+at /, 'no stack');
}

async function refusesToStart(
  data: string,
  says: RegExp,
  command?: readonly string[],
): Promise<void> {
  const result = await runProgram(startWords(data), command === undefined ? {} : { command });
  assert.equal(result.code, 1, `${result.stdout}${result.stderr}`);
  assert.equal(result.stdout, '');
  oneLine(result.stderr);
  assert.match(result.stderr, says);
  assert.ok(result.stderr.includes(data), 'it names the directory');
}

async function scratch(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'disk-'));
  t.after(async () => await rm(directory, { recursive: true, force: true }));
  return directory;
}

test('a data directory that is a file is refused in one line', async (t) => {
  const file = join(await scratch(t), 'data');
  writeFileSync(file, 'not a directory');
  await refusesToStart(file, /cannot be used/);
  await refusesToStart(join(file, 'below'), /cannot be used/);
});

const onProc = existsSync('/proc/self') ? {} : { skip: 'there is no /proc here' };

test('a directory that nobody can make is refused in one line', onProc, async () => {
  await refusesToStart('/proc/ternmq', /cannot be used/);
});

test('a data directory that is not ours is refused in one line', async (t) => {
  const directory = await scratch(t);
  writeFileSync(join(directory, 'format'), 'something else\n');
  await refusesToStart(directory, /format/);
});

test('a second process on the same data directory is refused in one line', async (t) => {
  const broker = await startBroker(t);
  await refusesToStart(broker.dataDirectory, /another process/);
  const client = await connectClient(t, broker.port, { ...LASTING, clientId: unique('c') });
  await client.subscribe(unique('s/'), 1);
});

test('a read-only disk is refused in one line', needsMount(), async (t) => {
  const mounted = mountSmall(t, 8);
  mounted.remountReadOnly();
  await refusesToStart(join(mounted.directory, 'data'), /read-only/i);
});

test('a read-only disk with a store on it is refused in one line', needsMount(), async (t) => {
  const mounted = mountSmall(t, DISK_MIB);
  const dataDirectory = join(mounted.directory, 'data');
  const broker = await startBroker(t, { dataDirectory });
  await broker.stop();
  mounted.remountReadOnly();
  await refusesToStart(dataDirectory, /read-only/i);
});

/** As another user: only root can become one. */
const asNobody: { readonly skip?: string } =
  process.getuid?.() === 0 ? needs('setpriv') : { skip: 'needs root to become another user' };

test('a directory this user may not write is refused in one line', asNobody, async (t) => {
  const directory = await scratch(t);
  chmodSync(directory, 0o755);
  const locked = join(directory, 'locked');
  mkdirSync(locked, { mode: 0o700 });
  const main = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
  const nobody = 'setpriv --reuid=65534 --regid=65534 --clear-groups'
    .split(' ')
    .concat(process.execPath, '--conditions=source', main);
  await refusesToStart(locked, /permission|EACCES/i, nobody);
  await refusesToStart(join(locked, 'below'), /permission|EACCES/i, nobody);
});
