// Builds the page's nodes. Text goes in as text, never as markup; what would steer the reader's eye
// (control characters, marks of direction) is shown as an escape like \x1b, as `fledge` does in a
// terminal.

const STEERING =
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu;

export function readable(text) {
  return String(text).replace(STEERING, (one) => {
    const code = one.codePointAt(0);
    return code < 256
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

// make("button", { class: "quiet", onclick: stop, "aria-label": "Stop" }, "Stop")
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  add(node, ...children);
  return node;
}

export function add(node, ...children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : readable(child));
  }
  return node;
}

export function button(label, onclick, attributes = {}) {
  return make("button", { type: "button", onclick, ...attributes }, label);
}

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = new Set(["svg", "g", "path", "line", "circle", "rect", "text", "title"]);
const LOOKS = new Set(
  (
    "class d x y x1 x2 y1 y2 cx cy r rx width height viewBox role aria-label aria-hidden text-anchor " +
    "data-chart"
  ).split(" "),
);

// A drawing that came as [tag, attributes, ...children]: only shapes, and only how they look.
export function draw([tag, attributes = {}, ...children]) {
  if (!SHAPES.has(tag)) throw new Error(`${tag} is no shape`);
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes))
    if (LOOKS.has(name)) node.setAttribute(name, value);
  for (const child of children) node.append(Array.isArray(child) ? draw(child) : readable(child));
  return node;
}

// Redraws, and gives the focus back to what bears the same data-key.
export function keepFocus(where, redraw) {
  const held = where.contains(document.activeElement) && document.activeElement.dataset.key;
  redraw();
  if (held) where.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
}

// Says something to a screen reader.
export function announce(text) {
  document.getElementById("announce").textContent = readable(text);
}

export function fail(where, error) {
  where.replaceChildren(make("p", { class: "failure", role: "alert" }, error.message));
}
