"""What is measured on code as people write it (`tests.real_code`), and how often each checker calls a function."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from tests.real_code import SEEN, UNSEEN
from tests.real_code.case import arguments, judged, told
from tinygrad_norm.check import GradientMismatch, Verdict, check_backward
from tinygrad_norm.check.calling import ByHand, Layer
from tinygrad_norm.check.correct import CORRECT
from tinygrad_norm.check.report import FAULTS
from tinygrad_norm.table import Table

from .peers import OURS, USUAL, Checker, accepts, installed, ours, tried_on
from .searches import SEEDS, Spread

CODES = (*SEEN, *UNSEEN)
CALLS_DRAWS = 10
FURTHER = f"{OURS}, further inputs of a search"


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *given: Any, **keywords: Any) -> Any:
        self.calls += 1
        return self.function(*given, **keywords)


# Real code.


class Run(NamedTuple):
    """What one check said: of which code, of which of its faults or none, at which cost."""

    half: str
    name: str
    fault: str
    verdict: str
    worth: str
    said: str
    calls: int
    seconds: float

    @property
    def right(self) -> bool:
        """Whether the verdict is the one that is deserved."""
        return self.verdict in {fault.name for fault in FAULTS} if self.fault else self.verdict == Verdict.PASSED.name


@contextmanager
def counting_forward() -> Iterator[list[Counted]]:
    """Count the calls of the forward passes that `check_backward` runs, however they are written."""
    made: list[Counted] = []

    def counted(opened: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(opened)
        def wrapper(*given: Any) -> Any:
            forward, *others = opened(*given)
            made.append(Counted(forward))
            return made[-1], *others

        return wrapper

    with (
        mock.patch.object(ByHand, "_opened", counted(ByHand._opened)),
        mock.patch.object(Layer, "_opened", counted(Layer._opened)),
    ):
        yield made


def run(task: tuple[int, int, int]) -> Run:
    """Check one code, right (-1) or with one of its faults, with a seed."""
    number, fault, seed = task
    code = CODES[number]
    wrong = code.wrong[fault] if fault >= 0 else None
    worth = said = ""
    start = time.perf_counter()
    with counting_forward() as made:
        try:
            verdict = check_backward(*arguments(code, wrong), seed=seed, **code.options).verdict.name
        except GradientMismatch as mismatch:
            verdict, said = mismatch.report.verdict.name, told(mismatch.report)
            worth = judged(wrong, said) if wrong else ""
        except Exception as error:  # which is no way to accept, nor to reject
            verdict = type(error).__name__
    seconds, calls = time.perf_counter() - start, sum(counted.calls for counted in made)
    half = "seen" if number < len(SEEN) else "unseen"
    return Run(half, code.name, wrong.name if wrong else "", verdict, worth, said, calls, seconds)


def real_code(quick: bool, spread: Spread) -> list[Table]:
    numbers, seeds = range(0, len(CODES), 8 if quick else 1), range(1 if quick else SEEDS)
    tasks = [(number, fault, seed) for seed in seeds for number in numbers for fault in _faults(number)]
    runs = list(spread(run, tasks))
    halves = {"seen": SEEN, "unseen": UNSEEN, "both": CODES}
    chosen = {half: [one for one in runs if half in (one.half, "both")] for half in halves}
    rows = [_judged(half, found) for half, found in chosen.items()]
    headings = ("half", "kinds", "false alarms", "faults", "misses", "diagnosis true", "silent", "misleading")
    costs = [
        _cost(what, half, [one for one in chosen[half] if bool(one.fault) == (what == "rejecting")])
        for what, half in itertools.product(("accepting", "rejecting"), halves)
    ]
    cost = ("", "half", "checks", "median calls of forward", "most", "median seconds", "most seconds", "the slowest")
    wrongly = Counter((one.name, one.fault or "none", one.verdict) for one in runs if not one.right)
    mistaken = Counter((one.name, one.fault, one.said) for one in runs if one.worth == "misleading")
    tables = [Table("Verdicts and diagnoses of real code", headings, rows), Table("Cost on real code", cost, costs)]
    for title, last, counts in (
        ("False alarms and misses", "verdict", wrongly),
        ("Misleading diagnoses", "diagnosis", mistaken),
    ):
        listed = [(*key, f"{count} of {len(seeds)}") for key, count in sorted(counts.items())]
        tables += [Table(title, ("code", "fault", last, "seeds"), listed)] if listed else []
    return tables


def _faults(number: int) -> range:
    """Return the faults of a code by their numbers, -1 for none."""
    return range(-1, len(CODES[number].wrong))


def _judged(half: str, runs: Sequence[Run]) -> tuple[Any, ...]:
    right, wrong = [one for one in runs if not one.fault], [one for one in runs if one.fault]
    found = Counter(one.worth for one in wrong if one.right)
    return (
        half,
        len({one.name for one in right}),
        f"{sum(not one.right for one in right)} of {len(right)}",
        len({(one.name, one.fault) for one in wrong}),
        f"{sum(not one.right for one in wrong)} of {len(wrong)}",
        *(f"{100 * found[worth] / len(wrong):.1f} %" for worth in ("true", "silent", "misleading")),
    )


def _cost(what: str, half: str, runs: Sequence[Run]) -> tuple[Any, ...]:
    calls, seconds = [one.calls for one in runs], [one.seconds for one in runs]
    slowest = max(runs, key=lambda one: one.seconds)
    return (
        what,
        half,
        len(runs),
        round(statistics.median(calls)),
        max(calls),
        f"{statistics.median(seconds):.2g}",
        f"{slowest.seconds:.2g}",
        slowest.name,
    )


# Calls.


def counts(number: int, draws: int) -> list[tuple[str, int, int, int]]:
    """Return for each checker how often it calls a right function and its gradient, which have so many entries."""
    case, found = CORRECT[number], []
    checkers: Mapping[str, Checker] = {**installed(), FURTHER: partial(ours, closely=False)}
    for at, xs in enumerate(tried_on(case.inputs, case.forward, 1.0)[:draws]):
        for name, checker in checkers.items():
            if name != USUAL:
                forward, backward = Counted(case.forward), Counted(case.backward)
                accepts(checker, forward, backward, xs, at)
                found.append((name, int(np.sum([x.size for x in xs])), forward.calls, backward.calls))
    return found


def calls_of_forward(quick: bool, spread: Spread) -> list[Table]:
    numbers = range(0, len(CORRECT), 3 if quick else 1)
    draws = 2 if quick else CALLS_DRAWS
    found = [row for rows in spread(partial(counts, draws=draws), numbers) for row in rows]
    rows = []
    for name in dict.fromkeys(row[0] for row in found):
        _, _, forward, backward = zip(*(row for row in found if row[0] == name), strict=True)
        rows.append((name, statistics.median(forward), max(forward), statistics.median(backward), max(backward)))
    headings = ("checker", "median calls of forward", "most", "median calls of backward", "most of those")
    entries = statistics.median(row[1] for row in found)
    return [Table(f"Calls for one gradient check of one point, of {entries:g} entries in the median", headings, rows)]
