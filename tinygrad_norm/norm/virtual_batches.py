"""Batch norm with other statistics: those of parts of a batch, or corrected by running statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine import ops
from ..engine.recording import no_grad, scope
from .checks import admit_channels, admit_parts, corrections, statistic
from .functional import affine, standardized


def ghost_batch_norm(
    x: Any,
    virtual_batch_size: int,
    *,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    return_statistics: bool = False,
) -> Any:
    """Apply batch norm to consecutive parts of a batch separately: pattern ``(v n) c ... -> v c``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    virtual_batch_size : int
        The size of the parts; it must divide N.
    weight, bias : Tensor or array of shape (C,), optional
    eps : float
    return_statistics : bool
        Also return the mean and the biased variance, of shape ``(v, 1, C, 1, ...)``; None for an empty batch.

    Returns
    -------
    Tensor or array
        Shape of ``x``; dtype of ``x``, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``virtual_batch_size`` does not divide N, a part has one value per channel, or a shape or ``eps`` is invalid.

    Notes
    -----
    *Gradient.* The three terms of `batch_norm`; samples interact only within their part.

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
    with scope("ghost_batch_norm"):
        given = admit_parts("ghost_batch_norm", x, "(v n) c ... -> v c", virtual_batch_size, weight, bias, eps)
        x_hat, mean, var = standardized(given)
        y = affine(x_hat, given.weight, given.bias, given.beside)
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
    """Apply batch norm, corrected towards normalization with running statistics.

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
        The largest corrections; ``r_max`` must be at least 1 and ``d_max`` at least 0.
    eps : float
    return_statistics : bool
        Also return the mean and standard deviation of the batch, of shape ``(1, C, 1, ...)``; None for an empty batch.

    Returns
    -------
    Tensor or array
        Shape of ``x``; dtype of ``x``, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If there is one value per channel, ``r_max`` or ``d_max`` is too small, or a shape or ``eps`` is invalid.

    Notes
    -----
    *Gradient.* ``r`` and ``d`` are constants: gradients flow through the statistics of the batch as in `batch_norm`,
    scaled by ``r``. This is not the derivative of the output, so it differs from finite differences, in which ``r`` and
    ``d`` change.

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
    with scope("batch_renorm"):
        given = admit_channels("batch_renorm", x, "n c ... -> c", weight, bias, eps, several="value per channel")
        old_mean = statistic(running_mean, given.shape, "running_mean")
        old_std = statistic(running_std, given.shape, "running_std")
        x_hat, mean, var = standardized(given)
        std = None if var is None else ops.sqrt(var + given.eps)
        if std is not None:
            # These are constants, also in a complex step.
            with no_grad():
                r = np.clip(np.real(std) / old_std, 1 / r_max, r_max)
                d = np.clip((np.real(mean) - old_mean) / old_std, -d_max, d_max)
            x_hat = x_hat * ops.astype(r, x_hat.dtype) + ops.astype(d, x_hat.dtype)
        y = affine(x_hat, given.weight, given.bias, given.beside)
    return (y, mean, std) if return_statistics else y
