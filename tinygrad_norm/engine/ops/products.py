"""Sums of products: einsum, dot, tensordot, convolve and related functions."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from ..operators import FUNCTIONS
from ..recording import step
from ..tensor import Tensor, record
from .core import Rule, astype, broadcast_to, matmul, operand, reshape, sum, transpose
from .rearranging import diagonal, flip
from .shape import in_one_dtype, moveaxis, pad, swapaxes, variadic
from .windows import sliding_windows


def _of_arrays(subscripts: str, *xs: Any, optimize: Any) -> Any:
    """Return NumPy's einsum of arrays; float16 is summed in float32."""
    if np.result_type(*xs).char != "e":
        return np.einsum(subscripts, *xs, optimize=optimize)
    return np.einsum(subscripts, *(x.astype("f") for x in xs), optimize=optimize).astype("e")


def _einsum_rule(
    g: Any, y: Any, *xs: Any, terms: tuple[str, ...], result: str, operand: int, optimize: bool = False
) -> Any:
    """Contract g with the other operands. Along axes that only this operand has, g is repeated."""
    x, wanted = xs[operand], terms[operand]
    others = [i for i in range(len(xs)) if i != operand]
    known = {label for term in (result, *(terms[i] for i in others)) for label in term}
    present = "".join(label for label in wanted if label in known)
    inputs = ",".join((result, *(terms[i] for i in others)))
    contribution = einsum(f"{inputs}->{present}", g, *(xs[i] for i in others), optimize=optimize)
    if present != wanted:
        sizes = tuple(size if label in known else 1 for label, size in zip(wanted, x.shape, strict=True))
        contribution = broadcast_to(contribution.reshape(sizes), x.shape)
    return contribution


_rule: Rule = ("g contracted with the other operands", _einsum_rule)
_einsum = variadic(
    "einsum",
    "einsum",
    lambda *xs, terms, result, optimize=False: _of_arrays(f"{','.join(terms)}->{result}", *xs, optimize=optimize),
    _rule,
)
# The letters that NumPy uses for numbered axes.
_LETTERS = string.ascii_uppercase + string.ascii_lowercase


def einsum(*operands: Any, optimize: Any = False) -> Any:
    """Sum products over named axes, like ``np.einsum``: ``einsum("ij,jk->ik", a, b)``, ``einsum(a, [0, 1], [1, 0])``.

    A label that occurs twice in a term selects a diagonal, ``...`` stands for the unnamed axes, and axes of size 1 are
    broadcast. With ``optimize``, three or more operands are contracted pairwise, in the order of ``np.einsum_path``.

    Raises
    ------
    ValueError
        If the subscripts do not match the operands.
    """
    if not operands:
        raise ValueError("einsum needs subscripts and operands")
    subscripts, *xs = operands if isinstance(operands[0], str) else _lettered(operands)
    xs = list(in_one_dtype(xs))
    if not any(isinstance(x, Tensor) for x in xs):
        return _of_arrays(subscripts, *xs, optimize=optimize)
    terms, result, sizes = _explicit(subscripts, tuple(x.shape for x in xs))
    named = [_with_each_axis_once(x, term, sizes) for x, term in zip(xs, terms, strict=True)]
    return _contracted(named, result, optimize)


def _lettered(operands: Sequence[Any]) -> tuple[Any, ...]:
    """Name the axes of ``x, [0, 1], y, [1, 2], [0, 2]`` with letters: ``"AB,BC->AC", x, y``."""

    def term(labels: Any) -> str:
        if not all(label is Ellipsis or label in range(len(_LETTERS)) for label in labels):
            raise ValueError(f"einsum labels must be integers from 0 to {len(_LETTERS) - 1} or Ellipsis, not {labels}")
        return "".join("..." if label is Ellipsis else _LETTERS[label] for label in labels)

    pairs = len(operands) // 2 * 2
    subscripts = ",".join(map(term, operands[1:pairs:2])) + "".join(f"->{term(last)}" for last in operands[pairs:])
    return subscripts, *operands[:pairs:2]


@lru_cache
def _explicit(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[list[str], str, dict[str, int]]:
    """Return the terms and the result without ``...``, and the size of each axis."""
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    names = [term.replace("...", "", 1) for term in (*terms, result)]
    extra = [len(shape) - len(name) for shape, name in zip(shapes, names, strict=False)]
    spare = "".join(sorted({*_LETTERS} - {*subscripts}))[: max(0, *extra)]
    full = [term.replace("...", spare[len(spare) - n :]) for term, n in zip(terms, extra, strict=False)]
    every = "".join(full)
    if not arrow:
        result = "..." + "".join(sorted(label for label in {*every} - {*spare} if every.count(label) == 1))
    shown = result.replace("...", spare)
    sizes: dict[str, int] = {}
    fits = len(terms) == len(shapes) and {*"".join(names)} <= {*_LETTERS} and [*map(len, full)] == [*map(len, shapes)]
    for label, size in zip(every, (n for shape in shapes for n in shape), strict=False):
        sizes[label] = size if sizes.get(label, 1) == 1 else sizes[label]
        fits &= size in (1, sizes[label])
    if not fits:
        raise ValueError(f"einsum subscripts {subscripts!r} do not match operands of shapes {list(shapes)}")
    if len({*shown}) < len(shown) or not {*spare} <= {*shown} <= {*every}:
        reason = "each label of the result must occur there once and be a label of an operand"
        raise ValueError(f"einsum subscripts {subscripts!r}: {reason}")
    return full, shown, sizes


def _with_each_axis_once(x: Any, term: str, sizes: dict[str, int]) -> tuple[Any, str]:
    """Take the diagonal of axes with the same label, and drop axes of size 1 that are broadcast."""
    for label in dict.fromkeys(term):
        while term.count(label) > 1:
            first, second = term.index(label), term.rindex(label)
            if x.shape[first] != x.shape[second]:
                raise ValueError(f"einsum: label {label!r} occurs twice in an operand, with different sizes")
            x = diagonal(x, 0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + label
    shown = [axis for axis, label in enumerate(term) if x.shape[axis] == sizes[label]]
    x = x if len(shown) == len(term) else reshape(x, [x.shape[axis] for axis in shown])
    return x, "".join(term[axis] for axis in shown)


def _contracted(named: list[tuple[Any, str]], result: str, optimize: Any) -> Any:
    path: list[Any] = [range(len(named))]
    if optimize and len(named) > 2:
        formula = ",".join(term for _, term in named) + "->" + result
        shapes = (np.broadcast_to(0.0, x.shape) for x, _ in named)
        path = np.einsum_path(formula, *shapes, optimize=optimize)[0][1:]
    for places in path:
        xs, terms = zip(*(named[i] for i in places), strict=True)
        named = [one for i, one in enumerate(named) if i not in places]
        needed = {*result}.union(*(term for _, term in named))
        kept = "".join(label for label in dict.fromkeys("".join(terms)) if label in needed) if named else result
        static = {"terms": terms, "result": kept, **({"optimize": True} if optimize else {})}
        named.append((record(_einsum, xs, static), kept))
    return named[0][0]


# Products of two arrays, computed as matrix products where possible, because those are fast.


def dot(a: Any, b: Any, out: None = None) -> Any:
    """Sum products over the last axis of ``a`` and the second-to-last of ``b``, like ``np.dot``; scalars multiply."""
    if out is not None:
        raise TypeError("dot of Tensors does not support out=; use the return value")
    a, b = operand(a), operand(b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return matmul(a, b) if a.ndim <= 2 and b.ndim <= 2 else tensordot(a, b, (-1, max(-2, -b.ndim)))


def inner(a: Any, b: Any) -> Any:
    """Sum products over the last axes, like ``np.inner``; scalars multiply."""
    a, b = operand(a), operand(b)
    return a * b if a.ndim == 0 or b.ndim == 0 else tensordot(a, b, (-1, -1))


def outer(a: Any, b: Any, out: None = None) -> Any:
    """Return the products of each element of ``a`` with each of ``b``, like ``np.outer``."""
    if out is not None:
        raise TypeError("outer of Tensors does not support out=; use the return value")
    a, b = in_one_dtype((a, b))
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


def vdot(a: Any, b: Any) -> Any:
    """Sum the products of all elements, like ``np.vdot``."""
    return dot(reshape(a, -1), reshape(b, -1))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Sum products over pairs of axes, like ``np.tensordot``; ``axes`` is a number of axes or two lists of axes."""
    a, b = operand(a), operand(b)
    pairs: Any = (range(a.ndim - axes, a.ndim), range(axes)) if np.ndim(axes) == 0 else (np.atleast_1d(x) for x in axes)
    try:
        ours, theirs = (
            np.lib.array_utils.normalize_axis_tuple([int(i) for i in pair], x.ndim)
            for pair, x in zip(pairs, (a, b), strict=True)
        )
        fits = [a.shape[i] for i in ours] == [b.shape[j] for j in theirs]
    except np.exceptions.AxisError:
        fits = False
    if not fits:
        raise ValueError(f"tensordot: axes {axes} do not match operands of shapes {a.shape} and {b.shape}")
    rows = [i for i in range(a.ndim) if i not in ours]
    columns = [j for j in range(b.ndim) if j not in theirs]
    shape = [a.shape[i] for i in rows], [a.shape[i] for i in ours], [b.shape[j] for j in columns]
    m, n, k = (int(np.prod(sizes, dtype=int)) for sizes in shape)
    product = reshape(transpose(a, [*rows, *ours]), (m, n)) @ reshape(transpose(b, [*theirs, *columns]), (n, k))
    return reshape(product, [*shape[0], *shape[2]])


def vecdot(a: Any, b: Any, axis: int = -1) -> Any:
    """Sum products over one axis of both operands, like ``np.vecdot``."""
    a, b = (moveaxis(x, axis, -1) for x in (a, b))
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"vecdot: the vectors in operands of shapes {a.shape} and {b.shape} differ in size")
    return sum(a * b, -1)


def matvec(a: Any, b: Any) -> Any:
    """Multiply matrices by vectors, like ``np.matvec``; both may be stacks."""
    return matmul(a, operand(b)[..., None])[..., 0]


def vecmat(a: Any, b: Any) -> Any:
    """Multiply vectors by matrices, like ``np.vecmat``; both may be stacks."""
    return matmul(operand(a)[..., None, :], b)[..., 0, :]


def kron(a: Any, b: Any) -> Any:
    """Replace each element of ``a`` by its product with ``b``, like ``np.kron``."""
    a, b = in_one_dtype((a, b))
    ndim = max(a.ndim, b.ndim)
    rows, columns = ((1,) * (ndim - x.ndim) + x.shape for x in (a, b))
    a = reshape(a, [size for n in rows for size in (n, 1)])
    b = reshape(b, [size for n in columns for size in (1, n)])
    return reshape(a * b, [m * n for m, n in zip(rows, columns, strict=True)])


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """Return the vector product of vectors with three components, like ``np.cross``."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(f"cross requires vectors with 3 components, not {a.shape[-1]} and {b.shape[-1]}")
    following, last = [1, 2, 0], [2, 0, 1]
    with step("cross product", a, b):
        return moveaxis(a[..., following] * b[..., last] - a[..., last] * b[..., following], -1, axisc)


def multi_dot(arrays: Sequence[Any], *, out: None = None) -> Any:
    """Multiply matrices in the cheapest order, like ``np.linalg.multi_dot``; the first and last may be vectors."""
    if out is not None:
        raise TypeError("multi_dot of Tensors does not support out=; use the return value")
    *front, last = [operand(x) for x in arrays]
    ends = range(1 if front[0].ndim == 1 else 0, len(front) + last.ndim)
    terms = [_LETTERS[i : i + 2] if i or x.ndim > 1 else _LETTERS[1] for i, x in enumerate(front)]
    terms.append(_LETTERS[len(front) : len(front) + last.ndim])
    result = "".join(_LETTERS[i] for i in (0, len(front) + 1) if i in ends)
    return einsum(f"{','.join(terms)}->{result}", *front, last, optimize=True)


_MARGINS: dict[str, Callable[[int], tuple[int, int]]] = {
    "full": lambda n: (n - 1, n - 1),
    "same": lambda n: (n // 2, (n - 1) // 2),
    "valid": lambda n: (0, 0),
}


def convolve(a: Any, v: Any, mode: Literal["full", "same", "valid"] = "full") -> Any:
    """Convolve two vectors, like ``np.convolve``."""
    a, v = in_one_dtype((a, v))
    if a.ndim > 1 or v.ndim > 1 or not (a.size and v.size) or mode not in _MARGINS:
        what = f"shapes {a.shape} and {v.shape}, mode {mode!r}"
        raise ValueError(f"convolve requires two non-empty vectors and a mode in {list(_MARGINS)}, not {what}")
    a, v = sorted((reshape(a, -1), reshape(v, -1)), key=len, reverse=True)
    with step("convolve", a, v, mode=mode):
        return sliding_windows(pad(a, [_MARGINS[mode](v.size)]), (v.size,)) @ flip(v)


def correlate(a: Any, v: Any, mode: Literal["full", "same", "valid"] = "valid") -> Any:
    """Cross-correlate two vectors, like ``np.correlate``."""
    a, v = operand(a), operand(v)
    return convolve(a, flip(v), mode) if a.size >= v.size else flip(convolve(v, flip(a), mode))


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Return a matrix whose rows are the powers of each element, highest first, like ``np.vander``."""
    x = astype(x, np.promote_types(operand(x).dtype, int))
    powers = np.arange(x.size if N is None else N).astype(x.dtype)
    return reshape(x, (-1, 1)) ** (powers if increasing else powers[::-1])


FUNCTIONS |= {
    getattr(np, f.__name__): f
    for f in (convolve, correlate, cross, dot, einsum, inner, kron, outer, tensordot, vander, vdot, vecdot)
}
# These are new in NumPy 2.2.
FUNCTIONS |= {getattr(np, f.__name__): f for f in (matvec, vecmat) if hasattr(np, f.__name__)}
FUNCTIONS |= {
    np.linalg.multi_dot: multi_dot,
    np.linalg.outer: outer,
    np.linalg.matmul: matmul,
    np.linalg.tensordot: tensordot,
    np.linalg.vecdot: lambda a, b, /, *, axis=-1: vecdot(a, b, axis),
    np.linalg.cross: lambda a, b, /, *, axis=-1: cross(a, b, axis=axis),
    np.linalg.matrix_transpose: lambda x, /: swapaxes(x, -1, -2),
}

__all__ = [
    "convolve", "correlate", "cross", "dot", "einsum", "inner", "kron", "matvec", "multi_dot", "outer", "tensordot",
    "vander", "vdot", "vecdot", "vecmat",
]  # fmt: skip
