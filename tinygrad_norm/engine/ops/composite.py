"""Functions composed of primitives, which therefore need no rules of their own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..context import STATE
from ..operators import FUNCTIONS, Axis
from ..primitive import Primitive
from ..recording import composition, no_grad, step
from ..tensor import record
from .core import astype, axes_of, count_over, operand, square, sum, tanh, where
from .core import mean as mean_of
from .elementwise import absolute, erf, exp, log, log1p, root, sigmoid
from .reductions import max


def masked(x: Any, condition: Any, otherwise: Any) -> Any:
    """Replace the elements that a reduction's ``where=`` excludes by a constant, so that they get no gradient."""
    return x if condition is True else where(np.broadcast_to(condition, x.shape), x, otherwise)


def widened(x: Any, dtype: Any) -> tuple[Any, Any]:
    """Return ``x`` in the dtype for computing its moments, and the dtype of the result; float16 uses float32."""
    x = operand(x) if dtype is None else astype(x, dtype)
    if x.dtype.kind not in "fc":
        x = astype(x, np.float64)
    return (astype(x, np.float32) if x.dtype.char == "e" else x), x.dtype


def _counted(x: Any, axis: Axis, keepdims: bool, where: Any, ddof: float) -> Any:
    """Return the number of elements minus ``ddof``, but at least 0; an array if ``where=`` selects elements."""
    axis = axes_of(axis, x.ndim)
    if where is True:
        return np.maximum(count_over(x.shape, axis, "var") - ddof, 0).item()
    chosen = np.sum(np.broadcast_to(where, x.shape), axis=axis, keepdims=keepdims)
    return np.maximum(chosen - ddof, 0).astype(x.dtype)


def mean_of_some(x: Any, axis: Axis, dtype: Any, keepdims: bool, where: Any) -> Any:
    """Average the elements that ``where=`` selects."""
    x, dtype = widened(x, dtype)
    n = _counted(x, axis, True, where, 0)
    with no_grad():
        # As in the mean of all elements, this makes the deviations of equal values 0.
        shift = record(_finite, (sum(masked(x, where, 0), axis, keepdims=True) / n,))
    y = astype(sum(masked(x - shift, where, 0), axis, keepdims=True) / n + shift, dtype)
    return y if keepdims else y.squeeze(axes_of(axis, x.ndim))


def _variance(
    x: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False, *,
    where: Any = True, mean: Any = None, correction: float | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    x, dtype = widened(x, dtype)
    if mean is None:
        mean = mean_of(x, axis, keepdims=True) if where is True else mean_of_some(x, axis, None, True, where)
    deviations = x - mean
    if deviations.dtype.kind == "c" and not STATE.get().analytic:
        deviations = absolute(deviations)
    squares = square(masked(deviations, where, 0))
    ddof = ddof if correction is None else correction
    if ddof == 0 and where is True:
        return mean_of(squares, axis, None, out, keepdims), dtype
    return sum(squares, axis, None, out, keepdims) / _counted(x, axis, keepdims, where, ddof), dtype


def var(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the mean of squared deviations, like ``np.var``, in two passes, which is accurate for large means.

    ``ddof=1`` or ``correction=1`` divides by ``n - 1``. For ``ddof >= n`` the variance is infinite, or NaN for a
    constant input. The gradient of a constant input is 0.
    """
    with step("var", x, **_said(*args, **kwargs)):
        return astype(*_variance(x, *args, **kwargs))


def std(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the square root of `var`, like ``np.std``. The gradient of a constant input is 0."""
    with step("std", x, **_said(*args, **kwargs)):
        y, dtype = _variance(x, *args, **kwargs)
        return astype(root(y), dtype)


def _said(axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, *_: Any, **options: Any) -> Any:
    """Return the parameters of a variance that drawings show."""
    return {"axis": axis, "ddof": options.get("correction") or ddof}


_finite = Primitive("finite", "finite", lambda x: np.where(np.isfinite(x), x, 0))


def _shift(x: Any, axis: Axis) -> Any:
    """Return the maximum as a constant, with kept axes; 0 where it is not finite or there are no elements."""
    if not x.size:
        return 0.0
    with no_grad():
        return record(_finite, (max(np.real(x), axis=axis, keepdims=True),))


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return ``log(sum(exp(x)))`` without overflow."""
    with step("logsumexp", x, axis=axis):
        x, dtype = widened(x, None)
        axis = axes_of(axis, x.ndim)
        shift = _shift(x, axis)
        total = astype(log(sum(exp(x - shift), axis=axis, keepdims=True)) + shift, dtype)
        return total if keepdims else total.squeeze(axis)


@composition
def log_softmax(x: Any, axis: Axis = -1) -> Any:
    """Return the logarithm of `softmax`. The largest value is subtracted first and not added back."""
    with step("log-softmax", x, axis=axis):
        return astype(*_log_shares(x, axis))


def _log_shares(x: Any, axis: Axis) -> tuple[Any, Any]:
    x, dtype = widened(x, None)
    shifted = x - _shift(x, axis)
    return shifted - log(sum(exp(shifted), axis=axis, keepdims=True)), dtype


@composition
def softmax(x: Any, axis: Axis = -1) -> Any:
    """Return ``exp(x) / sum(exp(x))`` along an axis, without overflow."""
    with step("softmax", x, axis=axis):
        log_shares, dtype = _log_shares(x, axis)
        return astype(exp(log_shares), dtype)


@composition
def relu(x: Any) -> Any:
    """Return ``where(x <= 0, 0, x)``: 0 at 0, with gradient 0 there; NaN stays NaN."""
    with step("ReLU", x):
        x = operand(x)
        return where(np.real(x) <= 0, 0, x)


@composition
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """Return ``x`` where positive, else ``negative_slope * x``."""
    with step("leaky ReLU", x, slope=negative_slope):
        x = operand(x)
        return where(np.real(x) <= 0, x * negative_slope, x)


@composition
def silu(x: Any) -> Any:
    """Return ``x * sigmoid(x)``, also called swish."""
    with step("SiLU", x):
        return x * sigmoid(x)


@composition
def gelu(x: Any, approximate: str = "none") -> Any:
    """Return ``x * Phi(x)``, where Phi is the normal distribution function (Hendrycks and Gimpel 2016).

    ``approximate="tanh"`` requires only NumPy; the exact form uses ``erf`` from SciPy. Source: arXiv:1606.08415.

    Raises
    ------
    ImportError
        For the exact form if SciPy is not installed.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate must be 'none' or 'tanh', not {approximate!r}")
    with step("GELU", x, approximate=approximate):
        if approximate == "tanh":
            return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))
        return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


@composition
def softplus(x: Any) -> Any:
    """Return ``log(1 + exp(x))`` without overflow, with correct derivatives of every order at 0."""
    with step("softplus", x):
        x = operand(x)
        positive = np.real(x) > 0
        return log1p(exp(where(positive, -x, x))) + where(positive, x, 0)


FUNCTIONS.update({np.var: var, np.std: std})

__all__ = [
    "gelu", "leaky_relu", "log_softmax", "logsumexp", "relu", "silu", "softmax", "softplus", "std", "var",
]  # fmt: skip
