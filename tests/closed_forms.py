"""The gradients of the classic norms as textbooks give them: in closed form, in NumPy, as oracles.

A norm over ``(n, c, ...)`` is described by which elements share a statistic and which share a parameter: by a number
for each element. Averages and sums over equal numbers are all that the closed forms need: no patterns, no axes,
nothing shared with the package, whose gradients come from compositions.
Group norm has two groups; layer and RMS norm run over all axes but the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

STATISTICS: dict[str, Callable[[Array, int], Array]] = {
    "batch_norm": lambda index, channels: index[1],
    "layer_norm": lambda index, channels: index[0],
    "instance_norm": lambda index, channels: index[0] * channels + index[1],
    "group_norm": lambda index, channels: index[0] * 2 + index[1] // (channels // 2),
    "rms_norm": lambda index, channels: index[0],
}
PER_FEATURE = ("layer_norm", "rms_norm")


class ClosedForm(NamedTuple):
    """The output of a norm, and the gradients for a cotangent of it."""

    y: Array
    x: Array
    weight: Array
    bias: Array


def labels(name: str, shape: Shape) -> Array:
    """Return a number for each element: elements with the same number share their mean and variance."""
    return STATISTICS[name](np.indices(shape), shape[1])


def averages(name: str, a: Array) -> Array:
    """Return the average over what shares a statistic, at each element."""
    label = labels(name, a.shape)
    return (np.bincount(label.ravel(), a.ravel()) / np.bincount(label.ravel()))[label]


def parameter_shape(name: str, shape: Shape) -> Shape:
    return shape[1:] if name in PER_FEATURE else shape[1:2]


def inputs_of(name: str, shape: Shape, rng: np.random.Generator, dtype: Any = np.float64) -> list[Array]:
    """Return a random ``x``, ``weight`` and, where the norm has one, ``bias``."""
    parameter = parameter_shape(name, shape)
    shapes = [shape, parameter] if name == "rms_norm" else [shape, parameter, parameter]
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def closed_form(name: str, g: Array, inputs: Sequence[Array], eps: float) -> ClosedForm:
    """Return ``dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) / σ``, ``dγ = Σ g x̂``, ``dβ = Σ g``.

    Ioffe and Szegedy 2015, section 3, simplified. RMS norm subtracts no mean, so neither does its gradient; its bias is
    zero.
    """
    x, weight, *rest = inputs
    (bias,) = rest or [np.zeros_like(weight)]
    numbers = np.arange(x[0].size).reshape(x.shape[1:]) if name in PER_FEATURE else np.indices(x.shape)[1]
    parameter = np.broadcast_to(numbers, x.shape)

    def total(a: Array) -> Array:
        return np.bincount(parameter.ravel(), a.ravel()).reshape(weight.shape)

    def deviations(a: Array) -> Array:
        return a if name == "rms_norm" else a - averages(name, a)

    sigma = np.sqrt(averages(name, deviations(x) ** 2) + eps)
    normalized = deviations(x) / sigma
    scaled = g * weight.ravel()[parameter]
    dx = (deviations(scaled) - normalized * averages(name, scaled * normalized)) / sigma
    y = normalized * weight.ravel()[parameter] + bias.ravel()[parameter]
    return ClosedForm(y, dx, total(g * normalized), total(g))
