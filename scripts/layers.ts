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
  adapters: ['base', 'ports'],
  cli: ['base', 'wire'],
};

/** `main.ts` and `config.ts` build the house from every module. */
export const ROOTS: readonly string[] = ['main.ts', 'config.ts'];
