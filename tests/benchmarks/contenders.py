"""The same work for every contender: a norm forward and backward, and a chain of operations that is all engine.

The work is float32, forward and backward with a given random cotangent, on leaves that exist already. Each contender
composes the norm as its users would, and gets the gradients of x, weight and bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import tinygrad_norm as tn

Step = Callable[[], Sequence[Any]]
"""Forward and backward once; returns the output and the gradients."""

OURS = "tinygrad_norm"
TORCH, TORCH_ALONE = "torch composed", "torch, 1 thread"
EPS = 1e-5


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
    def small(self) -> bool:
        """Whether the engines' own cost counts, and PyTorch has nothing to share among threads."""
        return self.x.size < 32_768

    @property
    def budgets(self) -> dict[str, float]:
        return {TORCH: 0.95, "mygrad": 0.55, "autograd": 0.45} if self.small else {"mygrad": 0.85, "autograd": 0.6}


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


# The contenders.


def ours(work: Work) -> Step:
    def forward(x: Any, weight: Any, bias: Any) -> Any:
        if work.kind == "batch_norm":
            return tn.batch_norm(x, weight=weight, bias=bias, eps=EPS)
        return tn.layer_norm(x, work.weight.shape, weight, bias, eps=EPS)

    return _our_step(forward, work[1:4], work.cotangent)


def _our_step(forward: Callable[..., Any], arrays: Sequence[np.ndarray], cotangent: np.ndarray) -> Step:
    leaves = [tn.tensor(a, requires_grad=True) for a in arrays]

    def step() -> Sequence[Any]:
        y = forward(*leaves)
        for leaf in leaves:
            leaf.grad = None
        y.backward(cotangent)
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


def torch_alone(work: Work) -> Step:
    """Return PyTorch's composition on one thread, as NumPy runs."""
    import torch

    step = torch_composed(work)

    def step_alone() -> Sequence[Any]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return step()
        finally:
            torch.set_num_threads(threads)

    return step_alone


def torch_fused(work: Work) -> Step:
    from torch.nn import functional

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        if work.kind == "batch_norm":
            return functional.batch_norm(x, None, None, weight, bias, training=True, eps=EPS)
        return functional.layer_norm(x, work.weight.shape, weight, bias, eps=EPS)

    return _torch_step(forward, work[1:4], work.cotangent)


def hips_autograd(work: Work) -> Step:
    import autograd.numpy as anp

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        centred = x - anp.mean(x, axis=work.axes, keepdims=True)
        variance = anp.mean(centred * centred, axis=work.axes, keepdims=True)
        normalized = centred / anp.sqrt(variance + EPS)
        return normalized * weight.reshape(work.affine_shape) + bias.reshape(work.affine_shape)

    return _autograd_step(forward, work[1:4], work.cotangent)


def _autograd_step(forward: Callable[..., Any], arrays: Sequence[np.ndarray], cotangent: np.ndarray) -> Step:
    from autograd import make_vjp

    trace = make_vjp(forward, tuple(range(len(arrays))))

    def step() -> Sequence[Any]:
        pull_back, y = trace(*arrays)
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


CONTENDERS: Mapping[str, Callable[[Work], Step]] = {
    OURS: ours,
    TORCH: torch_composed,
    TORCH_ALONE: torch_alone,
    "torch fused": torch_fused,
    "autograd": hips_autograd,
    "mygrad": mygrad,
}


def contenders(work: Work) -> dict[str, Callable[[], Step]]:
    """Return the makers of those that have something of their own to say about this work."""
    return {name: partial(make, work) for name, make in CONTENDERS.items() if not (work.small and name == TORCH_ALONE)}


def chain_contenders(length: int, seed: int) -> dict[str, Callable[[], Step]]:
    """Return the makers of a chain ``y = y * a; y = y + b; ...`` on eight elements: all engine, no arithmetic.

    ``a`` and ``b`` are tensors of the same shape that need no gradient, so each operation has one rule to run.
    """
    rng = np.random.default_rng(seed)
    x, b, g = (rng.standard_normal(8, dtype=np.float32) for _ in range(3))
    # So close to 1 that a thousand factors neither overflow nor vanish.
    a = rng.uniform(0.995, 1.005, 8).astype(np.float32)

    def chain(constant: Callable[[np.ndarray], Any]) -> Callable[[Any], Any]:
        factor, summand = constant(a), constant(b)

        def forward(y: Any) -> Any:
            for _ in range(length // 2):
                y = y * factor
                y = y + summand
            return y

        return forward

    def torch_chain() -> Step:
        import torch

        return _torch_step(chain(torch.tensor), [x], g)

    def mygrad_chain() -> Step:
        import mygrad as mg

        return _mygrad_step(chain(lambda v: mg.tensor(v, constant=True)), [x], g)

    return {
        OURS: lambda: _our_step(chain(tn.tensor), [x], g),
        TORCH: torch_chain,
        "autograd": lambda: _autograd_step(chain(lambda v: v), [x], g),
        "mygrad": mygrad_chain,
    }
