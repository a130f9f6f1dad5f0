"""This library beside others that differentiate, check or draw: ``python -m tests.benchmarks.libraries``.

``--write`` renews the tables of docs/comparison.md. The extra ``compare`` installs the others; tinygrad needs ``clang``
too, and is left out where there is none. Everything runs on one core. What is timed is forward and backward with a
given random cotangent; rounds are interleaved, and medians are shown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import Requirement

import tinygrad_norm as tn
from tests.code_lines import code_lines
from tests.draws import drawn
from tinygrad_norm.check.mutants import CASES, MUTANTS
from tinygrad_norm.table import Table

from . import peers
from .contenders import CONTENDERS, EPS, OURS, Step, Work, work_of
from .machine import processor
from .measuring import medians, ready

Array = np.ndarray
PAGE = Path(__file__).resolve().parents[2] / "docs" / "comparison.md"
LIBRARIES = {
    OURS: "tinygrad_norm",
    "micrograd": "micrograd",
    "autograd": "autograd",
    "MyGrad": "mygrad",
    "tinygrad": "tinygrad",
    "PyTorch": "torch",
    "TorchLens": "torchlens",
}
"""What they are called, and the modules, which the distributions are named for."""

FIRST_GRADIENTS = {
    OURS: "import tinygrad_norm as tn; x = tn.tensor(3.0, requires_grad=True); (x * x).backward()",
    "micrograd": "from micrograd.engine import Value; x = Value(3.0); (x * x).backward()",
    "autograd": "from autograd import grad; grad(lambda x: x * x)(3.0)",
    "MyGrad": "import mygrad as mg; x = mg.tensor(3.0); (x * x).backward()",
    "tinygrad": "from tinygrad import Tensor; x = Tensor([3.0]); (x * x).sum().gradient(x)[0].numpy()",
    "PyTorch": "import torch; x = torch.tensor(3.0, requires_grad=True); (x * x).backward()",
}


def installed(name: str) -> bool:
    return importlib.util.find_spec(LIBRARIES[name]) is not None and (name != "tinygrad" or bool(shutil.which("clang")))


def here() -> list[str]:
    return [name for name in LIBRARIES if installed(name)]


# What is installed.


def needed(distribution: str) -> set[str]:
    """Return a distribution and all that it requires, directly or not, without its extras."""
    found, pending = set(), [distribution]
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name not in found:
            found.add(name)
            required = map(Requirement, importlib.metadata.requires(name) or ())
            pending += [r.name for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def files_of(distribution: str) -> list[Path]:
    """Return the files of a distribution, without bytecode."""
    if distribution == "tinygrad-norm":  # perhaps a checkout, in which the distribution has no files
        paths = [*Path(tn.__file__).parent.rglob("*")]
    else:
        paths = [Path(file.locate()) for file in importlib.metadata.files(distribution) or ()]
    return [path for path in paths if path.is_file() and path.suffix != ".pyc"]


def lines_of(distribution: str) -> int:
    """Return the lines of code in Python, without tests and generated bindings."""
    paths = [path for path in files_of(distribution) if path.suffix == ".py"]
    apart = {"test", "tests", "testing", "autogen", "bin"}
    return sum(code_lines(path.read_text(encoding="utf-8")) for path in paths if not apart & {*path.parts})


def milliseconds(code: str, rounds: int) -> float:
    """Return how much longer a process takes that runs some code than one that runs nothing, bytecode being there."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {"": [], code: []}
    for _ in range(rounds + 1):
        for source, found in times.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", source], check=True, env=environment)
            found.append((time.perf_counter() - start) * 1e3)
    nothing, something = (statistics.median(found[1:]) for found in times.values())
    return something - nothing


def what_is_installed(rounds: int, count: bool) -> Table:
    rows = []
    for name in here():
        distribution, first = LIBRARIES[name].replace("_", "-"), FIRST_GRADIENTS.get(name)
        everything = needed(distribution)
        size = sum(path.stat().st_size for part in everything for path in files_of(part)) / 1e6
        imported = milliseconds(f"import {LIBRARIES[name]}", rounds)
        ready_after = None if first is None else f"{milliseconds(first, rounds):.0f}"
        version = importlib.metadata.version(distribution)
        lines = f"{lines_of(distribution):,}" if count else None
        rows.append((name, version, lines, len(everything) - 1, f"{size:.0f}", f"{imported:.0f}", ready_after))
    return Table(
        "What is installed",
        ("", "version", "lines of Python", "other packages", "MB with them", "ms to import", "ms to a first gradient"),
        rows,
    )


# How long a step takes.


def of_tinygrad(work: Work, compiled: bool) -> Step:
    from tinygrad import Tensor, TinyJit

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        centred = x - x.mean(work.axes, keepdim=True)
        variance = centred.square().mean(work.axes, keepdim=True)
        normalized = centred * (variance + EPS).rsqrt()
        return normalized * weight.reshape(work.affine_shape) + bias.reshape(work.affine_shape)

    def run(*leaves: Any) -> Any:
        y = forward(*leaves)
        return [t.realize() for t in (y, *y.gradient(*leaves, gradient=cotangent))]

    cotangent = Tensor(work.cotangent).realize()
    leaves = [Tensor(a).realize() for a in work[1:4]]
    step = TinyJit(run) if compiled else run
    for _ in range(3):  # it compiles in the second call
        step(*leaves)
    return lambda: [t.numpy() for t in step(*leaves)]


NORMS: Mapping[str, Callable[[Work], Step]] = {
    OURS: CONTENDERS[OURS],
    "autograd": CONTENDERS["autograd"],
    "MyGrad": CONTENDERS["mygrad"],
    "tinygrad": lambda work: of_tinygrad(work, False),
    "tinygrad, TinyJit": lambda work: of_tinygrad(work, True),
    "PyTorch": CONTENDERS["torch composed"],
    "PyTorch, its own batch_norm": CONTENDERS["torch fused"],
}
WORKS = {"(64, 128)": (64, 128), "(32, 64, 32, 32)": (32, 64, 32, 32)}


def in_float64(work: Work) -> Work:
    return work._replace(**{name: getattr(work, name).astype(float) for name in ("x", "weight", "bias", "cotangent")})


def chain(y: Any, length: int) -> Any:
    for _ in range(length // 2):
        y = y * 0.999
        y = y + 0.001
    return y


def of_leaf(x: Any, length: int, accumulates: bool = True) -> Step:
    """Return a step that differentiates a chain with respect to a leaf, whose gradient may have to be dropped first."""

    def step() -> Sequence[Any]:
        if accumulates:
            x.grad = None
        y = chain(x, length)
        y.backward()
        return y.item(), x.grad.item()

    return step


def chains(length: int) -> dict[str, Callable[[], Step]]:
    """Return for each library the derivative of a chain of operations on one number, as its users would write it."""

    def ours() -> Step:
        return of_leaf(tn.tensor(0.3, requires_grad=True), length)

    def micrograd() -> Step:
        from micrograd.engine import Value

        def step() -> Sequence[Any]:
            x = Value(0.3)
            y = chain(x, length)
            y.backward()
            return y.data, x.grad

        return step

    def autograd() -> Step:
        from autograd import value_and_grad

        return lambda: value_and_grad(lambda x: chain(x, length))(0.3)

    def mygrad() -> Step:
        import mygrad as mg

        return of_leaf(mg.tensor(0.3), length, accumulates=False)

    def torch() -> Step:
        import torch

        return of_leaf(torch.tensor(0.3, dtype=torch.float64, requires_grad=True), length)

    every = {OURS: ours, "micrograd": micrograd, "autograd": autograd, "MyGrad": mygrad, "PyTorch": torch}
    return {name: make for name, make in every.items() if installed(name)}


def speed(rounds: int) -> Table:
    columns: dict[str, dict[str, float]] = {}
    for shape in WORKS.values():
        work = work_of("batch_norm", shape, 0)
        for one, dtype in ((work, "float32"), (in_float64(work), "float64"))[: 2 if work.small else 1]:
            makers = {name: partial(make, one) for name, make in NORMS.items() if installed(name.partition(",")[0])}
            found = medians(ready(makers), rounds if work.small else max(rounds // 5, 3), 1)
            columns[f"µs, {shape} {dtype}"] = found
    short, long = (medians(ready(chains(length)), rounds, 1) for length in (50, 250))
    columns["µs per operation of a chain"] = {name: (long[name] - short[name]) / 200 for name in long}
    names = dict.fromkeys(name for found in columns.values() for name in found)
    rows = [(name, *(_microseconds(found.get(name)) for found in columns.values())) for name in names]
    return Table("Batch norm and its gradients; scalars", ("", *columns), rows)


def _microseconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


# Whether derivatives are right, and whether a wrong one is found.


def batch_norm(x: Any, mean: Callable[[Any], Any], sqrt: Callable[[Any], Any]) -> Any:
    centred = x - mean(x)
    return centred / sqrt(mean(centred * centred) + EPS)


def derivative_of_ours(x: Array, g: Array, h: Array | None = None) -> Array:
    leaf = tn.tensor(x, requires_grad=True)
    dx = tn.grad(tn.batch_norm(leaf, eps=EPS), leaf, g, create_graph=h is not None)
    return dx.data if h is None else tn.grad(dx, leaf, h).data


def derivative_of_micrograd(x: Array, g: Array) -> Array:
    from micrograd.engine import Value

    leaves = [[Value(float(value)) for value in row] for row in x]
    total = Value(0.0)
    for column, cotangents in zip(zip(*leaves, strict=True), g.T, strict=True):
        mean = sum(column) / len(column)
        centred = [value - mean for value in column]
        deviation = (sum(value * value for value in centred) / len(column) + EPS) ** 0.5
        total += sum((value / deviation) * float(weight) for value, weight in zip(centred, cotangents, strict=True))
    total.backward()
    return np.array([[value.grad for value in row] for row in leaves])


def derivative_of_autograd(x: Array, g: Array, h: Array | None = None) -> Array:
    import autograd.numpy as anp
    from autograd import make_vjp

    def first(x: Any) -> Any:
        return make_vjp(lambda x: batch_norm(x, lambda x: anp.mean(x, axis=0), anp.sqrt))(x)[0](g)

    return first(x) if h is None else make_vjp(first)(x)[0](h)


def derivative_of_mygrad(x: Array, g: Array) -> Array:
    import mygrad as mg

    leaf = mg.tensor(x, constant=False)
    batch_norm(leaf, lambda x: mg.mean(x, axis=0), mg.sqrt).backward(g)
    return leaf.grad


def derivative_of_tinygrad(x: Array, g: Array, h: Array | None = None) -> Array:
    from tinygrad import Tensor

    leaf = Tensor(x)
    y = batch_norm(leaf, lambda x: x.mean(0, keepdim=True), lambda x: x.sqrt())
    (dx,) = y.gradient(leaf, gradient=Tensor(g))
    return (dx if h is None else dx.gradient(leaf, gradient=Tensor(h))[0]).numpy()


def derivative_of_torch(x: Array, g: Array, h: Array | None = None) -> Array:
    import torch

    leaf = torch.tensor(x, requires_grad=True)
    y = batch_norm(leaf, lambda x: x.mean(0), torch.sqrt)
    (dx,) = torch.autograd.grad(y, leaf, torch.tensor(g), create_graph=h is not None)
    return (dx if h is None else torch.autograd.grad(dx, leaf, torch.tensor(h))[0]).detach().numpy()


DERIVATIVES: Mapping[str, Callable[..., Array]] = {
    OURS: derivative_of_ours,
    "micrograd": derivative_of_micrograd,
    "autograd": derivative_of_autograd,
    "MyGrad": derivative_of_mygrad,
    "tinygrad": derivative_of_tinygrad,
    "PyTorch": derivative_of_torch,
}
ONCE = ("micrograd", "MyGrad")
"""Their gradients are numbers and arrays, which cannot be differentiated again."""


def exact(x: Array, g: Array, h: Array) -> tuple[Array, Array]:
    """Return the gradient in closed form with 18 digits, and its derivative along ``h`` by a complex step."""
    # The Hessian of sum(g * y) is symmetric, so this is the gradient of sum(h * dx), too.
    step = 1e-30
    moved = x + 1j * step * h.astype(np.clongdouble)
    centred = moved - moved.mean(0)
    deviation = np.sqrt((centred * centred).mean(0) + EPS)
    normalized = centred / deviation
    dx = (g - g.mean(0, dtype=np.longdouble) - normalized * (g * normalized).mean(0)) / deviation
    return dx.real, dx.imag / step


def error(got: Array, want: Array) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


CHECKERS = {OURS: peers.OURS, "autograd": "autograd check_grads", "PyTorch": "torch gradcheck, slow"}


def judged(name: str, faulty: bool, draws: int) -> str | None:
    """Return at how many inputs a library's checker accepts the gradient of batch norm, or rejects a wrong one."""
    if name not in CHECKERS:
        return None
    right = CASES["batch_norm"]
    wrong = next(mutant for mutant in MUTANTS if mutant.name == "batch_norm: variance path dropped")
    inputs, backward = drawn(right.inputs, draws), wrong.backward if faulty else right.backward
    checker = peers.CHECKERS[CHECKERS[name]]
    accepted = [peers.accepts(checker, right.forward, backward, xs, number) for number, xs in enumerate(inputs)]
    return f"{accepted.count(not faulty)} of {draws}"


def derivatives(draws: int) -> Table:
    rng = np.random.default_rng(0)
    x, g, h = 3 + 2 * rng.normal(size=(16, 4)), rng.normal(size=(16, 4)), rng.normal(size=(16, 4))
    singles = [a.astype(np.float32) for a in (x, g, h)]
    rows = []
    for name in here():
        if name not in DERIVATIVES:
            continue
        derivative = DERIVATIVES[name]
        in_double = error(derivative(x, g), exact(x, g, h)[0])
        in_single = None if name == "micrograd" else error(derivative(*singles[:2]), exact(*singles)[0])
        second = None if name in ONCE else error(derivative(x, g, h), exact(x, g, h)[1])
        told = [None if e is None else f"{e:.0e}" for e in (in_double, in_single, second)]
        rows.append((name, *told, judged(name, False, draws), judged(name, True, draws)))
    return Table(
        "Batch norm of (16, 4): relative errors, and what a gradient check says",
        ("", "gradient, float64", "float32", "second derivative", "right one accepted", "missing path found"),
        rows,
    )


# What a drawing holds.


def boxes(source: str) -> int:
    """Count the nodes of a DOT text."""
    return len(set(re.findall(r"(?m)^\s*\"?([\w.:]+)\"? \[", source)) - {"graph", "node", "edge"})


def drawn_by_ours(x: Array) -> tuple[int, int]:
    y = tn.batch_norm(tn.tensor(x, requires_grad=True))
    return len(tn.draw(y).graph.vertices), len(tn.draw(y, backward=True).graph.vertices)


def drawn_by_mygrad(x: Array) -> tuple[int, None]:
    import mygrad as mg
    from mygrad.computational_graph import build_graph

    return boxes(build_graph(batch_norm(mg.tensor(x), lambda x: mg.mean(x, axis=0), mg.sqrt)).source), None


def drawn_by_torchlens(x: Array) -> tuple[int, int]:
    import torch
    import torchlens

    class Norm(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return batch_norm(x, lambda x: x.mean(0), torch.sqrt)

    with tempfile.TemporaryDirectory() as folder:
        trace = torchlens.trace(Norm(), torch.tensor(x, requires_grad=True))
        trace.log_backward(trace[trace.output_layers[0]].out.sum())
        options = {"vis_save_only": True, "vis_fileformat": "svg"}
        forward = trace.draw(vis_outpath=f"{folder}/forward", return_graph=True, **options)
        both = trace.draw_combined(vis_outpath=f"{folder}/both", **options)
    return boxes(str(forward)), boxes(both)


DRAWINGS = {OURS: drawn_by_ours, "MyGrad": drawn_by_mygrad, "TorchLens": drawn_by_torchlens}


def drawings() -> Table:
    x = np.random.default_rng(0).normal(size=(8, 3))
    rows = [(name, *draw(x)) for name, draw in DRAWINGS.items() if installed(name)]
    return Table("Drawings of batch norm", ("", "boxes", "with the gradient"), rows)


def header() -> str:
    load = os.getloadavg()[0]
    return (
        f"{processor()}, one core, load {load:.1f} before, Python {platform.python_version()}, NumPy {np.__version__}."
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="a few rounds: only see that everything runs")
    options.add_argument("--write", action="store_true", help="renew the tables of docs/comparison.md")
    given = options.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    if installed("PyTorch"):
        import torch

        torch.set_num_threads(1)
    rounds, draws = (3, 3) if given.quick else (60, 20)
    head = f"`python -m tests.benchmarks.libraries --write` made these tables. {header()}"
    tables = [
        speed(rounds), derivatives(draws), drawings(), what_is_installed(max(rounds // 12, 1), not given.quick)
    ]  # fmt: skip
    print("\n\n".join([head, *(table.text() for table in tables)]))
    missing = set(LIBRARIES) - set(here())
    if missing:
        print(f"\nnot here: {', '.join(sorted(missing))}")
    if given.write:
        measured = "\n\n".join([head, *(table.markdown() for table in tables)])
        text = PAGE.read_text(encoding="utf-8")
        mark = r"(?s)(<!-- measured -->\n).*(<!-- /measured -->)"
        PAGE.write_text(re.sub(mark, lambda found: f"{found[1]}{measured}\n{found[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
