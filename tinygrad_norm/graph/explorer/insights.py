"""What a recorded function shows: the routes from y to x, the parts of a norm, and which cells share a statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine.operators import Array
from ...engine.tensor import Tensor
from ..axes import counted
from .families import ELEMENTWISE, REDUCTIONS
from .links import Link, node_of, operands_of
from .recording import Recording

_SAME_PLACES = (*ELEMENTWISE, "reshape", "astype")


@dataclass(frozen=True)
class Route:
    """A path from y to x: its stations by name, its links, and which term of the closed form it is.

    The terms of a norm are 0: ``dx̂/σ``, 1: ``-mean(dx̂)/σ``, 2: ``-x̂ · mean(dx̂ · x̂)/σ``, 3: 0.
    """

    stations: tuple[str, ...]
    links: tuple[Link, ...]
    term: int | None = None


@dataclass(frozen=True)
class Statistics:
    """The parts of a norm; ``axes`` are those that were averaged over. RMS norm has no mean: ``centred`` is x there."""

    mean: Tensor | None
    centred: Tensor
    var: Tensor
    x_hat: Tensor
    axes: tuple[int, ...]
    eps: float


@dataclass(frozen=True)
class Sharing:
    """Which cells of x share a number.

    Attributes
    ----------
    ids : ndarray of int
        Of the shape of x: equal where cells share it.
    over : str
        The axes over which it was computed.
    kind : str
        What it is: ``"mean"``, ``"max"``.
    """

    ids: Array
    over: str
    kind: str


def statistics_of(recording: Recording, x: Tensor) -> Statistics | None:
    """Return the parts of a norm of x itself, through which alone y depends on x; None for any other graph.

    They are found by their names, and have to be computed from each other, and from x, as those of a norm are.
    """
    named = {t.name: t for t in recording.tensors if t.name}
    paths = len(recording.paths(x))
    mean = named.get("μ") if paths == 4 else None
    centred = named.get("x−μ") if paths == 4 else x if paths == 2 else None
    var, x_hat = named.get("mean x²" if centred is x else "σ²"), named.get("x̂")
    if centred is None or var is None or x_hat is None or (mean is None) != (centred is x):
        return None
    counts = [t.name for t in recording.tensors]
    if any(counts.count(t.name) > 1 for t in (mean, centred, var, x_hat) if t is not None):
        return None
    letters = {x: "x", var: "σ²"} if mean is None else {x: "x", mean: "μ", centred: "x−μ", var: "σ²"}
    deviation = letters[centred]
    if mean is not None and (_made(mean, letters), _made(centred, letters)) != (("mean", "x"), ("subtract", "x", "μ")):
        return None
    if _made(var, letters) != ("mean", ("square", deviation)) or centred.size != x.size:
        return None
    match _made(x_hat, letters):
        case ("multiply", first, ("rsqrt", ("add", "σ²", float(eps)))) if first == deviation:
            pass
        case ("divide", first, ("sqrt", ("add", "σ²", float(eps)))) if first == deviation:
            pass
        case _:
            return None
    axes = _axes(var)
    (squared,) = operands_of(var)
    kept = tuple(1 if i in axes else size for i, size in enumerate(squared.shape))
    if any(t.shape != kept or _axes(t) != axes for t in (mean, var) if t is not None):
        return None
    return Statistics(mean, centred, var, x_hat, axes, eps)


def _axes(t: Tensor) -> tuple[int, ...]:
    axis = node_of(t).static["axis"]
    return axis if isinstance(axis, tuple) else ()


def _made(t: Tensor, letters: Mapping[Tensor, str], depth: int = 8) -> Any:
    """Return how a Tensor was made, as nested tuples of operations and letters; changes of shape are looked through."""
    if t.node is None or depth == 0:
        return float(t.item()) if t.size == 1 else None
    operands = [
        float(x) if not isinstance(x, Tensor) else letters.get(x) or _made(x, letters, depth - 1) for x in t.node.inputs
    ]
    kind = t.node.primitive.name
    return operands[0] if kind in ("reshape", "broadcast_to", "astype") else (kind, *operands)


def routes(recording: Recording, x: Tensor) -> list[Route]:
    """Return every path from y to x; for a norm of x each with its term of the closed form."""
    parts = statistics_of(recording, x)
    found = []
    for path in recording.paths(x):
        passed = (recording.y, *(link.source for link in path if link.source.name))
        stations = tuple(recording.called(t).text for t in passed)
        through = {link.source for link in path}
        term = None if parts is None else 2 * (parts.var in through) + (parts.mean in through)
        found.append(Route(stations, tuple(path), term))
    return found


def sharing(recording: Recording, x: Tensor) -> Sharing | None:
    """Return which cells of x share a number: that of the first reduction whose operand has the places of x, or None."""
    for t in recording.tensors:
        if t.node is None or t.node.primitive.name not in REDUCTIONS:
            continue
        (operand, *_) = operands_of(t)
        if t.size <= x.size == operand.size and _keeps_places(operand, x):
            axis = t.node.static["axis"]
            kept = np.arange(t.size).reshape(operand.data.sum(axis, keepdims=True).shape)
            ids: Array = np.broadcast_to(kept, operand.shape).reshape(x.shape)
            over = recording.over(axis, counted(t.node, t)) if axis != () else ""
            return Sharing(ids, over, t.node.primitive.name)
    return None


def _keeps_places(t: Tensor, x: Tensor) -> bool:
    """Whether each element of a Tensor is made of the element of x in the same place, in C order."""
    if t is x or t.node is None:
        return t is x
    same = [operand for operand in operands_of(t) if operand.size == x.size]
    return t.node.primitive.name in _SAME_PLACES and any(_keeps_places(operand, x) for operand in same)
