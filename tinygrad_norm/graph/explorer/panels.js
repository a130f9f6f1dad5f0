"use strict";
// The area below the graph: the step, or a panel with another view of the same numbers.

/** A panel: `key` in the address, `title` on its button, `isThere` tells whether the scene has it, `show` fills an element.
 * If it `walks`, the graph shows the current step, and Back and Next stay in the panel, unless it `leaves` for the step.
 * `button: false` means no button below the graph. `address` and `read` keep the panel's state in the address. */
const panels = [{ key: "step", title: "Step", isThere: () => true, show: showStep, walks: true }];

const panelNow = () => panels.find((panel) => panel.key === state.part);

const panelElement = () => get(state.part === "step" ? "step" : "panel");

function openPart(key) {
  leavePanel();
  state.part = key;
  writeHash();
  redraw("part");
}

function showPanel() {
  if (!panelNow() || !panelNow().isThere()) state.part = "step";
  const isStep = state.part === "step";
  get("step").hidden = !isStep;
  get("panel").hidden = isStep;
  get("panel").setAttribute("aria-label", panelNow().title);
  get("panel").dataset.panel = state.part;
  get("panel").classList.remove("back");
  for (const button of get("parts").children) {
    const panel = panels.find(({ key }) => key === button.dataset.part);
    button.hidden = !panel.isThere();
    button.setAttribute("aria-pressed", String(panel.key === state.part));
  }
  panelNow().show(panelElement());
}

function connectPanels() {
  get("parts").append(...panels.filter((panel) => panel.button !== false).map(({ key, title }) => make("button", { type: "button", "data-part": key, onclick: () => openPart(key) }, title)));
}

/** Fill an element in the first of several ways that fits. An element that scrolls can be overfull. */
function fitInto(element, ways, build) {
  const scrolls = getComputedStyle(element).overflowY === "auto";
  for (const way of ways) {
    element.replaceChildren(...build(way).filter(Boolean));
    const lines = [...element.querySelectorAll(".line")];
    if ((scrolls || element.scrollHeight <= element.clientHeight + 1) && lines.every((line) => line.scrollWidth <= line.clientWidth + 1)) return;
  }
}

/** The number of units that share a statistic. `ids` has the unit of each cell. */
const unitCount = (ids) => Math.max(...ids) + 1;

/** The sums of numbers over each unit. `ids` has the unit of each number. */
function sumsBy(ids, values) {
  const sums = new Float64Array(unitCount(ids));
  ids.forEach((id, i) => { sums[id] += values[i]; });
  return sums;
}

/** Whether the scene is a norm of x with known parts. */
const isNorm = () => Boolean(now.stage.norm && now.scene.shares && now.program.live);

/** A text about the variance, or about the mean square for a norm without mean. */
const ofSpread = (text) => (now.stage.norm.mean === undefined ? text.replaceAll("σ²", "mean x²") : text);

/** The parts of a norm: x̂ and its gradient by cell, statistics by unit, or null for other functions. */
function normNow() {
  const { norm, boxes, epsilons } = now.stage, { shares } = now.scene;
  if (!isNorm()) return null;
  const { ids } = shares, count = ids.length / unitCount(ids);
  const values = (box) => now.values[boxes[box].v];
  const eps = epsilons.length ? now.values[epsilons[0]][0] : 0;
  const [xHat, slope] = [values(norm.xHat), now.values[boxes[norm.xHat].g]];
  const r = Float64Array.from(values(norm.var), (v) => 1 / Math.sqrt(v + eps));
  const mean = (of) => sumsBy(ids, of).map((sum) => sum / count);
  return {
    ids, count, eps, xHat, slope, r, var: values(norm.var), hasMean: norm.mean !== undefined,
    meanSlope: mean(slope), meanAlong: mean(slope.map((g, i) => g * xHat[i])),
  };
}
