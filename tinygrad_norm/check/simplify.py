"""Simplification of the cotangent to a single 1 or a few round numbers that still show the fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..engine.operators import Array
from .report import GradientReport, Verdict

MOST_CALLS, MOST_ELEMENTS = 30, 3000
"""Largest number of cotangents to try, and of elements to compare again in total."""

CLEAR = 0.3
"""The share of the relative error, or of 1 if that is less, that a simpler cotangent must keep."""


def simplified(report: GradientReport, examine: Callable[[Array], GradientReport]) -> GradientReport:
    """Return a report of the same fault for a simpler cotangent, or the same report if none shows the fault.

    ``examine`` checks the witness again with another cotangent. The first candidates are a single 1, the signs, and
    rounded numbers. Then half of the nonzero entries are dropped, as long as the fault remains.
    """
    g, found = report.cotangent, report
    if g is None or not g.size:
        return report
    tries = [_single(report, g), np.sign(g), np.round(g, 1) + 0.0]  # no -0
    # Faults other than wrong values have no error.
    least = CLEAR * min(report.largest_relative_error, 1.0) if report.verdict is Verdict.WRONG_VALUE else 0.0
    for _ in range(min(MOST_CALLS, MOST_ELEMENTS // max(report.elements, 1))):
        if not tries:
            break
        simpler = tries.pop(0)
        again = examine(simpler)
        same = (again.verdict, again.input) == (report.verdict, report.input)
        if same and again.largest_relative_error >= least:
            found, tries = again, _halves(simpler)
    # For a single 1, perhaps only one entry is wrong. The reader should know if there are more.
    words = tuple(
        f"{one.wrong} of {one.checked} entries of the gradient of {one.name} are wrong for a random g"
        for one, other in zip(report.arguments, found.arguments, strict=False)
        if one.wrong > other.wrong
    )
    told = {name: getattr(report, name) for name in ("diagnosis", "regime", "edge", "examples", "ordinary", "seed")}
    return replace(found, notes=(*found.notes, *words), **told)


def _single(report: GradientReport, g: Array) -> Array:
    """Return a cotangent that is 1 at the largest error of the gradient, or at its own largest entry."""
    single = np.zeros_like(g)
    there = report.index and g.shape == report.witness[report.input].shape
    single[report.index if there else np.unravel_index(np.abs(g).argmax(), g.shape)] = 1.0
    return single


def _halves(g: Array) -> list[Array]:
    """Return two arrays, each with one half of the nonzero entries."""
    places = np.flatnonzero(g)
    kept = np.array_split(places, 2) if places.size > 1 else []
    return [np.where(np.isin(np.arange(g.size), half), g.flat, 0.0).reshape(g.shape) for half in kept]
