"""Joining, splitting, repeating, reversing and selecting elements: NumPy functions composed of a few primitives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..operators import FUNCTIONS, Array, Axis
from ..tensor import Tensor
from .core import astype, axes_of, beside_tensors, broadcast_to, operand, reshape, sum, where
from .elementwise import zeros_like
from .numpy_functions import on_values
from .shape import along, concatenate, getitem, moveaxis, scatter, split, swapaxes


def beside(x: Any, other: Any) -> Any:
    """Convert to an operand; a scalar takes the dtype of the other operand."""
    x = operand(x)
    if x.ndim or isinstance(x, Tensor):
        return x
    number = beside_tensors(x)
    return np.asarray(number, np.result_type(operand(other).dtype, number))


# Joining and splitting.


def _each(arrays: Sequence[Any], shape_of: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Any:
    """Reshape each array to ``shape_of(shape)``. Return one array, or a tuple of several."""
    xs = tuple(x if x.shape == shape_of(x.shape) else reshape(x, shape_of(x.shape)) for x in map(operand, arrays))
    return xs if len(xs) != 1 else xs[0]


def atleast_1d(*arrays: Any) -> Any:
    """Add an axis to scalars, like ``np.atleast_1d``; several arrays return a tuple."""
    return _each(arrays, lambda shape: shape or (1,))


def atleast_2d(*arrays: Any) -> Any:
    """Prepend axes until there are two, like ``np.atleast_2d``; several arrays return a tuple."""
    return _each(arrays, lambda shape: (1,) * (2 - len(shape)) + shape)


def atleast_3d(*arrays: Any) -> Any:
    """Add axes until there are three, like ``np.atleast_3d``; several arrays return a tuple."""
    return _each(arrays, lambda shape: (1,) * (len(shape) < 2) + (shape or (1,)) + (1,) * (len(shape) < 3))


def _converted(x: Any, dtype: Any, casting: Any) -> Any:
    if dtype is None:
        return x
    if not np.can_cast(x.dtype, dtype, casting):
        raise TypeError(f"cannot convert {x.dtype} to {np.dtype(dtype)} with casting={casting!r}")
    return astype(x, dtype)


def vstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Stack arrays as rows, along the first axis, like ``np.vstack``."""
    return _converted(concatenate([atleast_2d(x) for x in tup]), dtype, casting)


def hstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Stack arrays as columns, along the second axis (vectors along the first), like ``np.hstack``."""
    xs = [atleast_1d(x) for x in tup]
    return _converted(concatenate(xs, axis=0 if xs and xs[0].ndim == 1 else 1), dtype, casting)


def dstack(tup: Sequence[Any]) -> Any:
    """Stack arrays in depth, along the third axis, like ``np.dstack``."""
    return concatenate([atleast_3d(x) for x in tup], axis=2)


def column_stack(tup: Sequence[Any]) -> Any:
    """Stack vectors as columns, like ``np.column_stack``."""
    return concatenate(
        [_each([x], lambda shape: shape if len(shape) > 1 else (math.prod(shape), 1)) for x in tup], axis=1
    )


def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """Append values along an axis, or to the flattened array, like ``np.append``."""
    return concatenate((arr, beside(values, arr)), axis)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """Split along an axis, which is removed, like ``np.unstack``."""
    return tuple(moveaxis(x, axis, 0))


def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    """Split along the second axis (vectors along the first), like ``np.hsplit``."""
    return split(ary, indices_or_sections, 1 if operand(ary).ndim > 1 else 0)


def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    """Split an array with two or more axes along the first, like ``np.vsplit``."""
    if operand(ary).ndim < 2:
        raise ValueError(f"vsplit requires an array with 2 or more axes, not one of shape {operand(ary).shape}")
    return split(ary, indices_or_sections, 0)


def dsplit(ary: Any, indices_or_sections: Any) -> Any:
    """Split along the third axis, like ``np.dsplit``."""
    return split(ary, indices_or_sections, 2)


def broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    """Broadcast arrays to their common shape, like ``np.broadcast_arrays``."""
    xs = [operand(x) for x in args]
    return tuple(broadcast_to(x, np.broadcast_shapes(*(each.shape for each in xs))) for x in xs)


# Repeating and reversing.


def _along_one(a: Any, axis: int | None) -> tuple[Any, int]:
    """Return an array and its normalized axis. If no axis is given, flatten the array."""
    a = reshape(a, -1) if axis is None else atleast_1d(a)
    (axis,) = axes_of(0 if axis is None else axis, a.ndim)
    return a, axis


def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """Repeat each element along an axis, or of the flattened array, like ``np.repeat``."""
    a, axis = _along_one(a, axis)
    size, before, after = a.shape[axis], a.shape[:axis], a.shape[axis + 1 :]
    if np.ndim(repeats):
        return take(a, np.repeat(np.arange(size), repeats), axis)
    repeated = broadcast_to(reshape(a, (*before, size, 1, *after)), (*before, size, repeats, *after))
    return reshape(repeated, (*before, size * repeats, *after))


def tile(A: Any, reps: Any) -> Any:
    """Repeat the whole array along its axes, like ``np.tile``."""
    a, counts = operand(A), np.atleast_1d(reps).tolist()
    counts, shape = [1] * (a.ndim - len(counts)) + counts, (1,) * (len(counts) - a.ndim) + a.shape
    repeated = [size for n, count in zip(shape, counts, strict=True) for size in (count, n)]
    a = broadcast_to(reshape(a, [size for n in shape for size in (1, n)]), repeated)
    return reshape(a, [n * count for n, count in zip(shape, counts, strict=True)])


def resize(a: Any, new_shape: Any) -> Any:
    """Fill a new shape with repeated copies of the elements, like ``np.resize``."""
    return take(a, np.resize(np.arange(operand(a).size), new_shape))


def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """Shift the elements cyclically along axes, or in the flattened array, like ``np.roll``."""
    a = operand(a)
    if axis is None:
        return reshape(roll(reshape(a, -1), shift, 0), a.shape)
    for step, one in np.broadcast(shift, axis):
        (along_axis,) = axes_of(int(one), a.ndim)
        cut = -int(step) % max(a.shape[along_axis], 1)
        parts = [getitem(a, along(along_axis, part)) for part in (slice(cut, None), slice(None, cut))]
        a = concatenate(parts, along_axis)
    return a


def flip(m: Any, axis: Axis = None) -> Any:
    """Reverse the order of the elements along the given axes, or along all, like ``np.flip``."""
    m = operand(m)
    turned = axes_of(axis, m.ndim)
    return getitem(m, tuple(slice(None, None, -1 if i in turned else None) for i in range(m.ndim)))


def fliplr(m: Any) -> Any:
    """Reverse the second axis, like ``np.fliplr``."""
    return flip(m, 1)


def flipud(m: Any) -> Any:
    """Reverse the first axis, like ``np.flipud``."""
    return flip(m, 0)


def rot90(m: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """Rotate by 90 degrees, k times, from the first of two axes towards the second, like ``np.rot90``."""
    m = operand(m)
    first, second = np.lib.array_utils.normalize_axis_tuple(axes, m.ndim)
    turned = [(), (first,), (first, second), (second,)][k % 4]
    return flip(swapaxes(m, first, second) if k % 2 else m, turned)


def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """Move an axis before another one, like ``np.rollaxis``."""
    ndim = operand(a).ndim
    (axis,) = axes_of(axis, ndim)
    start = start + ndim if start < 0 else start
    return moveaxis(a, axis, start - (axis < start))


# Selecting.


def take(a: Any, indices: Any, axis: int | None = None, out: None = None, mode: str = "raise") -> Any:
    """Select elements by index along an axis, or of the flattened array, like ``np.take``."""
    if out is not None:
        raise TypeError("take of Tensors does not support out=; use the return value")
    a, axis = _along_one(a, axis)
    if mode != "raise":
        indices = np.take(np.arange(a.shape[axis]), indices, mode=mode)  # type: ignore[call-overload]
    return getitem(a, along(axis, indices))


def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """Select elements along an axis with an array of indices, like ``np.take_along_axis``."""
    arr, axis = _along_one(arr, axis)
    if np.ndim(indices) != arr.ndim:
        raise ValueError(f"take_along_axis: indices with {np.ndim(indices)} axes do not match the shape {arr.shape}")
    places: list[Any] = list(np.ix_(*map(np.arange, arr.shape)))
    places[axis] = indices
    return getitem(arr, tuple(places))


def compress(condition: Any, a: Any, axis: int | None = None, out: None = None) -> Any:
    """Select slices along an axis, or elements of the flattened array, where a condition holds: ``np.compress``."""
    return take(a, np.flatnonzero(condition), axis, out)


def extract(condition: Any, arr: Any) -> Any:
    """Select the elements where a condition holds, like ``np.extract``."""
    return take(arr, np.flatnonzero(condition))


_remaining = on_values(np.delete)


def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """Remove elements along an axis, or of the flattened array, like ``np.delete``."""
    arr = operand(arr)
    return take(arr, _remaining(np.arange(arr.size if axis is None else arr.shape[axis]), obj), axis)


def _below(m: Any, k: int) -> Array:
    """Return a mask of the elements on and below a diagonal. A vector stands for the rows of a square matrix."""
    if m.ndim == 0:
        raise ValueError("tril and triu require at least one axis, not a scalar")
    return np.tri(m.shape[-2] if m.ndim > 1 else m.size, m.shape[-1], k, bool)


def tril(m: Any, k: int = 0) -> Any:
    """Set the elements above a diagonal of the last two axes to zero, like ``np.tril``."""
    m = operand(m)
    return where(_below(m, k), m, 0)


def triu(m: Any, k: int = 0) -> Any:
    """Set the elements below a diagonal of the last two axes to zero, like ``np.triu``."""
    m = operand(m)
    return where(_below(m, k - 1), 0, m)


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return a diagonal along two axes as the last axis, like ``np.diagonal``."""
    a = moveaxis(a, (axis1, axis2), (-2, -1))
    rows, columns = a.shape[-2:]
    return getitem(a, (..., *np.nonzero(np.eye(rows, columns, offset))))


def diag(v: Any, k: int = 0) -> Any:
    """Return a diagonal of a matrix, or a matrix with a vector on its diagonal, like ``np.diag``."""
    v = operand(v)
    if v.ndim not in (1, 2):
        raise ValueError(f"diag requires a vector or a matrix, not an array of shape {v.shape}")
    if v.ndim == 2:
        return diagonal(v, k)
    n = v.size + abs(k)
    return scatter(v, np.nonzero(np.eye(n, k=k)), (n, n))


def diagflat(v: Any, k: int = 0) -> Any:
    """Return a matrix with the elements on its diagonal, like ``np.diagflat``."""
    return diag(reshape(v, -1), k)


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None) -> Any:
    """Sum a diagonal along two axes, like ``np.trace``."""
    return sum(diagonal(a, offset, axis1, axis2), -1, dtype, out)


# Copies and filled arrays.


def copy(a: Any) -> Any:
    """Return a copy, through which gradients flow, like ``np.copy``."""
    return reshape(a, operand(a).shape) if isinstance(a, Tensor) else np.copy(a)


def full_like(a: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Return an array with the shape and dtype of ``a``, filled with a value, like ``np.full_like``."""
    value = astype(fill_value, dtype or a.dtype)
    return broadcast_to(value if isinstance(value, Tensor) else Tensor(value), a.shape)


FUNCTIONS |= {
    getattr(np, f.__name__): f
    for f in (
        append, atleast_1d, atleast_2d, atleast_3d, broadcast_arrays, column_stack, compress, copy, delete,
        diag, diagflat, diagonal, dsplit, dstack, extract, flip, fliplr, flipud, full_like, hsplit, hstack,
        repeat, resize, roll, rollaxis, rot90, take, take_along_axis, tile, trace, tril, triu, vsplit, vstack,
    )
}  # fmt: skip
FUNCTIONS[np.empty_like] = zeros_like
FUNCTIONS[np.linalg.diagonal] = lambda x, /, *, offset=0: diagonal(x, offset, -2, -1)
FUNCTIONS[np.linalg.trace] = lambda x, /, *, offset=0, dtype=None: trace(x, offset, -2, -1, dtype)
# New in NumPy 2.1.
FUNCTIONS |= {getattr(np, name): f for name, f in (("astype", astype), ("unstack", unstack)) if hasattr(np, name)}

__all__ = [
    "append", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "column_stack", "compress", "copy",
    "delete", "diag", "diagflat", "diagonal", "dsplit", "dstack", "extract", "flip", "fliplr", "flipud", "full_like",
    "hsplit", "hstack", "repeat", "resize", "roll", "rollaxis", "rot90", "take", "take_along_axis", "tile", "trace",
    "tril", "triu", "unstack", "vsplit", "vstack",
]  # fmt: skip
