"use strict";
// Tables of numbers in the parts behind the stage, and the cells that a cell depends on.

function tableOf(values, shape, options = {}) {
  const { caption = "", label = caption, whole = null, sets = null, scene = null, input = false, moved = null } = options;
  if (!Array.isArray(values)) {
    const text = `${shapeText(shape)} values: least ${shown(values.min)}, mean ${shown(values.mean)}, greatest ${shown(values.max)}. Too many to show here.`;
    return make("p", {}, make("strong", {}, caption), " ", text);
  }
  const [down, across] = axesOf(shape);
  const largest = Math.max(largestOf(values), options.largest || 1e-300);
  const table = make("table", { class: "numbers", role: "grid", "aria-label": label }, caption ? make("caption", { title: whole, class: caption.length > 40 ? "long" : "" }, caption) : null);
  const inside = (axes, place) => axes.length > 1 && place[place.length - 1] === shape[axes[axes.length - 1]] - 1;
  for (const row of placesOf(shape, down)) {
    const line = make("tr", { role: "row", class: inside(down, row) ? "block-down" : "" });
    for (const column of placesOf(shape, across)) {
      const index = [];
      down.forEach((axis, i) => { index[axis] = row[i]; });
      across.forEach((axis, i) => { index[axis] = column[i]; });
      const flat = flatOf(shape, index);
      const value = values[flat];
      const name = `[${index.join(", ")}]`;
      const classes = [inside(across, column) ? "block-right" : "", moved && moved.includes(flat) ? "moved" : ""];
      const cell = make("td", { role: "gridcell", tabindex: "-1", class: classes.join(" ").trim(), "data-flat": flat }, shown(value));
      if (typeof value === "number") {
        const colour = value < 0 ? "--minus" : "--plus";
        const strength = (0.38 * Math.abs(value) / largest).toFixed(3);
        cell.style.backgroundColor = `rgba(var(${colour}), ${strength})`;
      }
      let words = `${label} ${name}: ${shown(value)}`;
      if (moved && moved.includes(flat)) words += ", changed";
      if (sets) {
        const cells = scene.sets[sets[flat]];
        words += `, depends on ${cells.length} cells`;
        const light = () => lightUp(table, cells, `${caption}${name}`, scene);
        cell.addEventListener("pointerenter", light);
        cell.addEventListener("focus", light);
        cell.addEventListener("pointerleave", dark);
        cell.addEventListener("blur", dark);
      }
      cell.setAttribute("aria-label", words);
      line.append(cell);
    }
    table.append(line);
  }
  if (input) table.dataset.input = "";
  const first = table.querySelector("td");
  if (first) first.tabIndex = 0;
  table.addEventListener("keydown", moveInside);
  return table;
}

function moveInside(event) {
  const rows = [...event.currentTarget.querySelectorAll("tr")].map((row) => [...row.querySelectorAll("td")]);
  const row = rows.findIndex((cells) => cells.includes(event.target));
  if (row < 0) return;
  const column = rows[row].indexOf(event.target);
  const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!move) return;
  event.preventDefault();
  event.stopPropagation();
  const next = (rows[row + move[0]] || [])[column + move[1]];
  if (!next) return;
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function lightUp(table, cells, name, scene) {
  dark();
  const part = table.closest("[data-scope]") || document;
  for (const input of part.querySelectorAll("table[data-input]")) {
    for (const cell of cells) input.querySelector(`td[data-flat="${cell}"]`).classList.add("lit");
  }
  const x = scene.nodes[scene.x];
  const words = cells.length === 0 ? "does not depend on" : `depends on ${cells.length} of ${x.value.length} cells of`;
  get("status").textContent = `${name} ${words} ${x.name}.`;
}

function dark() {
  for (const cell of document.querySelectorAll("td.lit")) cell.classList.remove("lit");
}

const valueOf = (scene, i, options = {}) => {
  const node = scene.nodes[i];
  return tableOf(node.value, node.shape, {
    caption: node.name, whole: node.whole || null, scene, sets: node.valueSets || null, input: i === scene.x, ...options,
  });
};
const gradientOf = (scene, i, options = {}) => {
  const node = scene.nodes[i];
  return tableOf(node.gradient, node.shape, { caption: node.slope, scene, sets: node.gradientSets || null, ...options });
};
