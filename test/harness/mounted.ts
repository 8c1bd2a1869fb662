/**
 * Small file systems of their own, for tests of full and read-only disks. Mounting takes root.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

function mount(options: string, directory: string): boolean {
  return spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory]).status === 0;
}

function unmount(directory: string): void {
  // Lazily: a process that was killed a moment ago may still hold it.
  spawnSync('umount', ['-l', directory]);
  rmSync(directory, { recursive: true, force: true });
}

/** Test options: skipped, with the reason, where mounting is not allowed. */
export function needsMount(): { readonly skip?: string } {
  const directory = mkdtempSync(join(tmpdir(), 'mount-'));
  const may = mount('size=1m', directory);
  unmount(directory);
  if (may) return {};
  return { skip: 'mounting is not allowed here; run as root (sudo npm test -- disk)' };
}

export interface Mounted {
  readonly directory: string;
  remountReadOnly(): void;
}

/** A tmpfs of that size, gone with the test. */
export function mountSmall(scope: { after(cleanUp: () => void): void }, sizeMiB: number): Mounted {
  const directory = mkdtempSync(join(tmpdir(), 'mount-'));
  scope.after(() => unmount(directory));
  if (!mount(`size=${sizeMiB}m`, directory)) throw new Error('mounting failed');
  return {
    directory,
    remountReadOnly: () => {
      const { status } = spawnSync('mount', ['-o', 'remount,ro', directory]);
      if (status !== 0) throw new Error('remounting failed');
    },
  };
}
