"""The wider family as layers: parameters, running statistics and checks around the functions of ``norm.more``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engine.operators import Array
from ..norm.checks import axis_of, corrections, finite_eps, integer, parameter_dtype, positive, shaped
from ..norm.functional import batch_norm
from ..norm.more import (
    adaptive_instance_norm,
    batch_renorm,
    film,
    ghost_batch_norm,
    l2_normalize,
    scale_norm,
    weight_norm,
    weight_standardization,
)
from .layers import Linear
from .module import Module, Parameter, as_model
from .normalization import BatchNorm
from .running import ChannelNorm, unbiased

__all__ = [
    "AdaIN",
    "BatchRenorm",
    "ConditionalBatchNorm",
    "FiLM",
    "GhostBatchNorm",
    "L2Norm",
    "ScaleNorm",
    "WeightNorm",
    "WeightStandardization",
]

_ANY_RANK = (2, 3, 4, 5)


class _Reweighted(Module):
    """A layer that is called with a weight made from parameters, in the place of its own."""

    def __init__(self, layer: Module, name: str) -> None:
        super().__init__()
        as_model(type(self).__name__, layer)
        if not isinstance(name, str) or not isinstance(layer.__dict__.get(name), Parameter):
            raise ValueError(f"{type(layer).__name__} has no parameter {name!r}")
        self.layer, self.name = layer, name

    def effective_weight(self) -> Any:
        raise NotImplementedError

    def forward(self, *inputs: Any) -> Any:
        # A computed weight is there for the call only: between calls a module can be copied and saved.
        attributes = self.layer.__dict__
        own = attributes.get(self.name)
        attributes[self.name] = self.effective_weight()
        try:
            return self.layer(*inputs)
        finally:
            if own is None:
                del attributes[self.name]
            else:
                attributes[self.name] = own


class WeightNorm(_Reweighted):
    """A layer whose weight is split into a length and a direction: ``w = weight_g * weight_v / ‖weight_v‖``.

    Parameters
    ----------
    layer : Module
        Taken over: its weight becomes ``weight_v``, and the lengths of that ``weight_g``, so outputs stay the same.
    name : str
        Which parameter.
    dim : int or None
        The axis along which each slice has a length; None takes one length for all.

    Raises
    ------
    TypeError
        If ``layer`` is not a Module, or ``dim`` not an integer. Whatever the error, the layer stays as it was.
    ValueError
        If the layer has no such parameter, or the parameter no axis ``dim``.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.norm.more.weight_norm`.

    References
    ----------
    Salimans and Kingma 2016, arXiv:1602.07868.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> layer = WeightNorm(tn.nn.Linear(3, 2, rng=0))
    >>> [(name, p.shape) for name, p in layer.named_parameters()]
    [('weight_v', (2, 3)), ('weight_g', (2, 1)), ('layer.bias', (2,))]
    """

    def __init__(self, layer: Module, name: str = "weight", dim: int | None = 0) -> None:
        super().__init__(layer, name)
        weight: Array = getattr(layer, name).data
        self.dim = None if dim is None else integer("dim", dim)
        kept = None if dim is None else axis_of("dim", dim, weight.ndim)
        axes = tuple(i for i in range(weight.ndim) if i != kept)
        length = np.sqrt(np.sum(np.square(weight.astype(np.float64)), axis=axes, keepdims=dim is not None))
        # Nothing can go wrong any more: the layer's own parameter is taken over.
        del layer.__dict__[name]
        self.weight_v = Parameter(weight, name=f"{name}_v")
        self.weight_g = Parameter(length, dtype=weight.dtype, name=f"{name}_g")

    def effective_weight(self) -> Any:
        return weight_norm(self.weight_v, self.weight_g, self.dim)

    def extra_repr(self) -> str:
        return f"name={self.name!r}, dim={self.dim}"


class WeightStandardization(_Reweighted):
    """A layer whose weights are normalized for each output before they are used: pattern ``o ... -> o``.

    Parameters
    ----------
    layer : Module
        Keeps its parameter, which is what is trained.
    name : str
        Which parameter.
    eps : float

    Raises
    ------
    ValueError
        If the layer has no such parameter, or ``eps`` is negative or not finite.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.norm.more.weight_standardization`.

    References
    ----------
    Qiao, Wang, Liu, Shen and Yuille 2019, arXiv:1903.10520.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = WeightStandardization(tn.nn.Linear(3, 2, bias=False, rng=0), eps=0)
    >>> layer(np.ones((1, 3), np.float32)).data.round(5) + 0.0    # the weights of an output sum to 0
    array([[0., 0.]], dtype=float32)
    """

    def __init__(self, layer: Module, name: str = "weight", eps: float = 1e-5) -> None:
        super().__init__(layer, name)
        self.eps = finite_eps(eps)

    def effective_weight(self) -> Any:
        return weight_standardization(getattr(self.layer, self.name), self.eps)

    def extra_repr(self) -> str:
        return f"name={self.name!r}, eps={self.eps}"


class GhostBatchNorm(BatchNorm):
    """Batch normalization of consecutive parts of a batch: pattern ``(v n) c ... -> v c``.

    In training each part has statistics of its own, and the running statistics move once for each. In eval mode it is
    a batch norm.

    Parameters
    ----------
    num_features : int
        C.
    virtual_batch_size : int
        Divides the batch.
    eps, momentum, affine, track_running_stats, bias, dtype
        As in `BatchNorm1d`; the input may have 2 to 5 axes.

    Raises
    ------
    TypeError
        For input that is not floating.
    ValueError
        As in `BatchNorm1d`, and for a batch that ``virtual_batch_size`` does not divide.

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

    ranks = _ANY_RANK

    def __init__(
        self,
        num_features: int,
        virtual_batch_size: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        bias: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)
        self.virtual_batch_size = positive("virtual_batch_size", virtual_batch_size)

    def forward(self, x: Any) -> Any:
        if self.uses_running_stats:
            return super().forward(x)
        self.check_input(x)
        y, mean, var = ghost_batch_norm(
            x, self.virtual_batch_size, weight=self.weight, bias=self.bias, eps=self.eps, return_statistics=True
        )
        if self.training and self.track_running_stats and x.size:
            for part in zip(mean.data, unbiased(var, x.size // (len(mean) * self.num_features)), strict=True):
                self.track(*part)
        return y

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, virtual_batch_size={self.virtual_batch_size}"


class BatchRenorm(ChannelNorm):
    """Batch normalization corrected towards its running statistics, so that training and test time agree.

    ``y = (x̂ * r + d) * weight + bias``; see `tinygrad_norm.norm.more.batch_renorm`. In eval mode
    ``(x - running_mean) / running_std * weight + bias``.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance, inside the square root.
    momentum : float or None
        The weight of the new value in ``running_mean`` and ``running_std``; None for the plain average.
    r_max, d_max : float
        The largest correction. The paper starts at 1 and 0, which is batch norm, and moves to 3 and 5 once the running
        statistics mean something; both are attributes that can be set during training.
    affine, bias : bool
    dtype : dtype

    Raises
    ------
    TypeError
        For input that is not floating.
    ValueError
        As in `BatchNorm1d`, and for ``r_max < 1`` or ``d_max < 0``.

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

    ranks = _ANY_RANK
    statistics = ("running_mean", "running_std")
    running_std: Any

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.01,
        r_max: float = 3.0,
        d_max: float = 5.0,
        affine: bool = True,
        bias: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, True, bias, dtype)
        self.r_max, self.d_max = corrections(r_max, d_max)

    def forward(self, x: Any) -> Any:
        self.check_input(x)
        affine: dict[str, Any] = {"weight": self.weight, "bias": self.bias}
        if self.uses_running_stats:
            return batch_norm(x, mean=self.running_mean, var=np.square(self.running_std), eps=0.0, **affine)
        y, mean, std = batch_renorm(
            x, self.running_mean, self.running_std, r_max=self.r_max, d_max=self.d_max, eps=self.eps,
            return_statistics=True, **affine,
        )  # fmt: skip
        if x.size:
            self.track(mean.data, std.data)
        return y

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, r_max={self.r_max}, d_max={self.d_max}, "
            f"affine={self.affine}"
        )


class FiLM(Module):
    """Scale and shift each channel by what a linear layer makes of a condition: ``y = γ(z) * x + β(z)``.

    Parameters
    ----------
    num_features : int
        C, of an input of shape (N, C) or (N, C, ...).
    condition_features : int
        K, of a condition of shape (N, K); for classes, one-hot rows.
    dtype : dtype

    Raises
    ------
    TypeError
        For input that is not floating.
    ValueError
        For shapes that do not fit.

    Notes
    -----
    It starts as the identity: γ is 1 and β is 0 for every condition.

    *Gradient.* See `tinygrad_norm.norm.more.film`.

    References
    ----------
    Perez, Strub, de Vries, Dumoulin and Courville 2018, arXiv:1709.07871.

    Examples
    --------
    >>> import numpy as np
    >>> FiLM(2, 3)(np.array([[1.0, 2.0]]), np.ones((1, 3))).data
    array([[1., 2.]])
    """

    def __init__(self, num_features: int, condition_features: int, dtype: Any = np.float32) -> None:
        super().__init__()
        self.num_features = positive("num_features", num_features)
        self.condition_features = positive("condition_features", condition_features)
        dtype = parameter_dtype(dtype)
        self.gamma, self.beta = (Linear(condition_features, num_features, dtype=dtype) for _ in range(2))
        for linear, start in ((self.gamma, 1.0), (self.beta, 0.0)):
            linear.weight.data = np.zeros(linear.weight.shape, dtype)
            linear.bias = Parameter(np.full(num_features, start), dtype=dtype)

    def forward(self, x: Any, condition: Any) -> Any:
        return film(x, self.gamma(condition), self.beta(condition))


class ConditionalBatchNorm(Module):
    """Batch normalization whose γ and β a linear layer makes of a condition: pattern ``n c ... -> c``, then `FiLM`.

    Parameters
    ----------
    num_features : int
        C, of an input of 2 to 5 axes.
    condition_features : int
        K, of a condition of shape (N, K); for classes, one-hot rows.
    eps, momentum, track_running_stats, dtype
        As in `BatchNorm1d`.

    Raises
    ------
    TypeError
        For input that is not floating.
    ValueError
        As in `BatchNorm1d` and `FiLM`.

    Notes
    -----
    It starts as a batch norm with γ 1 and β 0 for every condition.

    *Gradient.* See `tinygrad_norm.norm.more.conditional_batch_norm`.

    References
    ----------
    de Vries, Strub, Mary, Larochelle, Pietquin and Courville 2017, arXiv:1707.00683.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConditionalBatchNorm(1, 2)
    >>> layer(np.array([[1.0], [3.0]]), np.eye(2)).data.round(3)
    array([[-1.],
           [ 1.]])
    """

    def __init__(
        self,
        num_features: int,
        condition_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        track_running_stats: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.norm = _BatchNormOfAnyRank(num_features, eps, momentum, False, track_running_stats, dtype=dtype)
        self.film = FiLM(num_features, condition_features, dtype)

    def forward(self, x: Any, condition: Any) -> Any:
        # In this order: what does not fit must not move the running statistics.
        self.norm.check_input(x)
        gamma = shaped(self.film.gamma(condition), x.shape[:2], "gamma")
        beta = shaped(self.film.beta(condition), x.shape[:2], "beta")
        return film(self.norm(x), gamma, beta)


class _BatchNormOfAnyRank(BatchNorm):
    ranks = _ANY_RANK


class AdaIN(Module):
    """Give each channel of a content the mean and standard deviation of a style: pattern ``n c ... -> n c``.

    ``y = std(style) * (content - mean(content)) / std(content) + mean(style)``.

    Parameters
    ----------
    eps : float
        Added to both variances, inside the roots.

    Raises
    ------
    TypeError
        For input that is not floating.
    ValueError
        For shapes that do not fit, or a bad ``eps``.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.norm.more.adaptive_instance_norm`.

    References
    ----------
    Huang and Belongie 2017, arXiv:1703.06868.

    Examples
    --------
    >>> import numpy as np
    >>> AdaIN(eps=0.0)(np.array([[[1.0, 3.0]]]), np.array([[[5.0, 5.0, 11.0, 11.0]]])).data
    array([[[ 5., 11.]]])
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = finite_eps(eps)

    def forward(self, content: Any, style: Any) -> Any:
        return adaptive_instance_norm(content, style, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


class ScaleNorm(Module):
    """Give the last axis one learned length: ``y = scale * x / max(‖x‖, eps)``.

    Parameters
    ----------
    num_features : int
        D, of an input of shape (..., D); the length starts as its root.
    eps : float
        The smallest length divided by.
    dtype : dtype

    Raises
    ------
    TypeError
        For input that is not floating.
    ValueError
        For another size of the last axis, or a bad ``eps``.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.norm.more.scale_norm`.

    References
    ----------
    Nguyen and Salazar 2019, arXiv:1910.05895.

    Examples
    --------
    >>> import numpy as np
    >>> ScaleNorm(4)(np.array([[3.0, 0.0, 4.0, 0.0]])).data     # of length sqrt(4)
    array([[1.2, 0. , 1.6, 0. ]])
    """

    def __init__(self, num_features: int, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        super().__init__()
        self.num_features, self.eps = positive("num_features", num_features), finite_eps(eps)
        self.scale = Parameter(math.sqrt(num_features), dtype=parameter_dtype(dtype))

    def forward(self, x: Any) -> Any:
        if x.shape[-1:] != (self.num_features,):
            raise ValueError(f"ScaleNorm has num_features={self.num_features}, got an input of shape {x.shape}")
        return scale_norm(x, self.scale, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


class L2Norm(Module):
    """Divide by the Euclidean length along an axis: ``y = x / max(‖x‖, eps)``.

    Parameters
    ----------
    dim : int
    eps : float
        The smallest length divided by, so that zero stays zero.

    Raises
    ------
    TypeError
        For input that is not floating.
    ValueError
        For a bad ``eps``.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.norm.more.l2_normalize`.

    Examples
    --------
    >>> import numpy as np
    >>> L2Norm()(np.array([[3.0, 4.0], [0.0, 0.0]])).data
    array([[0.6, 0.8],
           [0. , 0. ]])
    """

    def __init__(self, dim: int = -1, eps: float = 1e-12) -> None:
        super().__init__()
        self.dim, self.eps = integer("dim", dim), finite_eps(eps)

    def forward(self, x: Any) -> Any:
        return l2_normalize(x, self.dim, self.eps)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, eps={self.eps}"
