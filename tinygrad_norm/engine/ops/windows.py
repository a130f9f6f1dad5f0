"""Sliding windows, from which convolutions are composed, and their dual, overlap-add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..operators import Array
from ..primitive import Primitive
from ..tensor import record
from .core import added_widely, operand


def _windows_forward(x: Array, *, size: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    k = len(size)
    axes = tuple(range(x.ndim - k, x.ndim))
    windows: Array = np.lib.stride_tricks.sliding_window_view(x, size, axis=axes)
    index: Any = (..., *(slice(None, None, step) for step in stride), *(slice(None),) * k)
    selected: Array = windows[index]
    return selected


def _overlap_add_forward(x: Array, *, shape: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    k = len(stride)
    counts, size = x.shape[-2 * k : -k], x.shape[-k:]
    target = np.zeros(shape, x.dtype)
    for offset in np.ndindex(*size):
        reach: Any = tuple(
            slice(start, start + step * (count - 1) + 1, step)
            for start, step, count in zip(offset, stride, counts, strict=True)
        )
        target[..., *reach] += x[..., *offset]
    return target


_sliding_windows = Primitive(
    "sliding_windows",
    "windows",
    _windows_forward,
    ("overlapping parts of g added up", lambda g, y, x, *, size, stride: overlap_add(g, x.shape, stride)),
)
_overlap_add = Primitive(
    "overlap_add",
    "overlap-add",
    added_widely(_overlap_add_forward),
    ("windows of g", lambda g, y, x, *, shape, stride: sliding_windows(g, x.shape[x.ndim - len(stride) :], stride)),
)


def sliding_windows(x: Any, size: Sequence[int], stride: Sequence[int] | None = None) -> Any:
    """Return all windows over the last axes, of shape ``(..., *counts, *size)``.

    Parameters
    ----------
    x : Tensor or array
        Shape ``(..., *spatial)``, one spatial axis for each entry of ``size``.
    size, stride : sequence of int
        The shape of a window, and the steps between windows (1 by default).

    Raises
    ------
    ValueError
        If the windows are larger than the array, or a size or step is not positive.
    """
    x, size = operand(x), tuple(size)
    stride = (1,) * len(size) if stride is None else tuple(stride)
    if len(size) != len(stride) or len(size) > x.ndim or min((*size, *stride), default=1) < 1:
        raise ValueError(f"windows of size {size} and stride {stride} do not fit an array of shape {x.shape}")
    return record(_sliding_windows, (x,), {"size": size, "stride": stride})


def overlap_add(x: Any, shape: Sequence[int], stride: Sequence[int]) -> Any:
    """Sum windows into an array of the given shape: the transpose of `sliding_windows`."""
    return record(_overlap_add, (operand(x),), {"shape": tuple(shape), "stride": tuple(stride)})


__all__ = ["overlap_add", "sliding_windows"]
