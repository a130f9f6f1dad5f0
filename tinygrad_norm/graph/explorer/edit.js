"use strict";
// Choosing cells and changing numbers: by pointer, by keyboard, and for a whole column at once.

/** The matrix and the box that a cell belongs to, and its index. */
function about(cell) {
  const grid = cell.closest(".matrix");
  const box = cell.closest("[data-box]");
  const index = cell.dataset.cell.split(",").map(Number).slice(0, grid.about.shape.length);
  const named = (each) => each.name === grid.about.name || each.slope === grid.about.name;
  const found = box ? now.stage.boxes[Number(box.dataset.box)] : grid.about.box || now.stage.boxes.find(named);
  return { grid, index, ...grid.about, box: found };
}

function choose(cell) {
  const { box, index, gradient } = about(cell);
  if (box) pickIn(box, index, gradient);
}

function setCell(vertex, flat, value) {
  const values = Float64Array.from(now.values[vertex]);
  if (!Number.isFinite(value) || values[flat] === value) return;
  values[flat] = value;
  change(vertex, values);
}

const numberIn = (text) => Number(text.trim().replace("−", "-").replace(",", "."));

/** Type a number into a cell. Enter keeps it, Escape discards it. */
function typeInto(cell, start = null) {
  const { edit, index, shape, name } = about(cell);
  if (edit === undefined || !now.program.live) return;
  const flat = flatOf(shape, index);
  const place = cell.getBoundingClientRect();
  const input = make("input", { id: "typing", inputmode: "decimal", autocomplete: "off", "aria-label": `${name} [${index.join(", ")}]` });
  input.value = start ?? String(Number(now.values[edit][flat].toPrecision(12)));
  const width = Math.max(64, place.width + 8);
  input.style.cssText = `left:${Math.min(place.left - 4, innerWidth - width - 4)}px;top:${place.top - 4}px;width:${width}px;height:${Math.max(26, place.height + 8)}px`;
  const address = addressOf(cell);
  let done = false;
  const close = (keep) => {
    if (done) return;
    done = true;
    const value = numberIn(input.value);
    input.remove();
    if (keep && input.value.trim() !== "") setCell(edit, flat, value);
    focusAt(address);
  };
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && !Number.isFinite(numberIn(input.value))) {
      input.setAttribute("aria-invalid", "true");
      get("status").textContent = `${input.value} is not a number.`;
      return;
    }
    if (event.key === "Enter" || event.key === "Tab") { event.preventDefault(); close(true); }
    if (event.key === "Escape") { event.preventDefault(); close(false); }
  });
  input.addEventListener("blur", () => close(true));
  document.body.append(input);
  input.focus();
  if (start === null) input.select();
}

// The address by which a cell is found again after a redraw.
function addressOf(cell) {
  const grid = cell.closest(".matrix");
  const part = grid.closest("[data-box], #step, #panel");
  return { box: part.dataset.box, below: part.id, which: [...part.querySelectorAll(".matrix")].indexOf(grid), cell: cell.dataset.cell };
}

function focusAt({ box, below, which, cell }) {
  const part = box === undefined ? get(below) : get("boxes").querySelector(`[data-box="${box}"]`);
  const grid = part.querySelectorAll(".matrix")[which];
  const found = grid && [...grid.querySelectorAll("[data-cell]")].find((each) => each.dataset.cell === cell);
  if (found) focusCell(found);
}

function focusCell(cell) {
  for (const other of cell.closest(".matrix").querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  cell.tabIndex = 0;
  cell.focus({ preventScroll: true });
}

function moveInGrid(cell, key) {
  const rows = [...cell.closest(".matrix").children].map((row) => [...row.children]);
  const row = rows.findIndex((cells) => cells.includes(cell));
  const column = rows[row].indexOf(cell);
  const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
  const next = (rows[row + down] || [])[column + right];
  if (next) focusCell(next);
  else if (cell.closest(".matrix").about.seen) chooseBeyond(cell, down, right);
}

/** At the end of the shown part of an array, choose the next cell, and the part follows. */
function chooseBeyond(cell, down, right) {
  const { box, index, shape, gradient } = about(cell);
  const axes = axesOf(shape)[down ? 0 : 1], places = placesOf(shape, axes);
  const place = places[places.findIndex((each) => axes.every((axis, i) => each[i] === index[axis])) + (down || right)];
  if (!box || !place) return;
  const address = addressOf(cell), next = index.map((at, axis) => (axes.includes(axis) ? place[axes.indexOf(axis)] : at));
  pickIn(box, next, gradient);
  focusAt({ ...address, cell: next.join(",") });
}

function cellKeys(event) {
  const cell = event.target.closest && event.target.closest(".matrix [data-cell]");
  if (!cell || event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.key.startsWith("Arrow")) moveInGrid(cell, event.key);
  else if (event.key === " ") { const address = addressOf(cell); choose(cell); focusAt(address); }
  else if (event.key === "Enter" || event.key === "F2") { const address = addressOf(cell); choose(cell); focusAt(address); typeInto(document.activeElement); }
  else if (/^[-−.\d]$/.test(event.key)) typeInto(cell, event.key);
  else return false;
  event.preventDefault();
  return true;
}

// Dragging a number up or down changes it by a tenth for every four pixels.
const drag = { cell: null };

function startDrag(event) {
  const cell = event.target.closest && event.target.closest(".matrix [data-cell]");
  if (!cell || event.button || !now.program.live) return;
  const { edit, index, shape } = about(cell);
  if (edit === undefined) return;
  const flat = flatOf(shape, index);
  Object.assign(drag, { cell, edit, flat, y: event.clientY, from: now.values[edit][flat], moved: false });
}

function moveDrag(event) {
  if (!drag.cell) return;
  const steps = Math.trunc((drag.y - event.clientY) / 4);
  if (!drag.moved && Math.abs(steps) < 2) return;
  const values = Float64Array.from(now.values[drag.edit]);
  values[drag.flat] = Number((drag.from + steps / 10).toFixed(6));
  // One drag is one change to undo.
  if (drag.moved) state.changes = state.past.pop();
  drag.moved = true;
  change(drag.edit, values);
}

function endDrag() {
  drag.cell = null;
}

// The bar of changes: a whole column, ε, undo and reset.

/** The cells with the same index as the chosen one along the second axis: a column of a matrix, a channel of images. */
function columnOf(box) {
  const index = indexOf(box.shape, chosenIn(box));
  const axis = Math.min(1, box.shape.length - 1);
  const cells = [];
  for (let flat = 0; flat < product(box.shape); flat++) {
    if (box.shape.length === 0 || indexOf(box.shape, flat)[axis] === index[axis]) cells.push(flat);
  }
  return { cells, name: `${box.name}[${box.shape.map((_, i) => (i === axis ? index[i] : ":")).join(", ")}]` };
}

function changeColumn(how) {
  const box = now.stage.boxes[now.stage.x];
  const values = Float64Array.from(now.values[box.v]);
  for (const flat of columnOf(box).cells) values[flat] = Number(how(values[flat]).toPrecision(12));
  change(box.v, values);
}

function changeEpsilon(text) {
  const value = numberIn(text);
  if (!(value >= 0) || text.trim() === "" || !Number.isFinite(value)) {
    get("epsilon").value = String(now.values[now.stage.epsilons[0]][0]);
    get("status").textContent = `ε must be a number, 0 or larger, not ${text}.`;
    return;
  }
  const [first, ...rest] = now.stage.epsilons;
  if (now.values[first][0] === value) return;
  change(first, [value]);
  for (const vertex of rest) state.changes.set(vertex, Float64Array.of(value));
  if (rest.length) { compute(); redraw("values"); }
}

function showChanges() {
  const { boxes, x, epsilons } = now.stage;
  const isLive = now.program.live;
  get("held").textContent = isLive ? heldText() : `These numbers cannot be changed: ${now.program.reason}.`;
  get("changes").hidden = get("change").hidden = !isLive;
  if (!isLive) return;
  get("column").replaceChildren(formula(columnOf(boxes[x]).name));
  get("epsilon-label").hidden = epsilons.length === 0;
  if (epsilons.length && document.activeElement !== get("epsilon")) get("epsilon").value = String(now.values[epsilons[0]][0]);
  get("legend").hidden = state.part === "shared"; // colours have another meaning there
  get("undo").disabled = state.past.length === 0;
  get("reset").disabled = state.changes.size === 0;
}

const heldText = () => (now.program.held.length ? `Kept as recorded: ${[...new Set(now.program.held.map((each) => each.what))].join("; ")}.` : "");

/** The chosen cell's old and new numbers, in this box, in y and in the gradient of x. */
function changedText(step) {
  if (!state.changes.size) return null;
  const { boxes, links, x, y, cotangent } = now.stage;
  const here = step.kind === "backward" ? [boxes[step.box].slope, links[step.link].sum, boxes[step.box]]
    : step.kind === "seed" ? [boxes[y].slope, cotangent, boxes[y]] : [boxes[step.box].name, boxes[step.box].v, boxes[step.box]];
  const all = [here, [boxes[y].name, boxes[y].v, boxes[y]], [boxes[x].slope, boxes[x].g, boxes[x]]];
  const seen = new Set();
  const parts = all.filter(([name, v]) => v !== undefined && !seen.has(name) && seen.add(name)).map(([name, v, box]) => {
    const cell = chosenIn(box), [old, value] = [now.before[v][cell], now.values[v][cell]];
    const difference = value - old;
    const words = Math.abs(difference) <= 1e-12 * Math.max(Math.abs(old), Math.abs(value)) ? " unchanged" : ` (${difference > 0 ? "+" : ""}${result(difference)})`;
    return make("span", { class: "part changed" }, formula(name), `: ${result(old)} → `, make("b", {}, result(value)), words);
  });
  return make("span", { class: "changes" }, parts);
}

function connectEditing() {
  const main = get("panel-stage");
  main.addEventListener("click", (event) => {
    const cell = event.target.closest(".matrix [data-cell]");
    if (!cell || drag.moved) { drag.moved = false; return; }
    // On a phone the cells of a box are too small to hit, so a tap goes to its step.
    if (phone.matches && cell.closest("[data-box]")) { goToBox(Number(cell.closest("[data-box]").dataset.box)); return; }
    const address = addressOf(cell);
    choose(cell);
    focusAt(address);
    if (event.detail > 1) typeInto(document.activeElement);
  });
  main.addEventListener("pointerdown", startDrag);
  document.addEventListener("pointermove", moveDrag);
  document.addEventListener("pointerup", endDrag);
  get("epsilon").addEventListener("change", (event) => changeEpsilon(event.target.value));
  get("change").addEventListener("click", (event) => {
    event.target.setAttribute("aria-expanded", String(event.target.getAttribute("aria-expanded") !== "true"));
  });
  get("undo").addEventListener("click", undo);
  get("reset").addEventListener("click", reset);
  get("plus").addEventListener("click", () => changeColumn((value) => value + Number(get("amount").value)));
  get("times").addEventListener("click", () => changeColumn((value) => value * Number(get("amount").value)));
}
