/** What every command has in common; the commands themselves are loaded when asked for. */
export { CommandError, type CommandIo, EXIT, orStopped } from './io.ts';
