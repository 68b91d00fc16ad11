// A conversation as a tree: editing or asking again adds a turn beside the old one, and one path
// through the tree is shown.

const ROOT = -1; // what the first turns hang under

export class Conversation {
  constructor({ turns = [], chosen = {} } = {}) {
    this.turns = turns; // each {id, parent, role, content, …}; its id is its place
    this.chosen = chosen; // of each turn, the one below it that is shown
  }

  // The turns that are shown, the first one first.
  path() {
    const path = [];
    for (let at = this.chosen[ROOT]; at !== undefined; at = this.chosen[at])
      path.push(this.turns[at]);
    return path;
  }

  last() {
    return this.path().at(-1) ?? null;
  }

  // parent: a turn, or null for the beginning.
  add(parent, turn) {
    const added = { ...turn, id: this.turns.length, parent: parent?.id ?? ROOT };
    this.turns.push(added);
    this.chosen[added.parent] = added.id;
    return added;
  }

  parentOf(turn) {
    return this.turns[turn.parent] ?? null;
  }

  // Itself among them, in the order in which they were made.
  siblings(turn) {
    return this.turns.filter((other) => other.parent === turn.parent);
  }

  // Shows the sibling so many places further on.
  step(turn, by) {
    const beside = this.siblings(turn);
    const to = beside[beside.indexOf(turn) + by];
    if (to) this.chosen[turn.parent] = to.id;
  }

  // The turns on the way to `turn`, itself not among them.
  before(turn) {
    const way = [];
    for (let at = turn.parent; at !== ROOT; at = this.turns[at].parent) way.unshift(this.turns[at]);
    return way;
  }
}

// What a server is sent. Without memory the last question stands alone.
export function toMessages(turns, { system, memory }) {
  const said = memory ? turns : turns.slice(-1);
  const opening = system ? [{ role: "system", content: system }] : [];
  return [...opening, ...said.map(({ role, content }) => ({ role, content }))];
}
