"""How well the gradient checker checks, beside those of others: ``python -m tests.benchmarks.checkers [--write]``.

Every checker gets the same faulty gradients (`tinygrad_norm.check.mutants`) and the same inputs, each by the door that
it has for gradients written by hand, in float64 and with its own defaults. What rejects everything would detect
everything, so the right gradients (`tinygrad_norm.check.correct`) are tried as well. With ``--write`` the tables become
docs/checking-figures.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import seed as seeded
from hypothesis.configuration import set_hypothesis_home_dir

from tests.held_out_mutants import HELD_OUT
from tinygrad_norm.check import check_backward, point
from tinygrad_norm.check.correct import CORRECT, Array, Backward, Case, Forward
from tinygrad_norm.check.mutants import CASES, MUTANTS, Mutant
from tinygrad_norm.check.oracle import generator
from tinygrad_norm.check.report import FAULTS, GradientMismatch, GradientReport, Verdict
from tinygrad_norm.check.strategies import Inputs
from tinygrad_norm.table import Table

Arrays = tuple[Array, ...]
Checker = Callable[[Forward, Backward, Arrays, int], bool]
"""``checker(forward, backward, xs, number)`` returns whether the gradients pass; the number seeds what is random."""

PAGE = Path(__file__).parents[2] / "docs" / "checking-figures.md"
SEED = 0
OURS = "tinygrad_norm"
OURS_SEARCHING = "tinygrad_norm, its own search"
USUAL = "torch gradcheck of fn(x).sum()"
DRAWS = 50
JAX_DRAWS = 10
FAR = 1e4
# Of the mutants, those whose gradients have the right shape, dtype and memory, and other values than they should.
OF_VALUE = tuple(m for m in MUTANTS if m.verdict in ("WRONG_VALUE", "NOT_LINEAR_IN_COTANGENT"))
VISIBLE = 1e-4


# What they are tried on.


def drawn(inputs: Inputs, count: int, regime: str = "generic") -> list[Arrays]:
    """Return what hypothesis draws, the same each time; in ordinary draws never two equal arrays, which it likes."""
    found: list[Arrays] = []

    @seeded(SEED)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(getattr(inputs, regime)())
    def collect(xs: Arrays) -> None:
        assume(regime != "generic" or not any(map(np.array_equal, xs, xs[1:])))
        found.append(xs)

    collect()
    return found


def moved(xs: Arrays, scale: float, offset: float = 0.0) -> Arrays:
    """Return the inputs with the first one scaled and shifted, as it is where neither does anything."""
    return xs if scale == 1 and offset == 0 else (np.asarray(xs[0] * scale + offset).astype(xs[0].dtype), *xs[1:])


def tried_on(inputs: Inputs, forward: Forward, scale: float) -> list[Arrays]:
    """Return the draws at a scale, without those where the function overflows."""
    with np.errstate(all="ignore"):
        points = [moved(xs, scale) for xs in drawn(inputs, DRAWS)]
        return [xs for xs in points if np.isfinite(forward(*xs)).all()]


def can_be_seen(forward: Forward, backward: Backward, xs: Arrays, number: int) -> bool:
    """Return whether the gradient for a random cotangent is off, by a complex step that is no checker's."""
    g = np.random.default_rng([SEED, number]).normal(size=forward(*xs).shape)
    for which, got in enumerate(backward(g, *xs)):
        want = np.empty(got.shape)
        for index in np.ndindex(got.shape):
            stepped = [x.astype(complex) for x in xs]
            stepped[which][index] += 1e-100j
            want[index] = np.sum(g * forward(*stepped)).imag / 1e-100
        if not np.max(np.abs(got - want), initial=0) <= VISIBLE * np.max(np.abs(want), initial=0):
            return True
    return False


# The checkers.


def ours(forward: Forward, backward: Backward, xs: Arrays, number: int) -> bool:
    """Check at one point, as `check_backward` does."""
    names = tuple(f"x{i}" for i in range(len(xs)))
    subject = point.Subject(forward, backward, names, tuple(range(len(xs))))
    return point.examine(subject, xs, generator(number)).verdict not in FAULTS


def torch_gradcheck(
    forward: Forward, backward: Backward, xs: Arrays, number: int, fast: bool = False, summed: bool = False
) -> bool:
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            # gradcheck moves its inputs in place.
            ctx.arrays = [tensor.detach().numpy().copy() for tensor in tensors]
            return torch.from_numpy(np.array(forward(*ctx.arrays)))

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return tuple(torch.from_numpy(np.array(d)) for d in backward(g.numpy().copy(), *ctx.arrays))

    def called(*tensors: Any) -> Any:
        y = Function.apply(*tensors)
        return y.sum() if summed else y

    torch.manual_seed(number)
    tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in xs]
    return bool(torch.autograd.gradcheck(called, tensors, fast_mode=fast, raise_exception=False))


def jax_check_grads(forward: Forward, backward: Backward, xs: Arrays, number: int) -> bool:
    import jax
    from jax.test_util import check_grads

    def shaped(arrays: Iterable[Any]) -> Any:
        return tuple(jax.ShapeDtypeStruct(np.shape(a), np.float64) for a in arrays)

    def on_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *values: tuple(np.array(d) for d in function(*(np.array(v) for v in values)))

    @jax.custom_vjp
    def function(*values: Any) -> Any:
        return jax.pure_callback(on_arrays(lambda *v: (forward(*v),)), shaped([forward(*xs)]), *values)[0]

    function.defvjp(
        lambda *values: (function(*values), values),
        lambda values, g: jax.pure_callback(on_arrays(backward), shaped(xs), g, *values),
    )
    # Compiled, every call would cost a second.
    with jax.enable_x64(True), jax.disable_jit():
        try:
            check_grads(function, tuple(jax.numpy.asarray(x) for x in xs), order=1, modes=("rev",))
        except AssertionError:
            return False
    return True


def autograd_check_grads(forward: Forward, backward: Backward, xs: Arrays, number: int) -> bool:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    @primitive
    def function(*values: Array) -> Array:
        return forward(*values)

    def pullback(which: int) -> Callable[..., Any]:
        return lambda _, *values: lambda g: np.array(backward(np.array(g), *values)[which])

    defvjp(function, *(pullback(which) for which in range(len(xs))))
    np.random.seed(number)  # noqa: NPY002 (the one that it draws from)
    try:
        check_grads(function, tuple(range(len(xs))), modes=["rev"], order=1)(*xs)
    except AssertionError:
        return False
    return True


CHECKERS: Mapping[str, Checker] = {
    OURS: ours,
    "torch gradcheck, slow": torch_gradcheck,
    "torch gradcheck, fast": partial(torch_gradcheck, fast=True),
    USUAL: partial(torch_gradcheck, summed=True),
    "jax check_grads": jax_check_grads,
    "autograd check_grads": autograd_check_grads,
}
LIBRARIES = {"torch": "torch", "jax": "jax", "autograd": "autograd"}


def installed() -> dict[str, Checker]:
    """Return the checkers whose library is here."""
    return {name: checker for name, checker in CHECKERS.items() if name == OURS or _version(name.split()[0])}


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def accepts(checker: Checker, forward: Forward, backward: Backward, xs: Arrays, number: int) -> bool:
    """Return what a checker says, whatever warnings it has."""
    with np.errstate(all="ignore"):
        return checker(forward, backward, xs, number)


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
            rows.append((OURS_SEARCHING, scale, *_share(hits), f"0 of {sum(s.verdict is None for s in searches)}", "-"))
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
    ("batch size", "batch size"),
    ("n / (n - 1)", "n/(n-1)"),
    ("(n - 1) / n", "n/(n-1)"),
    ("sign flipped", "sign"),
    ("times the right one", "factor"),
    ("statistics are treated as constants", "statistics as constants"),
    ("through the mean", "mean path"),
    ("through the variance", "variance path"),
    ("through the norm", "variance path"),
    ("wrong axis", "wrong axis"),
    ("eps is dropped", "eps"),
    ("sum of the cotangent", "sum of the cotangent"),
    ("unreduced broadcast", "unreduced broadcast"),
    ("transposed", "transposed"),
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

    def counting(*given: Any) -> GradientReport:
        report = examine(*given)
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


def _searched_of(task: tuple[str, int]) -> Search:
    kind, index = task
    if kind == "right":
        return searched(CORRECT[index].forward, CORRECT[index].backward, CORRECT[index].inputs)
    mutant = MUTANTS[index]
    return searched(mutant.forward, mutant.backward, mutant.inputs, expected=mutant.verdict)


def every_search(quick: bool, spread: Spread) -> list[Search]:
    """Check every right function and every mutant."""
    right = [("right", i) for i in range(0, len(CORRECT), 4 if quick else 1)]
    wrong = [("wrong", i) for i in range(0, len(MUTANTS), 6 if quick else 1)]
    return list(spread(_searched_of, [*right, *wrong]))


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


# Running.

Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


def _prepared() -> None:
    """Make a worker that leaves no files behind and uses one core."""
    set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), "hypothesis"))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if _version("torch"):
        import torch

        torch.set_num_threads(1)


NOTES = {
    "detection": (
        "A mutant counts as detected if a checker rejects it on any of the first {draws} ordinary inputs of its own "
        "({jax} for jax, which is slow); the search of tinygrad_norm draws its own 100 ordinary inputs and 100 edges. "
        "Before `sum` stands what many do: the objective is the sum of the output. At the larger scale the mutants are "
        "those that a complex step can see at all (relative error above 1e-4), for a saturated tanh has no gradient to "
        "get wrong; the inputs are those at which the function is finite. `right functions rejected` counts those of "
        "the right functions that are rejected on any of their inputs, by whoever is told the same. jax and autograd "
        "compare one projection of the gradient in one random direction, torch in fast mode likewise, so one input is "
        "one roll of the dice; torch in slow mode compares all of the Jacobian, by cotangents that are 1 once and 0 "
        "elsewhere, at which squares and absolute values of the cotangent cannot be seen."
    ),
    "layer": (
        "{count} random inputs of 4 rows of 8, without weight and bias, eps 1e-3. For the sum of its output, which is "
        "constant, a layer norm's gradient is null."
    ),
    "alarms": (
        "All {cases} right functions, ordinary inputs and edges, the first input times 1e-6, 1 and 1e6 and plus 0, 1e4 "
        "and 1e8 (only times, where it must be positive). One point is one gradient check of all inputs. A null "
        "gradient (rounding is larger than all of it) and one lost in rounding (more than 5 % uncertain, or a function "
        "that is not finite there) are said to be so, and are neither right nor wrong."
    ),
    "diagnosis": (
        "The held-out faults (tests/held_out_mutants.py) are of functions that the diagnosis was not written for, "
        "{count} of them with {seeds}; only the first sentence counts, by its key words. Wrong to say something of "
        "`unknown` faults, and nothing of the others."
    ),
    "searches": (
        "`check_backward` at the normal budget, seed 0. Shrinking is part of the time; the elements are those of all "
        "inputs of the smallest witness. Seconds are of one process beside another; only their proportions travel."
    ),
}


def page(parts: Sequence[tuple[str, str, Sequence[Table]]], quick: bool) -> str:
    """Return the document, which says how it was made."""
    how = "--quick --write" if quick else "--write"
    sample = " This is a sample of them, to look at, not a measurement." if quick else ""
    versions = ", ".join(f"{name} {_version(name) or 'missing'}" for name in ("numpy", "hypothesis", *LIBRARIES))
    lines = [
        "# How well the checker checks",
        "",
        f"Made by `python -m tests.benchmarks.checkers {how}`, seed {SEED}, with Python {platform.python_version()}, "
        f"{versions}.",
        f"{len(OF_VALUE)} of the {len(MUTANTS)} mutants have faults of value, which any checker can see; "
        f"{len(CORRECT)} functions are right. Every checker is given float64, the same arrays, and its own "
        f"defaults.{sample}",
    ]
    for heading, note, tables in parts:
        lines += ["", f"## {heading}", "", note]
        for table in tables:
            lines += ["", table.markdown()]
    return "\n".join(lines) + "\n"


PARTS = ("detection", "layer norm", "diagnosis", "searches", "false alarms")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.checkers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few mutants and inputs: a look, not a measurement")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="these parts only")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    options = parser.parse_args(arguments)
    parts: list[tuple[str, str, Sequence[Table]]] = []
    # New workers now and then: jax keeps what it compiles for every shape.
    with multiprocessing.get_context("spawn").Pool(options.workers, _prepared, maxtasksperchild=100) as pool:

        def spread(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
            return pool.imap(function, list(tasks), chunksize=1)

        def add(heading: str, note: str, make: Callable[[], Sequence[Table]]) -> None:
            start = time.perf_counter()
            tables = make()
            parts.append((heading, note, tables))
            print(f"\n{heading}: {time.perf_counter() - start:.0f} s")
            print("\n\n".join(table.text() for table in tables), flush=True)

        quick = options.quick
        searches: list[Search] = []
        if {"searches", "detection"} & set(options.only):
            start = time.perf_counter()
            searches = every_search(quick, spread)
            print(f"whole checks: {time.perf_counter() - start:.0f} s")
        if "detection" in options.only:
            note = NOTES["detection"].format(draws=DRAWS, jax=JAX_DRAWS)
            add("Detection", note, lambda: detection(quick, spread, searches))
        if "layer norm" in options.only:
            note = NOTES["layer"].format(count=5 if quick else 40)
            add("A wrong layer norm", note, lambda: wrong_layer_norm(quick, spread))
        if "searches" in options.only:
            add("Witnesses and times", NOTES["searches"], lambda: sizes_and_times(searches))
        if "diagnosis" in options.only:
            note = NOTES["diagnosis"].format(count=len(HELD_OUT), seeds="seed 0" if quick else "seeds 0 to 4")
            add("Diagnosis", note, lambda: diagnoses(quick, spread))
        if "false alarms" in options.only:
            add("False alarms", NOTES["alarms"].format(cases=len(CORRECT)), lambda: false_alarms(quick, spread))
    if options.write:
        PAGE.write_text(page(parts, quick), encoding="utf-8")


if __name__ == "__main__":
    main()
