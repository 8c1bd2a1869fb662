/** What the customer owns. */
export { DEFAULT_INSTANCE, type Instance } from './instance.ts';
