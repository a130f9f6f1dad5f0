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
from .oracle import generator
from .point import Refused
from .report import FAULTS, GradientMismatch, GradientReport, Verdict, raised, summed_up
from .strategies import Inputs

BUDGETS = {"quick": 50, "normal": 200, "thorough": 1000}
LEAST_FOR_VACUOUS = 10
"""So many examples must be null before a check says that it checked nothing."""

Examine = Callable[[tuple[Array, ...], np.random.Generator], GradientReport]
Explain = Callable[[GradientReport, GradientReport], GradientReport]


def is_drawn(x: Any) -> bool:
    """Return whether something draws inputs rather than being one."""
    return isinstance(x, Inputs) or (hasattr(x, "example") and hasattr(x, "flatmap"))


@dataclass
class Found:
    """What the search has found so far: points that are right, that the function refuses, and that are wrong."""

    seen: list[GradientReport] = field(default_factory=list)
    refused: list[Exception] = field(default_factory=list)
    failing: list[GradientReport] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)


def search(examine: Examine, drawn: tuple[Any, ...], budget: str, seed: int, explain: Explain) -> GradientReport:
    """Examine points until one is wrong, shrink that one, and raise its report; else return a report of all.

    Ordinary points come first, then the edges; plain strategies are one regime. ``explain`` is given the report of the
    smallest wrong point, and the first that was found, and returns what is raised.
    """
    if budget not in BUDGETS:
        raise ValueError(f"budget is one of {', '.join(BUDGETS)}, not {budget!r}")
    examples = BUDGETS[budget]
    if len(drawn) == 1 and isinstance(drawn[0], Inputs):
        edges, half = drawn[0].edges, examples // 2
        regimes = [("generic", "", drawn[0].generic(), half if edges else examples)]
        # Each edge has its share of the other half: left to chance, one may not come at all.
        shares = [len(range(i, half, len(edges))) for i in range(len(edges))]
        regimes += [("edges", edge, drawn[0].edge_cases(edge), n) for edge, n in zip(edges, shares, strict=True)]
    else:
        regimes = [("given", "", _together(drawn), examples)]
    found = Found()
    try:
        with _noting_elsewhere():
            for number, (regime, edge, strategy, count) in enumerate(regimes):
                _in_a_thread(partial(_run, examine, strategy, regime, edge, count, seed + number, found))
    except GradientMismatch as mismatch:
        raise raised(explain(replace(mismatch.report, seed=seed), found.failing[0])) from None
    report = _of_all(found.seen, seed)
    if found.refused:
        kind = type(found.refused[0]).__name__
        words = f"{len(found.refused)} edge cases that the function or its gradient refuses ({kind})"
        report = replace(report, not_checked=(*report.not_checked, words))
    return report


def _of_all(seen: list[GradientReport], seed: int) -> GradientReport:
    states = [report.verdict for report in seen]
    ordinary = sum(report.regime == "generic" for report in seen)
    regime = "generic and edges" if ordinary else "given"
    fields = summed_up(seen, seed=seed, ordinary=ordinary, regime=regime)
    counts = {verdict: states.count(verdict) for verdict in (Verdict.VACUOUS, Verdict.ORACLE_UNRELIABLE, Verdict.KINK)}
    kinks = sum(argument.kinks for report in seen for argument in report.arguments)
    notes = [f"{count} of {len(seen)} examples {verdict.value}" for verdict, count in counts.items() if count]
    notes += [f"{kinks} elements at kinks"] if kinks else []
    report = GradientReport(**fields, not_checked=tuple(notes))
    for verdict in (Verdict.VACUOUS, Verdict.ORACLE_UNRELIABLE):
        none_left = counts[Verdict.VACUOUS] + counts[Verdict.ORACLE_UNRELIABLE] == len(seen)
        if none_left and counts[verdict] == max(counts.values()) and len(seen) >= LEAST_FOR_VACUOUS:
            words = (
                "the gradient is null within rounding at every example (as that of the sum of a normalized output): "
            )
            lost = "rounding leaves nothing certain of the gradient at any example: "
            message = (words if verdict is Verdict.VACUOUS else lost) + "nothing was checked"
            raise raised(replace(report, verdict=verdict, message=message))
    return report


def _together(drawn: tuple[Any, ...]) -> Any:
    from hypothesis import strategies as st

    if len(drawn) == 1:
        return drawn[0].map(lambda x: x if isinstance(x, tuple) else (x,))
    return st.tuples(*(x if is_drawn(x) else st.just(x) for x in drawn))


def _run(examine: Examine, strategy: Any, regime: str, edge: str, count: int, seed: int, found: Found) -> None:
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    @seeded(seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(strategy, st.integers(0, 2**16))
    def each(arrays: tuple[Array, ...], number: int) -> None:
        try:
            report = replace(examine(arrays, generator(number)), regime=regime, edge=edge)
        except Refused as refusal:
            if regime != "edges":
                raise refusal.at(arrays) from None
            found.refused.append(refusal.error)
            return
        if report.verdict in FAULTS:
            if not found.failing:
                found.before = {
                    "examples": len(found.seen) + 1,
                    "ordinary": sum(one.regime == "generic" for one in found.seen),
                }
            found.failing.append(replace(report, **found.before))
            raise raised(found.failing[-1])
        if not found.failing:
            found.seen.append(report)

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
