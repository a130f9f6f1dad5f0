"""The classic normalizations, each a composition of primitives as in a textbook.

This file contains no hand-written gradient, no fused operation and no detached statistic: gradients reach ``x`` through
the numerator, the mean and the variance because all three are in the graph.

All functions take Tensors or arrays of floating dtype (or complex dtype, for complex-step checks). Arrays return
arrays; operations on Tensors are recorded. If only ``weight`` and ``bias`` require a gradient, only the affine step is
recorded.

Each norm first calls one of the ``admit`` functions, which checks the arguments and returns them in a common form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine import ops
from ..engine.recording import composition, scope
from ..engine.tensor import named
from .checks import (
    Admitted,
    admit,
    admit_channels,
    admit_groups,
    admit_last,
    finite,
    floating,
    for_statistics,
    in_shape,
    positive,
)

# Steps that all norms share.


def standardized(given: Admitted) -> tuple[Any, Any, Any]:
    """Return ``x̂ = (x - mean) / sqrt(var + eps)``, and the mean and the variance."""
    if given.x.size == 0:
        return _empty(given), given.mean, given.var
    mean, centred, var = _moments(given)
    x_hat = centred * ops.rsqrt(var + given.eps)
    return named("x̂", in_shape(ops.astype(x_hat, given.x.dtype), given.shape)), mean, var


def affine(x_hat: Any, weight: Any = None, bias: Any = None, beside: tuple[int, ...] | None = None) -> Any:
    """Scale by γ and shift by β, if given, each reshaped to ``beside`` to broadcast against x̂."""
    if weight is None and bias is None:
        return x_hat
    if beside is not None:
        weight, bias = in_shape(weight, beside), in_shape(bias, beside)
    y = x_hat if weight is None else x_hat * weight
    return named("y", y if bias is None else y + bias)


def _moments(given: Admitted) -> tuple[Any, Any, Any]:
    """Return the mean, the deviations from the mean and their mean square. Given statistics are used unchanged."""
    values, axes, mean, var = given.values, given.axes, given.mean, given.var
    if mean is None:
        mean = named("μ", ops.mean(values, axes, keepdims=True))
    centred = named("x−μ", values - mean)
    if var is None:
        var = named("σ²", ops.mean(ops.square(centred), axes, keepdims=True))
    return mean, centred, var


def _empty(given: Admitted) -> Any:
    """Return x̂ of an input without elements, as a new Tensor so that the input keeps its name."""
    return named("x̂", ops.reshape(given.x, given.shape))


# The norms.


@composition
def normalize(x: Any, pattern: str, /, *, eps: float = 1e-5, stats_dtype: Any = None, **axis_lengths: int) -> Any:
    """Subtract the mean and divide by the standard deviation over the axes given by a pattern.

    ``(x - mean) / sqrt(var + eps)``, with one mean and one biased variance for each index of the kept axes.

    Parameters
    ----------
    x : Tensor or array, floating
    pattern : str
        The axes of ``x``, an arrow, and the axes to keep: ``"n c ... -> c"`` is batch norm,
        ``"n (g c) ... -> n g"`` group norm.
    eps : float
        Added to the variance, inside the square root.
    stats_dtype : dtype, optional
        The dtype in which statistics are computed; by default that of ``x``, but float32 for float16.
    **axis_lengths : int
        Sizes of axes in parentheses, such as ``g=8``. No axis may be named ``eps`` or ``stats_dtype``.

    Returns
    -------
    Tensor or array
        Of the shape and dtype of ``x``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If the pattern is malformed or does not match the shape, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* Three terms: through the numerator, through the mean (minus the average of the cotangent over the values
    that share it), and through the variance (minus x̂ times the average of cotangent times x̂).

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> x = np.array([[1.0, 2.0], [3.0, 6.0]])
    >>> tn.normalize(x, "n c -> c", eps=0)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> tn.normalize(x, "n c -> n", eps=0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    with scope("normalize"):
        x_hat, _, _ = standardized(admit(x, pattern, axis_lengths, eps, stats_dtype))
    return x_hat


def moments(x: Any, pattern: str, /, *, stats_dtype: Any = None, **axis_lengths: int) -> tuple[Any, Any]:
    """Return the mean and the biased variance over the axes given by a pattern.

    The parameters are those of `normalize`.

    Returns
    -------
    mean, var : Tensors or arrays
        Reduced axes have size 1, and an axis in parentheses is split: the shape for ``"n (g c) h w -> n g"`` is
        ``(n, g, 1, 1, 1)``.

    Raises
    ------
    ValueError
        If there are no elements, or the pattern does not match the shape.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.moments(np.array([[1.0, 2.0], [3.0, 6.0]]), "n c -> c")
    (array([[2., 4.]]), array([[1., 4.]]))
    """
    with scope("moments"):
        mean, _, var = _moments(admit(x, pattern, axis_lengths, stats_dtype=stats_dtype))
    return mean, var


@composition
def batch_norm(
    x: Any,
    *,
    weight: Any = None,
    bias: Any = None,
    mean: Any = None,
    var: Any = None,
    eps: float = 1e-5,
    stats_dtype: Any = None,
    return_statistics: bool = False,
) -> Any:
    """Normalize each channel over the batch and spatial axes: pattern ``n c ... -> c``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``, with the statistics of this batch unless they are given.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    weight, bias : Tensor or array of shape (C,), optional
        The scale γ and the shift β.
    mean, var : Tensor or array of shape (C,) or (1, C, 1, ...), optional
        Statistics to use instead of those of the batch, for example at inference time.
    eps : float
        Added to the variance, inside the square root.
    stats_dtype : dtype, optional
        As in `normalize`.
    return_statistics : bool
        Also return the mean and the biased variance that were used, of shape ``(1, C, 1, ...)``; None for an empty
        batch.

    Returns
    -------
    Tensor or array
        Shape of ``x``; dtype of ``x``, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If statistics are computed from only one value per channel, or a shape or ``eps`` is invalid.

    Notes
    -----
    *Gradient.* ``x`` receives two contributions, through ``centred`` and through ``mean``; ``centred`` receives two,
    from the numerator and from the variance. This makes four routes to ``x``. The route through both variance and mean
    contributes exactly zero, because deviations sum to zero. The other three are the three terms of the closed form
    ``dx = (dx̂ - mean(dx̂) - x̂ * mean(dx̂ * x̂)) / sqrt(var + eps)`` with ``dx̂ = dy * weight``. So the gradient of every
    sample depends on the whole batch. With given statistics, only the term of the numerator remains.

    References
    ----------
    Ioffe and Szegedy 2015, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift", arXiv:1502.03167, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.batch_norm(np.array([[1.0, 2.0], [3.0, 6.0]]), weight=np.array([1.0, 10.0]), eps=0)
    array([[ -1., -10.],
           [  1.,  10.]])
    """
    with scope("batch_norm"):
        given = admit_channels(
            "batch_norm", x, "n c ... -> c", weight, bias, eps, stats_dtype, mean, var, several="value per channel"
        )
        x_hat, mean, var = standardized(given)
        y = affine(x_hat, given.weight, given.bias, given.beside)
    return (y, mean, var) if return_statistics else y


@composition
def layer_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *,
    stats_dtype: Any = None,
) -> Any:
    """Normalize each sample over its last axes: pattern ``... a b -> ...``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(..., *normalized_shape)``.
    normalized_shape : int or sequence of int
        The sizes of the axes to normalize over.
    weight, bias : Tensor or array of shape normalized_shape, optional
    eps : float
    stats_dtype : dtype, optional
        As in `normalize`.

    Returns
    -------
    Tensor or array
        Shape of ``x``; dtype of ``x``, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``normalized_shape`` is empty or is not the end of the shape of ``x``, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* The three terms of `batch_norm`, with averages over the features of a sample. Samples do not interact.

    References
    ----------
    Ba, Kiros and Hinton 2016, "Layer Normalization", arXiv:1607.06450, equation 4.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.layer_norm(np.array([[1.0, 2.0], [3.0, 6.0]]), 2, eps=0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    with scope("layer_norm"):
        given = admit_last("layer_norm", x, normalized_shape, weight, bias, eps, stats_dtype)
        x_hat, _, _ = standardized(given)
        return affine(x_hat, given.weight, given.bias, given.beside)


@composition
def instance_norm(x: Any, *, weight: Any = None, bias: Any = None, eps: float = 1e-5, stats_dtype: Any = None) -> Any:
    """Normalize each channel of each sample over the spatial axes: pattern ``n c ... -> n c``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C, ...)`` with at least one spatial axis.
    weight, bias : Tensor or array of shape (C,), optional
    eps : float
    stats_dtype : dtype, optional
        As in `normalize`.

    Returns
    -------
    Tensor or array
        Shape of ``x``; dtype of ``x``, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If there are no spatial axes or only one spatial element, or a shape or ``eps`` is invalid.

    Notes
    -----
    *Gradient.* The three terms of `batch_norm`, with averages over the positions of one channel of one sample.

    References
    ----------
    Ulyanov, Vedaldi and Lempitsky 2016, "Instance Normalization: The Missing Ingredient for Fast Stylization",
    arXiv:1607.08022, equation 3.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.instance_norm(np.array([[[1.0, 3.0], [2.0, 6.0]]]), eps=0)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    with scope("instance_norm"):
        given = admit_channels(
            "instance_norm", x, "n c ... -> n c", weight, bias, eps, stats_dtype, several="spatial element"
        )
        x_hat, _, _ = standardized(given)
        return affine(x_hat, given.weight, given.bias, given.beside)


@composition
def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *, stats_dtype: Any = None
) -> Any:
    """Normalize each group of channels of each sample: pattern ``n (g c) ... -> n g``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``. For groups of one element, ``y`` is exactly ``bias``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    num_groups : int
        The number of groups; it must divide C.
    weight, bias : Tensor or array of shape (C,), optional
    eps : float
    stats_dtype : dtype, optional
        As in `normalize`.

    Returns
    -------
    Tensor or array
        Shape of ``x``; dtype of ``x``, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``num_groups`` does not divide the number of channels, or a shape or ``eps`` is invalid.

    Notes
    -----
    *Gradient.* The three terms of `batch_norm`, with averages over the group's channels and positions of one sample.

    References
    ----------
    Wu and He 2018, "Group Normalization", arXiv:1803.08494, equation 7.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.group_norm(np.array([[1.0, 3.0, 2.0, 6.0]]), 2, eps=0)
    array([[-1.,  1., -1.,  1.]])
    """
    with scope("group_norm"):
        given = admit_groups("group_norm", x, "n (g c) ... -> n g", num_groups, weight, bias, eps, stats_dtype)
        x_hat, _, _ = standardized(given)
        return affine(x_hat, given.weight, given.bias, given.beside)


@composition
def rms_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    eps: float | None = None,
    *,
    stats_dtype: Any = None,
) -> Any:
    """Divide each sample by the root mean square of its last axes, without subtracting the mean.

    ``y = x / sqrt(mean(x²) + eps) * weight``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(..., *normalized_shape)``.
    normalized_shape : int or sequence of int
    weight : Tensor or array of shape normalized_shape, optional
    eps : float, optional
        By default the machine epsilon of the dtype in which statistics are computed.
    stats_dtype : dtype, optional
        As in `normalize`.

    Returns
    -------
    Tensor or array
        Shape of ``x``; dtype of ``x``, promoted with ``weight``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``normalized_shape`` is empty or is not the end of the shape of ``x``, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* Two terms: through the numerator, and through the mean square (minus x̂ times the average of cotangent
    times x̂). There is no term through the mean, because no mean is subtracted.

    References
    ----------
    Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", arXiv:1910.07467, equation 4.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.rms_norm(np.array([[1.0, 7.0]]), 2, eps=0)
    array([[0.2, 1.4]])
    """
    with scope("rms_norm"):
        given = admit_last("rms_norm", x, normalized_shape, weight, None, 0.0 if eps is None else eps, stats_dtype)
        values, eps = given.values, float(np.finfo(given.values.dtype).eps) if eps is None else given.eps
        if values.size == 0:
            x_hat = _empty(given)
        else:
            mean_square = named("mean x²", ops.mean(ops.square(values), given.axes, keepdims=True))
            x_hat = named("x̂", ops.astype(values * ops.rsqrt(mean_square + eps), given.x.dtype))
        return affine(x_hat, given.weight)


def local_response_norm(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, stats_dtype: Any = None
) -> Any:
    """Divide each value by a power of the mean square of neighbouring channels at the same position.

    ``y = x / (k + alpha * mean(x²)) ** beta``, with the mean over channels ``c - size // 2 .. c + (size - 1) // 2``.
    Channels outside the input count as 0.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C, ...)`` with at least one spatial axis.
    size : int
        The number of channels that a mean runs over.
    alpha, beta, k : float
    stats_dtype : dtype, optional
        As in `normalize`.

    Returns
    -------
    Tensor or array
        Of the shape and dtype of ``x``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``x`` has fewer than 3 axes, ``size`` is not a positive integer, or ``alpha``, ``beta`` or ``k`` is not
        finite.

    Notes
    -----
    *Gradient.* Two paths: through the numerator, and through the mean square of every window that contains the value,
    so neighbouring channels interact. No mean is subtracted.

    References
    ----------
    Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section
    3.3. As in PyTorch, ``alpha`` multiplies the mean; in the paper it multiplies the sum.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.local_response_norm(np.array([[[3.0], [4.0], [0.0]]]), 2, alpha=2, beta=0.5, k=0).round(3)
    array([[[1. ],
            [0.8],
            [0. ]]])
    """
    x, positions = floating(x), positive("size", size)
    alpha, beta, k = finite("alpha", alpha), finite("beta", beta), finite("k", k)
    if x.ndim < 3:
        raise ValueError(f"local_response_norm expects (N, C, ...) with a spatial axis, got shape {x.shape}")
    if x.size == 0:
        return ops.reshape(x, x.shape)
    with scope("local_response_norm"):
        values = for_statistics(x, stats_dtype)
        around = [(0, 0)] * (x.ndim - 1) + [(positions // 2, (positions - 1) // 2)]
        squares = ops.pad(ops.moveaxis(ops.square(values), 1, -1), around)
        mean_square = named("mean x²", ops.mean(ops.sliding_windows(squares, (positions,)), -1))
        divisor = (k + alpha * ops.moveaxis(mean_square, -1, 1)) ** beta
        return named("y", ops.astype(values / divisor, x.dtype))
