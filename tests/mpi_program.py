"""What test_mpi starts: ``mpiexec -n 4 python -m mpi4py tests/mpi_program.py NAME`` prints a line of JSON."""

from __future__ import annotations

import json
import sys
from time import sleep
from typing import Any

import numpy as np

from tests.sync_cases import difference, draws, in_one_process, on_rank, parts, trained
from tinygrad_norm.distributed import CollectiveError, MPIComm, SelfComm, allreduce_sum

SHARDS = {1: [[8]], 2: [[4, 4], [1, 7]], 3: [[3, 0, 5]], 4: [[1, 0, 5, 2]]}
SPREAD = ("y", "dx", "ddx", "ddg")


def equality(comm: MPIComm) -> Any:
    """Return the largest difference to one process, of norms and of training, and whether all ranks end alike."""
    worst = {"norms": 0.0, "training": 0.0}
    for sizes in SHARDS[comm.size]:
        for shape in ((8, 3), (8, 2, 5)):
            given = draws(shape)
            each = comm._comm.allgather(on_rank(given, parts(sizes)[comm.rank], comm))
            found = {
                n: np.concatenate([e[n] for e in each]) if n in SPREAD else sum(e[n] for e in each) for n in each[0]
            }
            worst["norms"] = max(worst["norms"], difference(in_one_process(given), found))
        worst["training"] = max(worst["training"], difference(trained(SelfComm(), [8]), state := trained(comm, sizes)))
        bits = comm._comm.allgather([values.tobytes() for values in state.values()])
        worst["alike"] = all(other == bits[0] for other in bits)
    return worst


def bits(comm: MPIComm) -> Any:
    """Return for how many lengths ranks get other bits."""
    rng = np.random.default_rng(comm.rank)
    lengths = [1, 2, 3, 17, 100, 1023, 5000, 70_001, 300_000]
    return sum(
        len(
            set(comm._comm.allgather(comm.allreduce(rng.standard_normal(n) * 10.0 ** rng.integers(-9, 9, n)).tobytes()))
        )
        > 1
        for n in lengths
    )


def error(call: Any) -> str:
    try:
        call()
    except CollectiveError as raised:
        return str(raised)
    return ""


def mismatch(comm: MPIComm) -> Any:
    comm.allreduce(np.zeros(1), "a first sum")
    return error(lambda: allreduce_sum(np.zeros((2, 3) if comm.rank else (3, 2)), comm))


def absence(comm: MPIComm) -> Any:
    comm.allreduce(np.zeros(1), "a first sum")
    found = "" if comm.rank == 1 else error(lambda: comm.allreduce(np.zeros(2), "a second sum"))
    sleep(4 if comm.rank == 1 else 0)
    return found


def other_length(comm: MPIComm) -> Any:
    return error(lambda: comm.allreduce(np.zeros(2 + 3 * comm.rank)))


def much_longer(comm: MPIComm) -> Any:
    return error(lambda: comm.allreduce(np.zeros(10 if comm.rank else 20_000)))


def another_call(comm: MPIComm) -> Any:
    return error(lambda: allreduce_sum(np.zeros((2, 3) if comm.rank else (3, 2)), comm))


def raising(comm: MPIComm) -> Any:
    if comm.rank == 1:
        raise KeyError("lost")
    comm.allreduce(np.zeros(1))


if __name__ == "__main__":
    name = sys.argv[1]
    ending = {"absence": absence, "late": absence}
    ending |= {"other length": other_length, "much longer": much_longer, "another call": another_call}
    functions = {"equality": equality, "bits": bits, "mismatch": mismatch, "raising": raising, **ending}
    comm = MPIComm(check=name in ("mismatch", "absence"))
    comm._comm.Barrier()  # processes start at different times
    comm.timeout = 2.0 if name in ending else 60.0
    result = functions[name](comm)
    # Each rank writes one line at once; what waits for a rank that is gone must not keep the process.
    sys.stdout.write(json.dumps([comm.rank, result]) + "\n")
    sys.stdout.flush()
    if name in ending:
        sleep(5)  # until all have written
        comm._comm.Abort(0)
