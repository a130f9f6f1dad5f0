"""Layers that divide by a length: ScaleNorm and L2Norm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..norm.checks import finite_eps, integer, parameter_dtype, positive
from ..norm.lengths import l2_normalize, scale_norm
from .module import Module, Parameter


class ScaleNorm(Module):
    """Scale the last axis to one learned length: ``y = scale * x / max(‖x‖, eps)``.

    Parameters
    ----------
    num_features : int
        The size D of the last axis; the initial length is ``sqrt(D)``.
    eps : float
        The lower bound of the divisor.
    dtype : dtype

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        If the last axis has the wrong size, or ``eps`` is negative or not finite.

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
        The lower bound of the divisor, so that zero stays zero.

    Raises
    ------
    TypeError
        If the input is not floating.
    ValueError
        If ``eps`` is negative or not finite.

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
