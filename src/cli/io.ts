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

/** A command cannot do what was asked of it; said in one line, without a stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}
