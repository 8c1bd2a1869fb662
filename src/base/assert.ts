/** Assertions for our own bugs; what comes from outside is validated before it reaches one. */

/** Throws when `condition` does not hold. `text` is constant, so asserting costs no string. */
export function assert(condition: boolean, text: string): asserts condition {
  if (!condition) throw new AssertionFailure(text);
}

/** An invariant of ours is broken; whoever catches it counts a bug and closes what it was doing. */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure';
}
