"""Running statistics of layers, averaged over the training batches."""

from __future__ import annotations

from threading import Lock
from typing import Any, ClassVar

import numpy as np

from ..engine.operators import Array
from ..engine.recording import is_examined
from ..engine.tensor import Tensor
from ..norm.checks import finite, finite_eps, parameter_dtype, positive, statistics_dtype
from .module import Module, Parameter, array_of, one_array

_moving = Lock()
ANY_RANK = (2, 3, 4, 5)
"""The number of axes of (N, C) and of (N, C, ...) with up to three spatial axes."""


class Running(Module):
    """A layer with buffers that are updated with the statistics of each training batch."""

    statistics: ClassVar[tuple[str, ...]] = ("running_mean", "running_var")
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(self, momentum: float | None, track_running_stats: bool) -> None:
        super().__init__()
        self.momentum = None if momentum is None else finite("momentum", momentum)
        self.track_running_stats = track_running_stats
        for name in (*self.statistics, "num_batches_tracked"):
            self.register_buffer(name, None)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.statistics and value is not None:
            value = self._as_statistic(name, array_of(name, value))
        super().__setattr__(name, value)

    def _as_statistic(self, name: str, values: Array) -> Array:
        """Return floats unchanged; convert integers to floats, because an integer dtype would round every update."""
        if values.dtype.kind not in "biuf":
            raise TypeError(f"{type(self).__name__}.{name} must hold real numbers, not {values.dtype}")
        old = self._buffers.get(name)
        return values if values.dtype.kind == "f" else values.astype(np.float32 if old is None else old.dtype)

    def start_tracking(self, shape: tuple[int, ...], dtype: Any) -> None:
        """Create the buffers: mean 0, variance 1, no batches."""
        for name in self.statistics:
            setattr(self, name, np.full(shape, name != "running_mean", dtype))
        self.num_batches_tracked = np.zeros((), np.int64)

    @property
    def has_running_stats(self) -> bool:
        """Whether the layer has all statistics buffers."""
        absent = [name for name in self.statistics if self._buffers[name] is None]
        if absent and len(absent) < len(self.statistics):
            raise ValueError(f"{type(self).__name__} has no {absent[0]}; set all or none of {self.statistics} to None")
        return not absent

    @property
    def uses_running_stats(self) -> bool:
        """Whether a call uses the running statistics: in eval mode, if there are any, as in PyTorch's batch norms."""
        return not self.training and self.has_running_stats

    @property
    def moves_running_stats(self) -> bool:
        """Whether a call updates the running statistics."""
        return self.training and self.track_running_stats and self.has_running_stats

    @property
    def pools(self) -> bool:
        """Whether the statistics are those of all input values, so that a dataset has exact ones."""
        return False

    def pooled(self, x: Array) -> Array:
        """Return an input in the shape ``(values, *statistics)``, if the layer pools."""
        raise NotImplementedError

    def reset_running_stats(self) -> None:
        """Reset the buffers: mean 0, variance 1, no batches."""
        if self.running_mean is not None:
            self.start_tracking(self.running_mean.shape, self.running_mean.dtype)

    def track(self, *batch: Array) -> None:
        """Update the running statistics with those of a batch, unless a checker or an explorer runs the code."""
        if is_examined():
            return
        with _moving:  # other threads may call the same layer
            share = self.share_of_a_new_batch()
            for name, new in zip(self.statistics, batch, strict=True):
                old = getattr(self, name)
                setattr(self, name, ((1 - share) * old + share * new.reshape(old.shape)).astype(old.dtype))

    def share_of_a_new_batch(self) -> float:
        """Count a batch and return the weight of its statistics: the momentum, or the weight of a plain average.

        Without a counter, the weight of a plain average is 0, as in PyTorch.
        """
        if self.num_batches_tracked is None:
            return self.momentum or 0.0
        self.num_batches_tracked = np.asarray(int(self.num_batches_tracked) + 1, np.int64)
        return 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum


def unbiased(var: Any, count: int) -> Array:
    """Convert a biased variance to an unbiased one, as an array: ``var * n / (n - 1)``."""
    values: Array = var.data if isinstance(var, Tensor) else var
    return values * (count / (count - 1))


class ChannelNorm(Running):
    """The base class of batch and instance norm: channels, optional affine step, optional running statistics."""

    ranks: ClassVar[tuple[int, ...]]

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, bias: bool = True, dtype: Any = np.float32, *, stats_dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(momentum, track_running_stats)
        self.num_features = positive("num_features", num_features)
        self.eps = finite_eps(eps)
        self.affine, self.stats_dtype = affine, statistics_dtype(stats_dtype)
        dtype = parameter_dtype(dtype)
        self.weight = Parameter(np.ones(num_features), dtype=dtype) if affine else None
        self.bias = Parameter(np.zeros(num_features), dtype=dtype) if affine and bias else None
        if track_running_stats:
            self.start_tracking((num_features,), dtype)

    def check_input(self, x: Tensor, channel_axis: int = 1) -> None:
        name = type(self).__name__
        if one_array(self, x).ndim not in self.ranks:
            wanted = " or ".join(f"{rank}D" for rank in self.ranks)
            raise ValueError(f"{name} expected {wanted} input, got {x.ndim}D input of shape {x.shape}")
        if x.shape[channel_axis] != self.num_features:
            raise ValueError(
                f"{name} has num_features={self.num_features}, but axis {channel_axis} of an input of shape {x.shape} "
                f"has {x.shape[channel_axis]} channels"
            )
        if x.dtype.kind not in "fc":
            raise TypeError(f"{name} requires floating input, not {x.dtype}; convert it with .astype(np.float32)")

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )
