/** The log: a client can put anything into a value, and nothing into the log. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../test/harness/manual-clock.ts';
import { createLog, LOG_LEVELS, type LogLevel, silentLog } from './log.ts';

function record(level: LogLevel = 'debug'): {
  readonly log: ReturnType<typeof createLog>;
  readonly lines: string[];
} {
  const lines: string[] = [];
  const clock = new ManualClock(Date.UTC(2026, 1, 3, 4, 5, 6, 7));
  return { lines, log: createLog({ level, clock, write: (line) => void lines.push(line) }) };
}

/** Any of the first 256 characters, the control characters among them. */
const anyText = fc
  .uint8Array({ maxLength: 30 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));

describe('a line', () => {
  test('has time, level, text and fields', () => {
    const { log, lines } = record();

    log.warn('client refused', { client: 'a-1', count: 3, secure: true, reason: undefined });

    assert.deepEqual(lines, [
      '2026-02-03T04:05:06.007Z warn  client refused client=a-1 count=3 secure=true\n',
    ]);
  });

  test('quotes values that hold blanks, quotes or nothing', () => {
    const { log, lines } = record();

    log.info('x', { a: 'two words', b: '', c: 'say "hi"', d: 'k=v', e: '[::1]:80' });

    assert.match(lines[0]!, / a="two words" b="" c="say \\"hi\\"" d="k=v" e="\[::1\]:80"\n$/);
  });

  test('a line break in a value begins no line, and a forged field stays in its quotes', () => {
    const { log, lines } = record();
    const evil = 'x\n2026-02-03T04:05:06.007Z error the disk is on fire client=root';

    log.debug('connect refused', { client: evil });

    assert.equal(lines.length, 1);
    assert.equal(lines[0]!.indexOf('\n'), lines[0]!.length - 1);
    assert.ok(lines[0]!.endsWith(`client=${JSON.stringify(evil)}\n`));
  });

  test('the last character of a value may be a line break', () => {
    const { log, lines } = record();

    log.info('x', { client: 'abc\n' });

    assert.ok(lines[0]!.endsWith(' client="abc\\n"\n'));
  });

  test('no control character of a value comes through: a terminal obeys them', () => {
    for (const code of [0x00, 0x07, 0x08, 0x0d, 0x1b, 0x7f, 0x85, 0x9b, 0x2028, 0x2029]) {
      const { log, lines } = record();

      log.info('x', { client: `a${String.fromCharCode(code)}b` });

      const shown = lines[0]!.slice(0, -1);
      const forbidden = /[\p{Cc}\u2028\u2029]/u;
      assert.ok(!forbidden.test(shown), `U+${code.toString(16).padStart(4, '0')} came through`);
    }
  });

  test('property: one value is one word after `key=`, and tells what it was', () => {
    fc.assert(
      fc.property(anyText, (value) => {
        const { log, lines } = record();
        log.info('x', { key: value, end: 1 });
        const shown = /^.{24} info {2}x key=(.*) end=1\n$/s.exec(lines[0]!)?.[1];
        assert.notEqual(shown, undefined);
        assert.ok(!shown!.includes('\n'));
        const told: unknown = shown!.startsWith('"') ? JSON.parse(shown!) : shown;
        assert.equal(told, value);
      }),
    );
  });
});

describe('levels', () => {
  for (const [bound, level] of LOG_LEVELS.entries()) {
    test(`${level} says what is ${level} or worse`, () => {
      const { log, lines } = record(level);

      for (const one of LOG_LEVELS) log[one]('x');

      assert.equal(lines.length, bound + 1);
      assert.equal(log.debugEnabled, level === 'debug');
    });
  }

  test('the silent log takes everything and says nothing', () => {
    for (const one of LOG_LEVELS) silentLog[one]('x', { a: 1 });
    assert.equal(silentLog.debugEnabled, false);
  });
});
