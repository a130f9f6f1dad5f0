"""Normalizations that divide by a length and subtract no mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine import ops
from ..engine.operators import Array, plain
from ..engine.recording import scope
from ..engine.tensor import named
from .checks import finite_eps, floating, for_statistics, shaped
from .functional import affine


def l2_normalize(x: Any, axis: int = -1, eps: float = 1e-12) -> Any:
    """Divide by the Euclidean length along an axis: ``y = x / max(‖x‖, eps)``.

    Parameters
    ----------
    x : Tensor or array, floating
    axis : int
    eps : float
        The lower bound of the divisor, so that zero stays zero.

    Returns
    -------
    Tensor or array
        Of the shape and dtype of ``x``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* Two paths, through the numerator and through the length; together they remove the part of the cotangent
    along ``x``. Where the length is below ``eps`` it is a constant, and the gradient is ``g / eps``.

    Examples
    --------
    >>> import numpy as np
    >>> l2_normalize(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    x, eps = floating(x), finite_eps(eps)
    with scope("l2_normalize"):
        values = for_statistics(x)
        eps = min(eps, float(np.finfo(values.dtype).max))
        unit = _unit_of_length(plain(values), axis, eps)
        values = values / unit
        squared_length = ops.sum(ops.square(values), axis, keepdims=True)
        return named("x̂", ops.astype(values * ops.rsqrt(ops.maximum(squared_length, np.square(eps / unit))), x.dtype))


def _unit_of_length(values: Array, axis: int, eps: float) -> Array:
    """Return a power of two near the largest value, or near eps if that is larger.

    Values divided by this unit have squares that neither overflow nor underflow. The result does not depend on the
    unit, so the unit is a constant; division by a power of two is exact.
    """
    largest = np.maximum(np.abs(values.real).max(axis, keepdims=True, initial=0), eps)
    unit: Array = np.ldexp(np.ones_like(largest), np.frexp(largest)[1] - 1)
    return unit


def scale_norm(x: Any, scale: Any, eps: float = 1e-5) -> Any:
    """Scale the last axis to one learned length: ``y = scale * x / max(‖x‖, eps)``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(..., D)``.
    scale : Tensor, array or float
        The length, one number.
    eps : float
        The lower bound of the divisor.

    Returns
    -------
    Tensor or array
        Shape of ``x``; dtype of ``x``, promoted with ``scale``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``scale`` is not a single number, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* The gradient of ``x`` is that of `l2_normalize`; the gradient of ``scale`` is a sum over all elements.

    References
    ----------
    Nguyen and Salazar 2019, "Transformers without Tears: Improving the Normalization of Self-Attention",
    arXiv:1910.05895.

    Examples
    --------
    >>> import numpy as np
    >>> scale_norm(np.array([[3.0, 4.0]]), 10.0)
    array([[6., 8.]])
    """
    with scope("scale_norm"):
        return affine(l2_normalize(x, eps=eps), shaped(scale, (), "scale"))
