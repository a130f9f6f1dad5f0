"""What normalizations ask of their arguments, checked at the public edge.

A norm enters once: ``admit`` and its sisters check everything and return what the mathematics needs. Before them stand
the checks that they are made of, of plain arguments and of arrays; each returns what it was given in one form.
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
    """Return a size that is a positive integer."""
    if not is_size(value):
        raise ValueError(f"{name} must be a positive integer, not {value!r}")
    return int(value)


def sizes(name: str, value: int | Sequence[int], least: int = 1) -> tuple[int, ...]:
    """Return a size, or a sequence of at least one, as a tuple."""
    found = tuple(value) if type(value) is tuple or isinstance(value, Iterable) else (value,)
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
    number = eps if type(eps) is float else real("eps", eps)
    if not 0 <= number < math.inf:
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


def array(v: Any, name: str) -> Any:
    """Return a Tensor or an array as it is, anything else as an array."""
    if isinstance(v, Tensor) or type(v) is np.ndarray:
        return v
    if isinstance(v, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, and its mask would be lost; fill it first, as with .filled(0)")
    return ops.operand(v)


def floating(x: Any, name: str = "x") -> Any:
    """Return an array or Tensor of floats, or of complex numbers, as it is."""
    x = array(x, name)
    if x.dtype.kind not in "fc":
        raise TypeError(f"a normalization needs floating input, not {x.dtype}; convert it with .astype(np.float32)")
    return x


def with_channels(x: Any, norm: str, name: str = "x") -> Any:
    """Return an array or Tensor of floats whose second axis are the channels."""
    x = floating(x, name)
    if x.ndim < 2:
        raise ValueError(f"{norm} expects (N, C) or (N, C, ...), got an input of shape {x.shape}")
    return x


def several_values(x: Any, fitted: Fitted, norm: str, what: str) -> None:
    """Refuse an input that has one value for each mean: its variance says nothing."""
    if fitted.values_per_mean == 1 and x.size:
        raise ValueError(
            f"{norm} needs more than one {what} to have statistics: shape {x.shape}, over axes {fitted.axes}"
        )


def for_statistics(x: Any, stats_dtype: Any = None) -> Any:
    """Return the values in the dtype that statistics are computed in: at least float32."""
    if stats_dtype is None:
        return ops.astype(x, np.float32) if x.dtype.char == "e" else x
    return ops.astype(x, statistics_dtype(stats_dtype))


def in_shape(x: Any, shape: tuple[int, ...]) -> Any:
    """Return the elements in a shape, recorded only where it differs; what is absent stays so."""
    return x if x is None or x.shape == shape else ops.reshape(x, shape)


def shaped(v: Any, shape: tuple[int, ...], name: str) -> Any:
    """Return something that is absent or has a shape; a plain number stays one, because an array would promote."""
    if v is None:
        return None
    found = array(v, name)
    if found.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {found.shape}")
    return found if shape else v


def statistic(v: Any, shape: tuple[int, ...], name: str) -> Any:
    """Return a mean or variance given per channel in the shape that the own one of such a batch would have."""
    if v is None:
        return None
    kept, v = (1, shape[1]) + (1,) * (len(shape) - 2), array(v, name)
    return v if v.shape == kept else ops.reshape(shaped(v, shape[1:2], name), kept)


# The door.


class Admitted(NamedTuple):
    """All that the mathematics of a normalization needs, checked.

    Attributes
    ----------
    x : Tensor or array
        As it was given.
    values : Tensor or array
        ``x`` in the axes of a pattern, in the dtype that statistics are computed in.
    axes : tuple of int
        The axes of ``values`` that statistics run over.
    shape : tuple of int
        The shape of x̂.
    eps : float
    weight, bias : Tensor or array, or None
    beside : tuple of int
        The shape in which ``weight`` and ``bias`` stand beside x̂.
    mean, var : Tensor or array, or None
        Statistics to use instead of the batch's own.
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
    """Admit what a pattern has been fitted to; the others, from ``weight`` on, are known to fit."""
    values = in_shape(for_statistics(x, stats_dtype), fitted.shape)
    return Admitted(x, values, fitted.axes, shape, finite_eps(eps), *others)


def admit(x: Any, pattern: str, lengths: Mapping[str, int], eps: float = 0.0, stats_dtype: Any = None) -> Admitted:
    """Admit what is normalized over a pattern of the user's own."""
    x, parsed = floating(x), parse(pattern)
    parsed.leave_free(("eps", "stats_dtype"))
    return admitted(x, parsed.fit(x.shape, lengths), x.shape, eps, stats_dtype)


def admit_weights(norm: str, weight: Any, pattern: str, eps: float) -> Admitted:
    """Admit weights, several for each output."""
    weight = floating(weight, "weight")
    fitted = parse(pattern).fit(weight.shape)
    several_values(weight, fitted, norm, "weight for each output")
    return admitted(weight, fitted, weight.shape, eps, None)


def admit_last(
    norm: str, x: Any, normalized_shape: int | Sequence[int], weight: Any, bias: Any, eps: float, stats_dtype: Any
) -> Admitted:
    """Admit what is normalized over its last axes, which ``weight`` and ``bias`` have too."""
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
    """Admit (N, C, ...) with ``weight`` and ``bias`` per channel; ``several`` names that of which one is not enough."""
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
    """Admit (N, C, ...) whose channels are in groups."""
    x = with_channels(x, norm)
    if not is_size(num_groups) or x.shape[1] % num_groups:
        raise ValueError(
            f"num_groups must be a positive integer that divides the {x.shape[1]} channels, not {num_groups!r}"
        )
    return admit_channels(norm, x, pattern, weight, bias, eps, stats_dtype, g=int(num_groups))


def admit_parts(norm: str, x: Any, pattern: str, size: int, weight: Any, bias: Any, eps: float) -> Admitted:
    """Admit (N, C, ...) whose batch falls into virtual ones."""
    x, size = with_channels(x, norm), positive("virtual_batch_size", size)
    if x.shape[0] % size:
        raise ValueError(f"virtual_batch_size={size} does not divide the batch of {x.shape[0]}")
    return admit_channels(norm, x, pattern, weight, bias, eps, several="value per channel", n=size)


@lru_cache(maxsize=4096)
def _over_channels(
    pattern: str, shape: tuple[int, ...], **lengths: int
) -> tuple[Fitted, tuple[int, ...], tuple[int, ...]]:
    """Return the pattern on a shape, the shape of what is given per channel, and that in which it stands beside x."""
    return parse(pattern).fit(shape, lengths), shape[1:2], shape[1:2] + (1,) * (len(shape) - 2)


@lru_cache(maxsize=4096)
def _over_last(norm: str, shape: tuple[int, ...], own: tuple[int, ...]) -> Fitted:
    """Return ``... d0 d1 -> ...`` on a shape, which must end with the given one."""
    if shape[-len(own) :] != own:
        wanted = f"(..., {', '.join(map(str, own))})"
        raise ValueError(f"{norm} over normalized_shape {own} expects an input of shape {wanted}, got {shape}")
    return parse(f"... {' '.join(f'd{i}' for i in range(len(own)))} -> ...").fit(shape)
