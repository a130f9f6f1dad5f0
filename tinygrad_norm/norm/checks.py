"""What normalizations ask of their arguments, checked at the public edge.

Each function returns what it was given in one form: first plain arguments, sizes and real numbers and dtypes, then
arrays and Tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from ..engine import ops
from .pattern import Fitted, is_size

# Plain arguments.


def positive(name: str, value: int) -> int:
    """Return a size that is a positive integer."""
    if not is_size(value):
        raise ValueError(f"{name} must be a positive integer, not {value!r}")
    return int(value)


def sizes(name: str, value: int | Sequence[int], least: int = 1) -> tuple[int, ...]:
    """Return a size, or a sequence of at least one, as a tuple."""
    found = tuple(value) if isinstance(value, Iterable) else (value,)
    if not found or not all(is_size(size, least) for size in found):
        raise ValueError(f"{name} must be an integer of at least {least} or a sequence of them, not {value!r}")
    return tuple(map(int, found))


def axis_of(name: str, axis: int, ndim: int) -> int:
    """Return an axis, counted from the end if it is negative, as a non-negative one."""
    return int(np.lib.array_utils.normalize_axis_index(integer(name, axis), ndim, name))


def integer(name: str, value: int) -> int:
    """Return an integer of Python or NumPy."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    return int(value)


def real(name: str, value: Any) -> float:
    """Return a real number, which may be a NumPy scalar or an array without axes."""
    number = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(number, bool) or not isinstance(number, Real):
        raise TypeError(f"{name} must be a real number, not {value!r}")
    return float(number)


def finite(name: str, value: Any) -> float:
    """Return a real number that is finite."""
    if not math.isfinite(number := real(name, value)):
        raise ValueError(f"{name} must be finite, not {value!r}")
    return number


def finite_eps(eps: float) -> float:
    """Return an eps that is finite and not negative."""
    number = real("eps", eps)
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"eps must be finite and not negative, not {eps!r}")
    return number


def corrections(r_max: float, d_max: float) -> tuple[float, float]:
    """Return the largest corrections of batch renorm; infinite ones leave it free."""
    r, d = real("r_max", r_max), real("d_max", d_max)
    if not (r >= 1 and d >= 0):
        raise ValueError(f"r_max must be at least 1 and d_max at least 0, not {r_max!r} and {d_max!r}")
    return r, d


def parameter_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the dtype of parameters and running statistics: one that has gradients, float32 for None."""
    found = _floating("dtype", np.float32 if dtype is None else dtype)
    if found.itemsize > 8:
        raise TypeError(f"dtype must be float16, float32 or float64, not {found}")
    return found


def statistics_dtype(stats_dtype: Any) -> np.dtype[Any] | None:
    """Return the dtype that statistics are computed in, where one is given."""
    return None if stats_dtype is None else _floating("stats_dtype", stats_dtype)


def _floating(name: str, dtype: Any) -> np.dtype[Any]:
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{name} must be a floating dtype, not {dtype!r}") from None
    if found.kind != "f":
        raise TypeError(f"{name} must be a floating dtype, not {found}")
    return found


# Arrays and Tensors.


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
