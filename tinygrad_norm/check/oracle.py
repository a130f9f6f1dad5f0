"""The complex step, where a function is analytic: the slope of ``<cotangent, fn(x)>`` along a direction, exactly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from ..engine.operators import Array
from .scales import Function, inner, largest, of_one, step_scales

# So small that the square of the step vanishes beside 1 and beside x itself, and nothing is subtracted: the result is
# exact to rounding.
COMPLEX_STEP = 1e-100


def complex_step(fn: Function, inputs: Sequence[Array], which: int, direction: Array, cotangent: Array) -> float:
    """Return the slope along a direction of one input as ``Im <cotangent, fn(x + i h v)> / h``."""
    stepped = of_one(fn, inputs, which)(inputs[which] + 1j * COMPLEX_STEP * direction)
    return float(np.imag(inner(cotangent, stepped)) / COMPLEX_STEP)


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
                except Exception:  # of the function, which need not take complex numbers
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
