"""NumPy's other elementwise functions: trigonometry, logarithms and roots, remainders, fmax and fmin.

A function is a primitive if a composition would lose accuracy, overflow or have wrong second derivatives at ties; the
others are compositions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..operators import FUNCTIONS
from .core import aligned, astype, binary, divide, multiply, operand, unary, where
from .elementwise import absolute, is_nan, maximum, minimum, power, sigmoid, sin


def _continued(ufunc: Any, formula: Callable[..., Any]) -> Callable[..., Any]:
    """Return a forward function: NumPy's for real numbers, and a formula for complex ones, which NumPy rejects."""
    return lambda *xs: formula(*xs) if any(map(np.iscomplexobj, xs)) else ufunc(*xs)


# Trigonometric and hyperbolic functions.

tan = unary("tan", "tan", np.tan, ("g * (1 + y**2)", lambda g, y, x: g * (1 + y * y)))
sinh = unary("sinh", "sinh", np.sinh, ("g * cosh(x)", lambda g, y, x: g * np.cosh(x)))
cosh = unary("cosh", "cosh", np.cosh, ("g * sinh(x)", lambda g, y, x: g * np.sinh(x)))
_ARCSIN_RULE = "g / sqrt((1 - x) * (1 + x))", lambda g, y, x: g / np.sqrt((1 - x) * (1 + x))
_ARCCOS_RULE = "-g / sqrt((1 - x) * (1 + x))", lambda g, y, x: -g / np.sqrt((1 - x) * (1 + x))
_ARCCOSH_RULE = "g / (sqrt(x - 1) * sqrt(x + 1))", lambda g, y, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1))
arcsin = unary("arcsin", "arcsin", np.arcsin, _ARCSIN_RULE)
arccos = unary("arccos", "arccos", np.arccos, _ARCCOS_RULE)
arctan = unary("arctan", "arctan", np.arctan, ("g / (1 + x**2)", lambda g, y, x: g / (1 + x * x)))
arcsinh = unary("arcsinh", "arcsinh", np.arcsinh, ("g / hypot(x, 1)", lambda g, y, x: g / np.hypot(x, 1)))
arccosh = unary("arccosh", "arccosh", np.arccosh, _ARCCOSH_RULE)
arctanh = unary("arctanh", "arctanh", np.arctanh, ("g / ((1 - x) * (1 + x))", lambda g, y, x: g / ((1 - x) * (1 + x))))


def _angle(a: Any, b: Any) -> Any:
    """Return ``arctan2(a, b)`` of complex numbers: an arctangent plus the offset that the real parts require."""
    x, y = np.real(a), np.real(b)
    steep = np.abs(x) > np.abs(y)
    turn = np.arctan2(x, y) - np.arctan(np.where(steep, -y, x) / np.where(steep, x, y))
    return turn + np.arctan(np.where(steep, -b, a) / np.where(steep, a, b))


def _shorter(x: Any, length: Any) -> Any:
    """Return ``x / length``, or 0 where both are 0."""
    return x / np.where(length == 0, 1, length)


def _inverted(x: Any, a: Any, b: Any) -> Any:
    """Return ``x / (a**2 + b**2)``, or 0 where all are 0, without squares, which could overflow or underflow."""
    return _shorter(_shorter(x, length := hypot(a, b)), length)


_BY_LEG_A = "g * a / y", lambda g, y, a, b: g * _shorter(a, y)
_BY_LEG_B = "g * b / y", lambda g, y, a, b: g * _shorter(b, y)
_BY_HEIGHT = "g * b / (a**2 + b**2)", lambda g, y, a, b: g * _inverted(b, a, b)
_BY_BASE = "-g * a / (a**2 + b**2)", lambda g, y, a, b: -g * _inverted(a, a, b)
_hypot = _continued(np.hypot, lambda a, b: np.sqrt(a * a + b * b))
hypot = binary("hypot", "hypot", _hypot, _BY_LEG_A, _BY_LEG_B)
arctan2 = binary("arctan2", "arctan2", _continued(np.arctan2, _angle), _BY_HEIGHT, _BY_BASE)


def degrees(x: Any) -> Any:
    """Convert radians to degrees, like ``np.degrees``."""
    return multiply(x, 180 / math.pi)


def radians(x: Any) -> Any:
    """Convert degrees to radians, like ``np.radians``."""
    return multiply(x, math.pi / 180)


def sinc(x: Any) -> Any:
    """Return ``sin(pi * x) / (pi * x)``, like ``np.sinc``: 1 at 0, with correct derivatives of every order."""
    angle = multiply(x, math.pi)
    near = (angle > -0.5) & (angle < 0.5)
    # Near 0, the quotient's derivatives are differences of large numbers; those of the series are not.
    inside, outside = where(near, angle, 0), where(near, 1, angle)
    series: Any = 1.0
    for k in range(14, 0, -2):
        series = 1 - inside * inside * series / (k * (k + 1))
    return where(near, series, sin(outside) / outside)


# Logarithms, powers and roots.

_LOG_2, _LOG_10 = math.log(2), math.log(10)
log2 = unary("log2", "log2", np.log2, ("g / (x * log(2))", lambda g, y, x: g / (x * _LOG_2)))
log10 = unary("log10", "log10", np.log10, ("g / (x * log(10))", lambda g, y, x: g / (x * _LOG_10)))
_cbrt = _continued(np.cbrt, lambda x: np.sign(x.real) * (np.sign(x.real) * x) ** (1 / 3))
cbrt = unary("cbrt", "∛", _cbrt, ("g / (3 * y**2)", lambda g, y, x: g / (3 * (y * y))))


def _share(g: Any, a: Any, b: Any, scale: float = 1.0) -> Any:
    """Return ``g * exp(a) / (exp(a) + exp(b))``; equal infinities are treated like other equal numbers."""
    return g * sigmoid(scale * np.where(np.isinf(a) & (a == b), 0, a - b))


_SHARE_OF_A = "g / (1 + exp(b - a))", lambda g, y, a, b: _share(g, a, b)
_SHARE_OF_B = "g / (1 + exp(a - b))", lambda g, y, a, b: _share(g, b, a)
_SHARE_OF_A_2 = "g / (1 + 2**(b - a))", lambda g, y, a, b: _share(g, a, b, _LOG_2)
_SHARE_OF_B_2 = "g / (1 + 2**(a - b))", lambda g, y, a, b: _share(g, b, a, _LOG_2)
_logaddexp = _continued(np.logaddexp, lambda a, b: np.log(np.exp(a) + np.exp(b)))
_logaddexp2 = _continued(np.logaddexp2, lambda a, b: np.log2(2**a + 2**b))
logaddexp = binary("logaddexp", "logaddexp", _logaddexp, _SHARE_OF_A, _SHARE_OF_B)
logaddexp2 = binary("logaddexp2", "logaddexp2", _logaddexp2, _SHARE_OF_A_2, _SHARE_OF_B_2)


def exp2(x: Any) -> Any:
    """Return ``2 ** x``, like ``np.exp2``."""
    return power(2.0, x)


def float_power(a: Any, b: Any) -> Any:
    """Return ``a ** b`` in float64, like ``np.float_power``."""
    return power(astype(a, np.float64), astype(b, np.float64))


def reciprocal(x: Any) -> Any:
    """Return ``1 / x``, like ``np.reciprocal``."""
    return divide(1.0, x)


# Remainders: between its jumps, each is a - n * b with an integer n.

_BY_DIVIDEND = "g", lambda g, y, a, b: g
_BY_DIVISOR = "-g * rint((a - y) / b)", lambda g, y, a, b: -g * np.rint((a - y) / b)
_remainder = _continued(np.remainder, lambda a, b: a - b * np.floor(np.real(a) / np.real(b)))
_fmod = _continued(np.fmod, lambda a, b: a - b * np.trunc(np.real(a) / np.real(b)))
remainder = binary("remainder", "mod", _remainder, _BY_DIVIDEND, _BY_DIVISOR)
fmod = binary("fmod", "fmod", _fmod, _BY_DIVIDEND, _BY_DIVISOR)


# Choices between two operands.


def fmax(a: Any, b: Any) -> Any:
    """Return the larger operand, like ``np.fmax``, ignoring NaN. Ties share the gradient as in `maximum`."""
    a, b = aligned(operand(a), operand(b))
    return maximum(where(is_nan(a), b, a), where(is_nan(b), a, b))


def fmin(a: Any, b: Any) -> Any:
    """Return the smaller operand, like ``np.fmin``, ignoring NaN. Ties share the gradient as in `minimum`."""
    a, b = aligned(operand(a), operand(b))
    return minimum(where(is_nan(a), b, a), where(is_nan(b), a, b))


__all__ = [
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cbrt", "cosh", "degrees", "exp2",
    "float_power", "fmax", "fmin", "fmod", "hypot", "log2", "log10", "logaddexp", "logaddexp2", "radians",
    "reciprocal", "remainder", "sinc", "sinh", "tan",
]  # fmt: skip

FUNCTIONS |= {getattr(np, name): globals()[name] for name in __all__}
FUNCTIONS |= {np.rad2deg: degrees, np.deg2rad: radians, np.positive: operand, np.fabs: absolute}
