/**
 * What the service tells its operator: one line an event, to standard error.
 *
 * A line is `time level text key=value ...`; values are quoted when they hold spaces, and
 * control characters from outside are escaped, so that a client cannot forge a line.
 */
import type { Clock } from './clock.ts';

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  error(text: string, fields?: LogFields): void;
  warn(text: string, fields?: LogFields): void;
  info(text: string, fields?: LogFields): void;
  debug(text: string, fields?: LogFields): void;
  /** False where building the fields would be wasted. */
  readonly debugEnabled: boolean;
}

export function createLog(options: {
  readonly level: LogLevel;
  readonly clock: Clock;
  readonly write: (line: string) => void;
}): Log {
  const bound = LOG_LEVELS.indexOf(options.level);
  const say = (level: LogLevel, text: string, fields: LogFields = {}): void => {
    if (LOG_LEVELS.indexOf(level) > bound) return;
    let line = `${new Date(options.clock.nowMs()).toISOString()} ${level.padEnd(5)} ${text}`;
    for (const [key, value] of Object.entries(fields)) {
      if (value !== undefined) line += ` ${key}=${quote(String(value))}`;
    }
    options.write(`${line}\n`);
  };
  return {
    error: (text, fields) => say('error', text, fields),
    warn: (text, fields) => say('warn', text, fields),
    info: (text, fields) => say('info', text, fields),
    debug: (text, fields) => say('debug', text, fields),
    debugEnabled: bound >= LOG_LEVELS.indexOf('debug'),
  };
}

/** A log that says nothing. */
export const silentLog: Log = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  debugEnabled: false,
};

function quote(value: string): string {
  if (/^[\w.:/@+-]+$/.test(value)) return value;
  // JSON leaves some characters alone that a terminal obeys or that end a line.
  return JSON.stringify(value).replace(/[\u007f-\u009f\u2028\u2029]/g, escapeCharacter);
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
