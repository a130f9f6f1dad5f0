"use strict";
// Arrays as small coloured matrices.

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
 * name: what the array is called; edit: the vertex whose values can be typed into it, or undefined.
 */
function matrix(name, shape, { edit, gradient = false } = {}) {
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
  element.about = { name, shape, edit, gradient };
  if (rows.length * columns.length < product(shape)) element.title = `the first ${rows.length} × ${columns.length} of ${shapeText(shape)}`;

  function fill(values, { top, chosen = -1, used = null, decimals = 3, room, empty = false, before = null }) {
    element.classList.toggle("empty", empty);
    for (const { element: cell, flat, index } of cells) {
      const value = values[flat];
      const text = empty ? "" : shown(value, decimals, room);
      if (cell.textContent !== text) cell.textContent = text;
      const strength = empty || !Number.isFinite(value) ? 0 : Math.min(0.42, (0.42 * Math.abs(value)) / (top || 1));
      cell.style.backgroundColor = `rgba(var(${value < 0 ? "--minus" : "--plus"}), ${strength.toFixed(3)})`;
      cell.classList.toggle("chosen", flat === chosen);
      cell.classList.toggle("used", Boolean(used && used.has(flat)));
      const words = empty ? "not yet there" : before && before[flat] !== value ? `${text}, was ${shown(before[flat], decimals)}` : text;
      cell.setAttribute("aria-label", `${name}${index.length ? ` [${index.join(", ")}]` : ""}: ${words}`);
    }
  }
  return { element, fill, isLarge: rows.length > 8 || columns.length > 8 };
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
