"""The wider family: norms of weights, of virtual batches, with corrected statistics, with γ and β made from data.

Each is a composition of the steps of `functional`, so its gradient comes by itself. Everything takes Tensors or arrays,
floating (or complex, for complex-step checks); arrays give arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine import ops
from ..engine.operators import Array, plain
from ..engine.recording import scope
from ..engine.tensor import named
from .arguments import axis_of, corrections, finite_eps, positive
from .checks import (
    floating,
    for_statistics,
    per_channel,
    per_sample_channel,
    several_values,
    shaped,
    with_channels,
)
from .functional import affine, batch_norm, in_shape, instance_norm, moments, normalized, standardized
from .pattern import parse

# What is normalized are weights.


def weight_norm(v: Any, g: Any, dim: int | None = 0) -> Any:
    """Split a weight into a length and a direction: ``w = g * v / ‖v‖``, a length for each slice along ``dim``.

    Parameters
    ----------
    v : Tensor or array, floating
        The direction; for a linear layer or a convolution ``(out, in, ...)``.
    g : Tensor or array
        The length, of the shape of ``v`` with every axis but ``dim`` of size 1; a scalar for ``dim=None``.
    dim : int or None
        The axis that is kept; None takes one length for all of ``v``.

    Returns
    -------
    Tensor or array
        Shape of ``v``. Where a slice of ``v`` is zero its direction is 0 / 0, so NaN.

    Raises
    ------
    TypeError
        If ``v`` is not floating.
    ValueError
        If ``g`` has another shape.

    Notes
    -----
    *Gradient.* ``v`` is reached through the numerator and through its length, which together remove the part of the
    cotangent along ``v``: the gradient is orthogonal to the direction, so a step lengthens ``v`` and never shrinks it.

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
    v = floating(v)
    kept = () if dim is None else (axis_of("dim", dim, v.ndim),)
    axes = tuple(i for i in range(v.ndim) if i not in kept)
    length_shape = tuple(n if i in kept else 1 for i, n in enumerate(v.shape)) if kept else ()
    with scope("weight_norm"):
        values = for_statistics(v)
        length = named("‖v‖", ops.sqrt(ops.sum(ops.square(values), axes, keepdims=True)))
        return named("w", ops.astype(values * (shaped(g, length_shape, "g") / length), v.dtype))


def weight_standardization(weight: Any, eps: float = 1e-5) -> Any:
    """Normalize the weights of each output: pattern ``o ... -> o``.

    ``(weight - mean) / sqrt(var + eps)``, the statistics over all that leads to one output.

    Parameters
    ----------
    weight : Tensor or array, floating
        ``(out, in, ...)``, as of a linear layer or a convolution.
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
        If an output has one weight only, or ``eps`` is negative or not finite.

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
    weight = floating(weight)
    fitted = parse("o ... -> o").fit(weight.shape)
    several_values(weight, fitted, "weight_standardization", "weight for each output")
    with scope("weight_standardization"):
        return normalized(weight, fitted, eps)


# What is a batch, and which statistics are taken.


def ghost_batch_norm(
    x: Any,
    virtual_batch_size: int,
    *,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    return_statistics: bool = False,
) -> Any:
    """Batch norm of consecutive parts of a batch, each with statistics of its own: pattern ``(v n) c ... -> v c``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    virtual_batch_size : int
        Divides N.
    weight, bias : Tensor or array of shape (C,), optional
    eps : float
    return_statistics : bool
        Return also the mean and the biased variance, of shape ``(v, 1, C, 1, ...)``; None for an empty batch.

    Returns
    -------
    Tensor or array
        Shape of ``x``; its dtype, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``virtual_batch_size`` does not divide N, a part has one value per channel, or shapes or ``eps`` do not fit.

    Notes
    -----
    *Gradient.* The three terms of `batch_norm`; samples interact within their part only.

    References
    ----------
    Hoffer, Hubara and Soudry 2017, "Train longer, generalize better: closing the generalization gap in large batch
    training of neural networks", arXiv:1705.08741, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> ghost_batch_norm(np.array([[1.0], [3.0], [20.0], [60.0]]), 2, eps=0).T
    array([[-1.,  1., -1.,  1.]])
    """
    x = with_channels(x, "ghost_batch_norm")
    virtual_batch_size = positive("virtual_batch_size", virtual_batch_size)
    if x.shape[0] % virtual_batch_size:
        raise ValueError(f"virtual_batch_size={virtual_batch_size} does not divide the batch of {x.shape[0]}")
    fitted = parse("(v n) c ... -> v c").fit(x.shape, {"n": virtual_batch_size})
    several_values(x, fitted, "ghost_batch_norm", "value per channel")
    with scope("ghost_batch_norm"):
        x_hat, mean, var = standardized(x, fitted, eps)
        x_hat = named("x̂", in_shape(x_hat, x.shape))
        y = affine(x_hat, per_channel(weight, x, "weight"), per_channel(bias, x, "bias"))
    return (y, mean, var) if return_statistics else y


def batch_renorm(
    x: Any,
    running_mean: Any,
    running_std: Any,
    *,
    weight: Any = None,
    bias: Any = None,
    r_max: float = 3.0,
    d_max: float = 5.0,
    eps: float = 1e-5,
    return_statistics: bool = False,
) -> Any:
    """Batch norm, corrected towards what running statistics would have given.

    ``y = (x̂ * r + d) * weight + bias`` with ``r = clip(std / running_std, 1 / r_max, r_max)``,
    ``d = clip((mean - running_mean) / running_std, -d_max, d_max)`` and ``std = sqrt(var + eps)``. Unclipped, this is
    ``(x - running_mean) / running_std``; ``r_max=1, d_max=0`` is batch norm.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    running_mean, running_std : array of shape (C,)
        ``running_std`` includes eps.
    weight, bias : Tensor or array of shape (C,), optional
    r_max, d_max : float
        At least 1, and at least 0.
    eps : float
    return_statistics : bool
        Return also the batch's mean and standard deviation, of shape ``(1, C, 1, ...)``; None for an empty batch.

    Returns
    -------
    Tensor or array
        Shape of ``x``; its dtype, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If there is one value per channel, ``r_max`` or ``d_max`` is too small, or shapes or ``eps`` do not fit.

    Notes
    -----
    *Gradient.* ``r`` and ``d`` are constants: gradients flow through the batch's own statistics as in `batch_norm`,
    scaled by ``r``. It is not the derivative of the value: finite differences, which see ``r`` and ``d`` move, differ.

    References
    ----------
    Ioffe 2017, "Batch Renormalization: Towards Reducing Minibatch Dependence in Batch-Normalized Models",
    arXiv:1702.03275, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> batch_renorm(np.array([[1.0], [3.0]]), np.array([0.0]), np.array([0.5]), eps=0)
    array([[2.],
           [6.]])
    """
    r_max, d_max = corrections(r_max, d_max)
    x = with_channels(x, "batch_renorm")
    fitted = parse("n c ... -> c").fit(x.shape)
    several_values(x, fitted, "batch_renorm", "value per channel")
    old_mean, old_std = (per_channel(v, x, "running statistics") for v in (running_mean, running_std))
    with scope("batch_renorm"):
        x_hat, mean, var = standardized(x, fitted, eps)
        std = None
        if x.size:
            std = ops.sqrt(var + eps)
            r = np.clip(_constant(std) / old_std, 1 / r_max, r_max)
            d = np.clip((_constant(mean) - old_mean) / old_std, -d_max, d_max)
            x_hat = named("x̂", x_hat) * r.astype(x.dtype) + d.astype(x.dtype)
        y = affine(x_hat, per_channel(weight, x, "weight"), per_channel(bias, x, "bias"))
    return (y, mean, std) if return_statistics else y


def _constant(v: Any) -> Any:
    """Return the values of a statistic, which are not differentiated; a complex step does not move them either."""
    return np.real(plain(v))


# γ and β come from data.


def film(x: Any, gamma: Any, beta: Any) -> Any:
    """Scale and shift each channel of each sample: ``y = gamma * x + beta``. Nothing is normalized.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    gamma, beta : Tensor or array of shape (N, C)
        As a network makes them from a condition.

    Returns
    -------
    Tensor or array
        Shape of ``x``; its dtype, promoted with ``gamma`` and ``beta``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If shapes do not fit.

    Notes
    -----
    *Gradient.* ``gamma`` and ``beta`` are inputs like ``x``: their gradients, sums over space, flow on into the network
    that made them.

    References
    ----------
    Perez, Strub, de Vries, Dumoulin and Courville 2018, "FiLM: Visual Reasoning with a General Conditioning Layer",
    arXiv:1709.07871, equation 2.

    Examples
    --------
    >>> import numpy as np
    >>> film(np.array([[1.0, 2.0]]), np.array([[2.0, 3.0]]), np.array([[0.0, 1.0]]))
    array([[2., 7.]])
    """
    x = with_channels(x, "film")
    with scope("film"):
        return affine(x, per_sample_channel(gamma, x, "gamma"), per_sample_channel(beta, x, "beta"))


def conditional_batch_norm(
    x: Any, gamma: Any, beta: Any, *, mean: Any = None, var: Any = None, eps: float = 1e-5
) -> Any:
    """Batch norm whose γ and β differ from sample to sample: pattern ``n c ... -> c``.

    ``y = (x - mean) / sqrt(var + eps) * gamma + beta``, with the statistics of this batch unless they are given.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    gamma, beta : Tensor or array of shape (N, C)
        As a network makes them from a condition.
    mean, var, eps
        As in `batch_norm`.

    Returns
    -------
    Tensor or array
        Shape of ``x``; its dtype, promoted with ``gamma`` and ``beta``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        As in `batch_norm`, and if ``gamma`` or ``beta`` has another shape.

    Notes
    -----
    *Gradient.* For ``x`` as in `batch_norm`; ``gamma`` and ``beta`` pass theirs on to the network that made them.

    References
    ----------
    de Vries, Strub, Mary, Larochelle, Pietquin and Courville 2017, "Modulating early visual processing by language",
    arXiv:1707.00683.

    Examples
    --------
    >>> import numpy as np
    >>> x, gamma, beta = np.array([[1.0], [3.0]]), np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]])
    >>> conditional_batch_norm(x, gamma, beta, eps=0)
    array([[-1.],
           [ 7.]])
    """
    with scope("conditional_batch_norm"):
        return film(batch_norm(x, mean=mean, var=var, eps=eps), gamma, beta)


def adaptive_instance_norm(content: Any, style: Any, eps: float = 1e-5) -> Any:
    """Give each channel of one input the mean and standard deviation of another's: pattern ``n c ... -> n c``.

    ``y = std(style) * (content - mean(content)) / std(content) + mean(style)``, ``std`` with eps inside the root.

    Parameters
    ----------
    content, style : Tensor or array, floating
        Shape ``(N, C, ...)``; their spatial sizes may differ.
    eps : float

    Returns
    -------
    Tensor or array
        Shape of ``content``; its dtype, promoted with that of ``style``.

    Raises
    ------
    TypeError
        If an input is not floating.
    ValueError
        If samples, channels or the number of axes differ, or ``content`` has one spatial element.

    Notes
    -----
    *Gradient.* For ``content`` as in `instance_norm`; ``style`` is reached through its mean and its variance.

    References
    ----------
    Huang and Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization",
    arXiv:1703.06868, equation 8.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_instance_norm(np.array([[[1.0, 3.0]]]), np.array([[[5.0, 5.0, 11.0, 11.0]]]), eps=0)
    array([[[ 5., 11.]]])
    """
    content, style = with_channels(content, "adaptive_instance_norm"), with_channels(style, "adaptive_instance_norm")
    if content.shape[:2] != style.shape[:2] or content.ndim != style.ndim:
        raise ValueError(
            f"content of shape {content.shape} and style of shape {style.shape} need the same (N, C) and rank"
        )
    with scope("adaptive_instance_norm"):
        x_hat = instance_norm(content, eps=eps)
        if content.size == 0:
            return x_hat
        mean, var = moments(style, "n c ... -> n c")
        return affine(x_hat, ops.astype(ops.sqrt(var + eps), style.dtype), ops.astype(mean, style.dtype))


# What is divided by is a length: no mean is subtracted.


def l2_normalize(x: Any, axis: int = -1, eps: float = 1e-12) -> Any:
    """Divide by the Euclidean length along an axis: ``y = x / max(‖x‖, eps)``.

    Parameters
    ----------
    x : Tensor or array, floating
    axis : int
    eps : float
        The smallest length divided by, so that zero stays zero.

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
    """Return about the larger of eps and the largest value, to measure in: squares then neither over- nor underflow.

    The quotient of two measures is the same in every unit, so this is a constant, and for a power of two an exact one.
    """
    largest = np.maximum(np.abs(values.real).max(axis, keepdims=True, initial=0), eps)
    unit: Array = np.ldexp(np.ones_like(largest), np.frexp(largest)[1] - 1)
    return unit


def scale_norm(x: Any, scale: Any, eps: float = 1e-5) -> Any:
    """Give the last axis one learned length: ``y = scale * x / max(‖x‖, eps)``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(..., D)``.
    scale : Tensor, array or float
        One number, the length.
    eps : float
        The smallest length divided by.

    Returns
    -------
    Tensor or array
        Shape of ``x``; its dtype, promoted with ``scale``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``scale`` is more than one number, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* For ``x`` that of `l2_normalize`; ``scale`` sums over everything.

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
