"""A batch spread over ranks beside the same batch in one process: outputs, gradients, running statistics, training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import distributed
from tinygrad_norm.distributed import Comm, ThreadComm

Array = Any
SHARDS = [[8], [4, 4], [1, 7], [3, 0, 5], [1, 0, 5, 2]]


def parts(sizes: Sequence[int]) -> list[slice]:
    """Return where each rank's samples are."""
    ends = np.cumsum([0, *sizes])
    return [slice(start, stop) for start, stop in pairwise(ends)]


def leaf(array: Array) -> tn.Tensor:
    return tn.tensor(array, requires_grad=True)


def draws(shape: Sequence[int], seed: int = 0) -> dict[str, Array]:
    """Return an input with γ, β, a cotangent, and directions for second derivatives."""
    rng = np.random.default_rng(seed)
    x, g, v = (rng.standard_normal(shape) for _ in range(3))
    gamma, beta, a, b = (rng.standard_normal(shape[1]) for _ in range(4))
    scales = np.arange(1, 1 + shape[1]).reshape(-1, *(1,) * (len(shape) - 2))
    return {"x": x * scales + 3, "gamma": gamma, "beta": beta, "g": g, "v": v, "a": a, "b": b}


def in_one_process(given: dict[str, Array], eps: float = 1e-5) -> dict[str, Array]:
    """Return what batch norm of the whole batch gives: y, its gradients, and the gradients of v·dx + a·dγ + b·dβ."""
    leaves = [leaf(given[name]) for name in ("x", "gamma", "beta")]
    g = leaf(given["g"])
    y = tn.batch_norm(leaves[0], weight=leaves[1], bias=leaves[2], eps=eps)
    first = tn.grad(y, leaves, g, create_graph=True)
    along = sum(((d * given[name]).sum() for d, name in zip(first, "vab", strict=True)), start=tn.tensor(0.0))
    second = tn.grad(along, [*leaves, g])
    return _named(y, first, second)


def on_ranks(given: dict[str, Array], sizes: Sequence[int], eps: float = 1e-5) -> dict[str, Array]:
    """Return the same from a batch spread over threads that play the ranks."""
    mine = parts(sizes)
    results = ThreadComm.run(len(sizes), lambda comm: on_rank(given, mine[comm.rank], comm, eps))
    found = {}
    for name in results[0]:
        each = [result[name] for result in results]
        spread = name in ("y", "dx", "ddx", "ddg")
        found[name] = np.concatenate(each) if spread else sum(each[1:], start=each[0])
    return found


def on_rank(given: dict[str, Array], mine: slice, comm: Comm, eps: float = 1e-5) -> dict[str, Array]:
    """Return this rank's part of it; of γ and β, its part of the sum."""
    x, gamma, beta, g = leaves = [
        leaf(given["x"][mine]), leaf(given["gamma"]), leaf(given["beta"]), leaf(given["g"][mine]),
    ]  # fmt: skip
    y = distributed.sync_batch_norm(x, comm, weight=gamma, bias=beta, eps=eps)
    first = comm.grad(y, [x, gamma, beta], g, create_graph=True)
    # a·dγ is over the whole batch a sum of what the ranks have.
    along = [(first[0] * given["v"][mine]).sum(), (first[1] * given["a"]).sum(), (first[2] * given["b"]).sum()]
    second = comm.grad(along[0] + along[1] + along[2], leaves)
    return _named(y, first, second)


def _named(y: tn.Tensor, first: Sequence[tn.Tensor], second: Sequence[tn.Tensor]) -> dict[str, Array]:
    names = ("dx", "dgamma", "dbeta", "ddx", "ddgamma", "ddbeta", "ddg")
    return {"y": y.data} | {name: d.data for name, d in zip(names, [*first, *second], strict=True)}


def difference(one: dict[str, Array], several: dict[str, Array]) -> float:
    """Return the largest difference, relative to the largest value of its kind."""
    return max(
        float(np.max(abs(one[name] - several[name]), initial=0)) / max(float(np.max(abs(one[name]), initial=0)), 1)
        for name in one
    )


# Training.


def network(seed: int = 0) -> tn.nn.Sequential:
    return tn.nn.Sequential(
        tn.nn.Linear(5, 6, dtype=np.float64, rng=seed), tn.nn.BatchNorm1d(6, dtype=np.float64), tn.nn.ReLU(),
        tn.nn.Linear(6, 6, dtype=np.float64, rng=seed + 1), tn.nn.BatchNorm1d(6, momentum=None, dtype=np.float64),
        tn.nn.Tanh(), tn.nn.Linear(6, 2, dtype=np.float64, rng=seed + 2),
    )  # fmt: skip


def trained(comm: Comm, sizes: Sequence[int], steps: int = 20) -> dict[str, Array]:
    """Return the state of a network after some steps, the batch of each spread over the ranks, and the losses."""
    model = distributed.convert_sync_batch_norm(network(), comm)
    optimizer = tn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    rng = np.random.default_rng(5)
    mine, n, losses = parts(sizes)[comm.rank], sum(sizes), []
    for _ in range(steps):
        x, target = rng.standard_normal((n, 5)), rng.standard_normal((n, 2))
        loss = ((model(x[mine]) - target[mine]) ** 2).sum() / n
        model.zero_grad()
        comm.backward(loss)
        distributed.allreduce_gradients(model.parameters(), comm)
        optimizer.step()
        losses.append(comm.allreduce(np.array([loss.item()])).item())
    distributed.check_equal(model, comm)
    return {**model.state_dict(), "losses": np.array(losses)}
