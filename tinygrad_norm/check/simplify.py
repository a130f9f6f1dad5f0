"""A cotangent that can be read: a single 1, or a few round numbers, as far as the fault shows on it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..engine.operators import Array
from .report import GradientReport

MOST_CALLS, MOST_ELEMENTS = 30, 3000
"""So many cotangents are tried, and fewer for large inputs: so many elements are compared again, in all."""

CLEAR = 0.3
"""A relative error stays clear if it is this part of the one before, or of 1."""


def simplified(report: GradientReport, examine: Callable[[Array], GradientReport]) -> GradientReport:
    """Return a report of the same fault for a simpler cotangent; the same report where none shows it.

    ``examine`` checks the witness again with another cotangent. The first tries are a single 1, the signs, and
    numbers of one digit; then half of what is not zero is left out, as long as the fault stays.
    """
    if report.cotangent is None or not report.cotangent.size:
        return report
    calls = iter(range(min(MOST_CALLS, MOST_ELEMENTS // max(report.elements, 1))))
    found, g = report, report.cotangent
    for simpler in (_single(report, g), np.sign(g), np.round(g, 1) + 0.0):  # no -0
        again = _shown(report, simpler, examine, calls)
        if again is not None:
            found, g = again, simpler
            break
    else:
        return report
    while np.count_nonzero(g) > 1:
        for half in _halves(g):
            again = _shown(report, half, examine, calls)
            if again is not None:
                found, g = again, half
                break
        else:
            break
    ones = np.abs(np.sign(g))
    if not np.array_equal(g, ones):
        found = _shown(report, ones, examine, calls) or found
    for one, other in zip(report.arguments, found.arguments, strict=False):
        # A single 1 may leave a single entry wrong: where all of them are, that should be known.
        if one.wrong > other.wrong:
            words = f"of {one.name} {one.wrong} of {one.checked} entries are wrong for a random g"
            found = replace(found, notes=(*found.notes, words))
    return found


def _single(report: GradientReport, g: Array) -> Array:
    """Return a cotangent that is 1 where the gradient is most wrong, or where the cotangent itself is largest."""
    single = np.zeros_like(g)
    same = report.index and g.shape == report.witness[report.input].shape
    single[report.index if same else np.unravel_index(np.abs(g).argmax(), g.shape)] = 1.0
    return single


def _halves(g: Array) -> Iterator[Array]:
    """Yield the array with the one half of its non-zero entries, and with the other."""
    places = np.flatnonzero(g)
    for kept in (places[: places.size // 2], places[places.size // 2 :]):
        half = np.zeros_like(g)
        half.flat[kept] = g.flat[kept]
        yield half


def _shown(
    report: GradientReport, g: Array, examine: Callable[[Array], GradientReport], calls: Iterator[int]
) -> GradientReport | None:
    """Return the report with what is seen by another cotangent, if that is the same fault, as clearly."""
    if next(calls, None) is None:
        return None
    found = examine(g)
    clear = found.largest_relative_error >= CLEAR * min(report.largest_relative_error, 1.0)
    if (found.verdict, found.input) != (report.verdict, report.input) or not clear:
        return None
    told = {name: getattr(report, name) for name in ("diagnosis", "regime", "edge", "examples", "ordinary", "seed")}
    return replace(found, **told)
