"""What a gradient is compared with: the complex step where a function is analytic, central differences elsewhere.

Both look at the real-valued function ``<cotangent, fn(x)>`` along one direction of one input, and neither touches the
caller's arrays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

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


def complex_step(fn: Function, inputs: Sequence[Array], which: int, direction: Array, cotangent: Array) -> float:
    """Return the slope along a direction of one input as ``Im <cotangent, fn(x + i h v)> / h``."""
    stepped = list(inputs)
    stepped[which] = inputs[which] + 1j * COMPLEX_STEP * direction
    return float(np.imag(inner(cotangent, fn(*stepped))) / COMPLEX_STEP)


# Relative to the input's own spread. The smaller ones are for functions that bend sharply, as a normalization of almost
# constant values does; rounding makes them useless elsewhere, and the error bar says which is which.
# The smallest are too small to be certain of a slope, but they contradict steps that jump over whole periods.
RELATIVE_STEPS = (2e-2, 2e-3, 2e-4, 2e-5, 2e-6, 2e-8, 2e-10, 2e-12, 2e-14)


def step_scale(x: Array) -> float:
    """Return what steps are relative to: how far the values of an input spread, or else how large they are.

    A normalization of values far from zero bends on the scale of their spread: a step of a share of their size would
    jump over it, and find slopes of zero that agree with each other.
    """
    largest, spread = float(np.max(np.abs(x), initial=0.0)), float(np.std(x)) if x.size > 1 else 0.0
    return spread if spread > 1e3 * np.finfo(np.float64).eps * largest else 1e-3 * largest or 1.0


def central_difference(
    fn: Function, inputs: Sequence[Array], which: int, direction: Array, cotangent: Array
) -> tuple[float, float]:
    """Return the slope along a direction by extrapolated central differences, and its error bar, the smallest found."""
    x = inputs[which]
    largest = float(np.max(np.abs(x), initial=0.0))
    scale = step_scale(x) / (float(np.max(np.abs(direction), initial=0.0)) or 1.0)
    size = float(np.sum(np.abs(cotangent * fn(*inputs))))

    def value(t: float) -> float:
        stepped = list(inputs)
        stepped[which] = x + t * direction
        return float(inner(cotangent, fn(*stepped)))

    # What the last places of x are worth: far from zero, a step itself is rounded.
    last_places = nearby(x, np.random.default_rng(0))
    wobble = abs(float(inner(cotangent, fn(*inputs[:which], last_places, *inputs[which + 1 :]))) - value(0.0))
    found: list[tuple[float, float, float]] = []
    for relative in RELATIVE_STEPS:
        step = relative * scale
        wide = (value(step) - value(-step)) / (2 * step)
        narrow = (value(step / 2) - value(-step / 2)) / step
        slope = (4 * narrow - wide) / 3
        rounding = float((8 * np.finfo(np.float64).eps * (size + abs(slope) * largest) + 2 * wobble) / step)
        found.append((slope, abs(slope - narrow), rounding))
    best = (np.nan, np.inf)
    for i, (slope, bend, rounding) in enumerate(found):
        # Steps that jump over what a function does can agree with each other; smaller ones, as far as they are certain,
        # say otherwise.
        apart = max((abs(slope - other) - 2 * unsure for other, _, unsure in found[i + 1 :]), default=0.0)
        bar = max(bend, apart) + rounding
        if bar < best[1]:
            best = slope, bar
    return best


def is_analytic(fn: Function, inputs: Sequence[Array], cotangent: Array, rng: np.random.Generator) -> bool:
    """Return whether the complex step can be trusted here.

    It lies about functions that use absolute values, conjugates, real parts or comparisons of complex numbers, and it
    cannot run functions that refuse complex numbers. So its real part must be the function's value, and its slope
    along a random direction must be what differences say.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        for which, x in enumerate(inputs):
            direction = np.asarray(rng.normal(size=x.shape))
            try:
                real = fn(*inputs)
                stepped = list(inputs)
                stepped[which] = x + 1j * COMPLEX_STEP * direction
                moved = np.asarray(fn(*stepped))
                slope = complex_step(fn, inputs, which, direction, cotangent)
            except (TypeError, ValueError, np.exceptions.ComplexWarning):
                return False
            expected, bar = central_difference(fn, inputs, which, direction, cotangent)
            close = np.allclose(moved.real, real, rtol=1e-9, atol=1e-12 * (1 + np.max(np.abs(real), initial=0.0)))
            size = abs(slope) + abs(expected)
            if not (close and abs(slope - expected) <= 1e-5 * size + 10 * bar):
                return False
    return True


def at_a_kink(fn: Function, inputs: Sequence[Array], which: int, entry: int, cotangent: Array, got: float) -> bool:
    """Return whether the slopes from both sides of an entry differ, and a value lies between them: no mistake, then.

    The sides of a smooth function come closer as the step shrinks; those of a kink do not.
    """
    x = inputs[which]
    scale = step_scale(x)
    here = float(inner(cotangent, fn(*inputs)))
    size = float(np.sum(np.abs(cotangent * fn(*inputs))))

    def sides(step: float) -> tuple[float, float]:
        found = []
        for distance in (step, -step):
            stepped = list(inputs)
            stepped[which] = x.copy()
            stepped[which].flat[entry] += distance
            found.append((float(inner(cotangent, fn(*stepped))) - here) / distance)
        return found[0], found[1]

    step = 1e-5 * scale
    wide, narrow = sides(step), sides(step / 2)
    apart, closer = abs(wide[0] - wide[1]), abs(narrow[0] - narrow[1])
    rounding = 32 * np.finfo(np.float64).eps * size / step
    if not (closer > 0.75 * apart and closer > 1e-4 * max(map(abs, narrow)) + rounding):
        return False
    slack = 1e-3 * closer + float(rounding)
    return min(narrow) - slack <= got <= max(narrow) + slack


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
    for row, entry in enumerate(entries):
        direction = np.zeros(inputs[which].shape)
        direction.flat[entry] = stretch
        if exact:
            found[row] = complex_step(fn, inputs, which, direction, cotangent)
        else:
            found[row], bars[row] = central_difference(fn, inputs, which, direction, cotangent)
    return found / stretch, bars / stretch


def nearby(x: Array, rng: np.random.Generator) -> Array:
    """Return an array that differs by a few units in the last place of its largest value: what rounding makes of it.

    Small values and zeros are moved as far as large ones: sums of them round alike.
    """
    unit = np.finfo(np.float64).eps * float(np.max(np.abs(x), initial=0.0))
    return x + rng.integers(-4, 5, x.shape) * unit
