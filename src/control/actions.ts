/** Every action that is served, composed from its families. */
import type { Action } from './action.ts';
import { accountActions } from './actions/accounts.ts';
import { authenticationActions } from './actions/authentication.ts';
import { certificateActions } from './actions/certificates.ts';
import { customAuthActions } from './actions/custom-auth.ts';
import { deviceCredentialActions } from './actions/device-credentials.ts';
import { groupActions } from './actions/groups.ts';
import { instanceActions } from './actions/instances.ts';
import { messageActions } from './actions/messages.ts';
import { protectionActions } from './actions/protection.ts';
import { sessionActions } from './actions/sessions.ts';
import { tagActions } from './actions/tags.ts';
import { tokenActions } from './actions/tokens.ts';
import { topicActions } from './actions/topics.ts';
import { traceActions } from './actions/traces.ts';

/** In the order of the documentation. */
export const ACTIONS: readonly Action[] = [
  ...tokenActions,
  ...groupActions,
  ...topicActions,
  ...messageActions,
  ...sessionActions,
  ...deviceCredentialActions,
  ...customAuthActions,
  ...certificateActions,
  ...authenticationActions,
  ...protectionActions,
  ...traceActions,
  ...instanceActions,
  ...tagActions,
  ...accountActions,
];
