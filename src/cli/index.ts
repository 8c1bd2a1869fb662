/** What every command has in common; the commands themselves are loaded when asked for. */
export { CommandError, type CommandIo, EXIT } from './io.ts';
