/** A bound as the tables of bounds show it. */
export interface LimitRow {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  /** What happens at the bound. */
  readonly policy: string;
}

export function limitRow(name: string, unit: string, value: number, policy: string): LimitRow {
  return { name, unit, value, policy };
}
