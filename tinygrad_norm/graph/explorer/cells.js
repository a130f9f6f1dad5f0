"use strict";
// Related cells. One cell of y is chosen, and possibly one of another array. From it follow the cells of other arrays that
// it was computed from, and those that were computed from it.

const isCut = (table) => table === undefined || table === null;

/** The terms that a cell was computed from, each a list of [vertex, cell], or null if that depends on data. */
function termsOfCell(v, cell) {
  const { vertices, tables } = now.program;
  const { op, n, in: operands, table, factors, moves } = vertices[v];
  const place = (table, i) => (isCut(table) ? i : tables[table][i]);
  const sizes = (operands || []).map((u) => product(vertices[u].shape));
  const lane = (term) => Array.from({ length: n }, (_, k) => term(cell * n + k));
  if (!operands || moves) return null;
  if (op === "products") return lane((k) => operands.map((u, i) => [u, place(factors[i], k)]));
  if (op === "gather") {
    let at = place(table, cell), which = 0;
    while (at >= sizes[which]) at -= sizes[which++];
    return [[[operands[which], at]]];
  }
  if (op === "scatter") return Array.from({ length: sizes[0] }, (_, k) => k).filter((k) => place(table, k) === cell).map((k) => [[operands[0], k]]);
  if (n && product(vertices[v].shape) * n === sizes[0]) return lane((k) => [[operands[0], place(table, k)]]);
  return [operands.map((u, i) => [u, sizes[i] === 1 ? 0 : cell])];
}

/** The last vertex whose value a box shows. Later vertices belong to the gradient. */
function lastOfFunction() {
  return now.stage.boxes.reduce((most, box) => Math.max(most, box.v), 0);
}

/** Add the cells that follow uniquely from known ones: elementwise, and upwards into sums. */
function follow(found) {
  const { vertices, tables } = now.program;
  const size = (v) => product(vertices[v].shape);
  const set = (v, cell) => !found.has(v) && found.set(v, cell);
  for (let count = 0; count !== found.size;) {
    count = found.size;
    for (let v = lastOfFunction(); v >= 0; v--) {
      const { in: operands, op, n, table, moves } = vertices[v];
      if (!operands || moves) continue;
      if (found.has(v)) {
        const terms = termsOfCell(v, found.get(v));
        if (terms.length === 1) terms[0].forEach(([u, cell]) => set(u, cell));
      } else if (op !== "products" && op !== "scatter") {
        const u = operands.find((u) => found.has(u) && size(u) === size(v) * (op === "gather" ? 1 : n && size(v) < size(u) ? n : 1));
        if (u === undefined || (op === "gather" && operands.length > 1)) continue;
        const cell = found.get(u), at = isCut(table) ? cell : tables[table].indexOf(cell);
        set(v, op === "gather" ? at : n && size(v) < size(u) ? Math.floor(at / n) : cell);
      }
    }
  }
  return found;
}

/** The size of a term of a sum, for the scene's original numbers, so that edits do not move the choice. */
const weightOf = (term) => Math.abs(term.reduce((weight, [u, cell]) => weight * now.before[u][cell], 1));

/** The term of a sum to follow: first one with known or near cells, then the largest. */
function termToFollow(v, terms, found, near) {
  const { op } = now.program.vertices[v];
  const knows = (term) => term.filter(([u, cell]) => found.get(u) === cell || (near.has(u) && near.get(u).has(cell))).length;
  const weight = op === "min" ? (term) => -now.before[term[0][0]][term[0][1]] : op === "max" ? (term) => now.before[term[0][0]][term[0][1]] : weightOf;
  return terms.reduce((best, term) => (knows(term) > knows(best) || (knows(term) === knows(best) && weight(term) > weight(best)) ? term : best));
}

/** The cells related to known ones, as a map from vertices. Unique ones come first, then one term of each sum. */
function cellsOf(known, near = new Map()) {
  const { vertices } = now.program;
  const found = follow(new Map(known));
  for (let v = lastOfFunction(); v >= 0; v--) {
    const { in: operands, op, n } = vertices[v];
    const knows = (operands || []).filter((u) => found.has(u)).length;
    if (!operands || knows === operands.length || !(found.has(v) || (knows && op === "products"))) continue;
    // Upwards, a known cell is part of many sums in a product: take one of them.
    const all = found.has(v) ? termsOfCell(v, found.get(v)) : Array.from(now.values[v], (_, cell) => termsOfCell(v, cell)).flat();
    const terms = found.has(v) ? all : all.filter((term) => term.some(([u, cell]) => found.get(u) === cell));
    if (!terms || !terms.length) continue;
    const term = termToFollow(v, terms, found, near), size = found.size;
    if (!found.has(v)) found.set(v, Math.floor(all.indexOf(term) / n));
    for (const [u, cell] of term) if (!found.has(u)) found.set(u, cell);
    if (found.size > size) v = lastOfFunction() + 1;
    follow(found);
  }
  return found;
}

/** All cells that depend on a cell, optionally through sums, and all that it depends on: sets by vertex. */
function relatives(v, cell, bySums = true) {
  const { vertices } = now.program;
  const found = new Map([[v, new Set([cell])]]);
  const add = (u, at) => found.set(u, (found.get(u) || new Set()).add(at));
  for (let u = v; u >= 0; u--) {
    if (!found.has(u) || !vertices[u].in) continue;
    for (const at of found.get(u)) for (const [w, i] of (termsOfCell(u, at) || []).flat()) add(w, i);
  }
  const below = new Map([[v, found.get(v)]]);
  for (let u = v + 1; u <= lastOfFunction(); u++) {
    const { in: operands, op, n } = vertices[u];
    if (!operands || !operands.some((w) => below.has(w)) || (n && op !== "products" && !bySums)) continue;
    const has = ([w, i]) => below.has(w) && below.get(w).has(i);
    const cells = [...now.values[u].keys()].filter((at) => { const terms = termsOfCell(u, at); return !terms || terms.some((term) => term.some(has)); });
    below.set(u, new Set(cells));
    found.set(u, below.get(u));
  }
  return found;
}

/** The chosen cell of every vertex related to the choice, computed once for each choice. */
function chosenCells() {
  const { scene, cell, pin } = state;
  const key = JSON.stringify([scene, cell, pin]);
  if (chosenCells.key !== key) {
    const box = pin && now.stage.boxes[pin.box];
    const pinned = box ? [box.v, flatOf(box.shape, clipped(pin.cell, box.shape))] : null;
    const chosen = [now.reference.v, flatOf(now.reference.shape, cell)];
    chosenCells.key = key;
    chosenCells.found = pinned ? cellsOf([chosen, pinned], relatives(...pinned, false)) : cellsOf([chosen]);
    chosenCells.relatives = relatives(...chosen);
  }
  return chosenCells.found;
}

/** The chosen cell of a box, as a flat index: the related one, or else the nearest by coordinates. */
function chosenIn(box) {
  const found = chosenCells().get(box.v);
  if (found !== undefined) return found;
  const shift = Math.max(0, state.cell.length - box.shape.length);
  const near = flatOf(box.shape, clipped(state.cell.slice(shift), box.shape));
  const all = chosenCells.relatives.get(box.v);
  return !all || !all.size || all.has(near) ? near : Math.min(...all);
}

/** The chosen cell of any vertex, including those of the gradient, or undefined. */
function chosenAt(v) {
  const { op, in: operands, table, moves } = now.program.vertices[v];
  const box = now.stage.boxes.find((each) => each.g === v);
  const found = chosenCells().get(v) ?? (box && chosenIn(box));
  if (found !== undefined || op !== "gather" || moves || operands.length > 1) return found;
  const cell = chosenAt(operands[0]), at = cell === undefined || isCut(table) ? cell : now.program.tables[table].indexOf(cell);
  return at < 0 ? undefined : at;
}

/** The cells that a sum adds, for each operand: a map from vertices to sets. */
function summedIn(v, cell) {
  const terms = termsOfCell(v, cell), found = new Map();
  if (terms && terms.length > 1) for (const [u, at] of terms.flat()) found.set(u, (found.get(u) || new Set()).add(at));
  return found;
}

/** Choose a cell of a box: the nearest related cell of y, and also the cell itself if it does not follow from y. */
function pickIn(box, index, ofGradient) {
  const { v, shape } = now.reference;
  const wanted = flatOf(box.shape, index);
  const distance = (cell) => cell.reduce((sum, at, axis) => sum + (at === state.cell[axis] ? 0 : 1 + Math.abs(at - state.cell[axis]) / 1e3), 0);
  const near = [...(relatives(box.v, wanted).get(v) || [])].map((flat) => ({ flat, far: distance(indexOf(shape, flat)) })).sort((a, b) => a.far - b.far);
  const exact = (flat) => follow(new Map([[v, flat]])).get(box.v);
  const best = near.find(({ flat }) => [wanted, undefined].includes(exact(flat))) || near[0];
  const cell = best ? indexOf(shape, best.flat) : state.cell;
  const isClear = best && cellsOf([[v, best.flat]]).get(box.v) === wanted;
  pick(cell, ofGradient, isClear ? null : { box: now.stage.boxes.indexOf(box), cell: index });
}
