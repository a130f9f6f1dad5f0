"""The checks at one point: the gradient must equal that of an independent oracle, and behave as a gradient."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..engine.operators import Array, plain
from .judging import OVERFLOW, Place, judged
from .report import FAULTS, GradientReport, Verdict
from .rounding import at_random
from .scales import copied, largest
from .subject import Refused, Subject, Unfit, gradients_for, listed

ROUGHLY = 0.05
"""A larger relative error in float32 is not due to rounding."""
NOT_FINITE = "the function is not finite here, so it has no gradient"


class Fault(Exception):  # noqa: N818 (it carries a report to the caller)
    """A fault, with its report."""

    def __init__(self, report: GradientReport) -> None:
        super().__init__(report.message)
        self.report = report


def examine(
    subject: Subject,
    given: Sequence[Any],
    rng: np.random.Generator,
    cotangent: Array | None = None,
    closely: bool = True,
    lenient: bool = False,
) -> GradientReport:
    """Check a gradient at one point, in float64, and return a report. A fault raises no error.

    Unless ``closely``, entries are compared one by one only if a random direction leaves doubt. Functions that accept
    only float32 are judged in float32. If ``lenient``, rounding errors of the gradient's own code are not faults.

    Raises
    ------
    Refused
        If the function raises an error for the inputs.
    """
    witness = tuple(copied(np.asarray(plain(x))) for x in given)
    if any(x.dtype.kind not in "fiub" for x in witness):
        raise TypeError(f"expected real inputs, got {', '.join(str(x.dtype) for x in witness)}")
    points = [copied(x, np.float64) if x.dtype.kind == "f" else x for x in witness]
    base = GradientReport(elements=sum(points[i].size for i in subject.wrt), names=subject.names, witness=witness)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            # Functions warn in edge cases, as for the mean of an empty array.
            warnings.simplefilter("ignore", RuntimeWarning)
            subject = in_its_dtype(subject, witness)
            y = _steady_value(subject, points, base)
            g = np.asarray(rng.normal(size=y.shape)) if cotangent is None else cotangent
            g = g.astype(subject.dtype).astype(np.float64)
            base = replace(base, cotangent=g)
            gradients, minor = _well_behaved(subject, points, g, base)
            wrt = tuple(i for i in subject.wrt if gradients[i] is not None)
            place = Place(replace(subject, wrt=wrt), points, y, g, rng, lenient)
            report, right = judged(place, gradients, base, closely)
            if report.verdict not in FAULTS:
                known = {which: gradients[which] for which in right}
                minor += _in_float32(place.subject, witness, g, known, report)
        report = replace(report, notes=tuple(fault.report.message for fault in minor))
        # A wrong value is worse than shared memory, so it comes first.
        return minor[0].report if minor and subject.strict and report.verdict not in FAULTS else report
    except Fault as fault:
        return fault.report


def _fail(base: GradientReport, verdict: Verdict, message: str, **fields: Any) -> Fault:
    return Fault(replace(base, verdict=verdict, message=message, **fields))


def in_its_dtype(subject: Subject, given: Sequence[Array]) -> Subject:
    """Return the subject, computing in float32 if its inputs are float32 and it accepts nothing else."""
    if not any(x.dtype == np.float32 for x in given):
        return subject
    try:
        subject.value(*given)
    except Exception:  # whatever a function raises for other dtypes
        return replace(subject, dtype=np.float32, rtol=max(subject.rtol, 1e-4))
    return subject


def _steady_value(subject: Subject, points: list[Array], base: GradientReport) -> Array:
    copies = [*map(subject.taken, points)]
    before = [x.copy() for x in copies]
    try:
        returned = plain(subject.forward(*copies))
    except Exception as error:
        raise Refused(error) from error
    y = np.asarray(returned) if not isinstance(returned, list | tuple) else np.array(None)
    if y.dtype.kind not in "fiub":
        what = y.dtype if y.dtype.kind == "c" else type(returned).__name__
        raise TypeError(f"the function returned {what}; expected an array of real numbers")
    for name, x, copy in zip(subject.names, before, copies, strict=True):
        if not _same(x, copy):
            raise _fail(base, Verdict.MUTATES_INPUT, f"the function changes {name} in place")
    y = y.copy()
    if not _same(y, subject.value(*points)):
        raise _fail(
            base,
            Verdict.NONDETERMINISTIC,
            "the function itself returns different values for equal inputs, as dropout does: nothing can be checked",
        )
    if any(largest(x) > OVERFLOW for x in points):
        raise _fail(
            base,
            Verdict.ORACLE_UNRELIABLE,
            f"an input exceeds {OVERFLOW:g}, where powers overflow, so nothing was compared",
        )
    if not np.isfinite(y).all():
        raise _fail(base, Verdict.ORACLE_UNRELIABLE, NOT_FINITE)
    return y


def _well_behaved(
    subject: Subject, points: list[Array], g: Array, base: GradientReport
) -> tuple[list[Any], list[Fault]]:
    """Return the gradients, checked for shape, side effects and repeatability, and the minor faults."""
    try:
        listed, copies, cotangent = subject.calls(points, g)
    except Unfit as error:
        raise _fail(base, Verdict.WRONG_SHAPE, str(error)) from error
    except Exception as error:
        raise Refused(error) from error
    if len(listed) != len(points):
        raise _fail(base, Verdict.WRONG_SHAPE, f"expected {gradients_for(len(points))}, got {len(listed)}")
    arrays = [None if v is None else np.asarray(plain(v)) for v in listed]
    minor = _fitting(subject, copies, arrays, base)
    before = [*map(subject.taken, points), g.astype(subject.dtype)]
    for name, x, copy in zip((*subject.names, "the cotangent"), before, (*copies, cotangent), strict=True):
        if not _same(x, copy):
            raise _fail(base, Verdict.MUTATES_INPUT, f"the backward pass changes {name} in place")
    minor += _shared_memory(subject, arrays, [*copies, cotangent], base)
    kept = [None if array is None else np.array(array) for array in arrays]
    again = subject.calls(points, g, again=True)[0]
    for which in subject.wrt:
        one, two = kept[which], again[which]
        if one is not None and not _same(one, np.asarray(plain(two))):
            name = subject.names[which]
            if subject.again and _same(one, subject.gradients(points, g)[which]):
                message = f"the backward pass changes its cache: a second call gives another gradient of {name}"
                raise _fail(base, Verdict.MUTATES_INPUT, message)
            raise _fail(base, Verdict.NONDETERMINISTIC, f"the gradient of {name} differs from call to call")
    return [None if k is None else k.astype(np.float64) for k in kept], minor


def _fitting(subject: Subject, x: list[Array], arrays: list[Any], base: GradientReport) -> list[Fault]:
    """Compare the shapes and dtypes of gradients with those of the inputs. Wrong dtypes are minor faults."""
    minor: list[Fault] = []
    for which in subject.wrt:
        name, array = subject.names[which], arrays[which]
        if array is None:
            if which not in subject.optional:
                raise _fail(base, Verdict.WRONG_SHAPE, f"the gradient of {name} is None; expected an array")
            continue
        if array.shape != x[which].shape:
            message = f"the gradient of {name} has shape {array.shape}, but the input has shape {x[which].shape}"
            raise _fail(base, Verdict.WRONG_SHAPE, message, input=which)
        if array.dtype != x[which].dtype:
            message = f"the gradient of {name} is {array.dtype}, but the input is {x[which].dtype}"
            fault = _fail(base, Verdict.WRONG_DTYPE, message, input=which)
            if array.dtype.kind not in "fiub":
                raise fault
            minor.append(fault)
    return minor


def _shared_memory(subject: Subject, arrays: list[Any], others: list[Array], base: GradientReport) -> list[Fault]:
    owners = [*subject.names, "the cotangent"]
    for which in subject.wrt:
        name, array = subject.names[which], arrays[which]
        if array is None:
            continue
        if array.size > 1 and 0 in [s for s, n in zip(array.strides, array.shape, strict=True) if n > 1]:
            message = f"the gradient of {name} is a broadcast view: its elements share memory"
            return [_fail(base, Verdict.ALIASED_GRADIENT, message, input=which)]
        shared = [
            f"{owner} itself" for owner, other in zip(owners, others, strict=True) if np.shares_memory(array, other)
        ]
        shared += [
            f"that of {subject.names[i]}"
            for i in range(which)
            if arrays[i] is not None and np.shares_memory(array, arrays[i])
        ]
        if shared:
            message = f"the gradient of {name} shares memory with {shared[0]}: adding to one would change the other"
            return [_fail(base, Verdict.ALIASED_GRADIENT, message, input=which)]
    return []


def _in_float32(
    subject: Subject, given: Sequence[Array], g: Array, known: Mapping[int, Array], base: GradientReport
) -> list[Fault]:
    """Check gradients of float32 or float16 inputs: the dtype must be kept, and values roughly equal those in float64.

    All other checks use float64.
    """
    narrow = np.result_type(*(x.dtype for x in given if x.dtype.kind == "f"))
    if subject.dtype != np.float64 or narrow not in (np.float16, np.float32):
        return []
    try:
        y = np.asarray(plain(subject.forward(*(x.copy() for x in given))))
    except Exception:  # it accepts only float64
        return []
    # A function that turns float32 into float64 itself cannot ask its gradient to keep float32.
    if y.dtype not in [x.dtype for x in given] or not np.isfinite(y).all():
        return []
    cotangent = g.astype(y.dtype)

    def gradients(arrays: list[Array]) -> list[Any]:
        return listed(subject.backward(*(x.copy() for x in arrays)))

    once = gradients([cotangent, *given])
    again = at_random(gradients, [cotangent, *given], np.random.default_rng(0))
    minor: list[Fault] = []
    for which in subject.wrt:
        if given[which].dtype.kind != "f" or once[which] is None:
            continue
        name, one, two = subject.names[which], *(np.asarray(plain(of[which])) for of in (once, again))
        if which in known and _is_off(one, two, known[which]):
            message = f"the gradient of {name} is wrong in {y.dtype}, but right in float64"
            raise _fail(base, Verdict.WRONG_VALUE, message, input=which, cotangent=cotangent)
        if one.dtype != given[which].dtype and not minor:
            message = (
                f"the gradient of {name} is {one.dtype} for {given[which].dtype} input, as when a constant or "
                "mask is a float64 array"
            )
            minor.append(_fail(base, Verdict.WRONG_DTYPE, message, input=which, cotangent=cotangent))
    return minor


def _is_off(one: Array, two: Array, known: Array) -> bool:
    """Return whether a float32 gradient, computed with two roundings, differs from the known one."""
    if not np.isfinite(one).all():
        return True
    return largest(one - known) > ROUGHLY * largest(known) + 16 * largest(one.astype(np.float64) - two)


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
