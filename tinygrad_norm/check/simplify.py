"""A cotangent that can be read: a single 1, or a few round numbers, as long as the fault still shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..engine.operators import Array
from .report import GradientReport, Verdict

MOST_CALLS, MOST_ELEMENTS = 30, 3000
"""So many cotangents are tried, and fewer for large inputs: so many elements are compared again, in all."""

CLEAR = 0.3
"""A relative error stays clear if it is this part of the one before, or of 1."""


def simplified(report: GradientReport, examine: Callable[[Array], GradientReport]) -> GradientReport:
    """Return a report of the same fault for a simpler cotangent; the same report where none shows it.

    ``examine`` checks the witness again with another cotangent. The first tries are a single 1, the signs, and
    numbers of one digit; then half of what is not zero is left out, as long as the fault stays.
    """
    g, found = report.cotangent, report
    if g is None or not g.size:
        return report
    tries = [_single(report, g), np.sign(g), np.round(g, 1) + 0.0]  # no -0
    # Of other faults than wrong values no error tells.
    least = CLEAR * min(report.largest_relative_error, 1.0) if report.verdict is Verdict.WRONG_VALUE else 0.0
    for _ in range(min(MOST_CALLS, MOST_ELEMENTS // max(report.elements, 1))):
        if not tries:
            break
        simpler = tries.pop(0)
        again = examine(simpler)
        same = (again.verdict, again.input) == (report.verdict, report.input)
        if same and again.largest_relative_error >= least:
            found, tries = again, _halves(simpler)
    # A single 1 may leave a single entry wrong: where all of them are, that should be known.
    words = tuple(
        f"of {one.name} {one.wrong} of {one.checked} entries are wrong for a random g"
        for one, other in zip(report.arguments, found.arguments, strict=False)
        if one.wrong > other.wrong
    )
    told = {name: getattr(report, name) for name in ("diagnosis", "regime", "edge", "examples", "ordinary", "seed")}
    return replace(found, notes=(*found.notes, *words), **told)


def _single(report: GradientReport, g: Array) -> Array:
    """Return a cotangent that is 1 where the gradient is most wrong, or where the cotangent itself is largest."""
    single = np.zeros_like(g)
    there = report.index and g.shape == report.witness[report.input].shape
    single[report.index if there else np.unravel_index(np.abs(g).argmax(), g.shape)] = 1.0
    return single


def _halves(g: Array) -> list[Array]:
    """Return the array with the one half of its non-zero entries, and with the other."""
    places = np.flatnonzero(g)
    kept = np.array_split(places, 2) if places.size > 1 else []
    return [np.where(np.isin(np.arange(g.size), half), g.flat, 0.0).reshape(g.shape) for half in kept]
