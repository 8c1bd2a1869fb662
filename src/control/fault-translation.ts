/**
 * What went wrong inside, in the words of the action that was called.
 *
 * The product has one name for the same thing in each family of actions; which one an action
 * uses is read from the faults it lists.
 */
import { Fault, type FaultCode } from '#base';
import type { Action } from './action.ts';
import { ApiFault, type ApiFaultCode } from './api-fault.ts';

/** Which kind of thing went wrong, whatever it is called. */
type Kind = 'parameter' | 'absent' | 'present' | 'full' | 'permission' | 'store' | 'busy';

/** The names for each kind; an action's is the first that it lists, or else the last. */
const NAMES: Readonly<Record<Kind, readonly ApiFaultCode[]>> = {
  parameter: ['ParameterCheckFailed', 'ParameterFieldCheckFailed', 'InvalidParameter.%s'],
  absent: [
    'FindCaBySnError',
    'ParameterCheckFailed',
    'ParameterFieldCheckFailed',
    'InvalidParameter.%s',
  ],
  present: [
    'GroupIdAlreadyExsited',
    'SnNotUnique',
    'ParameterCheckFailed',
    'ParameterFieldCheckFailed',
    'InvalidParameter.%s',
  ],
  full: [
    'Customauth.over.capacity',
    'CaNumExceed',
    'ParameterCheckFailed',
    'ParameterFieldCheckFailed',
    'InvalidParameter.%s',
  ],
  permission: ['PermissionCheckFailed', 'ResourcePermissionCheckFailed', 'PermissionCheckFailed'],
  store: ['SendMessageFailed', 'CreateGroupIdError', 'DeleteGroupIdError', 'ServiceUnavailable'],
  busy: ['SystemOverFlow', 'ServiceUnavailable'],
};

/** The base faults a caller may meet; any other is a failure of ours. */
const KINDS: Readonly<Partial<Record<FaultCode, Kind>>> = {
  invalidParameter: 'parameter',
  clientIdNotValid: 'parameter',
  groupUnknown: 'parameter',
  topicUnknown: 'parameter',
  topicNameInvalid: 'parameter',
  topicFilterInvalid: 'parameter',
  payloadFormatInvalid: 'parameter',
  packetTooLarge: 'parameter',
  messageTooLarge: 'parameter',
  notFound: 'absent',
  alreadyExists: 'present',
  overCapacity: 'full',
  quotaExceeded: 'full',
  notAuthorized: 'permission',
  storeFull: 'store',
  storeUnavailable: 'store',
  serverUnavailable: 'busy',
  serverBusy: 'busy',
  serverShuttingDown: 'busy',
  messageRateTooHigh: 'busy',
};

/** What the caller is told; `undefined`: a bug, or a failure nobody foresaw. */
export function translateFault(action: Action, error: unknown): ApiFault | undefined {
  if (error instanceof ApiFault) return error;
  if (!(error instanceof Fault)) return undefined;
  if (error.code === 'instanceUnknown') return instanceUnknown(action);
  const kind = KINDS[error.code];
  return kind && new ApiFault(nameOf(action, kind), error.message, { cause: error });
}

/** The action's own fault for a parameter that is missing or not valid. */
export function parameterFault(action: Action, parameter: string, detail: string): ApiFault {
  return new ApiFault(nameOf(action, 'parameter'), detail, { parameter });
}

/** No such instance. */
export function instanceUnknown(action: Action): ApiFault {
  if (action.instanceParameter === 'MqttInstanceId') return new ApiFault('MqttInstanceNotFound');
  const listed = action.faults.includes('InstanceNotFound') || /group/i.test(action.family);
  return new ApiFault(listed ? 'InstanceNotFound' : 'InstancePermissionCheckFailed');
}

/** The principal may not call this action, or not on that instance. */
export function callForbidden(action: Action): ApiFault {
  if (action.instanceParameter === undefined) return new ApiFault('Forbidden.RAM');
  const certificate = action.instanceParameter === 'MqttInstanceId';
  return new ApiFault(certificate ? 'MqttOwnerCheckError' : 'InstancePermissionCheckFailed');
}

/** The principal may not act on that topic or group. */
export function resourceForbidden(action: Action, resource: string): ApiFault {
  return new ApiFault(nameOf(action, 'permission'), `The policy does not permit ${resource}.`);
}

function nameOf(action: Action, kind: Kind): ApiFaultCode {
  const names = NAMES[kind];
  return names.find((name) => action.faults.includes(name)) ?? names.at(-1)!;
}
