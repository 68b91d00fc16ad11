// The chat: one model, or two side by side on the same prompt and seed; and the box that one writes
// into.

import { button, make } from "./dom.js";
import { drawSeed } from "./settings.js";
import { Talk } from "./talk.js";

// Of sessionStorage: a reload keeps what was said, the tab's end forgets it.
const PLACE = "fledge-chat";

// A box to write into, which becomes a stop button while an answer comes.
export function makeComposer({ label, send, stop }) {
  const text = make("textarea", { rows: 1, "aria-label": label, placeholder: label });
  const go = make("button", { class: "main", type: "submit" }, "Send");
  const halt = button("Stop", stop, { class: "main halt", hidden: true });
  const submit = (event) => {
    event?.preventDefault();
    if (!text.value.trim() || go.hidden || go.disabled) return;
    const said = text.value;
    text.value = "";
    send(said);
  };
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
    if (event.key === "Escape") stop();
  });
  const element = make("form", { class: "composer", onsubmit: submit }, text, go, halt);
  const show = ({ busy, closed = false }) => {
    const held = element.contains(document.activeElement);
    go.hidden = busy;
    halt.hidden = !busy;
    go.disabled = closed;
    if (held && document.activeElement === document.body) text.focus();
  };
  return { element, text, show };
}

export function pickModel(about, label, id, chosen, first = null) {
  const select = make(
    "select",
    { id },
    first && make("option", { value: "" }, first),
    about.models.map(({ name }) =>
      make("option", { value: name, selected: name === chosen }, name),
    ),
  );
  return {
    select,
    element: make("span", { class: "pick" }, make("label", { for: id }, label), select),
  };
}

export function openChat(place, about) {
  const kept = readKept(about);
  const model = pickModel(about, "Model", "model", kept.model);
  const beside = pickModel(about, "Beside", "beside", kept.beside, "no other");
  const talks = [];
  const columns = make("div", { class: "columns" });

  const keep = () => {
    composer.show({ busy: talks.some((talk) => talk.busy) });
    const [first, second] = talks.map(({ conversation: { turns, chosen } }) => ({ turns, chosen }));
    const state = { model: model.select.value, beside: beside.select.value, first, second };
    try {
      sessionStorage.setItem(PLACE, JSON.stringify(state));
    } catch {
      sessionStorage.removeItem(PLACE); // longer than a browser keeps
    }
  };
  const start = (select, was) =>
    new Talk({ model: () => select.value, about, changed: keep, kept: was });
  const lay = () => {
    const names = [model.select.value, beside.select.value].slice(0, talks.length);
    columns.replaceChildren(
      ...talks.map((talk, at) =>
        make(
          "section",
          { class: "column", "aria-label": names[at] },
          talks.length > 1 && make("h2", {}, names[at]),
          drawGreeting(talk),
          talk.element,
        ),
      ),
    );
    columns.classList.toggle("two", talks.length > 1);
  };
  const reset = () => {
    for (const talk of talks.splice(0)) talk.stop();
    talks.push(start(model.select));
    if (beside.select.value) talks.push(start(beside.select));
    lay();
    keep();
  };
  // Both columns begin anew together, since they are to have been asked the same.
  beside.select.addEventListener("change", reset);
  model.select.addEventListener("change", () => {
    lay();
    keep();
  });

  const composer = makeComposer({
    label: "Write to the model",
    send: (text) => {
      const seed = drawSeed();
      for (const talk of talks) talk.ask(text, seed);
    },
    stop: () => talks.forEach((talk) => talk.stop()),
  });
  place.replaceChildren(
    make(
      "div",
      { class: "bar-top" },
      model.element,
      beside.element,
      button(
        "New",
        () => {
          reset();
          composer.text.focus();
        },
        { title: "Forget this conversation and begin another" },
      ),
    ),
    columns,
    composer.element,
  );
  talks.push(start(model.select, kept.first));
  if (beside.select.value) talks.push(start(beside.select, kept.second));
  lay();
  composer.text.focus();
}

function drawGreeting(talk) {
  return make("p", { class: "greeting quiet" }, `Ask ${talk.model()} something.`);
}

function readKept(about) {
  const names = about.models.map(({ name }) => name);
  try {
    const kept = JSON.parse(sessionStorage.getItem(PLACE)) ?? {};
    if (names.includes(kept.model) && (!kept.beside || names.includes(kept.beside))) return kept;
  } catch {
    sessionStorage.removeItem(PLACE);
  }
  return { model: about.models[0].name, beside: "" };
}
