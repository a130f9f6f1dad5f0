"use strict";
// What ε does as σ² goes to 0, and the derivative at the variance: as 1/√ in one step, or as √ and a quotient.

// The values that share a statistic with the chosen cell are moved towards their mean; 1 is where they were.
const squeeze = { base: null, by: 0 };

/** x with the deviations of one unit made smaller by 10 to a power. */
function squeezed(values, ids, id, power) {
  const inside = [...values].filter((_, i) => ids[i] === id);
  const mean = inside.reduce((a, b) => a + b, 0) / inside.length;
  return values.map((value, i) => (ids[i] === id ? mean + (value - mean) * 10 ** power : value));
}

const POWERS = Array.from({ length: 41 }, (_, i) => -i / 8);

/** σ², and the largest |dx| of the chosen unit, at each of some powers. */
function steepness(base, id) {
  const { boxes, x, norm } = now.stage, { ids } = now.scene.shares;
  return POWERS.map((power) => {
    const values = Evaluator.evaluate(now.program, new Map([...givenBy(now.scene), ...state.changes, [boxes[x].v, squeezed(base, ids, id, power)]]));
    return { power, var: values[boxes[norm.var].v][id], dx: largestOf(values[boxes[x].g].filter((_, i) => ids[i] === id)) };
  });
}

function plot(points, here, norm) {
  const [width, height, left, bottom] = [330, 118, 44, 24];
  const log = Math.log10, logs = points.map((p) => [log(p.var), log(p.dx)]).filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b));
  const range = (i, extra) => [Math.min(...logs.map((p) => p[i]), ...extra), Math.max(...logs.map((p) => p[i]), ...extra)];
  const [x0, x1] = range(0, norm.eps > 0 ? [log(norm.eps)] : []), [y0, y1] = range(1, []);
  const at = (a, b) => [left + (width - left - 8) * (a - x0) / (x1 - x0 || 1), 8 + (height - bottom - 14) * (1 - (b - y0) / (y1 - y0 || 1))];
  const path = logs.map(([a, b], i) => `${i ? "L" : "M"}${at(a, b).map((n) => n.toFixed(1)).join(" ")}`).join("");
  const [px, py] = at(log(here.var), log(here.dx));
  const text = (words, x, y, anchor = "middle") => draw("text", { x, y, "text-anchor": anchor }, words);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "plot", role: "img", "aria-label": `The largest gradient of your unit against its variance: ${result(here.dx)} at ${result(here.var)}` },
    draw("path", { d: `M${left} 4V${height - bottom}H${width}`, class: "axis" }), draw("path", { d: path, class: "curve now" }));
  if (norm.eps > 0) {
    const [ex] = at(log(norm.eps), y0);
    svg.append(draw("path", { d: `M${ex} 4V${height - bottom}`, class: "mark" }), text("σ² = ε", Math.min(Math.max(ex, left + 22), width - 24), height - 8));
  }
  if (Number.isFinite(px) && Number.isFinite(py)) svg.append(draw("circle", { cx: px, cy: py, r: 5, class: "here" }));
  svg.append(text("largest |dx|", left + 6, 14, "start"), text(shown(10 ** y1, 1), left - 4, 16, "end"), text(shown(10 ** y0, 1), left - 4, height - bottom, "end"), text("σ²", width - 10, height - 8));
  return svg;
}

function squeezeTo(power, id) {
  const { boxes, x } = now.stage, { ids } = now.scene.shares;
  const key = `${state.scene} ${id}`;
  if (!squeeze.base || squeeze.key !== key || squeeze.result !== now.values[boxes[x].v]) Object.assign(squeeze, { key, base: now.values[boxes[x].v] });
  else state.changes = state.past.pop(); // one way down the slider is one change to undo
  squeeze.by = power;
  change(boxes[x].v, squeezed(squeeze.base, ids, id, power));
  squeeze.result = now.values[boxes[x].v];
}

function showEpsilon(panel) {
  const { boxes, x } = now.stage, of = boxes[x], norm = normNow(), cell = chosenIn(of), id = norm.ids[cell];
  const isSqueezed = squeeze.key === `${state.scene} ${id}` && squeeze.result === now.values[of.v];
  const base = isSqueezed ? squeeze.base : now.values[of.v];
  const slider = make("input", { type: "range", id: "squeeze", min: "-5", max: "0", step: "0.125", "aria-label": "Move the values that share a variance towards their mean" });
  slider.value = String(isSqueezed ? squeeze.by : 0);
  slider.addEventListener("input", () => squeezeTo(Number(slider.value), id));
  const here = { var: norm.var[id], dx: largestOf(now.values[of.g].filter((_, i) => norm.ids[i] === id)) };
  const r = norm.r[id], deviation = Math.sqrt(here.var + norm.eps);
  const row = (words, element) => make("tr", {}, make("th", { scope: "row" }, words), make("td", { class: "arithmetic" }, element));
  const letter = now.stage.norm.mean === undefined ? "m" : "σ²";
  const numbers = make("table", { class: "checks" },
    row([formula(letter)], line([], null, here.var)),
    row([formula("r")], line([`1/√(${letter} + ε)`], ["rsqrt", ["add", here.var, { exact: norm.eps }]], r)),
    row(["largest ", formula("|dx|")], line([], null, here.dx)),
    row([formula("1/√ε"), ", the most that r can be"], line([], null, norm.eps > 0 ? norm.eps ** -0.5 : Infinity)));
  const slopes = make("table", { class: "checks" },
    row(["at once: ", formula("r = v^(−½)")], line([`∂r/∂v = −½ r³`], ["multiply", { exact: -0.5 }, ["power", r, { exact: 3 }]], -0.5 * r ** 3)),
    row(["first ", formula("σ = √v")], line([`∂σ/∂v = 1/(2σ)`], ["divide", { exact: 1 }, ["multiply", { exact: 2 }, deviation]], 0.5 / deviation)),
    row(["then ", formula("r = 1/σ")], line([`∂r/∂σ = −1/σ²`], ["divide", { exact: -1 }, ["square", deviation]], -1 / deviation ** 2)),
    row(["together"], line(["∂σ/∂v · ∂r/∂σ"], ["multiply", 0.5 / deviation, -1 / deviation ** 2], -0.5 * r ** 3)));
  panel.querySelector("#squeeze")?.remove();
  const title = make("h2", {}, "As ", formula(letter), " goes to 0, ", formula("ε"), " keeps ", formula("r"), " finite. ", cellTag(of));
  const left = make("div", {}, make("label", { class: "caption" }, "wide ", slider, " narrow: the values around their mean"), numbers);
  const right = make("div", { class: "slopes" }, make("div", { class: "caption" }, "The slope at the variance, ", formula(`v = ${letter} + ε`), ", two ways"), slopes);
  slider.style.direction = "rtl";
  panel.replaceChildren(title, make("div", { class: "row scrolling" }, left, plot(steepness(base, id), here, norm), right));
}

panels.push({ key: "epsilon", title: "ε and √", show: showEpsilon, isThere: () => normNow() !== null && now.scene.shares.ids.length > Math.max(...now.scene.shares.ids) + 1 });
