"""What a recorded norm shows: routes and the terms of the closed form, invariants, what moved between two runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine.operators import Array
from ...engine.tensor import Tensor
from .formulas import Formula, Tree, row, sign
from .recording import Link, Recording

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
    """The parts of a norm, found in its graph by their names; ``axes`` are those that were averaged over."""

    mean: Tensor
    centred: Tensor
    var: Tensor
    x_hat: Tensor
    axes: tuple[int, ...]


def statistics_of(recording: Recording) -> Statistics | None:
    """Return the parts of the one norm in a graph whose statistics were computed there, or None."""
    found: dict[str, Any] = {}
    for field, name in (("mean", "μ"), ("centred", "x−μ"), ("var", "σ²"), ("x_hat", "x̂")):
        named = [t for t in recording.tensors if t.name == name and t.node is not None]
        if len(named) != 1:
            return None
        (found[field],) = named
    return Statistics(**found, axes=found["mean"].node.static["axis"])


def routes(recording: Recording, x: Tensor, eps: float) -> list[Route]:
    """Return every path from y to x with what it carries; for a norm each with its term of the closed form."""
    parts = statistics_of(recording)
    terms = None if parts is None else closed_form_terms(recording, parts, x, eps)
    found = []
    for path in recording.paths(x):
        stations = (recording.y.name or "y", *(link.source.name for link in path if link.source.name))
        term = expected = None
        if parts is not None and terms is not None:
            through = {link.source for link in path}
            which = 2 * (parts.var in through) + (parts.mean in through)
            term, expected = TERMS[which], terms[which]
        found.append(Route(stations, tuple(path), recording.along(path), term, expected))
    return found


def closed_form_terms(recording: Recording, parts: Statistics, x: Tensor, eps: float) -> list[Array]:
    """Return ``dx̂/σ, -mean(dx̂)/σ, -x̂ mean(dx̂ x̂)/σ, 0`` in NumPy, nothing of the graph's own rules."""
    inverse = (parts.var.data + eps) ** -0.5
    x_hat = parts.centred.data * inverse
    slope = recording.gradients[parts.x_hat].reshape(x_hat.shape)

    def mean(a: Array) -> Array:
        return np.asarray(np.mean(a, axis=parts.axes, keepdims=True))

    terms = [slope * inverse, -mean(slope) * inverse, -x_hat * mean(slope * x_hat) * inverse, 0.0]
    return [np.broadcast_to(term, x_hat.shape).reshape(x.shape) for term in terms]


def invariants(recording: Recording, x: Tensor, over: str) -> list[tuple[str, Array]]:
    """Return what a norm keeps, each in words and as it comes out: sums of dx, mean and variance of x̂."""
    parts = statistics_of(recording)
    if parts is None:
        return []
    shape = parts.centred.shape
    dx, x_hat = recording.gradients[x].reshape(shape), parts.x_hat.data.reshape(shape)

    def total(a: Array) -> Array:
        return np.asarray(a.sum(axis=parts.axes))

    return [
        (f"sum of dx over {over}: 0, because a shift of all of them changes nothing", total(dx)),
        (
            f"sum of dx · x̂ over {over}: nearly 0, because a change of scale changes nothing but for eps",
            total(dx * x_hat),
        ),
        (f"mean of x̂ over {over}: 0", x_hat.mean(axis=parts.axes)),
        (f"variance of x̂ over {over}: var / (var + eps), nearly 1", x_hat.var(axis=parts.axes)),
    ]


def moved(before: Array, after: Array) -> Array:
    """Return which cells differ by more than rounding."""
    if before.shape != after.shape:
        return np.ones(after.shape, bool)
    scale = max(float(np.abs(before).max(initial=0)), float(np.abs(after).max(initial=0)))
    return np.asarray(np.abs(after - before) > 1e-9 * scale)


def in_words(cells: Array, name: str) -> str:
    """Return how many cells of an array moved."""
    count = int(cells.sum())
    if count == 0:
        return f"{name}: no cell changed"
    return f"{name}: {count} of {cells.size} cells changed"
