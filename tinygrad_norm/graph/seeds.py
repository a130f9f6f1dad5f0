"""The gradient in a drawing: its leaves, its seeds, and the name of the output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..engine.autodiff import grad
from ..engine.tensor import Tensor, slope_name, walk
from .model import Graph

# An unusual seed, so that the cotangent differs from random data: if it equals x, dL/dx can be zero.
COTANGENT_SEED = 1502_03167


def leaves_of(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the leaves that the outputs depend on and that require gradients."""
    leaves: dict[Tensor, None] = {}
    for y in reversed(walk(outputs)):
        for x in y.node.inputs:  # type: ignore[union-attr]
            if isinstance(x, Tensor) and x.node is None and x.requires_grad:
                leaves[x] = None
    if not leaves:
        raise ValueError(
            "backward=True has nothing to draw: no output was computed from a Tensor with requires_grad=True"
        )
    return list(leaves)


def seeds_of(outputs: Sequence[Tensor], cotangents: Sequence[Any] | None) -> list[Tensor]:
    """Return the cotangents as named leaves."""
    if cotangents is None:
        random = np.random.default_rng(COTANGENT_SEED)
        cotangents = [random.normal(size=y.shape) for y in outputs]
    if not isinstance(cotangents, list | tuple):
        kind = type(cotangents).__name__
        raise TypeError(f"cotangents must be a list or tuple with an array for each output, not {kind}")
    if len(cotangents) != len(outputs):
        raise ValueError(
            f"cotangents must have an array for each output: expected {len(outputs)}, got {len(cotangents)}"
        )
    order = 1 + max((y.node.order for y in walk(outputs)), default=0)  # type: ignore[union-attr]
    unnamed = called(outputs)
    seeds = []
    for y, cotangent in zip(outputs, cotangents, strict=True):
        seed = cotangent.detach() if isinstance(cotangent, Tensor) else Tensor(cotangent, dtype=y.dtype)
        seed.name = slope_name(y.name or unnamed, order)
        # Gradients that depend on the seed alone, such as dL/dβ, must be recorded, too.
        seed.requires_grad = y.requires_grad
        seeds.append(seed)
    return seeds


def called(outputs: Sequence[Tensor]) -> str:
    """Return the name for an output that has none."""
    taken = {x.name for y in walk(outputs) for x in (y, *y.node.inputs) if isinstance(x, Tensor)}  # type: ignore[union-attr]
    return "output" if "y" in taken else "y"


def with_its_output_called(name: str, graph: Graph) -> Graph:
    """Return the graph with a name for its output, since the seed of the gradient refers to it: ``dL/dy``."""
    y = graph.vertices[graph.outputs[0]]
    # A box that stands for several blocks has no single output.
    if y.name or y.times > 1 or any(re.search(r" × \d+$", graph.scopes[scope]) for scope in y.scope):
        return graph
    return replace(graph, vertices=(*graph.vertices[: y.id], replace(y, name=name), *graph.vertices[y.id + 1 :]))


def gradients_of(outputs: Sequence[Tensor], seeds: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """Return the gradient of every Tensor that requires one and that the outputs depend on."""
    tensors = [*leaves_of(outputs), *(y for y in walk(outputs) if y.requires_grad)]
    return dict(zip(tensors, grad(outputs, tensors, [seed.data for seed in seeds]), strict=True))
