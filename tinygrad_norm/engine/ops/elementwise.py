"""Elementwise primitives beyond the core.

Forward functions also take complex arrays, for the complex-step oracle: analytic ones as NumPy does, the piecewise
ones by branching on the real part, so that a step along the imaginary axis stays on its branch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..operators import FUNCTIONS, Array, plain
from ..primitive import Primitive
from ..tensor import Tensor, frozen, record
from .core import binary, unary, where

sqrt = unary("sqrt", "√", np.sqrt, ("g / (2 * y)", lambda g, y, x: g / (2 * y)))
exp = unary("exp", "exp", np.exp, ("g * y", lambda g, y, x: g * y))
log = unary("log", "log", np.log, ("g / x", lambda g, y, x: g / x))
log1p = unary("log1p", "log(1+ )", np.log1p, ("g / (1 + x)", lambda g, y, x: g / (1 + x)))
expm1 = unary("expm1", "exp( )−1", np.expm1, ("g * (1 + y)", lambda g, y, x: g * (1 + y)))
sin = unary("sin", "sin", np.sin, ("g * cos(x)", lambda g, y, x: g * np.cos(x)))
cos = unary("cos", "cos", np.cos, ("-g * sin(x)", lambda g, y, x: -g * np.sin(x)))


def _sigmoid_forward(x: Array) -> Any:
    # The exponent is never positive, so nothing overflows.
    e = np.exp(np.where(x.real >= 0, -x, x))
    return np.where(x.real >= 0, 1, e) / (1 + e)


sigmoid = unary("sigmoid", "sigmoid", _sigmoid_forward, ("g * y * (1 - y)", lambda g, y, x: g * (y * (1 - y))))

_SQRT_OF_4_OVER_PI = 2 / math.sqrt(math.pi)


def _erf_forward(x: Array) -> Any:
    try:
        from scipy.special import erf
    except ImportError:
        raise ImportError(
            "erf, and so the exact GELU, needs SciPy: `pip install scipy`, or use gelu(x, approximate='tanh')"
        ) from None
    # SciPy gives float32 for float16.
    return erf(x).astype(x.dtype)


erf = unary(
    "erf",
    "erf",
    _erf_forward,
    ("g * 2 / sqrt(pi) * exp(-x**2)", lambda g, y, x: g * (_SQRT_OF_4_OVER_PI * np.exp(-(x * x)))),
)

absolute = unary(
    "absolute",
    "| |",
    lambda x: np.where(x.real < 0, -x, x) if np.iscomplexobj(x) else np.abs(x),
    ("g * sign(x)", lambda g, y, x: g * np.sign(x)),
)
sign = unary("sign", "sign", lambda x: np.sign(x.real), ("0", lambda g, y, x: np.zeros_like(g)))
FUNCTIONS.update({np.absolute: absolute, np.sign: sign})


def _chosen(first: Any, a: Any, b: Any) -> Any:
    # NumPy orders complex numbers by their imaginary parts too, and lets NaN win: so do the real parts here.
    return np.where(first | np.isnan(a), a, b)


def _share(g: Any, wins: Any, ties: Any) -> Any:
    return np.where(wins, g, np.where(ties, 0.5 * g, 0))


maximum = binary(
    "maximum",
    "max( , )",
    lambda a, b: (
        _chosen(np.real(a) >= np.real(b), a, b) if np.iscomplexobj(a) or np.iscomplexobj(b) else np.maximum(a, b)
    ),
    ("g where a > b, g / 2 where equal", lambda g, y, a, b: _share(g, a > b, a == b)),
    ("g where b > a, g / 2 where equal", lambda g, y, a, b: _share(g, b > a, a == b)),
)
minimum = binary(
    "minimum",
    "min( , )",
    lambda a, b: (
        _chosen(np.real(a) <= np.real(b), a, b) if np.iscomplexobj(a) or np.iscomplexobj(b) else np.minimum(a, b)
    ),
    ("g where a < b, g / 2 where equal", lambda g, y, a, b: _share(g, a < b, a == b)),
    ("g where b < a, g / 2 where equal", lambda g, y, a, b: _share(g, b < a, a == b)),
)
FUNCTIONS.update({np.maximum: maximum, np.minimum: minimum})


def _power_base_rule(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, int | float):
        return g * (b * a ** (b - 1)) if b else np.zeros_like(g)
    # At b = 0 the derivative is 0 also where a ** -1 is infinite.
    trap = (plain(a) == 0) & (plain(b) == 0)
    return g * np.where(trap, 0, b * np.where(trap, 1, a) ** (b - 1))


def _power_exponent_rule(g: Any, y: Any, a: Any, b: Any) -> Any:
    # Where 0 ** b is 0 for all b around, its derivative by b is 0, though log(0) is not.
    zero = (plain(a) == 0) & (plain(b) >= 0)
    if isinstance(a, int | float):
        return np.where(zero, 0, g * y * (math.log(a) if a > 0 else -math.inf if a == 0 else math.nan))
    return g * np.where(zero, 0, y * np.log(np.where(zero, 1, a)))


power = binary(
    "power",
    "^",
    np.power,
    ("g * b * a**(b - 1)", _power_base_rule),
    ("g * y * log(a)", _power_exponent_rule),
)

_clip = Primitive(
    "clip",
    "clip",
    lambda x, *, lower, upper: _clip_forward(x, lower, upper),
    (
        "g where lower <= x <= upper, else 0",
        lambda g, y, x, *, lower, upper: np.where((x >= lower) & (x <= upper), g, 0),
    ),
)


def _clip_forward(x: Array, lower: Any, upper: Any) -> Array:
    if not np.iscomplexobj(x):
        return np.clip(x, lower, upper)
    return np.where(x.real < lower, lower, np.where(x.real > upper, upper, x))


def _clip_bound(bound: Any, unbounded: float, x: Any) -> Any:
    """Return a bound as a Python scalar, or as a copy in the dtype of ``x``."""
    if isinstance(bound, Tensor) and bound.requires_grad:
        raise TypeError("clip's bounds are constants; use np.minimum and np.maximum for bounds with a gradient")
    if bound is None:
        return unbounded
    bound = np.asarray(plain(bound))
    floating = isinstance(x, Tensor) and x.dtype.kind == "f"
    return frozen(bound, x.dtype if floating else None) if bound.ndim else bound.item()


def clip(x: Any, a_min: Any = None, a_max: Any = None, out: None = None, *, min: Any = None, max: Any = None) -> Any:
    """Limit the values to an interval, like ``np.clip``. The gradient is 1 inside and on the bounds, 0 outside.

    Raises
    ------
    TypeError
        If a bound needs a gradient: bounds are constants. Use `minimum` and `maximum` then.
    """
    lower = _clip_bound(a_min if min is None else min, -math.inf, x)
    upper = _clip_bound(a_max if max is None else max, math.inf, x)
    if not isinstance(x, Tensor):
        return _clip_forward(np.asarray(x), lower, upper)
    shape = np.broadcast_shapes(x.shape, np.shape(lower), np.shape(upper))
    if shape != x.shape:
        raise ValueError(f"clip's bounds of shape {shape} are larger than {x._label()}")
    return record(_clip, (x,), {"lower": lower, "upper": upper})


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Return zeros of the shape and dtype of ``x``: data, not part of a graph."""
    return Tensor(np.zeros(x.shape, dtype or x.dtype))


def ones_like(x: Any, dtype: Any = None) -> Any:
    """Return ones of the shape and dtype of ``x``: data, not part of a graph."""
    return Tensor(np.ones(x.shape, dtype or x.dtype))


FUNCTIONS.update({np.clip: clip, np.zeros_like: zeros_like, np.ones_like: ones_like})

__all__ = [
    "absolute", "clip", "cos", "erf", "exp", "expm1", "log", "log1p", "maximum", "minimum", "power", "sigmoid",
    "sign", "sin", "sqrt", "where",
]  # fmt: skip
