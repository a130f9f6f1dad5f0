"""The cost of sums over ranks, measured and as a model: ``python -m tests.benchmarks.distributed``.

It starts itself with 1, 2 and 4 processes. ``--write`` renews docs/distributed-figures.md; ``--quick`` only sees that
everything runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from math import ceil, log2
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.distributed import Comm, MPIComm, SelfComm, sync_batch_norm
from tinygrad_norm.table import Table

from .machine import mpiexec, processor

PAGE = Path(__file__).parents[2] / "docs" / "distributed-figures.md"
RANKS = (1, 2, 4)
LENGTHS = (1, 65, 257, 1025, 4097, 16385)
CHANNELS = (64, 256, 1024)
SAMPLES = 32
MORE_RANKS = (2, 4, 8, 16, 64, 256, 1024)
CORES = os.cpu_count() or 1


# In each process.


def medians_us(comm: MPIComm, steps: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the median times of steps that all ranks take together, in turn, in microseconds."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    until = time.perf_counter() + seconds
    # All stop after the same round: the sum says whether each still has time.
    while (
        comm.allreduce(np.array([float(time.perf_counter() < until)])).item() == comm.size
        or not times[next(iter(steps))]
    ):
        for name, step in steps.items():
            comm.allreduce(np.zeros(1))  # all start at once
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[len(values) // 10 :]) * 1e6 for name, values in times.items()}


def measured(comm: MPIComm, seconds: float) -> dict[str, dict[str, float]]:
    """Return times of sums and of layers, in microseconds: of layers forward and backward, alone and together."""
    rng = np.random.default_rng(comm.rank)
    buffers = {str(n): rng.standard_normal(n) for n in LENGTHS}
    sums = {n: lambda buffer=buffer: comm.allreduce(buffer) for n, buffer in buffers.items()}
    found = {"sums": medians_us(comm, sums, seconds), "alone": {}, "together": {}}
    for c in CHANNELS:
        x = tn.tensor(rng.standard_normal((SAMPLES, c)), requires_grad=True)
        g = rng.standard_normal((SAMPLES, c))

        def step(over: Comm, x=x, g=g) -> None:
            over.backward(sync_batch_norm(x, over), g)

        times = medians_us(comm, {"alone": partial(step, SelfComm()), "together": partial(step, comm)}, seconds)
        for name, value in times.items():
            found[name][str(c)] = value
    return found


# In the process that starts them.


def started(ranks: int, seconds: float) -> dict[str, dict[str, float]]:
    start = mpiexec()
    if start is None:
        raise SystemExit("there is no mpiexec; python -m pip install 'tinygrad_norm[mpi]'")
    command = [start, "-n", str(ranks), sys.executable, "-m", "mpi4py", "-m", __spec__.name]
    done = subprocess.run(
        [*command, "--rank", "--seconds", str(seconds)], capture_output=True, text=True, timeout=600, check=True
    )
    return json.loads(done.stdout)


def rounds(ranks: int) -> int:
    """How often messages pass until all have the sum, if numbers double in each round."""
    return ceil(log2(ranks))


class Model(NamedTuple):
    """Microseconds that a sum takes: ``call + rounds * (message + number * n)``, and ``waiting`` without own cores."""

    call: float
    message: float
    number: float
    waiting: float

    def __call__(self, ranks: int, n: int, has_core: bool = True) -> float:
        return self.call + rounds(ranks) * (self.message + self.number * n) + (0 if has_core else self.waiting)


def fitted(times: dict[int, dict[str, dict[str, float]]]) -> Model:
    """Return the model whose relative errors are least."""
    rows = [(1, rounds(p), rounds(p) * int(n), p > CORES, t) for p in times for n, t in times[p]["sums"].items()]
    matrix, t = np.array([row[:4] for row in rows], float), np.array([row[4] for row in rows])
    found, *_ = np.linalg.lstsq(matrix / t[:, None], np.ones(len(t)), rcond=None)
    return Model(*map(float, found))


def exchanged(channels: int) -> tuple[int, int]:
    """Return how many sums a layer takes forward and backward, and of how many numbers, all included."""
    return 4, 4 * channels + 14


def page(times: dict[int, dict[str, dict[str, float]]], command: str) -> str:
    model = fitted(times)

    def cost(ranks: int, channels: int) -> float:
        sums, numbers = exchanged(channels)
        return sums * model(ranks, 0) + numbers * (model(ranks, 1) - model(ranks, 0))

    predicted = {p: {n: model(p, n, p <= CORES) for n in LENGTHS} for p in RANKS}
    errors = [abs(predicted[p][n] / times[p]["sums"][str(n)] - 1) for p in RANKS for n in LENGTHS]
    sums = Table(
        "A sum over ranks, microseconds",
        ("numbers", *(f"{p} {'rank' if p == 1 else 'ranks'}" for p in RANKS), *(f"model, {p}" for p in RANKS)),
        [[n, *(times[p]["sums"][str(n)] for p in RANKS), *(predicted[p][n] for p in RANKS)] for n in LENGTHS],
    )
    layers = Table(
        f"Batch norm of {SAMPLES} samples a rank, forward and backward, microseconds",
        ("channels", "ranks", "each alone", "together", "difference", "model of the difference"),
        [
            [c, p, alone := times[p]["alone"][str(c)], both := times[p]["together"][str(c)], both - alone, cost(p, c)]
            for c in CHANNELS
            for p in RANKS
            if 1 < p <= CORES
        ],
    )
    more = Table(
        "Predicted cost of sharing the statistics of one layer, microseconds",
        ("channels", *(f"{p} ranks" for p in MORE_RANKS)),
        [[c, *(cost(p, c) for p in MORE_RANKS)] for c in CHANNELS],
    )
    network = model._replace(message=30.0)
    sums_, numbers = exchanged(256)
    far = sums_ * network(64, 0) + numbers * rounds(64) * model.number
    return f"""# Benchmarks of sums over ranks

`{command}` made this page: {processor()}, {CORES} cores, MPI from mpich in shared memory.
All times are medians on rank 0.

{sums.markdown()}

{layers.markdown()}

The model counts messages only, so it is a lower bound. In a step, the faster rank also waits for the slower one at each
sum, and more operations are recorded than without sharing.

## The model

If the numbers of two ranks are added in each round, P ranks have the sum after ⌈log₂ P⌉ rounds. A sum of n numbers then
takes *c* + ⌈log₂ P⌉ (*a* + *b* n): *c* for the call, *a* for a message, *b* for each number. If there are more
processes than cores, as here with 4, they also wait for a core, for a time *w*. A layer of C channels takes four sums,
two forward and two backward, of 4 C + 14 numbers in all. The first sum also carries the counts, and each sum carries
three numbers: whether a gradient is needed, whether one has arrived, and what is being summed.

Fitted to all the sums above, *c* is {model.call:.3g}, *a* is {model.message:.3g}, *b* is {model.number:.3g} and *w* is
{model.waiting:.3g} microseconds. The median error of the fit is {statistics.median(errors):.0%}, the largest
{max(errors):.0%}. Two and four ranks cannot test the logarithm, which is an assumption.

{more.markdown()}

These are predictions of a lower bound, not measurements, for ranks that have a core each (*w* is left out) and messages
that take as long as on this machine. Over a network, use its latency for *a*: if a message takes 30 microseconds,
the messages of a layer of 256 channels on 64 ranks take {far / 1000:.2g} ms. If the model holds, the cost grows with
the logarithm of the number of ranks, and from 64 to 1024 channels by {cost(64, 1024) / cost(64, 64) - 1:.0%} on 64
ranks.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument("--write", action="store_true", help="renew docs/distributed-figures.md")
    options = parser.parse_args()
    if options.rank:
        comm = MPIComm()
        found = measured(comm, options.seconds)
        if comm.rank == 0:
            print(json.dumps(found))
        return
    times = {ranks: started(ranks, 0.01 if options.quick else options.seconds) for ranks in RANKS}
    text = page(times, "python -m tests.benchmarks.distributed --write")
    print(text)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
