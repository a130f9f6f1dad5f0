"""Batch norm over real processes: MPI starts them, each of these tests a few."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.benchmarks.machine import mpiexec

pytest.importorskip("mpi4py", reason="real processes need mpi4py and an MPI library, which the extra `mpi` installs")
MPIEXEC = mpiexec()
ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec")


def run(size: int, *program: str, timeout: float = 100.0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(MPIEXEC), "-n", str(size), sys.executable, "-m", "mpi4py", *program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


def results(size: int, name: str) -> list[Any]:
    """Return what each rank prints, in their order."""
    done = run(size, str(ROOT / "tests" / "mpi_program.py"), name)
    found = sorted(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    assert [rank for rank, _ in found] == [*range(size)], done.stderr
    return [result for _, result in found]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_equal_to_one_process(size: int) -> None:
    for result in results(size, "equality"):
        assert result["norms"] < 1e-12
        assert result["training"] < 1e-12
        assert result["alike"]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_sums_have_the_same_bits_on_every_rank(size: int) -> None:
    assert results(size, "bits") == [0] * size


def test_calls_that_differ_are_named_on_every_rank() -> None:
    for message in results(3, "mismatch"):
        assert message.startswith("ranks differ in collective 2: rank 0 calls allreduce_sum of shape (3, 2)")
        assert "rank 1 calls allreduce_sum of shape (2, 3)" in message


def test_a_rank_that_does_not_come_is_named() -> None:
    for rank, message in enumerate(results(3, "absence")):
        wanted = "rank 1 did not arrive in 2.0 s; its last was collective 1, a first sum" if rank != 1 else ""
        assert wanted in message
        assert f"rank {rank} waits in collective 2, a second sum" in message or rank == 1


def test_without_check_a_rank_that_does_not_come_is_an_error_too() -> None:
    for rank, message in enumerate(results(2, "late")):
        assert rank == 1 or "MPIComm(check=True) shows which" in message


@pytest.mark.parametrize("name", ["other length", "much longer", "another call"])
def test_without_check_ranks_that_differ_all_raise(name: str) -> None:
    for message in results(2, name):
        assert "something else; MPIComm(check=True) shows what" in message or "did not arrive in 2.0 s" in message


@pytest.mark.parametrize("size", [2, 4])
def test_the_example_learns_the_same_on_several_processes(size: int) -> None:
    alone, several = (run(n, str(ROOT / "examples" / "several_processes.py")).stdout.splitlines() for n in (1, size))
    assert len(several) == len(alone) == 6
    assert [line.replace(f"{size} processes", "1 process") for line in several] == alone
    assert int(several[-1].split()[0]) > 340


def test_a_rank_that_raises_ends_all() -> None:
    start = monotonic()
    done = run(3, str(ROOT / "tests" / "mpi_program.py"), "raising", timeout=60)
    assert done.returncode != 0
    assert "KeyError: 'lost'" in done.stderr
    assert monotonic() - start < 30
