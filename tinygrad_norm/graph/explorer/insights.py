"""Analysis of a recording: the routes from y to x, the parts of a norm, and the cells that share a statistic."""

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
    """A path from y to x: the names of its stations, its links, and the number of its term in the closed form.

    The terms of a norm are 0: ``dx̂/σ``, 1: ``-mean(dx̂)/σ``, 2: ``-x̂ · mean(dx̂ · x̂)/σ``, 3: 0.
    """

    stations: tuple[str, ...]
    links: tuple[Link, ...]
    term: int | None = None


@dataclass(frozen=True)
class Statistics:
    """The parts of a norm. ``axes`` are averaged over. RMS norm has no mean, and ``centred`` is x."""

    mean: Tensor | None
    centred: Tensor
    var: Tensor
    x_hat: Tensor
    axes: tuple[int, ...]
    eps: float


@dataclass(frozen=True)
class Sharing:
    """The cells of x that share a statistic.

    Attributes
    ----------
    ids : ndarray of int
        An array of the shape of x, with equal entries for cells that share a statistic.
    over : str
        The axes over which it was computed.
    kind : str
        The operation: ``"mean"``, ``"max"``.
    """

    ids: Array
    over: str
    kind: str


def statistics_of(recording: Recording, x: Tensor) -> Statistics | None:
    """Return the parts of a norm if y depends on x through this norm only, or None for any other graph.

    The parts are found by name. They must be computed from each other and from x like the parts of a norm.
    """
    names = {4: ("μ", "x−μ", "σ²", "x̂"), 2: ("mean x²", "x̂")}.get(len(recording.paths(x)), ())
    found = [[t for t in recording.tensors if t.name == name] for name in names]
    if not found or any(len(tensors) != 1 for tensors in found):
        return None
    *before, var, x_hat = (tensors[0] for tensors in found)
    mean, centred = before or (None, x)
    letters = {x: "x", var: "v"} | ({} if mean is None else {mean: "μ", centred: "x−μ"})
    expected: dict[Tensor, Any] = {var: ("mean", ("square", letters[centred]))}
    if mean is not None:
        expected |= {mean: ("mean", "x"), centred: ("subtract", "x", "μ")}
    eps = _eps(_made(x_hat, letters), letters[centred])
    if eps is None or centred.size != x.size or any(_made(t, letters) != made for t, made in expected.items()):
        return None
    axes = _axes(var)
    (squared,) = operands_of(var)
    kept = tuple(1 if i in axes else size for i, size in enumerate(squared.shape))
    if any(t.shape != kept or _axes(t) != axes for t in (mean, var) if t is not None):
        return None
    return Statistics(mean, centred, var, x_hat, axes, eps)


def _eps(made: Any, deviation: str) -> float | None:
    """Return the ε in ``deviation / √(v + ε)``, in either form, or None for anything else."""
    match made:
        case ("multiply", first, ("rsqrt", ("add", "v", float(eps)))) if first == deviation:
            return eps
        case ("divide", first, ("sqrt", ("add", "v", float(eps)))) if first == deviation:
            return eps
    return None


def _axes(t: Tensor) -> tuple[int, ...]:
    axis = node_of(t).static["axis"]
    return axis if isinstance(axis, tuple) else ()


def _made(t: Tensor, letters: Mapping[Tensor, str], depth: int = 8) -> Any:
    """Return the computation of a Tensor as nested tuples of operations and letters. Changes of shape are skipped."""
    if t.node is None or depth == 0:
        return float(t.item()) if t.size == 1 else None
    operands = [
        float(x) if not isinstance(x, Tensor) else letters.get(x) or _made(x, letters, depth - 1) for x in t.node.inputs
    ]
    kind = t.node.primitive.name
    return operands[0] if kind in ("reshape", "broadcast_to", "astype") else (kind, *operands)


def routes(recording: Recording, x: Tensor) -> list[Route]:
    """Return every path from y to x, with its term of the closed form if the graph is a norm of x."""
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
    """Return the cells of x that share a result of the first reduction that matches x cell by cell, or None."""
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
    """Return whether each element of a Tensor is computed from the element of x at the same position, in C order."""
    if t is x or t.node is None:
        return t is x
    same = [operand for operand in operands_of(t) if operand.size == x.size]
    return t.node.primitive.name in _SAME_PLACES and any(_keeps_places(operand, x) for operand in same)
