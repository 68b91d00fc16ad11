// An answer token by token: how likely the model held each, or how much likelier than another model
// does; a token that is chosen shows what else could have stood there, and any of these goes on
// from it.

import { button, make, readable } from "./dom.js";

const STEPS = [0.9, 0.6, 0.3, 0.1, 0.03]; // probabilities: sure, likely, … surprising
const SHARES = ["90 % and more", "60–90 %", "30–60 %", "10–30 %", "3–10 %", "under 3 %"];
const RATIOS = [0.2, 0.7, 2]; // nats: hardly, somewhat, much, very much

export const percent = (logp) => {
  const p = 100 * Math.exp(logp);
  if (p > 99.95 && p < 100) return "99.9+ %";
  if (p >= 0.1 || p === 0) return `${p.toFixed(1)} %`;
  return `${p >= 0.001 ? p.toPrecision(1) : p.toExponential(0)} %`;
};

const signed = (nats) => `${nats < 0 ? "−" : "+"}${Math.abs(nats).toFixed(2)}`;

// What a token looks like in a sentence: quoted, its line breaks and spaces to be seen.
const quote = (token) => (token.end ? "the end" : `‘${token.text.replaceAll("\n", "⏎")}’`);

function shade(token, byRatio) {
  if (!byRatio) return `p${STEPS.filter((step) => Math.exp(token.logp) < step).length}`;
  const ratio = token.logp - token.against;
  const size = RATIOS.filter((step) => Math.abs(ratio) >= step).length;
  return size ? `${ratio > 0 ? "more" : "less"}${size}` : "same";
}

// data: what /fledge/tokens answers. goOn(place, id): say `id` at that place, and go on from there.
export function drawTokens(data, goOn) {
  const byRatio = data.against !== null;
  const panel = make(
    "div",
    { class: "token-panel" },
    make("p", { class: "quiet" }, "Choose a token to see what else could have stood there."),
  );
  const line = make("div", { class: "tokens", role: "group", "aria-label": "tokens" });
  const marks = data.tokens.map((token, place) => {
    const mark = make(
      "span",
      {
        class: `token ${shade(token, byRatio)}`,
        role: "button",
        tabindex: place ? "-1" : "0",
        "aria-label": describe(token, byRatio),
        title: describe(token, byRatio),
        onclick: () => choose(place),
      },
      token.end ? "■" : token.text.replaceAll("\n", "⏎"),
    );
    line.append(mark);
    if (!token.end && token.text.includes("\n")) line.append(document.createElement("br"));
    return mark;
  });
  const choose = (place) => {
    for (const mark of marks) mark.setAttribute("tabindex", "-1");
    line.querySelector("[aria-pressed]")?.removeAttribute("aria-pressed");
    marks[place].setAttribute("tabindex", "0");
    marks[place].setAttribute("aria-pressed", "true");
    panel.replaceChildren(...drawPanel(data, place, goOn));
    marks[place].scrollIntoView({ block: "nearest" });
  };
  line.addEventListener("keydown", (event) => move(event, marks, choose));
  return make("div", { class: "token-view" }, drawKey(byRatio, data), line, panel, sumUp(data));
}

function move(event, marks, choose) {
  const place = marks.indexOf(event.target);
  if (place < 0) return;
  if (event.key === "Enter" || event.key === " ") choose(place);
  else {
    const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: marks.length - 1 };
    const next = marks[to[event.key] ?? -1];
    if (!next) return;
    event.target.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }
  event.preventDefault();
}

function describe(token, byRatio) {
  const ratio = byRatio ? `, log-ratio ${signed(token.logp - token.against)}` : "";
  return readable(`${quote(token)}, ${percent(token.logp)}${ratio}`);
}

function drawPanel(data, place, goOn) {
  const token = data.tokens[place];
  const facts = [`${percent(token.logp)}, log p ${token.logp.toFixed(3).replace("-", "−")}`];
  if (data.against !== null)
    facts.push(
      `${percent(token.against)} under ${data.against}, log-ratio ${signed(token.logp - token.against)}`,
    );
  const most = Math.exp(token.top[0]?.logp ?? 0);
  const others = token.top.map((other) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${(64 * Math.exp(other.logp)) / most}px`;
    const said = other.id === token.id;
    const word = other.end
      ? make("span", { class: "word" }, "the end")
      : button(quote(other), () => goOn(place, other.id), {
          class: "word",
          "aria-label": readable(`Go on from ${quote(other)}`),
        });
    return make(
      "li",
      { class: said ? "said" : null },
      word,
      make("span", { class: "chance" }, percent(other.logp)),
      bar,
    );
  });
  return [
    make("p", {}, make("strong", {}, quote(token)), ` ${facts.join("; ")}`),
    make("p", { class: "quiet" }, "Go on from another one:"),
    make("ol", { class: "alternatives" }, others),
  ];
}

function drawKey(byRatio, data) {
  const word = (name, text) =>
    make("li", {}, make("i", { class: name, "aria-hidden": "true" }), text);
  const words = byRatio
    ? [word("less3", "less likely"), word("same", "the same"), word("more3", "likelier")]
    : SHARES.map((share, step) => word(`p${step}`, share));
  const against = byRatio && make("li", { class: "quiet" }, `than under ${data.against}`);
  return make("ul", { class: "token-key" }, words, against);
}

function sumUp({ tokens, against }) {
  const total = tokens.reduce((sum, token) => sum + token.logp, 0);
  const words = [
    `${tokens.length} tokens`,
    `log p ${total.toFixed(2).replace("-", "−")} nats`,
    `perplexity ${Math.exp(-total / Math.max(1, tokens.length)).toPrecision(3)}`,
  ];
  if (against !== null) {
    const other = tokens.reduce((sum, token) => sum + token.against, 0);
    words.push(`log-ratio ${signed(total - other)} nats`);
  }
  return make("p", { class: "quiet" }, words.join(" · "));
}
