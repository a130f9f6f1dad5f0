"""Whether an answer is right: gradients by `tinygrad_norm.check`, values by the library, on many inputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..check import GradientMismatch, GradientReport, UncheckedGradient, Verdict, check_backward
from ..check.report import assigned, identifiers
from ..engine.operators import Array
from .answer import ByHand, Function, RecordingRefused, told
from .comparing import Arrays, Comparison, Unfit, alike, of_shapes, worst
from .exercise import Exercise
from .mistakes import Mistake
from .references import VALUES, fault_of_own_norm

EACH = 8
"""How many inputs of each kind a function of values is tried on."""


@dataclass(frozen=True)
class Finding:
    """What was found about one function of an answer.

    Attributes
    ----------
    function : str
        Its name and parameters.
    right, wrong : tuple of str
        Which of its results are right, and what is wrong; it is right if nothing is wrong.
    mistakes : dict from str to Mistake
        Common mistakes that give exactly this result, by their explanations for this exercise.
    looks_like : str
        The checker's diagnosis.
    code : tuple of str
        The inputs that show what is wrong.
    seen : str
        What it was judged on.
    """

    function: str
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    mistakes: Mapping[str, Mistake] = field(default_factory=dict)
    looks_like: str = ""
    code: tuple[str, ...] = ()
    seen: str = ""


def findings(exercise: Exercise, functions: dict[str, Function]) -> tuple[Finding, ...]:
    """Judge the functions of an answer."""
    made: list[Finding] = []
    for name, function in functions.items():
        student = ByHand(name, function)
        if exercise.is_own and made and made[0].wrong:
            made.append(_told(student, "it is judged against your own forward, which must be right first"))
            continue
        own = ByHand("forward", functions["forward"]) if exercise.is_own else None
        made.append(_finding(exercise, name, student, own))
    return tuple(made)


def _finding(exercise: Exercise, name: str, student: ByHand, own: ByHand | None) -> Finding:
    forward = own.run if own else getattr(exercise.module, "forward", np.array)
    try:
        compared = Comparison(exercise, name, student, forward)
        if compared.misshapen:
            which = [*compared.misshapen, *compared.differing]
            return _of(compared, which, [*compared.misshapen.values()])
        finding = (_of_gradient if name == "backward" else _of_values)(compared)
    except Unfit as error:
        return _told(student, str(error))
    except Exception:
        failed = next((function for function in (student, own) if function and function.errors), None)
        if failed is None:
            raise
        return _told(failed, _raised(failed))
    # An error on special inputs alone is one, too.
    return _told(student, _raised(student)) if student.errors and not finding.wrong else finding


def _of(compared: Comparison, which: Sequence[int], wrong: Sequence[str], **more: Any) -> Finding:
    """Return what was found, given which results are wrong."""
    right = tuple(label for i, label in enumerate(compared.labels) if which and i not in which)
    return Finding(_signature(compared.student), right, tuple(wrong), compared.mistakes(which), **more)


# Gradients.


def _of_gradient(compared: Comparison) -> Finding:
    given, wrt = compared.exercise.inputs, [*compared.names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncheckedGradient)
        try:
            report = check_backward(compared.forward, compared.student.run, given, wrt=wrt, seed=0)
        except GradientMismatch as mismatch:
            return _mismatch(compared, mismatch.report)
    special = report.examples - report.ordinary
    return _of(compared, (), (), seen=f"{report.oracle}, {report.ordinary} ordinary inputs and {special} special ones")


def _mismatch(compared: Comparison, report: GradientReport) -> Finding:
    """Return what a report says of the gradients, and what other inputs show."""
    sentences = dict(compared.differing)
    of = of_shapes(report.names, [x.shape for x in report.witness])
    for argument in report.arguments:
        if argument.wrong:
            label = f"the gradient of {argument.name}"
            i = compared.names.index(argument.name)
            sentences[i] = worst(label, of, argument.index, argument.got, argument.want)
    which = sorted(sentences)
    wrong = [sentences[i] for i in which] if report.verdict is Verdict.WRONG_VALUE else [report.message]
    if report.edge:
        wrong.append(f"it is right on all {report.ordinary} ordinary inputs, and wrong on special ones: {report.edge}")
    cotangent = [] if report.cotangent is None else [("g", report.cotangent)]
    code = _code([*zip(report.names, report.witness, strict=False), *cotangent])
    return _of(compared, which, wrong, looks_like="".join(report.diagnosis[:1]), code=code)


# Values.

Fault = tuple[list[int], list[str]]


def _of_values(compared: Comparison) -> Finding:
    drawn, rng = compared.exercise.inputs, np.random.default_rng(0)
    kinds = ["", *(edge for edge in drawn.edges if edge != "strided")]
    # Rounded values are easier to read, and to work out on paper.
    points = [[np.round(x, 2) for x in drawn.drawn(kind, rng)] for kind in kinds for _ in range(EACH)]
    fault_of = _fault_of_own if compared.exercise.is_own else _fault_of_value
    faults = [(fault, point) for point in points if (fault := fault_of(compared, point))]
    if not faults:
        return _of(compared, (), (), seen=f"{len(points)} inputs, ordinary and special ones")
    # The smallest is the easiest to look at.
    (which, wrong), point = min(faults, key=lambda each: sum(x.size for x in each[1]))
    return _of(compared, which, wrong, code=_code([*zip(compared.parameters, point, strict=True)]))


def _fault_of_value(compared: Comparison, point: Arrays) -> Fault | None:
    copies = [x.copy() for x in point]
    gots = compared.run(lambda *_: compared.student.run(*copies), point)
    if not all(np.array_equal(x, copy) for x, copy in zip(point, copies, strict=True)):
        return [], ["it changes its arguments; work on copies"]
    wants = [np.asarray(want) for want in VALUES[compared.exercise.name, compared.name](*point)]
    rtol = 1e-6 if point[0].dtype == np.float64 else 1e-3
    which = [i for i, (got, want) in enumerate(zip(gots, wants, strict=True)) if not alike(got, want, rtol)]
    return (which, [compared.sentence(i, point, gots[i], wants[i]) for i in which]) if which else None


def _fault_of_own(compared: Comparison, point: Arrays) -> Fault | None:
    x = point[0].astype(np.float64)
    (y,), (larger,) = compared.run(compared.student.run, [x]), compared.run(compared.student.run, [8 * x])
    words = fault_of_own_norm(x, y, larger) if np.isfinite(y).all() else "y is not finite"
    return ([0], [words]) if words else None


# In words.


def _told(student: ByHand, words: str) -> Finding:
    return Finding(_signature(student), wrong=(words,))


def _raised(student: ByHand) -> str:
    error, shapes = student.errors[-1]
    if isinstance(error, NotImplementedError):
        return "it is not filled in yet"
    if isinstance(error, RecordingRefused):
        return (
            "it uses gradients or norms of tinygrad_norm, which the exercises refuse. Derive the gradient by hand, and"
            " compute with NumPy only"
        )
    return f"it raises {told(error, student.file)}, for {of_shapes(student.parameters, shapes)}"


def _signature(student: ByHand) -> str:
    return f"{student.name}({', '.join(student.parameters)})"


def _code(pasted: Sequence[tuple[str, Array]]) -> tuple[str, ...]:
    names = identifiers([name for name, _ in pasted])
    return tuple(assigned(name, array) for name, (_, array) in zip(names, pasted, strict=True))
