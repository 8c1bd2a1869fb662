/**
 * One request of the control API, from its bytes to its answer: who, which action, may they, with
 * which arguments, and what came of it.
 *
 * Only what was proven is looked at, and a caller without the right to an instance is told the
 * same whether or not the instance exists.
 */
import type { Clock, Log } from '#base';
import type { Principal } from '#identity';
import type { Action, Arguments } from './action.ts';
import { ApiFault } from './api-fault.ts';
import { readArguments } from './arguments.ts';
import {
  callForbidden,
  instanceUnknown,
  parameterFault,
  resourceForbidden,
  translateFault,
} from './fault-translation.ts';
import { type ControlLimits, LARGE_REQUEST_BYTES } from './limits.ts';
import type { Nonces } from './nonces.ts';
import type { Rates } from './rates.ts';
import { authenticateRequest, type ProvenRequest } from './request-authentication.ts';
import type { Services } from './services.ts';
import type { SignedRequest } from './signature.ts';
import { isAcs3 } from './signature-acs3.ts';

export const API_VERSION = '2020-04-20';

/** Served for the actions that both have, which were left as they were. */
const API_VERSION_BEFORE = '2019-12-11';
const ACTIONS_BEFORE: ReadonlySet<string> = new Set([
  'ApplyToken',
  'BatchQuerySessionByClientIds',
  'CreateGroupId',
  'DeleteGroupId',
  'ListGroupId',
  'QuerySessionByClientId',
  'QueryToken',
  'RevokeToken',
  'SendMessage',
]);

/** What is counted, where somebody counts. `code` is `undefined` for a success. */
export interface ControlMetrics {
  called(action: string, code: string | undefined, durationMs: number): void;
  bug(): void;
}

export interface Dispatcher {
  /** Resolves to the body of a success; rejects with the `ApiFault` that says why not. */
  call(request: SignedRequest, address: string, requestId: string): Promise<object>;
}

export interface DispatchOptions {
  readonly actions: readonly Action[];
  readonly services: Services;
  readonly nonces: Nonces;
  readonly rates: Rates;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: ControlLimits;
  readonly metrics: ControlMetrics | undefined;
}

/** A dispatcher over a table of actions. */
export function createDispatcher(options: DispatchOptions): Dispatcher {
  const actions = new Map(options.actions.map((action) => [action.name, action]));
  return {
    call: async (request, address, requestId) => {
      const startMs = options.clock.monotonicMs();
      const claimed = actions.get(claimedAction(request))?.name ?? '';
      const tell = (code: string | undefined): void =>
        options.metrics?.called(claimed, code, options.clock.monotonicMs() - startMs);
      try {
        limitAddress(options, address, claimed);
        limitLarge(options, address, request);
        const proven = await authenticateRequest(
          request,
          options.services.accounts,
          options.nonces,
        );
        const action = findAction(actions, proven);
        const body = await run(options, action, proven, requestId);
        tell(undefined);
        return body;
      } catch (error) {
        tell(error instanceof ApiFault ? error.code : 'InternalError');
        countBadLarge(options, address, request, error);
        throw error;
      }
    },
  };
}

/** The action a request says it wants, proven or not: good for counting only. */
function claimedAction(request: SignedRequest): string {
  if (isAcs3(request.headers)) return request.headers.get('x-acs-action') ?? '';
  const pairs = [...request.query, ...request.form];
  return pairs.find(([name]) => name === 'Action')?.[1] ?? '';
}

function limitAddress(options: DispatchOptions, address: string, action: string): void {
  const { callsPerSecondPerAddressMax } = options.limits;
  if (!options.rates.take(`address ${address} ${action}`, callsPerSecondPerAddressMax)) {
    throw new ApiFault('Throttling.Api');
  }
}

/** A key's identifier is no secret: with one, anybody can have us prove a large request wrong. */
function limitLarge(
  { rates, limits }: DispatchOptions,
  address: string,
  request: SignedRequest,
): void {
  if (!isLarge(request)) return;
  if (rates.has(`bad ${address}`, limits.badLargePerSecondPerAddressMax)) return;
  throw new ApiFault('Throttling.Api');
}

function countBadLarge(
  { rates, limits }: DispatchOptions,
  address: string,
  request: SignedRequest,
  error: unknown,
): void {
  const bad = error instanceof ApiFault && error.code === 'SignatureDoesNotMatch';
  if (bad && isLarge(request)) {
    rates.take(`bad ${address}`, limits.badLargePerSecondPerAddressMax);
  }
}

function isLarge({ body, query }: SignedRequest): boolean {
  let size = body.length;
  for (const [name, value] of query) size += name.length + value.length;
  return size > LARGE_REQUEST_BYTES;
}

function findAction(actions: ReadonlyMap<string, Action>, proven: ProvenRequest): Action {
  const action = actions.get(proven.action);
  const served =
    proven.version === API_VERSION ||
    (proven.version === API_VERSION_BEFORE && ACTIONS_BEFORE.has(proven.action));
  if (action !== undefined && served) return action;
  const text = `There is no action ${proven.action} in version ${proven.version}.`;
  throw new ApiFault('InvalidApi.NotFound', text);
}

async function run(
  options: DispatchOptions,
  action: Action,
  proven: ProvenRequest,
  requestId: string,
): Promise<object> {
  const { principal } = proven;
  const key = `account ${principal.accountId} ${action.name}`;
  if (!options.rates.take(key, action.callsPerSecondMax)) {
    const own = action.faults.includes('ApplyTokenOverFlow') && action.name === 'ApplyToken';
    throw new ApiFault(own ? 'ApplyTokenOverFlow' : 'Throttling.User');
  }
  try {
    const instanceId = admit(options.services, action, proven);
    const values = readArguments(action, proven.parameters);
    const demand = (resource: string): void => {
      if (!principal.may(action.permission, instanceId, resource)) {
        throw resourceForbidden(action, resource);
      }
    };
    const call = { arguments: values, principal, requestId, demand };
    const result = await handle(options, action, call);
    return { RequestId: requestId, ...success(action), ...result };
  } catch (error) {
    const fault = translateFault(action, error);
    if (fault !== undefined) throw fault;
    throw error;
  }
}

/** The instance the call is about: named, permitted, and there. */
function admit(services: Services, action: Action, proven: ProvenRequest): string | undefined {
  const name = action.instanceParameter;
  const instanceId = name === undefined ? undefined : proven.parameters.get(name);
  if (name !== undefined && (instanceId === undefined || instanceId === '')) {
    throw parameterFault(action, name, `${name} is missing.`);
  }
  if (!proven.principal.may(action.permission, instanceId, undefined)) throw callForbidden(action);
  if (instanceId !== undefined && services.instances.find(instanceId) === undefined) {
    throw instanceUnknown(action);
  }
  return instanceId;
}

interface HandledCall {
  readonly arguments: Arguments;
  readonly principal: Principal;
  readonly requestId: string;
  demand(resource: string): void;
}

/** Late is refused, though what was asked for may still be done. */
async function handle(
  options: DispatchOptions,
  action: Action,
  call: HandledCall,
): Promise<Record<string, unknown>> {
  const handled = action.handle(options.services, call);
  let stop: () => void = () => {};
  const late = new Promise<never>((_, reject) => {
    stop = options.clock.after(options.limits.handlerMsMax, () =>
      reject(new ApiFault('ServiceUnavailable', 'Not done in time; it may still be done.')),
    );
  });
  try {
    return await Promise.race([handled, late]);
  } finally {
    stop();
    // After the answer nobody waits for it any more; a failure is for the log.
    handled.catch((error: unknown) => {
      options.log.debug('an action failed', { action: action.name, error: String(error) });
    });
  }
}

const SUCCESS_TEXT = 'Success';

function success(action: Action): object {
  switch (action.answer) {
    case 'bare':
      return {};
    case 'number':
      return { Code: 200, Success: true, Message: SUCCESS_TEXT };
    case 'text':
      return { Code: '200', Success: 'true', Message: SUCCESS_TEXT };
  }
}
