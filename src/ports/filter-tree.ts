/**
 * Topic filters arranged by their levels, so that those which match a topic are found by walking
 * down the topic, however many others there are.
 *
 * It matches exactly as `matchesFilter` does.
 */

/** Where one filter ends; on the way to others it holds no value. */
export class FilterNode<T> {
  value: T | undefined = undefined;
  readonly #level: string;
  readonly #parent: FilterNode<T> | undefined;
  /** Most nodes have one child, which needs no map; deep filters are chains of such nodes. */
  #only: FilterNode<T> | undefined = undefined;
  #children: Map<string, FilterNode<T>> | undefined = undefined;

  constructor(parent: FilterNode<T> | undefined, level: string) {
    this.#parent = parent;
    this.#level = level;
  }

  child(level: string): FilterNode<T> | undefined {
    const only = this.#only;
    if (only !== undefined) return only.#level === level ? only : undefined;
    return this.#children?.get(level);
  }

  add(level: string): FilterNode<T> {
    const node = new FilterNode(this, level);
    const only = this.#only;
    if (this.#children !== undefined) this.#children.set(level, node);
    else if (only === undefined) this.#only = node;
    else {
      this.#only = undefined;
      this.#children = new Map([
        [only.#level, only],
        [level, node],
      ]);
    }
    return node;
  }

  /** Removes `leaf` and what leads to it, as far as it holds no value and leads nowhere else. */
  static prune<T>(leaf: FilterNode<T>): void {
    let node = leaf;
    while (node.value === undefined && node.#only === undefined && node.#children === undefined) {
      const parent = node.#parent;
      if (parent === undefined) return;
      if (parent.#only === node) parent.#only = undefined;
      else parent.#children?.delete(node.#level);
      if (parent.#children?.size === 0) parent.#children = undefined;
      node = parent;
    }
  }
}

export class FilterTree<T> {
  readonly #root = new FilterNode<T>(undefined, '');

  find(filter: string): FilterNode<T> | undefined {
    let node: FilterNode<T> | undefined = this.#root;
    for (const level of filter.split('/')) {
      node = node.child(level);
      if (node === undefined) return undefined;
    }
    return node;
  }

  /** The node of `filter`, made if need be. One left without a value is to be pruned. */
  make(filter: string): FilterNode<T> {
    let node = this.#root;
    for (const level of filter.split('/')) {
      node = node.child(level) ?? node.add(level);
    }
    return node;
  }

  /** Calls `visit` with the value of each filter that matches `topic`. */
  match(topic: string, visit: (value: T) => void): void {
    const levels = topic.split('/');
    const dollar = topic.charCodeAt(0) === DOLLAR;
    let nodes: FilterNode<T>[] = [this.#root];
    for (let depth = 0; depth <= levels.length && nodes.length > 0; depth++) {
      const next: FilterNode<T>[] = [];
      const wild = depth > 0 || !dollar; // [MQTT-4.7.2-1]
      for (const node of nodes) {
        // `a/#` matches `a` as well: looked up one level past the topic's end, too.
        const multi = wild ? node.child('#') : undefined;
        if (multi?.value !== undefined) visit(multi.value);
        if (depth === levels.length) {
          if (node.value !== undefined) visit(node.value);
          continue;
        }
        const exact = node.child(levels[depth]!);
        if (exact !== undefined) next.push(exact);
        const single = wild ? node.child('+') : undefined;
        if (single !== undefined) next.push(single);
      }
      nodes = next;
    }
  }
}

const DOLLAR = 0x24;
