"""Products, order statistics, averages, and functions that handle NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..operators import FUNCTIONS, Array, Axis, plain
from ..primitive import Primitive
from ..recording import step
from ..tensor import Tensor, record
from .composite import logsumexp, std, var
from .core import astype, axes_of, broadcast_to, count_over, multiply, operand, where
from .numpy_functions import on_values
from .reductions import cumsum, running
from .shape import getitem
from .some import max, mean, min, of_some, sum


def _merging(reduce: Callable[[Any], Any], x: Any, axis: Axis, keepdims: bool) -> Any:
    """Merge the reduced axes into one first axis and reduce over it. Axes that ``reduce`` adds come first."""
    shape, axis = x.shape, axes_of(axis, x.ndim)
    rest = tuple(i for i in range(x.ndim) if i not in axis)
    if axis + rest != tuple(range(x.ndim)):
        x = x.transpose(axis + rest)
    if len(axis) != 1:
        x = x.reshape((math.prod(shape[i] for i in axis), *(shape[i] for i in rest)))
    y = reduce(x)
    lead = y.shape[: y.ndim - len(rest)]
    return y.reshape((*lead, *(1 if i in axis else n for i, n in enumerate(shape)))) if keepdims else y


# Products. No rule divides by an element, which might be 0.


def _before(x: Any) -> Any:
    """Return, for each element, the product of those before it along the first axis."""
    return np.cumprod(np.concatenate((np.ones_like(x[:1]), x[:-1])), axis=0)


def _cumprod_rule(g: Any, y: Any, x: Any, *, axis: int) -> Any:
    """Return ``s[k]`` times the product of the elements before k, with ``s[k] = g[k] + x[k + 1] * s[k + 1]``.

    Each step doubles the number of terms in the sums ``s``, so a logarithmic number of steps is enough.
    """
    x, s = np.moveaxis(x, axis, 0), np.moveaxis(g, axis, 0)
    between, reach = np.concatenate((x[1:], np.zeros_like(x[:1]))), 1
    while reach < len(x):
        beyond = np.zeros_like(x[:reach])
        s = s + between * np.concatenate((s[reach:], beyond))
        between = between * np.concatenate((between[reach:], beyond))
        reach *= 2
    return np.moveaxis(_before(x) * s, 0, axis)


_BY_FACTOR = "g * the product of the others", lambda g, y, x: g * (_before(x) * _before(x[::-1])[::-1])
_BY_EARLY_FACTOR = "each later g * the product of the other factors, added up", _cumprod_rule
_prod = Primitive("prod", "Π", lambda x: np.multiply.reduce(x, axis=0), _BY_FACTOR)
_cumprod = Primitive("cumprod", "cumulative Π", lambda x, *, axis: np.multiply.accumulate(x, axis), _BY_EARLY_FACTOR)


@partial(of_some, neutral=1, join=multiply)
def prod(x: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Multiply the elements over one or several axes, like ``np.prod``. The gradient is exact even at zeros."""
    x = operand(x) if dtype is None else astype(x, dtype)
    return _merging(lambda x: record(_prod, (x,)), x, axis, keepdims)


def cumprod(x: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Return cumulative products along an axis, or of the flattened array, like ``np.cumprod``."""
    return running(_cumprod, x, axis, dtype, out)


# Order statistics.


def _arranged(x: Any, order: Any, axis: int | None) -> Any:
    """Reorder the elements along an axis, or of the flattened array, by the indices that ``order`` returns."""
    x = operand(x)
    if axis is None:
        x, axis = x.reshape(-1), 0
    (axis,) = axes_of(axis, x.ndim)
    places = list(np.indices(x.shape, sparse=True))
    places[axis] = order(x, axis=axis)
    return getitem(x, tuple(places))


def _stable(x: Any, axis: int) -> Any:
    return np.argsort(x, axis=axis, kind="stable")


@on_values
def partitioning_order(x: Array, axis: int, kth: Any, kind: Any) -> Any:
    """Return indices that reproduce ``np.partition``; ``np.argpartition`` can order the elements differently."""
    ranks = _stable(_stable(np.partition(x, kth, axis, kind), axis), axis)
    return np.take_along_axis(_stable(x, axis), ranks, axis)


def sort(x: Any, axis: int | None = -1, kind: Any = None, order: None = None, *, stable: Any = None) -> Any:
    """Sort the elements along an axis, or of the flattened array, like ``np.sort``; the sort is always stable.

    The permutation has no gradient: each cotangent goes back to the position of its element.
    """
    return _arranged(x, _stable, axis)


def partition(x: Any, kth: Any, axis: int | None = -1, kind: Any = "introselect", order: None = None) -> Any:
    """Sort the elements partially, so that those at ``kth`` are in their sorted positions, like ``np.partition``."""
    return _arranged(x, partial(partitioning_order, kth=kth, kind=kind), axis)


def _reading(read: Callable[[Any], Any], a: Any, axis: Axis, keepdims: bool) -> Any:
    """Compute a statistic of the sorted elements. A NaN, which is sorted last, makes the result NaN."""

    def reduce(x: Any) -> Any:
        count_over(x.shape, (0,), "order statistics")
        x = sort(x, axis=0)
        return where(np.isnan(x[-1]), x[-1], read(x))

    return _merging(reduce, operand(a), axis, keepdims)


def median(a: Any, axis: Axis = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    """Return the middle element, or the mean of the two in the middle, like ``np.median``."""
    with step("median", a, axis=axis):
        return _reading(lambda x: mean(x[(len(x) - 1) // 2 : len(x) // 2 + 1], axis=0), a, axis, keepdims)


def quantile(
    a: Any, q: Any, axis: Axis = None, out: None = None, overwrite_input: bool = False, method: Any = "linear",
    keepdims: bool = False,
) -> Any:  # fmt: skip
    """Return the quantiles ``q`` of the elements, like ``np.quantile``, by any of its methods."""
    if isinstance(q, Tensor) and q.requires_grad:
        raise TypeError("quantile has no gradient with respect to q; use q.detach()")
    q = plain(q)

    def read(x: Any) -> Any:
        # The quantile of 0, 1, 2 ... is the position, possibly between two elements, that a method reads.
        place = np.asarray(np.quantile(np.arange(len(x)), q, method=method))
        below, above = np.floor(place).astype(int), np.ceil(place).astype(int)
        if place.dtype.kind != "f":
            return x[below]
        # A scalar q is a constant; several form an array with NumPy's dtype.
        share = (place - below).reshape(place.shape + (1,) * (x.ndim - 1) * bool(place.ndim))
        return x[below] + (x[above] - x[below]) * share

    with step("quantile", a, q=None if np.ndim(q) else q, axis=axis):
        return _reading(read, a, axis, keepdims)


def percentile(a: Any, q: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the quantiles for ``q`` in percent, like ``np.percentile``."""
    return quantile(a, q / 100 if isinstance(q, Tensor) else np.true_divide(q, 100), *args, **kwargs)


def ptp(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
    """Return the largest element minus the smallest, like ``np.ptp``."""
    return max(a, axis, out, keepdims) - min(a, axis, out, keepdims)


def average(a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """Return the weighted mean over one or several axes, like ``np.average``; the weights can have gradients.

    Raises
    ------
    ValueError
        If the weights have neither the shape of ``a`` nor that of the averaged axes.
    ZeroDivisionError
        If weights sum to zero.
    """
    a = operand(a)
    if weights is None:
        y = mean(a, axis, keepdims=keepdims)
        return (y, np.full(y.shape, a.size / y.size, y.dtype)) if returned else y
    weights = operand(weights)
    if weights.shape != a.shape:
        axes = np.lib.array_utils.normalize_axis_tuple(range(a.ndim) if axis is None else axis, a.ndim)
        if weights.shape != tuple(a.shape[i] for i in axes):
            raise ValueError(f"weights of shape {weights.shape} match neither the shape {a.shape} nor its axes {axes}")
        weights = weights.transpose(tuple(np.argsort(axes)))
        weights = broadcast_to(weights.reshape(tuple(n if i in axes else 1 for i, n in enumerate(a.shape))), a.shape)
    with step("average", a, weights, axis=axis):
        total = sum(weights, axis, keepdims=keepdims)
        if np.any(total == 0):
            raise ZeroDivisionError("the weights sum to zero")
        y = sum(a * weights, axis, keepdims=keepdims) / total
    return (y, total) if returned else y


# NaN, infinities and choices.


def _of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, *args, where=True, **kwargs: function(a, *args, where=where & ~np.isnan(a), **kwargs)


def _spread_of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    def spread(
        a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False, *,
        correction: float | None = None, **options: Any,
    ) -> Any:  # fmt: skip
        ddof = ddof if correction is None else correction
        y = _of_numbers(function)(a, axis, dtype, out, ddof, keepdims, **options)
        found = np.sum(options.get("where", True) & ~np.isnan(a), axis=axis, keepdims=keepdims)
        # NumPy's nanvar is NaN where its var is infinite.
        return where(found > ddof, y, math.nan)

    return spread


def _extreme_number(function: Callable[..., Any], least: float) -> Callable[..., Any]:
    def extreme(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
        missing = np.isnan(a)
        y = function(where(missing, least, a), axis, out, keepdims)
        return where(np.all(missing, axis=axes_of(axis, missing.ndim), keepdims=keepdims), math.nan, y)

    return extreme


def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Any:
    """Replace NaN and infinities by constants, like ``np.nan_to_num``; replaced elements have gradient 0."""
    x = operand(x)
    if x.dtype.kind not in "fc":
        return x
    largest = float(np.finfo(x.dtype).max)
    x = where(np.isnan(x), nan, x)
    x = where(x == math.inf, largest if posinf is None else posinf, x)
    return where(x == -math.inf, -largest if neginf is None else neginf, x)


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """Choose each element from the first choice whose condition holds, like ``np.select``."""
    y = default
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        y = where(condition, choice, y)
    return y


__all__ = [
    "average", "cumprod", "median", "nan_to_num", "partition", "percentile", "prod", "ptp", "quantile", "select",
    "sort",
]  # fmt: skip

FUNCTIONS |= {getattr(np, name): globals()[name] for name in __all__}
FUNCTIONS |= {np.multiply.reduce: prod, np.logaddexp.reduce: logsumexp}
# These are new in NumPy 2.1.
FUNCTIONS |= {getattr(np, name, name): run for name, run in (("cumulative_sum", cumsum), ("cumulative_prod", cumprod))}
FUNCTIONS |= {np.nansum: _of_numbers(sum), np.nanmean: _of_numbers(mean), np.nanprod: _of_numbers(prod)}
FUNCTIONS |= {np.nanvar: _spread_of_numbers(var), np.nanstd: _spread_of_numbers(std)}
FUNCTIONS |= {np.nanmax: _extreme_number(max, -math.inf), np.nanmin: _extreme_number(min, math.inf)}
