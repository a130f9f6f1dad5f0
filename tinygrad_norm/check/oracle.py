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
RELATIVE_STEPS = (2e-2, 2e-3, 2e-4, 2e-5, 2e-6)


def central_difference(
    fn: Function, inputs: Sequence[Array], which: int, direction: Array, cotangent: Array
) -> tuple[float, float]:
    """Return the slope along a direction by extrapolated central differences, and its error bar, the smallest found."""
    x = inputs[which]
    largest = float(np.max(np.abs(x), initial=0.0))
    spread = float(np.std(x)) if x.size > 1 else 0.0
    scale = (max(spread, 1e-3 * largest) or 1.0) / (float(np.max(np.abs(direction), initial=0.0)) or 1.0)
    size = float(np.sum(np.abs(cotangent * fn(*inputs))))

    def value(t: float) -> float:
        stepped = list(inputs)
        stepped[which] = x + t * direction
        return float(inner(cotangent, fn(*stepped)))

    best = (np.nan, np.inf)
    for relative in RELATIVE_STEPS:
        step = relative * scale
        wide = (value(step) - value(-step)) / (2 * step)
        narrow = (value(step / 2) - value(-step / 2)) / step
        slope = (4 * narrow - wide) / 3
        rounding = 8 * np.finfo(np.float64).eps * (size + abs(slope) * largest) / step
        bar = abs(slope - narrow) + rounding
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


def slopes(
    fn: Function, inputs: Sequence[Array], which: int, entries: Sequence[int], cotangent: Array, exact: bool
) -> tuple[Array, Array]:
    """Return the gradient at some entries of one input, and error bars, which the complex step does not need."""
    found, bars = np.empty(len(entries)), np.zeros(len(entries))
    for row, entry in enumerate(entries):
        direction = np.zeros(inputs[which].shape)
        direction.flat[entry] = 1.0
        if exact:
            found[row] = complex_step(fn, inputs, which, direction, cotangent)
        else:
            found[row], bars[row] = central_difference(fn, inputs, which, direction, cotangent)
    return found, bars


def nearby(x: Array, rng: np.random.Generator) -> Array:
    """Return an array that differs by a few units in the last place: what rounding might have made of it."""
    return x * (1 + rng.integers(-4, 5, x.shape) * np.finfo(np.float64).eps)
