// Runs as a drawing: each stands beside the one whose weights it started from, and a dashed line
// leads to whatever else it came out of.

import { draw, make } from "./dom.js";

const STEP = 232; // from a parent to its child
const WIDE = 200; // of a run's card
const HIGH = 58;
const GAP = 12;
const INDENT = 22; // of a child under its parent, where there is no room beside it

// runs: what /fledge/lineage answers, parents before children. width: of the place, in pixels.
export function drawLineage(runs, width, chosen) {
  const deepest = Math.max(0, ...runs.map((run) => run.depth));
  const beside = (deepest + 1) * STEP <= width;
  const spots = placeRuns(runs, beside, width);
  const cards = runs.map((run) => drawCard(run, spots.get(run.key), chosen));
  const high = Math.max(0, ...[...spots.values()].map(({ y }) => y + HIGH));
  const lines = runs.flatMap((run) => drawLines(run, spots, beside));
  const frame = make("div", { class: "lineage" });
  frame.style.height = `${high}px`;
  const size = { width: String(width), height: String(high), "aria-hidden": "true" };
  frame.append(draw(["svg", size, ...lines]));
  frame.append(make("ul", { "aria-label": "Runs, each after the one it started from" }, cards));
  return frame;
}

function placeRuns(runs, beside, width) {
  const spots = new Map();
  let row = -1;
  let before = null;
  for (const run of runs) {
    // Beside its parent where the parent has just been placed, else in a row of its own.
    const follows = beside && before !== null && run.parent === before;
    if (!follows) row++;
    const x = run.depth * (beside ? STEP : Math.min(INDENT, (width - 160) / (run.depth + 1)));
    spots.set(run.key, { x, y: row * (HIGH + GAP), wide: beside ? WIDE : width - x });
    before = run.key;
  }
  return spots;
}

function drawCard(run, spot, chosen) {
  const state = run.number === null ? "gone" : run.status;
  const words = [
    make("strong", {}, run.name),
    make("small", {}, run.number === null ? run.verb : `${run.verb} · ${run.status}`),
    make("small", {}, run.figure),
  ];
  const inside =
    run.number === null
      ? make("div", { class: `card ${state}` }, words)
      : make(
          "a",
          {
            class: `card ${state}`,
            href: `#runs/${run.number}`,
            "data-key": run.key,
            title: run.name,
            "aria-current": run.number === chosen ? "true" : null,
          },
          words,
        );
  const item = make("li", {}, inside);
  Object.assign(item.style, {
    left: `${spot.x}px`,
    top: `${spot.y}px`,
    width: `${spot.wide}px`,
    height: `${HIGH}px`,
  });
  return item;
}

function drawLines(run, spots, beside) {
  const to = spots.get(run.key);
  const parents = [[run.parent, "edge"], ...run.also.map((key) => [key, "edge also"])];
  return parents
    .filter(([key]) => spots.has(key))
    .map(([key, name]) => {
      const from = spots.get(key);
      return ["path", { class: name, d: beside ? curve(from, to) : elbow(from, to) }];
    });
}

function curve(from, to) {
  const [x1, y1] = [from.x + from.wide, from.y + HIGH / 2];
  const [x2, y2] = [to.x, to.y + HIGH / 2];
  const bend = Math.max(24, Math.abs(x2 - x1) / 2);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

function elbow(from, to) {
  const x = from.x + 9;
  return `M${x} ${from.y + HIGH}L${x} ${to.y + HIGH / 2}L${to.x} ${to.y + HIGH / 2}`;
}
