"""The gradients of the classic norms as textbooks give them: in closed form, in NumPy, as oracles.

Nothing here is used by the package, whose gradients come from compositions.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class ClosedForm(NamedTuple):
    """The output of a norm, and the gradients for a cotangent of it."""

    y: Array
    x: Array
    weight: Array
    bias: Array


def standardize(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """Return ``x̂`` and the standard deviation it was divided by."""
    centred = x - x.mean(axes, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axes, keepdims=True) + eps)
    return centred / deviation, deviation


def through_standardize(g: Array, normalized: Array, deviation: Array, axes: tuple[int, ...]) -> Array:
    """Ioffe and Szegedy 2015, section 3, simplified: ``(g - mean(g) - x̂ mean(g x̂)) / σ``."""
    return (g - g.mean(axes, keepdims=True) - normalized * (g * normalized).mean(axes, keepdims=True)) / deviation


def _affine(g: Array, x: Array, axes: tuple[int, ...], weight: Array, bias: Array, eps: float) -> ClosedForm:
    """Standardize over ``axes``; ``weight`` and ``bias`` have as many axes as ``x``, of size 1 where they repeat."""
    repeated = tuple(i for i in range(x.ndim) if weight.shape[i] != x.shape[i])
    normalized, deviation = standardize(x, axes, eps)
    return ClosedForm(
        normalized * weight + bias,
        through_standardize(g * weight, normalized, deviation, axes),
        (g * normalized).sum(repeated, keepdims=True),
        g.sum(repeated, keepdims=True),
    )


def _per_channel(g: Array, x: Array, axes: tuple[int, ...], weight: Array, bias: Array, eps: float) -> ClosedForm:
    channels = (1, -1) + (1,) * (x.ndim - 2)
    found = _affine(g, x, axes, weight.reshape(channels), bias.reshape(channels), eps)
    return found._replace(weight=found.weight.reshape(-1), bias=found.bias.reshape(-1))


def batch_norm(g: Array, x: Array, weight: Array, bias: Array, eps: float) -> ClosedForm:
    return _per_channel(g, x, (0, *range(2, x.ndim)), weight, bias, eps)


def instance_norm(g: Array, x: Array, weight: Array, bias: Array, eps: float) -> ClosedForm:
    return _per_channel(g, x, tuple(range(2, x.ndim)), weight, bias, eps)


def layer_norm(g: Array, x: Array, weight: Array, bias: Array, eps: float) -> ClosedForm:
    """``normalized_shape`` is the shape of ``weight``."""
    lead = (1,) * (x.ndim - weight.ndim)
    axes = tuple(range(len(lead), x.ndim))
    found = _affine(g, x, axes, weight.reshape(lead + weight.shape), bias.reshape(lead + bias.shape), eps)
    return found._replace(weight=found.weight.reshape(weight.shape), bias=found.bias.reshape(bias.shape))


def group_norm(g: Array, x: Array, weight: Array, bias: Array, eps: float, num_groups: int) -> ClosedForm:
    """Each group as one row of all its values; the affine step per channel."""
    channels = (1, -1) + (1,) * (x.ndim - 2)
    rows = (x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)
    normalized, deviation = standardize(x.reshape(rows), (2,), eps)
    dx = through_standardize((g * weight.reshape(channels)).reshape(rows), normalized, deviation, (2,))
    normalized, others = normalized.reshape(x.shape), (0, *range(2, x.ndim))
    y = normalized * weight.reshape(channels) + bias.reshape(channels)
    return ClosedForm(y, dx.reshape(x.shape), (g * normalized).sum(others), g.sum(others))


def rms_norm(g: Array, x: Array, weight: Array, bias: Array, eps: float) -> ClosedForm:
    """Zhang and Sennrich 2019: as layer norm, but no mean is subtracted; there is no bias, and its gradient is empty."""
    lead = x.ndim - weight.ndim
    axes = tuple(range(lead, x.ndim))
    root = np.sqrt((x**2).mean(axes, keepdims=True) + eps)
    normalized, scaled = x / root, g * weight
    dx = (scaled - normalized * (scaled * normalized).mean(axes, keepdims=True)) / root
    return ClosedForm(normalized * weight, dx, (g * normalized).sum(tuple(range(lead))), np.zeros(0))
