"""This engine, PyTorch, HIPS autograd and MyGrad on the same work, in one run: ``python -m tests.benchmarks.compare``.

Every round runs every contender, each round starting with another one, so that all of them meet the same machine; what
counts is the median over rounds. The work is float32, forward and backward with a given random cotangent, on leaves
that exist already. Before anything is timed, the contenders' outputs and gradients are compared with each other.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import tinygrad_norm as tn

Step = Callable[[], Sequence[Any]]
"""Forward and backward once; returns the output and the gradients."""

OURS = "tinygrad_norm"
SHAPES = ((64, 128), (1024, 768), (32, 64, 32, 32))
EPS = 1e-5
AGREEMENT = 1e-4
CHAIN_LENGTHS = (100, 1100)
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
    "torch composed": torch_composed,
    "torch fused": torch_fused,
    "autograd": hips_autograd,
    "mygrad": mygrad,
}


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
        "torch composed": torch_chain,
        "autograd": lambda: _autograd_step(chain(lambda v: v), [x], g),
        "mygrad": mygrad_chain,
    }


# Measuring.


def ready(makers: Mapping[str, Callable[[], Step]]) -> dict[str, Step]:
    """Build every contender that is installed, and see that all of them compute the same."""
    steps: dict[str, Step] = {}
    for name, make in makers.items():
        try:
            steps[name] = make()
        except ImportError:
            continue
    expected = [np.array(a) for a in steps[OURS]()]
    for name, step in steps.items():
        for what, ours, theirs in zip(("y", "dx", "dweight", "dbias"), expected, step(), strict=False):
            error = np.abs(np.asarray(theirs) - ours).max() / np.abs(ours).max()
            if not error <= AGREEMENT:
                raise AssertionError(f"{name} disagrees about {what}: {error:.1e} of the largest element")
    return steps


def medians(steps: Mapping[Any, Step], rounds: int, number: int) -> dict[Any, float]:
    """Return each contender's median time of one step in microseconds, over interleaved rounds."""
    names, times = list(steps), {name: [] for name in steps}
    gc.collect()
    gc.disable()
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            step, start = steps[name], time.perf_counter()
            for _ in range(number):
                step()
            times[name].append((time.perf_counter() - start) / number * 1e6)
        if i % 20 == 0:
            gc.collect()
    gc.enable()
    return {name: statistics.median(values) for name, values in times.items()}


def import_milliseconds(rounds: int) -> tuple[float, float]:
    """Return the median times of processes that import NumPy, and that import this package, both as bytecode."""
    times: dict[str, list[float]] = {"numpy": [], OURS: []}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(rounds):
        for module, values in times.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env=environment)
            values.append((time.perf_counter() - start) * 1e3)
    numpy, package = (statistics.median(values[1:] or values) for values in times.values())
    return numpy, package


# Printing.


def verdict(value: float, budget: float) -> str:
    return "within budget" if value <= budget else f"over by {value / budget:.2f}x"


def table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def compare_norms(kind: str, rounds: int, seed: int) -> None:
    times, ratios = [["median µs", *CONTENDERS]], [["this / that", "peer", "ratio", "budget", ""]]
    for shape in SHAPES:
        work = work_of(kind, shape, seed)
        steps = ready({name: partial(make, work) for name, make in CONTENDERS.items()})
        small = work.x.size < 100_000
        found = medians(steps, rounds if small else max(rounds // 5, 5), 5 if small else 1)
        times.append([work.name, *(f"{found[name]:.0f}" if name in found else "missing" for name in CONTENDERS)])
        for peer in CONTENDERS:
            if peer == OURS or peer not in found:
                continue
            ratio, budget = found[OURS] / found[peer], work.budgets.get(peer)
            judged = ["", ""] if budget is None else [f"{budget:.2f}", verdict(ratio, budget)]
            ratios.append([work.name, peer, f"{ratio:.2f}", *judged])
    print(f"\n{table(times)}\n\n{table(ratios)}")


def compare_chains(rounds: int, seed: int) -> None:
    steps = {(name, n): step for n in CHAIN_LENGTHS for name, step in ready(chain_contenders(n, seed)).items()}
    found, (short, long) = medians(steps, max(rounds // 4, 5), 1), CHAIN_LENGTHS
    slopes = {name: (found[name, long] - found[name, short]) / (long - short) for name, n in steps if n == long}
    names = [name for name in CONTENDERS if name != "torch fused"]
    row = [f"{slopes[name]:.1f}" if name in slopes else "missing" for name in names]
    print(f"\n{table([['µs per operation of a chain', *names], [f'slope between {CHAIN_LENGTHS}', *row]])}")
    print(f"budget {CHAIN_BUDGET} µs: {verdict(slopes[OURS], CHAIN_BUDGET)}")


def compare_imports(rounds: int, seed: int) -> None:
    numpy, package = import_milliseconds(max(rounds // 10, 5))
    beyond = package - numpy
    print(f"\nimport numpy {numpy:.0f} ms, import tinygrad_norm {package:.0f} ms: {beyond:.0f} ms beyond", end="; ")
    print(f"budget {IMPORT_BUDGET:.0f} ms: {verdict(beyond, IMPORT_BUDGET)}")


PARTS: Mapping[str, Callable[[int, int], None]] = {
    "batch_norm": lambda rounds, seed: compare_norms("batch_norm", rounds, seed),
    "layer_norm": lambda rounds, seed: compare_norms("layer_norm", rounds, seed),
    "chain": compare_chains,
    "import": compare_imports,
}


def describe_machine() -> str:
    versions = []
    for module in ("numpy", "torch", "autograd", "mygrad"):
        try:
            versions.append(f"{module} {importlib.metadata.version(module)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{module} missing")
    return f"Python {platform.python_version()}, {', '.join(versions)}; float32, forward + backward"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a measurement")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="these parts only")
    parser.add_argument("--seed", type=int, default=0, help="of the data (default 0)")
    options = parser.parse_args(arguments)
    print(describe_machine())
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.set_num_threads(os.cpu_count() or 1)
        print(f"PyTorch runs {torch.get_num_threads()} threads on {os.cpu_count()} cores; NumPy runs one")
    for part in options.only:
        PARTS[part](40 if options.quick else 200, options.seed)


if __name__ == "__main__":
    main()
