"""What a gradient is compared with: the complex step where a function is analytic, central differences elsewhere.

Both look at the real-valued function ``<cotangent, fn(x)>`` along one direction of one input, and neither touches the
caller's arrays.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from ..engine.operators import Array

# So small that the square of the step vanishes beside 1 and beside x itself, and nothing is subtracted: the result is
# exact to rounding.
COMPLEX_STEP = 1e-100

Function = Callable[..., Array]


def generator(seed: int | None) -> np.random.Generator:
    """Return random numbers that differ from those of ``default_rng(seed)``, which may have made the caller's inputs.

    A cotangent equal to ``x`` hides any fault of a normalization's variance path: there the true gradient vanishes.
    """
    return np.random.default_rng(None if seed is None else [seed, 1502_03167])


def inner(cotangent: Array, y: Array) -> Any:
    """Return ``<cotangent, y>``."""
    return np.sum(cotangent * y)


def of_one(fn: Function, inputs: Sequence[Array], which: int) -> Callable[[Array], Array]:
    """Return a function of one of its inputs, the others as they are."""
    return lambda x: np.asarray(fn(*inputs[:which], x, *inputs[which + 1 :]))


def complex_step(fn: Function, inputs: Sequence[Array], which: int, direction: Array, cotangent: Array) -> float:
    """Return the slope along a direction of one input as ``Im <cotangent, fn(x + i h v)> / h``."""
    stepped = of_one(fn, inputs, which)(inputs[which] + 1j * COMPLEX_STEP * direction)
    return float(np.imag(inner(cotangent, stepped)) / COMPLEX_STEP)


def largest(values: Array) -> float:
    """Return the largest finite absolute value, or 0."""
    return float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))


# Relative to the input's own spread. The smaller ones are for functions that bend sharply, as a normalization of almost
# constant values does; rounding makes them useless elsewhere, and the error bar says which is which.
RELATIVE_STEPS = (2e-2, 1.7e-3, 2.3e-4, 1.9e-5, 2.9e-6, 3.1e-8, 1.3e-10, 1.1e-12, 1.4e-14)
ENOUGH = 1e-9
"""Slopes of two steps that agree so well, and are not zero, need no further ones."""
SMALLEST_SCALE = 1e-6
"""Smaller inputs are zeros beside the constants in a function: steps relative to them would vanish in rounding."""


def step_scale(x: Array) -> float:
    """Return what steps are relative to: how far the values of an input spread, or else how large they are.

    A normalization of values far from zero bends on the scale of their spread: a step of a share of their size would
    jump over it, and find slopes of zero that agree with each other.
    """
    most, spread = largest(x), float(np.std(x)) if x.size > 1 else 0.0
    scale = spread if 1e3 * np.finfo(np.float64).eps * most < spread < np.inf else 1e-3 * most or 1.0
    return max(scale, SMALLEST_SCALE)


def step_scales(x: Array) -> Array:
    """Return what the steps of each element are relative to: small ones beside enormous ones have their own."""
    zeros = np.abs(x) < 1e-6 * SMALLEST_SCALE
    sizes = np.sort(np.abs(x[~zeros]))
    if not sizes.size:
        return np.full(x.shape, step_scale(x))
    usual, of_zeros = max(float(sizes[(sizes.size - 1) // 2]), SMALLEST_SCALE), min(float(sizes[0]), 1.0)
    return np.minimum(step_scale(x), np.where(zeros, of_zeros, np.maximum(np.abs(x), usual)))


def least_size(x: Array) -> float:
    """Return the smallest absolute value but zero, as far as it is not a zero beside the constants in a function."""
    return max(float(np.min(np.abs(x[x != 0]), initial=np.inf)) if x.any() else 0.0, SMALLEST_SCALE)


class Slope(NamedTuple):
    """What one step of differences says: the extrapolated slope, and what rounding may do to it."""

    value: float
    rounding: float


class Differences:
    """Extrapolated central differences of ``<cotangent, fn(x)>`` at an input; what directions share is found once."""

    def __init__(self, fn: Function, inputs: Sequence[Array], which: int, cotangent: Array) -> None:
        self.fn, self.cotangent = of_one(fn, inputs, which), cotangent
        self.x = x = inputs[which]
        self.scales = step_scales(x)
        terms = self._terms(x)
        self.here, self.size = float(np.sum(terms)), float(np.sum(np.abs(terms)))
        nudged = self.fn(x + RELATIVE_STEPS[1] * 2**-0.5 * self.scales)
        # Of whole numbers, as those of a floor, no slope is to be found.
        self.hopeless = not np.isfinite(self.size) or bool(nudged.any() and (nudged == np.round(nudged)).all())
        # What the last places of x are worth: far from zero, a step itself is rounded.
        rng = np.random.default_rng(0)
        self.wobble = max(abs(float(np.sum(self._terms(nearby(x, rng)))) - self.here) for _ in range(3))
        # What is inside a function may be float32, which shows in its values, unless x itself has no finer places.
        finer = np.finfo(np.float64).eps * largest(x) < np.finfo(np.float32).eps * largest(nudged)
        self.coarse = bool(finer and (nudged == nudged.astype(np.float32)).all())
        self.unit = 8 * float(np.finfo(np.float32 if self.coarse else np.float64).eps)

    def _terms(self, at: Array) -> Array:
        return self.cotangent * self.fn(at)

    def along(self, direction: Array) -> tuple[float, float]:
        """Return the slope along a direction, and its error bar, which may be infinite.

        Each step is judged by the next smaller one, and only where the slopes come closer: those of steps that jump
        over what a function does grow as the steps shrink. The smallest error bar wins.
        """
        moved = direction != 0
        if not moved.any():
            return 0.0, 0.0
        if self.hopeless:
            return 0.0, np.inf
        x, size, wobble, unit = self.x, self.size, self.wobble, self.unit
        scale = float(np.min(self.scales[moved] / np.abs(direction[moved])))
        reach = float(np.max(np.abs(x[moved] / direction[moved])))  # of x itself, in steps along the direction
        found: list[Slope] = []
        farthest = 0.0
        for relative in RELATIVE_STEPS:
            step = relative * scale
            four = [self._terms(x + t * step * direction) for t in (1, -1, 0.5, -0.5)]
            far, back, near, nearly = (float(np.sum(values)) for values in four)
            if not np.isfinite([far, back, near, nearly]).all():
                continue
            moves = max(abs(v - self.here) for v in (far, back, near, nearly))
            farthest = max(farthest, moves)
            slope = (4 * (near - nearly) / step - (far - back) / (2 * step)) / 3
            most = max(size, *(float(np.sum(np.abs(values))) for values in four))
            found.append(Slope(slope, (unit * (most + abs(slope) * reach) + 2 * wobble) / step))
            if moves == 0 < farthest:
                break  # lost in rounding, as all smaller steps will be
            if not self.coarse and len(found) > 1 and abs(slope - found[-2].value) < ENOUGH * abs(slope):
                break
        # What cancels inside a function may be numbers of order one, which round away what is smaller.
        order_one = float(np.sum(np.abs(self.cotangent)))
        if farthest == 0:
            whole = len(found) == len(RELATIVE_STEPS)
            return 0.0, found[0].rounding + unit * order_one / (RELATIVE_STEPS[0] * scale) if whole else np.inf
        if wobble > 0.01 * farthest > unit * size:
            # Last places of x move the function as far as steps do, or nearly so: no slope is to be found, or noise.
            return 0.0, wobble / (np.finfo(np.float64).eps * largest(x)) if farthest < 1e-12 * order_one else np.inf
        return _most_certain(found)


def _most_certain(found: Sequence[Slope]) -> tuple[float, float]:
    """Return the slope with the smallest error bar, of steps from the largest to the smallest."""
    gaps = [abs(one.value - two.value) for one, two in itertools.pairwise(found)]
    # A gap may be small by luck; where rounding is coarse, as in float32, the next one is ten times larger.
    luckless = [max(gap, following / 10) for gap, following in zip(gaps, [*gaps[1:], 0.0], strict=False)]
    bars = [gap + slope.rounding for gap, slope in zip(luckless, found, strict=False)]
    for i, gap in enumerate(gaps):
        close = gap <= 2 * found[i].rounding or gap <= 1e-3 * abs(found[i].value)
        if not (close or (i > 0 and gap <= gaps[i - 1] / 50)):
            bars[i] = np.inf
    # Steps that jump over what a function does can agree by chance, and smaller ones contradict, as far as they know.
    for i, slope in enumerate(found[:-1]):
        apart = (abs(slope.value - smaller.value) - slope.rounding - smaller.rounding for smaller in found[i + 1 :])
        bars[i] = max(bars[i], *apart)
    bar, value = min(zip(bars, (slope.value for slope in found), strict=False), default=(np.inf, 0.0))
    return value, bar


def is_analytic(fn: Function, inputs: Sequence[Array], cotangent: Array, rng: np.random.Generator) -> bool:
    """Return whether the complex step can be trusted here.

    It lies about functions that use absolute values, conjugates, real parts or comparisons of complex numbers (a
    variance by NumPy among them), and it cannot run functions that refuse complex numbers. So its real part must be the
    function's value, and around small circles the function must turn with its argument, at the slope that the step
    finds: of ``a z + b conj(z)``, that is ``a`` on a circle and ``a - b`` by the step. Where a gradient is null, this
    cannot be seen; another one speaks for it.
    """
    seen: set[Seen] = set()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        real = fn(*inputs)
        for which, x in enumerate(inputs):
            if x.dtype.kind != "f":
                continue
            of_x = of_one(fn, inputs, which)
            for direction in _directions(x, rng):
                try:
                    moved = of_x(x + 1j * COMPLEX_STEP * direction)
                    slope = float(np.imag(inner(cotangent, moved)) / COMPLEX_STEP)
                    seen.add(_seen(of_x, cotangent, x, direction, slope))
                except Exception:
                    return False
                close = np.allclose(moved.real, real, rtol=1e-9, atol=1e-12 * (1 + np.max(np.abs(real), initial=0.0)))
                if not close or "another slope" in seen:
                    return False
    return "the slope" in seen or seen <= {"standstill"}


def _directions(x: Array, rng: np.random.Generator) -> list[Array]:
    """Return random directions that move all of x: what small elements do is lost where enormous ones move as well."""
    scales = step_scales(x)
    thousands = np.log10(scales / np.fmin.reduce(scales, axis=None, initial=np.inf)) // 3
    return [np.where(thousands == one, rng.normal(size=x.shape) * scales, 0.0) for one in np.unique(thousands)]


# The first one often settles it; far from zero, or where a function bends sharply, others know better.
CIRCLES = (1e-7, 1e-6, 1e-4, 1e-2, 1e-1, 1e-9, 1e-11)
ON_A_CIRCLE = np.exp(2j * np.pi * np.arange(8) / 8)

Seen = Literal["the slope", "another slope", "standstill", "noise"]


def _seen(of_x: Callable[[Array], Array], cotangent: Array, x: Array, direction: Array, slope: float) -> Seen:
    """Return at which slope values on circles turn with their argument: that of the complex step, or another.

    What goes round backwards twice or three times is rounding, or a circle so large that it holds a kink or pole. The
    circle on which that leaves least uncertain decides.
    """
    seen: Seen = "noise"
    least, still = np.inf, True
    for radius in CIRCLES:
        moved = radius * direction
        misplaced = largest((x + moved) - x - moved) / (largest(moved) or 1.0)  # rounded away where it is added
        values = np.array([inner(cotangent, of_x(x + turn * moved)) for turn in ON_A_CIRCLE])
        still = still and bool((values == values[0]).all())
        once, *others = (np.mean(values * ON_A_CIRCLE**times) / radius for times in (-1, 2, 3))
        rounding = 64 * np.finfo(np.float64).eps * np.mean(np.abs(values)) / radius
        uncertain = (1e-7 + 10 * misplaced) * abs(once) + 2 * max(map(abs, others)) + rounding
        differs = abs(once - slope) > uncertain
        if (differs or uncertain <= 0.01 * abs(once)) and uncertain < least:
            least, seen = uncertain, "another slope" if differs else "the slope"
            if uncertain <= 1e-6 * abs(once):
                break
    return "standstill" if still else seen


def at_a_kink(fn: Function, inputs: Sequence[Array], which: int, entry: int, cotangent: Array, got: float) -> bool:
    """Return whether the slopes from both sides of an entry differ, and a value lies between them: no mistake, then.

    The sides of a smooth function come closer as the step shrinks; those of a kink do not.
    """
    x, of_x = inputs[which], of_one(fn, inputs, which)
    terms = cotangent * of_x(x)
    here, size = float(np.sum(terms)), float(np.sum(np.abs(terms)))

    def sides(step: float) -> tuple[float, float]:
        found = []
        for distance in (step, -step):
            stepped = x.copy()
            stepped.flat[entry] += distance
            found.append((float(inner(cotangent, of_x(stepped))) - here) / distance)
        return found[0], found[1]

    # Beside enormous elements there are two steps, and the smaller one may be lost in rounding.
    for scale in sorted({float(step_scales(x).flat[entry]), step_scale(x)}):
        step = 1e-5 * scale
        wide, narrow = sides(step), sides(step / 2)
        apart, closer = abs(wide[0] - wide[1]), abs(narrow[0] - narrow[1])
        rounding = 32 * np.finfo(np.float64).eps * size / step
        if closer > 0.75 * apart and closer > 1e-4 * max(map(abs, narrow)) + rounding:
            break
    else:
        return False
    slack = 1e-3 * closer + rounding
    if min(narrow) - slack <= got <= max(narrow) + slack:
        return True
    # Where more than two pieces meet, as three values that are sorted, the one that was taken is met nearby.
    rng, unit = np.random.default_rng(0), np.zeros(x.shape)
    unit.flat[entry] = 1.0
    for _ in range(16):
        beside = [*inputs[:which], x + 1e-3 * step_scales(x) * rng.normal(size=x.shape), *inputs[which + 1 :]]
        slope, bar = Differences(fn, beside, which, cotangent).along(unit)
        if abs(got - slope) <= 10 * bar + slack and np.isfinite(bar):
            return True
    return False


def slopes(
    fn: Function,
    inputs: Sequence[Array],
    which: int,
    entries: Sequence[int],
    cotangent: Array,
    exact: bool,
    stretch: float = 1.0,
) -> tuple[Array, Array]:
    """Return the gradient at some entries of one input, and error bars, which the complex step does not need.

    Directions may be stretched: the slope is the same but for rounding, which falls otherwise.
    """
    found, bars = np.empty(len(entries)), np.zeros(len(entries))
    differences = None if exact else Differences(fn, inputs, which, cotangent)
    for row, entry in enumerate(entries):
        direction = np.zeros(inputs[which].shape)
        direction.flat[entry] = stretch
        if differences is None:
            found[row] = complex_step(fn, inputs, which, direction, cotangent)
        else:
            found[row], bars[row] = differences.along(direction)
    return found / stretch, bars / stretch


def nearby(x: Array, rng: np.random.Generator) -> Array:
    """Return an array that differs by a few units in the last place of its largest value: what rounding makes of it.

    Small values and zeros are moved as far as large ones: sums of them round alike.
    """
    if x.dtype.kind != "f":
        return x
    unit = np.finfo(np.float64).eps * largest(x)
    return x + rng.integers(-4, 5, x.shape) * unit
