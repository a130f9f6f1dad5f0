"""The classic normalizations, each a composition of primitives as the textbook writes it.

There is no hand-written gradient in this file, no fused operation and no detached statistic: gradients reach ``x``
through the numerator, through the mean and through the variance because all three are in the graph.

Everything takes Tensors or arrays, floating (or complex, for complex-step checks). Arrays give arrays; Tensors are
recorded. If only ``weight`` and ``bias`` need a gradient, the recorded graph is the affine step alone.

Each norm is checked at the door, by ``admit`` and its sisters, which return what the lines after them compute with.
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

# The steps that all of them share.


def standardized(given: Admitted) -> tuple[Any, Any, Any]:
    """Return ``x̂ = (x - mean) / sqrt(var + eps)``, and the mean and the variance."""
    if given.x.size == 0:
        return _empty(given), given.mean, given.var
    mean, centred, var = _moments(given)
    x_hat = centred * ops.rsqrt(var + given.eps)
    return named("x̂", in_shape(ops.astype(x_hat, given.x.dtype), given.shape)), mean, var


def affine(x_hat: Any, weight: Any = None, bias: Any = None, beside: tuple[int, ...] | None = None) -> Any:
    """Scale by γ and shift by β, where they are given, each in the shape in which it stands beside x̂."""
    if weight is None and bias is None:
        return x_hat
    if beside is not None:
        weight, bias = in_shape(weight, beside), in_shape(bias, beside)
    y = x_hat if weight is None else x_hat * weight
    return named("y", y if bias is None else y + bias)


def _moments(given: Admitted) -> tuple[Any, Any, Any]:
    """Return the mean, the deviations from it and their mean square; a statistic that is given stays as it is."""
    values, axes, mean, var = given.values, given.axes, given.mean, given.var
    if mean is None:
        mean = named("μ", ops.mean(values, axes, keepdims=True))
    centred = named("x−μ", values - mean)
    if var is None:
        var = named("σ²", ops.mean(ops.square(centred), axes, keepdims=True))
    return mean, centred, var


def _empty(given: Admitted) -> Any:
    """Return x̂ of an input without elements: not the same Tensor, whose name is its owner's."""
    return named("x̂", ops.reshape(given.x, given.shape))


# The norms.


@composition
def normalize(x: Any, pattern: str, /, *, eps: float = 1e-5, stats_dtype: Any = None, **axis_lengths: int) -> Any:
    """Subtract the mean and divide by the standard deviation of whatever a pattern names.

    ``(x - mean) / sqrt(var + eps)``, with one biased variance and one mean for each combination of the axes kept.

    Parameters
    ----------
    x : Tensor or array, floating
    pattern : str
        The axes of ``x``, an arrow, and the axes that are kept: ``"n c ... -> c"`` is batch norm,
        ``"n (g c) ... -> n g"`` group norm.
    eps : float
        Added to the variance, inside the square root.
    stats_dtype : dtype, optional
        In which statistics are computed; by default that of ``x``, and float32 for float16.
    **axis_lengths : int
        Sizes of axes in parentheses, as ``g=8``. No axis may be called ``eps`` or ``stats_dtype``.

    Returns
    -------
    Tensor or array
        Of the shape and dtype of ``x``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If the pattern is malformed or does not fit the shape, or ``eps`` is negative or not finite.

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
    """Return the mean and the biased variance of whatever a pattern names.

    Parameters are those of `normalize`.

    Returns
    -------
    mean, var : Tensors or arrays
        Reduced axes have size 1, and an axis in parentheses is split: ``"n (g c) h w -> n g"`` gives
        ``(n, g, 1, 1, 1)``.

    Raises
    ------
    ValueError
        Over zero elements, or if the pattern does not fit.

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
    """Normalize each channel over the batch and space: pattern ``n c ... -> c``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``, with the statistics of this batch unless they are given.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    weight, bias : Tensor or array of shape (C,), optional
        The scale γ and the shift β.
    mean, var : Tensor or array of shape (C,) or (1, C, 1, ...), optional
        Statistics to use instead of the batch's own, as at test time.
    eps : float
        Added to the variance, inside the square root.
    stats_dtype : dtype, optional
        As in `normalize`.
    return_statistics : bool
        Return also the mean and the biased variance that were used, of shape ``(1, C, 1, ...)``; None for an empty
        batch.

    Returns
    -------
    Tensor or array
        Shape of ``x``; its dtype, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If the batch has one value per channel and gives the statistics, or shapes or ``eps`` do not fit.

    Notes
    -----
    *Gradient.* ``x`` receives two contributions, through ``centred`` and through ``mean``; ``centred`` receives two,
    from the numerator and from the variance. Unfolded these are four routes; variance to mean carries exactly nothing,
    as deviations sum to zero, and the other three are the three terms of the closed form
    ``dx = (dx̂ - mean(dx̂) - x̂ * mean(dx̂ * x̂)) / sqrt(var + eps)``, ``dx̂ = dy * weight``. So every sample's gradient
    depends on the whole batch. With given statistics only the numerator remains.

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
    """Normalize each sample over its own last axes: pattern ``... a b -> ...``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(..., *normalized_shape)``.
    normalized_shape : int or sequence of int
        The sizes of the axes that are normalized over.
    weight, bias : Tensor or array of shape normalized_shape, optional
    eps : float
    stats_dtype : dtype, optional
        As in `normalize`.

    Returns
    -------
    Tensor or array
        Shape of ``x``; its dtype, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``normalized_shape`` is empty or does not end the shape of ``x``, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* The three terms of `batch_norm`, with averages over the sample's features: samples do not interact.

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
    """Normalize each channel of each sample over space: pattern ``n c ... -> n c``.

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
        Shape of ``x``; its dtype, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If there are no spatial axes or only one spatial element, or shapes or ``eps`` do not fit.

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

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``. Groups of one element give exactly ``bias``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C)`` or ``(N, C, ...)``.
    num_groups : int
        Divides C.
    weight, bias : Tensor or array of shape (C,), optional
    eps : float
    stats_dtype : dtype, optional
        As in `normalize`.

    Returns
    -------
    Tensor or array
        Shape of ``x``; its dtype, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``num_groups`` does not divide the channels, or shapes or ``eps`` do not fit.

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
    """Divide each sample by the root of the mean square of its last axes; the mean is not subtracted.

    ``y = x / sqrt(mean(x²) + eps) * weight``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(..., *normalized_shape)``.
    normalized_shape : int or sequence of int
    weight : Tensor or array of shape normalized_shape, optional
    eps : float, optional
        By default the machine epsilon of the dtype that statistics are computed in.
    stats_dtype : dtype, optional
        As in `normalize`.

    Returns
    -------
    Tensor or array
        Shape of ``x``; its dtype, promoted with ``weight``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If ``normalized_shape`` is empty or does not end the shape of ``x``, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* Two terms: through the numerator, and through the mean square (minus x̂ times the average of cotangent
    times x̂). No mean is subtracted, so no average of the cotangent is either.

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
    """Divide each value by a power of the mean square of the channels around it, at its own position.

    ``y = x / (k + alpha * mean(x²)) ** beta``, the mean over channels ``c - size // 2 .. c + (size - 1) // 2``, where
    those that do not exist count as 0.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C, ...)`` with at least one spatial axis.
    size : int
        How many channels a mean runs over.
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
    *Gradient.* Two paths: through the numerator, and through the mean square of every window that holds the value, so
    neighbouring channels interact. No mean is subtracted.

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
