// Blind votes: two answers to one prompt, nobody says whose, and which is the better one goes into
// a file that `fledge prefer` reads.

import { post } from "./api.js";
import { makeComposer, pickModel } from "./chat_view.js";
import { toMessages } from "./conversation.js";
import { add, announce, button, make } from "./dom.js";
import { drawSeed, settings } from "./settings.js";
import { Talk } from "./talk.js";

const SIDES = ["Left", "Right"];

export function openVote(place, about) {
  const names = about.models.map(({ name }) => name);
  const one = pickModel(about, "Between", "vote-one", names[0]);
  const other = pickModel(about, "and", "vote-other", names[1] ?? names[0]);
  const columns = make(
    "div",
    { class: "columns two" },
    make(
      "p",
      { class: "greeting quiet" },
      "Ask something: two models answer without their names, and you say which is better.",
    ),
  );
  const verdict = make("div", { class: "verdict-bar", role: "group", "aria-label": "Your vote" });
  const tally = make("p", { class: "quiet" });
  const wins = new Map();
  let round = null;

  const show = () => {
    const busy = Boolean(round?.talks.some((talk) => talk.busy));
    composer.show({ busy });
    for (const { select } of [one, other]) select.disabled = busy;
    if (busy) verdict.replaceChildren(make("p", { class: "quiet" }, "Both are answering …"));
    else if (round?.open) openVerdict();
  };
  const openVerdict = () => {
    const [left, right] = round.answers();
    if (left === null || right === null) {
      round.open = false;
      verdict.replaceChildren(make("p", {}, "One of them has no whole answer: ask again."));
    } else if (left === right) {
      round.open = false;
      verdict.replaceChildren(
        make("p", {}, "Both said the same: there is nothing to choose. ", reveal(round)),
      );
    } else {
      verdict.replaceChildren(
        button("Left is better", () => vote(0), { class: "main" }),
        button("Right is better", () => vote(1), { class: "main" }),
        button("Neither", () => vote(null)),
      );
    }
  };
  const vote = async (preferred) => {
    if (!round.open) return;
    round.open = false;
    try {
      if (preferred !== null) await post("fledge/votes", { ...round.tell(), preferred });
    } catch (error) {
      round.open = true;
      verdict.append(make("p", { class: "failure", role: "alert" }, error.message));
      return;
    }
    if (preferred !== null) {
      const winner = round.models[preferred];
      wins.set(winner, (wins.get(winner) ?? 0) + 1);
      tally.textContent = `Votes so far: ${[...wins].map(([name, won]) => `${name} ${won}`).join(", ")}.`;
    }
    const said = preferred === null ? "Nothing was kept. " : "Kept. ";
    verdict.replaceChildren(make("p", {}, said, reveal(round)));
    announce(said);
    composer.text.focus();
  };
  const ask = (text) => {
    round = new Round([one.select.value, other.select.value], about, text, show);
    columns.replaceChildren(
      ...round.talks.map((talk, at) =>
        make(
          "section",
          { class: "column", "aria-label": SIDES[at] },
          make("h2", {}, SIDES[at]),
          talk.element,
        ),
      ),
    );
    show();
  };
  const composer = makeComposer({
    label: "Ask both",
    send: ask,
    stop: () => round?.talks.forEach((talk) => talk.stop()),
  });
  const closed =
    !about.votes &&
    make(
      "p",
      { class: "notice" },
      "No votes are kept: start the server with ",
      make("code", {}, "votes=votes.jsonl"),
      ".",
    );
  place.replaceChildren();
  add(
    place,
    make("div", { class: "bar-top" }, one.element, other.element, tally),
    closed,
    columns,
    verdict,
    composer.element,
  );
  composer.show({ busy: false, closed: !about.votes });
}

// Two answers to one prompt, in an order that chance chose.
class Round {
  constructor(models, about, text, changed) {
    const swapped = crypto.getRandomValues(new Uint8Array(1))[0] % 2;
    this.models = swapped ? models.toReversed() : models;
    this.open = true;
    this.talks = this.models.map(
      (name) => new Talk({ model: () => name, about, blind: true, changed }),
    );
    this.prompt = toMessages([{ role: "user", content: text }], settings);
    // A model beside itself answers from two seeds; two models from the same one.
    const seed = settings.seed ?? drawSeed();
    this.seeds = models[0] === models[1] ? [seed, seed + 1] : [seed, seed];
    this.talks.forEach((talk, at) => talk.ask(text, this.seeds[at]));
  }

  // Of each side its text, null where it has none that is whole.
  answers() {
    return this.talks.map((talk) => {
      const turn = talk.conversation.last();
      const whole = turn.role === "assistant" && ["stop", "length"].includes(turn.ended);
      return whole && turn.content ? turn.content : null;
    });
  }

  tell() {
    return {
      messages: this.prompt,
      answers: this.answers(),
      models: this.models,
      seeds: this.seeds,
    };
  }
}

function reveal({ models: [left, right] }) {
  return make(
    "span",
    {},
    "Left was ",
    make("strong", {}, left),
    ", right was ",
    make("strong", {}, right),
    ".",
  );
}
