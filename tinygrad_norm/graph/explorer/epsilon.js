"use strict";
// The effect of ε as σ² goes to 0, and the derivative at the variance: as 1/√ in one step, or as √ and a quotient.

// The slider moves the values that share a statistic with the chosen cell towards their mean.
const squeeze = { key: "", base: null, by: 0, result: null };

/** Whether the numbers are still those that the slider has set for this unit. */
function isSqueezed(key) {
  const values = now.values[now.stage.boxes[now.stage.x].v];
  return squeeze.key === key && values.every((value, i) => value === squeeze.result[i]);
}

/** x with the deviations of one unit scaled by 10 to a power. */
function squeezed(values, ids, id, power) {
  const inside = [...values].filter((_, i) => ids[i] === id);
  const mean = inside.reduce((a, b) => a + b, 0) / inside.length;
  return values.map((value, i) => (ids[i] === id ? mean + (value - mean) * 10 ** power : value));
}

const POWERS = Array.from({ length: 41 }, (_, i) => -i / 8);

/** σ² and the largest |dx| of the chosen unit, for each of the powers. */
function steepness(base, id) {
  const { boxes, x, norm } = now.stage, { ids } = now.scene.shares;
  return POWERS.map((power) => {
    const values = Evaluator.evaluate(now.program, new Map([...givenBy(now.scene), ...state.changes, [boxes[x].v, squeezed(base, ids, id, power)]]));
    return { power, var: values[boxes[norm.var].v][id], dx: largestOf(values[boxes[x].g].filter((_, i) => ids[i] === id)) };
  });
}

function plot(points, here, norm) {
  const [width, height, left, bottom, upper] = [340, 122, 50, 24, 20];
  const log = Math.log10, logs = points.map((p) => [log(p.var), log(p.dx)]).filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b));
  const range = (i, extra) => [Math.min(...logs.map((p) => p[i]), ...extra), Math.max(...logs.map((p) => p[i]), ...extra)];
  const [x0, x1] = range(0, norm.eps > 0 ? [log(norm.eps)] : []), [y0, y1] = range(1, []);
  const at = (a, b) => [left + (width - left - 8) * (a - x0) / (x1 - x0 || 1), upper + (height - bottom - upper - 6) * (1 - (b - y0) / (y1 - y0 || 1))];
  const path = logs.map(([a, b], i) => `${i ? "L" : "M"}${at(a, b).map((n) => n.toFixed(1)).join(" ")}`).join("");
  const [px, py] = at(log(here.var), log(here.dx));
  const text = (words, x, y, anchor = "middle") => draw("text", { x, y, "text-anchor": anchor }, words);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "plot", role: "img", "aria-label": `The largest gradient of your unit against its variance: ${result(here.dx)} at ${result(here.var)}` },
    draw("path", { d: `M${left} ${upper - 4}V${height - bottom}H${width}`, class: "axis" }), draw("path", { d: path, class: "curve now" }));
  if (norm.eps > 0) {
    const [ex] = at(log(norm.eps), y0);
    svg.append(draw("path", { d: `M${ex} ${upper}V${height - bottom}`, class: "mark" }), text("ε", ex, height - 8));
  }
  if (Number.isFinite(px) && Number.isFinite(py)) svg.append(draw("circle", { cx: px, cy: py, r: 5, class: "here" }));
  svg.append(text(ofSpread("largest |dx| against σ², both on log scales"), 2, 11, "start"),
    text(shown(10 ** y1, 1), left - 4, upper + 6, "end"), text(shown(10 ** y0, 1), left - 4, height - bottom, "end"),
    text(shown(10 ** x0, 1), left, height - 8, "start"), text(ofSpread(`σ² = ${shown(10 ** x1, 1)}`), width - 2, height - 8, "end"));
  return svg;
}

function squeezeTo(power, id) {
  const { boxes, x } = now.stage, { ids } = now.scene.shares;
  const key = `${state.scene} ${id}`;
  if (isSqueezed(key)) state.changes = state.past.pop(); // moving the slider is a single change to undo
  else Object.assign(squeeze, { key, base: now.values[boxes[x].v] });
  squeeze.by = power;
  squeeze.result = squeezed(squeeze.base, ids, id, power);
  change(boxes[x].v, squeeze.result);
}

/** The slider. It is kept as long as the unit is the same, since it must not be replaced under the pointer. */
function sliderElement(panel, key, power, id) {
  let slider = panel.querySelector("#squeeze");
  if (!slider || slider.dataset.key !== key) {
    slider = make("input", { type: "range", id: "squeeze", min: "-5", max: "0", step: "0.125", "data-key": key, "aria-label": "Spread of the values that share a variance" });
    slider.addEventListener("input", () => squeezeTo(Number(slider.value), id));
    panel.replaceChildren(make("h2"), make("div", { class: "row scrolling", tabindex: "0", role: "region", "aria-label": "ε and √" },
      make("div", {}, make("label", { class: "caption" }, "narrow ", slider, " wide: the spread of the values"), make("div", { class: "here" })),
      make("div", { class: "plotted" }), make("div", { class: "slopes" })));
  }
  slider.value = String(power);
  return slider;
}

const numbersRow = (words, element) => make("tr", {}, make("th", { scope: "row" }, words), make("td", { class: "arithmetic" }, element));

function showEpsilon(panel) {
  const { boxes, x } = now.stage, of = boxes[x], norm = normNow(), id = norm.ids[chosenIn(of)];
  const key = `${state.scene} ${id}`, base = isSqueezed(key) ? squeeze.base : now.values[of.v];
  sliderElement(panel, key, isSqueezed(key) ? squeeze.by : 0, id);
  const here = { var: norm.var[id], dx: largestOf(now.values[of.g].filter((_, i) => norm.ids[i] === id)) };
  const r = norm.r[id], deviation = Math.sqrt(here.var + norm.eps), letter = norm.hasMean ? "σ²" : "mean x²";
  const said = Number.isFinite(r) ? ["As ", formula(letter), " goes to 0, ", formula("ε"), " keeps ", formula("r = 1/√(σ² + ε)".replace("σ²", letter)), " finite, and with it the gradient. "]
    : [formula(`ε and ${letter}`), " are both 0: ", formula("r"), " is 1/0, and the gradient is not a number. "];
  panel.querySelector("h2").replaceChildren(...said, cellTag(of));
  panel.querySelector(".here").replaceChildren(make("table", { class: "checks" },
    numbersRow([formula(letter)], line([], null, here.var)),
    numbersRow([formula("r")], line([], ["rsqrt", ["add", here.var, { exact: norm.eps }]], r)),
    numbersRow(["largest ", formula("|dx|")], line([], null, here.dx)),
    numbersRow([formula("1/√ε"), ", the largest possible ", formula("r")], line([], null, norm.eps > 0 ? norm.eps ** -0.5 : Infinity))));
  panel.querySelector(".plotted").replaceChildren(plot(steepness(base, id), here, norm));
  panel.querySelector(".slopes").replaceChildren(
    make("div", { class: "caption" }, "The derivative at the variance, ", formula(`v = ${letter} + ε`), ", in two ways"),
    make("table", { class: "checks" },
      numbersRow(["in one step: ", formula("r = 1/√v")], line(["∂r/∂v = −½ r³"], ["multiply", { exact: -0.5 }, ["power", r, { exact: 3 }]], -0.5 * r ** 3)),
      numbersRow(["first ", formula("s = √v")], line(["∂s/∂v = 1/(2s)"], ["divide", { exact: 1 }, ["multiply", { exact: 2 }, deviation]], 0.5 / deviation)),
      numbersRow(["then ", formula("r = 1/s")], line(["∂r/∂s = −1/s²"], ["divide", { exact: -1 }, ["square", deviation]], -1 / deviation ** 2)),
      numbersRow(["together"], line(["∂s/∂v · ∂r/∂s"], ["multiply", 0.5 / deviation, -1 / deviation ** 2], -0.5 * r ** 3))));
}

panels.push({ key: "epsilon", title: "ε, √", show: showEpsilon, isThere: () => isNorm() && now.scene.shares.ids.length > unitCount(now.scene.shares.ids) });
