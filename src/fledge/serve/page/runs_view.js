// The runs that the server was started with: their lineage as a drawing, the curves of one of them
// as they grow, and the way to its report.

import { get, linkTo } from "./api.js";
import { add, draw, fail, keepFocus, make } from "./dom.js";
import { drawLineage } from "./lineage.js";

const EVERY_MS = 2000; // while a run is under way and somebody looks

export function openRuns(place) {
  const tree = make("div", { class: "tree-place" });
  const detail = make("div", { class: "run-detail", "aria-live": "off" });
  place.replaceChildren(make("h2", {}, "Runs"), tree, detail);
  let runs = [];
  let chosen = null;
  let timer = null;

  const drawTree = () => {
    if (runs.length)
      keepFocus(tree, () => tree.replaceChildren(drawLineage(runs, tree.clientWidth, chosen)));
    else
      tree.replaceChildren(
        make(
          "p",
          { class: "quiet" },
          "There are no runs here: the server was started with models alone.",
        ),
      );
  };
  const look = async () => {
    clearTimeout(timer);
    try {
      runs = (await get("fledge/lineage")).runs;
      drawTree();
      if (chosen === null) detail.replaceChildren();
      else await showRun(detail, chosen, () => chosen);
    } catch (error) {
      fail(detail, error);
    }
    const underWay = runs.some((run) => run.status === "unfinished");
    if (underWay && !place.hidden) timer = setTimeout(look, EVERY_MS);
  };
  addEventListener("resize", () => !place.hidden && drawTree());
  return {
    show: (number) => {
      chosen = number;
      detail.replaceChildren();
      return look();
    },
    hide: () => clearTimeout(timer),
  };
}

async function showRun(detail, number, chosen) {
  const known =
    Number(detail.dataset.run) === number && detail.childElementCount ? detail.dataset.rows : "";
  const run = await get(`fledge/runs/${number}/metrics${known && `?rows=${known}`}`);
  if (run.pictures === null || number !== chosen()) return; // nothing new, or another one by now
  detail.dataset.run = number;
  detail.dataset.rows = run.rows;
  keepFocus(detail, () => fill(detail, number, run));
}

function fill(detail, number, run) {
  const open = detail.querySelector("details")?.open;
  const facts = run.tiles.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value)),
  );
  detail.replaceChildren();
  add(
    detail,
    make(
      "div",
      { class: "heading" },
      make("h3", {}, run.name),
      make("span", { class: `status ${run.finished ? "finished" : "unfinished"}` }, run.status),
      linkTo(`fledge/runs/${number}/report`, "Report", "report.html"),
    ),
    make("p", { class: "quiet" }, run.sentence),
    run.damage.map((sentence) => make("p", { class: "failure" }, sentence)),
    run.failure && make("p", { class: "failure" }, run.failure),
    facts.length > 0 && make("dl", { class: "tiles" }, facts),
    make("div", { class: "pictures" }, run.pictures.map(drawPicture)),
    run.more.length > 0 &&
      make(
        "details",
        { open },
        make("summary", { "data-key": "more" }, "More figures"),
        make("div", { class: "pictures" }, run.more.map(drawPicture)),
      ),
    run.rows === 0 && make("p", { class: "quiet" }, "Nothing was logged yet."),
  );
  for (const chart of detail.querySelectorAll("svg[data-chart]")) window.showValues?.(chart);
}

function drawPicture({ title, unit, legend, caption, svg }) {
  const names = legend.map((name, at) =>
    make(
      "li",
      {},
      draw([
        "svg",
        { viewBox: "0 0 22 8", "aria-hidden": "true" },
        ["path", { class: `line s${at + 1}`, d: "M1 4H21" }],
      ]),
      name,
    ),
  );
  return make(
    "figure",
    {},
    make("h4", {}, title, unit && " ", unit && make("small", {}, unit)),
    names.length > 0 && make("ul", { class: "legend" }, names),
    make("figcaption", {}, caption),
    draw(svg),
  );
}
