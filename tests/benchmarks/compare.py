"""This engine, PyTorch, HIPS autograd and MyGrad on the same work, in one run: ``python -m tests.benchmarks.compare``.

Every round runs every contender, each round starting with another one, so that all of them meet the same machine; what
counts is the median over rounds. The work is float32, forward and backward with a given random cotangent, on leaves
that exist already. Before anything is timed, the contenders' outputs and gradients are compared with each other.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import tinygrad_norm as tn

Step = Callable[[], Sequence[Any]]
"""Forward and backward once; returns the output and the gradients."""

OURS = "tinygrad_norm"
SHAPES = ((64, 128), (1024, 768), (32, 64, 32, 32))
EPS = 1e-5
AGREEMENT = 1e-4
CHAIN_LENGTHS = (50, 450)
CHAIN_BUDGET = 5.0
IMPORT_BUDGET = 60.0


class Work(NamedTuple):
    """One norm at one shape: its arrays, the axes of its statistics, and how weight and bias meet ``x``."""

    kind: str
    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    cotangent: np.ndarray
    axes: tuple[int, ...]
    affine_shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.kind} {self.x.shape}"

    @property
    def budgets(self) -> dict[str, float]:
        if self.x.shape == (64, 128):
            return {"torch composed": 1.1, "mygrad": 0.6, "autograd": 0.45}
        return {"mygrad": 0.85, "autograd": 0.6}


def work_of(kind: str, shape: tuple[int, ...], seed: int) -> Work:
    """Return the arrays of a norm: batch norm per channel, layer norm over all axes but the first."""
    if kind == "batch_norm":
        axes, parameter = (0, *range(2, len(shape))), shape[1:2]
        affine = (1, shape[1]) + (1,) * (len(shape) - 2)
    else:
        axes, parameter = tuple(range(1, len(shape))), shape[1:]
        affine = parameter
    rng = np.random.default_rng(seed)
    x, weight, bias, g = (rng.standard_normal(s, dtype=np.float32) for s in (shape, parameter, parameter, shape))
    return Work(kind, 3 + 2 * x, 1 + weight / 4, bias, g, axes, affine)


# The contenders. Each composes the norm as its users would, and gets the gradients of x, weight and bias.


def ours(work: Work) -> Step:
    leaves = x, weight, bias = [tn.tensor(a, requires_grad=True) for a in (work.x, work.weight, work.bias)]

    def step() -> Sequence[Any]:
        if work.kind == "batch_norm":
            y = tn.batch_norm(x, weight=weight, bias=bias, eps=EPS)
        else:
            y = tn.layer_norm(x, work.weight.shape, weight, bias, eps=EPS)
        for leaf in leaves:
            leaf.grad = None
        y.backward(work.cotangent)
        return y.data, *(leaf.grad.data for leaf in leaves)

    return step


def _torch_step(forward: Callable[..., Any], arrays: Sequence[np.ndarray], cotangent: np.ndarray) -> Step:
    import torch

    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    g = torch.tensor(cotangent)

    def step() -> Sequence[Any]:
        y = forward(*leaves)
        for leaf in leaves:
            leaf.grad = None
        y.backward(g)
        return y.detach(), *(leaf.grad for leaf in leaves)

    return step


def torch_composed(work: Work) -> Step:
    def forward(x: Any, weight: Any, bias: Any) -> Any:
        centred = x - x.mean(work.axes, keepdim=True)
        variance = centred.square().mean(work.axes, keepdim=True)
        normalized = centred * (variance + EPS).rsqrt()
        return normalized * weight.reshape(work.affine_shape) + bias.reshape(work.affine_shape)

    return _torch_step(forward, work[1:4], work.cotangent)


def torch_fused(work: Work) -> Step:
    import torch.nn.functional as F

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        if work.kind == "batch_norm":
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=EPS)
        return F.layer_norm(x, work.weight.shape, weight, bias, eps=EPS)

    return _torch_step(forward, work[1:4], work.cotangent)


def hips_autograd(work: Work) -> Step:
    import autograd.numpy as anp
    from autograd import make_vjp

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        centred = x - anp.mean(x, axis=work.axes, keepdims=True)
        variance = anp.mean(centred * centred, axis=work.axes, keepdims=True)
        normalized = centred / anp.sqrt(variance + EPS)
        return normalized * weight.reshape(work.affine_shape) + bias.reshape(work.affine_shape)

    return _autograd_step(make_vjp(forward, (0, 1, 2)), work[1:4], work.cotangent)


def _autograd_step(make: Callable[..., Any], arrays: Sequence[np.ndarray], cotangent: np.ndarray) -> Step:
    def step() -> Sequence[Any]:
        pull_back, y = make(*arrays)
        return y, *pull_back(cotangent)

    return step


def mygrad(work: Work) -> Step:
    import mygrad as mg

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        centred = x - mg.mean(x, axis=work.axes, keepdims=True)
        variance = mg.mean(centred * centred, axis=work.axes, keepdims=True)
        normalized = centred / mg.sqrt(variance + EPS)
        return normalized * weight.reshape(*work.affine_shape) + bias.reshape(*work.affine_shape)

    return _mygrad_step(forward, work[1:4], work.cotangent)


def _mygrad_step(forward: Callable[..., Any], arrays: Sequence[np.ndarray], cotangent: np.ndarray) -> Step:
    import mygrad as mg

    leaves = [mg.tensor(a, constant=False) for a in arrays]

    def step() -> Sequence[Any]:
        y = forward(*leaves)
        y.backward(cotangent)
        return y.data, *(leaf.grad for leaf in leaves)

    return step


CONTENDERS: Mapping[str, tuple[str, Callable[[Work], Step]]] = {
    OURS: ("tinygrad_norm", ours),
    "torch composed": ("torch", torch_composed),
    "torch fused": ("torch", torch_fused),
    "autograd": ("autograd", hips_autograd),
    "mygrad": ("mygrad", mygrad),
}


# A chain of operations on eight elements: all engine, no arithmetic.


def chains(length: int, seed: int, constant: bool) -> dict[str, Callable[[], Step]]:
    """Return for each contender ``y = y * a; y = y + b`` repeated; ``a`` and ``b`` need gradients unless constant."""
    rng = np.random.default_rng(seed)
    x, b, g = (rng.standard_normal(8, dtype=np.float32) for _ in range(3))
    a = rng.uniform(0.9, 1.1, 8).astype(np.float32)

    def chain(y: Any, a: Any, b: Any) -> Any:
        for _ in range(length // 2):
            y = y * a
            y = y + b
        return y

    def ours() -> Step:
        y0, *others = tn.tensor(x, requires_grad=True), *(tn.tensor(v, requires_grad=not constant) for v in (a, b))

        def step() -> Sequence[Any]:
            y = chain(y0, *others)
            y0.grad = others[0].grad = others[1].grad = None
            y.backward(g)
            return y.data, y0.grad.data

        return step

    def torch_() -> Step:
        import torch

        if not constant:
            return lambda step=_torch_step(chain, (x, a, b), g): step()[:2]
        others = torch.tensor(a), torch.tensor(b)
        return _torch_step(lambda y: chain(y, *others), (x,), g)

    def autograd_() -> Step:
        from autograd import make_vjp

        if constant:
            return _autograd_step(make_vjp(lambda y: chain(y[0], a, b), 0), ((x,),), g)
        return lambda step=_autograd_step(make_vjp(chain, (0, 1, 2)), (x, a, b), g): step()[:2]

    def mygrad_() -> Step:
        import mygrad as mg

        if not constant:
            return lambda step=_mygrad_step(chain, (x, a, b), g): step()[:2]
        others = mg.tensor(a, constant=True), mg.tensor(b, constant=True)
        return _mygrad_step(lambda y: chain(y, *others), (x,), g)

    return {OURS: ours, "torch composed": torch_, "autograd": autograd_, "mygrad": mygrad_}
