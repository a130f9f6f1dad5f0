"""Norms and linear algebra of square matrices. Matrices occupy the last two axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..operators import FUNCTIONS, Array, Axis, plain
from ..primitive import Primitive
from ..recording import step
from ..tensor import Tensor, record
from .composite import widened
from .core import astype, broadcast_to, operand, reshape, square, sum, where
from .elementwise import absolute, root
from .rearranging import trace, tril
from .reductions import max, min
from .shape import in_one_dtype, swapaxes


def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return norms of vectors or matrices, or of all elements, like ``np.linalg.norm``.

    Vector norms can have any order; the orders of matrix norms are ``"fro"``, 1, -1, inf and -inf. The norm of zeros
    is 0, with gradient 0.

    Raises
    ------
    ValueError
        If the order is not valid.
    TypeError
        For norms defined by singular values, which have no gradient here.
    """
    x = operand(x)
    axes = np.lib.array_utils.normalize_axis_tuple(range(x.ndim) if axis is None else axis, x.ndim)
    if len(axes) == 1 or (ord is None and (axis is None or len(axes) == 2)):
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=2 if ord is None else ord)
    if len(axes) != 2:
        raise ValueError(f"a norm of order {ord} requires one axis or two, not {axes}")
    if ord in ("fro", "f"):
        return vector_norm(x, axis=axes, keepdims=keepdims)
    if ord in (2, -2, "nuc"):
        reason = f"a matrix norm of order {ord!r} has no gradient here, because singular values have none"
        raise TypeError(f"{reason}; use np.linalg.norm(x.data, ord={ord!r}) for its value")
    if ord not in (1, -1, math.inf, -math.inf):
        raise ValueError(f"invalid norm order {ord!r} for matrices")
    with step("norm", x, axis=axes, ord=ord):
        sums = sum(absolute(x), axes[0] if abs(ord) == 1 else axes[1], keepdims=True)
        return (max if ord > 0 else min)(sums, axes, keepdims=keepdims)


def vector_norm(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Return norms of vectors, over one or several axes, or of all elements, like ``np.linalg.vector_norm``."""
    if isinstance(ord, str):
        raise ValueError(f"invalid norm order {ord!r} for vectors")
    with step("norm", x, axis=axis, ord=None if ord == 2 else ord):
        return _vector_norm(operand(x), axis, keepdims, ord)


def _vector_norm(x: Any, axis: Axis, keepdims: bool, ord: Any) -> Any:
    if x.dtype.kind not in "fc":
        x = astype(x, float)
    if math.isinf(ord):
        return (max if ord > 0 else min)(absolute(x), axis, keepdims=keepdims)
    if ord == 0:
        return sum(where(x != 0, np.ones_like(x), 0), axis, keepdims=keepdims)
    if ord == 1:
        return sum(absolute(x), axis, keepdims=keepdims)
    if ord == 2:
        # In float16, squares of 256 and more overflow.
        wide, dtype = widened(x, None)
        return astype(root(sum(square(wide), axis, keepdims=keepdims)), dtype)
    # At 0, the derivatives of powers below 1 and of roots are infinite; the gradient is defined as 0 there.
    zero = (x == 0) & (ord < 1)
    powers = where(zero, 0 if ord > 0 else math.inf, absolute(where(zero, 1, x)) ** ord)
    total = sum(powers, axis, keepdims=keepdims)
    zero = (total == 0) & (ord > 0)
    return where(zero, 0, where(zero, 1, total) ** (1 / ord))


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Return norms of the matrices in the last two axes, like ``np.linalg.matrix_norm``; for the orders see `norm`."""
    return norm(x, ord, (-2, -1), keepdims)


# LAPACK. A singular matrix raises NumPy's LinAlgError.


def _without_float16(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function compute float16 ("e") in float32 ("f"), because LAPACK has no float16."""
    return lambda x, *ys: (
        function(*(z.astype("f") for z in (x, *ys))).astype("e") if x.dtype.char == "e" else function(x, *ys)
    )


def _square(name: str, x: Any) -> Any:
    x = operand(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise np.linalg.LinAlgError(f"{name} requires square matrices, not an array of shape {x.shape}")
    return x


_solve = Primitive(
    "solve",
    "A⁻¹b",
    _without_float16(np.linalg.solve),
    ("-solve(a.mT, g) @ y.mT", lambda g, y, a, b: -(solve(a.mT, g) @ y.mT)),
    ("solve(a.mT, g)", lambda g, y, a, b: solve(a.mT, g)),
)


def solve(a: Any, b: Any) -> Any:
    """Solve ``a @ x = b`` for ``x``, where ``b`` is a vector or a stack of matrices, like ``np.linalg.solve``."""
    a, b = in_one_dtype((_square("solve", a), b))
    columns = reshape(b, (-1, 1)) if b.ndim == 1 else b
    if b.ndim == 0 or columns.shape[-2] != a.shape[-1]:
        raise ValueError(f"solve: a of shape {a.shape} and b of shape {b.shape} do not match")
    lead = np.broadcast_shapes(a.shape[:-2], columns.shape[:-2])
    x = record(_solve, tuple(broadcast_to(z, lead + z.shape[-2:]) for z in (a, columns)))
    return x[..., 0] if b.ndim == 1 else x


def inv(a: Any) -> Any:
    """Return inverse matrices, like ``np.linalg.inv``."""
    a = _square("inv", a)
    return solve(a, np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape))


def matrix_power(a: Any, n: int) -> Any:
    """Raise matrices to the power n, like ``np.linalg.matrix_power``; if n is negative, invert them first."""
    a = _square("matrix_power", inv(a) if n < 0 else a)
    identity = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
    power: Any = Tensor(identity) if isinstance(a, Tensor) else identity
    for bit in f"{abs(n):b}":
        power = power @ power
        power = power @ a if bit == "1" else power
    return power


class SlogdetResult(NamedTuple):
    """The sign of a determinant, which has no gradient, and the logarithm of its absolute value."""

    sign: Any
    logabsdet: Any


def _sign_of_determinant(x: Array) -> Any:
    sign = np.linalg.slogdet(x).sign
    # A complex step stays on its branch.
    return np.where(sign.real < 0, -1.0, 1.0) if np.iscomplexobj(x) else sign


def _logabsdet_forward(x: Array) -> Any:
    sign, logarithm = np.linalg.slogdet(x)
    return logarithm + np.log(sign * _sign_of_determinant(x)) if np.iscomplexobj(x) else logarithm


_logabsdet = Primitive(
    "logabsdet",
    "log|det|",
    _without_float16(_logabsdet_forward),
    ("g * inv(x).mT", lambda g, y, x: g[..., None, None] * inv(x).mT),
)


def slogdet(a: Any) -> SlogdetResult:
    """Return the sign and the logarithm of the absolute value of determinants, like ``np.linalg.slogdet``."""
    a = _square("slogdet", a)
    return SlogdetResult(_without_float16(_sign_of_determinant)(plain(a)), record(_logabsdet, (a,)))


_det = Primitive(
    "det",
    "det",
    _without_float16(np.linalg.det),
    ("g * y * inv(x).mT", lambda g, y, x: (g * y)[..., None, None] * inv(x).mT),
)


def det(a: Any) -> Any:
    """Return determinants, like ``np.linalg.det``. The gradient is the cofactor matrix, also for singular matrices."""
    a = _square("det", a)
    y = record(_det, (a,))
    if not np.any(plain(y) == 0):
        return y
    # A zero can also come from underflow.
    singular: Array = np.asarray(_without_float16(_sign_of_determinant)(plain(a)) == 0)
    return _singular_det(a, singular) if singular.any() else y


def _singular_det(a: Any, singular: Array) -> Any:
    """Use ``det(a) = det(b) * det(1 - v @ inv(b) @ u)`` with an invertible ``b = a + u @ v``.

    The columns of ``u`` and the rows of ``v`` span the left and right null spaces of ``a``, so the second factor is
    the determinant of a zero matrix. It is expanded so that derivatives up to the second order are exact; for a zero
    matrix with three or more rows they vanish.
    """
    n, wide = a.shape[-1], np.result_type(a.dtype, np.float32)
    left, sizes, right = np.linalg.svd(np.where(singular[..., None, None], plain(a), np.eye(n)).astype(wide))
    largest = sizes[..., :1]
    lacking = (sizes <= largest * n * np.finfo(wide).eps) | (np.arange(n) == n - 1)
    lacking &= singular[..., None]
    u = (left * np.where(lacking, np.where(largest > 0, largest, 1), 0)[..., None, :]).astype(a.dtype)
    v = np.where(lacking[..., None], right, 0).astype(a.dtype)
    b = a + u @ v
    zeros = v @ solve(b, u)
    zeros = plain(zeros) - zeros
    first = trace(zeros, 0, -2, -1)
    second = 0.5 * (first * first - trace(zeros @ zeros, 0, -2, -1))
    count = lacking.sum(-1)
    return det(b) * where(count == 0, 1, where(count == 1, first, where(count == 2, second, 0)))


def _cholesky_forward(x: Array) -> Array:
    if not np.iscomplexobj(x):
        return np.linalg.cholesky(x)
    # NumPy computes the Hermitian factor of complex matrices, which is not analytic; this is the symmetric one.
    y = np.zeros_like(x)
    for j in range(x.shape[-1]):
        column = x[..., j:, j] - (y[..., j:, :j] @ y[..., j, :j, None])[..., 0]
        y[..., j:, j] = column / np.sqrt(column[..., :1])
    return y


def _cholesky_rule(g: Any, y: Any, x: Any) -> Any:
    product = y.mT @ g
    halved = 0.5 * (tril(product) + tril(product, -1))
    gradient = solve(y.mT, solve(y.mT, halved.mT).mT)
    return 0.5 * (gradient + gradient.mT)


_cholesky = Primitive(
    "cholesky",
    "Cholesky",
    _without_float16(_cholesky_forward),
    ("the symmetric part of y⁻ᵀ P y⁻¹, P the lower half of yᵀg", _cholesky_rule),
)


def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """Return the lower triangular ``L`` with ``L @ L.mT = a``, or its transpose, like ``np.linalg.cholesky``.

    NumPy reads only one triangle of the matrix. The gradient is symmetric: both triangles share it equally.
    """
    a = _square("cholesky", a)
    return swapaxes(cholesky(swapaxes(a, -1, -2)), -1, -2) if upper else record(_cholesky, (a,))


FUNCTIONS |= {
    getattr(np.linalg, f.__name__): f
    for f in (cholesky, det, inv, matrix_norm, matrix_power, norm, slogdet, solve, vector_norm)
}

__all__ = ["cholesky", "det", "inv", "matrix_norm", "matrix_power", "norm", "slogdet", "solve", "vector_norm"]
