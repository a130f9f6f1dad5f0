"""How long a step takes, how much memory it needs, and what an import costs."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .contenders import CONTENDERS, OURS, Step, Work, work_of

AGREEMENT = 1e-4
IMPORTS = {
    "numpy": "import numpy",
    "tinygrad_norm": "import numpy, tinygrad_norm",
    "and a norm": "import numpy; from tinygrad_norm import batch_norm",
    "and all else": "import numpy; from tinygrad_norm import *",
}


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


def import_milliseconds(rounds: int) -> dict[str, float]:
    """Return the median times of processes that import NumPy, this package, and more and more of it, as bytecode."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(rounds):
        for name, values in times.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", IMPORTS[name]], check=True, env=environment)
            values.append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values[1:] or values) for name, values in times.items()}


# Memory. The peak of what a process has resident counts NumPy's, PyTorch's and Python's buffers alike.


def peak_mebibytes(work: Work, name: str) -> float | None:
    """Return how far one step raises the peak of a process of its own; None where it or Linux is missing."""
    # Large blocks then go back to the system once they are freed, so the peak is of what lives at one time.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", __name__, name, work.kind, *map(str, work.x.shape)]
    run = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return float(run.stdout) / 2**20 if run.stdout.strip() else None


def _resident(field: str) -> int:
    """Return the bytes that the system has given: now ("VmRSS"), or at most ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def _print_peak(name: str, kind: str, *sizes: str) -> None:
    shape = tuple(map(int, sizes))
    try:
        # What a library loads at its first step is not the step's.
        CONTENDERS[name](work_of(kind, tuple(min(size, 4) for size in shape), 0))()
        step = CONTENDERS[name](work_of(kind, shape, 0))
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
    except (ImportError, OSError):
        return
    before = _resident("VmRSS")
    kept = step()
    print(_resident("VmHWM") - before)
    del kept


if __name__ == "__main__":
    _print_peak(*sys.argv[1:])
