"use strict";
// What holds, and why: sums of the gradient, the closed form, and the gradient beside what nudging each number gives.

/** The slope of L in each cell of an input, by central differences: no rule of the gradient is used. */
function byNudging(box) {
  const { boxes, y, cotangent } = now.stage, g = now.values[cotangent];
  return byDifferences(box, boxes[y].v, (found) => found.reduce((sum, v, k) => sum + v * g[k], 0));
}

const NO_NUMBER = "ε and the variance are both 0: r is 1/0";
const worst = (values) => (values.every(Number.isFinite) ? largestOf(values) : NaN);
const largestDifference = (a, b) => a.reduce((most, value, i) => (Math.abs(value - b[i]) <= most ? most : Math.abs(value - b[i])), 0);

/** A check: what is looked at, the arithmetic of the chosen unit, what it comes to elsewhere, and why. */
function sumsCheck(dx, ids, id, isComputed) {
  const of = now.stage.boxes[now.stage.x];
  const terms = [...dx].filter((_, i) => ids[i] === id);
  const sums = sumsBy(ids, dx);
  const why = isComputed
    ? "0: a constant added to all that share a mean moves the mean along, and y stays"
    : "not 0: a constant added to all of them moves y, because the statistics are given and stay";
  return [`Σ ${of.slope}`, line([], ["sum", ...terms], sums[id]), `largest sum: ${shown(worst(sums))}`, terms.every(Number.isFinite) ? why : NO_NUMBER];
}

function scaleCheck(dx, norm, id) {
  const { ids, xHat, r, eps, meanAlong, count } = norm, of = now.stage.boxes[now.stage.x];
  const along = sumsBy(ids, dx.map((g, i) => g * xHat[i]));
  const formulaText = "ε · r³ · Σ dx̂ · x̂";
  const expected = ["multiply", ["multiply", eps, ["power", r[id], { exact: 3 }]], count * meanAlong[id]];
  const size = largestOf(dx.map((g, i) => g * xHat[i]));
  const why = !Number.isFinite(along[id]) ? NO_NUMBER : Math.abs(along[id]) <= 1e-3 * size
    ? "nearly 0: a factor for all that share a variance is divided out again, but for ε" : "not 0: ε is not small beside the variance, so a factor is not quite divided out";
  return [`Σ ${of.slope} · x̂ = ${formulaText}`, line([], expected, calculatedExactly(expected)), `added up: ${shown(along[id])}`, why];
}

function varianceCheck(norm, id) {
  const { ids, xHat, r, count } = norm;
  const squares = sumsBy(ids, xHat.map((a) => a * a)).map((sum) => sum / count);
  return ["mean(x̂²) = σ² · r²", line([], ["multiply", norm.var[id], ["square", r[id]]], squares[id]), `of all: ${shown(Math.min(...squares))} to ${shown(Math.max(...squares))}`,
    !Number.isFinite(squares[id]) ? NO_NUMBER : squares[id] > 0.99 ? "nearly 1: σ² / (σ² + ε)" : norm.var[id] === 0 ? "0: all values that share the variance are equal" : "σ² / (σ² + ε): ε is not small beside σ²"];
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
  return [[formula(box.slope), " by nudging"], line([], null, nudged[cell]), `differs by ${shown(largestDifference(nudged, now.values[box.g]))}`,
    !nudged.every(Number.isFinite) || !now.values[box.g].every(Number.isFinite) ? NO_NUMBER : `each number of ${box.name} moved a little up and down: no rule of the gradient is used`];
}

const calculatedExactly = (expression) => (Array.isArray(expression) ? calculate(expression[0])(...expression.slice(1).map(calculatedExactly)) : typeof expression === "object" ? expression.exact : expression);

/** Whether dx is added up over what shares a statistic, or would if it were not given. */
function hasSums() {
  const { boxes, x } = now.stage, { shares } = now.scene;
  return Boolean(shares) && boxes[x].g !== undefined && (isNorm() || !shares.kind);
}

/** The inputs whose numbers are nudged: of a norm x alone; none that is too large. */
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
    make("h2", {}, "What holds, for the numbers that are shown. ", cellTag(of)),
    make("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": "Table of checks" }, make("table", { class: "checks" }, rows)));
}

panels.push({ key: "checks", title: "Checks", show: showChecks, isThere: () => now.program.live && (hasSums() || nudgedInputs().length > 0) });
