"""Layers whose scale and shift come from data: FiLM, conditional batch norm, AdaIN."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..norm.checks import finite_eps, parameter_dtype, positive, shaped
from ..norm.conditional import adaptive_instance_norm, film
from .layers import Linear
from .module import Module, Parameter
from .normalization import BatchNorm
from .running import ANY_RANK


class FiLM(Module):
    """Scale and shift each channel by linear functions of a condition: ``y = γ(z) * x + β(z)``.

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
        If the input is not floating.
    ValueError
        If a shape is invalid.

    Notes
    -----
    A new layer is the identity: γ is 1 and β is 0 for every condition.

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
    """Batch normalization with γ and β computed from a condition: pattern ``n c ... -> c``, then `FiLM`.

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
        If the input is not floating.
    ValueError
        As in `BatchNorm1d` and `FiLM`.

    Notes
    -----
    A new layer is a batch norm with γ 1 and β 0 for every condition.

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
        self, num_features: int, condition_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        track_running_stats: bool = True, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = BatchNormOfAnyRank(num_features, eps, momentum, False, track_running_stats, dtype=dtype)
        self.film = FiLM(num_features, condition_features, dtype)

    def forward(self, x: Any, condition: Any) -> Any:
        # Check all arguments first, so that an error does not update the running statistics.
        self.norm.check_input(x)
        gamma = shaped(self.film.gamma(condition), x.shape[:2], "gamma")
        beta = shaped(self.film.beta(condition), x.shape[:2], "beta")
        return film(self.norm(x), gamma, beta)


class BatchNormOfAnyRank(BatchNorm):
    ranks = ANY_RANK


class AdaIN(Module):
    """Give each channel of the content the mean and standard deviation of the style: pattern ``n c ... -> n c``.

    ``y = std(style) * (content - mean(content)) / std(content) + mean(style)``.

    Parameters
    ----------
    eps : float
        Added to both variances, inside the roots.

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        If a shape is invalid, or ``eps`` is negative or not finite.

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
