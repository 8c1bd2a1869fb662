/** The control door: the product's HTTP API, and its additions. */
export type { Action, AnswerStyle, Arguments, Call, Parameter, ResultField } from './action.ts';
export { ACTIONS } from './actions.ts';
export { API_FAULTS, ApiFault, type ApiFaultCode, type ApiFaultRow } from './api-fault.ts';
export type { ControlMetrics } from './dispatch.ts';
export { answerFields, describeApi, wireNames } from './openapi.ts';
export { CONTROL_LIMITS, type ControlLimits } from './limits.ts';
export {
  type Control,
  type ControlOptions,
  openControl,
} from './server.ts';
export type { BrokerControl, Services, SessionState } from './services.ts';
