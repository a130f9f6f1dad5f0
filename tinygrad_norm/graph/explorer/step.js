"use strict";
// The step as one line: the incoming gradient, the local factor, the contribution, its sum, and the earlier contributions.

/** The box that the gradient comes from, and its values spread to the cells of the contribution, or null. */
function incoming(link) {
  const from = now.stage.boxes[link.t];
  const g = now.values[from.g];
  const size = now.values[link.before].length;
  if (!link.cellwise) return { from, spread: null };
  if (g.length === size) return { from, spread: g };
  const lane = now.program.vertices[from.v];
  const spread = new Float64Array(size);
  if (lane.n && now.values[from.v].length * lane.n === size) {
    const table = lane.table === undefined || lane.table === null ? null : now.program.tables[lane.table];
    for (let i = 0; i < size; i++) spread[table ? table[i] : i] = g[Math.floor(i / lane.n)];
    return { from, spread };
  }
  return g.length === 1 ? { from, spread: spread.fill(g[0]) } : { from, spread: null };
}

const factors = new WeakMap(); // factors of links, by the values they belong to

/** The local factor by cell: the contribution of the recorded rule for a gradient of ones. */
function factorOf(link) {
  const { g } = now.stage.boxes[link.t];
  if (!factors.has(now.values)) factors.set(now.values, new Map());
  const known = factors.get(now.values);
  if (!known.has(link)) known.set(link, evaluated(link.before, [[g, new Float64Array(now.values[g].length).fill(1)]]));
  return known.get(link);
}

const isUniform = (factor) => factor.every((x) => Math.abs(x - factor[0]) <= 1e-14 * Math.abs(factor[0]));

/** The sum of the earlier contributions to a step's box: a vertex, or null. */
function previousOf(step) {
  const earlier = now.steps.slice(0, now.steps.indexOf(step)).filter((s) => s.kind === "backward" && s.box === step.box);
  return earlier.length ? now.stage.links[earlier[earlier.length - 1].link].sum : null;
}

/** The cell of a contribution that the chosen cell comes from. If several are summed, the one at the same place. */
function sourceCell(link, cell) {
  const { vertices, tables } = now.program;
  const from = now.stage.boxes[link.t];
  const place = (table, i) => (table === undefined || table === null ? i : tables[table][i]);
  let v = link.after, at = cell;
  while (v !== link.before && vertices[v].in) {
    const { n, op, table, in: [x] } = vertices[v];
    if (op === "gather") at = place(table, at);
    else if (n) {
      const summed = Array.from({ length: n }, (_, k) => place(table, at * n + k));
      const wished = now.values[x].length === product(now.reference.shape) ? flatOf(now.reference.shape, state.cell) : chosenIn(from);
      at = summed.includes(wished) ? wished : summed[0];
    }
    v = x;
  }
  return v === link.before ? at : Math.min(cell, now.values[link.before].length - 1);
}

// A term is {caption, values, shape, top} or {sign, under}.
function termsOf(step) {
  const { boxes, links, cotangent } = now.stage;
  const { value, gradient } = scales();
  const box = boxes[step.box];
  const whole = (of) => ({ caption: formula(of.name), name: of.name, values: now.values[of.v], shape: of.shape, top: value.get(of.unit), chosen: chosenIn(of) });
  const shape = (v) => now.program.vertices[v].shape;
  if (step.kind === "given") {
    return now.stage.inputs.flatMap((i, at) => [...(at ? [{ sign: " " }] : []), { ...whole(boxes[i]), edit: boxes[i].v }]);
  }
  if (step.kind === "seed") {
    return [{ ...slopeTerm(box, cotangent), edit: cotangent }];
  }
  if (step.kind === "forward") return forwardTerms(box, whole);
  const link = links[step.link];
  const { from, spread } = incoming(link);
  const cell = chosenIn(box), at = sourceCell(link, cell), top = gradient.get(box.unit);
  const summed = summedIn(link.before, at);
  const terms = [];
  const repeated = spread && spread.length !== now.values[from.g].length;
  terms.push({ caption: [formula(from.slope), repeated ? " repeated" : ""], name: from.slope, values: spread || now.values[from.g], shape: spread ? shape(link.before) : from.shape, top: gradient.get(from.unit), chosen: spread ? at : chosenIn(from), used: spread ? null : summed.get(from.g) });
  if (spread) {
    const factor = factorOf(link);
    terms.push({ sign: "⊙" });
    if (isUniform(factor)) terms.push({ sign: formula(closed(link.factor)), large: true });
    else terms.push({ caption: formula(link.factor), name: link.factor, values: factor, shape: shape(link.before), top: largestOf(factor), chosen: at });
    terms.push({ sign: "=" });
  } else {
    otherOperand(link, from, summed, terms);
  }
  terms.push({ caption: "contribution", name: "contribution", values: now.values[link.before], shape: shape(link.before), top, chosen: at, used: summedIn(link.after, cell).get(link.before) });
  if (link.after !== link.before && (link.over || String(shape(link.after)) !== String(shape(link.before)))) {
    terms.push({ sign: "→", under: link.over ? `Σ over ${link.over}` : link.back });
    terms.push({ caption: formula(previousOf(step) === null ? box.slope : "arriving"), name: "arriving", values: now.values[link.after], shape: box.shape, top, chosen: cell });
  }
  const previous = previousOf(step);
  if (previous !== null) {
    const first = now.steps.find((s) => s.kind === "backward" && s.box === step.box);
    terms.push({ sign: "+" }, { caption: ["earlier, via ", formula(boxes[links[first.link].t].name)], name: "earlier contributions", values: now.values[previous], shape: box.shape, top, chosen: cell });
    terms.push({ sign: "=" }, { ...slopeTerm(box, link.sum) });
  }
  return terms;
}

function slopeTerm(box, v) {
  return { caption: formula(box.slope), name: box.slope, values: now.values[v], shape: box.shape, top: scales().gradient.get(box.unit), chosen: chosenIn(box), gradient: true };
}

/** For a product of matrices, add the other matrix before or after the incoming gradient. Other rules are an arrow. */
function otherOperand(link, from, summed, terms) {
  const vertex = now.program.vertices[link.before];
  const isProduct = vertex.op === "products" && vertex.in.length === 2 && vertex.in.includes(from.g);
  if (!isProduct) { terms.push({ sign: "→" }); return; }
  const other = vertex.in.find((v) => v !== from.g);
  const values = now.values[other];
  const term = { caption: formula(link.factor), name: link.factor, values, shape: now.program.vertices[other].shape, top: largestOf(values), chosen: chosenAt(other), used: summed.get(other) };
  if (vertex.in[0] === from.g) terms.push({ sign: "@" }, term);
  else terms.unshift(term, { sign: "@" });
  terms.push({ sign: "=" });
}

const SIGNS = { add: "+", subtract: "−", multiply: "⊙", divide: "/", matmul: "@", maximum: "max", minimum: "min" };
const UNARY = { square: "( )²", rsqrt: "1/√", sqrt: "√", root: "√", negative: "−( )" };

function forwardTerms(box, whole) {
  const { vertices, live } = now.program;
  const sign = SIGNS[box.op];
  if (!live) {
    const operands = now.stage.links.filter((link) => now.stage.boxes[link.t] === box).map((link) => whole(now.stage.boxes[link.s]));
    return [...operands.flatMap((operand, i) => (i ? [{ sign: sign || "," }, operand] : [operand])), { sign: "→", under: sign ? "" : box.op }, whole(box)];
  }
  const operands = vertices[box.v].in.map((v, i) => operandTerm(v, box.of[i] ?? "", box, sign && box.op !== "matmul"));
  const end = { ...whole(box), caption: formula(box.name) };
  if (sign && operands.length === 2) return [operands[0], { sign }, operands[1], { sign: "=" }, end];
  const name = UNARY[box.op] || (vertices[box.v].n ? (box.made.match(/^(.*?) of /) || ["", box.op])[1] : box.op);
  return [...operands.flatMap((operand, i) => (i ? [{ sign: "," }, operand] : [operand])), { sign: "→", under: name }, end];
}

/** An operand of a forward step, repeated to the shape of the result if it is broadcast. */
function operandTerm(v, name, box, isCellwise) {
  const { vertices } = now.program;
  const values = now.values[v];
  if (values.length === 1 && vertices[v].op === "constant") return { sign: formula(name || shown(values[0])), large: true };
  const own = now.stage.boxes.find((each) => each.v === v);
  const source = own || now.stage.boxes.find((each) => each.name === name);
  const top = source ? scales().value.get(source.unit) : largestOf(values);
  const repeated = source && values.length > product(source.shape);
  const chosen = isCellwise && values.length === product(box.shape) ? chosenIn(box) : chosenAt(v) ?? (source ? Math.min(chosenIn(source), values.length - 1) : -1);
  return {
    caption: [formula(name), repeated ? " repeated" : ""], name, values, shape: vertices[v].shape, top,
    chosen, used: summedIn(box.v, chosenIn(box)).get(v),
  };
}

// The densities of the line and of the matrix beside it: digits, or colours with the chosen cell's number.
const DECIMALS = { full: 3, dense: 2, tight: 2, colour: 2, tiny: 2 };
const ROOM = { full: 3.5, dense: 2.8, tight: 2.8 };
const DENSITIES = [["full", "full"], ["dense", "dense"], ["dense", "colour"], ["tight", "colour"], ["colour", "colour"], ["tiny", "tiny"]];
const ON_A_PHONE = [["dense", "dense"], ["dense", null], ["tight", null], ["colour", "colour"], ["colour", null], ["tiny", null]];

function termElement(term, density) {
  if (term.sign !== undefined) {
    return make("div", { class: term.large ? "sign large" : "sign" }, term.sign, term.under ? make("small", {}, formula(term.under)) : null);
  }
  const { element, fill } = matrix(term.name, term.shape, { edit: term.edit, gradient: term.gradient, box: term.box });
  fill(term.values, { top: term.top, units: term.units, chosen: term.chosen, used: term.used, decimals: DECIMALS[density], room: ROOM[density] });
  const number = (density === "colour" || density === "tiny") && term.chosen >= 0 ? make("span", { class: "number" }, shown(term.values[term.chosen])) : null;
  const { seen } = element.about;
  return make("div", { class: "term" }, make("div", { class: "caption" }, term.caption), element, number, seen && make("small", { class: "seen" }, seen));
}

function headline(step) {
  const { boxes, links } = now.stage;
  const box = boxes[step.box];
  if (step.kind === "given") {
    return [make("b", { class: "forward" }, "Given: "), ...now.stage.inputs.flatMap((i, at) => [at ? ", " : "", formula(boxes[i].name)]), ". Press Next to compute. Double-click a number to change it."];
  }
  if (step.kind === "forward") {
    if (box.made.startsWith(box.name)) return [make("b", { class: "forward" }, "Forward "), formula(box.made)];
    const made = [" = ", formula(box.made)];
    return [make("b", { class: "forward" }, "Forward "), formula(box.name), ...made];
  }
  if (step.kind === "seed") {
    return [make("b", { class: "backward" }, "Backward starts: "), formula(box.slope), " is given. It can be any cotangent; this one is random, with a fixed seed."];
  }
  const link = links[step.link];
  const sums = link.over ? ["; ", formula(box.name), ` was repeated over ${link.over}, so the contributions are summed`] : [];
  const meets = previousOf(step) === null ? "" : "; earlier contributions are added";
  return [make("b", { class: "backward" }, "Backward "), "from ", formula(boxes[link.t].name), " to ", formula(box.name), ": ", link.why, ...sums, `${meets}.`];
}

/** The row of the Jacobian for the chosen cell, beside the step. */
function jacobian() {
  const { boxes, x, y, cotangent } = now.stage;
  if (!now.program.live || boxes[x].g === undefined) return null;
  const of = boxes[x], cell = chosenIn(boxes[y]), index = indexOf(boxes[y].shape, cell);
  const one = new Float64Array(now.values[cotangent].length);
  one[cell] = 1;
  const values = evaluated(of.g, [[cotangent, one]]);
  const caption = ["your cell: ", formula(`∂${boxes[y].name}${index.length ? `[${index.join(",")}]` : ""}/∂${of.name}`)];
  return { caption, of: `${boxes[y].name}${index.length ? `[${index.join(",")}]` : ""}`, name: `∂${boxes[y].name}/∂${of.name}`, box: of, values, shape: of.shape, top: largestOf(values), chosen: chosenIn(of) };
}

/** The derivative of a number read from a vertex, for each cell of a box, by central differences of the evaluator. */
function byDifferences(box, vertex, read) {
  return Float64Array.from(now.values[box.v], (value, i) => {
    const step = 1e-5 * Math.max(1, Math.abs(value));
    const at = (distance) => {
      const moved = Float64Array.from(now.values[box.v]);
      moved[i] += distance;
      return read(evaluated(vertex, [[box.v, moved]]));
    };
    return (at(step) - at(-step)) / (2 * step);
  });
}

/** The derivative of a cell of the first input's gradient with respect to that input, by central differences. */
function gradientByDifferences() {
  const { boxes, x } = now.stage, of = boxes[x], cell = chosenIn(of);
  if (!now.program.live || of.g === undefined) return null;
  const values = byDifferences(of, of.g, (slopes) => slopes[cell]);
  const cellName = `${of.slope}[${indexOf(of.shape, cell).join(",")}]`;
  const caption = ["your cell: ", formula(`∂(${cellName})/∂${of.name}`)];
  return { caption, of: cellName, name: `∂(${of.slope})/∂${of.name}`, box: of, gradient: true, values, shape: of.shape, top: largestOf(values), chosen: cell };
}

/** The label of the chosen cell of a box, in a frame. */
function cellTag(box) {
  const index = indexOf(box.shape, chosenIn(box));
  return make("span", { class: "tag" }, index.length ? `cell [${index.join(", ")}]` : "number");
}

/** The description of a scene, beside the given numbers. */
const aboutScene = () => make("div", { class: "side about" }, make("p", {}, now.scene.text));

/** The headline and the arithmetic of the current step. Also sets the colour of the panel. */
function sayStep(panel) {
  const step = now.steps[state.step], box = now.stage.boxes[step.box];
  panel.classList.toggle("back", step.kind === "backward" || step.kind === "seed");
  return {
    title: make("h2", { title: box.whole || null }, headline(step)),
    said: make("div", { class: "arithmetic" }, cellTag(box), cellLines(step), changedText(step)),
  };
}

const lineElementOf = (terms, density) => make("div", { class: "line", "data-density": density }, terms.map((term) => termElement(term, density)));

function showStep(panel) {
  const step = now.steps[state.step], terms = termsOf(step), { title, said } = sayStep(panel);
  const side = step.kind === "given" ? null : state.ofGradient && product(now.stage.boxes[now.stage.x].shape) <= MOST_EXAMINED ? gradientByDifferences() : jacobian();
  fitInto(panel, phone.matches ? ON_A_PHONE : DENSITIES, ([density, aside]) => {
    const beside = step.kind === "given" ? aboutScene() : side && aside && make("div", { class: "side", "data-density": aside }, termElement(side, aside));
    return [title, make("div", { class: "row" }, lineElementOf(terms, density), beside), said];
  });
}
