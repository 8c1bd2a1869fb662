/**
 * Asks an HTTP service of the customer's: one deadline for everything, a bounded answer, a bounded
 * number of sockets that stay open between calls. Redirections are not followed.
 */
import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Clock } from '#base';

export interface HttpClientOptions {
  readonly clock: Clock;
  readonly socketCountMax: number;
  /** Authorities (PEM) to trust instead of the usual ones. */
  readonly ca: string | undefined;
}

export interface HttpQuestion {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
  readonly answerBytesMax: number;
  readonly timeoutMs: number;
}

export type HttpReply =
  | { readonly status: number; readonly contentType: string; readonly body: Buffer }
  | { readonly failed: HttpFailure };

/** `oversize`: it answered, and with more than is read. */
export type HttpFailure = 'late' | 'unreachable' | 'oversize';

export interface HttpClient {
  /** Never rejects. */
  ask(question: HttpQuestion): Promise<HttpReply>;
  close(): void;
}

/** Sockets nobody used for so long are closed. */
const IDLE_MS = 30_000;

export function createHttpClient(options: HttpClientOptions): HttpClient {
  const { clock, socketCountMax, ca } = options;
  const shared = { keepAlive: true, maxSockets: socketCountMax, timeout: IDLE_MS };
  const http = new HttpAgent(shared);
  const https = new HttpsAgent(ca === undefined ? shared : { ...shared, ca });

  /** `again`: a socket kept from before may have been closed by the other side just now. */
  const send = (
    question: HttpQuestion,
    abort: AbortController,
    again: boolean,
    answer: (reply: HttpReply) => void,
  ): void => {
    const { method, url, headers, body, answerBytesMax } = question;
    const secure = url.startsWith('https:');
    const call = (secure ? httpsRequest : httpRequest)(url, {
      agent: secure ? https : http,
      method,
      headers: body === undefined ? headers : { ...headers, 'content-length': body.length },
      signal: abort.signal,
    });
    call.on('error', () => {
      if (abort.signal.aborted) answer({ failed: 'late' });
      else if (again && call.reusedSocket) send(question, abort, false, answer);
      else answer({ failed: 'unreachable' });
    });
    call.on('response', (response) => collect(response, answerBytesMax, answer));
    call.end(body);
  };

  return {
    ask: (question) =>
      new Promise((resolve) => {
        const abort = new AbortController();
        const stopTimer = clock.after(question.timeoutMs, () => {
          abort.abort();
          resolve({ failed: 'late' });
        });
        send(question, abort, true, (reply) => {
          stopTimer();
          resolve(reply);
        });
      }),
    close: () => {
      http.destroy();
      https.destroy();
    },
  };
}

function collect(
  response: IncomingMessage,
  bytesMax: number,
  answer: (reply: HttpReply) => void,
): void {
  const chunks: Buffer[] = [];
  let size = 0;
  response.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > bytesMax) {
      answer({ failed: 'oversize' });
      response.destroy();
      return;
    }
    chunks.push(chunk);
  });
  response.on('end', () => {
    const contentType = response.headers['content-type'] ?? '';
    answer({ status: response.statusCode ?? 0, contentType, body: Buffer.concat(chunks) });
  });
  response.on('error', () => answer({ failed: 'unreachable' }));
}
