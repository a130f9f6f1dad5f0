"""Batch norm across processes, with a single new primitive, `allreduce_sum`.

Start a program that uses `MPIComm()` with ``mpiexec -n 4 python -m mpi4py train.py``. `ThreadComm.run` runs the same
program with threads, and `SelfComm()` is a single process. The objective is the sum of the losses of all ranks.
"""

from .collective import allreduce_sum
from .comm import CollectiveError, Comm, SelfComm
from .layers import SyncBatchNorm, convert_sync_batch_norm
from .mpi import MPIComm
from .norms import sync_batch_norm, sync_normalize
from .threads import ThreadComm
from .training import allreduce_gradients, check_equal, recalibrate, shard

__all__ = [
    "CollectiveError", "Comm", "MPIComm", "SelfComm", "SyncBatchNorm", "ThreadComm", "allreduce_gradients",
    "allreduce_sum", "check_equal", "convert_sync_batch_norm", "recalibrate", "shard", "sync_batch_norm",
    "sync_normalize",
]  # fmt: skip
