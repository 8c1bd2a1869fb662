/** Who is calling, and what may they do. */
export {
  type AccessKey,
  createAccessKeyAuthenticator,
  createFirstAccessKey,
} from './access-key.ts';
export {
  type Authenticator,
  type Caller,
  type ConnectRequest,
  type Exchange,
  type ExchangeStep,
  isRefusal,
  type Permissions,
  type Refusal,
  type Verdict,
} from './authenticator.ts';
export { createOpenAuthenticator } from './open-authenticator.ts';
