/**
 * HTTP authentication with a real server on the other side, which does what a test says.
 */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { type Caller, createHttpWay, type HttpWay, isRefusal, type Verdict } from '#identity';
import { openWayScene, type WayScene } from './way-scene.ts';

/** One question of ours, and the way to answer it. */
export interface Asked {
  readonly body: Record<string, unknown>;
  readonly headers: IncomingMessage['headers'];
  answer(json: unknown): void;
  readonly response: ServerResponse;
}

/** The way, its server, and what it was asked. */
export interface HttpScene extends WayScene {
  readonly way: HttpWay;
  readonly asked: Asked[];
  readonly url: string;
  readonly server: Server;
  ask(changes?: Parameters<WayScene['request']>[0]): Promise<Verdict | undefined>;
}

/** `serve` answers each question; left out, the test does, from `asked`. */
export async function openHttpScene(
  t: TestContext,
  settings: Record<string, unknown> = {},
  serve: (asked: Asked) => void = () => undefined,
): Promise<HttpScene> {
  const scene = await openWayScene();
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const one: Asked = {
        body: JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>,
        headers: request.headers,
        response,
        answer: (json) => {
          response.setHeader('content-type', 'application/json; charset=utf-8');
          response.end(typeof json === 'string' ? json : JSON.stringify(json));
        },
      };
      asked.push(one);
      serve(one);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth`;
  const way = createHttpWay(scene);
  t.after(() => {
    way.close();
    server.closeAllConnections();
    server.close();
  });
  await scene.set('http', { url, ...settings });
  return {
    ...scene,
    way,
    asked,
    url,
    server,
    ask: async (changes) => way.authenticate(scene.request({ secret: 'pa55', ...changes })),
  };
}

/** Whoever was let in. */
export function callerOf(verdict: Verdict | undefined): Caller {
  assert.ok(verdict !== undefined && !isRefusal(verdict), JSON.stringify(verdict));
  return verdict;
}

/** The plainest answer. */
export const ALLOW = (asked: Asked): void => asked.answer({ result: 'allow' });
