/** What a command may touch of the world: its streams, its environment, the wish to stop. */
import type { Clock, Random } from '#base';
import type { Paint } from '#config';

export interface CommandIo {
  write(text: string | Uint8Array): void;
  writeError(text: string): void;
  /** Whether people watch: standard error is a terminal. */
  readonly isTerminal: boolean;
  readonly paint: Paint;
  readonly columns: number;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly input: AsyncIterable<Uint8Array>;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborted when the user wants an end. */
  readonly stop: AbortSignal;
}

/** What a command ends with. */
export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

/** `work`, unless the user wants an end first: for what may never come. */
export async function orStopped<T>(work: Promise<T>, { stop }: CommandIo): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onStop = (): void => reject(new CommandError('stopped before it was done'));
  if (stop.aborted) onStop();
  else stop.addEventListener('abort', onStop, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    stop.removeEventListener('abort', onStop);
  }
}

/** What comes in, until that ends or nobody wants more: whoever types may never send another. */
export async function* readInput(
  input: AsyncIterable<Uint8Array>,
  enough: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const chunks = input[Symbol.asyncIterator]();
  const end = new Promise<undefined>((resolve) => {
    if (enough.aborted) resolve(undefined);
    enough.addEventListener('abort', () => resolve(undefined), { once: true });
  });
  for (;;) {
    const next = await Promise.race([end, chunks.next()]);
    if (next === undefined || next.done === true) return;
    yield next.value;
  }
}

/** A command cannot do what was asked of it; said in one line, without a stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}
