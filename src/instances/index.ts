/** What the customer owns. */
export {
  DEFAULT_INSTANCE_ID,
  type Instance,
  type InstanceKind,
  type InstanceLimits,
  type Overstepping,
} from './instance.ts';
export {
  type Group,
  type InstanceChanges,
  type InstanceListener,
  type Instances,
  type InstancesOptions,
  type NewInstance,
  openInstances,
  type ParentTopic,
} from './instances.ts';
export {
  INSTANCE_LIMITS,
  type InstanceLimitName,
  type InstanceLimitRow,
  type LimitChanges,
  limitsOf,
  NO_BOUND,
} from './limits.ts';
export { ConnectRate, MessageRate, messageWeight } from './message-rate.ts';
export {
  groupIdFlaw,
  instanceIdFlaw,
  instanceNameFlaw,
  parentOf,
  parentTopicFlaw,
  splitClientId,
  topicFlaw,
} from './naming.ts';
export { hasTags, type ResourceTag, TAG_COUNT_MAX } from './tags.ts';
