"""Reduce every primitive to one of five families, which use tables of positions and need no axes or strides.

Most tables are found by running the primitive itself on the positions of its operand, 0, 1, 2 ...
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...engine.operators import Array
from ...engine.ops.shape import Place, filled
from ...engine.ops.windows import sliding_windows
from ...engine.primitive import Node
from ...engine.tensor import Tensor

# fmt: off
ELEMENTWISE = frozenset([
    "absolute", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "bitwise_and",
    "bitwise_or", "bitwise_xor", "cbrt", "ceil", "clip", "cos", "cosh", "detach", "divide", "equal", "erf", "exp",
    "expm1", "finite", "floor", "floor_divide", "fmod", "greater", "greater_equal", "hypot", "invert", "isfinite",
    "isinf", "isnan", "isneginf", "isposinf", "less", "less_equal", "log", "log10", "log1p", "log2", "logaddexp",
    "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "multiply",
    "negative", "not_equal", "power", "remainder", "rint", "root", "rsqrt", "sigmoid", "sign", "signbit", "sin", "sinh",
    "sqrt", "square", "subtract", "tan", "tanh", "trunc", "where",
])
# fmt: on
REDUCTIONS = frozenset(["all", "any", "argmax", "argmin", "count_nonzero", "max", "mean", "min", "prod", "sum"])
RUNNING = frozenset(["argsort", "cumprod", "cumsum"])
BY_CELL = ELEMENTWISE | REDUCTIONS
"""Operations whose rules multiply the gradient elementwise by a local factor."""
_REARRANGING = frozenset(["broadcast_to", "concatenate", "reshape", "sliding_windows", "stack", "transpose"])
_SYNONYMS = {"fix": "trunc", "around": "rint", "round": "rint"}
_OF_BOOLS = {"add": "logical_or", "multiply": "logical_and", "invert": "logical_not"}


@dataclass(frozen=True)
class Computation:
    """The way in which the evaluator computes a Tensor.

    Attributes
    ----------
    op : str
    operands : sequence of Tensors, arrays and numbers
    more : dict
        Further entries of the vertex, with tables as arrays.
    held : Tensor or None
        Data in the graph that the evaluator keeps as recorded.
    """

    op: str
    operands: Sequence[Any]
    more: dict[str, Any] = field(default_factory=dict)
    held: Tensor | None = None


def computation(t: Tensor) -> Computation | None:
    """Return the evaluator's computation of a recorded Tensor, or None if there is none."""
    node: Any = t.node
    name = node.primitive.name
    if t.dtype.kind not in "biuf" or (t.dtype.kind == "f" and t.dtype.char not in "fd"):
        return None
    name = _OF_BOOLS.get(name, name) if t.dtype.kind == "b" else _SYNONYMS.get(name, name)
    if name in ELEMENTWISE:
        return _elementwise(name, node)
    if name in REDUCTIONS | RUNNING:
        return _lanes(name, node)
    if name in _REARRANGING:
        places = node.primitive.forward(*_places_of(node.arrays), **node.static)
        return Computation("gather", node.inputs, {"of": name, "table": places})
    return _OTHERS[name](t, node) if name in _OTHERS else None


def _elementwise(name: str, node: Node) -> Computation | None:
    if not node.primitive.rules and node.static:
        return None  # a keyword of NumPy
    operands = list(node.inputs)
    if name == "clip":
        operands[1:] = [
            infinity if x is None else x for x, infinity in zip(operands[1:], (-math.inf, math.inf), strict=True)
        ]
    if name == "rint" and any(operands[1:]):
        return None  # rounded to decimals
    return Computation(name, operands[:1] if name == "rint" else operands)


def _astype(t: Tensor, node: Node) -> Computation:
    if t.dtype.kind == "b":
        return Computation("not_equal", [*node.inputs, 0])
    return Computation("detach" if t.dtype.kind == "f" else "trunc", node.inputs)


def _lanes(name: str, node: Node) -> Computation | None:
    (x, *_), axis = node.inputs, node.static.get("axis", 0)
    if not node.primitive.rules:
        if not node.static.keys() <= {"axis", "keepdims", "kind", "stable"}:
            return None  # a selection by where=
        bound = inspect.signature(node.primitive.forward).bind(*node.inputs, **node.static)
        bound.apply_defaults()
        axis = bound.arguments["axis"]
    axes = [i % x.ndim for i in (range(x.ndim) if axis is None else np.atleast_1d(axis))]
    order = [i for i in range(x.ndim) if i not in axes] + sorted(axes)
    n = math.prod(x.shape[i] for i in axes)
    return Computation(name, [x], {"n": n, "table": _places(x.shape).transpose(order)})


def _pad(t: Tensor, node: Node) -> Computation:
    (x,), values = node.arrays, np.reshape(node.static["value"], (-1, 2))
    places, beyond = _places_of((x, values))
    table = np.pad(places, node.static["width"], constant_values=beyond)
    return Computation("gather", [*node.inputs, values], {"of": "pad", "table": table})


# Sums of products. The axes of the result come first, then the summed axes.


def _matmul(t: Tensor, node: Node) -> Computation:
    lead = "ABCDEFGH"[: t.ndim - 2]
    return _products(node, (f"{lead}ij", f"{lead}jk"), f"{lead}ik")


def _einsum(t: Tensor, node: Node) -> Computation:
    return _products(node, node.static["terms"], node.static["result"])


def _products(node: Node, terms: Sequence[str], result: str) -> Computation:
    sizes = {
        label: n for term, x in zip(terms, node.arrays, strict=True) for label, n in zip(term, x.shape, strict=True)
    }
    labels = result + "".join(sorted({*"".join(terms)} - {*result}))
    shape = [sizes[label] for label in labels]
    factors = []
    for term, x in zip(terms, node.arrays, strict=True):
        order = sorted(range(x.ndim), key=lambda i: labels.index(term[i]))
        kept = [sizes[label] if label in term else 1 for label in labels]
        factors.append(np.broadcast_to(_places(x.shape).transpose(order).reshape(kept), shape))
    n = math.prod(shape[len(result) :])
    return Computation("products", node.inputs, {"of": node.primitive.name, "n": n, "factors": factors})


# Indexing and scattering.


def _getitem(t: Tensor, node: Node) -> Computation:
    return _indexed("gather", node, node.arrays[0].shape)


def _scatter(t: Tensor, node: Node) -> Computation:
    return _indexed("scatter", node, t.shape)


def _overlap_add(t: Tensor, node: Node) -> Computation:
    stride = node.static["stride"]
    table = sliding_windows(_places(t.shape), node.arrays[0].shape[node.arrays[0].ndim - len(stride) :], stride)
    return Computation("scatter", node.inputs, {"of": "overlap_add", "table": table})


def _indexed(op: str, node: Node, shape: tuple[int, ...]) -> Computation:
    """Return the positions that an index selects. Computed integers move them, and a computed mask is held."""
    index, (x, *computed), values = node.static["index"], node.inputs, node.arrays[1:]
    places, of = _places(shape), node.primitive.name
    masks = [one for one in computed if one.dtype.kind == "b"]
    if masks or not computed:
        return Computation(op, [x], {"of": of, "table": places[filled(index, values)]}, next(iter(masks), None))
    zeros = [np.zeros_like(value) for value in values]
    moves = []
    for position, part in enumerate(index):
        if type(part) is Place:
            axis = _axis_at(index, position, len(shape))
            value = np.asarray(values[part])
            # Indexing an array of coordinates with 0, 1, 2 ... gives the element of the operand used at each position.
            coordinates = np.broadcast_to(np.arange(value.size), (*shape[:axis], *shape[axis + 1 :], value.size))
            read = [_places(value.shape) if i == part else zero for i, zero in enumerate(zeros)]
            used = np.moveaxis(coordinates, -1, axis)[filled(index, read)]
            moves.append((1 + part, math.prod(shape[axis + 1 :]), shape[axis], used))
    return Computation(op, node.inputs, {"of": of, "table": places[filled(index, zeros)], "moves": moves})


def _axis_at(index: tuple[Any, ...], position: int, ndim: int) -> int:
    """Return the axis that a part of an index applies to."""

    def axes(parts: Sequence[Any]) -> int:
        return sum(np.ndim(part) if np.asarray(part).dtype.kind == "b" else part is not None for part in parts)

    before = index[:position]
    return ndim - axes(index[position:]) if any(part is Ellipsis for part in before) else axes(before)


def _places(shape: Sequence[int]) -> Array:
    return np.arange(math.prod(shape)).reshape(shape)


def _places_of(arrays: Sequence[Array]) -> list[Array]:
    """Return the positions of the elements of several flattened and concatenated arrays."""
    ends = np.cumsum([0, *(x.size for x in arrays)])
    return [start + _places(x.shape) for start, x in zip(ends, arrays, strict=False)]


_OTHERS: dict[str, Callable[[Tensor, Node], Computation]] = {
    "astype": _astype,
    "einsum": _einsum,
    "getitem": _getitem,
    "matmul": _matmul,
    "overlap_add": _overlap_add,
    "pad": _pad,
    "scatter": _scatter,
}
