/** A file that was made, renamed or removed is so on the disk only once its directory is synced. */
import { close, fsync, open } from 'node:fs';
import { promisify } from 'node:util';

const openFile = promisify(open);
const closeFile = promisify(close);
const syncFile = promisify(fsync);

export async function syncDirectory(path: string): Promise<void> {
  const fd = await openFile(path, 'r');
  try {
    await syncFile(fd);
  } catch (error) {
    // Some file systems know no such thing for a directory; what they promise must do.
    if (!(error instanceof Error && 'code' in error && error.code === 'EINVAL')) throw error;
  } finally {
    await closeFile(fd);
  }
}
