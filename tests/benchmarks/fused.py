"""`fuse` beside PyTorch's kernels, compilers of the same formula, and NumPy: ``python -m tests.benchmarks.fused``.

Every round runs every contender, each round starting with another one; what counts is the median over rounds. Outputs
and gradients are compared before anything is timed. All allocate their results, but for "given": the kernels alone,
into arrays that stand ready. The formula is the same for all who compile it; PyTorch's own kernels are called as users
call them. The process runs on one core, and with ``--threads 2`` on both; memory is kept by the allocator, for all.

``--write`` renews docs/fusing-figures.md, or with ``--threads 2`` docs/fusing-figures-threads.md; ``--quick`` only sees
that everything runs. The build of the site plots how time grows.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.datasets import load_digits

from .machine import processor

Array = Any
DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "fusing-figures.md"
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
CONTENDERS = ("composition", "fused", "given", "PyTorch", "torch.compile", "JAX", "NumPy")
EPS = 1e-5


class Row(NamedTuple):
    """One line of the table: a kind of norm, the shape of x, and the goal for fused over PyTorch's own kernels."""

    kind: str
    shape: tuple[int, ...]
    goal: float | None = None
    dtype: str = "float32"

    @property
    def title(self) -> str:
        return f"{self.kind} {'x'.join(map(str, self.shape))}" + (", float64" if self.dtype == "float64" else "")


IMAGES = (32, 64, 32, 32)
ROWS = [
    Row("BN", (64, 128), 0.5),
    Row("BN", IMAGES, 0.5),
    Row("BN", (32, 256, 56, 56), 0.5),
    Row("BN", (128, 32, 128, 128)),
    Row("LN", (64, 128), 0.7),
    Row("LN", (1024, 768), 0.7),
    Row("LN", (4096, 1024), 1.0),
    Row("LN", (4096, 4096), 1.0),
    Row("RMS", (64, 128), 0.2),
    Row("RMS", (1024, 768), 0.2),
    Row("RMS", (4096, 1024), 0.2),
    Row("RMS", (4096, 4096), 0.2),
    Row("GN", IMAGES, 0.8),
    Row("IN", IMAGES, 0.5),
    Row("BN + ReLU + residual", IMAGES),
    Row("softmax + cross-entropy", (1024, 10000)),
    Row("BN", IMAGES, 0.5, "float64"),
    Row("LN", (1024, 768), 0.7, "float64"),
    Row("RMS", (1024, 768), 0.2, "float64"),
]
QUICK = [Row("BN", (16, 8)), Row("LN", (16, 8)), Row("GN", (2, 8, 4, 4)), Row("softmax + cross-entropy", (8, 10))]
SIZES = [(10**k // 100 or 1, 100) for k in (3, 4, 5, 6, 7)] + [(390625, 256)]


# The formula, once for everybody.


def formula(kind: str, lib: Any, x: Any, *rest: Any) -> Any:
    """Compute a row in a library's own functions; ``rest`` are γ and β, the residual, or probabilities."""
    if kind == "softmax + cross-entropy":
        shifted = x - lib.max(x, 1)
        return -lib.mean((rest[0] * (shifted - lib.log(lib.sum(lib.exp(shifted), 1)))).sum(1), 0).sum()
    weight, bias = rest[0], rest[1] if len(rest) > 1 else None
    values, axes, beside = x, (x.ndim - 1,), weight.shape
    if kind.startswith("BN"):
        axes, beside = (0, *range(2, x.ndim)), (-1,) + (1,) * (x.ndim - 2)
    elif kind in ("GN", "IN"):
        groups = 8 if kind == "GN" else x.shape[1]
        values, axes, beside = x.reshape((x.shape[0], groups, -1)), (2,), (-1, 1, 1)
    centred = values if kind == "RMS" else values - lib.mean(values, axes)
    x_hat = (centred * lib.rsqrt(lib.mean(centred * centred, axes) + EPS)).reshape(x.shape)
    y = x_hat * weight.reshape(beside)
    y = y if bias is None else y + bias.reshape(beside)
    return lib.relu(y + rest[2]) if "ReLU" in kind else y


def inputs(row: Row) -> list[np.ndarray]:
    """Return what a row is given: x, γ, β ..., and the cotangent last."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=row.dtype)  # type: ignore[call-overload, no-any-return]

    x = draw(*row.shape) + np.asarray(0.5, row.dtype)
    if row.kind == "softmax + cross-entropy":
        labels = np.zeros_like(x)
        labels[np.arange(len(x)), rng.integers(0, x.shape[1], len(x))] = 1
        return [x, labels, np.ones((), row.dtype)]
    c = row.shape[-1] if row.kind in ("LN", "RMS") else row.shape[1]
    rest = [draw(c)] if row.kind == "RMS" else [draw(c), draw(c)]
    return [x, *rest, *([draw(*row.shape)] if "residual" in row.kind else []), draw(*row.shape)]


def wanted(row: Row, count: int) -> list[int]:
    """Return which inputs receive a gradient: probabilities do not."""
    return [0] if row.kind == "softmax + cross-entropy" else list(range(count))


# Contenders: each is forward, and forward with backward.

Steps = tuple[Callable[[], Any], Callable[[], Any]]


def our_function(row: Row) -> Callable[..., Any]:
    """Return the library's own function, as users write it."""
    kind, c = row.kind, row.shape[-1]
    return {
        "BN": lambda x, w, b: tn.batch_norm(x, weight=w, bias=b),
        "LN": lambda x, w, b: tn.layer_norm(x, c, w, b),
        "RMS": lambda x, w: tn.rms_norm(x, c, w, EPS),
        "GN": lambda x, w, b: tn.group_norm(x, 8, w, b),
        "IN": lambda x, w, b: tn.instance_norm(x, weight=w, bias=b),
        "BN + ReLU + residual": lambda x, w, b, r: tn.ops.relu(tn.batch_norm(x, weight=w, bias=b) + r),
        "softmax + cross-entropy": lambda x, t: -(t * tn.ops.log_softmax(x)).sum(1).mean(),
    }[kind]


def ours(row: Row, fn: Callable[..., Any]) -> Steps:
    *arrays, g = inputs(row)
    places = wanted(row, len(arrays))
    leaves = [tn.tensor(a, requires_grad=i in places) for i, a in enumerate(arrays)]
    reached, plain = [leaves[i] for i in places], [tn.tensor(a) for a in arrays]

    def both() -> list[Any]:
        y = fn(*leaves)
        return [y.data, *(gradient.data for gradient in tn.grad(y, reached, g))]

    return lambda: fn(*plain), both


def given(row: Row, threads: int) -> Steps:
    """Run the kernels alone, into arrays that stand ready."""
    *arrays, g = inputs(row)
    fused = tn.fuse(our_function(row), threads=threads)
    _, both = ours(row, fused)
    both()
    plan = fused.latest().plan
    made = plan.forward(arrays)
    saved = made[len(plan.shapes) :]
    places = wanted(row, len(arrays))
    flags = tuple(i in places for i in range(len(arrays)))
    backward, order = plan._backward[0, flags]
    gradients = backward([*arrays, *saved, g])

    def run() -> list[Any]:
        plan.forward(arrays, made)
        backward([*arrays, *saved, g], gradients)
        return [made[0], *(gradients[i] for i in order if i is not None)]

    return lambda: plan.forward(arrays, made), run


def pytorch(row: Row, compiled: bool) -> Steps:
    import torch

    functional = torch.nn.functional
    lib = SimpleNamespace(
        mean=lambda x, axes: x.mean(axes, keepdim=True), sum=lambda x, axis: x.sum(axis, keepdim=True),
        max=lambda x, axis: x.amax(axis, keepdim=True), rsqrt=torch.rsqrt, exp=torch.exp, log=torch.log,
        relu=torch.relu,
    )  # fmt: skip
    c = row.shape[-1]
    kernels: dict[str, Callable[..., Any]] = {
        "BN": lambda x, w, b: functional.batch_norm(x, None, None, w, b, True, 0.1, EPS),
        "LN": lambda x, w, b: functional.layer_norm(x, (c,), w, b, EPS),
        "RMS": lambda x, w: functional.rms_norm(x, (c,), w, EPS),
        "GN": lambda x, w, b: functional.group_norm(x, 8, w, b, EPS),
        "IN": lambda x, w, b: functional.instance_norm(x, weight=w, bias=b, eps=EPS),
        "BN + ReLU + residual": lambda x, w, b, r: torch.relu(functional.batch_norm(x, None, None, w, b, True) + r),
        "softmax + cross-entropy": functional.cross_entropy,
    }
    fn = kernels[row.kind]
    if compiled:
        torch._dynamo.reset()  # it compiles one function for eight rows at most
        fn = torch.compile(lambda *args: formula(row.kind, lib, *args), dynamic=False)
    *arrays, g = (torch.from_numpy(a.copy()) for a in inputs(row))
    places = wanted(row, len(arrays))
    leaves = [a.clone().requires_grad_(i in places) for i, a in enumerate(arrays)]
    reached = [leaves[i] for i in places]

    def both() -> list[Any]:
        y = fn(*leaves)
        return [y.detach().numpy(), *(gradient.numpy() for gradient in torch.autograd.grad(y, reached, g))]

    return lambda: fn(*arrays), both


def jax_jit(row: Row) -> Steps:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    lib = SimpleNamespace(
        mean=lambda x, axes: x.mean(axes, keepdims=True), sum=lambda x, axis: x.sum(axis, keepdims=True),
        max=lambda x, axis: x.max(axis, keepdims=True), rsqrt=jax.lax.rsqrt, exp=jnp.exp, log=jnp.log, relu=jax.nn.relu,
    )  # fmt: skip
    *arrays, g = map(jnp.asarray, inputs(row))
    places = wanted(row, len(arrays))

    def fn(*args: Any) -> Any:
        return formula(row.kind, lib, *args)

    def both(args: Sequence[Any], g: Any) -> list[Any]:
        y, pull = jax.vjp(fn, *args)
        gradients = pull(g)
        return [y, *(gradients[i] for i in places)]

    forward, together = jax.jit(fn), jax.jit(both)
    return (
        lambda: forward(*arrays).block_until_ready(),
        lambda: [np.asarray(a) for a in jax.block_until_ready(together(arrays, g))],
    )


def numpy_by_hand(row: Row) -> Steps | None:
    """The closed forms, as a careful person writes them in NumPy; for the plain norms."""
    if row.kind not in ("BN", "LN", "RMS", "GN", "IN"):
        return None
    x, weight, *bias, g = inputs(row)
    values, axes, beside = x, (x.ndim - 1,), weight.shape
    others: tuple[int, ...] = (0,)
    if row.kind == "BN":
        axes, beside = (0, *range(2, x.ndim)), (-1,) + (1,) * (x.ndim - 2)
        others = axes
    elif row.kind in ("GN", "IN"):
        values, axes, beside = x.reshape(len(x), 8 if row.kind == "GN" else x.shape[1], -1), (2,), (-1, 1, 1)
        others = (0, 2, 3)
    gamma = weight.reshape(beside)

    def forward() -> tuple[Any, Any, Any]:
        centred = values if row.kind == "RMS" else values - values.mean(axes, keepdims=True)
        rstd = 1 / np.sqrt((centred * centred).mean(axes, keepdims=True) + values.dtype.type(EPS))
        x_hat = centred * rstd
        y = x_hat.reshape(x.shape) * gamma
        return (y + bias[0].reshape(beside) if bias else y), x_hat, rstd

    def both() -> list[Any]:
        y, x_hat, rstd = forward()
        scaled = (g * gamma).reshape(x_hat.shape)
        dx = scaled - x_hat * (scaled * x_hat).mean(axes, keepdims=True)
        if row.kind != "RMS":
            dx -= scaled.mean(axes, keepdims=True)
        parameters = [(g * x_hat.reshape(x.shape)).sum(others), *([g.sum(others)] if bias else [])]
        return [y, (dx * rstd).reshape(x.shape), *parameters]

    return lambda: forward()[0], both


def contenders(row: Row, threads: int, only: Sequence[str]) -> tuple[dict[str, Steps], dict[str, float]]:
    """Return everybody who is installed and computes the same, and how long each took to be ready."""
    makers: dict[str, Callable[[], Steps | None]] = {
        "composition": lambda: ours(row, our_function(row)),
        "fused": lambda: ours(row, tn.fuse(our_function(row), threads=threads)),
        "given": lambda: given(row, threads),
        "PyTorch": lambda: pytorch(row, compiled=False),
        "torch.compile": lambda: pytorch(row, compiled=True),
        "JAX": lambda: jax_jit(row),
        "NumPy": lambda: numpy_by_hand(row),
    }
    found: dict[str, Steps] = {}
    ready: dict[str, float] = {}
    expected: list[np.ndarray] | None = None
    for name in only:
        start = time.perf_counter()
        try:
            steps = makers[name]()
        except ImportError:
            continue
        if steps is None:
            continue
        steps[0]()
        results = [np.array(a) for a in steps[1]()]
        ready[name] = time.perf_counter() - start
        expected = results if expected is None else expected
        for what, a, b in zip(("y", "dx", "dγ", "dβ", "dr"), results, expected, strict=False):
            # Of the lengths: where a ReLU bends, rounding may decide on which side a single element is.
            error = np.linalg.norm((a - b).ravel()) / np.linalg.norm(b.ravel())
            if not error <= (2e-3 if row.dtype == "float32" else 1e-10):
                raise AssertionError(f"{row.title}: {name} disagrees about {what} by {error:.1e} of its length")
        found[name] = steps
    return found, ready


# Measuring.


def medians(steps: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Return each contender's median time in seconds, over interleaved rounds."""
    names, times = list(steps), {name: [] for name in steps}
    number = dict.fromkeys(names, 1)
    for name in names:
        start = time.perf_counter()
        while time.perf_counter() - start < min(0.2, seconds):
            steps[name]()
        start = time.perf_counter()
        steps[name]()
        number[name] = max(1, min(50, int(2e-4 / (time.perf_counter() - start))))
    end, i = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or i < 5:
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.perf_counter()
            for _ in range(number[name]):
                steps[name]()
            times[name].append((time.perf_counter() - start) / number[name])
        i += 1
    return {name: statistics.median(values) for name, values in times.items()}


def triad(row: Row, seconds: float) -> float:
    """Return the bytes a second that one thread moves in ``a = b + s * c`` on arrays of the row's size."""
    import numba

    @numba.njit(fastmath=True)  # type: ignore[untyped-decorator]
    def run(a: Any, b: Any, c: Any, s: Any) -> None:
        for i in range(a.size):
            a[i] = b[i] + s * c[i]

    a, b, c = (np.ones(int(np.prod(row.shape)), row.dtype) for _ in range(3))
    best = min(medians({"triad": lambda: run(a, b, c, a.dtype.type(0.5))}, seconds).values())
    return 3 * a.nbytes / best


def cells(value: float | None, unit: float = 1e3) -> str:
    return "" if value is None else f"{value * unit:.3g}"


def measure(rows: Sequence[Row], threads: int, seconds: float, only: Sequence[str]) -> list[dict[str, Any]]:
    """Measure every row."""
    found = []
    for row in rows:
        steps, ready = contenders(row, threads, only)
        forward = medians({name: each[0] for name, each in steps.items()}, seconds)
        both = medians({name: each[1] for name, each in steps.items()}, seconds)
        least = 5 * np.prod(row.shape) * np.dtype(row.dtype).itemsize  # x, y; x, dL/dy, dL/dx
        share = least / both["given"] / triad(row, seconds / 4) if "given" in both else None
        found.append({"row": row, "forward": forward, "both": both, "ready": ready, "share": share})
        ratio = both["fused"] / both["PyTorch"] if "PyTorch" in both else float("nan")
        print(
            f"{row.title:36} fused / PyTorch {ratio:.2f}  " + "  ".join(f"{k} {v * 1e3:.3g}" for k, v in both.items()),
            flush=True,
        )
    return found


def markdown(found: Sequence[dict[str, Any]], direction: str, goals: bool = False) -> str:
    """Return a table of milliseconds, with the goals if wanted."""
    shown = [name for name in CONTENDERS if any(name in each[direction] for each in found)]
    has_share = any(each["share"] for each in found)  # goals and the bandwidth are those of one thread
    more_heads = ["fused / PyTorch", *(["goal", "of the bandwidth"] if has_share else [])]
    head = ["", *shown, *(more_heads if goals else [])]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for each in found:
        times, row = each[direction], each["row"]
        more = []
        if goals:
            ratio = times["fused"] / times["PyTorch"] if "PyTorch" in times else None
            met = "" if row.goal is None or ratio is None else f"{row.goal}{'' if ratio <= row.goal else ', missed'}"
            more = [cells(ratio, 1), *([met, f"{each['share']:.0%}"] if has_share else [])]
        lines.append("| " + " | ".join([row.title, *(cells(times.get(name)) for name in shown), *more]) + " |")
    return "\n".join(lines)


def compile_times(found: Sequence[dict[str, Any]]) -> str:
    """Return how long each compiler took until it was ready, as a table of medians and extremes."""
    lines = ["| | median s | least | most |", "| --- | --- | --- | --- |"]
    for name in ("fused", "torch.compile", "JAX"):
        times = [each["ready"][name] for each in found if name in each["ready"]]
        if times:
            lines.append(f"| {name} | {statistics.median(times):.2g} | {min(times):.2g} | {max(times):.2g} |")
    return "\n".join(lines)


def training(rounds: int) -> str:
    """Train a small convolutional network on the digits, with and without `fuse`, and say how long a step takes."""
    pictures, labels = (part[:256] for part in load_digits())
    images = pictures[:, None].astype(np.float32) / 16

    def network(norms: bool) -> tn.nn.Module:
        layers: list[tn.nn.Module] = []
        before, rng = 1, np.random.default_rng(0)
        for channels in (16, 32, 32):
            size = 3 if before == 1 else 1
            conv = tn.nn.Conv2d(before, channels, size, padding=size // 2)
            layers += [conv, *([tn.nn.BatchNorm2d(channels), tn.nn.ReLU()] if norms else [])]
            before = channels
        model = tn.nn.Sequential(*layers, tn.nn.Flatten(), tn.nn.Linear(32 * 64, 10))
        for p in model.parameters():
            if p.ndim > 1:
                p.data = (rng.standard_normal(p.shape) / np.sqrt(p.data[0].size)).astype(np.float32)
        return model

    models = {"composition": network(True), "fused": tn.fuse(network(True)), "without norms": network(False)}
    optimizers = {name: tn.optim.SGD(model.parameters(), lr=0.01) for name, model in models.items()}
    losses: dict[str, list[float]] = {name: [] for name in models}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.zero_grad()
            loss = tn.nn.cross_entropy(model(images), labels)
            loss.backward()
            optimizers[name].step()
            times[name].append(time.perf_counter() - start)
            losses[name].append(loss.item())
    medians_ = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    apart = max(abs(a - b) / a for a, b in zip(losses["composition"], losses["fused"], strict=True))
    share = 1 - medians_["without norms"] / medians_["composition"]
    faster = medians_["composition"] / medians_["fused"]
    first, last = losses["fused"][0], losses["fused"][-1]
    return (
        "Three convolutions (3x3, 1x1, 1x1) of 16, 32 and 32 channels, each with batch norm and ReLU, on 256 digits, "
        f"float32: a step takes {medians_['composition']:.3g} ms, and {medians_['fused']:.3g} ms with "
        f"`tn.fuse(model)`, {faster:.1f} times faster. Norms and ReLUs are {share:.0%} of the step. Over {rounds} "
        f"steps the loss falls from {first:.3g} to {last:.3g}; the two runs differ by at most {apart:.1e} of the loss."
    )


def explained(only: Sequence[str]) -> str:
    """Return what the columns of the tables are."""
    times = "Times are in milliseconds, medians over interleaved rounds."
    if "given" not in only:
        return times
    return (
        f"{times} *given* is the time of our kernels alone, which write into preallocated arrays. *torch.compile* and "
        "*JAX* compile the same formula as *composition*. *of the bandwidth* is the share of the bandwidth that one "
        "thread measures in `a = b + s * c` at that size, if each of x, dL/dy, y and dL/dx is moved no more than "
        "needed (five arrays)."
    )


def header(threads: int, seconds: float) -> str:
    from importlib.metadata import version

    names = ("numpy", "numba", "torch", "jax")
    versions = ", ".join(f"{name} {version(name)}" for name in names if importlib.util.find_spec(name))
    load = os.getloadavg()[0]
    running = f"{threads} {'thread' if threads == 1 else 'threads'}"
    return f"{processor()}, {running}, load {load:.1f} before the run, {versions}; {seconds:g} s per row and direction."


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="small rows, a few rounds: only see that everything runs")
    options.add_argument("--write", action="store_true", help="renew docs/fusing-figures.md")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--seconds", type=float, default=2.0, help="how long a row is measured in each direction")
    options.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    options.add_argument("--rows", nargs="+", help="rows whose title starts so")
    given_options = options.parse_args()
    if os.environ.get("MALLOC_MMAP_THRESHOLD_") != ALLOCATOR["MALLOC_MMAP_THRESHOLD_"]:
        threads = str(given_options.threads)
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.benchmarks.fused", *sys.argv[1:]],
            os.environ | ALLOCATOR | limits,
        )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given_options.threads])
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(given_options.threads)
    rows = QUICK if given_options.quick else ROWS
    if given_options.rows:
        rows = [row for row in rows if any(row.title.startswith(start) for start in given_options.rows)]
    seconds = 0.05 if given_options.quick else given_options.seconds
    text = header(given_options.threads, seconds)
    print(text)
    # Compiling takes PyTorch minutes, and says nothing about whether this runs.
    only = (
        [name for name in given_options.only if name != "torch.compile"] if given_options.quick else given_options.only
    )
    found = measure(rows, given_options.threads, seconds, only)
    if given_options.quick:
        print(training(3))
        return
    tables = "\n\n".join(
        [
            "# Benchmarks of fuse" + (" on two cores" if given_options.threads > 1 else ""),
            f"`python -m tests.benchmarks.fused {' '.join(sys.argv[1:])}` made this page. {text}",
            explained(only),
            "## Forward and backward", markdown(found, "both", goals=True),
            "## Forward only", markdown(found, "forward"),
            "## Compile time", "Seconds until the first result and gradients, compiling included:",
            compile_times(found), "## A training step", training(100),
        ]
    )  # fmt: skip
    print(tables)
    if given_options.write and given_options.threads > 1:
        (DOCS / "fusing-figures-threads.md").write_text(tables + "\n", encoding="utf-8")
    elif given_options.write:
        grown = measure([Row("LN", shape) for shape in SIZES], given_options.threads, seconds / 2, CONTENDERS)
        more = [
            "## Time by size", "Layer norm, forward and backward:", markdown(grown, "both"),
            "![Time of layer norm over the number of elements](fusing-sizes.svg)",
        ]  # fmt: skip
        PAGE.write_text("\n\n".join([tables, *more]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
