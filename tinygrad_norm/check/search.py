"""The search over many points: hypothesis draws and shrinks, and leaves everything of the caller's as it was."""

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
"""A check in which less than this share of the examples could be judged fails: it checked next to nothing."""

Examine = Callable[..., GradientReport]
"""Of arrays, random numbers, and how to look, as `point.examine`."""
Explain = Callable[[GradientReport, GradientReport], GradientReport]


def is_drawn(x: Any) -> bool:
    """Return whether something draws inputs rather than being one."""
    return isinstance(x, Inputs) or (hasattr(x, "example") and hasattr(x, "flatmap"))


@dataclass(frozen=True)
class Regime:
    """What points are drawn from, and how many: ordinary ones, one of the edges, or those of a strategy.

    ``quick`` draws without hypothesis, which is needed only to shrink what fails.
    """

    name: str
    edge: str
    count: int
    strategy: Callable[[], Any]
    quick: Callable[[np.random.Generator], tuple[Array, ...]] | None = None


@dataclass
class Found:
    """What the search has found so far: points that are right, and errors of the function for edges that it refuses."""

    seen: list[GradientReport] = field(default_factory=list)
    refused: list[Exception] = field(default_factory=list)
    shapes: list[tuple[tuple[int, ...], ...]] = field(default_factory=list)
    first: GradientReport | None = None


def search(examine: Examine, drawn: tuple[Any, ...], budget: str, seed: int, explain: Explain) -> GradientReport:
    """Examine points until one is wrong, shrink that one, and raise its report; else return a report of all.

    Ordinary points come first, then the edges; plain strategies are one regime. ``explain`` is given the report of the
    smallest wrong point, and the first that was found, and returns what is raised.
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
        notes.append(f"{len(found.refused)} edge cases that the function or its gradient refuses ({kind})")
    report = _of_all(found.seen, seed)
    return replace(report, not_checked=(*report.not_checked, *notes))


def _regimes(drawn: tuple[Any, ...], given: Inputs | None, examples: int) -> Iterator[Regime]:
    if given is None:
        yield Regime("given", "", examples, partial(_together, drawn))
        return
    half = examples // 2 if given.edges else examples
    yield Regime("generic", "", half, given.generic, partial(given.drawn, ""))
    for i, edge in enumerate(given.edges):
        # Each edge has its share of the other half: left to chance, one may not come at all.
        share = len(range(i, half, len(given.edges)))
        yield Regime("edges", edge, share, partial(given.edge_cases, edge), partial(given.drawn, edge))


def _searched(examine: Examine, regime: Regime, seed: int, found: Found) -> None:
    """Look at the points of a regime; raise the report of a wrong one, as small as it can be made."""

    # Far from ordinary values, code that is right may lose all its digits.
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
        raise  # what hypothesis does not meet again is not made smaller


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
        words = 'the function is not finite (is domains=("positive",) wanted?)'
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
    """Let what hypothesis notes down about sources, which would stand in the working directory, vanish afterwards.

    Of several searches at once the first makes the place, and the last puts back what was before.
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
    """Run in a thread of its own: inside a user's @given test hypothesis would refuse a second one."""
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
