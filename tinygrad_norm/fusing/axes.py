"""The loops of a kernel: the axes along which each recorded array varies.

Every axis of every array gets an `Axis`. An operation *unifies* axes that it makes equal. A reshape may cut an axis, as
in group norm, which cuts the channels into groups; then the axis is cut in all arrays. Axes of size 1 do not count, so
broadcasts vanish. In the end, axes that are adjacent in all arrays become one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any

from ..engine.tensor import Tensor
from .terms import SUMS
from .unknown import UnfusableError


class Axis:
    """An axis with a size. It may turn out to equal another axis, or be cut into an outer and an inner axis."""

    __slots__ = ("parts", "same", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.same: Axis | None = None
        self.parts: tuple[Axis, ...] = ()


def uncut(axes: Iterable[Axis]) -> list[Axis]:
    """Return the uncut axes that the axes consist of, outermost first."""
    found = []
    for axis in axes:
        while axis.same is not None:
            axis = axis.same  # noqa: PLW2901 (follow the links to the last axis)
        found += uncut(axis.parts) if axis.parts else [axis]
    return found


def unify(first: Iterable[Axis], second: Iterable[Axis]) -> None:
    """Unify two sequences of axes that hold the same elements in C order, cutting axes if necessary."""
    a, b = uncut(first), uncut(second)
    while a and b:
        x, y = a.pop(), b.pop()
        if x.same or x.parts or y.same or y.parts:
            # This axis occurred before, and was unified or cut then.
            a, b = uncut([*a, x]), uncut([*b, y])
        elif x is y:
            continue
        elif x.size == y.size:
            y.same = x
        else:
            large, small = (x, y) if x.size > y.size else (y, x)
            if large.size % small.size:
                raise UnfusableError(f"a reshape cuts an axis of {large.size} into parts of {small.size}")
            large.parts = (Axis(large.size // small.size), Axis(small.size))
            a, b = uncut([*a, x]), uncut([*b, y])


Dims = tuple[tuple[Axis, ...], ...]  # the axes that each dimension of an array consists of


def _fresh(shape: Sequence[int]) -> Dims:
    return tuple((Axis(n),) if n != 1 else () for n in shape)


@dataclass
class Layouts:
    """The axes of recorded Tensors: in the C order of each array, and those that its values depend on."""

    dims: dict[Tensor, Dims] = field(default_factory=dict)
    varies: dict[Tensor, set[Axis]] = field(default_factory=dict)

    def add(self, y: Tensor) -> None:
        """Find the axes of a Tensor from those of its operands."""
        node = y.node
        operands = [x for x in node.inputs if isinstance(x, Tensor)] if node else []
        if not node:
            self.dims[y] = _fresh(y.shape)
        elif node.primitive.name == "reshape":
            self.dims[y] = _fresh(y.shape)
            unify(_flat(self.dims[operands[0]]), _flat(self.dims[y]))
        elif node.primitive.name == "transpose":
            self.dims[y] = tuple(self.dims[operands[0]][i] for i in node.static["axes"])
        elif node.primitive.name in SUMS:
            axes, keepdims = node.static["axis"], node.static["keepdims"]
            kept = [() if i in axes else dim for i, dim in enumerate(self.dims[operands[0]])]
            self.dims[y] = tuple(dim for i, dim in enumerate(kept) if keepdims or i not in axes)
        else:
            self.dims[y] = self._aligned(y.shape, operands)

    def _aligned(self, shape: Sequence[int], operands: Sequence[Tensor]) -> Dims:
        """Return the axes of an elementwise result or of a broadcast."""
        dims = list(_fresh(shape))
        for x in operands:
            offset = len(shape) - x.ndim
            for i, dim in enumerate(self.dims[x]):
                if x.shape[i] != 1:
                    unify(dims[offset + i], dim)
        return tuple(dims)

    def equate(self, x: Tensor, gradient: Tensor) -> None:
        """Unify the axes of a Tensor with those of its gradient."""
        for a, b in zip(self.dims[x], self.dims[gradient], strict=True):
            unify(a, b)

    def find_dependence(self, y: Tensor) -> None:
        """Find the axes that the values of a Tensor depend on, once all axes are known."""
        node = y.node
        if not node:
            self.varies[y] = set(self.layout(y))
            return
        operands = [x for x in node.inputs if isinstance(x, Tensor)]
        self.varies[y] = set().union(*(self.varies[x] for x in operands))
        if node.primitive.name in SUMS:
            self.varies[y] -= set(self.reduced(y))

    def reduced(self, y: Tensor) -> list[Axis]:
        """Return the axes that a reduction runs over."""
        x: Any = y.node.inputs[0]  # type: ignore[union-attr]
        return uncut(_flat([self.dims[x][i] for i in y.node.static["axis"]]))  # type: ignore[union-attr]

    def layout(self, y: Tensor) -> list[Axis]:
        """Return the axes of a Tensor in memory order."""
        found = uncut(_flat(self.dims[y]))
        if len(set(found)) < len(found):
            raise UnfusableError(f"an operation combines two axes of one array, of shape {y.shape}, with each other")
        return found


def _flat(dims: Iterable[tuple[Axis, ...]]) -> list[Axis]:
    return [axis for dim in dims for axis in dim]


@dataclass(frozen=True)
class Names:
    """Names and sizes of the loops. Axes that always occur together form one loop."""

    of: Mapping[Axis, str]
    sizes: Mapping[str, int]

    def each(self, axes: Iterable[Axis]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.of[axis] for axis in axes))


def name_loops(
    layouts: Layouts, first: Tensor, reductions: Sequence[Tensor], whole: Iterable[Tensor], taken: Iterable[str]
) -> Names:
    """Merge axes that are adjacent in all arrays, and name the loops after the axes of the first input.

    ``whole`` are the Tensors that are read or written, including axes along which their values only repeat.
    """
    rows = [[a for a in layouts.layout(y) if a in varies] for y, varies in layouts.varies.items()]
    rows += [layouts.layout(y) for y in (*whole, *(y.node.inputs[0] for y in reductions))]  # type: ignore[union-attr]
    sets = [(set(layouts.reduced(y)), set(layouts.layout(y.node.inputs[0]))) for y in reductions]  # type: ignore[union-attr]
    everything = list(dict.fromkeys(axis for y in (first, *layouts.dims) for axis in layouts.layout(y)))
    groups = [[axis] for axis in everything]
    for a, b in pairwise(everything):
        together = all((a in s) == (b in s) or not {a, b} <= among for s, among in sets)
        if together and all(_side_by_side(a, b, row) for row in rows):
            left = next(group for group in groups if a in group)
            right = next(group for group in groups if b in group)
            left += right
            groups.remove(right)
    labels = _labels(groups, [uncut(dim) for dim in layouts.dims[first]], {name.lower() for name in taken})
    names = {axis: label for group, label in zip(groups, labels, strict=True) for axis in group}
    return Names(names, {label: prod(axis.size for axis in group) for group, label in zip(groups, labels, strict=True)})


def _side_by_side(a: Axis, b: Axis, row: Sequence[Axis]) -> bool:
    if a not in row or b not in row:
        return a not in row and b not in row
    return row.index(b) == row.index(a) + 1


def _labels(groups: Sequence[Sequence[Axis]], dims: Sequence[Sequence[Axis]], taken: set[str]) -> list[str]:
    """Return a letter for each loop: n, c, h, w for the axes of the first input, s for space, g for groups."""
    usual = dict(enumerate("nchw" if len(dims) == 4 else "nc" if len(dims) <= 2 else "ncs"))
    spare = iter("kmpqruvabdefijlotyz")
    found: list[str] = []
    for group in groups:
        place = next((i for i, dim in enumerate(dims) if group[0] in dim), -1)
        label = "s" if place > 1 and len(group) > 1 else usual.get(place, "")
        if place >= 0 and len(dims[place]) > 1 and group[0] is dims[place][0] and group[-1] in dims[place]:
            label = "g"
        free = label and label not in taken and label not in found
        found.append(label if free else next(a for a in spare if a not in taken and a not in found))
    return found
