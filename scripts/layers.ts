/**
 * The house plan, as data: which module may import which.
 *
 * `tidy.ts` refuses every other import; ARCHITECTURE.md shows the same table.
 */
export const LAYERS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  wire: ['base'],
  ports: ['base'],
  instances: ['base', 'ports'],
  telemetry: ['base', 'ports'],
  identity: ['base', 'ports', 'instances', 'telemetry'],
  broker: ['base', 'wire', 'ports', 'instances', 'telemetry', 'identity'],
  edge: ['base', 'wire', 'telemetry', 'broker'],
  control: ['base', 'ports', 'telemetry', 'instances', 'identity'],
  adapters: ['base', 'ports'],
  config: ['base'],
  cli: ['base', 'wire', 'config'],
};

/** These build the house from every module. */
export const ROOTS: readonly string[] = [
  'main.ts',
  'start.ts',
  'compose.ts',
  'compose-identity.ts',
];

/** Packages from outside, and the modules that may import them. */
export const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  lmdb: ['adapters'],
  ws: ['edge', 'cli'],
  yaml: ['config'],
  jose: ['identity'],
};
