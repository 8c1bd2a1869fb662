/** What is measured when asked rather than counted, and what each number means. */
export const GAUGES = {
  connections: 'connections there are, of all instances',
  sessionsOnline: 'sessions with a connection, of the default instance',
  outboxBytes: 'bytes that wait to be sent, of all connections',
  logMessages: 'messages in the log, of the default instance',
  logBytes: 'bytes of those: topic, payload and properties',
} as const;

/** The value of each. */
export type Gauges = Readonly<Record<keyof typeof GAUGES, number>>;
