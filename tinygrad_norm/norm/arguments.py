"""What plain arguments must be: sizes, axes, real numbers, dtypes. Each returns what it was given in one form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np


def is_size(value: Any, least: int = 1) -> bool:
    """Return whether a value is an integer, of Python or NumPy, of at least some size; True and 2.0 are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


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
