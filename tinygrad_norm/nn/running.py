"""Running statistics: what a layer remembers of the batches it was trained on."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..engine.recording import is_examined
from ..engine.tensor import Tensor
from ..norm.checks import finite_eps, positive
from .module import Module, Parameter


class ChannelNorm(Module):
    """What batch and instance norm share: channels, an optional affine step, optional running statistics."""

    ranks: ClassVar[tuple[int, ...]]
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        dtype: Any,
    ) -> None:
        super().__init__()
        self.num_features = positive("num_features", num_features)
        self.eps = finite_eps(eps)
        self.momentum = momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(np.ones(num_features), dtype=dtype) if affine else None
        self.bias = Parameter(np.zeros(num_features), dtype=dtype) if affine and bias else None
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, None)
        if track_running_stats:
            self.register_buffer("running_mean", np.zeros(num_features, dtype))
            self.register_buffer("running_var", np.ones(num_features, dtype))
            self.register_buffer("num_batches_tracked", np.zeros((), np.int64))

    def reset_running_stats(self) -> None:
        """Forget what was tracked: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean = np.zeros_like(self.running_mean)
            self.running_var = np.ones_like(self.running_var)
            self.num_batches_tracked = np.zeros((), np.int64)

    def check_input(self, x: Tensor, channel_axis: int = 1) -> None:
        name = type(self).__name__
        if x.ndim not in self.ranks:
            wanted = " or ".join(f"{rank}D" for rank in self.ranks)
            raise ValueError(f"{name} expected {wanted} input, got {x.ndim}D input of shape {x.shape}")
        if x.shape[channel_axis] != self.num_features:
            raise ValueError(
                f"{name} has num_features={self.num_features}, but axis {channel_axis} of an input of shape {x.shape} "
                f"has {x.shape[channel_axis]} channels"
            )
        if x.dtype.kind not in "fc":
            raise TypeError(f"{name} needs floating input, not {x.dtype}; convert it with .astype(np.float32)")

    def track(self, mean: Any, var: Any, count: int) -> None:
        """Move the running statistics towards a batch's: its mean, and its unbiased variance ``var * n / (n - 1)``."""
        if is_examined():
            return
        share = self.share_of_a_new_batch()
        mean, var = (v.data.reshape(self.num_features) for v in (mean, var))
        for name, new in (("running_mean", mean), ("running_var", var * (count / (count - 1)))):
            old = getattr(self, name)
            setattr(self, name, ((1 - share) * old + share * new).astype(old.dtype))

    def share_of_a_new_batch(self) -> float:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )
