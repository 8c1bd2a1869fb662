/** One signed call of the control API over HTTP, and what came of it. */
import { readFileSync } from 'node:fs';
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { showWebUrl, type WebUrl } from '#config';
import { type ApiKey, signApiRequest } from './api-signature.ts';
import { CommandError, type CommandIo } from './io.ts';

export interface ApiCall {
  readonly endpoint: WebUrl;
  /** Path of the certificates to trust instead of the system's. */
  readonly ca: string | undefined;
  readonly key: ApiKey;
  readonly action: string;
  readonly parameters: readonly (readonly [name: string, value: string])[];
}

/** The API said no. */
export class ApiRefusal extends CommandError {
  readonly code: string;

  constructor(code: string, message: string, requestId: string) {
    // One line, whatever the text holds.
    super(`${code}: ${message.replace(/[\s\p{Cc}]+/gu, ' ')} (request ${requestId})`);
    this.code = code;
  }
}

const API_VERSION = '2020-04-20';
const ANSWER_MS_MAX = 30_000;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** Resolves to the answer of a success; rejects with an `ApiRefusal` or a `CommandError`. */
export async function callApi(call: ApiCall, io: CommandIo): Promise<Record<string, unknown>> {
  const { endpoint, action, key, parameters } = call;
  const host = showWebUrl(endpoint).replace(/^https?:\/\//, '');
  const version = API_VERSION;
  const signed = signApiRequest({ host, action, version, parameters, key }, io.clock, io.random);
  const { status, text } = await post(call, signed.headers, signed.body, io);
  const answer = parse(text);
  if (answer === undefined) {
    throw new CommandError(`${showWebUrl(endpoint)} answered ${status}, and not as the API does`);
  }
  if (status !== 200) {
    const { Code: code, Message: message, RequestId: requestId } = answer;
    throw new ApiRefusal(String(code), String(message), String(requestId));
  }
  return answer;
}

interface HttpAnswer {
  readonly status: number;
  readonly text: string;
}

function post(
  call: ApiCall,
  headers: Readonly<Record<string, string>>,
  body: string,
  io: CommandIo,
): Promise<HttpAnswer> {
  const { endpoint } = call;
  const shown = showWebUrl(endpoint);
  const options = {
    host: endpoint.host,
    port: endpoint.port,
    method: 'POST',
    path: '/',
    headers: { ...headers, accept: 'application/json', 'content-length': Buffer.byteLength(body) },
    agent: false,
    signal: io.stop,
  } as const;
  return new Promise((resolve, reject) => {
    const request =
      endpoint.scheme === 'https'
        ? requestHttps({ ...options, ...trust(call.ca) })
        : requestHttp(options);
    const stop = io.clock.after(ANSWER_MS_MAX, () => {
      request.destroy(new CommandError(`${shown} did not answer in time`));
    });
    request.once('error', (error) => {
      stop();
      reject(explain(shown, error));
    });
    request.once('response', (response) => {
      readAll(response)
        .then(resolve, (error: Error) => reject(explain(shown, error)))
        .finally(stop);
    });
    request.end(body);
  });
}

function trust(ca: string | undefined): { readonly ca?: string } {
  if (ca === undefined) return {};
  try {
    return { ca: readFileSync(ca, 'utf8') };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(`cannot read ${ca}: ${code}`, { cause: error });
  }
}

async function readAll(response: IncomingMessage): Promise<HttpAnswer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > ANSWER_BYTES_MAX) throw new CommandError('the answer is too large');
    chunks.push(chunk);
  }
  return { status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() };
}

const UNTRUSTED =
  /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(GET_ISSUER|VERIFY).*)$/;

function explain(shown: string, error: Error): Error {
  if (error instanceof CommandError) return error;
  if (error.name === 'AbortError') return new CommandError('interrupted', { cause: error });
  const code = (error as NodeJS.ErrnoException).code ?? error.message;
  const hint = UNTRUSTED.test(code) ? ': its certificate is not trusted here; see --ca' : '';
  return new CommandError(`cannot reach ${shown}: ${code}${hint}`, { cause: error });
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const found: unknown = JSON.parse(text);
    return typeof found === 'object' && found !== null
      ? (found as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
