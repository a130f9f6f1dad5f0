"""Comparison of a gradient with the oracle at one point: along a direction and, if in doubt, entry by entry."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from ..engine.operators import Array
from .differences import Differences
from .oracle import complex_step, is_analytic
from .report import FAULTS, Argument, GradientReport, Verdict
from .rounding import at_random
from .scales import largest, least_size, nearby, of_one, step_scales
from .subject import Subject

MOST_ELEMENTS, SOME_ELEMENTS = 256, 16
"""Largest number of entries that are compared one by one: in a check of one point, and for a point in a search."""
# A gradient that vanishes by cancellation, such as that of a bias before a normalization, may be off by as much as the
# oracle moves when the inputs change in their last place. That is measured at a few entries.
FEW_ELEMENTS = 8
NOISE_FACTOR = 16
# If a larger share of a gradient is uncertain, agreement means nothing.
LEAST_CERTAINTY = 0.05
# Gradients so small and inputs so large that their fourth powers underflow or overflow are not judged.
UNDERFLOW, OVERFLOW = 1e-75, 1e75
# A direction is only a first look: an error above a hundredth of the tolerance of an entry needs a closer look.
FIRST_LOOK = 1e-2
MOST_KINKS = 16
"""Largest number of differing entries that are tested for a kink. If all of them are at kinks, the rest is excused."""


@dataclass(frozen=True)
class Place:
    """One point, one cotangent, and the oracle there."""

    subject: Subject
    points: list[Array]
    y: Array
    g: Array
    rng: np.random.Generator
    lenient: bool = False

    @cached_property
    def exact(self) -> bool:
        """Whether the complex step can be trusted."""
        if self.subject.oracle != "auto":
            return self.subject.oracle == "complex"
        return self.subject.dtype == np.float64 and is_analytic(self.subject.value, self.points, self.g, self.rng)

    @property
    def oracle(self) -> str:
        """The name of the oracle."""
        return "given" if callable(self.subject.oracle) else "complex step" if self.exact else "central differences"

    @property
    def unit(self) -> float:
        """The rounding error of the function's value."""
        return float(np.sum(np.abs(self.g * self.y))) * self.subject.eps

    @cached_property
    def other(self) -> tuple[list[Array], list[Array]]:
        """The gradients for another cotangent h and for ``1.5 g + 0.5 h``."""
        h = np.asarray(self.rng.normal(size=self.g.shape))
        return self.subject.gradients(self.points, h), self.subject.gradients(self.points, 1.5 * self.g + 0.5 * h)

    @cached_property
    def jitter(self) -> list[list[Array]]:
        """The gradients for cotangents that are moved in their last places.

        A gradient is linear in the cotangent. Moving the inputs or rounding at random instead would excuse the errors
        of a numerically unstable gradient.
        """
        moved = [[*self.points, nearby(self.g, self.rng, self.subject.eps)] for _ in range(4)]

        def gradients(arrays: list[Array]) -> list[Array]:
            return self.subject.gradients(arrays[:-1], arrays[-1])

        return [at_random(gradients, arrays, self.rng) if self.lenient else gradients(arrays) for arrays in moved]

    @cached_property
    def right_nearby(self) -> bool:
        """Whether the gradients are right at random points nearby, along random directions."""
        for _ in range(3):
            points = [
                x + 1e-3 * step_scales(x) * self.rng.normal(size=x.shape) if x.dtype.kind == "f" and x.size else x
                for x in self.points
            ]
            there = replace(self, points=points, y=self.subject.value(*points))
            gradients = self.subject.gradients(points, self.g)
            for which in self.subject.wrt:
                direction = random_direction(points[which], self.rng)
                along, scale = float(np.sum(gradients[which] * direction)), largest(gradients[which])
                slope, bar = there.first_slope(which, direction) if direction.size else (along, 0.0)
                if not abs(along - slope) <= 10 * bar + 1e-4 * scale:
                    return False
        return True

    @cached_property
    def _differences(self) -> dict[int, Differences]:
        return {}

    def differences(self, which: int) -> Differences:
        """Return central differences with respect to one input. They are cached."""
        if which not in self._differences:
            made = Differences(self.subject.value, self.points, which, self.g, self.subject.eps)
            self._differences[which] = made
        return self._differences[which]

    def along(self, which: int, points: list[Array] | None = None) -> Callable[[Array], tuple[float, float]]:
        """Return the oracle of one input: a function from a direction to the slope and its error bar."""
        at = self.points if points is None else points
        if callable(self.subject.oracle):
            answer = self.subject.oracles(at, self.g)[which]
            return lambda direction: (float(np.sum(answer * direction)), 0.0)
        if self.exact:
            return lambda direction: (complex_step(self.subject.value, at, which, direction, self.g), 0.0)
        return self.differences(which).along

    def noise(self, which: int, direction: Array, slope: float, rolls: int) -> float:
        """Return how far an oracle without error bars moves if the inputs and all arithmetic are rounded at random."""
        found = 0.0
        if not self.exact and not callable(self.subject.oracle):
            return found

        def slope_at(points: list[Array], stretch: float) -> float:
            return self.along(which, points)(stretch * direction)[0] / stretch

        for _ in range(rolls):
            points, stretch = [nearby(x, self.rng) for x in self.points], self.rng.uniform(0.5, 1)
            again = at_random(partial(slope_at, stretch=stretch), points, self.rng)
            found = max(found, abs(again - slope))
        return found

    def first_slope(self, which: int, direction: Array) -> tuple[float, float]:
        """Return a slope and its error bar from few calls: the complex step, if two real points agree with it."""
        x, value = self.points[which], self.subject.value
        if self.subject.dtype == np.float64 and self.subject.oracle in ("auto", "complex"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", np.exceptions.ComplexWarning)
                    slope = complex_step(value, self.points, which, direction, self.g)
            except Exception:  # from the function, which need not take complex numbers
                slope = np.nan
            step = 1e-4 * float(np.min(step_scales(x) / np.abs(direction)))
            there, back = (of_one(value, self.points, which)(x + t * direction) for t in (step, -step))
            roughly = float(np.sum(self.g * (there - back))) / (2 * step)
            if abs(roughly - slope) + 64 * self.unit / step <= 1e-3 * abs(slope):
                return slope, 0.0
        return self.differences(which).along(direction)


def unit_vector(x: Array, entry: int) -> Array:
    """Return the direction that moves only one entry."""
    direction = np.zeros(x.shape)
    direction.flat[entry] = 1.0
    return direction


def random_direction(x: Array, rng: np.random.Generator) -> Array:
    """Return a direction that moves every entry by 1/2 to 3/2, up or down."""
    return np.asarray(rng.uniform(0.5, 1.5, x.shape) * rng.choice([-1.0, 1.0], x.shape))


@dataclass(frozen=True)
class Look:
    """The judgement of one input's gradient: the numbers, the relative error, and a verdict with its message."""

    argument: Argument
    error: float
    verdict: Verdict = Verdict.PASSED
    message: str = ""
    entries: int = 0


def judged(
    place: Place, gradients: list[Array], base: GradientReport, closely: bool
) -> tuple[GradientReport, list[int]]:
    """Return the report with a verdict on the values of the gradients, and the inputs whose gradients are right.

    Unless ``closely``, a gradient that is right along a random direction counts as right.
    """
    looks: list[Look] = []
    for which in place.subject.wrt:
        look = None if closely else _first_look(place, which, gradients)
        look = look or _close_look(place, which, gradients, MOST_ELEMENTS if closely else SOME_ELEMENTS)
        looks.append(look)
        worst = max(looks, key=lambda one: one.error)
        base = replace(
            base,
            arguments=(*base.arguments, look.argument),
            elements_checked=base.elements_checked + look.argument.checked,
            projected=base.projected + look.entries,
            largest_relative_error=max(worst.error, 0.0),
            input=place.subject.wrt[looks.index(worst)],
            index=worst.argument.index,
            got=worst.argument.got,
            want=worst.argument.want,
        )
        if look.verdict in FAULTS:
            return replace(base, oracle=place.oracle, verdict=look.verdict, message=look.message, input=which), []
    # A complex step that two real points confirm needs no test on circles.
    confirmed = all(look.entries and not look.argument.error_bar for look in looks)
    base = replace(base, oracle="complex step" if confirmed else place.oracle)
    right = [which for which, look in zip(place.subject.wrt, looks, strict=True) if look.verdict is Verdict.PASSED]
    return _settled(base, looks), right


def _first_look(place: Place, which: int, gradients: list[Array]) -> Look | None:
    """Compare a gradient along one random direction. Return None if a closer look is needed."""
    x, got, rtol = place.points[which], gradients[which], place.subject.rtol
    scale = largest(got)
    if callable(place.subject.oracle) or not np.isfinite(got).all() or scale <= UNDERFLOW:
        return None
    direction = random_direction(x, place.rng)
    slope, bar = place.first_slope(which, direction)
    along = float(np.sum(got * direction))
    if 10 * bar > 10 * rtol * scale or not abs(along - slope) <= 10 * bar + FIRST_LOOK * rtol * scale:
        return None
    if not _is_linear(place, which, gradients, 0.0):
        return None
    argument = Argument(place.subject.names[which], x.shape, (), along, slope, rtol * scale, bar)
    return Look(argument, abs(along - slope) / scale, entries=x.size)


def _close_look(place: Place, which: int, gradients: list[Array], most: int) -> Look:
    """Compare a gradient entry by entry and, if there are too many entries, the rest along a random direction."""
    x = place.points[which]
    entries = place.rng.permutation(x.size)
    look = _entry_by_entry(place, which, gradients, entries[:most])
    if x.size <= most or look.verdict in (*FAULTS, Verdict.ORACLE_UNRELIABLE):
        return look
    suspects = _suspects(place, which, gradients[which], look.argument.allowed / NOISE_FACTOR, most)
    if suspects.size:
        closer = _entry_by_entry(place, which, gradients, suspects)
        look = closer if closer.verdict in FAULTS else look
    return replace(look, entries=x.size)


def _entry_by_entry(place: Place, which: int, gradients: list[Array], entries: Array) -> Look:
    x, rtol = place.points[which], place.subject.rtol
    if not entries.size:
        return Look(Argument(place.subject.names[which], x.shape), -1.0, Verdict.VACUOUS)
    got, along = gradients[which].reshape(-1)[entries], place.along(which)
    want, bars = np.array([along(unit_vector(x, entry)) for entry in entries]).reshape(-1, 2).T
    scale, few = largest(want), np.zeros(x.shape)
    few.flat[entries[:FEW_ELEMENTS]] = place.rng.choice([-1.0, 1.0], entries[:FEW_ELEMENTS].size)
    noise = UNDERFLOW + place.unit / least_size(x)
    noise = max(noise, *(largest(moved[which] - gradients[which]) for moved in place.jitter))
    for rolls in (2, 12):
        # If there is an error, measure the effect of rounding more closely: by luck, it may have seemed small.
        noise = max(noise, place.noise(which, few, float(np.sum(few.flat[entries] * want)), rolls))
        certain = NOISE_FACTOR * noise + 10 * bars
        size = np.maximum(scale, certain / rtol)
        errors = _relative(got, want, size)
        if not (errors > rtol).any():
            break
    uncertain = float(np.max(certain, initial=0.0))
    judged = _without_kinks(place, which, entries, got, want, errors)
    argument, error = _argument(place, which, entries, got, want, bars, size, judged, int(np.sum(judged != errors)))
    if scale > uncertain and not _is_linear(place, which, gradients, uncertain):
        message = f"the gradient of {argument.name} is not linear in the cotangent, as every gradient is"
        return Look(argument, error, Verdict.NOT_LINEAR_IN_COTANGENT, message)
    if argument.wrong:
        return Look(argument, error, *_wrong(argument))
    return Look(argument, error, _worth(want, certain, argument.kinks > 0))


def _suspects(place: Place, which: int, got: Array, noise: float, most: int) -> Array:
    """Return entries among which one is wrong, found by halving random projections, or none."""
    x, along, entries = place.points[which], place.along(which), np.arange(place.points[which].size)
    direction = random_direction(x, place.rng)

    def off(part: Array) -> float:
        only = np.zeros(x.shape)
        only.flat[part] = direction.flat[part]
        slope, bar = along(only)
        rounding = noise * np.sqrt(part.size) + place.noise(which, only, slope, 2)
        projected = float(np.sum(got * only))
        excess = abs(projected - slope) - NOISE_FACTOR * rounding - 10 * bar
        return 0.0 if excess > 0 and place.differences(which).at_a_kink(only, projected) else excess

    if not off(entries) > 0:
        return entries[:0]
    while entries.size > most:
        entries = max(np.array_split(entries, 2), key=off)
    return entries


def _relative(got: Array, want: Array, size: Array) -> Array:
    errors = np.abs(got - want) / np.maximum(size, np.finfo(np.float64).tiny)
    return np.where(got == want, 0, np.where(np.isnan(errors), np.inf, errors))


def _without_kinks(place: Place, which: int, entries: Array, got: Array, want: Array, errors: Array) -> Array:
    """Return the errors, except those at kinks and those of a complex step that differences contradict.

    If all of the first differing entries are excused in this way, the rest is not judged. If the function has no
    gradient here, no entry is judged, provided that the gradient nearby is right.
    """
    judged, suspicious = errors.copy(), np.flatnonzero(errors > place.subject.rtol)
    if callable(place.subject.oracle) or place.subject.oracle == "complex" or not suspicious.size:
        return judged
    x, differences = place.points[which], place.differences(which)
    for row in suspicious[:MOST_KINKS]:
        direction = unit_vector(x, entries[row])
        slope, bar = differences.along(direction)
        off, certain = abs(got[row] - slope), 10 * bar < LEAST_CERTAINTY * abs(slope)
        trusted = off <= 10 * bar and (certain or (place.exact and off < abs(want[row] - slope)))
        if np.isfinite(got[row]) and (trusted or differences.at_a_kink(direction, float(got[row]))):
            judged[row] = 0.0
    left = [row for row in suspicious[:MOST_KINKS] if judged[row]]
    if left and np.isfinite(got[suspicious]).all() and differences.bends() and place.right_nearby:
        # In the edge cases of a search, any value is accepted.
        may_be = (place.lenient or differences.may_be(unit_vector(x, entries[row]), float(got[row])) for row in left)
        left = [row for row, may in zip(left, may_be, strict=True) if not may]
    if not left:
        judged[suspicious] = 0.0
    return judged


def _argument(
    place: Place,
    which: int,
    entries: Array,
    got: Array,
    want: Array,
    bars: Array,
    size: Array,
    errors: Array,
    kinks: int,
) -> tuple[Argument, float]:
    name, shape, rtol = place.subject.names[which], place.points[which].shape, place.subject.rtol
    row = int(errors.argmax())
    argument = Argument(
        name,
        shape,
        tuple(int(i) for i in np.unravel_index(entries[row], shape)),
        float(got[row]),
        float(want[row]),
        float(np.broadcast_to(size, got.shape)[row] * rtol),
        float(bars[row]),
        int((errors > rtol).sum()),
        len(entries),
        kinks,
    )
    return argument, float(errors[row])


def _wrong(argument: Argument) -> tuple[Verdict, str]:
    if np.isfinite(argument.got) or not np.isfinite(argument.want):
        return Verdict.WRONG_VALUE, f"the gradient of {argument.name} is wrong"
    return Verdict.NAN, f"the gradient of {argument.name} is not finite"


def _worth(want: Array, certain: Array, has_kinks: bool) -> Verdict:
    """Return the verdict on one input whose gradient agrees: whether the agreement means anything."""
    uncertain = float(np.max(certain, initial=0.0))
    if np.isfinite(uncertain) and (np.abs(want) <= certain).all():
        return Verdict.VACUOUS
    if uncertain > LEAST_CERTAINTY * largest(want):
        return Verdict.ORACLE_UNRELIABLE
    return Verdict.KINK if has_kinks else Verdict.PASSED


UNJUDGED = {
    Verdict.VACUOUS: "whose gradient is zero within rounding",
    Verdict.ORACLE_UNRELIABLE: "where rounding leaves more than 5 % of the gradient uncertain",
    Verdict.KINK: "at kinks, where there is no derivative",
}


def _settled(base: GradientReport, looks: Sequence[Look]) -> GradientReport:
    """Return the report of a gradient without errors: whether all of it could be judged."""
    states = [look.verdict for look in looks]
    notes = tuple(f"{look.argument.name}, {UNJUDGED[look.verdict]}" for look in looks if look.verdict in UNJUDGED)
    base = replace(base, not_checked=notes)
    for verdict in (Verdict.ORACLE_UNRELIABLE, Verdict.VACUOUS):
        if verdict in states and all(state in (verdict, Verdict.VACUOUS) for state in states):
            return replace(base, verdict=verdict, message="; ".join(notes))
    return base


def _is_linear(place: Place, which: int, gradients: list[Array], certain: float) -> bool:
    """Return whether the gradient for a combination of cotangents is that combination of gradients."""
    first = gradients[which]
    second, combined = (found[which] for found in place.other)
    expected = 1.5 * first + 0.5 * second
    if not np.isfinite(expected).all() or not np.isfinite(combined).all():
        return True
    scale = largest(first) + largest(second)
    return largest(combined - expected) <= 1e-3 * scale + 32 * (certain + place.unit)
