"""What normalizations ask of arrays and Tensors, checked at the public edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine import ops
from .arguments import is_size, sizes, statistics_dtype
from .pattern import Fitted


def floating(x: Any) -> Any:
    """Return an array or Tensor of floats, or of complex numbers, as it is."""
    x = ops.operand(x)
    if x.dtype.kind not in "fc":
        raise TypeError(f"a normalization needs floating input, not {x.dtype}; convert it with .astype(np.float32)")
    return x


def with_channels(x: Any, name: str) -> Any:
    """Return an array or Tensor of floats whose second axis are the channels."""
    x = floating(x)
    if x.ndim < 2:
        raise ValueError(f"{name} expects (N, C) or (N, C, ...), got an input of shape {x.shape}")
    return x


def several_values(x: Any, fitted: Fitted, name: str, what: str) -> None:
    """Refuse an input that has one value for each mean: its variance says nothing."""
    if x.size and fitted.values_per_mean == 1:
        raise ValueError(
            f"{name} needs more than one {what} to have statistics: shape {x.shape}, over axes {fitted.axes}"
        )


def for_statistics(x: Any, stats_dtype: Any = None) -> Any:
    """Return the values in the dtype that statistics are computed in: at least float32."""
    if stats_dtype is None:
        stats_dtype = np.float32 if x.dtype == np.float16 else x.dtype
    else:
        stats_dtype = statistics_dtype(stats_dtype)
    return ops.astype(x, stats_dtype)


def groups_of(channels: int, num_groups: int) -> int:
    """Return a number of groups that divides the channels."""
    if not is_size(num_groups) or channels % num_groups:
        raise ValueError(
            f"num_groups must be a positive integer that divides the {channels} channels, not {num_groups!r}"
        )
    return int(num_groups)


def shaped(v: Any, shape: tuple[int, ...], name: str) -> Any:
    """Return something that is absent or has a shape."""
    if v is not None and ops.operand(v).shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {ops.operand(v).shape}")
    return v


def per_channel(v: Any, x: Any, name: str) -> Any:
    """Return something given per channel so that it broadcasts against ``x``."""
    if v is None:
        return None
    v = shaped(ops.operand(v), x.shape[1:2], name)
    return v if x.ndim == 2 else ops.reshape(v, x.shape[1:2] + (1,) * (x.ndim - 2))


def per_sample_channel(v: Any, x: Any, name: str) -> Any:
    """Return something given per sample and channel so that it broadcasts against ``x``."""
    v = shaped(ops.operand(v), x.shape[:2], name)
    return v if x.ndim == 2 else ops.reshape(v, x.shape[:2] + (1,) * (x.ndim - 2))


def as_statistic(v: Any, x: Any, name: str) -> Any:
    """Return a given mean or variance in the shape that the batch's own would have."""
    if v is None:
        return None
    kept = (1, x.shape[1]) + (1,) * (x.ndim - 2)
    return v if ops.operand(v).shape == kept else ops.reshape(per_channel(v, x, name), kept)


def ending_shape(x: Any, normalized_shape: int | Sequence[int], name: str) -> tuple[int, ...]:
    """Return the normalized shape, which the shape of ``x`` must end with."""
    shape = sizes("normalized_shape", normalized_shape, least=0)
    if x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{name} over normalized_shape {shape} expects an input of shape (..., {', '.join(map(str, shape))}), "
            f"got {x.shape}"
        )
    return shape
