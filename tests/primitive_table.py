"""One row for every way to call a primitive or composite, and the oracles that judge them.

A row says how to call it, on what, and what comes out: NumPy's function or the definition written out. The generic
tests know nothing but this table.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import (
    ABOVE_MINUS_ONE,
    AROUND_THE_UNIT_INTERVAL,
    CLEARANCE,
    NONZERO,
    POSITIVE,
    SMOOTH,
    arrays,
    axes,
    distinct_arrays,
    indices,
    pairs_apart,
    shapes,
)

import tinygrad_norm as tn
from tinygrad_norm import Tensor, ops
from tinygrad_norm.engine.context import surrounding


@dataclass(frozen=True)
class Row:
    """`call` and `reference` take the drawn `(inputs, static)` of `cases`."""

    name: str
    call: Callable[..., Any]
    reference: Callable[..., Any]
    cases: st.SearchStrategy[tuple[tuple[np.ndarray, ...], dict[str, Any]]]
    variant: str = ""
    elementwise: bool = False
    linear: bool = False
    # Whether the forward function takes complex numbers and is analytic off its kinks, so that complex steps work.
    analytic: bool = True

    @property
    def label(self) -> str:
        return f"{self.name} {self.variant}".strip()


def _elementwise(name: str, reference: Callable[..., Any], *domains: Any, variant: str = "", **options: Any) -> Row:
    """A row for elementwise functions: operands of one shape, each from its domain."""
    cases = shapes().flatmap(lambda shape: st.tuples(*(arrays(shape, domain) for domain in domains)))
    static = options.pop("static", {})
    cases = st.tuples(cases, st.fixed_dictionaries(static))
    return Row(name, getattr(ops, name), reference, cases, variant, elementwise=True, **options)


def _apart(name: str, reference: Callable[..., Any]) -> Row:
    cases = st.tuples(shapes().flatmap(pairs_apart), st.just({}))
    return Row(name, getattr(ops, name), reference, cases, elementwise=True)


@st.composite
def _reductions(draw: st.DrawFn, values: Any = arrays, min_side: int = 0) -> Any:
    shape = draw(shapes(min_side=min_side))
    return (draw(values(shape)),), {"axis": draw(axes(len(shape))), "keepdims": draw(st.booleans())}


def _unary_cases(static_of: Callable[[tuple[int, ...]], Any], **limits: int) -> Any:
    """One array, and static parameters that depend on its shape."""
    return shapes(**limits).flatmap(lambda shape: st.tuples(st.tuples(arrays(shape)), static_of(shape)))


@st.composite
def _repetitions(draw: st.DrawFn) -> Any:
    source = draw(shapes())
    lead = draw(shapes(max_dims=1))
    shape = lead + tuple(draw(st.integers(0, 3)) if n == 1 else n for n in source)
    shape = shape if shape != source else (2, *shape)
    return (draw(arrays(source)),), {"shape": shape}


@st.composite
def _choices(draw: st.DrawFn) -> Any:
    shape = draw(shapes())
    return (draw(arrays(shape)), draw(arrays(shape))), {"condition": draw(hnp.arrays(bool, shape))}


@st.composite
def _clips(draw: st.DrawFn) -> Any:
    x = draw(arrays(draw(shapes()), AROUND_THE_UNIT_INTERVAL))
    lower = draw(st.sampled_from([-1, -1.0, None, np.full(x.shape, -1.0)]))
    return (x,), {"a_min": lower, "a_max": draw(st.sampled_from([1, 1.0, np.full(x.shape[1:], 1.0)]))}


@st.composite
def _products(draw: st.DrawFn) -> Any:
    found = draw(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3))
    return tuple(draw(arrays(shape)) for shape in found.input_shapes), {}


@st.composite
def _contractions(draw: st.DrawFn) -> Any:
    subscripts = draw(
        st.sampled_from(
            ["ij,jk->ik", "i,i->", "ij->ji", "ij->i", "ij,ij->ij", "bij,bjk->bik", "ij,k->jk", "i,j,ij->", "i,j->ji"]
        )
    )
    size = {label: draw(st.integers(1, 3)) for label in "bijk"}
    terms = subscripts.split("->")[0].split(",")
    return tuple(draw(arrays([size[label] for label in term])) for term in terms), {"subscripts": subscripts}


@st.composite
def _windows(draw: st.DrawFn) -> Any:
    lead, spatial = draw(shapes(max_dims=1)), draw(hnp.array_shapes(max_dims=2, max_side=5))
    size = tuple(draw(st.integers(1, min(n, 3))) for n in spatial)
    stride = tuple(draw(st.integers(1, 3)) for _ in spatial)
    return (draw(arrays(lead + spatial)),), {"size": size, "stride": stride}


def _windows_by_definition(x: np.ndarray, *, size: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    k = len(size)
    counts = [(n - m) // step + 1 for n, m, step in zip(x.shape[-k:], size, stride, strict=True)]
    y = np.empty((*x.shape[:-k], *counts, *size), x.dtype)
    for place in np.ndindex(*counts, *size):
        origin, offset = place[:k], place[k:]
        y[(..., *place)] = x[(..., *(i * step + j for i, step, j in zip(origin, stride, offset, strict=True)))]
    return y


@st.composite
def _overlaps(draw: st.DrawFn) -> Any:
    (x,), static = draw(_windows())
    return (draw(arrays(_windows_by_definition(x, **static).shape)),), {"shape": x.shape, "stride": static["stride"]}


def _overlap_add_by_definition(x: np.ndarray, *, shape: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """The transpose of the windows: element i of the result collects every window place that shows element i."""
    places = np.arange(math.prod(shape)).reshape(shape)
    shown = _windows_by_definition(places, size=x.shape[x.ndim - len(stride) :], stride=stride)
    return np.bincount(shown.ravel(), x.ravel(), math.prod(shape)).reshape(shape).astype(x.dtype)


@st.composite
def _scatters(draw: st.DrawFn) -> Any:
    shape = draw(shapes())
    index = draw(indices(shape))
    return (draw(arrays(np.zeros(shape)[index].shape)),), {"index": index, "shape": shape}


def _scatter_by_definition(x: np.ndarray, *, index: Any, shape: tuple[int, ...]) -> np.ndarray:
    y = np.zeros(shape, x.dtype)
    np.add.at(y, index, x)
    return y


@st.composite
def _joins(draw: st.DrawFn, new_axis: bool) -> Any:
    shape, count = draw(shapes(min_dims=0 if new_axis else 1)), draw(st.integers(1, 3))
    ndim = len(shape) + new_axis
    axis = draw(st.integers(-ndim, ndim - 1))
    joined = [list(shape) for _ in range(count)]
    if not new_axis:
        for one in joined:
            one[axis] = draw(st.integers(0, 3))
    return tuple(draw(arrays(one)) for one in joined), {"axis": axis}


def _reshapes(shape: tuple[int, ...]) -> Any:
    return st.fixed_dictionaries({"shape": st.sampled_from([(-1,), shape[::-1], (1, *shape), (*shape, 1, 1), shape])})


def _orders(shape: tuple[int, ...]) -> Any:
    signed = st.tuples(*(st.sampled_from([axis, axis - len(shape)]) for axis in range(len(shape))))
    return st.fixed_dictionaries({"axes": st.none() | signed.flatmap(st.permutations)})


def _margins(shape: tuple[int, ...]) -> Any:
    widths = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=len(shape), max_size=len(shape))
    return st.fixed_dictionaries({"pad_width": widths, "constant_values": st.sampled_from([0, 1.5])})


def _other_float(x: Any) -> Any:
    return np.float64 if x.dtype == np.float32 else np.float32


@st.composite
def _spread_reductions(draw: st.DrawFn) -> Any:
    """Reductions over at least two elements, which differ so much that their deviation is far from 0."""
    x = 4 * draw(shapes(min_dims=1, min_side=2).flatmap(distinct_arrays))
    return (x,), {"axis": draw(axes(x.ndim).filter(lambda axis: axis != ())), "keepdims": draw(st.booleans())}


def _along_an_axis(shape: tuple[int, ...]) -> Any:
    return st.fixed_dictionaries({"axis": st.integers(-len(shape), len(shape) - 1)})


_DOTS = st.sampled_from([((), ()), ((), (2, 3)), ((2,), ()), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)),
                         ((2, 3), (3, 1)), ((2, 1, 3), (3, 2)), ((0, 2), (2, 3))])  # fmt: skip
_EXPONENTS = st.sampled_from([-2, -1.0, 0, 0.5, 1, 2, 3.0, np.float64(1.5), np.array(2)])
_FLOAT_ONLY = np.vectorize(math.erf, otypes=[float])

ROWS = [
    # Elementwise, smooth on their domains.
    _elementwise("add", np.add, SMOOTH, SMOOTH),
    _elementwise("subtract", np.subtract, SMOOTH, SMOOTH),
    _elementwise("multiply", np.multiply, SMOOTH, SMOOTH),
    _elementwise("divide", np.divide, SMOOTH, NONZERO),
    _elementwise("power", np.power, POSITIVE, SMOOTH),
    Row("power", lambda a, *, b: ops.power(a, b), lambda a, *, b: a ** np.asarray(b).item(),
        _elementwise("power", np.power, POSITIVE, static={"b": _EXPONENTS}).cases, "constant", elementwise=True),
    _elementwise("negative", np.negative, SMOOTH, linear=True),
    _elementwise("square", np.square, SMOOTH),
    _elementwise("sqrt", np.sqrt, POSITIVE),
    _elementwise("root", np.sqrt, POSITIVE),
    _elementwise("rsqrt", lambda x: x ** -0.5, POSITIVE),
    _elementwise("exp", np.exp, SMOOTH),
    _elementwise("log", np.log, POSITIVE),
    _elementwise("log1p", np.log1p, ABOVE_MINUS_ONE),
    _elementwise("expm1", np.expm1, SMOOTH),
    _elementwise("sin", np.sin, SMOOTH),
    _elementwise("cos", np.cos, SMOOTH),
    _elementwise("tanh", np.tanh, SMOOTH),
    _elementwise("sigmoid", lambda x: 1 / (1 + np.exp(-x)), SMOOTH),
    _elementwise("erf", lambda x: _FLOAT_ONLY(x).astype(x.dtype), SMOOTH),
    Row("astype", lambda x: ops.astype(x, _other_float(x)), lambda x: x.astype(_other_float(x)),
        _elementwise("astype", np.negative, SMOOTH).cases, elementwise=True, linear=True, analytic=False),
    # Elementwise, piecewise.
    _elementwise("absolute", np.abs, NONZERO),
    _elementwise("sign", np.sign, NONZERO),
    _apart("maximum", np.maximum),
    _apart("minimum", np.minimum),
    Row("where", lambda a, b, *, condition: ops.where(condition, a, b),
        lambda a, b, *, condition: np.where(condition, a, b), _choices(), elementwise=True, linear=True),
    Row("clip", ops.clip, lambda x, a_min, a_max: np.clip(x, a_min, a_max).astype(x.dtype), _clips(),
        elementwise=True),
    # Reductions.
    Row("sum", ops.sum, np.sum, _reductions(), linear=True),
    Row("mean", ops.mean, np.mean, _reductions(min_side=1), linear=True),
    Row("max", ops.max, np.max, _reductions(distinct_arrays, min_side=1)),
    Row("min", ops.min, np.min, _reductions(distinct_arrays, min_side=1)),
    Row("cumsum", ops.cumsum, lambda x, axis: np.cumsum(x, axis, dtype=x.dtype),
        _unary_cases(lambda shape: st.fixed_dictionaries({"axis": st.integers(-len(shape), len(shape) - 1)}),
                     min_dims=1), linear=True),
    Row("cumsum", ops.cumsum, np.cumsum, _unary_cases(lambda shape: st.just({})), "flat", linear=True),
    # Shapes.
    Row("broadcast_to", ops.broadcast_to, np.broadcast_to, _repetitions(), linear=True),
    Row("reshape", ops.reshape, lambda x, *, shape: x.reshape(shape), _unary_cases(_reshapes), linear=True),
    Row("transpose", ops.transpose, np.transpose, _unary_cases(_orders), linear=True),
    Row("getitem", lambda x, *, index: ops.getitem(x, index), lambda x, *, index: x[index],
        _unary_cases(lambda shape: st.fixed_dictionaries({"index": indices(shape)})), linear=True),
    Row("scatter", ops.scatter, _scatter_by_definition, _scatters(), linear=True),
    Row("concatenate", lambda *xs, axis: ops.concatenate(xs, axis=axis),
        lambda *xs, axis: np.concatenate(xs, axis=axis), _joins(new_axis=False), linear=True),
    Row("stack", lambda *xs, axis: ops.stack(xs, axis=axis),
        lambda *xs, axis: np.stack(xs, axis=axis), _joins(new_axis=True), linear=True),
    Row("pad", ops.pad, np.pad, _unary_cases(_margins, min_dims=1)),
    # Sums of products.
    Row("matmul", ops.matmul, np.matmul, _products()),
    Row("einsum", lambda *xs, subscripts: ops.einsum(subscripts, *xs),
        lambda *xs, subscripts: np.einsum(subscripts, *xs), _contractions()),
    Row("sliding_windows", ops.sliding_windows, _windows_by_definition, _windows(), linear=True),
    Row("overlap_add", ops.overlap_add, _overlap_add_by_definition, _overlaps(), linear=True),
]  # fmt: skip

COMPOSITES = [
    Row("var", ops.var, np.var, _reductions(min_side=1)),
    Row("var", lambda x, **static: ops.var(x, ddof=0.5, **static), lambda x, **static: np.var(x, ddof=0.5, **static),
        _reductions(min_side=1), "with ddof"),
    Row("std", ops.std, np.std, _spread_reductions()),
    Row("logsumexp", ops.logsumexp, lambda x, axis, keepdims: np.log(np.exp(x).sum(axis, keepdims=keepdims)),
        _reductions(min_side=1)),
    Row("softmax", ops.softmax, lambda x, axis: np.exp(x) / np.exp(x).sum(axis, keepdims=True),
        _unary_cases(_along_an_axis, min_dims=1, min_side=1)),
    Row("log_softmax", ops.log_softmax, lambda x, axis: x - np.log(np.exp(x).sum(axis, keepdims=True)),
        _unary_cases(_along_an_axis, min_dims=1, min_side=1)),
    _elementwise("relu", lambda x: np.maximum(x, 0), NONZERO),
    _elementwise("leaky_relu", lambda x: np.maximum(x, 0.01 * x), NONZERO),
    _elementwise("silu", lambda x: x / (1 + np.exp(-x)), SMOOTH),
    _elementwise("softplus", lambda x: np.log(1 + np.exp(x)), SMOOTH),
    Row("gelu", lambda x: ops.gelu(x, approximate="tanh"),
        lambda x: x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        _elementwise("gelu", np.negative, SMOOTH).cases, "tanh", elementwise=True),
    Row("gelu", ops.gelu, lambda x: x * (1 + _FLOAT_ONLY(x / math.sqrt(2))) / 2,
        _elementwise("gelu", np.negative, SMOOTH).cases, "exact", elementwise=True),
    Row("dot", ops.dot, np.dot,
        st.tuples(_DOTS.flatmap(lambda two: st.tuples(*map(arrays, two))), st.just({}))),
    Row("swapaxes", ops.swapaxes, np.swapaxes,
        _unary_cases(lambda shape: st.fixed_dictionaries(
            {"axis1": st.integers(-len(shape), len(shape) - 1), "axis2": st.integers(0, len(shape) - 1)}), min_dims=1),
        linear=True),
    Row("moveaxis", ops.moveaxis, np.moveaxis,
        _unary_cases(lambda shape: st.fixed_dictionaries(
            {"source": st.integers(0, len(shape) - 1), "destination": st.integers(-len(shape), len(shape) - 1)}),
            min_dims=1), linear=True),
    Row("expand_dims", ops.expand_dims, np.expand_dims,
        _unary_cases(lambda shape: st.fixed_dictionaries({"axis": st.sampled_from([0, -1, (0, -1), (-1, 0)])})),
        linear=True),
    Row("squeeze", ops.squeeze, np.squeeze, _unary_cases(lambda shape: st.fixed_dictionaries(
        {"axis": st.sampled_from([None, tuple(i for i, n in enumerate(shape) if n == 1)])})), linear=True),
]  # fmt: skip


# The oracles. They run the forward function on complex arrays, and never a rule.


def complex_step(phi, inputs, position):
    """The gradient of an analytic scalar function, to rounding: nothing is subtracted, so h can be 1e-100."""
    gradient = np.empty(inputs[position].shape)
    for place in np.ndindex(gradient.shape):
        points = [x.astype(complex) for x in inputs]
        points[position][place] += 1e-100j
        with surrounding(recording=False, analytic=True):
            gradient[place] = phi(*points).imag / 1e-100
    return gradient


def central_difference(phi, inputs, position):
    """The gradient of a linear function, for which a step of 1 is as exact as any other."""
    gradient = np.empty(inputs[position].shape)
    for place in np.ndindex(gradient.shape):
        ends = []
        for step in (1, -1):
            points = [x.copy() for x in inputs]
            points[position][place] += step
            ends.append(phi(*points))
        gradient[place] = (ends[0] - ends[1]) / 2
    return gradient


def mixed_derivative(phi, inputs, directions):
    """The n-th derivative of an analytic function along n directions: Cauchy's integral, and polarization.

    The n-th Taylor coefficient along a line is a mean over a circle, and the mixed derivative is the mean of such
    coefficients over the sums of the directions with all signs, of which a half is the other half turned round. No
    element moves further than 0.4 of the clearance, so 32 points leave an error of 0.4**32 = 2e-13; rounding, divided
    by the radius to the n, leaves 1e-12. Of the circle the upper half is enough, as values mirror each other.
    """
    n, points = len(directions), 32
    circle = 0.4 * CLEARANCE / n * np.exp(2j * np.pi * (np.arange(points // 2) + 0.5) / points)
    total = 0
    for signs in itertools.product([1], *[[1, -1]] * (n - 1)):
        line = [sum(s * v for s, v in zip(signs, vs, strict=True)) for vs in zip(*directions, strict=True)]
        with surrounding(recording=False, analytic=True):
            values = [phi(*(x + z * v for x, v in zip(inputs, line, strict=True))) for z in circle]
        total += math.prod(signs) * np.mean(values / circle**n).real
    return total / 2 ** (n - 1)


def assert_close(got, want, tolerance):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    # Inputs and cotangents are of size 1, so an error counts in proportion to the gradient, or to 1 if that is more.
    scale = max(1, np.abs(want).max(initial=0))
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)


def random_directions(rng, xs):
    return [rng.uniform(-1, 1, x.shape) for x in xs]


def check_derivatives(function, inputs, rng, order=2, oracle=complex_step, tolerance=1e-9):
    """Compare derivatives up to an order, contracted with random numbers, with an oracle, in both modes."""
    xs = [Tensor(x, requires_grad=True) for x in inputs]
    y = function(*xs)
    g = rng.normal(size=y.shape)
    phi = lambda *points: np.sum(g * function(*points))  # noqa: E731
    y.backward(g.astype(y.dtype))
    recorded = tn.grad(y, xs, g, create_graph=True)
    for i, (x, gradient) in enumerate(zip(xs, recorded, strict=True)):
        assert_close(x.grad.data, oracle(phi, inputs, i), tolerance)
        assert_close(gradient.data, x.grad.data, 1e-15)
    directions = []
    for _ in range(order - 1):
        directions.append(random_directions(rng, xs))
        recorded = tn.grad(recorded, xs, directions[-1], create_graph=True)
        last = random_directions(rng, xs)
        got = sum(np.sum(v * gradient.data) for v, gradient in zip(last, recorded, strict=True))
        want = mixed_derivative(phi, inputs, [*directions, last]) if oracle is complex_step else 0
        assert_close(got, want, tolerance)
