"""What a recorded norm shows: routes and the terms of the closed form, invariants, what moved between two runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine.operators import Array
from ...engine.tensor import Tensor
from ..formulas import Formula, Tree, row, sign
from .links import Link
from .recording import Recording

_DX_HAT: Tree = ("mi", "dx̂")
_SIGMA: Tree = ("mi", "σ")
_MEAN: Tree = row(("mi", "mean"), sign("("), _DX_HAT, sign(")"))
_MEAN_WITH_X_HAT: Tree = row(("mi", "mean"), sign("("), _DX_HAT, sign("·"), ("mi", "x̂"), sign(")"))
TERMS = (
    Formula("dx̂ / σ", ("mfrac", _DX_HAT, _SIGMA)),
    Formula("−mean(dx̂) / σ", row(sign("−"), ("mfrac", _MEAN, _SIGMA))),
    Formula("−x̂ · mean(dx̂ · x̂) / σ", row(sign("−"), ("mi", "x̂"), sign("·"), ("mfrac", _MEAN_WITH_X_HAT, _SIGMA))),
    Formula("0", ("mn", "0")),
)
CLOSED_FORM = Formula(
    "dx = (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂)) / σ, where dx̂ = ∂L/∂x̂ and σ = √(σ² + ε)",
    row(
        ("mi", "dx"), sign("="),
        ("mfrac", row(_DX_HAT, sign("−"), _MEAN, sign("−"), ("mi", "x̂"), sign("·"), _MEAN_WITH_X_HAT), _SIGMA),
        ("mtext", ",\u2003where\u00a0"), _DX_HAT, sign("="), ("mfrac", ("mi", "∂L"), row(sign("∂"), ("mi", "x̂"))),
        ("mtext", "\u00a0and\u00a0"), _SIGMA, sign("="),
        ("msqrt", row(("msup", _SIGMA, ("mn", "2")), sign("+"), ("mi", "ε"))),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Route:
    """A path from y to x: its stations by name, what it carries, and the term of the closed form that it is."""

    stations: tuple[str, ...]
    links: tuple[Link, ...]
    contribution: Array
    term: Formula | None = None
    expected: Array | None = None


@dataclass(frozen=True)
class Statistics:
    """The parts of a norm; ``axes`` are those that were averaged over."""

    mean: Tensor
    centred: Tensor
    var: Tensor
    x_hat: Tensor
    axes: tuple[int, ...]
    eps: float


def statistics_of(recording: Recording, x: Tensor) -> Statistics | None:
    """Return the parts of a norm of x itself, through which alone y depends on x; None for any other graph.

    They are found by their names, and have to be computed from each other, and from x, as those of a norm are.
    """
    if len(recording.paths(x)) != len(TERMS):
        return None
    named = [[t for t in recording.tensors if t.name == name] for name in ("μ", "x−μ", "σ²", "x̂")]
    if any(len(tensors) != 1 for tensors in named):
        return None
    mean, centred, var, x_hat = (tensors[0] for tensors in named)
    letters = {x: "x", mean: "μ", centred: "x−μ", var: "σ²"}
    made = [_made(t, letters) for t in (mean, centred, var)]
    if made != [("mean", "x"), ("subtract", "x", "μ"), ("mean", ("square", "x−μ"))] or centred.size != x.size:
        return None
    match _made(x_hat, letters):
        case ("multiply", "x−μ", ("rsqrt", ("add", "σ²", float(eps)))):
            pass
        case ("divide", "x−μ", ("sqrt", ("add", "σ²", float(eps)))):
            pass
        case _:
            return None
    axes = _axes(mean)
    kept = tuple(1 if i in axes else size for i, size in enumerate(centred.shape))
    if _axes(var) != axes or not mean.shape == var.shape == kept:
        return None
    return Statistics(mean, centred, var, x_hat, axes, eps)


def _axes(t: Tensor) -> tuple[int, ...]:
    assert t.node is not None
    axis = t.node.static["axis"]
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
    """Return every path from y to x with what it carries; for a norm of x each with its term of the closed form."""
    parts = statistics_of(recording, x)
    terms = None if parts is None else closed_form_terms(recording, parts, x)
    found = []
    for path in recording.paths(x):
        passed = (recording.y, *(link.source for link in path if link.source.name))
        stations = tuple(recording.called(t).text for t in passed)
        term = expected = None
        if parts is not None and terms is not None:
            through = {link.source for link in path}
            which = 2 * (parts.var in through) + (parts.mean in through)
            term, expected = TERMS[which], terms[which]
        found.append(Route(stations, tuple(path), recording.along(path), term, expected))
    return found


def closed_form_terms(recording: Recording, parts: Statistics, x: Tensor) -> list[Array]:
    """Return ``dx̂/σ, -mean(dx̂)/σ, -x̂ mean(dx̂ x̂)/σ, 0`` in NumPy, nothing of the graph's own rules."""
    inverse = (parts.var.data + parts.eps) ** -0.5
    x_hat = parts.centred.data * inverse
    slope = recording.gradients[parts.x_hat].reshape(x_hat.shape)

    def mean(a: Array) -> Array:
        return np.asarray(np.mean(a, axis=parts.axes, keepdims=True))

    terms = [slope * inverse, -mean(slope) * inverse, -x_hat * mean(slope * x_hat) * inverse, 0.0]
    return [np.broadcast_to(term, x_hat.shape).reshape(x.shape) for term in terms]


def invariants(recording: Recording, x: Tensor, over: str) -> list[tuple[str, Array, float]]:
    """Return what a norm keeps: in words, as it comes out, and how large what was added up is."""
    parts = statistics_of(recording, x)
    if parts is None:
        return []
    shape = parts.centred.shape
    dx, x_hat = recording.gradients[x].reshape(shape), parts.x_hat.data.reshape(shape)

    def total(a: Array) -> Array:
        return np.asarray(a.sum(axis=parts.axes))

    def largest(a: Array) -> float:
        return float(np.abs(a).max(initial=0))

    return [
        (f"sum of dx over {over}: 0, because a shift of all of them changes nothing", total(dx), largest(dx)),
        (
            f"sum of dx · x̂ over {over}: nearly 0, because a change of scale changes nothing but for ε",
            total(dx * x_hat), largest(dx * x_hat),
        ),
        (f"mean of x̂ over {over}: 0", x_hat.mean(axis=parts.axes), largest(x_hat)),
        (f"variance of x̂ over {over}: σ² / (σ² + ε), nearly 1", x_hat.var(axis=parts.axes), 1.0),
    ]  # fmt: skip


def moved(before: Array, after: Array, within: float = 5e-4) -> Array:
    """Return which cells differ by more than a share of the largest: to three digits."""
    if before.shape != after.shape:
        return np.ones(after.shape, bool)
    scale = max(float(np.abs(before).max(initial=0)), float(np.abs(after).max(initial=0)))
    return np.asarray(np.abs(after - before) > within * scale)


def in_words(cells: Array, name: str) -> str:
    """Return how many cells of an array moved."""
    count = int(cells.sum())
    if count == 0:
        return f"{name}: no cell changed"
    return f"{name}: {count} of {cells.size} cells changed"
