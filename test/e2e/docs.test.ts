/**
 * The documentation does what it says: every shell block of the README and of docs/ is run.
 *
 * A comment before a block tells how: `run`, `run: background` (until the page ends),
 * `run: instead` (in the background, and what ran there before is stopped), `run: fails with N`,
 * `file: NAME` (saved for a later block), or `not run: why`. A `text` block after it must appear
 * in what it wrote. Ports, `PID`, `ACCESS_KEY` and `SECRET` are replaced.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, test } from 'node:test';
import { within } from '../harness/deadline.ts';
import { freePort } from '../harness/free-port.ts';
import { findPahoPython, findSdkPython, needs } from '../harness/tool.ts';

const PROJECT = join(import.meta.dirname, '..', '..');
const BLOCK_MS_MAX = 60_000;
const CACHE = mkdtempSync(join(tmpdir(), 'ternmq-docs-cache-'));
const PAHO_PYTHON = findPahoPython();
const SDK_PYTHON = findSdkPython();
const PORTS = ['1883', '8883', '8083', '8084', '8080', '8443', '9000'];

interface Block {
  readonly line: number;
  /** What the comment says; `undefined`: there is none. */
  readonly how: string | undefined;
  readonly language: string;
  readonly text: string;
  /** Lines that must appear in what it wrote. */
  readonly expected: readonly string[];
}

function blocksOf(page: string): Block[] {
  const blocks: Block[] = [];
  const pattern = /(?:^<!-- ([^\n]*?) -->\n)?^```(\w*)\n([\s\S]*?)^```$/gm;
  for (const match of page.matchAll(pattern)) {
    const [, how, language, text] = match;
    const previous = blocks.at(-1);
    if (language === 'text' && how === undefined && previous !== undefined) {
      const expected = [...previous.expected, ...text!.trim().split('\n')];
      blocks[blocks.length - 1] = { ...previous, expected };
    } else {
      const line = page.slice(0, match.index).split('\n').length;
      blocks.push({ line, how, language: language!, text: text!, expected: [] });
    }
  }
  return blocks;
}

class Page {
  readonly directory: string;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #replacements: Map<string, string>;
  readonly #running: { readonly child: ChildProcess; readonly output: () => string }[] = [];

  constructor(directory: string, ports: ReadonlyMap<string, string>) {
    this.directory = directory;
    this.#replacements = new Map(ports);
    const bin = join(directory, '.bin');
    mkdirSync(bin);
    const shim = `#!/bin/sh\nexec ${process.execPath} --conditions=source ${PROJECT}/src/main.ts "$@"\n`;
    writeFileSync(join(bin, 'ternmq'), shim);
    symlinkSync(process.execPath, join(bin, 'node'));
    const python = `case $1 in sdk*) exec ${SDK_PYTHON} "$@";; *) exec ${PAHO_PYTHON} "$@";; esac`;
    writeFileSync(join(bin, 'python3'), `#!/bin/sh\n${python}\n`);
    for (const name of ['ternmq', 'python3']) chmodSync(join(bin, name), 0o755);
    // A checkout, as far as npm and Node can tell, whose ./data is this page's own.
    for (const name of ['package.json', 'src', 'node_modules']) {
      symlinkSync(join(PROJECT, name), join(directory, name));
    }
    this.#environment = {
      ...process.env,
      PATH: [bin, process.env['PATH'], '/usr/sbin'].join(delimiter),
      TERNMQ_URL: `mqtt://127.0.0.1:${ports.get('1883')}`,
      TERNMQ_LISTEN: `mqtt://127.0.0.1:${ports.get('1883')}`,
      XDG_CONFIG_HOME: directory, // the page's own profile
      NODE_COMPILE_CACHE: CACHE, // the program is started some hundred times
    };
  }

  save(name: string, text: string): void {
    writeFileSync(join(this.directory, name), this.#filled(text));
  }

  /** Runs a block to its end and checks its exit code and output. */
  async run(block: Block, exitCode: number): Promise<void> {
    const { child, output } = this.#spawn(block.text);
    const end = once(child, 'close');
    const [code] = await within(BLOCK_MS_MAX, end, () => `no end:\n${output()}`).finally(() =>
      child.kill('SIGKILL'),
    );
    assert.equal(code, exitCode, output());
    for (const line of block.expected) this.#assertSaid(output(), line);
  }

  /** Starts a block and waits until it says that it serves, or stands. */
  async start(block: Block): Promise<() => Promise<void>> {
    const background = this.#spawn(`exec ${block.text.replace(/^npm ci && /, '')}`);
    this.#running.push(background);
    const { child, output } = background;
    if (/\bternmq\b|npm start|\bnode\b/.test(block.text)) {
      await this.#until(background, () => /ternmq ready|subscribed to|listening/.test(output()));
    }
    const key = /(ak-[0-9a-f]+)\s+password\s+(\S+)/.exec(output());
    if (key !== null) {
      this.#replacements.set('ACCESS_KEY', key[1]!).set('SECRET', key[2]!);
    }
    if (/ternmq start|npm start/.test(block.text)) this.#replacements.set('PID', `${child.pid}`);
    return async () => {
      for (const line of block.expected) {
        await this.#until(background, () => output().includes(this.#filled(line)));
      }
    };
  }

  async end(): Promise<void> {
    for (const { child } of this.#running.splice(0).reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGTERM');
      await once(child, 'close');
    }
  }

  #spawn(text: string): { readonly child: ChildProcess; readonly output: () => string } {
    const child = spawn('sh', ['-eu', '-c', this.#filled(text)], {
      cwd: this.directory,
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    return { child, output: () => output };
  }

  async #until(
    { child, output }: { readonly child: ChildProcess; readonly output: () => string },
    holds: () => boolean,
  ): Promise<void> {
    const held = new Promise<void>((resolve, reject) => {
      const look = (): void => {
        if (holds()) resolve();
      };
      child.stdout?.on('data', look);
      child.stderr?.on('data', look);
      child.once('close', () => (holds() ? resolve() : reject(new Error(`ended:\n${output()}`))));
      look();
    });
    await within(BLOCK_MS_MAX, held, () => `not said yet:\n${output()}`);
  }

  #filled(text: string): string {
    let filled = text.replace(/\bnpm ci && /g, '');
    for (const [word, value] of this.#replacements) {
      filled = filled.replace(new RegExp(`\\b${word}\\b`, 'g'), () => value);
    }
    return filled;
  }

  #assertSaid(output: string, line: string): void {
    assert.ok(output.includes(this.#filled(line)), `wanted: ${line}\ngot: ${output}`);
  }
}

async function freePorts(): Promise<Map<string, string>> {
  const ports = new Map<string, string>();
  for (const word of PORTS) ports.set(word, String(await freePort()));
  return ports;
}

function toolsOf({ text }: Block): ReturnType<typeof needs> {
  const words = ['mosquitto_pub', 'mosquitto_sub', 'openssl', 'curl'].filter((tool) =>
    text.includes(tool),
  );
  if (text.includes('python3')) words.push(text.includes('sdk') ? 'python-sdk' : 'python3-paho');
  return needs(...words);
}

after(() => rm(CACHE, { recursive: true, force: true }));

const pages = ['README.md', 'CONTRIBUTING.md', ...globSync('docs/*.md', { cwd: PROJECT }).sort()];

for (const path of pages) {
  const blocks = blocksOf(readFileSync(join(PROJECT, path), 'utf8'));
  const shell = blocks.filter(({ language }) => language === 'sh');
  if (shell.length === 0) continue;

  test(`${path} does what it says`, async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'ternmq-docs-'));
    const page = new Page(directory, await freePorts());
    t.after(async () => {
      await page.end();
      await rm(directory, { recursive: true, force: true });
    });
    const later: (readonly [line: number, check: () => Promise<void>])[] = [];

    for (const block of blocks) {
      const { how, language, line } = block;
      const file = /^file: (.+)$/.exec(how ?? '')?.[1];
      if (file !== undefined) page.save(file, block.text);
      if (file !== undefined || language !== 'sh') continue;
      assert.ok(how !== undefined, `${path}:${line}: say how this block is run`);
      if (/^not run: ./.test(how)) continue;
      await t.test(`line ${line}`, toolsOf(block), async () => {
        if (how === 'run: instead') await page.end();
        if (/^run: (background|instead)$/.test(how)) later.push([line, await page.start(block)]);
        else if (how === 'run') await page.run(block, 0);
        else await page.run(block, Number(/^run: fails with (\d+)$/.exec(how)![1]));
      });
    }

    for (const [line, check] of later) await t.test(`line ${line}, in the end`, check);
  });
}

test('links within the documentation lead somewhere', () => {
  for (const path of pages) {
    const page = readFileSync(join(PROJECT, path), 'utf8');
    for (const [, target, heading] of page.matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)) {
      const file = target === '' ? join(PROJECT, path) : join(PROJECT, path, '..', target!);
      assert.ok(existsSync(file), `${path} links to ${target}, which is not there`);
      if (heading === undefined) continue;
      const found = headingsOf(readFileSync(file, 'utf8'));
      assert.ok(found.has(heading), `${path} links to ${target}#${heading}, which is not there`);
    }
  }
});

/** As links name them. */
function headingsOf(page: string): ReadonlySet<string> {
  const headings = page.replace(/^```[\s\S]*?^```$/gm, '').matchAll(/^#+ (.*)$/gm);
  const names = Array.from(headings, ([, text]) =>
    text!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
  return new Set(names);
}
