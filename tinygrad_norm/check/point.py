"""One point: is the gradient there what an independent oracle says, and does it behave as a gradient must?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..engine.context import surrounding
from ..engine.operators import Array, plain
from .oracle import Function, at_a_kink, is_analytic, largest, least_size, nearby, slopes
from .report import Argument, GradientReport, Verdict

MOST_ELEMENTS = 256
RELATIVE_TOLERANCE = 1e-6
# How far the oracle moves when the inputs change in their last place, at a few entries, is what a gradient that
# vanishes by cancellation, as that of a bias before a normalization, may be off by. Its own unsteadiness is no excuse.
FEW_ELEMENTS = 16
NOISE_FACTOR = 16
# Where less than this is certain of a gradient, agreement says nothing.
LEAST_CERTAINTY = 0.05
# Nothing is said of gradients so small, or of inputs so large, that their fourth powers are no numbers.
UNDERFLOW, OVERFLOW = 1e-75, 1e75

Given = Callable[..., Any]


@dataclass(frozen=True)
class Subject:
    """What is checked: a function, its gradient, the names of its inputs, and which of them count."""

    forward: Function
    backward: Given
    names: tuple[str, ...]
    wrt: tuple[int, ...]
    oracle: str | Given = "auto"
    strict: bool = False
    rtol: float = 1e-6
    optional: tuple[int, ...] = ()

    def calls(self, x: Sequence[Array], g: Array) -> tuple[Any, list[Array], Array]:
        """Run the gradient once on copies, and return what it gave and the copies."""
        copies, cotangent = [v.copy() for v in x], g.copy()
        return self.backward(cotangent, *copies), copies, cotangent

    def gradients(self, x: Sequence[Array], g: Array) -> list[Array]:
        """Return the gradient of each input as an array."""
        returned, _, _ = self.calls(x, g)
        return [np.asarray(plain(v)) for v in _listed(returned)]

    def value(self, *x: Any) -> Array:
        """Run the function on copies; a complex step is not recorded, and branches by the real part."""
        stepped = {"recording": False, "analytic": True} if any(map(np.iscomplexobj, x)) else {}
        with surrounding(**stepped):
            return np.asarray(plain(self.forward(*(v.copy() for v in x))))


class Fault(Exception):  # noqa: N818 (it carries a report from where a fault was found to where it is told)
    """A fault found on the way."""

    def __init__(self, report: GradientReport) -> None:
        super().__init__(report.message)
        self.report = report


class Unfit(Exception):  # noqa: N818 (of gradients, for the inputs)
    """What a gradient's code returns does not go with the inputs: `examine` makes a WRONG_SHAPE of it."""


class Refused(Exception):  # noqa: N818 (of an input, by the function)
    """The function, or its gradient's code, raises an error for an input."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error

    def at(self, inputs: Sequence[Any]) -> Exception:
        """Return the error, with a note of the inputs."""
        shapes = ", ".join(f"{x.dtype} {x.shape}" for x in inputs if hasattr(x, "dtype"))
        self.error.add_note(f"raised for inputs {shapes}")
        return self.error


def examine(subject: Subject, given: Sequence[Any], rng: np.random.Generator) -> GradientReport:
    """Check a gradient at one point, in float64, and say what was found. Nothing is raised for a fault.

    Raises
    ------
    Refused
        If the function does not take the inputs.
    """
    witness = tuple(np.array(plain(x)) for x in given)
    if any(x.dtype.kind not in "fiub" for x in witness):
        raise TypeError(f"gradients are of real numbers, not of {', '.join(str(x.dtype) for x in witness)}")
    points = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in witness]
    base = GradientReport(elements=sum(points[i].size for i in subject.wrt), names=subject.names, witness=witness)
    try:
        with np.errstate(all="ignore"):
            y = _steady_value(subject, points, base)
            cotangent = np.asarray(rng.normal(size=y.shape))
            base = replace(base, cotangent=cotangent)
            gradients, shared = _well_behaved(subject, points, cotangent, base)
            given_back = tuple(i for i in subject.wrt if gradients[i].dtype.kind != "O")
            subject = replace(subject, wrt=given_back)
            _keeps_dtypes(subject, given, cotangent, base)
            report = _compared(subject, points, y, cotangent, gradients, base, rng)
        # A wrong value is worse than shared memory, so it is told first.
        return report if shared is None else shared.report
    except Fault as fault:
        return fault.report


def _fail(base: GradientReport, verdict: Verdict, message: str, **fields: Any) -> Fault:
    return Fault(replace(base, verdict=verdict, message=message, **fields))


def _steady_value(subject: Subject, points: list[Array], base: GradientReport) -> Array:
    copies = [x.copy() for x in points]
    try:
        returned = plain(subject.forward(*copies))
    except Exception as error:
        raise Refused(error) from error
    y = np.asarray(returned) if not isinstance(returned, list | tuple) else np.array(None)
    if y.dtype.kind not in "fiub":
        what = y.dtype if y.dtype.kind == "c" else type(returned).__name__
        raise TypeError(f"the function returns {what}, where an array of real numbers is wanted")
    for name, x, copy in zip(subject.names, points, copies, strict=True):
        if not _same(x, copy):
            raise _fail(base, Verdict.MUTATES_INPUT, f"the function changes {name} in place")
    y = y.copy()
    if not _same(y, subject.value(*points)):
        raise _fail(
            base,
            Verdict.NONDETERMINISTIC,
            "the function itself gives different values for equal inputs (as dropout does): no gradient can be checked",
        )
    if any(largest(x) > OVERFLOW for x in points):
        raise _fail(base, Verdict.ORACLE_UNRELIABLE, f"beyond {OVERFLOW:g} powers overflow: nothing is compared")
    if not np.isfinite(y).all():
        raise _fail(base, Verdict.ORACLE_UNRELIABLE, "the function is not finite here, so it has no gradient")
    return y


def _well_behaved(
    subject: Subject, points: list[Array], g: Array, base: GradientReport
) -> tuple[list[Array], Fault | None]:
    """Return the gradients, one of its input's shape for each, and whether they share memory; nothing was changed."""
    try:
        returned, copies, cotangent = subject.calls(points, g)
    except Unfit as error:
        raise _fail(base, Verdict.WRONG_SHAPE, str(error)) from error
    except Exception as error:
        raise Refused(error) from error
    listed = _listed(returned)
    if any(listed[i] is None for i in subject.wrt if i not in subject.optional):
        raise _fail(base, Verdict.WRONG_SHAPE, "the gradient's code returns None in the place of an array")
    if len(listed) != len(points):
        raise _fail(base, Verdict.WRONG_SHAPE, f"{len(points)} inputs need as many gradients, not {len(listed)}")
    arrays = [np.asarray(plain(v)) for v in listed]
    for which in subject.wrt:
        name, x, array = subject.names[which], points[which], arrays[which]
        if listed[which] is None:
            continue
        if array.shape != x.shape:
            message = f"the gradient of {name} has shape {array.shape}, where the input has {x.shape}"
            raise _fail(base, Verdict.WRONG_SHAPE, message, input=which)
        if array.dtype != x.dtype:
            message = f"the gradient of {name} is {array.dtype}, where the input is {x.dtype}"
            raise _fail(base, Verdict.WRONG_DTYPE, message, input=which)
    for name, x, copy in zip((*subject.names, "the cotangent"), (*points, g), (*copies, cotangent), strict=True):
        if not _same(x, copy):
            raise _fail(base, Verdict.MUTATES_INPUT, f"the gradient's code changes {name} in place")
    shared = _shared_memory(subject, arrays, [*copies, cotangent], base)
    kept = [np.array(array) for array in arrays]
    for which, (one, two) in enumerate(zip(kept, subject.gradients(points, g), strict=True)):
        if which in subject.wrt and not _same(one, two):
            raise _fail(
                base, Verdict.NONDETERMINISTIC, f"the gradient of {subject.names[which]} differs from call to call"
            )
    return kept, shared


def _shared_memory(subject: Subject, arrays: list[Array], others: list[Array], base: GradientReport) -> Fault | None:
    owners = [*subject.names, "the cotangent"]
    for which in subject.wrt:
        name, array = subject.names[which], arrays[which]
        if array.size > 1 and 0 in [s for s, n in zip(array.strides, array.shape, strict=True) if n > 1]:
            message = f"the gradient of {name} is a repeated view: its elements share memory"
            return _fail(base, Verdict.ALIASED_GRADIENT, message, input=which)
        shared = [
            f"{owner} itself" for owner, other in zip(owners, others, strict=True) if np.shares_memory(array, other)
        ]
        shared += [f"that of {subject.names[i]}" for i in range(which) if np.shares_memory(array, arrays[i])]
        if shared:
            message = f"the gradient of {name} shares memory with {shared[0]}: adding to one would change the other"
            return _fail(base, Verdict.ALIASED_GRADIENT, message, input=which)
    return None


def _keeps_dtypes(subject: Subject, given: Sequence[Any], g: Array, base: GradientReport) -> None:
    """Where float32 or float16 came in, it must come out; values are compared in float64 alone."""
    arrays = [np.asarray(plain(x)) for x in given]
    if np.result_type(*(x.dtype for x in arrays if x.dtype.kind == "f")) not in (np.float16, np.float32):
        return
    try:
        y = np.asarray(plain(subject.forward(*(x.copy() for x in arrays))))
    except Exception as error:
        raise Refused(error) from error
    # What turns float32 into float64 itself cannot ask it of its gradient.
    if y.dtype not in [x.dtype for x in arrays]:
        return
    found = subject.gradients(arrays, g.astype(y.dtype))
    for which in subject.wrt:
        if arrays[which].dtype.kind == "f" and found[which].dtype != arrays[which].dtype:
            message = (
                f"the gradient of {subject.names[which]} is {found[which].dtype} for {arrays[which].dtype} input, as a "
                'NumPy constant or mask of float64 makes it (edges= without "float32" does not ask)'
            )
            raise _fail(base, Verdict.WRONG_DTYPE, message, input=which)


def _compared(
    subject: Subject,
    points: list[Array],
    y: Array,
    g: Array,
    gradients: list[Array],
    base: GradientReport,
    rng: np.random.Generator,
) -> GradientReport:
    exact = subject.oracle == "complex" or (subject.oracle == "auto" and is_analytic(subject.value, points, g, rng))
    name = "given" if callable(subject.oracle) else "complex step" if exact else "central differences"
    base = replace(base, oracle=name, arguments=())
    unit = float(np.sum(np.abs(g * y)) * np.finfo(np.float64).eps)
    other = np.asarray(rng.normal(size=g.shape))
    combined = subject.gradients(points, 1.5 * g + 0.5 * other)
    second = subject.gradients(points, other)
    # How much rounding is in a gradient shows when the cotangent moves in its last places, in which it is linear.
    # Moving the inputs would let one that is numerically unstable excuse itself.
    jitter = [subject.gradients(points, nearby(g, rng)) for _ in range(4)]
    states: list[Verdict] = []
    for which in subject.wrt:
        x, got_all = points[which], gradients[which]
        entries = rng.permutation(x.size)[:MOST_ELEMENTS].tolist()
        want, bars = wanted(subject, points, which, entries, g, exact)
        got, scale = got_all.reshape(-1)[entries], largest(want)
        noise = UNDERFLOW + unit / least_size(x)
        noise = max(noise, *(largest(moved[which] - got_all) for moved in jitter))
        for rolls in (2, 8):
            # Where an error shows, a closer look at what rounding does: by luck it may do little.
            noise = max(noise, _noise(subject, points, which, entries[:FEW_ELEMENTS], g, exact, want, rolls, rng))
            certain = NOISE_FACTOR * noise + 10 * bars
            size = np.maximum(scale, certain / RELATIVE_TOLERANCE)
            errors = _relative(got, want, size)
            if not (errors > RELATIVE_TOLERANCE).any():
                break
        if scale > np.max(certain, initial=0.0):
            _linear(subject, which, gradients, second, combined, float(np.max(certain, initial=0.0)) + unit, base)
        judged = _kinks(subject, points, which, entries, g, got, errors)
        kinks = judged != errors
        argument, error = _argument(subject.names[which], x.shape, entries, got, want, bars, size, judged, kinks)
        base = replace(
            base,
            arguments=(*base.arguments, argument),
            elements_checked=base.elements_checked + len(entries),
        )
        if error > base.largest_relative_error or len(base.arguments) == 1:
            base = replace(
                base,
                largest_relative_error=max(error, 0.0),
                input=which,
                index=argument.index,
                got=argument.got,
                want=argument.want,
            )
        if argument.wrong:
            raise _wrong(argument, base)
        states.append(_state(want, certain, bool(kinks.any())))
    return _settled(subject, base, states)


def wanted(
    subject: Subject,
    points: list[Array],
    which: int,
    entries: Sequence[int],
    g: Array,
    exact: bool,
    stretch: float = 1.0,
) -> tuple[Array, Array]:
    """Return what the oracle says at some entries, and its error bars."""
    if callable(subject.oracle):
        answer = _listed(subject.oracle(g.copy(), *(v.copy() for v in points)))[which]
        return np.asarray(plain(answer), np.float64).reshape(-1)[list(entries)], np.zeros(len(entries))
    return slopes(subject.value, points, which, entries, g, exact, stretch)


def _noise(
    subject: Subject,
    points: list[Array],
    which: int,
    entries: list[int],
    g: Array,
    exact: bool,
    want: Array,
    rolls: int,
    rng: np.random.Generator,
) -> float:
    """Return how far an oracle without error bars moves when the inputs change in their last places."""
    found = 0.0
    if not exact and not callable(subject.oracle):
        return found
    for _ in range(rolls):
        again, _ = wanted(subject, [nearby(x, rng) for x in points], which, entries, g, exact, rng.uniform(0.5, 1))
        found = max(found, largest(again - want[: len(entries)]))
    return found


def _relative(got: Array, want: Array, size: Array) -> Array:
    errors = np.abs(got - want) / np.maximum(size, np.finfo(np.float64).tiny)
    return np.where(got == want, 0, np.where(np.isnan(errors), np.inf, errors))


def _linear(
    subject: Subject,
    which: int,
    first: list[Array],
    second: list[Array],
    combined: list[Array],
    certain: float,
    base: GradientReport,
) -> None:
    """Compare the gradient for a combination of cotangents with the combination of gradients."""
    expected = 1.5 * first[which] + 0.5 * second[which]
    if not np.isfinite(expected).all() or not np.isfinite(combined[which]).all():
        return
    scale = largest(first[which]) + largest(second[which])
    if largest(combined[which] - expected) > 1e-3 * scale + 32 * certain:
        message = f"the gradient of {subject.names[which]} is not linear in the cotangent, as every gradient is"
        raise _fail(base, Verdict.NOT_LINEAR_IN_COTANGENT, message, input=which)


def _kinks(
    subject: Subject, points: list[Array], which: int, entries: list[int], g: Array, got: Array, errors: Array
) -> Array:
    """Return the errors without those at kinks, and without those of a complex step that differences contradict."""
    judged = errors.copy()
    if callable(subject.oracle) or subject.oracle == "complex":
        return judged
    for row in np.flatnonzero(errors > RELATIVE_TOLERANCE)[:64].tolist():
        if not np.isfinite(got[row]):
            continue
        (slope,), (bar,) = slopes(subject.value, points, which, [entries[row]], g, exact=False)
        trusted = 10 * bar < LEAST_CERTAINTY * abs(slope) and abs(got[row] - slope) <= 10 * bar
        if trusted or at_a_kink(subject.value, points, which, entries[row], g, float(got[row])):
            judged[row] = 0.0
    return judged


def _argument(
    name: str,
    shape: tuple[int, ...],
    entries: list[int],
    got: Array,
    want: Array,
    bars: Array,
    size: Array,
    errors: Array,
    kinks: Array,
) -> tuple[Argument, float]:
    if not entries:
        return Argument(name, shape), -1.0
    row = int(errors.argmax())
    argument = Argument(
        name,
        shape,
        tuple(int(i) for i in np.unravel_index(entries[row], shape)),
        float(got[row]),
        float(want[row]),
        float(np.broadcast_to(size, got.shape)[row] * RELATIVE_TOLERANCE),
        float(bars[row]),
        int((errors > RELATIVE_TOLERANCE).sum()),
        len(entries),
        int(kinks.sum()),
    )
    return argument, float(errors[row])


def _wrong(argument: Argument, base: GradientReport) -> Fault:
    finite = np.isfinite(argument.got) or not np.isfinite(argument.want)
    verdict = Verdict.WRONG_VALUE if finite else Verdict.NAN
    message = (
        f"the gradient of {argument.name} is wrong at index {argument.index}: got {argument.got:.8g}, want "
        f"{argument.want:.8g} by {base.oracle} ({argument.wrong} of {argument.checked} entries of that input are wrong)"
    )
    return _fail(base, verdict, message)


def _state(want: Array, certain: Array, has_kinks: bool) -> Verdict:
    """Return what agreement is worth for one input."""
    uncertain = float(np.max(certain, initial=0.0))
    if np.isfinite(uncertain) and (np.abs(want) <= certain).all():
        return Verdict.VACUOUS
    if uncertain > LEAST_CERTAINTY * largest(want):
        return Verdict.ORACLE_UNRELIABLE
    return Verdict.KINK if has_kinks else Verdict.PASSED


def _settled(subject: Subject, base: GradientReport, states: list[Verdict]) -> GradientReport:
    names = [subject.names[which] for which in subject.wrt]
    words = {
        Verdict.VACUOUS: "whose gradient is null within rounding",
        Verdict.ORACLE_UNRELIABLE: "where rounding leaves more than 5 % of the gradient uncertain",
        Verdict.KINK: "at kinks, where no derivative is the right one",
    }
    notes = tuple(f"{name}, {words[state]}" for name, state in zip(names, states, strict=True) if state in words)
    base = replace(base, not_checked=notes)
    for verdict in (Verdict.ORACLE_UNRELIABLE, Verdict.VACUOUS):
        if states and all(state in (verdict, Verdict.VACUOUS) for state in states) and verdict in states:
            return replace(base, verdict=verdict, message="; ".join(notes))
    return base


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def _listed(returned: Any) -> list[Any]:
    return list(returned) if isinstance(returned, tuple | list) else [returned]
