// How answers are drawn, kept in the browser, and the dialog that changes it.

import { button, make } from "./dom.js";

const PLACE = "fledge-settings"; // of localStorage

const FIELDS = [
  ["system", "System prompt", "what stands before every conversation", {}],
  [
    "memory",
    "Earlier turns are sent too",
    "off for models that know one question at a time",
    { type: "checkbox" },
  ],
  ["temperature", "Temperature", "0 is greedy", { type: "number", min: 0, max: 2, step: 0.05 }],
  [
    "top_p",
    "Top-p",
    "nucleus mass; 1 keeps every token",
    { type: "number", min: 0.01, max: 1, step: 0.01 },
  ],
  ["top_k", "Top-k", "0 keeps every token", { type: "number", min: 0, step: 1 }],
  [
    "min_p",
    "Min-p",
    "share of the likeliest token's probability",
    { type: "number", min: 0, max: 1, step: 0.01 },
  ],
  ["max_tokens", "Longest answer", "tokens", { type: "number", min: 1, step: 1 }],
  ["seed", "Seed", "empty: a new one for every answer", { type: "number", min: 0, step: 1 }],
];

const DEFAULTS = {
  system: "",
  memory: true,
  temperature: 0.7,
  top_p: 1,
  top_k: 0,
  min_p: 0,
  max_tokens: 256,
  seed: null,
};

export const settings = { ...DEFAULTS, ...read() };

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE)) ?? {};
    return Object.fromEntries(Object.entries(kept).filter(([name]) => name in DEFAULTS));
  } catch {
    return {};
  }
}

// The fields of a request; the seed is the given one where none is set.
export function rules(seed) {
  const { temperature, top_p, top_k, min_p, max_tokens } = settings;
  return { temperature, top_p, top_k, min_p, max_tokens, seed: settings.seed ?? seed };
}

export const drawSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;

export function openSettings() {
  const inputs = new Map();
  const rows = FIELDS.map(([name, label, help, kind]) => {
    const id = `setting-${name}`;
    const at = { id, "aria-describedby": `${id}-help` };
    const input = kind.type
      ? make("input", { ...at, ...kind, inputmode: kind.type === "number" ? "decimal" : null })
      : make("textarea", { ...at, rows: 3 });
    show(input, settings[name]);
    inputs.set(name, input);
    return make(
      "div",
      { class: `setting ${kind.type ?? "long"}` },
      make("label", { for: id }, label),
      input,
      make("small", { id: `${id}-help`, class: "quiet" }, help),
    );
  });
  const problem = make("p", { class: "failure", role: "alert" });
  const keep = (event) => {
    event?.preventDefault();
    const wrong = [...inputs.values()].find((input) => !input.checkValidity());
    if (wrong) {
      problem.textContent = `${wrong.labels[0].textContent}: ${wrong.validationMessage}`;
      wrong.focus();
      return;
    }
    for (const [name, input] of inputs) settings[name] = value(input, DEFAULTS[name]);
    localStorage.setItem(PLACE, JSON.stringify(settings));
    dialog.close();
  };
  const restore = () => {
    for (const [name, input] of inputs) show(input, DEFAULTS[name]);
  };
  const dialog = make(
    "dialog",
    { class: "settings", "aria-labelledby": "settings-title" },
    make("h2", { id: "settings-title" }, "Settings"),
    make(
      "form",
      { onsubmit: keep, novalidate: true },
      rows,
      problem,
      make(
        "p",
        { class: "actions" },
        make("button", { class: "main" }, "Keep"),
        button("As at first", restore),
        button("Cancel", () => dialog.close()),
      ),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function show(input, setting) {
  if (input.type === "checkbox") input.checked = setting;
  else input.value = setting ?? "";
}

function value(input, otherwise) {
  if (input.type === "checkbox") return input.checked;
  if (input.type !== "number") return input.value;
  return input.value === "" ? otherwise : Number(input.value);
}
