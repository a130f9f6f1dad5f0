"""Largest and smallest elements, and running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..operators import FUNCTIONS, Array, Axis
from ..primitive import Primitive
from ..tensor import record
from .core import added_widely, astype, axes_of, count_over, kept, masked, operand, reduction, sum
from .elementwise import maximum, minimum


def _extreme(x: Array, axis: tuple[int, ...], keepdims: bool, ufunc: Any) -> Any:
    count_over(x.shape, axis, ufunc.__name__)
    if not np.iscomplexobj(x):
        return ufunc.reduce(x, axis=axis, keepdims=keepdims)
    # NumPy orders complex numbers by both parts; the branch is the real part's.
    best = ufunc.reduce(x.real, axis=axis, keepdims=True)
    first = np.where(x.real == best, x, 0)
    return first.sum(axis=axis, keepdims=keepdims) / (x.real == best).sum(axis=axis, keepdims=keepdims)


def _split_among_ties(g: Any, y: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    g, y = kept(g, x.shape, axis, keepdims), kept(y, x.shape, axis, keepdims)
    chosen = x == y
    count = chosen.sum(axis=axis, keepdims=True).astype(x.dtype)
    # No element equals a NaN: that slice, and no other, gets a NaN gradient.
    rest = np.where(np.isnan(y), np.nan, 0).astype(x.dtype)
    return np.where(chosen, g / count, rest)


_max = Primitive(
    "max",
    "max",
    lambda x, *, axis, keepdims: _extreme(x, axis, keepdims, np.maximum),
    ("g where x is the largest, split among ties", _split_among_ties),
)
_min = Primitive(
    "min",
    "min",
    lambda x, *, axis, keepdims: _extreme(x, axis, keepdims, np.minimum),
    ("g where x is the smallest, split among ties", _split_among_ties),
)


def _extreme_of_some(
    primitive: Primitive, x: Any, axis: Axis, out: None, keepdims: bool, initial: Any, where: Any
) -> Any:
    """Run max or min; ``initial`` takes part, and takes the place of what a ``where=`` leaves out."""
    if initial is None and where is True:
        return reduction(primitive, x, axis, None, out, keepdims)
    if initial is None:
        raise ValueError(f"{primitive.name} with where= needs initial=, the result where nothing is left")
    x = masked(operand(x), where, initial)
    # A sum over no elements is a zero of the right shape.
    y = reduction(primitive, x, axis, None, out, keepdims) if x.size else sum(x, axis, keepdims=keepdims) + initial
    return (maximum if primitive is _max else minimum)(y, initial)


def max(
    x: Any, axis: Axis = None, out: None = None, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Any:
    """Return the largest element over one or several axes, like ``np.max``; ties share the gradient equally.

    Raises
    ------
    ValueError
        Over zero elements without ``initial=``, or with ``where=`` and without ``initial=``.
    """
    return _extreme_of_some(_max, x, axis, out, keepdims, initial, where)


def min(
    x: Any, axis: Axis = None, out: None = None, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Any:
    """Return the smallest element over one or several axes, like ``np.min``; ties share the gradient equally.

    Raises
    ------
    ValueError
        Over zero elements without ``initial=``, or with ``where=`` and without ``initial=``.
    """
    return _extreme_of_some(_min, x, axis, out, keepdims, initial, where)


def _reversed(x: Any, axis: int) -> Any:
    return x[(slice(None),) * axis + (slice(None, None, -1),)]


_cumsum = Primitive(
    "cumsum",
    "cumulative Σ",
    added_widely(lambda x, *, axis: np.add.accumulate(x, axis=axis)),
    (
        "cumulative sum of g from the other end",
        lambda g, y, x, *, axis: _reversed(cumsum(_reversed(g, axis), axis), axis),
    ),
)


def running(primitive: Primitive, x: Any, axis: int | None, dtype: Any, out: None) -> Any:
    """Run a primitive that accumulates along an axis, or along the flattened array."""
    if out is not None:
        raise TypeError(f"{primitive.name} of Tensors has no out=; use its result")
    x = operand(x) if dtype is None else astype(x, dtype)
    if axis is None:
        x, axis = x.reshape(-1), 0
    (axis,) = axes_of(axis, x.ndim)
    return record(primitive, (x,), {"axis": axis})


def cumsum(x: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Return running sums along an axis, or of the flattened array, like ``np.cumsum``; float16 as in `sum`."""
    return running(_cumsum, x, axis, dtype, out)


FUNCTIONS.update(
    {
        np.max: max,
        np.amax: max,
        np.maximum.reduce: max,
        np.min: min,
        np.amin: min,
        np.minimum.reduce: min,
        np.cumsum: cumsum,
    }
)

__all__ = ["cumsum", "max", "min"]
