"""What is measured of the gradient checkers: detection, false alarms, diagnoses, witnesses. Each makes its tables."""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from tests.draws import drawn
from tests.held_out_mutants import HELD_OUT
from tinygrad_norm.check import check_backward, point
from tinygrad_norm.check.correct import CORRECT, Backward, Case, Forward
from tinygrad_norm.check.mutants import CASES, MUTANTS, Mutant
from tinygrad_norm.check.report import FAULTS, GradientMismatch, GradientReport, Verdict
from tinygrad_norm.check.scales import generator
from tinygrad_norm.check.strategies import Inputs
from tinygrad_norm.table import Table

from .peers import DRAWS, SEED, Checker, accepts, can_be_seen, installed, moved, tried_on

Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""Applies a function to tasks, in several processes."""

OURS_SEARCHING = "tinygrad_norm, its own search"
JAX_DRAWS = 10
FAR = 1e4
# Of the mutants, those whose gradients have the right shape, dtype and memory, and other values than they should.
OF_VALUE = tuple(m for m in MUTANTS if m.verdict in ("WRONG_VALUE", "NOT_LINEAR_IN_COTANGENT"))


# Detection.


class Hunt(NamedTuple):
    """At which draw, counted from 1, each checker rejects a gradient first; None if at none of them."""

    scale: float
    seen: bool
    first: Mapping[str, int | None]


def hunt(mutant: Mutant, scale: float) -> Hunt:
    """Try every checker on the draws of a mutant, until it rejects one."""
    points = tried_on(mutant.inputs, mutant.forward, scale)

    def first(checker: Checker, limit: int) -> int | None:
        backward = mutant.backward
        for number, xs in enumerate(points[:limit]):
            if not accepts(checker, mutant.forward, backward, xs, number):
                return number + 1
        return None

    seen = first(lambda *given: not can_be_seen(*given), DRAWS) is not None
    return Hunt(
        scale, seen, {name: first(checker, _draws(name)) for name, checker in installed().items()} if seen else {}
    )


def _draws(name: str) -> int:
    return JAX_DRAWS if name.startswith("jax") else DRAWS


def rejected(case: Case, scale: float) -> tuple[float, dict[str, tuple[int, int]]]:
    """Return how many draws of a right gradient each checker rejects, and of how many."""
    points = tried_on(case.inputs, case.forward, scale)
    counts = {}
    for name, checker in installed().items():
        judged = [
            accepts(checker, case.forward, case.backward, xs, number)
            for number, xs in enumerate(points[: _draws(name)])
        ]
        counts[name] = judged.count(False), len(judged)
    return scale, counts


def detection(quick: bool, spread: Spread, searches: Sequence[Search]) -> list[Table]:
    mutants, cases = range(0, len(OF_VALUE), 6 if quick else 1), range(0, len(CORRECT), 3 if quick else 1)
    scales = (1.0, FAR)
    hunts = list(spread(_hunt_of, itertools.product(mutants, scales)))
    alarms = list(spread(_rejected_of, itertools.product(cases, scales)))
    rows: list[tuple[Any, ...]] = []
    for scale in scales:
        seen = [found for found in hunts if found.scale == scale and found.seen]
        if scale == 1:
            hits = [search.first for search in searches if search.of_value]
            right = [search for search in searches if search.expected is None]
            alarms_found = f"{sum(search.verdict is not None for search in right)} of {len(right)}"
            rows.append((OURS_SEARCHING, scale, *_share(hits), alarms_found, "-"))
        for name in installed():
            counts = [count[name] for of, count in alarms if of == scale and count[name][1]]
            draws = sum(n for _, n in counts)
            rows.append(
                (
                    name,
                    scale,
                    *_share([found.first[name] for found in seen]),
                    f"{sum(k > 0 for k, _ in counts)} of {len(counts)}",
                    f"{100 * sum(k for k, _ in counts) / draws:.1f} %",
                )
            )
    headings = (
        "checker",
        "first input times",
        "detected",
        "share",
        "median inputs to the first hit",
        "right functions rejected",
        "right inputs rejected",
    )
    missed_rows = []
    for scale, name in itertools.product(scales, installed()):
        pairs = [
            (OF_VALUE[i], found.first[name])
            for (i, _), found in zip(itertools.product(mutants, scales), hunts, strict=True)
            if found.scale == scale and found.seen
        ]
        missed = Counter(mutant.fault for mutant, first in pairs if first is None)
        if missed:
            listed = "; ".join(f"{fault} ({count})" for fault, count in missed.most_common(10))
            missed_rows.append((name, scale, f"{missed.total()} of {len(pairs)}", listed))
    return [
        Table("Faults of value, and who detects them", headings, rows),
        Table(
            "What is missed", ("checker", "first input times", "missed", "faults, the ten most frequent"), missed_rows
        ),
    ]


def _hunt_of(task: tuple[int, float]) -> Hunt:
    return hunt(OF_VALUE[task[0]], task[1])


def _rejected_of(task: tuple[int, float]) -> tuple[float, dict[str, tuple[int, int]]]:
    return rejected(CORRECT[task[0]], task[1])


def _share(first: Sequence[int | None]) -> tuple[str, str, float | None]:
    hits = [number for number in first if number is not None]
    median = statistics.median(hits) if hits else None
    return f"{len(hits)} of {len(first)}", f"{100 * len(hits) / max(len(first), 1):.1f} %", median


# The wrong layer norm.

WRONG_LAYER_NORM = "layer_norm: variance path dropped"
SCALES = (1.0, 1e4, 1e6)


def without_parameters(forward: Forward, backward: Backward, channels: int) -> tuple[Forward, Backward]:
    """Return a norm of ``x`` alone, with a weight of ones."""
    others = np.ones(channels), np.zeros(channels)
    return lambda x: forward(x, *others), lambda g, x: (backward(g, x, *others)[0],)


def layer_norms(number: int) -> list[tuple[str, float, bool, bool]]:
    """Return who rejects the wrong layer norm, and the right one, for one random input at each scale."""
    x = np.random.default_rng([SEED, number]).normal(size=(4, 8))
    case, (mutant,) = CASES["layer_norm"], [m for m in MUTANTS if m.name == WRONG_LAYER_NORM]
    forward, right = without_parameters(case.forward, case.backward, 8)
    _, wrong = without_parameters(case.forward, mutant.backward, 8)
    return [
        (name, scale, *(not accepts(checker, forward, backward, (scale * x,), number) for backward in (wrong, right)))
        for name, checker in installed().items()
        for scale in SCALES
    ]


def wrong_layer_norm(quick: bool, spread: Spread) -> list[Table]:
    count = 5 if quick else 40
    found = [row for rows in spread(layer_norms, range(count)) for row in rows]
    rows = []
    for name in installed():
        cells = []
        for which, scale in itertools.product((2, 3), SCALES):
            cells.append(f"{sum(row[which] for row in found if row[:2] == (name, scale))} of {count}")
        rows.append((name, *cells))
    headings = ("checker", *(f"{what}, x times {scale:g}" for what in ("wrong", "right") for scale in SCALES))
    title = "Layer norm without parameters, its variance path dropped, and right: inputs rejected"
    return [Table(title, headings, rows)]


# False alarms.

OFFSETS = (0.0, 1e4, 1e8)
FALSE_ALARM_SCALES = (1e-6, 1.0, 1e6)
REGIMES = {"generic": "generic", "edges": "edge_cases"}
EXTREME = 1e9


class Cell(NamedTuple):
    """Where a right function was checked; extreme values are those of the huge edge, made larger once more."""

    index: int
    regime: str
    scale: float
    offset: float
    extreme: bool


def _moves(case: Case) -> list[tuple[float, float]]:
    """Return the scales and offsets that the first input may have: none, where it must be positive."""
    real = not case.inputs.domains or case.inputs.domains[0] == "real"
    return list(itertools.product(FALSE_ALARM_SCALES, OFFSETS if real else OFFSETS[:1]))


def judged(task: tuple[int, str, int]) -> list[tuple[Cell, str, str]]:
    """Return what is said of one right function in one regime, at every scale and offset: cells, verdicts, reports."""
    index, regime, count = task
    case = CORRECT[index]
    wrt = tuple(range(len(case.inputs.axes)))
    subject = point.Subject(case.forward, case.backward, tuple("xyz"[i] for i in wrt), wrt)
    said = []
    points = drawn(case.inputs, count, REGIMES[regime])
    for scale, offset in _moves(case):
        for number, xs in enumerate(points):
            there = moved(xs, scale, offset)
            with np.errstate(all="ignore"):
                report = point.examine(subject, there, generator(number))
            cell = Cell(index, regime, scale, offset, bool(np.max(np.abs(there[0]), initial=0) > EXTREME))
            said.append((cell, report.verdict.name, report.text() if report.verdict in FAULTS else ""))
    return said


def false_alarms(quick: bool, spread: Spread) -> list[Table]:
    wanted = 3_000 if quick else 100_000
    # Of each regime, that is; at a fifth of the points there is no gradient to judge.
    count = int(1.3 * wanted / (len(REGIMES) * sum(map(len, map(_moves, CORRECT))))) + 1
    said = [row for rows in spread(judged, itertools.product(range(len(CORRECT)), REGIMES, [count])) for row in rows]
    alarms = [row for row in said if row[1] in {fault.name for fault in FAULTS}]
    for cell, _, text in {CORRECT[cell.index].name: (cell, verdict, text) for cell, verdict, text in alarms}.values():
        print(f"\nfalse alarm: {CORRECT[cell.index].name} {cell}\n{text}", file=sys.stderr)

    def row(name: str, chosen: Callable[[Cell], bool]) -> tuple[Any, ...]:
        verdicts = Counter(verdict for cell, verdict, _ in said if chosen(cell))
        lost, null = verdicts.pop("ORACLE_UNRELIABLE", 0), verdicts.pop("VACUOUS", 0)
        right = verdicts.pop("PASSED", 0) + verdicts.pop("KINK", 0)
        false = sum(verdicts.values())
        rate = f"{100 * false / (right + false):.3g} %" if right + false else "-"
        return name, right + false + lost + null, right, null, lost, false, rate

    rows = [row("all", lambda cell: True)]
    rows += [row(f"{regime} inputs", lambda cell, r=regime: cell.regime == r) for regime in REGIMES]
    rows += [row(f"times {scale:g}", lambda cell, s=scale: cell.scale == s) for scale in FALSE_ALARM_SCALES]
    rows += [row(f"plus {offset:g}", lambda cell, o=offset: cell.offset == o) for offset in OFFSETS]
    rows += [row(f"values up to {EXTREME:g}", lambda cell: not cell.extreme)]
    rows += [row(f"values above {EXTREME:g}", lambda cell: cell.extreme)]
    places = sorted({(cell.index, cell.regime, cell.scale, cell.extreme) for cell, *_ in alarms})
    for index, regime, scale, extreme in places:
        name = f"{CORRECT[index].name}: {regime}, times {scale:g}, values {'above' if extreme else 'up to'} {EXTREME:g}"
        place = (index, regime, scale, extreme)
        rows.append(row(name, lambda cell, p=place: (cell.index, cell.regime, cell.scale, cell.extreme) == p))
    headings = (
        "right functions on",
        "points",
        "judged right",
        "null gradient",
        "lost in rounding",
        "false alarms",
        "of those judged",
    )
    return [Table("False alarms", headings, rows)]


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
    ("times the right one", "factor"),
    ("a constant factor", "factor"),
    ("sum that divides", "softmax's sum"),
    ("off the diagonal", "elementwise"),
    ("wrong axis", "wrong axis"),
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
    title = f"What the diagnosis says of held-out faults: {right} of {len(said)} right, {100 * right / len(said):.0f} %"
    misjudged = Counter((name, expected, category) for name, expected, category, _ in said if expected != category)
    wrong = [(*key, f"{count} of {len(seeds)}") for key, count in sorted(misjudged.items())]
    return [
        Table(title, ("expected, and said:", *columns, "right"), rows),
        Table("Where it says something else", ("held-out fault", "expected", "said", "seeds"), wrong),
    ]


# Searches.

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
    told: int

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
            report = check_backward(forward, backward, inputs, seed=seed)
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
        report.examples,
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
        "verdict deserved",
        "checks",
        "said so",
        "median inputs to the first hit",
        "most",
        "median elements of the witness",
        "most elements",
        "median points examined, with shrinking",
        "median seconds",
    )
    return [Table("Whole checks: witnesses and times", headings, rows)]
