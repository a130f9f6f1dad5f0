"""What is measured of whole checks, each a search: witnesses and times, and what the diagnosis says."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

from tests.held_out_mutants import HELD_OUT
from tinygrad_norm.check import check_backward, point
from tinygrad_norm.check.correct import CORRECT, Backward, Case, Forward
from tinygrad_norm.check.mutants import MUTANTS, Mutant
from tinygrad_norm.check.report import FAULTS, GradientMismatch, GradientReport, Verdict
from tinygrad_norm.check.strategies import Inputs
from tinygrad_norm.table import Table

from .peers import SEED

Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""Applies a function to tasks, in several processes."""

SEEDS = 10


class Search(NamedTuple):
    """What a whole check found: whose fault, what, at which example, how small, how soon."""

    expected: str | None
    verdict: str | None
    first: int | None
    examined: int
    elements: int
    seconds: float
    diagnosis: tuple[str, ...]

    @property
    def of_value(self) -> bool:
        return self.expected in ("WRONG_VALUE", "NOT_LINEAR_IN_COTANGENT")


def searched(
    forward: Forward, backward: Backward, inputs: Inputs, seed: int = SEED, expected: str | None = None
) -> Search:
    """Run `check_backward`, and count the points that it examines up to the first that is wrong."""
    faults: list[bool] = []
    examine = point.examine

    def counting(*given: Any, **how: Any) -> GradientReport:
        report = examine(*given, **how)
        faults.append(report.verdict in FAULTS)
        return report

    start = time.perf_counter()
    with mock.patch.object(point, "examine", counting):
        try:
            report = check_backward(forward, backward, inputs, seed=seed, strict=True)
        except GradientMismatch as mismatch:
            report = mismatch.report
    return Search(
        expected,
        None if report.verdict is Verdict.PASSED else report.verdict.name,
        faults.index(True) + 1 if True in faults else None,
        len(faults),
        sum(x.size for x in report.witness),
        time.perf_counter() - start,
        report.diagnosis,
    )


def _searched_of(task: tuple[int, tuple[str, int]]) -> Search:
    seed, (kind, index) = task
    case: Case | Mutant = CORRECT[index] if kind == "right" else MUTANTS[index]
    return searched(case.forward, case.backward, case.inputs, seed, getattr(case, "verdict", None))


def every_search(quick: bool, spread: Spread) -> list[Search]:
    """Check every right function and every mutant."""
    cases = range(0, len(CORRECT), 4 if quick else 1), range(0, len(MUTANTS), 6 if quick else 1)
    tasks = [("right", i) for i in cases[0]] + [("wrong", i) for i in cases[1]]
    return list(spread(_searched_of, itertools.product(range(1 if quick else SEEDS), tasks)))


def sizes_and_times(searches: Sequence[Search]) -> list[Table]:
    rows = []
    for expected in [None, *dict.fromkeys(s.expected for s in searches if s.expected)]:
        chosen = [search for search in searches if search.expected == expected]
        hits = [search.first for search in chosen if search.first is not None]
        sizes = [search.elements for search in chosen if search.first is not None]
        rows.append(
            (
                expected or "right",
                len(chosen),
                sum(search.verdict == expected for search in chosen),
                statistics.median(hits) if hits else None,
                max(hits, default=None),
                statistics.median(sizes) if sizes else None,
                max(sizes, default=None),
                statistics.median(search.examined for search in chosen),
                float(f"{statistics.median(search.seconds for search in chosen):.1g}"),
            )
        )
    headings = (
        "expected verdict",
        "checks",
        "as expected",
        "median inputs to the first hit",
        "most",
        "median elements of the witness",
        "most elements",
        "median points examined, with shrinking",
        "median seconds",
    )
    return [Table("Whole checks: witnesses and times", headings, rows)]


# The diagnosis.

# Of the words that a diagnosis may have, what they come to; the first that are found count.
SAID = (
    ("n / (n - 1)", "n/(n-1)"),
    ("(n - 1) / n", "n/(n-1)"),
    ("through the mean", "mean path"),
    ("through the variance", "variance path"),
    ("through its norm", "variance path"),
    ("statistics are treated as constants", "statistics as constants"),
    ("batch size", "batch size"),
    ("sign flipped", "sign"),
    ("times the right gradient", "factor"),
    ("a constant factor", "factor"),
    ("sum that divides", "softmax's sum"),
    ("off the diagonal", "elementwise"),
    ("wrong axis", "wrong axis"),
    ("a sum or mean over ax", "wrong axis"),
    ("an axis too many", "wrong axis"),
    ("eps is dropped", "eps"),
    ("sum of the cotangent", "sum of the cotangent"),
    ("unreduced broadcast", "unreduced broadcast"),
    ("transposed", "transposed"),
    ("derivative", "derivative"),
)


def category(diagnosis: Sequence[str]) -> str:
    """Return what a diagnosis says in one word: what its first sentence comes to, or "unknown"."""
    if not diagnosis:
        return "unknown"
    return next((name for words, name in SAID if words in diagnosis[0]), "another")


def diagnosed(task: tuple[int, int]) -> tuple[str, str, str, str]:
    """Return a held-out mutant's name, what is to be said of it, and what is."""
    mutant = HELD_OUT[task[0]]
    found = searched(mutant.forward, mutant.backward, mutant.inputs, task[1])
    verdict = "nothing found" if found.verdict is None else "found"
    return mutant.name, mutant.expected, category(found.diagnosis) if found.verdict else "not detected", verdict


def diagnoses(quick: bool, spread: Spread) -> list[Table]:
    seeds = range(1 if quick else 5)
    said = list(spread(diagnosed, itertools.product(range(len(HELD_OUT)), seeds)))
    pairs = Counter((expected, category) for _, expected, category, _ in said)
    columns = sorted({category for _, category in pairs}, key=lambda name: (name == "unknown", name))
    rows = []
    for expected in sorted({expected for expected, _ in pairs}, key=lambda name: (name == "unknown", name)):
        counts = [pairs[expected, column] for column in columns]
        rows.append((expected, *(count or "" for count in counts), f"{pairs[expected, expected]} of {sum(counts)}"))
    right = sum(pairs[one, one] for one in {expected for expected, _ in pairs})
    title = f"Diagnoses of held-out faults: {right} of {len(said)} right, {100 * right / len(said):.0f} %"
    misjudged = Counter((name, expected, category) for name, expected, category, _ in said if expected != category)
    wrong = [(*key, f"{count} of {len(seeds)}") for key, count in sorted(misjudged.items())]
    return [
        Table(title, ("expected, and diagnosed:", *columns, "right"), rows),
        Table("Wrong diagnoses of held-out faults", ("held-out fault", "expected", "diagnosed", "seeds"), wrong),
    ]
