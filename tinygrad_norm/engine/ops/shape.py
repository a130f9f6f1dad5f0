"""Axes, indexing, joining and padding. Structural primitives come in dual pairs: each is the rule of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count, pairwise
from operator import index as index_of
from typing import Any

import numpy as np

from ..operators import FUNCTIONS, Array, Axis, holds_tensors, plain
from ..primitive import Primitive
from ..tensor import Tensor, frozen, record
from .core import (
    Rule,
    added_widely,
    astype,
    axes_of,
    beside_tensors,
    broadcast_to,
    joint_dtype,
    keep_real,
    operand,
    reshape,
    transpose,
)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Exchange two axes, like ``np.swapaxes``."""
    axes = list(range(operand(x).ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return transpose(x, axes)


def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Move axes to other positions, like ``np.moveaxis``."""
    ndim = operand(x).ndim
    source = np.lib.array_utils.normalize_axis_tuple(source, ndim)
    destination = np.lib.array_utils.normalize_axis_tuple(destination, ndim)
    axes = [axis for axis in range(ndim) if axis not in source]
    for position, axis in sorted(zip(destination, source, strict=True)):
        axes.insert(position, axis)
    return transpose(x, axes)


def expand_dims(x: Any, axis: Any) -> Any:
    """Insert axes of size 1, like ``np.expand_dims``."""
    x = operand(x)
    return reshape(x, np.expand_dims(np.broadcast_to(0, x.shape), axis).shape)


def squeeze(x: Any, axis: Axis = None) -> Any:
    """Remove axes of size 1, like ``np.squeeze``."""
    x = operand(x)
    return reshape(x, np.squeeze(np.broadcast_to(0, x.shape), axis).shape)


# x[index] and its dual, which adds each element at the position that it was taken from.


class Place(int):
    """A placeholder in an index: the number of the operand to insert there."""


def filled(index: tuple[Any, ...], places: Sequence[Any]) -> tuple[Any, ...]:
    """Return an index with its placeholders replaced by operands."""
    return tuple(places[i] if type(i) is Place else i for i in index) if places else index


_getitem = Primitive(
    "getitem",
    "[ ]",
    lambda x, *places, index: x[filled(index, places)],
    ("g scattered to where x was read", lambda g, y, x, *places, index: scatter(g, filled(index, places), x.shape)),
)


def _scatter_forward(x: Array, *places: Any, index: Any, shape: tuple[int, ...]) -> Array:
    target, index = np.zeros(shape, x.dtype), filled(index, places)
    if any(isinstance(i, np.ndarray) for i in index):
        np.add.at(target, index, x)
    else:
        target[index] = x
    return target


_scatter = Primitive(
    "scatter",
    "scatter",
    added_widely(_scatter_forward),
    ("g[index]", lambda g, y, x, *places, index, shape: g[filled(index, places)]),
)


def _frozen_index(index: Any) -> tuple[tuple[Any, ...], tuple[Tensor, ...]]:
    """Return a read-only copy of an index with placeholders for Tensors, and these Tensors."""
    parts = [_frozen_part(part) for part in (index if isinstance(index, tuple) else (index,))]
    tensors = tuple(part for part in parts if isinstance(part, Tensor))
    number = count()
    return tuple(Place(next(number)) if isinstance(part, Tensor) else part for part in parts), tensors


def _frozen_part(part: Any) -> Any:
    if isinstance(part, Tensor):
        return part
    if part is None or part is Ellipsis or isinstance(part, int | slice | np.bool_):
        return part
    array = operand(part)
    if isinstance(array, Tensor):
        return array
    if array.ndim == 0 and array.dtype.kind != "b":
        return index_of(part)
    return array.astype(np.intp) if array.size == 0 and array.dtype.kind == "f" else frozen(array)


def getitem(x: Any, index: Any) -> Any:
    """Return ``x[index]`` for integers, slices, ``None``, ``...``, and integer or boolean arrays, which are copied."""
    index, places = _frozen_index(index)
    return record(_getitem, (operand(x), *places), {"index": index})


def scatter(x: Any, index: Any, shape: Sequence[int]) -> Any:
    """Add ``x`` at ``index`` to an array of zeros of the given shape; repeated indices accumulate."""
    (index, places), shape = _frozen_index(index), tuple(shape)
    named = np.broadcast_to(0, shape)[filled(index, [place.data for place in places])]
    return record(_scatter, (broadcast_to(x, named.shape), *places), {"index": index, "shape": shape})


def along(axis: int, index: Any) -> tuple[Any, ...]:
    """Return a full index that applies ``index`` to one axis."""
    return (*(slice(None),) * axis, index)


def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Split into equal parts, or at the given indices, along an axis, like ``np.split``.

    Raises
    ------
    ValueError
        If the axis cannot be split into equal parts; use `array_split` for parts of unequal sizes.
    """
    x = operand(x)
    (axis,) = axes_of(axis, x.ndim)
    if np.ndim(indices_or_sections) == 0 and indices_or_sections > 0 and x.shape[axis] % indices_or_sections:
        raise ValueError(f"cannot split axis {axis} of size {x.shape[axis]} into {indices_or_sections} equal parts")
    return array_split(x, indices_or_sections, axis)


def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Split into nearly equal parts, or at the given indices, along an axis, like ``np.array_split``."""
    x = operand(x)
    (axis,) = axes_of(axis, x.ndim)
    if np.ndim(indices_or_sections) == 0:
        if indices_or_sections < 1:
            raise ValueError(f"the number of parts must be at least 1, not {indices_or_sections}")
        size, longer = divmod(x.shape[axis], int(indices_or_sections))
        indices_or_sections = [size * i + min(i, longer) for i in range(1, int(indices_or_sections))]
    bounds = [None, *(int(i) for i in indices_or_sections), None]
    return [getitem(x, along(axis, slice(a, b))) for a, b in pairwise(bounds)]


# Joining: one rule for all operands, which receives the operand's position.


class EveryOperand(tuple[Callable[..., Any]]):
    """The rules of a primitive with any number of operands: one rule, which receives the operand's position."""

    def __new__(cls, rule: Callable[..., Any]) -> EveryOperand:
        return super().__new__(cls, (rule,))

    def __getitem__(self, operand: Any) -> Any:
        (rule,) = self
        return partial(rule, operand=operand)


def variadic(name: str, symbol: str, forward: Callable[..., Any], rule: Rule) -> Primitive:
    """Declare a primitive that takes any number of operands."""
    primitive = Primitive(name, symbol, forward, rule)
    primitive.rules = EveryOperand(rule[1])
    return primitive


def _part(g: Any, y: Any, *xs: Any, axis: int, operand: int) -> Any:
    start = sum(x.shape[axis] for x in xs[:operand])
    return g[along(axis, slice(start, start + xs[operand].shape[axis]))]


_concatenate = variadic(
    "concatenate",
    "concatenate",
    lambda *xs, axis: np.concatenate(xs, axis=axis),
    ("the operand's part of g", _part),
)
_stack = variadic(
    "stack",
    "stack",
    lambda *xs, axis: np.stack(xs, axis=axis),
    ("g[operand]", lambda g, y, *xs, axis, operand: g[along(axis, operand)]),
)


def in_one_dtype(arrays: Iterable[Any]) -> tuple[Any, ...]:
    """Convert to arrays, or to Tensors of a common dtype if one of the arguments is or contains a Tensor."""
    arrays = tuple(arrays)
    if not any(isinstance(x, Tensor) or holds_tensors(x) for x in arrays):
        return tuple(np.asarray(x) for x in arrays)
    found = [beside_tensors(x) for x in arrays]
    tensors = [x for x in found if isinstance(x, Tensor)]
    if complex in map(type, found):
        keep_real(*tensors)
    dtype = joint_dtype(found)
    return tuple(astype(x, dtype) if isinstance(x, Tensor) else Tensor(x, dtype=dtype) for x in found)


def concatenate(arrays: Sequence[Any], axis: int | None = 0, out: None = None) -> Any:
    """Join arrays along an existing axis, like ``np.concatenate``."""
    xs = in_one_dtype(arrays)
    if out is not None:
        raise TypeError("concatenate of Tensors does not support out=; use the return value")
    if axis is None:
        xs, axis = tuple(x.reshape(-1) for x in xs), 0
    if not xs:
        raise ValueError("need at least one array to concatenate")
    (axis,) = axes_of(axis, xs[0].ndim)
    return record(_concatenate, xs, {"axis": axis})


def stack(arrays: Sequence[Any], axis: int = 0, out: None = None) -> Any:
    """Join arrays along a new axis, like ``np.stack``."""
    xs = in_one_dtype(arrays)
    if out is not None:
        raise TypeError("stack of Tensors does not support out=; use the return value")
    if not xs:
        raise ValueError("need at least one array to stack")
    (axis,) = axes_of(axis, xs[0].ndim + 1)
    return record(_stack, xs, {"axis": axis})


def _inside(width: tuple[tuple[int, int], ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(before, size - after) for (before, after), size in zip(width, shape, strict=True))


_pad = Primitive(
    "pad",
    "pad",
    lambda x, *, width, value: np.pad(x, width, constant_values=value),
    ("the inside of g", lambda g, y, x, *, width, value: g[_inside(width, g.shape)]),
)


def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0, **options: Any) -> Any:
    """Pad with constants or with elements of the array, like ``np.pad``.

    The modes are ``"constant"``, ``"edge"``, ``"reflect"``, ``"symmetric"`` and ``"wrap"``.

    Raises
    ------
    TypeError
        For other modes, and for ``reflect_type="odd"``.
    """
    x = operand(x)
    width = tuple((a, b) for a, b in np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist())
    if mode == "constant" or not any(map(any, width)):
        values = np.broadcast_to(plain(beside_tensors(np.asanyarray(constant_values))), (x.ndim, 2))
        if np.iscomplexobj(values) and isinstance(x, Tensor):
            keep_real(x)
        return record(_pad, (x,), {"width": width, "value": tuple((a, b) for a, b in values.tolist())})
    if mode not in ("edge", "reflect", "symmetric", "wrap") or options.get("reflect_type", "even") != "even":
        odd = ", reflect_type='odd'" if "reflect_type" in options else ""
        raise TypeError(f"np.pad of Tensors does not support mode={mode!r}{odd}; join the parts with np.concatenate")
    for axis, (size, sides) in enumerate(zip(x.shape, width, strict=True)):
        if any(sides):
            # Pad the indices with NumPy, then take the elements.
            x = getitem(x, along(axis, np.pad(np.arange(size), sides, mode, **options)))  # type: ignore[call-overload]
    return x


FUNCTIONS.update(
    {
        "getitem": getitem,
        np.swapaxes: swapaxes,
        np.matrix_transpose: lambda x: swapaxes(x, -1, -2),
        np.moveaxis: moveaxis,
        np.expand_dims: expand_dims,
        np.squeeze: squeeze,
        np.ravel: lambda x: reshape(x, -1),
        np.split: split,
        np.array_split: array_split,
        np.concatenate: concatenate,
        np.stack: stack,
        np.pad: pad,
    }
)

__all__ = [
    "array_split", "concatenate", "expand_dims", "getitem", "moveaxis", "pad", "scatter", "split", "squeeze", "stack",
    "swapaxes",
]  # fmt: skip
