"""Preparation for inference: exact statistics of a dataset, and batch norms folded into preceding layers."""

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

# The batch norm that normalizes the output channels of each layer.
_FOLDED = {Linear: BatchNorm1d, Conv1d: BatchNorm1d, Conv2d: BatchNorm2d, Conv3d: BatchNorm3d}


def recalibrate(model: Module, batches: Iterable[Any]) -> None:
    """Set the running statistics of every batch norm in a model to the exact statistics of a dataset.

    Each layer gets the mean and the unbiased variance of all its input values, as if the data were one batch. Layers
    are processed in the order in which they run, because the input of a layer depends on the statistics of earlier
    ones. Ioffe and Szegedy 2015 instead average the variances of batches, which ignores the differences between batch
    means.

    The function updates layers with running statistics of whole batches: `BatchNorm1d`, `BatchNorm2d`, `BatchNorm3d`,
    `GhostBatchNorm`, the batch norm inside a `ConditionalBatchNorm`, and a `Norm` whose pattern drops the first axis.
    It does not change layers that are not called, `BatchRenorm`, and layers that average over instances (InstanceNorm,
    other Norms).

    Parameters
    ----------
    model : Module
        The model. Modes, parameters and ``num_batches_tracked`` do not change. An error leaves the statistics
        unchanged.
    batches : iterable of arrays or Tensors, or of tuples of them
        Inputs of the model, of any batch size; tuples if the model has several inputs. They are kept in memory, because
        each layer needs a pass over them.

    Raises
    ------
    TypeError
        If ``model`` is not a Module, or ``batches`` is a single array.
    ValueError
        If there are no batches, a layer receives fewer than two values per channel, or the order of the layers differs
        between batches.

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
    """Recalibrate with the batches of all processes; ``added_up`` returns the sum of an array over all of them."""
    as_model("recalibrate", model)
    if isinstance(batches, np.ndarray | Tensor):
        raise TypeError(f"batches must be an iterable of inputs such as a list, not one array of shape {batches.shape}")
    batches = list(batches)
    if not added_up(np.array([len(batches)])):
        raise ValueError("recalibrate requires at least one batch")
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
    """Return the layers that pool, sorted so that each comes after those that run before it for any batch."""
    layers = [m for m in model.modules() if isinstance(m, Running) and m.pools]
    place = {layer: i for i, layer in enumerate(layers)}
    follows = np.zeros((len(layers), len(layers)))  # [i, j]: whether i ran right after j; [i, i]: whether i ran
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
        raise ValueError("recalibrate requires the same order of layers for all batches, but it differs") from None


def _set_statistics(model: Module, layer: Running, batches: list[Any], added_up: Callable[[Array], Array]) -> None:
    zero = np.zeros(layer.running_mean.shape)
    count, mean, squares = 0, zero, zero
    for values in _arriving(model, layer, batches):
        count, mean, squares = _merged(count, mean, squares, values)
    count, mean, squares = _merged_with_others(count, mean, squares, added_up)
    if count < 2:
        raise ValueError(f"recalibrate requires at least two values per channel, and a layer received {count}")
    layer.running_mean = mean.astype(layer.running_mean.dtype)
    layer.running_var = (squares / (count - 1)).astype(layer.running_var.dtype)


def _arriving(model: Module, layer: Running, batches: list[Any]) -> Iterator[Array]:
    """Yield the inputs of a layer, in shape (values, *statistics), batch by batch."""
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
    """Merge the statistics of all processes: first the weighted means, then the deviations from the overall mean."""
    sums = added_up(np.concatenate([[count], count * mean.reshape(-1)]))
    total, whole = int(sums[0]), sums[1:].reshape(mean.shape) / max(sums[0], 1)
    return total, whole, added_up(squares + count * np.square(mean - whole))


def fold_batch_norm(model: Module) -> Module:
    """Return a copy of a model for inference, with each batch norm merged into the layer directly before it.

    In eval mode a batch norm is an affine map of each channel. It can be merged into a linear layer before a
    `BatchNorm1d`, or a convolution before a batch norm of the same rank, by changing the weights to
    ``weight * γ / sqrt(var + eps)`` for each output channel, and the bias to
    ``(bias - mean) * γ / sqrt(var + eps) + β``. Outputs in eval mode are equal up to rounding.

    Parameters
    ----------
    model : Module
        The model, which does not change. Only pairs of exactly these classes inside a `Sequential` are folded, because
        there the order and the computation are known; subclasses may compute something else. The input of a
        `BatchNorm1d` after a `Linear` is assumed to have shape (N, C). If the numbers of channels differ, both layers
        are kept.

    Returns
    -------
    Module
        The copy, in eval mode. An `Identity` replaces each merged norm, so that the other layers keep their positions
        and names.

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
    """Return one layer that replaces two. It has new parameters, because the old ones may be shared."""
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
