"""Between training and use: exact statistics of a data set, and batch norms folded into the layers before them."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy, deepcopy
from typing import Any

import numpy as np

from ..engine.operators import Array
from ..engine.recording import no_grad
from .convolution import Conv2d
from .layers import Linear, Sequential
from .module import Module, Parameter
from .normalization import BatchNorm, BatchNorm1d, BatchNorm2d

# Which batch norm sees the outputs of which layer as its channels.
_FOLDED = ((Linear, BatchNorm1d), (Conv2d, BatchNorm2d))


@no_grad()
def recalibrate(model: Module, batches: Iterable[Any]) -> None:
    """Set the statistics of every batch norm in a model to the exact ones of a data set.

    Each layer gets the mean and the unbiased variance of all values that reach it, as if the data were one batch, in
    the order in which the layers run: what reaches a later layer depends on the statistics of the earlier ones. Ioffe
    and Szegedy 2015 average the variances of batches instead, which leaves out how the batches' means differ.

    Parameters
    ----------
    model : Module
        Modes are left as they are; parameters and ``num_batches_tracked``, too.
    batches : iterable of arrays
        Inputs of the model, of any sizes; kept in memory, since they are gone through once for each layer.

    Raises
    ------
    ValueError
        If a layer sees fewer than two values per channel.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = tn.nn.BatchNorm1d(1, dtype=np.float64)
    >>> tn.recalibrate(layer, [np.array([[0.0], [2.0]]), np.array([[4.0]])])
    >>> layer.running_mean, layer.running_var
    (array([2.]), array([4.]))
    """
    batches = list(batches)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for layer in _in_running_order(model, batches):
            count, mean, squares = 0, np.zeros(layer.num_features), np.zeros(layer.num_features)
            for values in _arriving(model, layer, batches):
                count, mean, squares = _merged(count, mean, squares, values)
            if count < 2:
                raise ValueError(f"recalibrate needs at least two values per channel, and a layer received {count}")
            layer.running_mean = mean.astype(layer.running_mean.dtype)
            layer.running_var = (squares / (count - 1)).astype(layer.running_var.dtype)
    finally:
        for module, training in modes:
            module.training = training


def _in_running_order(model: Module, batches: list[Any]) -> list[Any]:
    order: dict[Module, None] = {}
    layers = [m for m in model.modules() if isinstance(m, BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer._observers.append(lambda module, inputs, y: order.setdefault(module))
    try:
        for batch in batches[:1]:
            model(batch)
    finally:
        for layer in layers:
            layer._observers.pop()
    return list(order)


def _arriving(model: Module, layer: Module, batches: list[Any]) -> Iterable[Array]:
    """Yield what reaches a layer, as (values, channels), batch by batch."""
    seen: list[Array] = []
    layer._observers.append(lambda module, inputs, y: seen.append(inputs[0].data))
    try:
        for batch in batches:
            model(batch)
            while seen:
                x = seen.pop()
                yield np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]).astype(np.float64)
    finally:
        layer._observers.pop()


def _merged(count: int, mean: Array, squares: Array, values: Array) -> tuple[int, Array, Array]:
    """Add values to a count, a mean and a sum of squared deviations (Chan, Golub and LeVeque 1983)."""
    if not len(values):
        return count, mean, squares
    added, own_mean = len(values), values.mean(axis=0)
    total, distance = count + added, own_mean - mean
    return (
        total,
        mean + distance * (added / total),
        squares + np.square(values - own_mean).sum(axis=0) + np.square(distance) * (count * added / total),
    )


def fold_batch_norm(model: Module) -> Module:
    """Return a copy of a model for inference, with each batch norm merged into the layer right before it.

    In eval mode a batch norm is an affine map of each channel, so a linear layer before a `BatchNorm1d`, or a
    convolution before a `BatchNorm2d`, can change its weights instead: ``weight * γ / sqrt(var + eps)`` for each output
    channel, and ``(bias - mean) * γ / sqrt(var + eps) + β``. Outputs in eval mode are equal to rounding.

    Parameters
    ----------
    model : Module
        Left as it is. Only pairs inside a `Sequential` are folded: there it is known that one follows the other. What
        reaches a `BatchNorm1d` behind a `Linear` is taken to have shape (N, C).

    Returns
    -------
    Module
        In eval mode.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> model = tn.nn.Sequential(tn.nn.Conv2d(3, 2, 3, rng=0), tn.nn.BatchNorm2d(2), tn.nn.ReLU()).eval()
    >>> folded = tn.fold_batch_norm(model)
    >>> x = np.ones((1, 3, 8, 8), np.float32)
    >>> len(folded), bool(np.allclose(folded(x).data, model(x).data))
    (2, True)
    """
    return _folded(deepcopy(model)).eval()


def _folded(model: Module) -> Module:
    for name, child in list(model.children()):
        setattr(model, name, _folded(child))
    if not isinstance(model, Sequential):
        return model
    layers: list[Module] = []
    for _, layer in model.children():
        if layers and _can_fold(layers[-1], layer):
            layers[-1] = _with_norm(layers[-1], layer)
        else:
            layers.append(layer)
    return Sequential(*layers)


def _can_fold(layer: Module, norm: Module) -> bool:
    fits = any(isinstance(layer, before) and isinstance(norm, after) for before, after in _FOLDED)
    return fits and bool(norm.track_running_stats)


def _with_norm(layer: Any, norm: Any) -> Module:
    """Return a layer that does what two did. It has parameters of its own: others may share the old ones."""
    scale = 1 / np.sqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.data
    shift = -norm.running_mean if layer.bias is None else layer.bias.data - norm.running_mean
    bias = shift * scale if norm.bias is None else shift * scale + norm.bias.data
    both: Module = copy(layer)
    dtype = layer.weight.dtype
    both.weight = Parameter(np.einsum("o...,o->o...", layer.weight.data, scale), dtype=dtype, name="weight")
    both.bias = Parameter(bias, dtype=dtype, name="bias")
    return both
