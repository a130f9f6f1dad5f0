"""Normalizations of weights: split into length and direction, or standardized for each output."""

from __future__ import annotations

from typing import Any

from ..engine import ops
from ..engine.recording import scope
from ..engine.tensor import named
from .checks import admit_weights, axis_of, floating, for_statistics, shaped
from .functional import standardized


def weight_norm(v: Any, g: Any, dim: int | None = 0) -> Any:
    """Combine a length and a direction into a weight: ``w = g * v / ‖v‖``, with a length for each slice along ``dim``.

    Parameters
    ----------
    v : Tensor or array, floating
        The direction; for a linear layer or a convolution of shape ``(out, in, ...)``.
    g : Tensor or array
        The length. It has the shape of ``v`` with every axis except ``dim`` of size 1; a scalar for ``dim=None``.
    dim : int or None
        The axis that is kept; None uses one length for all of ``v``.

    Returns
    -------
    Tensor or array
        Shape of ``v``. If a slice of ``v`` is zero, its direction is 0 / 0 and the result is NaN.

    Raises
    ------
    TypeError
        If ``v`` is not floating.
    ValueError
        If ``g`` has the wrong shape.

    Notes
    -----
    *Gradient.* Gradients reach ``v`` through the numerator and through its length. Together they remove the part of the
    cotangent along ``v``: the gradient is orthogonal to ``v``, so a gradient step never shortens ``v``.

    References
    ----------
    Salimans and Kingma 2016, "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural
    Networks", arXiv:1602.07868, equation 2.

    Examples
    --------
    >>> import numpy as np
    >>> weight_norm(np.array([[3.0, 4.0], [0.0, 2.0]]), np.array([[10.0], [1.0]]))
    array([[6., 8.],
           [0., 1.]])
    """
    v = floating(v, "v")
    kept = () if dim is None else (axis_of("dim", dim, v.ndim),)
    axes = tuple(i for i in range(v.ndim) if i not in kept)
    length_shape = tuple(n if i in kept else 1 for i, n in enumerate(v.shape)) if kept else ()
    g = shaped(g, length_shape, "g")
    with scope("weight_norm"):
        values = for_statistics(v)
        length = named("‖v‖", ops.sqrt(ops.sum(ops.square(values), axes, keepdims=True)))
        return named("w", ops.astype(values * (g / length), v.dtype))


def weight_standardization(weight: Any, eps: float = 1e-5) -> Any:
    """Normalize the weights of each output: pattern ``o ... -> o``.

    ``(weight - mean) / sqrt(var + eps)``, with statistics over all weights of one output.

    Parameters
    ----------
    weight : Tensor or array, floating
        Shape ``(out, in, ...)``, as in a linear layer or a convolution.
    eps : float

    Returns
    -------
    Tensor or array
        Of the shape and dtype of ``weight``.

    Raises
    ------
    TypeError
        If ``weight`` is not floating.
    ValueError
        If an output has only one weight, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* The three terms of `batch_norm`, with averages over the weights of one output.

    References
    ----------
    Qiao, Wang, Liu, Shen and Yuille 2019, "Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization", arXiv:1903.10520.

    Examples
    --------
    >>> import numpy as np
    >>> weight_standardization(np.array([[1.0, 3.0], [2.0, 6.0]]), eps=0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    with scope("weight_standardization"):
        x_hat, _, _ = standardized(admit_weights("weight_standardization", weight, "o ... -> o", eps))
    return x_hat
