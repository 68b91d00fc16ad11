// Two answers to one prompt, and which of them is better: the server chooses the pair that tells
// most of what it does not know yet, or one by chance, and keeps what is said.

import { post } from "./api.js";
import { add, announce, button, make } from "./dom.js";
import { renderMarkdown } from "./markdown.js";

const SIDES = ["A", "B"];
const SPEAKERS = { system: "System", user: "You", assistant: "Model" };
const CHOICES = { bald: "what tells most", random: "chance" };

export function openCompare(place) {
  const choice = make(
    "select",
    { id: "choice" },
    ...Object.entries(CHOICES).map(([value, label]) => make("option", { value }, label)),
  );
  const tally = make("p", { class: "quiet" });
  const asked = make("div", { class: "turns asked" });
  const columns = make("div", { class: "columns two" });
  const verdict = make("div", { class: "verdict-bar", role: "group", "aria-label": "Your choice" });
  let shown = null; // the pair, and how it was chosen

  const next = async () => {
    shown = null;
    verdict.replaceChildren(make("p", { class: "quiet" }, "Looking for the next pair …"));
    const how = choice.value;
    try {
      const told = await post("fledge/compare", { choice: how });
      count(told);
      if (choice.value !== how) return await next(); // changed meanwhile
      if (told.pair) show({ ...told.pair, choice: how });
      else end();
    } catch (error) {
      complain(error);
      verdict.append(button("Try again", next));
    }
  };
  const show = (pair) => {
    shown = pair;
    asked.replaceChildren(...pair.messages.map(drawMessage));
    columns.replaceChildren(
      ...pair.answers.map((answer, at) =>
        make(
          "section",
          { class: "column", "aria-label": SIDES[at] },
          make("h2", {}, SIDES[at]),
          make("div", { class: "turns" }, drawSaid(answer)),
        ),
      ),
    );
    verdict.replaceChildren(
      button("A is better", () => say(0), { class: "main" }),
      button("B is better", () => say(1), { class: "main" }),
      button("Skip", () => say(null)),
    );
    place.scrollTop = 0;
    if (!place.hidden) announce("The next pair.");
  };
  const say = async (preferred) => {
    if (!shown) return;
    const pair = shown;
    shown = null;
    try {
      const body = { pair: pair.name, preferred, choice: pair.choice };
      count(await post("fledge/compared", body));
    } catch (error) {
      if (error.status !== 409) {
        shown = pair;
        complain(error);
        return;
      }
    }
    await next();
  };
  const complain = (error) => {
    verdict.querySelector("[role=alert]")?.remove();
    verdict.append(make("p", { class: "failure", role: "alert" }, error.message));
  };
  const end = () => {
    asked.replaceChildren();
    columns.replaceChildren(
      make("p", { class: "greeting quiet" }, "Every pair has been asked about. Thank you."),
    );
    verdict.replaceChildren();
  };
  const count = ({ answered, left, prompts, unanswerable, foreseen }) => {
    const more = prompts ? `, ${prompts} prompts without answers` : "";
    const none = unanswerable ? `, ${unanswerable} too long for the model` : "";
    const seen = Object.entries(foreseen)
      .filter(([, one]) => one.answered)
      .map(([name, one]) => `${one.foreseen} of ${one.answered} by ${CHOICES[name]}`);
    const told = seen.length ? ` Foreseen: ${seen.join(", ")}.` : "";
    tally.textContent = `${answered} answered, ${left} left${more}${none}.${told}`;
  };

  document.addEventListener("keydown", (event) => {
    // A key that is held down would answer pairs that nobody has read.
    if (place.hidden || event.repeat) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog")) return;
    const at = ["a", "b", "s"].indexOf(event.key.toLowerCase());
    if (at >= 0) say([0, 1, null][at]);
  });
  choice.addEventListener("change", () => shown && next());
  place.replaceChildren();
  add(
    place,
    make(
      "div",
      { class: "bar-top" },
      make("label", { class: "pick", for: "choice" }, "Next by ", choice),
      tally,
    ),
    asked,
    columns,
    make("p", { class: "quiet keys" }, "Keys: a, b, and s to skip."),
    verdict,
  );
  return { start: () => shown ?? (verdict.childElementCount || next()) };
}

function drawMessage({ role, content }) {
  return make(
    "article",
    { class: `turn ${role}` },
    make("p", { class: "who" }, SPEAKERS[role] ?? role),
    drawSaid(content),
  );
}

function drawSaid(text) {
  const body = make("div", { class: "said" });
  body.append(...renderMarkdown(text));
  return body;
}
