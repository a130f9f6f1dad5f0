"""How large the values of an array are, and steps relative to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..engine.operators import Array

Function = Callable[..., Array]


def generator(seed: int | None) -> np.random.Generator:
    """Return random numbers that differ from those of ``default_rng(seed)``, which may have made the caller's inputs.

    A cotangent equal to ``x`` hides any fault of a normalization's variance path: there the true gradient vanishes.
    """
    return np.random.default_rng(None if seed is None else [seed, 1502_03167])


def copied(x: Array, dtype: Any = None) -> Array:
    """Return a copy; of an array with gaps between its elements, one with gaps."""
    if x.flags.forc:
        return x.astype(dtype or x.dtype)
    return np.asanyarray(np.repeat(x, 2, axis=-1).astype(dtype or x.dtype)[..., ::2])


def inner(cotangent: Array, y: Array) -> Any:
    """Return ``<cotangent, y>``."""
    return np.sum(cotangent * y)


def of_one(fn: Function, inputs: Sequence[Array], which: int) -> Callable[[Array], Array]:
    """Return a function of one of its inputs, the others as they are."""
    return lambda x: np.asarray(fn(*inputs[:which], x, *inputs[which + 1 :]))


def largest(values: Array) -> float:
    """Return the largest finite absolute value, or 0."""
    return float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))


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


def nearby(x: Array, rng: np.random.Generator, eps: float = float(np.finfo(np.float64).eps)) -> Array:
    """Return an array that differs by a few units in the last place of its largest value: what rounding makes of it.

    Small values and zeros are moved as far as large ones: sums of them round alike.
    """
    return x + rng.integers(-4, 5, x.shape) * (eps * largest(x)) if x.dtype.kind in "fc" else x
