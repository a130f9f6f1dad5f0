"""Rules for axis names: the names of an operation's result, from the names of its operands, if they are certain."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from ..engine.primitive import Node
from .expressions import BROADCASTING

# None for an axis without a name.
Names = tuple[str | None, ...]


def following(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    """Return the axis names of a node's result, which has the given shape."""
    kind, forward = node.primitive.name, node.primitive.forward
    elementwise = kind in _ELEMENTWISE or (isinstance(forward, np.ufunc) and forward.signature is None)
    rule = _aligned if elementwise else _RULES.get(kind)
    return rule(node, operands, shape) if rule else (None,) * len(shape)


def _agreed(*names: str | None) -> str | None:
    """Return the name of an axis in several arrays, or None if they differ."""
    known = {*names} - {None}
    return known.pop() if len(known) == 1 else None


def _aligned(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    """Align axes from the right. The name of a repeated axis of size 1 is ignored."""

    def fitted(names: Names, old: tuple[int, ...]) -> Iterator[str | None]:
        sides = zip_longest(reversed(names), reversed(old), reversed(shape), fillvalue=None)
        return (name if size == whole else None for name, size, whole in sides)

    meeting = (fitted(names, np.shape(x)) for names, x in zip(operands, node.arrays, strict=True))
    return tuple(_agreed(*names) for names in zip(*meeting, strict=True))[::-1]


def _reduced(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    (names,) = operands
    gone = node.static.get("axis", (0,)) if len(shape) < len(names) else ()
    return tuple(name for i, name in enumerate(names) if i not in gone)


def _transposed(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    return tuple(operands[0][i] for i in node.static["axes"])


def _reshaped(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    """Keep the names of axes whose size and stride in elements are unchanged."""

    def places(shape: tuple[int, ...]) -> list[tuple[int, int]]:
        return [(size, math.prod(shape[i + 1 :])) for i, size in enumerate(shape)]

    known = dict(zip(places(node.arrays[0].shape), operands[0], strict=True))
    return tuple(known.get(place) if place[0] > 1 else None for place in places(shape))


def _matrices(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    """``n q d`` @ ``n d k`` is ``n q k``. The rows of the solution of ``a @ x = b`` are the columns of a."""
    a, b = operands
    return (*map(_agreed, a[:-2], b[:-2]), a[-1 if node.primitive.name == "solve" else -2], b[-1])


def _einsum(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    letters = list(zip("".join(node.static["terms"]), (name for names in operands for name in names), strict=True))
    return tuple(_agreed(*(name for letter, name in letters if letter == wanted)) for wanted in node.static["result"])


def _indexed(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    """An integer removes an axis, a slice keeps it, and None adds one."""
    axes, parts = iter(operands[0]), _for_each_axis(node.static["index"], len(operands[0]))
    if parts is None:
        return (None,) * len(shape)
    named = [None if part is None else next(axes) for part in parts]
    return tuple(name for name, part in zip(named, parts, strict=True) if type(part) is not int)


def _scattered(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    axes, parts = iter(operands[0]), _for_each_axis(node.static["index"], len(shape))
    if parts is None:
        return (None,) * len(shape)
    named = [None if type(part) is int else next(axes) for part in parts]
    return tuple(name for name, part in zip(named, parts, strict=True) if part is not None)


def _for_each_axis(index: tuple[Any, ...], ndim: int) -> list[Any] | None:
    """Return an index with a slice for each omitted axis, or None for an index with arrays."""
    if not all(part is None or part is Ellipsis or type(part) in (int, slice) for part in index):
        return None
    at = index.index(Ellipsis) if Ellipsis in index else len(index)
    others = [slice(None)] * (ndim - sum(type(part) in (int, slice) for part in index))
    return [*index[:at], *others, *index[at + 1 :]]


def _joined(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    names = [_agreed(*axis) for axis in zip(*operands, strict=True)]
    if node.primitive.name == "stack":
        names.insert(node.static["axis"], None)
    return tuple(names)


def _leading(node: Node, operands: Sequence[Names], shape: tuple[int, ...]) -> Names:
    """Keep the names of the first axes. Further axes are new or removed."""
    return (*operands[0], *(None,) * len(shape))[: len(shape)]


# In addition to NumPy's ufuncs.
_ELEMENTWISE = BROADCASTING | frozenset({
    "rsqrt", "sigmoid", "erf", "absolute", "sign", "cbrt", "astype", "broadcast_to", "finite", "detach",
})  # fmt: skip
_RULES: dict[str, Callable[[Node, Sequence[Names], tuple[int, ...]], Names]] = {
    **dict.fromkeys(("sum", "mean", "max", "min", "prod"), _reduced),
    "transpose": _transposed,
    "reshape": _reshaped,
    **dict.fromkeys(("matmul", "solve"), _matrices),
    "einsum": _einsum,
    "getitem": _indexed,
    "scatter": _scattered,
    **dict.fromkeys(("concatenate", "stack"), _joined),
    **dict.fromkeys(("pad", "cumsum", "cumprod", "sliding_windows", "overlap_add", "det", "logabsdet"), _leading),
}
