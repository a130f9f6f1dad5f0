"""The complex step: the exact slope of ``<cotangent, fn(x)>`` along a direction, for analytic functions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from ..engine.operators import Array
from .scales import Function, inner, largest, of_one, step_scales

# So small that the square of the step vanishes beside 1 and x. Nothing is subtracted, so the result is exact up to
# rounding.
COMPLEX_STEP = 1e-100


def complex_step(fn: Function, inputs: Sequence[Array], which: int, direction: Array, cotangent: Array) -> float:
    """Return the slope along a direction of one input as ``Im <cotangent, fn(x + i h v)> / h``."""
    stepped = of_one(fn, inputs, which)(inputs[which] + 1j * COMPLEX_STEP * direction)
    return float(np.imag(inner(cotangent, stepped)) / COMPLEX_STEP)


def is_analytic(fn: Function, inputs: Sequence[Array], cotangent: Array, rng: np.random.Generator) -> bool:
    """Return whether the complex step can be trusted here.

    It is wrong for functions that use absolute values, conjugates, real parts or comparisons of complex numbers, such
    as NumPy's variance, and impossible for functions that refuse complex numbers. So there are two tests: its real part
    must be the function's value, and on small circles the function must turn with its argument, at the slope that the
    step finds. For ``a z + b conj(z)`` the circle gives ``a`` and the step ``a - b``. A gradient that is zero does not
    show this; then the gradients of other inputs decide.
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
                except Exception:  # from the function, which need not take complex numbers
                    return False
                close = np.allclose(moved.real, real, rtol=1e-9, atol=1e-12 * (1 + np.max(np.abs(real), initial=0.0)))
                if not close or "another slope" in seen:
                    return False
    return "the slope" in seen or seen <= {"standstill"}


def _directions(x: Array, rng: np.random.Generator) -> list[Array]:
    """Return random directions that together move all of x. Small and enormous elements move separately."""
    scales = step_scales(x)
    thousands = np.log10(scales / np.fmin.reduce(scales, axis=None, initial=np.inf)) // 3
    return [np.where(thousands == one, rng.normal(size=x.shape) * scales, 0.0) for one in np.unique(thousands)]


# The first radius often decides. Far from zero, or for functions that bend sharply, others are better.
CIRCLES = (1e-7, 1e-6, 1e-4, 1e-2, 1e-1, 1e-9, 1e-11)
ON_A_CIRCLE = np.exp(2j * np.pi * np.arange(8) / 8)

Seen = Literal["the slope", "another slope", "standstill", "noise"]


def _seen(of_x: Callable[[Array], Array], cotangent: Array, x: Array, direction: Array, slope: float) -> Seen:
    """Return whether values on circles turn with their argument at the slope of the complex step, or at another.

    Higher frequencies are due to rounding, or to a circle so large that it contains a kink or a pole. The circle with
    the least uncertainty decides.
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
