/** What can be set, by whom, and how it is understood. */
export { readFileSettings } from './file.ts';
export {
  anyTextKind,
  choiceKind,
  durationKind,
  isLoopback,
  type Kind,
  optional,
  orNone,
  type ListenUrl,
  numberKind,
  parseUrl,
  parseWebUrl,
  type ServerUrl,
  showDuration,
  showSize,
  showUrl,
  showWebUrl,
  sizeKind,
  switchKind,
  textKind,
  textsKind,
  urlKind,
  type WebUrl,
  webUrlKind,
  webUrlsKind,
  wholeKind,
} from './kinds.ts';
export { nearest } from './nearest.ts';
export {
  listOptions,
  type Option,
  type OptionTable,
  optionName,
  readEnvironment,
  readFlags,
  type Resolved,
  resolveOptions,
  type Source,
  UsageError,
  variableName,
} from './options.ts';
export { checkSettings, type Settings, SETTINGS } from './settings.ts';
export { type Paint, showOptions, showSettings } from './show.ts';
