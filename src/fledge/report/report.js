// Shows the values under the pointer in each chart, and opens everything that is folded before
// printing.
"use strict";
function showValues(svg) {
  const chart = JSON.parse(svg.dataset.chart);
  if (!chart.series.length) return;
  const [low, high, left, right] = chart.x;
  const [, , bottom, top] = chart.y;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  svg.parentElement.append(tip);
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", top);
  cursor.setAttribute("y2", bottom);
  cursor.style.display = "none";
  svg.append(cursor);
  const format = (y) =>
    chart.percent ? `${+(100 * y).toPrecision(3)} %` : `${+y.toPrecision(4)}`;
  const nearer = (a, b, x) => (Math.abs(b - x) < Math.abs(a - x) ? b : a);
  const findNearest = (points, x) =>
    points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
  const hide = () => {
    tip.hidden = true;
    cursor.style.display = "none";
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const share = ((event.clientX - box.left) / scale - left) / (right - left);
    const wanted = low + share * (high - low);
    const hits = chart.series.map((one) => [one.name, findNearest(one.points, wanted)]);
    const x = hits.map(([, point]) => point[0]).reduce((a, b) => nearer(a, b, wanted));
    const at = left + ((x - low) / (high - low)) * (right - left);
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    cursor.style.display = "";
    const shown = hits.filter(([, point]) => point[0] === x);
    const values = shown.map(([name, point]) => `${name} ${format(point[1])}`);
    const parts = [`${chart.xLabel} ${x}`, ...values].flatMap((line) => [
      document.createTextNode(line),
      document.createElement("br"),
    ]);
    tip.replaceChildren(...parts.slice(0, -1));
    tip.hidden = false;
    const frame = svg.parentElement;
    const start = svg.offsetLeft || box.left - frame.getBoundingClientRect().left;
    const x_in_frame = start + at * scale;
    const most = frame.clientWidth - tip.offsetWidth - 4;
    tip.style.left = `${Math.max(4, Math.min(most, x_in_frame + 10))}px`;
    tip.style.top = `${box.top - frame.getBoundingClientRect().top + 4}px`;
  });
  svg.addEventListener("pointerleave", hide);
}
for (const svg of document.querySelectorAll("svg[data-chart]")) showValues(svg);
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details")) one.open = true;
});
