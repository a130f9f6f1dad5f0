"use strict";
// The arithmetic of one cell. An expression is [operation, ...operands], a number, or {exact: number}.

const [SUM, PRODUCT, TIGHT, ATOM] = [1, 2, 3, 4];

// Of very many terms only the first, the last and the chosen one are printed.
const isPrinted = (i, count, kept) => count <= 16 || i < 4 || i >= count - 2 || i === kept;

function few(parts) {
  const found = [];
  for (let i = 0, hidden = 0; i < parts.length; i++) {
    if (!parts[i].isHidden) found.push(parts[i]);
    else if (++hidden && !(parts[i + 1] || {}).isHidden) { found.push({ text: `… ${hidden} more …`, level: ATOM }); hidden = 0; }
  }
  return found;
}

const infix = (sign, level) => (...parts) => ({
  text: few(parts).map((part, i) => enclosed(part, sign === "−" || sign === "/" ? level + (i > 0) : level, i === 0)).join(` ${sign} `),
  level,
});
const call = (name) => (...parts) => ({ text: `${name}(${few(parts).map((part) => part.text).join(", ")})`, level: TIGHT });
const before = (sign, level = TIGHT) => (x) => ({ text: sign + enclosed(x, ATOM, false), level });
const after = (sign) => (x) => ({ text: enclosed(x, ATOM, false) + sign, level: TIGHT });
const PRINTED = {
  add: infix("+", SUM), subtract: infix("−", SUM), multiply: infix("·", PRODUCT), divide: infix("/", PRODUCT),
  power: (a, b) => ({ text: `${enclosed(a, ATOM, false)}${b.text === "3" ? "³" : `^${enclosed(b, ATOM, false)}`}`, level: TIGHT }),
  negative: before("−", PRODUCT), square: after("²"), sqrt: before("√"), root: before("√"), rsqrt: before("1/√", PRODUCT),
  absolute: (x) => ({ text: `|${x.text}|`, level: ATOM }), maximum: call("max"), minimum: call("min"),
  sum: infix("+", SUM), prod: infix("·", PRODUCT), max: call("max"), min: call("min"),
  mean: (...parts) => ({ text: `${parts.length > 1 ? `(${PRINTED.sum(...parts).text})` : enclosed(parts[0], ATOM, true)} / ${parts.length}`, level: PRODUCT }),
};
for (const name of ["exp", "log", "log1p", "expm1", "tanh", "sigmoid", "sin", "cos", "tan", "erf", "sinh", "cosh", "log2", "log10"]) PRINTED[name] = call(name);

const CALCULATED = {
  sum: (...parts) => parts.reduce((a, b) => a + b, 0), prod: (...parts) => parts.reduce((a, b) => a * b, 1),
  mean: (...parts) => parts.reduce((a, b) => a + b, 0) / parts.length,
  max: Math.max, min: Math.min,
};
const calculate = (op) => CALCULATED[op] || Evaluator.ELEMENTWISE[op];

function enclosed({ text, level }, least, first) {
  return level < least || (text.startsWith("−") && !first) ? `(${text})` : text;
}

// A number with the given decimals, or with as many significant digits if it is small or large. Exact numbers keep all digits.
function withDigits(x, digits, large) {
  if (typeof x === "object") {
    const text = String(x.exact);
    return text.length <= 9 ? text : withDigits(x.exact, digits, large);
  }
  if (x === 0 || !Number.isFinite(x)) return x === 0 ? "0" : shown(x);
  const size = Math.abs(x);
  // Zeros after the third digit are omitted.
  if (size < 5e-3 || size >= large) return x.toExponential(digits - 1).replace(/(\.\d{2}\d*?)0+e/, "$1e");
  return x.toFixed(digits).replace(/(\.\d{3}\d*?)0+$/, "$1");
}

// Both functions traverse an expression. `written` formats its numbers.
function print(expression, written) {
  if (!Array.isArray(expression)) return { text: minus(written(expression)), level: ATOM };
  const [op, ...operands] = expression;
  return PRINTED[op](...operands.map((x, i) => (isPrinted(i, operands.length, expression.kept) ? print(x, written) : { isHidden: true })));
}

function calculated(expression, written) {
  if (!Array.isArray(expression)) return Number(written(expression).replace("∞", "Infinity").replace("−", "-"));
  const [op, ...operands] = expression;
  return calculate(op)(...operands.map((x, i) => calculated(x, isPrinted(i, operands.length, expression.kept) ? written : inFull)));
}

const inFull = (x) => String(typeof x === "object" ? x.exact : x);

/** Format a result with three decimals, or three significant digits if it is small or large. */
function result(value) {
  if (!Number.isFinite(value)) return shown(value);
  const size = Math.abs(value);
  if (size < 5e-13) return "0.000";
  const text = size < 5e-4 || size >= 1e6 ? value.toExponential(2) : value.toFixed(3);
  return minus(text);
}

/** The value of one unit in the last digit of a printed number. */
function lastDigit(text) {
  const [digits, exponent] = text.split("e");
  return 10 ** (Number((exponent || "0").replace("−", "-")) - (digits.split(".")[1] || "").length);
}

/** The expression as text, with the fewest digits for which "text = result" is true, and the result. */
function arithmetic(expression, value) {
  const end = result(value), large = Math.abs(value) < 1e6 ? 1e9 : 1e6;
  const number = Number(end.replaceAll("−", "-"));
  const found = (end, isTrue) => {
    for (let digits = 3; digits <= 17; digits++) {
      const written = (x) => withDigits(x, digits, large);
      if (isTrue(calculated(expression, written))) return [print(expression, written).text, end];
    }
    return null;
  };
  if (!Number.isFinite(value)) return [print(expression, (x) => withDigits(x, 3, large)).text, end];
  // A half may be rounded up or down. A sum that cancels is rounding error: its result is 0, to three decimals.
  return found(end, (x) => Math.abs(x - number) <= 0.50001 * lastDigit(end))
    || found(minus((Math.abs(value) < 5e-4 ? 0 : value).toFixed(3)), (x) => Math.abs(x - value) < 5e-4)
    || [print(expression, (x) => withDigits(x, 17, large)).text, end];
}

const MOST_TERMS = 16; // in a sum inside another one
/** The expression of a cell of a vertex, down to vertices for which `isGiven`, or null if it has no short form. */
function expressionOf(v, cell, isGiven, isRoot = true) {
  const { vertices, tables } = now.program;
  const vertex = vertices[v], values = now.values[v];
  const at = values.length === 1 ? 0 : cell;
  if (vertex.op === "constant" && vertex.shape.length === 0) return { exact: values[0] };
  if (!isRoot && (isGiven(v) || !vertex.in)) return values[at];
  const inside = (u, i) => expressionOf(u, i, isGiven, false);
  if (vertex.op === "gather" && vertex.in.length === 1 && !vertex.moves) return inside(...termsOfCell(v, at)[0][0]);
  if (vertex.op === "detach" || vertex.op === "finite") return inside(vertex.in[0], at);
  if (vertex.op === "where") return inside(vertex.in[now.values[vertex.in[0]][now.values[vertex.in[0]].length === 1 ? 0 : at] ? 1 : 2], at);
  if (vertex.n && (vertex.op === "products" || vertex.op in PRINTED)) {
    if (!isRoot && vertex.n > MOST_TERMS) return values[at];
    const terms = termsOfCell(v, at), op = vertex.op === "products" ? "sum" : vertex.op;
    const parts = terms.map((term) => term.map(([u, i]) => inside(u, i)).reduce((a, b) => ["multiply", a, b]));
    return parts.length > 1 || op === "mean" ? Object.assign([op, ...parts], { kept: chosenTerm(terms) }) : parts[0];
  }
  if (!(vertex.op in PRINTED) || vertex.n) return isRoot ? null : values[at];
  return [vertex.op, ...vertex.in.map((u) => inside(u, at))];
}

/** The index of the term of a sum that has chosen cells only. */
function chosenTerm(terms) {
  const known = (term) => term.map(([u, i]) => [chosenAt(u), i]).filter(([chosen]) => chosen !== undefined);
  return terms.findIndex((term) => known(term).length && known(term).every(([chosen, i]) => chosen === i));
}

/** "name = formula = numbers = result", without missing parts. */
function line(parts, expression, value) {
  const texts = parts.filter(Boolean);
  const said = make("span", { class: "part" });
  if (texts.length) said.append(formula(texts.join(" = ")), " = ");
  if (expression !== null) {
    const [text, end] = arithmetic(expression, value);
    if (text !== end) said.append(text, " = ");
    said.append(make("b", {}, end));
  } else {
    said.append(make("b", {}, result(value)));
  }
  return said;
}

/** The formula of a rule that is not elementwise: a product of matrices, or "contribution". */
function ruleText(link, from) {
  const vertex = now.program.vertices[link.before];
  if (vertex.op !== "products" || !vertex.in.includes(from.g)) return "contribution";
  return vertex.in[0] === from.g ? `${from.slope} @ ${closed(link.factor)}` : `${closed(link.factor)} @ ${from.slope}`;
}

const isBox = (v) => now.stage.boxes.some((box) => box.v === v);

/** The arithmetic of the chosen cell in a step, in one or more lines. */
function cellLines(step) {
  const { boxes, links, cotangent } = now.stage;
  const box = boxes[step.box];
  const cell = chosenIn(box);
  const value = (v, i) => now.values[v][now.values[v].length === 1 ? 0 : i];
  if (step.kind === "given" || step.kind === "seed") {
    const [name, v] = step.kind === "given" ? [box.name, box.v] : [box.slope, cotangent];
    return [line([name], null, value(v, cell))];
  }
  if (step.kind === "forward") {
    const names = box.made.startsWith(box.name) ? [box.made] : [box.name, box.made];
    return [line(names, expressionOf(box.v, cell, isBox), value(box.v, cell))];
  }
  const link = links[step.link];
  const { from, spread } = incoming(link);
  const at = sourceCell(link, cell);
  const lines = [];
  if (spread) {
    const factors = factorOf(link), factor = isUniform(factors) ? { exact: factors[at] } : factors[at];
    lines.push(line([`${from.slope} · ${closed(link.factor)}`], ["multiply", spread[at], factor], value(link.before, at)));
  } else {
    lines.push(line([ruleText(link, from)], expressionOf(link.before, at, (v) => v === from.g || isBox(v)), value(link.before, at)));
  }
  if (link.after !== link.before) {
    const sum = expressionOf(link.after, cell, (v) => v === link.before);
    const label = link.over ? `Σ over ${link.over}` : link.back || "arriving";
    lines.push(line([label], sum, value(link.after, cell)));
  }
  const previous = previousOf(step);
  if (previous !== null) {
    lines.push(line([box.slope], ["add", value(previous, cell), value(link.after, cell)], value(link.sum, cell)));
  }
  return lines;
}

/** A formula as a factor, in parentheses if it is a sum, a quotient or negative. */
const closed = (text) => (/[+−/@]/.test(text.replace(/\([^()]*\)/g, "")) ? `(${text})` : text);
