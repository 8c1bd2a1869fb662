/** Sealed secrets, and the file of the key that seals them. */
import assert from 'node:assert/strict';
import { createDecipheriv } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { Fault, systemRandom } from '#base';
import { createSecretBox, loadSecretKey } from './secret-box.ts';

const KEY = Uint8Array.from({ length: 32 }, (_, index) => index);

function isDamaged(error: unknown): boolean {
  return Fault.is(error, 'storeUnavailable');
}

describe('a secret box', () => {
  test('opens what it sealed', () => {
    const box = createSecretBox(KEY, systemRandom);

    for (const secret of ['', 'x', 'Schlüssel 🔑', 'long '.repeat(5_000)]) {
      assert.equal(box.open(box.seal(secret)), secret);
    }
  });

  test('lays out version, nonce, ciphertext and tag', () => {
    const sealed = Buffer.from(createSecretBox(KEY, systemRandom).seal('secret'));

    const decipher = createDecipheriv('aes-256-gcm', KEY, sealed.subarray(1, 13));
    decipher.setAAD(Buffer.of(1)).setAuthTag(sealed.subarray(-16));
    const opened = Buffer.concat([decipher.update(sealed.subarray(13, -16)), decipher.final()]);
    assert.equal(sealed[0], 1);
    assert.equal(opened.toString(), 'secret');
  });

  test('seals the same secret differently each time, and shows nothing of it', () => {
    const box = createSecretBox(KEY, systemRandom);

    const one = Buffer.from(box.seal('a secret of mine'));
    const other = Buffer.from(box.seal('a secret of mine'));

    assert.notDeepEqual(one, other);
    assert.equal(one.includes('secret'), false);
  });

  test('does not open what was changed in any byte, or cut', () => {
    const box = createSecretBox(KEY, systemRandom);
    const sealed = box.seal('secret');

    for (let at = 0; at < sealed.length; at++) {
      const changed = Uint8Array.from(sealed);
      changed[at]! ^= 1;
      assert.throws(() => box.open(changed), isDamaged, `byte ${at}`);
      assert.throws(() => box.open(sealed.subarray(0, at)), isDamaged, `cut at ${at}`);
    }
  });

  test('does not open what another key sealed', () => {
    const other = createSecretBox(systemRandom.bytes(32), systemRandom);

    const sealed = other.seal('secret');

    assert.throws(() => createSecretBox(KEY, systemRandom).open(sealed), isDamaged);
  });

  test('says nothing of the secret when it fails', () => {
    const box = createSecretBox(KEY, systemRandom);
    const sealed = box.seal('top-secret');
    sealed[20]! ^= 1;

    assert.throws(
      () => box.open(sealed),
      (error: unknown) => error instanceof Error && !error.message.includes('top-secret'),
    );
  });
});

describe('the key file', () => {
  async function place(t: TestContext): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'secret-key-'));
    t.after(() => rm(folder, { recursive: true }));
    return join(folder, 'secret.key');
  }

  test('is made once, for its owner alone, and leaves nothing beside it', async (t) => {
    const path = await place(t);

    const made = loadSecretKey(path, systemRandom);
    const read = loadSecretKey(path, systemRandom);

    assert.equal(made.length, 32);
    assert.deepEqual(Uint8Array.from(read), Uint8Array.from(made));
    assert.deepEqual(Uint8Array.from(await readFile(path)), Uint8Array.from(made));
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(join(path, '..')), ['secret.key']);
  });

  test('is refused when everybody can read it', async (t) => {
    const path = await place(t);
    loadSecretKey(path, systemRandom);
    await chmod(path, 0o644);

    assert.throws(() => loadSecretKey(path, systemRandom), isDamaged);
  });

  for (const size of [0, 31, 33]) {
    test(`is refused with ${size} bytes, and stays as it is`, async (t) => {
      const path = await place(t);
      await writeFile(path, Buffer.alloc(size, 7), { mode: 0o600 });

      assert.throws(() => loadSecretKey(path, systemRandom), isDamaged);
      assert.equal((await stat(path)).size, size);
    });
  }

  test('is refused where its folder is not there', async (t) => {
    const path = await place(t);

    assert.throws(() => loadSecretKey(join(path, 'no', 'secret.key'), systemRandom), isDamaged);
  });
});
