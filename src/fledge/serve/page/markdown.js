// Markdown as nodes: headings, lists, quotes, tables, code, emphasis and links. HTML in it is text
// like any other; a picture is a link, since nothing is fetched from elsewhere unless somebody
// clicks.

import { add, button, make } from "./dom.js";

const DEEPEST = 6; // quotes and lists within each other; deeper ones are shown as written

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,8})([-*+]|\d{1,9}[.)])(\s+|$)(.*)$/;
const DASHES = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

export function renderMarkdown(text, depth = 0) {
  const lines = text.split("\n");
  const nodes = [];
  let at = 0;
  while (at < lines.length) {
    const [node, next] = takeBlock(lines, at, depth);
    if (node) nodes.push(node);
    at = next;
  }
  return nodes;
}

// [node or null, the line after the block]
function takeBlock(lines, at, depth) {
  const line = lines[at];
  if (!line.trim()) return [null, at + 1];
  if (FENCE.test(line)) return takeCode(lines, at);
  const heading = line.match(HEADING);
  if (heading) {
    const level = Math.min(6, heading[1].length + 2);
    return [make(`h${level}`, {}, ...renderInline(heading[2])), at + 1];
  }
  if (RULE.test(line)) return [make("hr"), at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return takeQuote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return takeList(lines, at, depth);
  if (isTable(lines, at)) return takeTable(lines, at);
  return takeParagraph(lines, at, depth);
}

function takeCode(lines, start) {
  const [, fence, language] = lines[start].match(FENCE);
  const closes = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}\\s*$`);
  let end = start + 1;
  while (end < lines.length && !closes.test(lines[end])) end++;
  return [makeCode(lines.slice(start + 1, end).join("\n"), language.trim()), end + 1];
}

function makeCode(text, language) {
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = "Copied";
  });
  return make(
    "div",
    { class: "code" },
    make(
      "div",
      { class: "code-head" },
      make("span", {}, language.slice(0, 40)),
      navigator.clipboard && copy,
    ),
    make(
      "pre",
      { tabindex: "0", "aria-label": `code ${language.slice(0, 40)}` },
      make("code", {}, text),
    ),
  );
}

function takeQuote(lines, start, depth) {
  let end = start;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  const inside = lines.slice(start, end).map((line) => line.replace(QUOTE, ""));
  return [make("blockquote", {}, renderMarkdown(inside.join("\n"), depth + 1)), end];
}

function takeList(lines, start, depth) {
  const [, indent, mark] = lines[start].match(ITEM);
  const ordered = /\d/.test(mark);
  const first = ordered && Number.parseInt(mark, 10);
  const list = make(ordered ? "ol" : "ul", { start: ordered && first !== 1 ? first : null });
  let at = start;
  while (at < lines.length) {
    const item = lines[at].match(ITEM);
    if (!item || item[1].length > indent.length + 1 || /\d/.test(item[2]) !== ordered) break;
    if (RULE.test(lines[at])) break;
    const inner = item[1].length + item[2].length + 1; // columns that its other lines stand in
    const inside = [item[4]];
    at++;
    while (at < lines.length && belongs(lines, at, inner)) {
      inside.push(lines[at].slice(Math.min(inner, lines[at].search(/\S|$/))));
      at++;
    }
    while (inside.at(-1) === "") inside.pop();
    list.append(make("li", {}, renderMarkdown(inside.join("\n"), depth + 1)));
  }
  return [list, at];
}

// Whether a line goes on with the item above it: indented, or empty with more of the list after it.
function belongs(lines, at, inner) {
  const line = lines[at];
  if (!line.trim()) {
    const next = lines.slice(at + 1).find((one) => one.trim());
    return next !== undefined && (next.search(/\S/) >= Math.min(inner, 2) || ITEM.test(next));
  }
  const indent = line.search(/\S/);
  if (indent >= Math.min(inner, 2)) return true;
  return Boolean(lines[at - 1].trim()) && !startsBlock(line);
}

const startsBlock = (line) =>
  [FENCE, HEADING, RULE, QUOTE, ITEM].some((pattern) => pattern.test(line));

const isTable = (lines, at) =>
  lines[at].includes("|") &&
  at + 1 < lines.length &&
  lines[at + 1].includes("-") &&
  DASHES.test(lines[at + 1]);

function takeTable(lines, start) {
  const cut = (line) =>
    line
      .trim()
      .replace(/^\||\|$/g, "")
      .split("|")
      .map((cell) => cell.trim());
  const head = cut(lines[start]);
  let end = start + 2;
  while (end < lines.length && lines[end].includes("|")) end++;
  const row = (tag, cells) =>
    make(
      "tr",
      {},
      head.map((_, column) => make(tag, {}, ...renderInline(cells[column] ?? ""))),
    );
  const body = lines.slice(start + 2, end).map((line) => row("td", cut(line)));
  const table = make("table", {}, make("thead", {}, row("th", head)), make("tbody", {}, body));
  return [make("div", { class: "wide", tabindex: "0" }, table), end];
}

function takeParagraph(lines, start, depth) {
  let end = start + 1;
  const ends = (at) =>
    !lines[at].trim() || isTable(lines, at) || (depth < DEEPEST && startsBlock(lines[at]));
  while (end < lines.length && !ends(end)) end++;
  return [make("p", {}, ...renderInline(lines.slice(start, end).join("\n"))), end];
}

// What is looked for is bounded in length, so that a thousand marks that nothing closes cost
// little.
const INLINE = new RegExp(
  [
    /\\([!-/:-@[-`{-~])/, // 1: an escaped mark
    /(`+)([^`][\s\S]{0,1000}?)\2(?!`)/, // 3: code
    /\*\*(?=\S)([\s\S]{0,600}?\S)\*\*/, // 4: strong
    /(?<![\w*])[*](?=[^\s*])([^*]{0,600}?[^\s*])\*(?!\w)/, // 5: emphasis
    /(?<!\w)_(?=[^\s_])([^_]{0,600}?[^\s_])_(?!\w)/, // 6: emphasis
    /~~(?=\S)([^~]{0,600}?\S)~~/, // 7: struck
    /!?\[([^\]\n]{0,300})\]\(\s*<?([^\s)>]{1,2000})>?[^)\n]{0,200}\)/, // 8, 9: a link or a picture
    /(https?:\/\/[^\s<>"'`]{1,2000}[^\s<>"'`.,;:!?)\]*_])/, // 10: an address
  ]
    .map((pattern) => pattern.source)
    .join("|"),
  "g",
);

function renderInline(text, depth = 0) {
  const nodes = [];
  let at = 0;
  const inner = (part) => (depth < 4 ? renderInline(part, depth + 1) : [part]);
  for (const hit of text.matchAll(INLINE)) {
    nodes.push(text.slice(at, hit.index));
    at = hit.index + hit[0].length;
    const [whole, escaped, , code, strong, star, line, struck, label, target, address] = hit;
    if (escaped !== undefined) nodes.push(escaped);
    else if (code !== undefined) nodes.push(make("code", {}, code));
    else if (strong !== undefined) nodes.push(make("strong", {}, ...inner(strong)));
    else if (star !== undefined) nodes.push(make("em", {}, ...inner(star)));
    else if (line !== undefined) nodes.push(make("em", {}, ...inner(line)));
    else if (struck !== undefined) nodes.push(make("s", {}, ...inner(struck)));
    else if (target !== undefined) nodes.push(makeLink(target, label || target, whole));
    else nodes.push(makeLink(address, address, whole));
  }
  nodes.push(text.slice(at));
  return nodes.filter((node) => node !== "");
}

// A link says where it leads; an address that would run something is shown as it was written.
function makeLink(target, label, written) {
  if (!/^(https?:\/\/|mailto:)/i.test(target)) return written;
  const link = make("a", {
    href: target,
    target: "_blank",
    rel: "noopener noreferrer",
    title: target,
  });
  return add(link, label);
}
