"use strict";
// The routes from y back to x as a sum: the contribution of each, its term of the closed form, and the error without it.

const NAMED = ["numerator", "through μ", "through σ²", "through σ², μ"];
const TERMS = ["dx̂ · r", "−mean(dx̂) · r", "−x̂ · mean(dx̂ · x̂) · r", "0"];
const ALGEBRA = [
  ["dx", "dx̂ · r − Σ dx̂ · r / n + (x−μ) · 2/n · Σ dx̂ · (x−μ) · (−½ r³)", "read off the graph"],
  ["", "dx̂ · r − mean(dx̂) · r − (x−μ) · r · mean(dx̂ · (x−μ) · r) · r", "Σ/n = mean"],
  ["", "(dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂)) · r", "(x−μ) · r = x̂"],
];
const ALGEBRA_WITHOUT_MEAN = [
  ["dx", "dx̂ · r + x · 2/n · Σ dx̂ · x · (−½ r³)", "read off the graph"],
  ["", "dx̂ · r − x · r · mean(dx̂ · x · r) · r", "Σ/n = mean"],
  ["", "(dx̂ − x̂ · mean(dx̂ · x̂)) · r", "x · r = x̂"],
];

/** The contribution of a route to dx: the cotangent passed through the rules of its edges. */
function carriedBy(route) {
  const { boxes, links, cotangent } = now.stage;
  const carried = route.links.reduce((g, i) => evaluated(links[i].after, [[boxes[links[i].t].g, g]]), now.values[cotangent]);
  // Numbers that should cancel are rounding error.
  const least = 1e-14 * largestOf(now.values[boxes[links[route.links[route.links.length - 1]].s].g]);
  return carried.map((value) => (Math.abs(value) < least ? 0 : value));
}

const isKept = (i) => !state.without.has(i);

function keep(i, kept) {
  if (kept) state.without.delete(i); else state.without.add(i);
  writeHash();
  redraw("part");
  get("panel").querySelector(`[data-route="${i}"] input`)?.focus();
}

/** The term of the closed form at one cell of x, as arithmetic. */
function termAt(norm, term, cell) {
  const id = norm.ids[cell], r = norm.r[id];
  if (term === 0) return ["multiply", norm.slope[cell], r];
  if (term === 1) return ["multiply", ["negative", norm.meanSlope[id]], r];
  if (term === 2) return ["multiply", ["multiply", ["negative", norm.xHat[cell]], norm.meanAlong[id]], r];
  return null;
}

/** Highlight a route's edges and boxes in the graph, or none for null. */
function lightRoute(route) {
  const { links } = now.stage;
  const lit = new Set(route ? route.links : []);
  const boxes = new Set([...lit].flatMap((i) => [links[i].s, links[i].t]));
  get("boxes").classList.toggle("lighting", route !== null);
  fillStage();
  shownCurves.forEach((curve, i) => {
    if (!lit.has(i)) return;
    curve.classList.add("lit");
    curve.setAttribute("marker-end", "");
    curve.setAttribute("marker-start", "url(#head-back)");
    curve.parentNode.append(curve);
  });
  shownBoxes.forEach((box, i) => box.element.classList.toggle("lit", boxes.has(i)));
}

const nameOf = (route, i) => (route.term === undefined ? `route ${i + 1}` : ofSpread(NAMED[route.term]));

function routeElement(route, i, values, density, top) {
  const of = now.stage.boxes[now.stage.x];
  const box = make("input", { type: "checkbox", checked: isKept(i), onchange: (event) => keep(i, event.target.checked) });
  const caption = make("label", { title: route.stations.join(" → ") }, now.stage.routes.length > 1 ? [box, " "] : null, nameOf(route, i));
  const element = termElement({ caption, name: nameOf(route, i), box: of, gradient: true, values, shape: of.shape, top, chosen: chosenIn(of) }, density);
  if (route.term !== undefined) element.append(make("div", { class: "caption" }, formula(TERMS[route.term])));
  element.dataset.route = i;
  element.classList.toggle("left-out", !isKept(i));
  for (const event of ["pointerenter", "focusin"]) element.addEventListener(event, () => lightRoute(route));
  for (const event of ["pointerleave", "focusout"]) element.addEventListener(event, () => lightRoute(null));
  return element;
}

/** The relative error of the kept routes, and the cell of the largest error. */
function missing(kept, whole) {
  const length = (values) => Math.hypot(...values);
  const difference = whole.map((value, i) => kept[i] - value);
  const worst = difference.reduce((best, d, i) => (Math.abs(d) > Math.abs(difference[best]) ? i : best), 0);
  return { share: length(difference) / length(whole), worst };
}

function showRoutes(panel) {
  const { boxes, x, y, routes } = now.stage;
  const of = boxes[x], cell = chosenIn(of), whole = now.values[of.g];
  const carried = routes.map(carriedBy), norm = normNow();
  const kept = whole.map((_, at) => carried.reduce((sum, values, i) => sum + (isKept(i) ? values[at] : 0), 0));
  const all = routes.every((_, i) => isKept(i));
  const top = Math.max(largestOf(whole), ...carried.map(largestOf));
  // If room is short, the algebra is omitted first, then the terms of the cell, then the digits in the matrices.
  const sizes = ["dense", "tight", "colour", "tiny"];
  const ways = phone.matches ? ["dense", "colour", "tiny"].map((density) => [density, true, true])
    : [["dense", true, true], ["dense", true, false], ["tight", true, true], ["dense", false, true], ...sizes.map((density) => [density, false, false])];
  const count = ["One route leads", "Two routes lead", "Three routes lead", "Four routes lead"][routes.length - 1] || `${routes.length} routes lead`;
  const title = make("h2", {}, make("b", { class: "backward" }, `${count} `), "from ", formula(boxes[y].name), " back to ", formula(of.name),
    routes.length > 1 ? `; their contributions are added. ${phone.matches ? "Touch" : "Point at"} one to see it in the graph. Switch one off to see its effect.` : ", with the whole gradient.");
  const terms = norm ? routes.flatMap((route, i) => (route.term < 3 && isKept(i) ? [line([TERMS[route.term]], termAt(norm, route.term, cell), carried[i][cell])] : [])) : [];
  const said = (isLong) => make("div", { class: "arithmetic" }, cellTag(of), isLong ? terms.map((term) => term.cloneNode(true)) : null,
    line([of.slope], routes.length > 1 ? ["sum", ...carried.map((values, i) => (isKept(i) ? values[cell] : 0))] : null, kept[cell]),
    all ? null : missingElement(of, kept, whole));
  panel.classList.add("back");
  fitInto(panel, ways, ([density, algebra, isLong]) => {
    const sum = routes.flatMap((route, i) => [...(i ? [termElement({ sign: "+" }, density)] : []), routeElement(route, i, carried[i], density, top)]);
    sum.push(termElement({ sign: "=" }, density), termElement({ caption: all ? formula(of.slope) : "what is left", name: of.slope, values: kept, shape: of.shape, top, chosen: cell, gradient: true }, density));
    return [title, make("div", { class: "row" }, make("div", { class: "line", "data-density": density }, sum), !phone.matches && algebra && norm && algebraElement(norm)), said(isLong), phone.matches && norm && algebraElement(norm)];
  });
}

function missingElement(of, kept, whole) {
  const { share, worst } = missing(kept, whole);
  if (!(share > 1e-12)) return make("span", { class: "part changed" }, "no difference");
  const index = indexOf(of.shape, worst).join(",");
  return make("span", { class: "part changed" }, make("b", {}, `wrong by ${Math.round(100 * share)} %`), ` of the length of `, formula(of.slope),
    `; largest error at [${index}]: ${result(kept[worst])} instead of ${result(whole[worst])}`);
}

function algebraElement(norm) {
  const lines = norm.hasMean ? ALGEBRA : ALGEBRA_WITHOUT_MEAN;
  return make("div", { class: "side algebra" }, make("div", { class: "caption" }, "From the graph to the closed form, with ", formula("dx̂ = ∂L/∂x̂")),
    make("table", {}, lines.map(([left, right, why]) => make("tr", {}, make("td", {}, formula(left)), make("td", {}, "= ", formula(right)), make("td", { class: "why" }, why)))));
}

panels.push({
  key: "routes", title: "Routes", show: showRoutes,
  isThere: () => now.program.live && now.stage.routes.length > 0 && now.stage.routes.length <= 8 && now.stage.boxes[now.stage.x].g !== undefined,
});
