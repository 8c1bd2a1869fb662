/** What every command has in common; the commands themselves are loaded when asked for. */
export { keepCompiledCode } from './code-cache.ts';
export { CommandError, type CommandIo, EXIT, orStopped } from './io.ts';
