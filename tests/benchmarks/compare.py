"""This engine, PyTorch, HIPS autograd and MyGrad on the same work, in one run: ``python -m tests.benchmarks.compare``.

Every round runs every contender, each round starting with another one, so that all of them meet the same machine; what
counts is the median over rounds. The work is float32, forward and backward with a given random cotangent, on leaves
that exist already. Before anything is timed, the contenders' outputs and gradients are compared with each other.

The peak of a step is how far it raises the resident memory of a process of its own above what leaves, cotangent and
libraries take: the output, the gradients, and all that lives between them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence

from .contenders import CONTENDERS, OURS, TORCH_ALONE, chain_contenders, contenders, work_of
from .measuring import import_milliseconds, medians, peak_mebibytes, ready
from .profile import shares

SHAPES = ((64, 128), (1024, 768), (32, 64, 32, 32))
CHAIN_LENGTHS = (100, 1100)
CHAIN_BUDGET = 5.0
IMPORT_BUDGET = 60.0


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
        steps = ready(contenders(work))
        found = medians(steps, rounds if work.small else max(rounds // 5, 5), 5 if work.small else 1)
        times.append([work.name, *(f"{found[name]:.0f}" if name in found else "" for name in CONTENDERS)])
        for peer in [name for name in found if name != OURS]:
            ratio, budget = found[OURS] / found[peer], work.budgets.get(peer)
            judged = ["", ""] if budget is None else [f"{budget:.2f}", verdict(ratio, budget)]
            ratios.append([work.name, peer, f"{ratio:.2f}", *judged])
    print(f"\n{table(times)}\n\n{table(ratios)}")


def compare_memory(rounds: int, seed: int) -> None:
    names = [name for name in CONTENDERS if name != TORCH_ALONE]
    rows = [["peak of a step in MiB", "x", *names]]
    for kind in ("batch_norm", "layer_norm"):
        for work in [work_of(kind, shape, seed) for shape in SHAPES[1:]]:
            peaks = [peak_mebibytes(work, name) for name in names]
            rows.append(
                [work.name, *("" if size is None else f"{size:.1f}" for size in (work.x.nbytes / 2**20, *peaks))]
            )
    print(f"\n{table(rows)}")


def profile(rounds: int, seed: int) -> None:
    for kind in ("batch_norm", "layer_norm"):
        found = {shape: shares(work_of(kind, shape, seed), max(rounds // 5, 5)) for shape in SHAPES}
        rows = [[f"µs of a {kind}", *map(str, SHAPES)]]
        rows += [[part, *(f"{found[shape][part]:.0f}" for shape in SHAPES)] for part in found[SHAPES[1]]]
        print(f"\n{table(rows)}")


def compare_chains(rounds: int, seed: int) -> None:
    steps = {(name, n): step for n in CHAIN_LENGTHS for name, step in ready(chain_contenders(n, seed)).items()}
    found, (short, long) = medians(steps, max(rounds // 4, 5), 1), CHAIN_LENGTHS
    slopes = {name: (found[name, long] - found[name, short]) / (long - short) for name, n in steps if n == long}
    names = [name for name in CONTENDERS if (name, short) in found]
    row = [f"{slopes[name]:.1f}" for name in names]
    print(f"\n{table([['µs per operation of a chain', *names], [f'slope between {CHAIN_LENGTHS}', *row]])}")
    print(f"budget {CHAIN_BUDGET} µs: {verdict(slopes[OURS], CHAIN_BUDGET)}")


def compare_imports(rounds: int, seed: int) -> None:
    numpy, *others = import_milliseconds(max(rounds // 10, 5)).items()
    beyond = {name: value - numpy[1] for name, value in others}
    told = ", ".join(f"{name} {value:.0f}" for name, value in beyond.items())
    print(f"\nimport numpy {numpy[1]:.0f} ms; beyond it {told} ms", end="; ")
    print(f"budget {IMPORT_BUDGET:.0f} ms, a norm included: {verdict(beyond['and a norm'], IMPORT_BUDGET)}")


PARTS: Mapping[str, Callable[[int, int], None]] = {
    "batch_norm": lambda rounds, seed: compare_norms("batch_norm", rounds, seed),
    "layer_norm": lambda rounds, seed: compare_norms("layer_norm", rounds, seed),
    "profile": profile,
    "memory": compare_memory,
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
