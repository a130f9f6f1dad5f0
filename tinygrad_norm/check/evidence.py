"""The diagnosis of a fault: the numbers at several points and sizes, if there are any, and what they look like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..engine.operators import Array
from .behaviour import by_calls, by_cotangents, by_shape, where_not_finite
from .diagnosis import diagnose
from .facts import Evidence
from .point import examine
from .report import GradientReport, Verdict
from .scales import generator
from .subject import Subject

ENOUGH_POINTS = 3


def explained(subject: Subject, report: GradientReport, larger: Iterable[Sequence[Array]] = ()) -> GradientReport:
    """Return a report of a fault with a diagnosis.

    The smallest inputs may hide what the fault is: for two elements, 1 / n and (n - 1) / n are equal. So larger inputs
    come first, if they show the fault, too, and the diagnosis must hold at several points.
    """
    try:
        with np.errstate(all="ignore"):
            words = _looks(subject, report, larger)
    except Exception:  # from the user's functions, for inputs that the search did not try
        words = ""
    return replace(report, diagnosis=(words,) if words else ())


def _looks(subject: Subject, report: GradientReport, larger: Iterable[Sequence[Array]]) -> str:
    if report.cotangent is None or not report.witness:
        return ""
    here = _evidence(subject, report)
    if report.verdict is Verdict.WRONG_SHAPE:
        return next((words for e in [*_seen(subject, report, larger), here] for words in by_shape(e)), "")
    if report.verdict in BEHAVIOUR:
        return BEHAVIOUR[report.verdict](here)
    return _of_values(here, report, larger) if report.verdict is Verdict.WRONG_VALUE else ""


BEHAVIOUR = {
    Verdict.NAN: where_not_finite,
    Verdict.NONDETERMINISTIC: by_calls,
    Verdict.NOT_LINEAR_IN_COTANGENT: by_cotangents,
}


def _of_values(here: Evidence, report: GradientReport, larger: Iterable[Sequence[Array]]) -> str:
    seen = list(_seen(here.subject, report, larger))
    seen = [e for e in seen if e.whole] or seen
    if len(seen) < 2:
        base = seen[0].points if seen else report.witness
        around = [[_moved(x, seed) for x in base] for seed in range(ENOUGH_POINTS)]
        seen += [*([] if seen or not here.shows() else [here]), *_seen(here.subject, report, around)]
    words = diagnose(seen) or _of_another_input(seen)
    if not words or seen[0] is here:
        return words
    shapes = ", ".join("×".join(map(str, np.shape(x))) or "scalar" for x in seen[0].points)
    return f"{words} (as seen on inputs of {shapes})"


CERTAIN = ("it is the right gradient", "it is zero everywhere", "the mismatch is")
"""Beginnings of sentences that are used for another input, too."""


def _of_another_input(seen: Sequence[Evidence]) -> str:
    """Return what the gradient of another input looks like if it is wrong, too: it may be easier to diagnose."""
    for which in seen[0].subject.wrt if seen else ():
        if which != seen[0].which:
            others = [replace(e, which=which) for e in seen]
            words = diagnose(others) if all(e.shows() for e in others) else ""
            if words.startswith(CERTAIN) and "a different factor" not in words:
                return f"the gradient of {seen[0].subject.names[which]} is wrong, too: {words}"
    return ""


def _seen(subject: Subject, report: GradientReport, larger: Iterable[Sequence[Array]]) -> Iterator[Evidence]:
    """Yield the evidence at other points that show the same fault."""
    shown = 0
    for points in _sizes_first(larger):
        try:
            found = examine(subject, points, generator(report.seed), closely=False)
            evidence = _evidence(subject, found)
            same = (found.verdict, found.input) == (report.verdict, report.input)
            if same and (report.verdict is not Verdict.WRONG_VALUE or evidence.shows()):
                shown += 1
                yield evidence
        except Exception:  # from the user's functions, for inputs that the search did not try
            continue
        if shown == ENOUGH_POINTS:
            return


def _sizes_first(larger: Iterable[Sequence[Array]]) -> list[Sequence[Array]]:
    """Return one point of each size, small ones first, then the others, which tell less."""
    new: list[Sequence[Array]] = []
    again: list[Sequence[Array]] = []
    for points in larger:
        seen = any([np.shape(x) for x in points] == [np.shape(x) for x in others] for others in new)
        (again if seen else new).append(points)
    return sorted(new, key=lambda points: sum(map(np.size, points))) + again


def _evidence(subject: Subject, report: GradientReport) -> Evidence:
    assert report.cotangent is not None
    points = tuple(x.astype(np.float64) if x.dtype.kind == "f" else x for x in report.witness)
    return Evidence(subject, points, report.input, report.cotangent, report.oracle == "complex step")


def _moved(x: Array, seed: int) -> Array:
    """Return values nearby with the same signs. Integers and masks stay unchanged."""
    rng = np.random.default_rng(seed)
    return np.asarray(x * rng.uniform(0.7, 1.4, np.shape(x))) if np.asarray(x).dtype.kind == "f" else x
