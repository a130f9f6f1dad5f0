"""Functions written with the primitives, which therefore need no rule of their own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..operators import FUNCTIONS, Axis, plain
from .core import astype, axes_of, count_over, masked, matmul, operand, square, sum, tanh, where
from .core import mean as mean_of
from .elementwise import erf, exp, log, log1p, sigmoid, sqrt


def _widened(x: Any, dtype: Any) -> tuple[Any, Any]:
    """Return ``x`` in what its moments are computed in, and their dtype: float16 counts and adds up in float32."""
    x = operand(x) if dtype is None else astype(x, dtype)
    if x.dtype.kind not in "fc":
        x = astype(x, np.float64)
    return (astype(x, np.float32) if x.dtype.char == "e" else x), x.dtype


def _degrees(x: Any, axis: Axis, keepdims: bool, where: Any, ddof: float) -> Any:
    """Return how many elements are combined, less ``ddof`` and at least 0; an array where a ``where=`` chooses."""
    axis = axes_of(axis, x.ndim)
    if where is True:
        return max(count_over(x.shape, axis, "var") - ddof, 0)
    chosen = np.broadcast_to(where, x.shape)
    return np.maximum(np.sum(chosen, axis=axis, keepdims=keepdims) - ddof, 0).astype(x.dtype)


def _mean_of_some(x: Any, axis: Axis, dtype: Any, keepdims: bool, where: Any) -> Any:
    x, dtype = _widened(x, dtype)
    return astype(sum(x, axis, keepdims=keepdims, where=where) / _degrees(x, axis, keepdims, where, 0), dtype)


def _variance(
    x: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False, *,
    where: Any = True, mean: Any = None, correction: float | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    x, dtype = _widened(x, dtype)
    center = mean_of(x, axis, keepdims=True, where=where) if mean is None else mean
    squares = square(masked(x - center, where, 0))
    ddof = ddof if correction is None else correction
    if ddof == 0 and where is True:
        return mean_of(squares, axis, None, out, keepdims), dtype
    return sum(squares, axis, None, out, keepdims) / _degrees(x, axis, keepdims, where, ddof), dtype


def var(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the mean of squared deviations, like ``np.var``: two passes, so large means do no harm.

    ``ddof=1``, or ``correction=1``, divides by ``n - 1``; from ``n`` on it is infinite or, at a constant input, NaN.
    At a constant input the gradient is 0.
    """
    return astype(*_variance(x, *args, **kwargs))


def std(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the square root of `var`, like ``np.std``. At a constant input the gradient is NaN: inf times 0."""
    y, dtype = _variance(x, *args, **kwargs)
    return astype(sqrt(y), dtype)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return ``log(sum(exp(x)))`` without overflow. The shift by the largest value is a constant: it cancels."""
    x = operand(x)
    axis = axes_of(axis, x.ndim)
    largest = np.real(plain(x)).max(axis=axis, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0)
    total = log(sum(exp(x - largest), axis=axis, keepdims=True)) + largest
    return total if keepdims else total.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axis))


def log_softmax(x: Any, axis: Axis = -1) -> Any:
    """Return the logarithm of `softmax`, ``x - logsumexp(x)``."""
    return x - logsumexp(x, axis=axis, keepdims=True)


def softmax(x: Any, axis: Axis = -1) -> Any:
    """Return ``exp(x) / sum(exp(x))`` along an axis, without overflow."""
    return exp(log_softmax(x, axis=axis))


def relu(x: Any) -> Any:
    """Return ``where(x <= 0, 0, x)``: 0 at 0, with gradient 0 there; NaN stays NaN."""
    x = operand(x)
    return where(np.real(plain(x)) <= 0, 0, x)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """Return ``x`` where positive, else ``negative_slope * x``."""
    x = operand(x)
    return where(np.real(plain(x)) <= 0, x * negative_slope, x)


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
    positive = np.real(plain(x)) > 0
    return log1p(exp(where(positive, -x, x))) + where(positive, x, 0)


def dot(a: Any, b: Any, out: None = None) -> Any:
    """Return the product of matrices or vectors, or of anything with a scalar, like ``np.dot`` for up to two axes."""
    if out is not None:
        raise TypeError("dot of Tensors has no out=; use its result")
    a, b = operand(a), operand(b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    if b.ndim > 2:
        raise ValueError(f"dot of Tensors takes a second operand of at most 2 axes, not {b.ndim}; use matmul or einsum")
    return matmul(a, b)


FUNCTIONS.update({np.var: var, np.std: std, np.dot: dot, "mean of some": _mean_of_some})

__all__ = [
    "dot", "gelu", "leaky_relu", "log_softmax", "logsumexp", "relu", "silu", "softmax", "softplus", "std",
    "var",
]  # fmt: skip
