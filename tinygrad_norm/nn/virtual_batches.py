"""Batch norm layers with other statistics: those of parts of a batch, or corrected by running statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..norm.checks import corrections, positive
from ..norm.functional import batch_norm
from ..norm.virtual_batches import batch_renorm, ghost_batch_norm
from .normalization import BatchNorm
from .running import ANY_RANK, ChannelNorm, unbiased


class GhostBatchNorm(BatchNorm):
    """Batch normalization of consecutive parts of a batch: pattern ``(v n) c ... -> v c``.

    In training each part has its own statistics, and the running statistics are updated once for each part. In eval
    mode the layer is a batch norm.

    Parameters
    ----------
    num_features : int
        C.
    virtual_batch_size : int
        The size of the parts; it must divide the batch size.
    eps, momentum, affine, track_running_stats, bias, dtype
        As in `BatchNorm1d`; the input may have 2 to 5 axes.

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        As in `BatchNorm1d`, and if ``virtual_batch_size`` does not divide the batch size.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.norm.more.ghost_batch_norm`.

    References
    ----------
    Hoffer, Hubara and Soudry 2017, arXiv:1705.08741, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> layer = GhostBatchNorm(1, 2, momentum=None)
    >>> y = layer(np.array([[1.0], [3.0], [20.0], [60.0]], np.float32))
    >>> layer.running_mean, int(layer.num_batches_tracked)
    (array([21.], dtype=float32), 2)
    """

    ranks = ANY_RANK

    def __init__(
        self, num_features: int, virtual_batch_size: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, track_running_stats: bool = True, bias: bool = True, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)
        self.virtual_batch_size = positive("virtual_batch_size", virtual_batch_size)

    def forward(self, x: Any) -> Any:
        if self.uses_running_stats:
            return super().forward(x)
        self.check_input(x)
        y, mean, var = ghost_batch_norm(
            x, self.virtual_batch_size, weight=self.weight, bias=self.bias, eps=self.eps, return_statistics=True
        )
        if self.moves_running_stats and x.size:
            for part in zip(mean.data, unbiased(var, x.size // (len(mean) * self.num_features)), strict=True):
                self.track(*part)
        return y

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, virtual_batch_size={self.virtual_batch_size}"


class BatchRenorm(ChannelNorm):
    """Batch normalization corrected towards its running statistics, so that training and inference agree.

    ``y = (x̂ * r + d) * weight + bias``; see `tinygrad_norm.norm.more.batch_renorm`. In eval mode
    ``y = (x - running_mean) / running_std * weight + bias``.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance, inside the square root.
    momentum : float or None
        The weight of the new value in ``running_mean`` and ``running_std``; None for the plain average.
    r_max, d_max : float
        The largest corrections. The paper starts with 1 and 0, which is batch norm, and increases them to 3 and 5 when
        the running statistics are reliable. Both are attributes that can be set during training.
    affine, bias : bool
    dtype : dtype

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        As in `BatchNorm1d`, and if ``r_max < 1`` or ``d_max < 0``.

    Notes
    -----
    The running statistic is that of ``sqrt(var + eps)``, with the biased variance, as in the paper; batch norm tracks
    the unbiased variance.

    *Gradient.* See `tinygrad_norm.norm.more.batch_renorm`.

    References
    ----------
    Ioffe 2017, arXiv:1702.03275, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchRenorm(1, eps=0.0, momentum=0.5)
    >>> y = layer(np.array([[1.0], [3.0]], np.float32))
    >>> layer.running_mean, layer.running_std
    (array([1.], dtype=float32), array([1.], dtype=float32))
    """

    ranks = ANY_RANK
    statistics = ("running_mean", "running_std")
    running_std: Any

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.01, r_max: float = 3.0,
        d_max: float = 5.0, affine: bool = True, bias: bool = True, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, True, bias, dtype)
        self.r_max, self.d_max = corrections(r_max, d_max)

    def forward(self, x: Any) -> Any:
        self.check_input(x)
        affine: dict[str, Any] = {"weight": self.weight, "bias": self.bias}
        if self.uses_running_stats:
            return batch_norm(x, mean=self.running_mean, var=np.square(self.running_std), eps=0.0, **affine)
        if not self.has_running_stats:
            return batch_norm(x, eps=self.eps, **affine)
        y, mean, std = batch_renorm(
            x, self.running_mean, self.running_std, r_max=self.r_max, d_max=self.d_max, eps=self.eps,
            return_statistics=True, **affine,
        )  # fmt: skip
        if self.moves_running_stats and x.size:
            self.track(mean.data, std.data)
        return y

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, r_max={self.r_max}, d_max={self.d_max}, "
            f"affine={self.affine}"
        )
