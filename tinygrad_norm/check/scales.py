"""How large the values of an array are, and steps relative to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..engine.operators import Array

Function = Callable[..., Array]


def generator(seed: int | None) -> np.random.Generator:
    """Return a generator unlike ``default_rng(seed)``, which may have made the caller's inputs.

    A cotangent equal to ``x`` would hide faults in the variance path of a normalization, because the true gradient
    vanishes there.
    """
    return np.random.default_rng(None if seed is None else [seed, 1502_03167])


def copied(x: Array, dtype: Any = None) -> Array:
    """Return a copy. The copy of a strided array is strided, too."""
    if x.flags.forc:
        return x.astype(dtype or x.dtype)
    return np.asanyarray(np.repeat(x, 2, axis=-1).astype(dtype or x.dtype)[..., ::2])


def inner(cotangent: Array, y: Array) -> Any:
    """Return ``<cotangent, y>``."""
    return np.sum(cotangent * y)


def of_one(fn: Function, inputs: Sequence[Array], which: int) -> Callable[[Array], Array]:
    """Return a function of one input, with the others fixed."""
    return lambda x: np.asarray(fn(*inputs[:which], x, *inputs[which + 1 :]))


def largest(values: Array) -> float:
    """Return the largest finite absolute value, or 0."""
    return float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))


SMALLEST_SCALE = 1e-6
"""Smaller inputs count as zero beside the constants in a function: steps relative to them would be rounded away."""


def step_scale(x: Array) -> float:
    """Return the scale of steps: the spread of the values of an input or, without spread, their size.

    A normalization of values far from zero varies on the scale of their spread. Steps relative to their size would jump
    over that, and find slopes of zero that agree with each other.
    """
    most, spread = largest(x), float(np.std(x)) if x.size > 1 else 0.0
    scale = spread if 1e3 * np.finfo(np.float64).eps * most < spread < np.inf else 1e-3 * most or 1.0
    return max(scale, SMALLEST_SCALE)


def step_scales(x: Array) -> Array:
    """Return the scale of steps for each element: small elements next to enormous ones have a smaller scale."""
    zeros = np.abs(x) < 1e-6 * SMALLEST_SCALE
    sizes = np.sort(np.abs(x[~zeros]))
    if not sizes.size:
        return np.full(x.shape, step_scale(x))
    usual, of_zeros = max(float(sizes[(sizes.size - 1) // 2]), SMALLEST_SCALE), min(float(sizes[0]), 1.0)
    return np.minimum(step_scale(x), np.where(zeros, of_zeros, np.maximum(np.abs(x), usual)))


def least_size(x: Array) -> float:
    """Return the smallest nonzero absolute value, but at least SMALLEST_SCALE."""
    return max(float(np.min(np.abs(x[x != 0]), initial=np.inf)) if x.any() else 0.0, SMALLEST_SCALE)


def nearby(x: Array, rng: np.random.Generator, eps: float = float(np.finfo(np.float64).eps)) -> Array:
    """Return an array that differs by a few units in the last place of its largest value, as after rounding.

    Small values and zeros move as far as large ones, because sums of them round alike.
    """
    return x + rng.integers(-4, 5, x.shape) * (eps * largest(x)) if x.dtype.kind in "fc" else x
