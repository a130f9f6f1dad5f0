"""Linear, activations, and what strings layers together."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine import ops
from ..engine.recording import scope
from .module import Module, Parameter


class Linear(Module):
    """``y = x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : dtype
    rng : numpy.random.Generator or int, optional
        For the initial values: uniform within ``1 / sqrt(in_features)``, as PyTorch's.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,) or None

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.Linear(3, 2)(np.zeros((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        if min(in_features, out_features) < 1:
            raise ValueError(f"in_features and out_features must be positive, not {in_features} and {out_features}")
        self.in_features, self.out_features = in_features, out_features
        rng = np.random.default_rng(rng)
        bound = 1 / np.sqrt(in_features)
        self.weight = Parameter(rng.uniform(-bound, bound, (out_features, in_features)), dtype=dtype)
        self.bias = Parameter(rng.uniform(-bound, bound, out_features), dtype=dtype) if bias else None

    def forward(self, x: Any) -> Any:
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise ValueError(f"Linear expects {self.in_features} features in the last axis, got shape {x.shape}")
        with scope("linear"):
            y = x @ self.weight.T
            return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class ReLU(Module):
    """``max(x, 0)``, with gradient 0 at 0."""

    def forward(self, x: Any) -> Any:
        return ops.relu(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Any:
        return ops.tanh(x)


class Flatten(Module):
    """Join the axes from ``start_dim`` to ``end_dim`` into one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        start, end = self.start_dim % x.ndim, self.end_dim % x.ndim
        joined = int(np.prod(x.shape[start : end + 1]))
        return x.reshape((*x.shape[:start], joined, *x.shape[end + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Sequential(Module):
    """Layers one after the other, named "0", "1", ... in the state dict.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> model = tn.nn.Sequential(tn.nn.Linear(4, 2), tn.nn.BatchNorm1d(2), tn.nn.Tanh())
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """

    def __init__(self, *layers: Module) -> None:
        super().__init__()
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(f"Sequential takes Modules, not {type(layer).__name__} (layer {i})")
            setattr(self, str(i), layer)

    def forward(self, x: Any) -> Any:
        for _, layer in self.children():
            x = layer(x)
        return x

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __getitem__(self, index: int) -> Module:
        return [layer for _, layer in self.children()][index]
