"""Layers with normalized weights: weight norm and weight standardization."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.operators import Array
from ..norm.checks import axis_of, finite_eps, integer
from ..norm.weights import weight_norm, weight_standardization
from .module import Module, Parameter, as_model


class _Reweighted(Module):
    """A layer that is called with a weight computed from parameters."""

    def __init__(self, layer: Module, name: str) -> None:
        super().__init__()
        as_model(type(self).__name__, layer)
        if not isinstance(name, str) or not isinstance(layer.__dict__.get(name), Parameter):
            raise ValueError(f"{type(layer).__name__} has no parameter {name!r}")
        self.layer, self.name = layer, name

    def effective_weight(self) -> Any:
        raise NotImplementedError

    def forward(self, *inputs: Any, **options: Any) -> Any:
        # The computed weight is set only during the call, so that the module can be copied and saved between calls.
        attributes = self.layer.__dict__
        own = attributes.get(self.name)
        attributes[self.name] = self.effective_weight()
        try:
            return self.layer(*inputs, **options)
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
        The layer, which is modified: its weight becomes ``weight_v``, and the lengths of ``weight_v`` become
        ``weight_g``, so outputs stay the same.
    name : str
        The name of the parameter.
    dim : int or None
        The axis along which each slice has a length; None uses one length for the whole weight.

    Raises
    ------
    TypeError
        If ``layer`` is not a Module, or ``dim`` is not an integer. After an error the layer is unchanged.
    ValueError
        If the layer has no such parameter, or the parameter has no axis ``dim``.

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
        # No error is possible from here on, so the layer can be modified.
        del layer.__dict__[name]
        self.weight_v = Parameter(weight, name=f"{name}_v")
        self.weight_g = Parameter(length, dtype=weight.dtype, name=f"{name}_g")

    def effective_weight(self) -> Any:
        return weight_norm(self.weight_v, self.weight_g, self.dim)

    def extra_repr(self) -> str:
        return f"name={self.name!r}, dim={self.dim}"


class WeightStandardization(_Reweighted):
    """A layer whose weights are normalized for each output before use: pattern ``o ... -> o``.

    Parameters
    ----------
    layer : Module
        The layer. It keeps its parameter, which is trained.
    name : str
        The name of the parameter.
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
