"""Random programs with sums over ranks: no deadlock, always the same bits, and the gradient of one graph for all ranks.

The judge computes all ranks in one graph, where a sum over ranks is a sum of Tensors that the engine differentiates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import tinygrad_norm as tn
from tinygrad_norm.distributed import Comm, ThreadComm, allreduce_sum

UNARY: dict[str, Callable[[Any], Any]] = {
    "square": lambda a: a * a,
    "tanh": np.tanh,
    "row sums": lambda a: a.sum(axis=0, keepdims=True) + a,
    "detached": lambda a: a.detach() if isinstance(a, tn.Tensor) else a,
    "sine": np.sin,
}
Program = tuple[list[int], list[tuple[Any, ...]], list[list[int]]]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw which ranks' leaves need a gradient, steps that all ranks take, and what each rank puts into its loss."""
    size = draw(st.integers(1, 4))
    needs = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    steps: list[tuple[Any, ...]] = []
    for count in range(2, 2 + draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["sum", "sum", "unary", "add", "multiply", "by rank"]))
        a, b = (draw(st.integers(0, count - 1)) for _ in range(2))
        steps.append((kind, a, draw(st.sampled_from(sorted(UNARY))) if kind == "unary" else b))
    used = [draw(st.lists(st.integers(0, 1 + len(steps)), max_size=3)) for _ in range(size)]
    return needs, steps, used


def leaves_of(rank: int, needs: int) -> list[tn.Tensor]:
    rng = np.random.default_rng(rank)
    return [tn.tensor(rng.standard_normal((2, 3)), requires_grad=bool(needs >> i & 1)) for i in range(2)]


def step(values: list[Any], rank: int, kind: str, a: int, b: Any) -> Any:
    """Take one step that concerns one rank alone."""
    if kind == "unary":
        return UNARY[b](values[a])
    if kind == "by rank":
        return values[a] * (rank + 1.0)
    return values[a] + values[b] if kind == "add" else values[a] * values[b] * 0.5


def loss_of(values: Sequence[Any], used: Sequence[int], rank: int) -> Any:
    if not used:
        return None
    weights = np.random.default_rng(100 + rank).standard_normal((len(used), 2, 3))
    return sum((tn.ops.sum(w * values[i]) for w, i in zip(weights, used, strict=True)), start=tn.tensor(0.0))


def on_threads(program: Program, second: bool) -> list[list[Any]]:
    """Return the gradients of each rank's leaves."""
    needs, steps, used = program

    def rank(comm: Comm) -> list[Any]:
        leaves = leaves_of(comm.rank, needs[comm.rank])
        values: list[Any] = [*leaves]
        for kind, a, b in steps:
            values.append(allreduce_sum(values[a], comm) if kind == "sum" else step(values, comm.rank, kind, a, b))
        loss = loss_of(values, used[comm.rank], comm.rank)
        wanted = [x for x in leaves if x.requires_grad]
        if second:
            outputs = [loss] if loss is not None and loss.requires_grad else []
            slopes = comm.grad(outputs, wanted, create_graph=True)
            comm.backward(sum(((s * s).sum() for s in slopes), start=tn.tensor(0.0)))
        else:
            comm.backward(loss)
        return [None if x.grad is None else x.grad.data for x in leaves]

    return ThreadComm.run(len(needs), rank)


def in_one_graph(program: Program, second: bool) -> list[list[Any]]:
    """Return the same from one graph in which all ranks are."""
    needs, steps, used = program
    ranks = range(len(needs))
    leaves = [leaves_of(rank, needs[rank]) for rank in ranks]
    values: list[list[Any]] = [[*own] for own in leaves]
    for kind, a, b in steps:
        total = sum((values[rank][a] for rank in ranks), start=tn.tensor(0.0))
        for rank in ranks:
            values[rank].append(total * 1.0 if kind == "sum" else step(values[rank], rank, kind, a, b))
    losses = [loss_of(values[rank], used[rank], rank) for rank in ranks]
    total = sum((loss for loss in losses if loss is not None), start=tn.tensor(0.0))
    flat = [x for own in leaves for x in own if x.requires_grad]
    if not flat or not total.requires_grad:
        return [[np.zeros((2, 3)) for _ in own] for own in leaves]
    if second:
        slopes = tn.grad(total, flat, create_graph=True)
        squares = sum(((s * s).sum() for s in slopes), start=tn.tensor(0.0))
        found = tn.grad(squares, flat) if squares.requires_grad else [tn.tensor(np.zeros((2, 3)))] * len(flat)
    else:
        found = tn.grad(total, flat)
    by_leaf = dict(zip(flat, found, strict=True))
    return [[by_leaf[x].data if x in by_leaf else np.zeros((2, 3)) for x in own] for own in leaves]


def bits(results: list[list[Any]]) -> list[Any]:
    return [None if g is None else g.tobytes() for own in results for g in own]


@pytest.mark.parametrize("second", [False, True])
@given(program=programs())
@settings(max_examples=200, deadline=None)
def test_random_programs(second: bool, program: Program) -> None:
    results = on_threads(program, second)
    assert bits(results) == bits(on_threads(program, second))
    for own, expected in zip(results, in_one_graph(program, second), strict=True):
        for g, wanted in zip(own, expected, strict=True):
            np.testing.assert_allclose(np.zeros((2, 3)) if g is None else g, wanted, rtol=1e-9, atol=1e-9)
    event(f"{len(program[0])} ranks, {sum(kind == 'sum' for kind, *_ in program[1])} sums")
