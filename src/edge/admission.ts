/** How many sockets are held at once. Over the bound a socket is closed unheard. */

/** Sockets held at once, shared by all listeners of a process. */
export class SocketLimit {
  readonly countMax: number;
  #count = 0;

  constructor(countMax: number) {
    this.countMax = countMax;
  }

  get count(): number {
    return this.#count;
  }

  /** Claims a place; false where all are taken. */
  take(): boolean {
    if (this.#count >= this.countMax) return false;
    this.#count++;
    return true;
  }

  give(): void {
    this.#count--;
  }
}
