"""Between training and use: exact statistics of a data set, and batch norms folded into the layers before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

import numpy as np

from ..engine.operators import Array
from ..engine.recording import no_grad
from ..engine.tensor import Tensor
from .containers import Sequential
from .convolution import Conv1d, Conv2d, Conv3d
from .layers import Identity, Linear
from .module import Module, Parameter, as_model
from .normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d
from .running import Running

# Which batch norm sees the outputs of which layer as its channels.
_FOLDED = {Linear: BatchNorm1d, Conv1d: BatchNorm1d, Conv2d: BatchNorm2d, Conv3d: BatchNorm3d}


def recalibrate(model: Module, batches: Iterable[Any]) -> None:
    """Set the statistics of every batch norm in a model to the exact ones of a data set.

    Each layer gets the mean and the unbiased variance of all values that reach it, as if the data were one batch, in
    the order in which the layers run: what reaches a later layer depends on the statistics of the earlier ones. Ioffe
    and Szegedy 2015 average the variances of batches instead, which leaves out how the batches' means differ.

    These are the layers that have running statistics of whole batches: `BatchNorm1d`, `BatchNorm2d`, `BatchNorm3d`,
    `GhostBatchNorm`, the one inside a `ConditionalBatchNorm`, and a `Norm` whose pattern keeps nothing of the first
    axis. Layers that no batch reaches, `BatchRenorm`, and what averages over instances (InstanceNorm, other Norms) are
    not touched.

    Parameters
    ----------
    model : Module
        Modes are left as they are; parameters and ``num_batches_tracked``, too. After an error the statistics are what
        they were.
    batches : iterable of arrays or Tensors, or of tuples of them
        Inputs of the model, of any sizes, a tuple where it takes several; kept in memory, since they are gone through
        once for each layer.

    Raises
    ------
    TypeError
        If ``model`` is not a Module, or ``batches`` is a single array.
    ValueError
        If there are no batches, a layer sees fewer than two values per channel, or layers run in one order for one
        batch and in another for the next.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = tn.nn.BatchNorm1d(1, dtype=np.float64)
    >>> tn.recalibrate(layer, [np.array([[0.0], [2.0]]), np.array([[4.0]])])
    >>> layer.running_mean, layer.running_var
    (array([2.]), array([4.]))
    """
    recalibrate_together(model, batches, lambda sums: sums)


@no_grad()
def recalibrate_together(model: Module, batches: Iterable[Any], added_up: Callable[[Array], Array]) -> None:
    """Recalibrate by the batches of all that take part; ``added_up`` returns the sum of an array over all of them."""
    as_model("recalibrate", model)
    if isinstance(batches, np.ndarray | Tensor):
        raise TypeError(f"batches must be several inputs, as a list, and not one array of shape {batches.shape}")
    batches = list(batches)
    if not added_up(np.array([len(batches)])):
        raise ValueError("recalibrate needs at least one batch")
    with _in_eval_mode(model):
        layers = _in_running_order(model, batches, added_up)
        with _unchanged_after_an_error(layers):
            for layer in layers:
                _set_statistics(model, layer, batches, added_up)


@contextmanager
def _in_eval_mode(model: Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _unchanged_after_an_error(layers: list[Running]) -> Iterator[None]:
    before = [(layer, layer.running_mean, layer.running_var) for layer in layers]
    try:
        yield
    except BaseException:
        for layer, mean, var in before:
            layer.running_mean, layer.running_var = mean, var
        raise


def _in_running_order(model: Module, batches: list[Any], added_up: Callable[[Array], Array]) -> list[Running]:
    """Return the layers that pool, each after those that run before it for any batch."""
    layers = [m for m in model.modules() if isinstance(m, Running) and m.pools]
    place = {layer: i for i, layer in enumerate(layers)}
    follows = np.zeros((len(layers), len(layers)))  # whether one ran right after another; at itself, whether it ran
    called: dict[Running, None] = {}
    with _observing(layers, lambda layer, inputs, y: called.setdefault(layer)):
        for batch in batches:
            called.clear()
            _run(model, batch)
            order = [place[layer] for layer in called]
            for i, j in zip(order, [*order[:1], *order[:-1]], strict=True):
                follows[i, [i, j]] = 1
    follows = added_up(follows)
    ran = [i for i in range(len(layers)) if follows[i, i]]
    before = {layers[i]: [layers[j] for j in ran if follows[i, j] and i != j] for i in ran}
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:
        raise ValueError("recalibrate needs layers that run in one order, and here it differs by batch") from None


def _set_statistics(model: Module, layer: Running, batches: list[Any], added_up: Callable[[Array], Array]) -> None:
    zero = np.zeros(layer.running_mean.shape)
    count, mean, squares = 0, zero, zero
    for values in _arriving(model, layer, batches):
        count, mean, squares = _merged(count, mean, squares, values)
    count, mean, squares = _merged_with_others(count, mean, squares, added_up)
    if count < 2:
        raise ValueError(f"recalibrate needs at least two values per channel, and a layer received {count}")
    layer.running_mean = mean.astype(layer.running_mean.dtype)
    layer.running_var = (squares / (count - 1)).astype(layer.running_var.dtype)


def _arriving(model: Module, layer: Running, batches: list[Any]) -> Iterator[Array]:
    """Yield what reaches a layer, as (values, *statistics), batch by batch."""
    seen: list[Array] = []
    with _observing([layer], lambda layer, inputs, y: seen.append(inputs[0].data)):
        for batch in batches:
            _run(model, batch)
            while seen:
                yield layer.pooled(seen.pop()).astype(np.float64)


@contextmanager
def _observing(layers: Iterable[Module], observer: Any) -> Iterator[None]:
    layers = list(layers)
    for layer in layers:
        layer._observers.append(observer)
    try:
        yield
    finally:
        for layer in layers:
            layer._observers.remove(observer)


def _run(model: Module, batch: Any) -> None:
    model(*batch if isinstance(batch, tuple) else (batch,))


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


def _merged_with_others(
    count: int, mean: Array, squares: Array, added_up: Callable[[Array], Array]
) -> tuple[int, Array, Array]:
    """Add what all that take part have; their means, weighted, must be known before the deviations from the whole."""
    sums = added_up(np.concatenate([[count], count * mean.reshape(-1)]))
    total, whole = int(sums[0]), sums[1:].reshape(mean.shape) / max(sums[0], 1)
    return total, whole, added_up(squares + count * np.square(mean - whole))


def fold_batch_norm(model: Module) -> Module:
    """Return a copy of a model for inference, with each batch norm merged into the layer right before it.

    In eval mode a batch norm is an affine map of each channel, so a linear layer before a `BatchNorm1d`, or a
    convolution before a batch norm of its rank, can change its weights instead: ``weight * γ / sqrt(var + eps)`` for
    each output channel, and ``(bias - mean) * γ / sqrt(var + eps) + β``. Outputs in eval mode are equal to rounding.

    Parameters
    ----------
    model : Module
        Left as it is. Only pairs inside a `Sequential` are folded, and only of exactly these classes: there it is known
        that one follows the other, and what each computes; subclasses may do otherwise. What reaches a `BatchNorm1d`
        is taken to be a batch, of shape (N, C) behind a `Linear`; where the channels do not fit, both layers stay.

    Returns
    -------
    Module
        In eval mode. An `Identity` stands in the place of each merged norm, so positions and names of the others are
        the same.

    Raises
    ------
    TypeError
        If ``model`` is not a Module.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> model = tn.nn.Sequential(tn.nn.Conv2d(3, 2, 3, rng=0), tn.nn.BatchNorm2d(2), tn.nn.ReLU()).eval()
    >>> folded = tn.fold_batch_norm(model)
    >>> x = np.ones((1, 3, 8, 8), np.float32)
    >>> folded[1], bool(np.allclose(folded(x).data, model(x).data))
    (Identity(), True)
    """
    folded: Module = deepcopy(as_model("fold_batch_norm", model))
    for module in list(folded.modules()):
        if type(module) is Sequential:
            _fold_pairs(module)
    return folded.eval()


def _fold_pairs(model: Sequential) -> None:
    places = list(model.children())
    for (name, layer), (norm_name, norm) in pairwise(places):
        if _can_fold(layer, norm):
            setattr(model, name, _with_norm(layer, norm))
            setattr(model, norm_name, Identity())


def _can_fold(layer: Any, norm: Any) -> bool:
    if type(layer) not in _FOLDED or type(norm) is not _FOLDED[type(layer)]:
        return False
    return norm.has_running_stats and len(layer.weight) == norm.num_features


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
