"use strict";
/* Recomputes a program (see program.py) from other numbers: every value, contribution and gradient.

   It has only the forward functions of the primitives: the gradient is a graph of the same primitives, recorded by the
   engine. Values are flat Float64Arrays in C order. Tables of positions replace axes and strides. */

const Evaluator = (() => {
  const whole = (a) => { // rounds halves to even, as NumPy does
    const up = Math.round(a);
    return up - a === 0.5 && up % 2 ? up - 1 : up;
  };
  const isBelow = (rest, b) => rest && rest < 0 !== b < 0; // a remainder has the sign of b
  const modulo = (a, b) => (isBelow(a % b, b) ? (a % b) + b : a % b);
  const quotient = (a, b) => (b ? whole((a - (a % b)) / b) - (isBelow(a % b, b) ? 1 : 0) : a / b);
  const addedExponents = (a, b) => (a === b ? a + Math.LN2 : Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b))));
  const erf = (x) => { // all terms of the series are positive, so nothing cancels
    if (!(Math.abs(x) < 6)) return Math.sign(x);
    let sum = 0, term = x;
    for (let n = 1; sum + term !== sum; n++) { sum += term; term *= 2 * x * x / (2 * n + 1); }
    return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
  };
  const { isNaN, isFinite } = Number;
  const isInfinite = (a) => Math.abs(a) === Infinity;
  const holds = (a) => a !== 0; // true for NaN

  // Elementwise functions. Their arguments are the operands, and true becomes 1.
  const ELEMENTWISE = {
    add: (a, b) => a + b, subtract: (a, b) => a - b, multiply: (a, b) => a * b, divide: (a, b) => a / b,
    negative: (a) => -a, square: (a) => a * a, power: (a, b) => (a === 1 || (a === -1 && isInfinite(b)) ? 1 : a ** b),
    sqrt: Math.sqrt, root: Math.sqrt, rsqrt: (a) => 1 / Math.sqrt(a), cbrt: Math.cbrt,
    exp: Math.exp, expm1: Math.expm1, log: Math.log, log1p: Math.log1p, log2: Math.log2, log10: Math.log10,
    logaddexp: addedExponents, logaddexp2: (a, b) => addedExponents(a * Math.LN2, b * Math.LN2) / Math.LN2,
    sin: Math.sin, cos: Math.cos, tan: Math.tan, arcsin: Math.asin, arccos: Math.acos, arctan: Math.atan,
    arctan2: Math.atan2, hypot: (a, b) => Math.hypot(a, b), sinh: Math.sinh, cosh: Math.cosh, tanh: Math.tanh,
    arcsinh: Math.asinh, arccosh: Math.acosh, arctanh: Math.atanh, erf,
    sigmoid: (a) => (a >= 0 ? 1 / (1 + Math.exp(-a)) : Math.exp(a) / (1 + Math.exp(a))),
    absolute: Math.abs, sign: Math.sign, maximum: (a, b) => Math.max(a, b), minimum: (a, b) => Math.min(a, b),
    clip: (a, lower, upper) => Math.min(Math.max(a, lower), upper), finite: (a) => (isFinite(a) ? a : 0),
    where: (condition, a, b) => (holds(condition) ? a : b), detach: (a) => a,
    floor: Math.floor, ceil: Math.ceil, trunc: Math.trunc, rint: whole,
    remainder: modulo, fmod: (a, b) => a % b, floor_divide: quotient,
    equal: (a, b) => a === b, not_equal: (a, b) => a !== b, less: (a, b) => a < b, less_equal: (a, b) => a <= b,
    greater: (a, b) => a > b, greater_equal: (a, b) => a >= b,
    isnan: isNaN, isfinite: isFinite, isinf: isInfinite,
    isposinf: (a) => a === Infinity, isneginf: (a) => a === -Infinity, signbit: (a) => a < 0 || Object.is(a, -0),
    logical_and: (a, b) => holds(a) && holds(b), logical_or: (a, b) => holds(a) || holds(b),
    logical_xor: (a, b) => holds(a) !== holds(b), logical_not: (a) => !holds(a),
    bitwise_and: (a, b) => a & b, bitwise_or: (a, b) => a | b, bitwise_xor: (a, b) => a ^ b, invert: (a) => ~a,
  };

  // Functions of one lane, the elements along the axes of a reduction. Running functions return as many numbers.
  const sum = (lane) => lane.reduce((total, a) => total + a, 0);
  const first = (isBefore) => (lane) =>
    lane.reduce((best, a, i) => (isBefore(a, lane[best]) || (isNaN(a) && !isNaN(lane[best])) ? i : best), 0);
  const running = (combine) => (lane) => { let last; return lane.map((a, i) => (last = i ? combine(last, a) : a)); };
  const LANES = {
    sum, any: (lane) => lane.some(holds), all: (lane) => lane.every(holds),
    count_nonzero: (lane) => lane.filter(holds).length, prod: (lane) => lane.reduce((total, a) => total * a, 1),
    max: (lane) => lane.reduce((a, b) => Math.max(a, b)), min: (lane) => lane.reduce((a, b) => Math.min(a, b)),
    mean: (lane) => { // as the engine does it: the mean of equal values is that value
      const mean = sum(lane) / lane.length, rest = sum(lane.map((a) => a - mean)) / lane.length;
      return mean + (isFinite(rest) ? rest : 0);
    },
    argmax: first((a, b) => a > b), argmin: first((a, b) => a < b),
    cumsum: running((a, b) => a + b), cumprod: running((a, b) => a * b),
    argsort: (lane) => lane.map((_, i) => i).sort((i, j) => isNaN(lane[i]) - isNaN(lane[j]) || lane[i] - lane[j] || 0),
  };

  const sizeOf = (shape) => shape.reduce((size, n) => size * n, 1);

  /** The positions in a table, moved by data. */
  function placesOf(vertex, inputs, tables) {
    const table = tables[vertex.table];
    if (!vertex.moves) return table ? (k) => table[k] : (k) => k;
    const moves = vertex.moves.map(([operand, stride, size, read]) => {
      const at = inputs[operand], of = tables[read];
      return (k) => { const i = at[of ? of[k] : k]; return stride * (i < 0 ? i + size : i); };
    });
    return (k) => moves.reduce((place, move) => place + move(k), table ? table[k] : k);
  }

  function compute(vertex, inputs, tables) {
    const { op, n } = vertex, [a] = inputs, out = new Float64Array(sizeOf(vertex.shape));
    if (op in ELEMENTWISE) {
      const f = ELEMENTWISE[op], [x, y, z] = inputs.map((v) => (v.length === 1 ? () => v[0] : (i) => v[i]));
      return out.map(z ? (_, i) => f(x(i), y(i), z(i)) : y ? (_, i) => f(x(i), y(i)) : (_, i) => f(x(i)));
    }
    if (op === "gather") {
      const places = placesOf(vertex, inputs, tables);
      const all = vertex.moves || inputs.length === 1 ? a : Float64Array.from(inputs.flatMap((x) => [...x]));
      return out.map((_, k) => all[places(k)]);
    }
    if (op === "scatter") {
      const places = placesOf(vertex, inputs, tables);
      a.forEach((x, k) => { out[places(k)] += x; });
      return out;
    }
    if (op === "products") {
      const factors = inputs.map((x, i) => (vertex.factors[i] === null ? x : tables[vertex.factors[i]].map((p) => x[p])));
      for (let j = 0, k = 0; j < out.length; j++)
        for (const end = k + n; k < end; k++) out[j] += factors.reduce((product, factor) => product * factor[k], 1);
      return out;
    }
    if (!(op in LANES)) throw new Error(`unknown primitive: ${op}`);
    const table = tables[vertex.table], count = n && a.length / n;
    for (let j = 0; j < (n ? count : out.length); j++) {
      const lane = Array.from({ length: n }, (_, i) => a[table ? table[j * n + i] : j * n + i]);
      const found = LANES[op](lane);
      if (Array.isArray(found)) found.forEach((x, i) => { out[table ? table[j * n + i] : j * n + i] = x; });
      else out[j] = found;
    }
    return out;
  }

  /** Return the values of all vertices. `given` maps numbers of vertices to replaced values. */
  function evaluate(program, given = new Map()) {
    const values = [];
    program.vertices.forEach((vertex, i) => {
      if (given.has(i)) values[i] = Float64Array.from(given.get(i));
      else if (vertex.value) values[i] = Float64Array.from(vertex.value, Number);
      else values[i] = compute(vertex, vertex.in.map((k) => values[k]), program.tables);
      if (vertex.dtype === "float32") values[i] = Float64Array.from(values[i], Math.fround);
    });
    return values;
  }

  /** Return all values for a cotangent that is 1 at one cell of y. The gradients are that cell's row of the Jacobian. */
  function row(program, cell, given = new Map()) {
    const one = new Float64Array(sizeOf(program.vertices[program.cotangent].shape));
    one[cell] = 1;
    return evaluate(program, new Map([...given, [program.cotangent, one]]));
  }

  /** Return the local factor of a link: the contribution of its target's rule for a gradient of ones. */
  function factor(program, link, given = new Map()) {
    const { gradient } = program.shown[link.target];
    const ones = new Float64Array(sizeOf(program.vertices[gradient].shape)).fill(1);
    return evaluate(program, new Map([...given, [gradient, ones]]))[link.before];
  }

  return { evaluate, row, factor, compute, ELEMENTWISE, LANES };
})();

if (typeof module !== "undefined") module.exports = Evaluator;
