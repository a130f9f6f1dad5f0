"""Largest and smallest elements, and cumulative sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..operators import FUNCTIONS, Array, Axis
from ..primitive import Primitive
from ..tensor import record
from .core import added_widely, astype, axes_of, count_over, in_float32, kept, operand, reduction
from .elementwise import stepped
from .shape import along


def _extreme(x: Array, axis: tuple[int, ...], keepdims: bool, ufunc: Any) -> Any:
    count_over(x.shape, axis, ufunc.__name__)
    if not stepped(x):
        return ufunc.reduce(x, axis=axis, keepdims=keepdims)
    # NumPy compares complex numbers by both parts; here the real part decides.
    best = ufunc.reduce(x.real, axis=axis, keepdims=True)
    first = np.where(x.real == best, x, 0)
    return first.sum(axis=axis, keepdims=keepdims) / (x.real == best).sum(axis=axis, keepdims=keepdims)


def _split_among_ties(g: Any, y: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    g, y = kept(g, x.shape, axis, keepdims), kept(y, x.shape, axis, keepdims)
    # The result is NaN if an element is NaN.
    chosen = (x == y) | np.isnan(x)
    count = chosen.sum(axis=axis, keepdims=True)
    return np.where(chosen, in_float32(g, lambda g: g / count.astype(g.dtype)), 0)


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


def max(x: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
    """Return the largest element over one or several axes, like ``np.max``; ties share the gradient equally.

    Raises
    ------
    ValueError
        If there are no elements.
    """
    return reduction(_max, x, axis, None, out, keepdims)


def min(x: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
    """Return the smallest element over one or several axes, like ``np.min``; ties share the gradient equally.

    Raises
    ------
    ValueError
        If there are no elements.
    """
    return reduction(_min, x, axis, None, out, keepdims)


def _reversed(x: Any, axis: int) -> Any:
    return x[along(axis, slice(None, None, -1))]


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
        raise TypeError(f"{primitive.name} of Tensors does not support out=; use the return value")
    x = operand(x) if dtype is None else astype(x, dtype)
    if axis is None or x.ndim == 0:
        x, axis = x.reshape(-1), axis or 0
    (axis,) = axes_of(axis, x.ndim)
    return record(primitive, (x,), {"axis": axis})


def cumsum(x: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Return cumulative sums along an axis, or of the flattened array, like ``np.cumsum``; float16 as in `sum`."""
    return running(_cumsum, x, axis, dtype, out)


FUNCTIONS[np.cumsum] = cumsum

__all__ = ["cumsum"]
