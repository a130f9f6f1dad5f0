"""Normalizations whose γ and β come from data: from a condition, or from the statistics of another image."""

from __future__ import annotations

from typing import Any

from ..engine import ops
from ..engine.recording import scope
from .checks import shaped, with_channels
from .functional import affine, batch_norm, instance_norm, moments


def film(x: Any, gamma: Any, beta: Any) -> Any:
    """Scale and shift each channel of each sample: ``y = gamma * x + beta``, without normalization.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    gamma, beta : Tensor or array of shape (N, C)
        Scale and shift, usually computed by a network from a condition.

    Returns
    -------
    Tensor or array
        Shape of ``x``; dtype of ``x``, promoted with ``gamma`` and ``beta``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If a shape is invalid.

    Notes
    -----
    *Gradient.* ``gamma`` and ``beta`` are inputs like ``x``: their gradients, sums over the spatial axes, flow back to
    the network that computed them.

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
    own = x.shape[:2]
    gamma, beta = shaped(gamma, own, "gamma"), shaped(beta, own, "beta")
    with scope("film"):
        return affine(x, gamma, beta, beside=own + (1,) * (x.ndim - 2))


def conditional_batch_norm(
    x: Any, gamma: Any, beta: Any, *, mean: Any = None, var: Any = None, eps: float = 1e-5
) -> Any:
    """Apply batch norm with γ and β for each sample: pattern ``n c ... -> c``.

    ``y = (x - mean) / sqrt(var + eps) * gamma + beta``, with the statistics of this batch unless they are given.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    gamma, beta : Tensor or array of shape (N, C)
        Scale and shift, usually computed by a network from a condition.
    mean, var, eps
        As in `batch_norm`.

    Returns
    -------
    Tensor or array
        Shape of ``x``; dtype of ``x``, promoted with ``gamma`` and ``beta``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        As in `batch_norm`, and if ``gamma`` or ``beta`` has the wrong shape.

    Notes
    -----
    *Gradient.* For ``x`` as in `batch_norm`; for ``gamma`` and ``beta`` as in `film`.

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
    """Give each channel of one input the mean and standard deviation of another: pattern ``n c ... -> n c``.

    ``y = std(style) * (content - mean(content)) / std(content) + mean(style)``, with ``std = sqrt(var + eps)``.

    Parameters
    ----------
    content, style : Tensor or array, floating
        Shape ``(N, C, ...)``; their spatial sizes may differ.
    eps : float

    Returns
    -------
    Tensor or array
        Shape of ``content``; dtype of ``content``, promoted with that of ``style``.

    Raises
    ------
    TypeError
        If an input is not floating.
    ValueError
        If samples, channels or the number of axes differ, or ``content`` has one spatial element.

    Notes
    -----
    *Gradient.* For ``content`` as in `instance_norm`; ``style`` receives gradients through its mean and its variance.

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
    content = with_channels(content, "adaptive_instance_norm", "content")
    style = with_channels(style, "adaptive_instance_norm", "style")
    if content.shape[:2] != style.shape[:2] or content.ndim != style.ndim:
        raise ValueError(
            f"content and style must have the same N, C and number of axes, got shapes {content.shape}, {style.shape}"
        )
    with scope("adaptive_instance_norm"):
        x_hat = instance_norm(content, eps=eps)
        if content.size == 0:
            return x_hat
        mean, var = moments(style, "n c ... -> n c")
        return affine(x_hat, ops.astype(ops.sqrt(var + eps), style.dtype), ops.astype(mean, style.dtype))
