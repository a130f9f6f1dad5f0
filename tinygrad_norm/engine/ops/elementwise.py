"""Elementwise primitives beyond the core.

Forward functions also take complex arrays, as NumPy does. During a complex step, piecewise functions branch on the
real part, so that a step along the imaginary axis stays on its branch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..context import STATE
from ..operators import FUNCTIONS, Array
from ..primitive import Primitive
from ..tensor import Tensor, record
from .core import astype, beside_tensors, binary, keep_real, operand, unary


def stepped(*xs: Any) -> bool:
    """Return whether these are complex values of a complex step, so that functions branch on the real part."""
    return STATE.get().analytic and any(map(np.iscomplexobj, xs))


sqrt = unary("sqrt", "√", np.sqrt, ("g / (2 * y)", lambda g, y, x: g / (2 * y)))
_root = Primitive(
    "root",
    "√",
    np.sqrt,
    ("g / (2 * y), 0 where y is 0", lambda g, y, x: np.where(y == 0, 0, g / (2 * np.where(y == 0, 1, y)))),
)
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
            "erf and the exact GELU require SciPy: use `pip install scipy`, or gelu(x, approximate='tanh')"
        ) from None
    # SciPy returns float32 for float16.
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
    lambda x: np.where(x.real < 0, -x, x) if stepped(x) else np.abs(x),
    ("g * sign(x)", lambda g, y, x: g * np.sign(x)),
)
sign = unary(
    "sign",
    "sign",
    lambda x: np.sign(x.real) if stepped(x) else np.sign(x),
    ("0", lambda g, y, x: np.zeros_like(g)),
)
FUNCTIONS.update({np.absolute: absolute, np.sign: sign})


def _chosen(first: Any, a: Any, b: Any) -> Any:
    # NumPy also compares imaginary parts, so compare the real parts here; NaN propagates as in NumPy.
    return np.where(first | np.isnan(a), a, b)


def is_nan(x: Any) -> Any:
    """Return ``np.isnan(x)``, also for integers of more than 64 bits, which NumPy rejects."""
    return x != x  # noqa: PLR0124


def _share(g: Any, y: Any, a: Any, b: Any) -> Any:
    """Return the cotangent of ``a``: ``g`` where ``a`` was chosen or is NaN, half of it at ties."""
    taken, both = ((x == y) | is_nan(x) for x in (a, b))
    return np.where(taken, np.where(both, 0.5 * g, g), 0)


maximum = binary(
    "maximum",
    "max( , )",
    lambda a, b: _chosen(np.real(a) >= np.real(b), a, b) if stepped(a, b) else np.maximum(a, b),
    ("g where a > b, g / 2 where equal", _share),
    ("g where b > a, g / 2 where equal", lambda g, y, a, b: _share(g, y, b, a)),
)
minimum = binary(
    "minimum",
    "min( , )",
    lambda a, b: _chosen(np.real(a) <= np.real(b), a, b) if stepped(a, b) else np.minimum(a, b),
    ("g where a < b, g / 2 where equal", _share),
    ("g where b < a, g / 2 where equal", lambda g, y, a, b: _share(g, y, b, a)),
)
FUNCTIONS.update({np.maximum: maximum, np.minimum: minimum})


def _power_base_rule(g: Any, y: Any, a: Any, b: Any) -> Any:
    if type(b) in (int, float):
        return g * (b * (a if b == 2 else a ** (b - 1))) if b else np.zeros_like(g)
    # At b = 0 the derivative is 0, even where a ** -1 is infinite.
    trap = (a == 0) & (b == 0)
    return g * np.where(trap, 0, b * np.where(trap, 1, a) ** (b - 1))


def _power_exponent_rule(g: Any, y: Any, a: Any, b: Any) -> Any:
    if type(a) in (int, float) and a != 0:
        return g * y * (math.log(a) if a > 0 else math.nan)
    # The derivative of 0 ** b with respect to b is 0 for b > 0, although log(0) is not finite.
    zero = (a == 0) & (b >= 0)
    return g * (y * astype(np.log(np.where(zero, 1, a)), y.dtype))


power = binary(
    "power",
    "^",
    np.power,
    ("g * b * a**(b - 1)", _power_base_rule),
    ("g * y * log(a)", _power_exponent_rule),
)


def _clip_forward(x: Array, lower: Any, upper: Any) -> Array:
    if stepped(x):
        return np.where(x.real < lower, lower, np.where(x.real > upper, upper, x))
    return x.copy() if lower is upper is None else np.clip(x, lower, upper)


_clip = Primitive(
    "clip",
    "clip",
    _clip_forward,
    ("g where lower <= x <= upper, else 0", lambda g, y, x, lower, upper: np.where((x == y) | np.isnan(x), g, 0)),
    ("0", lambda g, y, x, lower, upper: np.zeros_like(lower)),
    ("0", lambda g, y, x, lower, upper: np.zeros_like(upper)),
)


def _clip_bound(bound: Any, infinity: float | None, x: Any) -> Any:
    """Return a bound as a Python number, or as data in the dtype of ``x``; None as an infinity."""
    if bound is None:
        return infinity
    found = beside_tensors(bound)
    if isinstance(found, Tensor):
        if found.requires_grad:
            raise TypeError("clip has no gradient for its bounds; use np.minimum and np.maximum instead")
        found = astype(found, x.dtype) if x.dtype.kind == "f" and found.dtype.kind != "c" else found
        return found if isinstance(bound, Tensor) else found.data
    return found


def clip(x: Any, a_min: Any = None, a_max: Any = None, out: None = None, *, min: Any = None, max: Any = None) -> Any:
    """Limit the values to an interval, like ``np.clip``. The gradient is 1 inside and on the bounds, 0 outside.

    NaN stays NaN, and its cotangent passes through; ``clip(np.where(np.isnan(x), 0, x), ...)`` avoids this.

    Raises
    ------
    TypeError
        If a bound requires a gradient: use `minimum` and `maximum` instead.
    """
    x = operand(x)
    # Infinities would turn integers into floats.
    below, above = (-math.inf, math.inf) if x.dtype.kind in "fc" else (None, None)
    lower = _clip_bound(a_min if min is None else min, below, x)
    upper = _clip_bound(a_max if max is None else max, above, x)
    if isinstance(x, Tensor):
        if np.iscomplexobj(lower) or np.iscomplexobj(upper):
            keep_real(x)
        shape = np.broadcast_shapes(x.shape, np.shape(lower), np.shape(upper))
        if shape != x.shape:
            raise ValueError(f"clip's bounds cannot enlarge {x._label()}: together they have shape {shape}")
    return record(_clip, (x, lower, upper))


def root(x: Any) -> Any:
    """Return the square root, with gradient 0 at 0, where norms and standard deviations have their minimum."""
    return record(_root, (operand(x),))


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Return zeros with the shape and dtype of ``x``, as data that is not part of a graph."""
    return Tensor(np.zeros(x.shape, dtype or x.dtype))


def ones_like(x: Any, dtype: Any = None) -> Any:
    """Return ones with the shape and dtype of ``x``, as data that is not part of a graph."""
    return Tensor(np.ones(x.shape, dtype or x.dtype))


FUNCTIONS.update({np.clip: clip, np.zeros_like: zeros_like, np.ones_like: ones_like})

__all__ = [
    "absolute", "clip", "cos", "erf", "exp", "expm1", "log", "log1p", "maximum", "minimum", "ones_like", "power",
    "root", "sigmoid", "sign", "sin", "sqrt", "zeros_like",
]  # fmt: skip
