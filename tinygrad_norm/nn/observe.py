"""Watching a model at work: the mean and spread of every layer's output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..engine.operators import Array
from ..engine.tensor import Tensor
from .module import Module


class Observation(NamedTuple):
    """Statistics of one output: for each feature its mean and standard deviation over samples."""

    mean: Array
    std: Array


@contextmanager
def observe(model: Module) -> Iterator[dict[str, list[Observation]]]:
    """Record, for each layer inside a model, the mean and standard deviation of its output for each feature.

    They are taken over samples, the first axis, and keep every other axis: statistics pooled over features would hide
    a collapse, where all samples come out alike. Nothing is added to the graph.

    Parameters
    ----------
    model : Module

    Yields
    ------
    dict from path to list of Observations
        One Observation for each call of that layer; a model without layers inside has the path "".

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> model = tn.nn.Sequential(tn.nn.Tanh())
    >>> with tn.nn.observe(model) as seen:
    ...     y = model(np.array([[0.0, 1.0], [0.0, -1.0]]))
    >>> seen["0"][0].std.round(4)
    array([0.    , 0.7616])
    """
    layers = [(path, module) for path, module in model.named_modules() if not any(module.children())]
    seen: dict[str, list[Observation]] = {path: [] for path, _ in layers}
    observers = []
    for path, module in layers:

        def note(_: Module, inputs: Any, y: Any, path: str = path) -> None:
            values = y.data if isinstance(y, Tensor) else y
            seen[path].append(Observation(values.mean(axis=0), values.std(axis=0)))

        module._observers.append(note)
        observers.append((module, note))
    try:
        yield seen
    finally:
        for module, note in observers:
            module._observers.remove(note)
