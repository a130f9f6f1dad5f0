"use strict";
// Arrays as small coloured matrices.

const MOST_ROWS = 16;
const MOST_COLUMNS = 24;

/** The axes that go down and those that go across. Images are shown in blocks of rows and columns. */
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

/** The start of the shown part of an axis. It contains the chosen place and moves by halves of its length. */
function startOf(place, most, total) {
  const half = most / 2;
  return Math.max(0, Math.min(total - most, Math.floor(place / half) * half - half / 2));
}

/**
 * A matrix: an element, and a function that fills it with values. A large array is shown in part, around the chosen cell.
 * name: the name of the array; edit: the vertex whose values can be edited in it, or undefined; box: the box whose cells
 * it shows, if it cannot be found by name.
 */
function matrix(name, shape, { edit, gradient = false, box } = {}) {
  const axes = axesOf(shape), all = axes.map((some) => placesOf(shape, some));
  const counts = [Math.min(all[0].length, MOST_ROWS), Math.min(all[1].length, MOST_COLUMNS)];
  const element = make("div", { class: "matrix", role: "grid", "aria-label": name });
  element.style.setProperty("--columns", counts[1]);
  const cells = [];
  for (let row = 0; row < counts[0]; row++) {
    const line = make("div", { role: "row" });
    for (let column = 0; column < counts[1]; column++) {
      const cell = make("span", { role: "gridcell", tabindex: cells.length ? "-1" : "0", "data-array": name });
      cells.push({ element: cell, row, column });
      line.append(cell);
    }
    element.append(line);
  }
  // Clicks and keys are handled once for the whole page: see edit.js.
  element.about = { name, shape, edit, gradient, box };
  const isLast = (axis, place) => axes[axis].length > 1 && place[place.length - 1] === shape[axes[axis][axes[axis].length - 1]] - 1;
  const isLarge = counts[0] < all[0].length || counts[1] < all[1].length;
  let starts = null;

  /** Show the rows and columns from a start. */
  function look(from) {
    if (String(from) === String(starts)) return;
    starts = from;
    for (const cell of cells) {
      const row = all[0][starts[0] + cell.row], column = all[1][starts[1] + cell.column], index = [];
      axes[0].forEach((axis, i) => { index[axis] = row[i]; });
      axes[1].forEach((axis, i) => { index[axis] = column[i]; });
      Object.assign(cell, { index, flat: flatOf(shape, index) });
      cell.element.dataset.cell = index.join(",") || "0";
      cell.element.classList.toggle("down", isLast(0, row));
      cell.element.classList.toggle("across", isLast(1, column));
    }
    // Rows and columns are counted from 0, like cells.
    const cut = ["rows", "columns"].map((what, i) => [`${what} ${starts[i]}–${starts[i] + counts[i] - 1}`, all[i].length, counts[i]]).filter(([, total, count]) => count < total);
    element.title = cut.map(([seen, total]) => `${seen} of ${total}`).join(", ");
    element.about.seen = cut.length > 1 ? cut.map(([seen]) => seen).join(", ") : element.title;
  }

  function placeOf(flat) {
    const index = indexOf(shape, Math.max(0, flat));
    return axes.map((some, i) => startOf(some.reduce((place, axis) => place * shape[axis] + index[axis], 0), [MOST_ROWS, MOST_COLUMNS][i], all[i].length));
  }
  look([0, 0]);

  function fill(values, { top, chosen = -1, used = null, decimals = 3, room, empty = false, before = null, units = null }) {
    if (isLarge) look(placeOf(chosen));
    element.classList.toggle("empty", empty);
    for (const { element: cell, flat, index } of cells) {
      const value = values[flat];
      const text = empty ? "" : shown(value, decimals, room);
      if (cell.textContent !== text) cell.textContent = text;
      const strength = empty || !Number.isFinite(value) ? 0 : Math.min(0.42, (0.42 * Math.abs(value)) / (top || 1));
      cell.style.backgroundColor = units ? colourOf(units[flat]) : `rgba(var(${value < 0 ? "--minus" : "--plus"}), ${strength.toFixed(3)})`;
      cell.classList.toggle("chosen", flat === chosen);
      cell.classList.toggle("together", units !== null && units[flat] === units[chosen]);
      cell.classList.toggle("used", Boolean(used && used.has(flat)));
      const words = empty ? "not yet computed" : before && before[flat] !== value ? `${text}, was ${shown(before[flat], decimals)}` : text;
      cell.setAttribute("aria-label", `${name}${index.length ? ` [${index.join(", ")}]` : ""}: ${words}`);
    }
  }
  return { element, fill, isLarge: counts[0] > 8 || counts[1] > 8 };
}

/** Colour scales. Arrays that are added or averaged share a unit, and arrays with one unit share a scale. */
function scales() {
  const found = { value: new Map(), gradient: new Map() };
  const grow = (map, unit, values) => map.set(unit, Math.max(map.get(unit) || 0, largestOf(values)));
  for (const box of now.stage.boxes) {
    grow(found.value, box.unit, now.values[box.v]);
    if (box.g !== undefined) grow(found.gradient, box.unit, now.values[box.g]);
  }
  return found;
}
