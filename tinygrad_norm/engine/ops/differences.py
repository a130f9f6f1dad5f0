"""Differences, gradients and integrals of values on a grid, and linspace."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..operators import FUNCTIONS
from ..tensor import Tensor
from .core import astype, axes_of, broadcast_to, operand, reshape, sum
from .rearranging import beside
from .shape import along, concatenate, getitem, moveaxis


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Return the n-th differences along an axis, like ``np.diff``."""
    a = operand(a)
    if a.ndim == 0 or n < 0:
        raise ValueError(f"diff requires at least one axis and n >= 0, not shape {a.shape} and n={n}")
    (axis,) = axes_of(axis, a.ndim)
    edge = (*a.shape[:axis], 1, *a.shape[axis + 1 :])
    ends = [x if x is None else beside(x, a) for x in (prepend, append)]
    before, after = ([] if x is None else [x if x.ndim else broadcast_to(x, edge)] for x in ends)
    if n and (before or after):
        a = concatenate([*before, a, *after], axis)
    for _ in range(n):
        a = getitem(a, along(axis, slice(1, None))) - getitem(a, along(axis, slice(None, -1)))
    return a


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Return the differences of consecutive elements of the flattened array, like ``np.ediff1d``."""
    parts = (to_begin, diff(reshape(ary, -1)), to_end)
    return concatenate([reshape(beside(part, ary), -1) for part in parts if part is not None])


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return derivatives along axes, by central differences inside and one-sided ones at the ends: ``np.gradient``.

    ``varargs`` are the spacings, one for all axes or one for each: a number, or the coordinates along the axis.
    """
    f = operand(f)
    axes = np.lib.array_utils.normalize_axis_tuple(range(f.ndim) if axis is None else axis, f.ndim)
    steps = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    if len(steps) != len(axes):
        raise TypeError(f"gradient takes 1 spacing, or {len(axes)}, one for each axis, not {len(steps)}")
    slopes = tuple(_slope(f, step, axis, edge_order) for axis, step in zip(axes, steps, strict=True))
    return slopes if len(slopes) != 1 else slopes[0]


def _slope(f: Any, step: Any, axis: int, edge_order: int) -> Any:
    f, step = moveaxis(f, axis, -1), operand(step)
    if edge_order not in (1, 2) or f.shape[-1] <= edge_order or step.shape not in ((), f.shape[-1:]):
        what = f"{f.shape[-1]} values, a spacing of shape {step.shape} and edge_order={edge_order}"
        raise ValueError(f"gradient cannot be computed from {what}")
    step = beside(step, f) if isinstance(step, Tensor) or not step.ndim else astype(step, f.dtype)
    width = diff(step) if step.ndim else broadcast_to(step, (f.shape[-1] - 1,))
    slope = diff(f) / width
    # The shorter side has the larger weight, so that central differences are exact for parabolas.
    left = width[1:] / (width[:-1] + width[1:])
    inside = left * slope[..., :-1] + (1 - left) * slope[..., 1:]
    first, last = slope[..., :1], slope[..., -1:]
    if edge_order == 2:
        first = first + (1 - left[:1]) * (first - slope[..., 1:2])
        last = last + left[-1:] * (last - slope[..., -2:-1])
    return moveaxis(concatenate([first, inside, last], -1), -1, axis)


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Integrate along an axis with the trapezoidal rule, like ``np.trapezoid``."""
    y = moveaxis(y, axis, -1)
    steps = dx if x is None else diff(x if operand(x).ndim == 1 else moveaxis(x, axis, -1))
    return sum((y[..., 1:] + y[..., :-1]) * steps, -1) * 0.5


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True) -> Any:
    """Return evenly spaced values from ``start`` to ``stop``, along a new first axis, like ``np.linspace``."""
    start, stop = (astype(x, np.float64) if x.dtype.kind in "biu" else x for x in map(operand, (start, stop)))
    way = np.linspace(0, 1, num, endpoint)
    width = stop - start
    return start + width * reshape(way.astype(width.dtype), (-1, *(1,) * width.ndim))


FUNCTIONS |= {getattr(np, f.__name__): f for f in (diff, ediff1d, gradient, linspace, trapezoid)}

__all__ = ["diff", "ediff1d", "gradient", "linspace", "trapezoid"]
