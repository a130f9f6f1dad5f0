"""The classic normalizations, each a composition of primitives as the textbook writes it.

There is no hand-written gradient in this file, no fused operation and no detached statistic: gradients reach ``x``
through the numerator, through the mean and through the variance because all three are in the graph.

Everything takes Tensors or arrays. Arrays give arrays; Tensors are recorded. If only ``weight`` and ``bias`` need a
gradient, the recorded graph is the affine step alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine import ops
from ..engine.recording import scope
from ..engine.tensor import named
from .checks import as_statistic, ending_shape, finite_eps, floating, per_channel, shaped
from .pattern import Fitted, parse


def normalize(x: Any, pattern: str, *, eps: float = 1e-5, stats_dtype: Any = None, **axis_lengths: int) -> Any:
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
        Sizes of axes in parentheses, as ``g=8``.

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
    x = floating(x)
    fitted = parse(pattern).fit(x.shape, axis_lengths)
    with scope("normalize"):
        return _normalized(x, fitted, eps, stats_dtype)


def moments(x: Any, pattern: str, *, stats_dtype: Any = None, **axis_lengths: int) -> tuple[Any, Any]:
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
    x = floating(x)
    with scope("moments"):
        mean, _, var = _centred(x, parse(pattern).fit(x.shape, axis_lengths), stats_dtype)
    return mean, var


def batch_norm(
    x: Any,
    *,
    weight: Any = None,
    bias: Any = None,
    mean: Any = None,
    var: Any = None,
    eps: float = 1e-5,
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

    Statistics of float16 input are computed in float32.

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
    x = floating(x)
    finite_eps(eps)
    if x.ndim < 2:
        raise ValueError(f"batch_norm expects (N, C) or (N, C, ...), got an input of shape {x.shape}")
    axes = (0, *range(2, x.ndim))
    mean, var = as_statistic(mean, x, "mean"), as_statistic(var, x, "var")
    if x.size == x.shape[1] != 0 and (mean is None or var is None):
        raise ValueError(
            f"batch_norm needs more than one value per channel to have statistics: shape {x.shape}, over axes {axes}"
        )
    with scope("batch_norm"):
        if x.size == 0:
            normalized = x
        else:
            values = _for_statistics(x)
            if mean is None:
                mean = named("μ", ops.mean(values, axes, keepdims=True))
            centred = named("x−μ", values - mean)
            if var is None:
                var = named("σ²", ops.mean(ops.square(centred), axes, keepdims=True))
            normalized = named("x̂", ops.astype(centred * ops.rsqrt(var + eps), x.dtype))
        y = _affine(normalized, per_channel(weight, x, "weight"), per_channel(bias, x, "bias"))
    return (y, mean, var) if return_statistics else y


def layer_norm(
    x: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
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
    x = floating(x)
    shape = ending_shape(x, normalized_shape, "layer_norm")
    pattern = parse("... " + " ".join(f"d{i}" for i in range(len(shape))) + " -> ...")
    with scope("layer_norm"):
        normalized = _normalized(x, pattern.fit(x.shape), eps)
        return _affine(normalized, shaped(weight, shape, "weight"), shaped(bias, shape, "bias"))


def instance_norm(x: Any, *, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalize each channel of each sample over space: pattern ``n c ... -> n c``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    Parameters
    ----------
    x : Tensor or array, floating
        Shape ``(N, C, ...)`` with at least one spatial axis.
    weight, bias : Tensor or array of shape (C,), optional
    eps : float

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
    x = floating(x)
    fitted = parse("n c ... -> n c").fit(x.shape)
    if x.size and fitted.values_per_mean == 1:
        raise ValueError(f"instance_norm needs more than one spatial element, got an input of shape {x.shape}")
    with scope("instance_norm"):
        normalized = _normalized(x, fitted, eps)
        return _affine(normalized, per_channel(weight, x, "weight"), per_channel(bias, x, "bias"))


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
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
    x = floating(x)
    if x.ndim < 2:
        raise ValueError(f"group_norm expects (N, C) or (N, C, ...), got an input of shape {x.shape}")
    if isinstance(num_groups, bool) or not isinstance(num_groups, int) or num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(
            f"num_groups must be a positive integer that divides the {x.shape[1]} channels, not {num_groups!r}"
        )
    fitted = parse("n (g c) ... -> n g").fit(x.shape, {"g": num_groups})
    with scope("group_norm"):
        normalized = _normalized(x, fitted, eps)
        return _affine(normalized, per_channel(weight, x, "weight"), per_channel(bias, x, "bias"))


def rms_norm(x: Any, normalized_shape: int | Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
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
    x = floating(x)
    shape = ending_shape(x, normalized_shape, "rms_norm")
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    with scope("rms_norm"):
        values = _for_statistics(x)
        eps = float(np.finfo(values.dtype).eps) if eps is None else finite_eps(eps)
        normalized = x
        if x.size:
            mean_square = named("mean x²", ops.mean(ops.square(values), axes, keepdims=True))
            normalized = named("x̂", ops.astype(values * ops.rsqrt(mean_square + eps), x.dtype))
        return _affine(normalized, shaped(weight, shape, "weight"), None)


# The shared steps.


def _centred(x: Any, fitted: Fitted, stats_dtype: Any = None) -> tuple[Any, Any, Any]:
    """Return the mean, the deviations from it and their mean square, over the axes that a pattern reduces."""
    values = _for_statistics(x, stats_dtype)
    if fitted.shape != x.shape:
        values = ops.reshape(values, fitted.shape)
    mean = named("μ", ops.mean(values, fitted.axes, keepdims=True))
    centred = named("x−μ", values - mean)
    var = named("σ²", ops.mean(ops.square(centred), fitted.axes, keepdims=True))
    return mean, centred, var


def _normalized(x: Any, fitted: Fitted, eps: float, stats_dtype: Any = None) -> Any:
    finite_eps(eps)
    if x.size == 0:
        return x
    _, centred, var = _centred(x, fitted, stats_dtype)
    normalized = ops.astype(centred * ops.rsqrt(var + eps), x.dtype)
    if fitted.shape != x.shape:
        normalized = ops.reshape(normalized, x.shape)
    return named("x̂", normalized)


def _affine(normalized: Any, weight: Any, bias: Any) -> Any:
    """Scale by γ and shift by β, where they are given."""
    if weight is None and bias is None:
        return normalized
    y = normalized if weight is None else normalized * weight
    return named("y", y if bias is None else y + bias)


def _for_statistics(x: Any, stats_dtype: Any = None) -> Any:
    """Return the values in the dtype that statistics are computed in: at least float32."""
    if stats_dtype is None:
        stats_dtype = np.float32 if x.dtype == np.float16 else x.dtype
    elif np.dtype(stats_dtype).kind != "f":
        raise TypeError(f"stats_dtype must be a floating dtype, not {np.dtype(stats_dtype)}")
    return ops.astype(x, stats_dtype)
