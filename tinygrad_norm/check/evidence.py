"""From a fault to what it looks like: the numbers for a diagnosis, if possible from inputs larger than the witness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ..engine.operators import Array
from .diagnosis import Evidence, diagnose
from .judging import wanted
from .point import examine
from .report import GradientReport, Verdict
from .scales import generator
from .subject import Subject, Unfit

EXPLAINED = (Verdict.WRONG_VALUE, Verdict.WRONG_SHAPE, Verdict.NAN)
MOST_PAIRS = 20_000
"""So many pairs of an entry of the output and one of the input, at most, for Jacobians."""


def explained(subject: Subject, report: GradientReport, larger: Iterable[Sequence[Array]] = ()) -> GradientReport:
    """Return a report of a fault with a diagnosis.

    What shrinks away may be what tells the fault: for two elements, 1 / n and (n - 1) / n are the same. So larger
    inputs are asked first, as far as the fault is to be seen on them too.
    """
    if report.verdict not in EXPLAINED:
        return report
    for points in larger:
        try:
            found = examine(subject, points, generator(report.seed))
            if (found.verdict, found.input) == (report.verdict, report.input):
                words = diagnose(_gathered(subject, found))
                if words:
                    shapes = ", ".join("×".join(map(str, np.shape(x))) or "scalar" for x in points)
                    return replace(report, diagnosis=(f"{words} (as seen on inputs of {shapes})",))
        except Exception:  # the functions' own, of inputs that the search did not try
            continue
    try:
        words = diagnose(_gathered(subject, report))
    except Unfit:  # there is no gradient to look at
        return report
    return replace(report, diagnosis=(words,) if words else ())


def _gathered(subject: Subject, report: GradientReport) -> Evidence:
    points, which, g = (
        [x.astype(np.float64) if x.dtype.kind == "f" else x for x in report.witness],
        report.input,
        report.cotangent,
    )
    assert g is not None
    x, exact = points[which], report.oracle == "complex step"

    def got(cotangent: Array) -> Array:
        return subject.gradients(points, cotangent)[which]

    def want(cotangent: Array) -> Array:
        return wanted(subject, points, which, range(x.size), cotangent, exact)[0].reshape(x.shape)

    with np.errstate(all="ignore"):
        if got(g).shape != x.shape:
            return Evidence(got(g), None, tuple(points), which, g)
        jacobians = None
        if (exact or callable(subject.oracle)) and 0 < g.size * x.size <= MOST_PAIRS:
            units = np.eye(g.size).reshape(-1, *g.shape)
            shape = (*g.shape, *x.shape)
            jacobians = tuple(np.stack([of(unit) for unit in units]).reshape(shape) for of in (got, want))
        return Evidence(got(g), want(g), tuple(points), which, g, jacobians)  # type: ignore[arg-type]
