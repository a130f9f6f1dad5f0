"""The normalization layers, which add parameters and running statistics to the functions of ``norm.functional``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.operators import Array
from ..engine.recording import once_known
from ..engine.tensor import Tensor
from ..norm.checks import finite, finite_eps, parameter_dtype, positive, sizes, statistics_dtype
from ..norm.functional import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    moments,
    rms_norm,
)
from .module import Module, Parameter, one_array
from .running import ChannelNorm, unbiased


class BatchNorm(ChannelNorm):
    """The base class of batch norms of every rank."""

    @property
    def pools(self) -> bool:
        return self.has_running_stats

    def pooled(self, x: Array) -> Array:
        return np.moveaxis(x, 1, -1).reshape(-1, self.num_features)

    def forward(self, x: Any) -> Any:
        self.check_input(x)
        affine: dict[str, Any] = {"weight": self.weight, "bias": self.bias}
        options: dict[str, Any] = {"eps": self.eps, "stats_dtype": self.stats_dtype}
        if self.uses_running_stats:
            return batch_norm(x, mean=self.running_mean, var=self.running_var, **affine, **options)
        y, mean, var, count = self.by_batch(x, **affine, **options)
        if self.moves_running_stats and count:
            once_known(lambda: self.track(mean.data, unbiased(var, count)))
        return y

    def by_batch(self, x: Any, **options: Any) -> tuple[Any, Any, Any, int]:
        """Normalize with the statistics of the batch; also return these, and the number of values per statistic."""
        return (*batch_norm(x, return_statistics=True, **options), x.size // self.num_features)


class _InstanceNorm(ChannelNorm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = False,
        track_running_stats: bool = False, bias: bool = True, dtype: Any = np.float32, *, stats_dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype, stats_dtype=stats_dtype)

    @property
    def uses_running_stats(self) -> bool:
        # As in PyTorch: unlike a batch norm, it uses the statistics of the input if tracking is switched off.
        return self.track_running_stats and super().uses_running_stats

    def share_of_a_new_batch(self) -> float:
        # As in PyTorch: batches are not counted, and momentum=None means 0.
        return self.momentum or 0.0

    def forward(self, x: Any) -> Any:
        unbatched = one_array(self, x).ndim == min(self.ranks)
        self.check_input(x, 0 if unbatched else 1)
        if unbatched:
            return self._instances(x.reshape((1, *x.shape))).reshape(x.shape)
        return self._instances(x)

    def _instances(self, x: Tensor) -> Any:
        affine: dict[str, Any] = {"weight": self.weight, "bias": self.bias}
        options: dict[str, Any] = {"eps": self.eps, "stats_dtype": self.stats_dtype}
        if self.uses_running_stats:
            return batch_norm(x, mean=self.running_mean, var=self.running_var, **affine, **options)
        y = instance_norm(x, **affine, **options)
        if self.moves_running_stats and x.size:
            mean, var = moments(x.detach(), "n c ... -> n c", stats_dtype=self.stats_dtype)
            count = x.size // (x.shape[0] * self.num_features)
            self.track(mean.data.mean(axis=0), unbiased(var, count).mean(axis=0))
        return y


def _reworded(layer: type[Module], *changes: tuple[str, str]) -> str:
    """Return the docstring of a layer, adapted to a layer of another rank."""
    text = layer.__doc__ or ""
    for old, new in changes:
        text = text.replace(old, new)
    return text


class BatchNorm1d(BatchNorm):
    """Batch normalization of (N, C) or (N, C, L): pattern ``n c ... -> c``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``, with one mean and one biased variance for each channel, over
    the batch and L. In training these are the statistics of the batch, and gradients flow through them; in eval mode
    they are the running averages.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance, inside the square root.
    momentum : float or None
        The weight of the new value in ``running_mean`` and ``running_var``; None for the plain average of all batches.
        Keras and Flax call the weight of the *old* value momentum.
    affine, bias : bool
        Whether the layer has ``weight`` (γ) and ``bias`` (β), of shape (C,).
    track_running_stats : bool
        If False, eval mode also uses the statistics of the batch.
    dtype : dtype
        The dtype of parameters and buffers.
    stats_dtype : dtype, optional
        The dtype in which statistics are computed; by default that of the input, but float32 for float16.

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        If the rank or number of channels is wrong, ``eps`` is negative or not finite, or in training there is only one
        value per channel.

    Notes
    -----
    The layer normalizes with the biased variance and tracks the unbiased one. The output for an empty batch is empty,
    and the batch is not counted.

    *Gradient.* See `tinygrad_norm.batch_norm`. In eval mode the layer is an affine map.

    References
    ----------
    Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = tn.nn.BatchNorm1d(1)
    >>> y = layer(np.array([0.0, 2.0], np.float32).reshape(2, 1))
    >>> layer.running_mean, layer.running_var
    (array([0.1], dtype=float32), array([1.1], dtype=float32))
    """

    ranks = (2, 3)


class BatchNorm2d(BatchNorm):
    __doc__ = _reworded(
        BatchNorm1d,
        ("(N, C) or (N, C, L)", "(N, C, H, W)"),
        ("batch and L", "batch, H and W"),
        ("tn.nn.BatchNorm1d", "tn.nn.BatchNorm2d"),
        ("(2, 1)", "(2, 1, 1, 1)"),
    )
    ranks = (4,)


class BatchNorm3d(BatchNorm):
    __doc__ = _reworded(
        BatchNorm1d,
        ("(N, C) or (N, C, L)", "(N, C, D, H, W)"),
        ("batch and L", "batch, D, H and W"),
        ("tn.nn.BatchNorm1d", "tn.nn.BatchNorm3d"),
        ("(2, 1)", "(2, 1, 1, 1, 1)"),
    )
    ranks = (5,)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of (N, C, L): pattern ``n c ... -> n c``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``, with one mean and one biased variance for each channel of each
    sample, over L. Unbatched input, without N, is also supported.

    Parameters
    ----------
    num_features : int
        C.
    eps, dtype, stats_dtype
        As in `BatchNorm1d`.
    momentum : float or None
        As in `BatchNorm1d`, but None means 0, and ``num_batches_tracked`` stays 0, as in PyTorch.
    affine, bias : bool
        Whether the layer has ``weight`` and ``bias``, of shape (C,). By default it has none.
    track_running_stats : bool
        Whether the layer keeps running averages of the statistics and uses them in eval mode. The default is False.

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        If the rank or number of channels is wrong, ``eps`` is negative or not finite, or there is only one spatial
        element, unless running statistics are used.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.instance_norm`.

    References
    ----------
    Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = tn.nn.InstanceNorm1d(1, eps=0.0)
    >>> layer(np.array([[1.0, 3.0], [2.0, 6.0]]).reshape(2, 1, 2)).data.ravel()
    array([-1.,  1., -1.,  1.])
    """

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    __doc__ = _reworded(
        InstanceNorm1d,
        ("(N, C, L)", "(N, C, H, W)"),
        ("over L", "over H and W"),
        ("InstanceNorm1d", "InstanceNorm2d"),
        ("(2, 1, 2)", "(2, 1, 1, 2)"),
    )
    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    __doc__ = _reworded(
        InstanceNorm1d,
        ("(N, C, L)", "(N, C, D, H, W)"),
        ("over L", "over D, H and W"),
        ("InstanceNorm1d", "InstanceNorm3d"),
        ("(2, 1, 2)", "(2, 1, 1, 1, 2)"),
    )
    ranks = (4, 5)


class LayerNorm(Module):
    """Layer normalization over the last axes: pattern ``... a b -> ...``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``, with one mean and one biased variance for each sample.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The sizes of the last axes, which are normalized over.
    eps : float
    elementwise_affine, bias : bool
        Whether the layer has ``weight`` and ``bias``, of shape ``normalized_shape``.
    dtype : dtype
    stats_dtype : dtype, optional
        As in `BatchNorm1d`.

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        If the input shape does not end with ``normalized_shape``, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.layer_norm`.

    References
    ----------
    Ba, Kiros and Hinton 2016, arXiv:1607.06450.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.LayerNorm(2, eps=0.0)(np.array([[1.0, 3.0], [2.0, 6.0]])).data
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True, dtype: Any = np.float32, *, stats_dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stats_dtype, dtype = statistics_dtype(stats_dtype), parameter_dtype(dtype)
        self.normalized_shape = sizes("normalized_shape", normalized_shape)
        self.eps = finite_eps(eps)
        self.elementwise_affine = elementwise_affine
        self.weight = Parameter(np.ones(self.normalized_shape), dtype=dtype) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape), dtype=dtype) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Any:
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps, stats_dtype=self.stats_dtype)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Group normalization of (N, C, ...): pattern ``n (g c) ... -> n g``.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``, with one mean and one biased variance for each group of
    channels of each sample.

    Parameters
    ----------
    num_groups : int
        The number of groups; it must divide ``num_channels``.
    num_channels : int
        C.
    eps : float
    affine, bias : bool
        Whether the layer has ``weight`` and ``bias``, of shape (C,).
    dtype : dtype
    stats_dtype : dtype, optional
        As in `BatchNorm1d`.

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        If the rank or number of channels is wrong, ``num_groups`` does not divide the channels, or ``eps`` is negative
        or not finite.

    Notes
    -----
    For groups of one element, the output is exactly ``bias``.

    *Gradient.* See `tinygrad_norm.group_norm`.

    References
    ----------
    Wu and He 2018, arXiv:1803.08494.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.GroupNorm(2, 4, eps=0.0)(np.array([[1.0, 3.0, 2.0, 6.0]])).data
    array([[-1.,  1., -1.,  1.]])
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, bias: bool = True,
        dtype: Any = np.float32, *, stats_dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stats_dtype, dtype = statistics_dtype(stats_dtype), parameter_dtype(dtype)
        self.num_groups = positive("num_groups", num_groups)
        self.num_channels = positive("num_channels", num_channels)
        if num_channels % num_groups:
            raise ValueError(f"num_groups={num_groups} does not divide num_channels={num_channels}")
        self.eps = finite_eps(eps)
        self.affine = affine
        self.weight = Parameter(np.ones(num_channels), dtype=dtype) if affine else None
        self.bias = Parameter(np.zeros(num_channels), dtype=dtype) if affine and bias else None

    def forward(self, x: Any) -> Any:
        if one_array(self, x).ndim < 2 or x.shape[1] != self.num_channels:
            raise ValueError(f"GroupNorm has num_channels={self.num_channels}, got an input of shape {x.shape}")
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps, stats_dtype=self.stats_dtype)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class RMSNorm(Module):
    """Root mean square normalization over the last axes, without subtracting the mean.

    ``y = x / sqrt(mean(x²) + eps) * weight``.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        As in `LayerNorm`.
    eps : float, optional
        By default the machine epsilon of the dtype in which statistics are computed.
    elementwise_affine : bool
        Whether the layer has a ``weight``, of shape ``normalized_shape``.
    dtype : dtype
    stats_dtype : dtype, optional
        As in `BatchNorm1d`.

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        If the input shape does not end with ``normalized_shape``, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.rms_norm`.

    References
    ----------
    Zhang and Sennrich 2019, arXiv:1910.07467.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.RMSNorm(2, eps=0.0)(np.array([[1.0, 7.0]])).data
    array([[0.2, 1.4]])
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True,
        dtype: Any = np.float32, *, stats_dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stats_dtype, dtype = statistics_dtype(stats_dtype), parameter_dtype(dtype)
        self.normalized_shape = sizes("normalized_shape", normalized_shape)
        self.eps = None if eps is None else finite_eps(eps)
        self.elementwise_affine = elementwise_affine
        self.weight = Parameter(np.ones(self.normalized_shape), dtype=dtype) if elementwise_affine else None

    def forward(self, x: Any) -> Any:
        return rms_norm(x, self.normalized_shape, self.weight, self.eps, stats_dtype=self.stats_dtype)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """Local response normalization of (N, C, ...), which divides by a power of neighbouring channels' mean square.

    ``y = x / (k + alpha * mean(x²)) ** beta``, with the mean over channels ``c - size // 2 .. c + (size - 1) // 2``.
    Channels outside the input count as 0.

    Parameters
    ----------
    size : int
        The number of channels that a mean runs over.
    alpha, beta, k : float
    stats_dtype : dtype, optional
        As in `BatchNorm1d`.

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        If the input has fewer than 3 axes, ``size`` is not a positive integer, or ``alpha``, ``beta`` or ``k`` is not
        finite.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.local_response_norm`.

    References
    ----------
    Krizhevsky, Sutskever and Hinton 2012, section 3.3.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = tn.nn.LocalResponseNorm(2, alpha=2, beta=0.5, k=0)
    >>> layer(np.array([[[3.0], [4.0], [0.0]]])).data.ravel().round(3)
    array([1. , 0.8, 0. ])
    """

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, stats_dtype: Any = None
    ) -> None:
        super().__init__()
        self.size = positive("size", size)
        self.alpha, self.beta, self.k = finite("alpha", alpha), finite("beta", beta), finite("k", k)
        self.stats_dtype = statistics_dtype(stats_dtype)

    def forward(self, x: Any) -> Any:
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k, stats_dtype=self.stats_dtype)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
