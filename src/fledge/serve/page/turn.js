// One turn of a conversation as it stands on the page: its text, what can be done with it, and its
// token view.

import { post } from "./api.js";
import { add, announce, button, fail, make } from "./dom.js";
import { renderMarkdown } from "./markdown.js";
import { drawTokens } from "./token_view.js";

const ENDS = { length: "cut at its longest", stopped: "stopped", edited: "edited" };

export function drawTurn(talk, turn) {
  const view = talk.view(turn);
  const article = make("article", { class: `turn ${turn.role}`, "data-turn": turn.id });
  article.append(make("h3", { class: "who" }, nameSpeaker(talk, turn)));
  if (view.editing) return add(article, drawEditor(talk, turn, view));
  const body = make("div", { class: "said" });
  article.append(body);
  view.body = body;
  if (view.shows === "tokens") showTokens(talk, turn, view);
  else fillAnswer(talk, turn);
  if (turn.sources) article.append(drawSources(turn.sources));
  if (turn.error) article.append(make("p", { class: "failure", role: "alert" }, turn.error));
  if (turn.ended !== null && !talk.blind) article.append(drawActions(talk, turn, view));
  return article;
}

function nameSpeaker(talk, turn) {
  if (turn.role === "user") return "You";
  return talk.blind ? "Answer" : turn.model;
}

// The text of a turn as far as it has come.
export function fillAnswer(talk, turn) {
  const { body } = talk.view(turn);
  const box = talk.element.parentElement;
  const low = box && box.scrollHeight - box.scrollTop - box.clientHeight < 60;
  if (turn.role === "user") body.replaceChildren(make("p", { class: "plain" }, turn.content));
  else body.replaceChildren(...add(make("div"), renderMarkdown(turn.content)).childNodes);
  if (turn.role === "assistant" && !turn.content)
    body.append(make("p", { class: "quiet" }, turn.ended === null ? "…" : "(said nothing)"));
  if (low) box.scrollTop = box.scrollHeight;
}

// The memories that an answer stands on, folded up.
function drawSources(sources) {
  const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
  const rows = sources.map((one) =>
    make("li", {}, `[${one.id}] ${one.text} (${one.source}, ${day(one.written)})`),
  );
  const many = rows.length === 1 ? "1 memory" : `${rows.length} memories`;
  return make(
    "details",
    { class: "sources" },
    make("summary", {}, `From ${many}`),
    make("ul", {}, ...rows),
  );
}

function drawEditor(talk, turn, view) {
  const text = make("textarea", { rows: 4, value: turn.content, "aria-label": "New wording" });
  const done = (keep) => {
    view.editing = false;
    if (keep && text.value.trim() && text.value !== turn.content) talk.edit(turn, text.value);
    else talk.render();
  };
  text.addEventListener("keydown", (event) => {
    if (event.key === "Escape") done(false);
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) done(true);
  });
  queueMicrotask(() => text.focus());
  const label = turn.role === "user" ? "Ask this instead" : "Let it have said this";
  return make(
    "div",
    { class: "editor" },
    text,
    make(
      "p",
      { class: "actions" },
      button(label, () => done(true), { class: "main" }),
      button("Cancel", () => done(false)),
    ),
  );
}

function drawActions(talk, turn, view) {
  const act = (name, label, does, more = {}) =>
    button(label, does, { "data-key": `${turn.id}:${name}`, "data-act": name, ...more });
  const bar = make("div", {
    class: "acts",
    role: "group",
    "aria-label": "What to do with this turn",
  });
  add(bar, drawBranches(talk, turn, act));
  bar.append(
    act("edit", "Edit", () => {
      view.editing = true;
      talk.render();
    }),
  );
  if (turn.role === "user") return bar;
  bar.append(act("again", "Again", () => talk.again(turn)));
  if (navigator.clipboard) bar.append(act("copy", "Copy", () => copy(turn)));
  const note = make("span", { class: "quiet note" }, describe(turn));
  if (!turn.content && !turn.tokens?.length) return add(bar, note);
  bar.append(
    act(
      "tokens",
      "Tokens",
      () => {
        view.shows = view.shows === "tokens" ? "text" : "tokens";
        talk.render();
      },
      { "aria-pressed": String(view.shows === "tokens") },
    ),
  );
  if (talk.about.thumbs)
    for (const [label, wanted] of [
      ["Good", true],
      ["Bad", false],
    ])
      bar.append(
        act(label.toLowerCase(), label, () => judge(talk, turn, wanted), {
          "aria-pressed": String(turn.label === wanted),
          disabled: turn.label !== undefined,
        }),
      );
  for (const scorer of talk.about.reward_models)
    bar.append(
      act(`score ${scorer}`, "Score", () => score(talk, turn, scorer), { title: `by ${scorer}` }),
    );
  return add(bar, note);
}

function drawBranches(talk, turn, act) {
  const beside = talk.conversation.siblings(turn);
  if (beside.length < 2) return null;
  const place = beside.indexOf(turn);
  return make(
    "span",
    { class: "branches" },
    act("earlier", "‹", () => talk.step(turn, -1), {
      "aria-label": "Earlier branch",
      disabled: !place,
    }),
    make("span", {}, `${place + 1}/${beside.length}`),
    act("later", "›", () => talk.step(turn, 1), {
      "aria-label": "Later branch",
      disabled: place === beside.length - 1,
    }),
  );
}

function describe(turn) {
  const words = [];
  if (turn.tokens) words.push(`${turn.tokens.length} tokens`);
  if (turn.speed) words.push(`${turn.speed.toFixed(turn.speed < 10 ? 1 : 0)} tokens/s`);
  if (turn.seed !== undefined) words.push(`seed ${turn.seed}`);
  if (ENDS[turn.ended]) words.push(ENDS[turn.ended]);
  for (const [judge, worth] of Object.entries(turn.scores ?? {}))
    words.push(`${judge}: ${worth.toFixed(2).replace("-", "−")}`);
  return words.join(" · ");
}

async function copy(turn) {
  await navigator.clipboard.writeText(turn.content);
  announce("Copied");
}

async function judge(talk, turn, wanted) {
  try {
    await post("fledge/thumbs", {
      messages: talk.messagesWith(turn),
      label: wanted,
      model: turn.model,
    });
    turn.label = wanted;
    talk.changed();
    announce(wanted ? "Kept as good" : "Kept as bad");
  } catch (error) {
    turn.error = error.message;
  }
  talk.render();
}

async function score(talk, turn, judge) {
  try {
    const told = await post("fledge/score", {
      reward_model: judge,
      messages: talk.messagesWith(turn),
    });
    turn.scores = { ...turn.scores, [judge]: told.score };
    talk.changed();
    announce(`Score ${told.score.toFixed(2)}`);
  } catch (error) {
    turn.error = error.message;
  }
  talk.render();
}

async function showTokens(talk, turn, view) {
  const place = make("div", {}, make("p", { class: "quiet" }, "Measuring …"));
  const others = comparable(talk, turn);
  const choice = make(
    "select",
    { id: `against-${turn.id}-${turn.model}` },
    make("option", { value: "" }, "probability"),
    others.map((name) =>
      make("option", { value: name, selected: view.against === name }, `against ${name}`),
    ),
  );
  choice.addEventListener("change", () => {
    view.against = choice.value;
    fillTokens(talk, turn, view, place);
  });
  view.body.replaceChildren(
    make("p", { class: "chooser" }, make("label", { for: choice.id }, "Colour by "), choice),
    place,
  );
  await fillTokens(talk, turn, view, place);
}

// The other models whose tokens are the same ones, the reference first.
function comparable(talk, turn) {
  const own = talk.about.models.find((model) => model.name === turn.model);
  const others = talk.about.models.filter(
    (model) => model.name !== turn.model && model.vocabulary === own?.vocabulary,
  );
  return others.map((model) => model.name).sort((name) => (name === own?.reference ? -1 : 0));
}

async function fillTokens(talk, turn, view, place) {
  try {
    const data = await talk.measure(turn, view.against);
    const ids = data.tokens.map((token) => token.id);
    const goOn = (at, id) => {
      view.shows = "text";
      talk.answer(talk.conversation.parentOf(turn), { start: [...ids.slice(0, at), id] });
    };
    place.replaceChildren(drawTokens(data, goOn));
  } catch (error) {
    fail(place, error);
  }
}
