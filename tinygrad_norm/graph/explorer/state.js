"use strict";
// The state: the scene, the step, the chosen cell and the changed numbers. Views read it and redraw.

const state = { scene: 0, step: 0, cell: [], pin: null, part: "step", without: new Set(), ofGradient: false, changes: new Map(), past: [] };
// Derived from the state: the parts of the scene, its steps, and the values of every vertex, now and before changes.
const now = { scene: null, stage: null, program: null, steps: [], values: [], before: [], reference: null };
const views = [];

const redraw = (what) => views.forEach((view) => view(what));

function stepsOf(stage) {
  const forward = stage.boxes.flatMap((box, i) => (box.made ? [{ kind: "forward", box: i }] : []));
  const backward = stage.links.flatMap((link, i) => (link.before === undefined ? [] : [{ kind: "backward", link: i, box: link.s }]));
  return [{ kind: "given", box: stage.x }, ...forward, { kind: "seed", box: stage.y }, ...backward];
}

/** The scene's original numbers, for the evaluator. */
const givenBy = (scene) => new Map(scene.given.map(([vertex, values]) => [vertex, Float64Array.from(values, Number)]));

function compute() {
  now.values = Evaluator.evaluate(now.program, new Map([...givenBy(now.scene), ...state.changes]));
}

function openScene(index) {
  state.scene = index;
  now.scene = data.scenes[index];
  now.stage = data.stages[now.scene.stage];
  now.program = data.programs[now.scene.program];
  now.steps = stepsOf(now.stage);
  state.changes = new Map();
  state.past = [];
  state.without = new Set();
  compute();
  now.before = now.values;
  state.pin = null;
  const { boxes, x, y } = now.stage;
  now.reference = product(boxes[y].shape) > 1 ? boxes[y] : boxes[x];
  state.cell = clipped(state.cell, now.reference.shape);
  state.step = Math.min(state.step, now.steps.length - 1);
}

/** An index clipped to a shape. Missing coordinates become 0. */
function clipped(cell, shape) {
  return shape.map((size, axis) => Math.max(0, Math.min(size - 1, Math.floor(cell[axis]) || 0)));
}

function go(step) {
  state.step = Math.max(0, Math.min(now.steps.length - 1, step));
  leavePanel();
  writeHash();
  redraw("step");
}

/** Return to the step from a panel in which Back, Next and the menu of scenes do not stay. */
function leavePanel(panel = panelNow()) {
  if (panel && panel.leaves) reset(); // discard the changes of a question
  if (!panel || !panel.walks || panel.leaves) state.part = "step";
}

/** Choose a cell of the reference. `pin` is a cell of another box, if it does not follow from the first. */
function pick(cell, ofGradient = false, pin = null) {
  state.cell = clipped(cell, now.reference.shape);
  state.pin = pin;
  state.ofGradient = ofGradient;
  writeHash();
  redraw("cell");
}

function chooseScene(index, step = state.step === now.steps.length - 1 ? Infinity : state.step) {
  const kept = changesThatFit(index);
  openScene(index);
  if (kept.size) {
    state.changes = kept;
    compute();
  }
  state.step = Math.min(step, now.steps.length - 1);
  if (panelNow().leaves) leavePanel();
  writeHash();
  redraw("scene");
}

/** The changes that also apply to another scene, because it has the same original numbers. */
function changesThatFit(index) {
  const scene = data.scenes[index], stage = data.stages[scene.stage], kept = new Map();
  const ends = ({ boxes, inputs, cotangent, epsilons }) => [...inputs.map((i) => [boxes[i].name, boxes[i].v]), ["∂L/∂y", cotangent], ...epsilons.map((v) => ["ε", v])];
  const there = new Map(ends(stage)), given = [givenBy(now.scene), givenBy(scene)];
  for (const [name, vertex] of ends(now.stage)) {
    const other = there.get(name);
    if (other === undefined || !state.changes.has(vertex) || !data.programs[scene.program].live) continue;
    const isSame = name === "ε" || String(given[0].get(vertex)) === String(given[1].get(other));
    if (isSame) for (const [each, v] of ends(stage)) if (each === name) kept.set(v, state.changes.get(vertex));
  }
  return kept;
}

// The address contains the state, so that one can link to it.

function writeHash() {
  const parts = [`scene=${encodeURIComponent(now.scene.key)}`, `step=${state.step + 1}`, `cell=${state.cell.join(",")}`];
  if (state.pin) parts.push(`in=${state.pin.box}:${state.pin.cell.join(",")}`);
  if (state.part !== "step") parts.push(`part=${encodeURIComponent(state.part)}`);
  if (state.without.size) parts.push(`without=${[...state.without].map((i) => i + 1).join(",")}`);
  const hash = `#${[...parts, ...(panelNow()?.address?.() ?? [])].join("&")}`;
  // In a notebook's frame the address cannot be changed.
  try { history.replaceState(null, "", hash); } catch { /* ignore */ }
}

/** Read a state: scene, step, cell and part; `without` some routes; with changes `add`, `times` (to the column or `to`), `eps`. */
function readHash(hash = location.hash) {
  const asked = new URLSearchParams(hash.slice(1));
  const scene = data.scenes.findIndex((each) => each.key === asked.get("scene"));
  if (asked.has("cell")) state.cell = asked.get("cell").split(",").map(Number);
  if (asked.has("step")) state.step = Math.max(0, (parseInt(asked.get("step"), 10) || 1) - 1);
  state.part = asked.get("part") || "step";
  const index = scene < 0 ? state.scene : scene;
  if (now.scene !== data.scenes[index]) openScene(index);
  const [box, pinned] = (asked.get("in") || "").split(":");
  state.pin = pinned === undefined ? null : { box: Number(box), cell: pinned.split(",").map(Number) };
  state.cell = clipped(state.cell, now.reference.shape);
  state.step = Math.min(state.step, now.steps.length - 1);
  state.without = new Set((asked.get("without") || "").split(",").map((i) => parseInt(i, 10) - 1).filter((i) => i >= 0 && i < now.stage.routes.length));
  for (const panel of panels) panel.read?.(asked);
  changeAsAsked(asked);
}

/** The cells of x that an address changes: the column of the chosen cell, all that share its statistic, or itself. */
function cellsTo(which) {
  const box = now.stage.boxes[now.stage.x], chosen = chosenIn(box), { shares } = now.scene;
  if (which === "cell") return [chosen];
  return which === "unit" && shares ? [...shares.ids.keys()].filter((i) => shares.ids[i] === shares.ids[chosen]) : columnOf(box).cells;
}

/** Change the scene's original numbers according to an address, as a single change to undo. */
function changeAsAsked(asked) {
  const number = (key) => (asked.get(key) && now.program.live ? Number(asked.get(key)) : NaN);
  const [add, times, eps] = ["add", "times", "eps"].map(number), { boxes, x, epsilons } = now.stage;
  if (![add, times, eps].some(Number.isFinite)) return;
  const values = Float64Array.from(givenBy(now.scene).get(boxes[x].v));
  for (const i of cellsTo(asked.get("to"))) values[i] = Number(((values[i] + (add || 0)) * (Number.isFinite(times) ? times : 1)).toPrecision(12));
  state.past.push(state.changes);
  state.changes = new Map(Number.isFinite(add) || Number.isFinite(times) ? [[boxes[x].v, values]] : []);
  if (eps >= 0) for (const vertex of epsilons) state.changes.set(vertex, Float64Array.of(eps));
  compute();
}

/** Go to a state, like a link to it. */
function goTo(hash) {
  readHash(hash);
  writeHash();
  redraw("scene");
}

// Changes of numbers, with a history for undo.

function change(vertex, values) {
  state.past.push(new Map(state.changes));
  state.changes.set(vertex, Float64Array.from(values));
  compute();
  redraw("values");
}

function undo() {
  state.changes = state.past.pop() || new Map();
  compute();
  redraw("values");
}

function reset() {
  if (!state.changes.size) return;
  state.past.push(state.changes);
  state.changes = new Map();
  compute();
  redraw("values");
}

/** The last step that the graph shows: all steps if the panel is not about steps. */
const stepShown = () => (panelNow().walks ? state.step : now.steps.length - 1);

/** The gradient that has arrived at each box up to the current step: a map from boxes to vertices. */
function arrived() {
  const found = new Map();
  now.steps.slice(0, stepShown() + 1).forEach((step) => {
    if (step.kind === "seed") {
      found.set(step.box, now.stage.cotangent);
      // Unused inputs have gradient zero from the start.
      now.stage.boxes.forEach((box, i) => {
        if (box.g !== undefined && i !== step.box && !now.stage.links.some((link) => link.s === i)) found.set(i, box.g);
      });
    }
    if (step.kind === "backward") found.set(step.box, now.stage.links[step.link].sum);
  });
  return found;
}

/** Evaluate with other values at some vertices, and return the values of one vertex. */
function evaluated(vertex, replaced) {
  return Evaluator.evaluate(now.program, new Map([...givenBy(now.scene), ...state.changes, ...replaced]))[vertex];
}
