"""Argument checks of the normalizations.

Each norm calls one of the ``admit`` functions, which check all arguments and return them in the form that the
computation needs. They are built from the checks of single arguments and arrays above them, which return their argument
in a normalized form.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ..engine import ops
from ..engine.tensor import Tensor
from .pattern import Fitted, is_size, parse

# Plain arguments.


def positive(name: str, value: int) -> int:
    """Check that a size is a positive integer and return it."""
    if not is_size(value):
        raise ValueError(f"{name} must be a positive integer, not {value!r}")
    return int(value)


def sizes(name: str, value: int | Sequence[int], least: int = 1) -> tuple[int, ...]:
    """Return a size, or a non-empty sequence of sizes, as a tuple."""
    found = tuple(value) if type(value) is tuple or isinstance(value, Iterable) else (value,)
    if not found or not all(is_size(size, least) for size in found):
        raise ValueError(f"{name} must be an integer >= {least} or a sequence of them, not {value!r}")
    return tuple(map(int, found))


def axis_of(name: str, axis: int, ndim: int) -> int:
    """Return a possibly negative axis as a non-negative one."""
    return int(np.lib.array_utils.normalize_axis_index(integer(name, axis), ndim, name))


def integer(name: str, value: int) -> int:
    """Check that a value is a Python or NumPy integer and return it."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    return int(value)


def real(name: str, value: Any) -> float:
    """Check that a value is a real number, a NumPy scalar or a 0-d array, and return it as a float."""
    number = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(number, bool) or not isinstance(number, Real):
        raise TypeError(f"{name} must be a real number, not {value!r}")
    return float(number)


def finite(name: str, value: Any) -> float:
    """Check that a real number is finite and return it."""
    if not math.isfinite(number := real(name, value)):
        raise ValueError(f"{name} must be finite, not {value!r}")
    return number


def finite_eps(eps: float) -> float:
    """Check that an eps is finite and not negative and return it."""
    number = eps if type(eps) is float else real("eps", eps)
    if not 0 <= number < math.inf:
        raise ValueError(f"eps must be finite and not negative, not {eps!r}")
    return number


def corrections(r_max: float, d_max: float) -> tuple[float, float]:
    """Check the largest corrections of batch renorm, which may be infinite, and return them."""
    r, d = real("r_max", r_max), real("d_max", d_max)
    if not (r >= 1 and d >= 0):
        raise ValueError(f"r_max must be at least 1 and d_max at least 0, not {r_max!r} and {d_max!r}")
    return r, d


def parameter_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the dtype of parameters and running statistics: float16, float32 or float64; float32 for None."""
    found = _floating("dtype", np.float32 if dtype is None else dtype)
    if found.itemsize > 8:
        raise TypeError(f"dtype must be float16, float32 or float64, not {found}")
    return found


def statistics_dtype(stats_dtype: Any) -> np.dtype[Any] | None:
    """Return the dtype in which statistics are computed, or None."""
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


def array(v: Any, name: str) -> Any:
    """Convert to an array; return Tensors and arrays unchanged."""
    if isinstance(v, Tensor) or type(v) is np.ndarray:
        return v
    if isinstance(v, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, and its mask would be lost; fill it first, e.g. with .filled(0)")
    return ops.operand(v)


def floating(x: Any, name: str = "x") -> Any:
    """Check that an array or Tensor has a floating or complex dtype and return it."""
    x = array(x, name)
    if x.dtype.kind not in "fc":
        raise TypeError(f"a normalization requires floating input, not {x.dtype}; convert it with .astype(np.float32)")
    return x


def with_channels(x: Any, norm: str, name: str = "x") -> Any:
    """Check that a floating array or Tensor has a channel axis, the second one, and return it."""
    x = floating(x, name)
    if x.ndim < 2:
        raise ValueError(f"{norm} expects (N, C) or (N, C, ...), got an input of shape {x.shape}")
    return x


def several_values(x: Any, fitted: Fitted, norm: str, what: str) -> None:
    """Raise a ValueError if each mean is over a single value, because the variance is then always 0."""
    if fitted.values_per_mean == 1 and x.size:
        raise ValueError(
            f"{norm} requires more than one {what} to compute statistics, got shape {x.shape}, over axes {fitted.axes}"
        )


def for_statistics(x: Any, stats_dtype: Any = None) -> Any:
    """Return the values in the dtype for statistics: ``stats_dtype``, or at least float32."""
    if stats_dtype is None:
        return ops.astype(x, np.float32) if x.dtype.char == "e" else x
    return ops.astype(x, statistics_dtype(stats_dtype))


def in_shape(x: Any, shape: tuple[int, ...]) -> Any:
    """Reshape if the shape differs; return None unchanged."""
    return x if x is None or x.shape == shape else ops.reshape(x, shape)


def shaped(v: Any, shape: tuple[int, ...], name: str) -> Any:
    """Check that an argument has a shape or is None. A Python number stays a number, because an array would promote."""
    if v is None:
        return None
    found = array(v, name)
    if found.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {found.shape}")
    return found if shape else v


def statistic(v: Any, shape: tuple[int, ...], name: str) -> Any:
    """Return a given mean or variance in the shape of a batch statistic, ``(1, C, 1, ...)``."""
    if v is None:
        return None
    kept, v = (1, shape[1]) + (1,) * (len(shape) - 2), array(v, name)
    return v if v.shape == kept else ops.reshape(shaped(v, shape[1:2], name), kept)


# All arguments of a norm.


class Admitted(NamedTuple):
    """The checked arguments of a normalization.

    Attributes
    ----------
    x : Tensor or array
        The input.
    values : Tensor or array
        ``x`` with the axes of a pattern, in the dtype in which statistics are computed.
    axes : tuple of int
        The axes of ``values`` that statistics run over.
    shape : tuple of int
        The shape of x̂.
    eps : float
    weight, bias : Tensor or array, or None
    beside : tuple of int
        The shape in which ``weight`` and ``bias`` broadcast against x̂.
    mean, var : Tensor or array, or None
        Statistics to use instead of those of the batch.
    """

    x: Any
    values: Any
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    eps: float
    weight: Any = None
    bias: Any = None
    beside: tuple[int, ...] = ()
    mean: Any = None
    var: Any = None


def admitted(x: Any, fitted: Fitted, shape: tuple[int, ...], eps: float, stats_dtype: Any, *others: Any) -> Admitted:
    """Return the arguments for a fitted pattern; ``others``, from ``weight`` on, must be checked already."""
    values = in_shape(for_statistics(x, stats_dtype), fitted.shape)
    return Admitted(x, values, fitted.axes, shape, finite_eps(eps), *others)


def admit(x: Any, pattern: str, lengths: Mapping[str, int], eps: float = 0.0, stats_dtype: Any = None) -> Admitted:
    """Check the arguments of a normalization over a pattern given by the user."""
    x, parsed = floating(x), parse(pattern)
    parsed.leave_free(("eps", "stats_dtype"))
    return admitted(x, parsed.fit(x.shape, lengths), x.shape, eps, stats_dtype)


def admit_weights(norm: str, weight: Any, pattern: str, eps: float) -> Admitted:
    """Check weights, of which each output must have several."""
    weight = floating(weight, "weight")
    fitted = parse(pattern).fit(weight.shape)
    several_values(weight, fitted, norm, "weight for each output")
    return admitted(weight, fitted, weight.shape, eps, None)


def admit_last(
    norm: str, x: Any, normalized_shape: int | Sequence[int], weight: Any, bias: Any, eps: float, stats_dtype: Any
) -> Admitted:
    """Check the arguments of a normalization over the last axes, which are also the axes of ``weight`` and ``bias``."""
    x, own = floating(x), sizes("normalized_shape", normalized_shape, least=0)
    fitted, shape = _over_last(norm, x.shape, own), x.shape
    weight, bias = shaped(weight, own, "weight"), shaped(bias, own, "bias")
    return admitted(x, fitted, shape, eps, stats_dtype, weight, bias, own)


def admit_channels(
    norm: str,
    x: Any,
    pattern: str,
    weight: Any,
    bias: Any,
    eps: float,
    stats_dtype: Any = None,
    mean: Any = None,
    var: Any = None,
    several: str = "",
    **lengths: int,
) -> Admitted:
    """Check (N, C, ...) with ``weight`` and ``bias`` per channel; ``several`` names the values that a mean needs."""
    x = with_channels(x, norm)
    shape = x.shape
    fitted, own, beside = _over_channels(pattern, shape, **lengths)
    if several and (mean is None or var is None):
        several_values(x, fitted, norm, several)
    weight, bias = shaped(weight, own, "weight"), shaped(bias, own, "bias")
    mean, var = statistic(mean, shape, "mean"), statistic(var, shape, "var")
    return admitted(x, fitted, shape, eps, stats_dtype, weight, bias, beside, mean, var)


def admit_groups(
    norm: str, x: Any, pattern: str, num_groups: int, weight: Any, bias: Any, eps: float, stats_dtype: Any
) -> Admitted:
    """Check (N, C, ...) with groups of channels."""
    x = with_channels(x, norm)
    if not is_size(num_groups) or x.shape[1] % num_groups:
        raise ValueError(
            f"num_groups must be a positive integer that divides the {x.shape[1]} channels, not {num_groups!r}"
        )
    return admit_channels(norm, x, pattern, weight, bias, eps, stats_dtype, g=int(num_groups))


def admit_parts(norm: str, x: Any, pattern: str, size: int, weight: Any, bias: Any, eps: float) -> Admitted:
    """Check (N, C, ...) with virtual batches."""
    x, size = with_channels(x, norm), positive("virtual_batch_size", size)
    if x.shape[0] % size:
        raise ValueError(f"virtual_batch_size={size} does not divide the batch of {x.shape[0]}")
    return admit_channels(norm, x, pattern, weight, bias, eps, several="value per channel", n=size)


@lru_cache(maxsize=4096)
def _over_channels(
    pattern: str, shape: tuple[int, ...], **lengths: int
) -> tuple[Fitted, tuple[int, ...], tuple[int, ...]]:
    """Return the fitted pattern, the shape of parameters per channel, and the shape in which they broadcast to x."""
    return parse(pattern).fit(shape, lengths), shape[1:2], shape[1:2] + (1,) * (len(shape) - 2)


@lru_cache(maxsize=4096)
def _over_last(norm: str, shape: tuple[int, ...], own: tuple[int, ...]) -> Fitted:
    """Fit ``... d0 d1 -> ...`` to a shape, which must end with ``own``."""
    if shape[-len(own) :] != own:
        wanted = f"(..., {', '.join(map(str, own))})"
        raise ValueError(f"{norm} over normalized_shape {own} expects an input of shape {wanted}, got {shape}")
    return parse(f"... {' '.join(f'd{i}' for i in range(len(own)))} -> ...").fit(shape)
