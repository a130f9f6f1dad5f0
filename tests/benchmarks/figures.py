"""Measurements of the gradient checkers at points: detection and false alarms. Each makes its tables."""

from __future__ import annotations

import itertools
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tests.draws import drawn
from tinygrad_norm.check import point
from tinygrad_norm.check.correct import CORRECT, Backward, Case, Forward
from tinygrad_norm.check.mutants import CASES, MUTANTS, Mutant
from tinygrad_norm.check.report import FAULTS
from tinygrad_norm.check.scales import generator
from tinygrad_norm.table import Table

from .peers import DRAWS, SEED, Checker, accepts, can_be_seen, installed, moved, tried_on
from .searches import Search, Spread

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
        Table("Detection of wrong values", headings, rows),
        Table(
            "Missed faults", ("checker", "first input times", "missed", "faults, the ten most frequent"), missed_rows
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
    title = "Inputs rejected: layer norm without parameters, wrong (variance path dropped) and right"
    return [Table(title, headings, rows)]


# False alarms.

OFFSETS = (0.0, 1e4, 1e8)
FALSE_ALARM_SCALES = (1e-6, 1.0, 1e6)
REGIMES = {"ordinary": "generic", "special": "edge_cases"}
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
        "zero gradient",
        "lost in rounding",
        "false alarms",
        "of those judged",
    )
    return [Table("False alarms", headings, rows)]
