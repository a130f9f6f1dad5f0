"use strict";
// Arrays as small coloured matrices, and which of an array's cells belong to the chosen one.

const MOST_ROWS = 16;
const MOST_COLUMNS = 24;

/** Which axes go down and which across: pairs of rows and columns in blocks for images. */
function axesOf(shape) {
  const axes = shape.map((_, i) => i);
  if (shape.length < 3) return [axes.slice(0, shape.length - 1), axes.slice(-1)];
  if (shape.length === 3) return [[0], [1, 2]];
  return [[0, shape.length - 2], [...axes.slice(1, -2), shape.length - 1]];
}

function placesOf(shape, axes) {
  let found = [[]];
  for (const axis of axes) found = found.flatMap((place) => Array.from({ length: shape[axis] }, (_, i) => [...place, i]));
  return found;
}

const flatOf = (shape, index) => shape.reduce((flat, size, axis) => flat * size + index[axis], 0);

function indexOf(shape, flat) {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = flat % shape[axis];
    flat = Math.floor(flat / shape[axis]);
  }
  return index;
}

/**
 * A matrix: an element, and how to fill it with values.
 * name: what the array is called; edit: the vertex whose values can be typed into it, or undefined; box: whose cells its
 * cells stand for, if its name does not say it.
 */
function matrix(name, shape, { edit, gradient = false, box } = {}) {
  const [down, across] = axesOf(shape);
  const rows = placesOf(shape, down).slice(0, MOST_ROWS);
  const columns = placesOf(shape, across).slice(0, MOST_COLUMNS);
  const cells = [];
  const element = make("div", { class: "matrix", role: "grid", "aria-label": name });
  element.style.setProperty("--columns", columns.length);
  const last = (axes, place) => axes.length > 1 && place[place.length - 1] === shape[axes[axes.length - 1]] - 1;
  for (const row of rows) {
    const line = make("div", { role: "row" });
    for (const column of columns) {
      const index = [];
      down.forEach((axis, i) => { index[axis] = row[i]; });
      across.forEach((axis, i) => { index[axis] = column[i]; });
      const ends = `${last(down, row) ? "down" : ""} ${last(across, column) ? "across" : ""}`.trim();
      const cell = make("span", { role: "gridcell", tabindex: cells.length ? "-1" : "0", class: ends, "data-cell": index.join(",") || "0", "data-array": name });
      cells.push({ element: cell, flat: flatOf(shape, index), index });
      line.append(cell);
    }
    element.append(line);
  }
  // Clicks and keys are heard once for the whole page: see edit.js.
  element.about = { name, shape, edit, gradient, box };
  if (rows.length * columns.length < product(shape)) element.title = `the first ${rows.length} × ${columns.length} of ${shapeText(shape)}`;

  function fill(values, { top, chosen = -1, decimals = 3, room, empty = false, before = null, units = null }) {
    element.classList.toggle("empty", empty);
    for (const { element: cell, flat, index } of cells) {
      const value = values[flat];
      const text = empty ? "" : shown(value, decimals, room);
      if (cell.textContent !== text) cell.textContent = text;
      const strength = empty || !Number.isFinite(value) ? 0 : Math.min(0.42, (0.42 * Math.abs(value)) / (top || 1));
      cell.style.backgroundColor = units ? colourOf(units[flat]) : `rgba(var(${value < 0 ? "--minus" : "--plus"}), ${strength.toFixed(3)})`;
      cell.classList.toggle("chosen", flat === chosen);
      cell.classList.toggle("together", units !== null && units[flat] === units[chosen]);
      const words = empty ? "not yet there" : before && before[flat] !== value ? `${text}, was ${shown(before[flat], decimals)}` : text;
      cell.setAttribute("aria-label", `${name}${index.length ? ` [${index.join(", ")}]` : ""}: ${words}`);
    }
  }
  return { element, fill, isLarge: rows.length > 8 || columns.length > 8 };
}

// Cells that belong together. A cell of y stands for cells of other arrays: those that it was computed from cell by
// cell, by which a row that was repeated is known, and which it helped to sum.

function cellsOf(reference, flat) {
  const { vertices, tables } = now.program;
  const found = new Map([[reference.v, flat]]);
  const place = (table, i) => (table === undefined || table === null ? i : tables[table][i]);
  const size = (v) => product(vertices[v].shape);
  const set = (v, i) => !found.has(v) && i >= 0 && i < size(v) && found.set(v, i);
  const forward = now.stage.boxes.reduce((most, box) => Math.max(most, box.v), 0);
  for (let grew = true, count = 0; grew && count !== found.size;) {
    count = found.size;
    for (let v = forward; v >= 0; v--) {
      const vertex = vertices[v];
      if (!vertex.in) continue;
      const [x] = vertex.in;
      if (vertex.op === "gather" && vertex.in.length === 1 && !vertex.moves) {
        if (found.has(v)) set(x, place(vertex.table, found.get(v)));
        else if (found.has(x) && size(x) === size(v)) {
          set(v, vertex.table === undefined ? found.get(x) : tables[vertex.table].indexOf(found.get(x)));
        }
      } else if (vertex.n && vertex.op !== "products" && size(v) * vertex.n === size(x)) {
        if (found.has(x)) {
          const at = vertex.table === undefined || vertex.table === null ? found.get(x) : tables[vertex.table].indexOf(found.get(x));
          set(v, Math.floor(at / vertex.n));
        }
      } else if (vertex.op !== "products" && vertex.op !== "gather" && vertex.op !== "scatter") {
        for (const u of vertex.in) {
          if (size(u) === size(v)) { if (found.has(v)) set(u, found.get(v)); else if (found.has(u)) set(v, found.get(u)); }
        }
      }
    }
  }
  return found;
}

/** The chosen cell of a box, as a flat index: by how it was computed, or else the nearest by its coordinates. */
function chosenIn(box) {
  const key = `${state.scene} ${state.cell}`;
  if (chosenIn.key !== key) {
    chosenIn.key = key;
    chosenIn.cells = cellsOf(now.reference, flatOf(now.reference.shape, state.cell));
  }
  const found = chosenIn.cells.get(box.v);
  if (found !== undefined) return found;
  const shift = Math.max(0, state.cell.length - box.shape.length);
  return flatOf(box.shape, clipped(state.cell.slice(shift), box.shape));
}

/** The cell to choose where a cell of a box was clicked: of those that belong to it, the nearest to what was chosen. */
function pickIn(box, index, ofGradient) {
  const wanted = flatOf(box.shape, index), kept = state.cell, shape = now.reference.shape;
  const total = Math.min(product(shape), 2000);
  let best = null;
  for (let flat = 0; flat < total; flat++) {
    state.cell = indexOf(shape, flat);
    const moved = state.cell.reduce((sum, at, axis) => sum + (at === kept[axis] ? 0 : 1 + Math.abs(at - kept[axis]) / 1e3), 0);
    if (chosenIn(box) === wanted && (!best || moved < best.moved)) best = { moved, cell: state.cell };
  }
  state.cell = kept;
  pick(best ? best.cell : kept, ofGradient);
}

/** Colour scales: what is added and averaged shares a unit, and what has one unit shares a scale. */
function scales() {
  const found = { value: new Map(), gradient: new Map() };
  const grow = (map, unit, values) => map.set(unit, Math.max(map.get(unit) || 0, largestOf(values)));
  for (const box of now.stage.boxes) {
    grow(found.value, box.unit, now.values[box.v]);
    if (box.g !== undefined) grow(found.gradient, box.unit, now.values[box.g]);
  }
  return found;
}
