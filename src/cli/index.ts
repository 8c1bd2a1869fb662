/** The commands that talk to a broker as any client does. */
export { CommandError, type CommandIo, EXIT } from './io.ts';
export { runPub } from './pub.ts';
export { runSub } from './sub.ts';
