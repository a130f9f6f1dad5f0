"use strict";
// Checks and their reasons: sums of the gradient, the closed form, and finite differences.

/** The derivative of L with respect to each cell of an input, by central differences, without any gradient rule. */
function byNudging(box) {
  const { boxes, y, cotangent } = now.stage, g = now.values[cotangent];
  return byDifferences(box, boxes[y].v, (found) => found.reduce((sum, v, k) => sum + v * g[k], 0));
}

const NO_NUMBER = "ε and the variance are both 0: r is 1/0";
const worst = (values) => (values.every(Number.isFinite) ? largestOf(values) : NaN);
const largestDifference = (a, b) => a.reduce((most, value, i) => (Math.abs(value - b[i]) <= most ? most : Math.abs(value - b[i])), 0);

/** A check: its formula, the arithmetic for the chosen unit, the result for all units, and the reason. */
function sumsCheck(dx, ids, id, isComputed) {
  const of = now.stage.boxes[now.stage.x];
  const terms = [...dx].filter((_, i) => ids[i] === id);
  const sums = sumsBy(ids, dx);
  const why = isComputed
    ? "0: adding a constant to all values that share a mean does not change y"
    : "not 0: adding a constant to all of them changes y, because the statistics are given";
  return [`Σ ${of.slope}`, line([], ["sum", ...terms], sums[id]), `largest sum: ${shown(worst(sums))}`, terms.every(Number.isFinite) ? why : NO_NUMBER];
}

function scaleCheck(dx, norm, id) {
  const { ids, xHat, r, eps, meanAlong, count } = norm, of = now.stage.boxes[now.stage.x];
  const along = sumsBy(ids, dx.map((g, i) => g * xHat[i]));
  const formulaText = "ε · r³ · Σ dx̂ · x̂";
  const expected = ["multiply", ["multiply", eps, ["power", r[id], { exact: 3 }]], count * meanAlong[id]];
  const size = largestOf(dx.map((g, i) => g * xHat[i]));
  const why = !Number.isFinite(along[id]) ? NO_NUMBER : Math.abs(along[id]) <= 1e-3 * size
    ? "nearly 0: scaling all values that share a variance does not change y, except for ε" : "not 0: ε is not small compared to the variance, so scaling changes y";
  return [`Σ ${of.slope} · x̂ = ${formulaText}`, line([], expected, calculatedExactly(expected)), `direct sum: ${shown(along[id])}`, why];
}

function varianceCheck(norm, id) {
  const { ids, xHat, r, count } = norm;
  const squares = sumsBy(ids, xHat.map((a) => a * a)).map((sum) => sum / count);
  return [ofSpread("mean(x̂²) = σ² · r²"), line([], ["multiply", norm.var[id], ["square", r[id]]], squares[id]), `range: ${shown(Math.min(...squares))} to ${shown(Math.max(...squares))}`,
    !Number.isFinite(squares[id]) ? NO_NUMBER : ofSpread(squares[id] > 0.99 ? "nearly 1: σ² / (σ² + ε)" : norm.var[id] === 0 ? (norm.hasMean ? "0: all values that share the variance are equal" : "0: all values are 0") : "σ² / (σ² + ε): ε is not small compared to σ²")];
}

function closedFormCheck(dx, norm, cell) {
  const terms = norm.hasMean ? [0, 1, 2] : [0, 2];
  const closed = dx.map((_, i) => terms.reduce((sum, term) => sum + calculatedExactly(termAt(norm, term, i)), 0));
  const id = norm.ids[cell], of = now.stage.boxes[now.stage.x];
  const inside = norm.hasMean ? ["subtract", norm.slope[cell], norm.meanSlope[id]] : norm.slope[cell];
  const expression = ["multiply", ["subtract", inside, ["multiply", norm.xHat[cell], norm.meanAlong[id]]], norm.r[id]];
  const text = norm.hasMean ? "(dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂)) · r" : "(dx̂ − x̂ · mean(dx̂ · x̂)) · r";
  return [`${of.slope} = ${text}`, line([], expression, closed[cell]), `differs by ${shown(largestDifference(closed, dx))}`, "the same sum, rearranged: see Routes"];
}

function nudgingCheck(box, cell) {
  const nudged = byNudging(box);
  return [[formula(box.slope), " by finite differences"], line([], null, nudged[cell]), `differs by ${shown(largestDifference(nudged, now.values[box.g]))}`,
    !nudged.every(Number.isFinite) || !now.values[box.g].every(Number.isFinite) ? NO_NUMBER : `each number of ${box.name} is changed a little up and down; no gradient rule is used`];
}

const calculatedExactly = (expression) => (Array.isArray(expression) ? calculate(expression[0])(...expression.slice(1).map(calculatedExactly)) : typeof expression === "object" ? expression.exact : expression);

/** Whether there are sums of dx over cells that share a statistic, or would share it if it were not given. */
function hasSums() {
  const { boxes, x } = now.stage, { shares } = now.scene;
  return Boolean(shares) && boxes[x].g !== undefined && (isNorm() || !shares.kind);
}

/** The inputs for finite differences: only x for a norm, and no large ones. */
function nudgedInputs() {
  const { boxes, x, inputs } = now.stage;
  return (isNorm() ? [x] : inputs).map((i) => boxes[i]).filter((box) => box.g !== undefined && product(box.shape) <= MOST_EXAMINED);
}

function checksNow() {
  const { boxes, x } = now.stage, of = boxes[x], cell = chosenIn(of), { shares } = now.scene;
  const norm = normNow(), rows = [];
  if (hasSums()) {
    const dx = now.values[of.g], id = shares.ids[cell];
    if (!norm || norm.hasMean) rows.push(sumsCheck(dx, shares.ids, id, norm !== null));
    if (norm) rows.push(scaleCheck(dx, norm, id), varianceCheck(norm, id), closedFormCheck(dx, norm, cell));
  }
  return [...rows, ...nudgedInputs().map((box) => nudgingCheck(box, chosenIn(box)))];
}

function showChecks(panel) {
  const of = now.stage.boxes[now.stage.x];
  const rows = checksNow().map(([what, here, elsewhere, why]) => make("tr", {}, make("th", { scope: "row" }, Array.isArray(what) ? what : formula(what)), make("td", { class: "arithmetic" }, here), make("td", {}, elsewhere), make("td", { class: "why" }, why)));
  panel.replaceChildren(
    make("h2", {}, "Identities, checked for the numbers shown. ", cellTag(of)),
    make("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": "Table of checks" }, make("table", { class: "checks" }, rows)));
}

panels.push({ key: "checks", title: "Checks", show: showChecks, isThere: () => now.program.live && (hasSums() || nudgedInputs().length > 0) });
