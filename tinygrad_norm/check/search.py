"""The search over many points: hypothesis draws and shrinks without side effects on the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..engine.operators import Array
from .point import NOT_FINITE
from .report import FAULTS, GradientMismatch, GradientReport, Verdict, raised, summed_up
from .scales import generator
from .strategies import Inputs
from .subject import Refused

BUDGETS = {"quick": 50, "normal": 200, "thorough": 1000}
LEAST_JUDGED = 0.05
"""A check fails if a smaller share of the examples could be judged: it checked next to nothing."""

Examine = Callable[..., GradientReport]
"""A function of arrays, a random generator and options, such as `point.examine` for one subject."""
Explain = Callable[[GradientReport, GradientReport], GradientReport]


def is_drawn(x: Any) -> bool:
    """Return whether a value describes random inputs rather than being an input."""
    return isinstance(x, Inputs) or (hasattr(x, "example") and hasattr(x, "flatmap"))


@dataclass(frozen=True)
class Regime:
    """A kind of points and their number: ordinary points, one edge case, or those of a strategy.

    ``quick`` draws without hypothesis, which is needed only to shrink a failure.
    """

    name: str
    edge: str
    count: int
    strategy: Callable[[], Any]
    quick: Callable[[np.random.Generator], tuple[Array, ...]] | None = None


@dataclass
class Found:
    """The results so far: reports of points without faults, and errors of the function in edge cases."""

    seen: list[GradientReport] = field(default_factory=list)
    refused: list[Exception] = field(default_factory=list)
    shapes: list[tuple[tuple[int, ...], ...]] = field(default_factory=list)
    first: GradientReport | None = None


def search(examine: Examine, drawn: tuple[Any, ...], budget: str, seed: int, explain: Explain) -> GradientReport:
    """Examine points until one is wrong, shrink it and raise its report. If none is wrong, return a report of all.

    Ordinary points come first, then edge cases. Strategies of the caller are one regime. ``explain`` takes the reports
    of the smallest wrong point and of the first one, and returns the report to raise.
    """
    found, given = Found(), drawn[0] if len(drawn) == 1 and isinstance(drawn[0], Inputs) else None
    for number, regime in enumerate(_regimes(drawn, given, BUDGETS[budget])):
        try:
            _searched(examine, regime, seed + number, found)
        except GradientMismatch as mismatch:
            before = _ordinary(found.seen)
            failed = replace(mismatch.report, seed=seed, regime=regime.name, edge=regime.edge, ordinary=before)
            raise raised(explain(failed, found.first or failed)) from None
    fixed = given.unvaried(found.shapes) if given else []
    notes = [f"axis {name} was always {size} in ordinary inputs" for name, size in fixed]
    if found.refused:
        kind = type(found.refused[0]).__name__
        notes.append(f"{len(found.refused)} edge cases for which the function or its gradient raises {kind}")
    report = _of_all(found.seen, seed)
    return replace(report, not_checked=(*report.not_checked, *notes))


def _regimes(drawn: tuple[Any, ...], given: Inputs | None, examples: int) -> Iterator[Regime]:
    if given is None:
        yield Regime("given", "", examples, partial(_together, drawn))
        return
    half = examples // 2 if given.edges else examples
    yield Regime("generic", "", half, given.generic, partial(given.drawn, ""))
    for i, edge in enumerate(given.edges):
        # Each edge case has its share of the other half. Left to chance, one might never be drawn.
        share = len(range(i, half, len(given.edges)))
        yield Regime("edges", edge, share, partial(given.edge_cases, edge), partial(given.drawn, edge))


def _searched(examine: Examine, regime: Regime, seed: int, found: Found) -> None:
    """Examine the points of a regime. Raise the report of a wrong one, shrunk as far as possible."""

    # Far from ordinary values, right code may lose all its digits.
    lenient = regime.name == "edges"

    def look(arrays: tuple[Array, ...], number: int, closely: bool = False) -> GradientReport | None:
        try:
            report = replace(examine(arrays, generator(number), closely=closely, lenient=lenient), regime=regime.name)
        except Refused as refusal:
            if regime.name != "edges":
                raise refusal.at(arrays) from None
            found.refused.append(refusal.error)
            return None
        if report.verdict in FAULTS:
            found.first = found.first or replace(report, examples=len(found.seen) + 1)
            raise raised(replace(report, examples=found.first.examples))
        if not found.first:
            found.seen.append(report)
        return report

    def by_hypothesis() -> None:
        with _noting_elsewhere():
            _in_a_thread(partial(_run, look, regime, seed))

    if regime.quick is None:
        by_hypothesis()
        return
    rng = np.random.default_rng(seed)
    try:
        for _ in range(regime.count):
            arrays = regime.quick(rng)
            if not regime.edge:
                found.shapes.append(tuple(x.shape for x in arrays))
            look(arrays, int(rng.integers(2**16)), closely=not found.seen)
    except GradientMismatch:
        by_hypothesis()
        raise  # hypothesis did not find the failure again, so it is not shrunk


def _ordinary(seen: list[GradientReport]) -> int:
    return sum(report.regime == "generic" for report in seen)


def _of_all(seen: list[GradientReport], seed: int) -> GradientReport:
    states = [report.verdict for report in seen]
    regime = "generic and edges" if seen and seen[0].regime == "generic" else "given"
    worth_knowing = tuple(dict.fromkeys(note for report in seen for note in report.notes))
    fields = summed_up(seen, seed=seed, regime=regime, ordinary=_ordinary(seen), notes=worth_knowing)
    counts = {verdict: states.count(verdict) for verdict in (Verdict.VACUOUS, Verdict.ORACLE_UNRELIABLE, Verdict.KINK)}
    kinks = sum(argument.kinks for report in seen for argument in report.arguments)
    notes = [f"{count} of {len(seen)} examples {verdict.value}" for verdict, count in counts.items() if count]
    notes += [f"{kinks} elements at kinks"] if kinks else []
    report = GradientReport(**fields, not_checked=tuple(notes))
    null, lost = counts[Verdict.VACUOUS], counts[Verdict.ORACLE_UNRELIABLE]
    infinite = sum(report.message == NOT_FINITE and report.regime != "edges" for report in seen)
    if infinite:
        word = (
            f'the function is not finite at {infinite} ordinary examples; domains=("positive",) draws positive inputs'
        )
        report = replace(report, not_checked=(*report.not_checked, word))
    if len(seen) - null - lost >= max(1, LEAST_JUDGED * len(seen)):
        return report
    verdict, words = Verdict.ORACLE_UNRELIABLE, "rounding leaves nothing certain of the gradient"
    if 2 * infinite > lost:
        words = 'the function is not finite (perhaps it needs domains=("positive",))'
    elif infinite:
        words += ", or the function is not finite,"
    if null >= lost:
        verdict = Verdict.VACUOUS
        words = "the gradient is zero within rounding (as that of the sum of a normalized output)"
    everywhere = "every example: nothing" if null + lost == len(seen) else "nearly every example: next to nothing"
    raise raised(replace(report, verdict=verdict, message=f"{words} at {everywhere} was checked"))


def _together(drawn: tuple[Any, ...]) -> Any:
    from hypothesis import strategies as st

    if len(drawn) == 1:
        return drawn[0].map(lambda x: x if isinstance(x, tuple) else (x,))
    return st.tuples(*(x if is_drawn(x) else st.just(x) for x in drawn))


def _run(look: Callable[..., Any], regime: Regime, seed: int) -> None:
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    @seeded(seed)
    @settings(
        max_examples=regime.count,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(regime.strategy(), st.integers(0, 2**16))
    def each(arrays: tuple[Array, ...], number: int) -> None:
        look(arrays, number)

    each()


_lock = threading.Lock()
_running: list[ExitStack] = []


@contextmanager
def _noting_elsewhere() -> Iterator[None]:
    """Redirect the files that hypothesis writes to the working directory into a temporary directory.

    Of several simultaneous searches, the first creates it and the last restores the previous setting.
    """
    from hypothesis import configuration

    with _lock:
        stack = _running[0] if _running else ExitStack()
        if not _running:
            before = vars(configuration).get("__hypothesis_home_directory")
            configuration.set_hypothesis_home_dir(stack.enter_context(TemporaryDirectory()))
            stack.callback(configuration.set_hypothesis_home_dir, before)
        _running.append(stack)
    try:
        yield
    finally:
        with _lock:
            _running.pop()
            if not _running:
                stack.close()


def _in_a_thread(work: Callable[[], None]) -> None:
    """Run in a new thread: inside a user's @given test, hypothesis would refuse a nested one."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=copy_context().run, args=(run,), name="gradient check")
    thread.start()
    thread.join()
    if errors:
        error = errors[0]
        raise error if not isinstance(error, GradientMismatch) else type(error)(error.report)
