"""Functions written with the primitives, which therefore need no rule of their own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..context import STATE
from ..operators import FUNCTIONS, Axis
from ..primitive import Primitive
from ..recording import no_grad
from ..tensor import record
from .core import axes_of, count_over, mean, operand, square, sum, tanh, where
from .elementwise import absolute, erf, exp, log, log1p, sigmoid, sqrt
from .reductions import max


def var(x: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """Return the mean of squared deviations, like ``np.var``: two passes, so large means do no harm.

    ``ddof=1`` divides by ``n - 1``. At a constant input the gradient is 0.
    """
    x = operand(x)
    deviations = x - mean(x, axis, dtype, keepdims=True)
    if deviations.dtype.kind == "c" and not STATE.get().analytic:
        deviations = absolute(deviations)
    squares = square(deviations)
    if ddof == 0:
        return mean(squares, axis, dtype, out, keepdims)
    return sum(squares, axis, dtype, out, keepdims) / (count_over(x.shape, axes_of(axis, x.ndim), "var") - ddof)


def std(x: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """Return the square root of `var`, like ``np.std``. At a constant input the gradient is NaN: inf times 0."""
    return sqrt(var(x, axis=axis, dtype=dtype, out=out, ddof=ddof, keepdims=keepdims))


_finite = Primitive("finite", "finite", lambda x: np.where(np.isfinite(x), x, 0))


def _shift(x: Any, axis: Axis) -> Any:
    """Return the largest values, with kept axes: a constant, which cancels. Where they are not finite, 0."""
    with no_grad():
        return record(_finite, (max(np.real(x), axis=axis, keepdims=True),))


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return ``log(sum(exp(x)))`` without overflow."""
    x = operand(x)
    axis = axes_of(axis, x.ndim)
    shift = _shift(x, axis)
    total = log(sum(exp(x - shift), axis=axis, keepdims=True)) + shift
    return total if keepdims else total.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axis))


def log_softmax(x: Any, axis: Axis = -1) -> Any:
    """Return the logarithm of `softmax`. The largest value is subtracted first, and never added back."""
    x = operand(x)
    shifted = x - _shift(x, axis)
    return shifted - log(sum(exp(shifted), axis=axis, keepdims=True))


def softmax(x: Any, axis: Axis = -1) -> Any:
    """Return ``exp(x) / sum(exp(x))`` along an axis, without overflow."""
    return exp(log_softmax(x, axis=axis))


def relu(x: Any) -> Any:
    """Return ``where(x <= 0, 0, x)``: 0 at 0, with gradient 0 there; NaN stays NaN."""
    x = operand(x)
    return where(np.real(x) <= 0, 0, x)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """Return ``x`` where positive, else ``negative_slope * x``."""
    x = operand(x)
    return where(np.real(x) <= 0, x * negative_slope, x)


def silu(x: Any) -> Any:
    """Return ``x * sigmoid(x)``, also called swish."""
    return x * sigmoid(x)


def gelu(x: Any, approximate: str = "none") -> Any:
    """Return ``x * Phi(x)``, Phi the normal distribution function (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    ``approximate="tanh"`` needs NumPy only; the exact form takes ``erf`` from SciPy.

    Raises
    ------
    ImportError
        For the exact form where SciPy is not installed.
    """
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))
    if approximate != "none":
        raise ValueError(f"approximate is 'none' or 'tanh', not {approximate!r}")
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


def softplus(x: Any) -> Any:
    """Return ``log(1 + exp(x))`` without overflow, right in every derivative at 0 too."""
    x = operand(x)
    positive = np.real(x) > 0
    return log1p(exp(where(positive, -x, x))) + where(positive, x, 0)


FUNCTIONS.update({np.var: var, np.std: std})

__all__ = [
    "gelu", "leaky_relu", "log_softmax", "logsumexp", "relu", "silu", "softmax", "softplus", "std", "var",
]  # fmt: skip
