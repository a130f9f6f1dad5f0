"""Processes connected by MPI."""

from __future__ import annotations

import os
from functools import partial
from time import monotonic, sleep
from typing import Any
from zlib import crc32

import numpy as np

from ..engine.operators import Array
from .comm import CollectiveError, Comm

_TAG = 20_931  # marks messages that say what a rank calls
_LENGTH = 256
# With more processes than cores, a waiting process must yield. Sleeping takes ten times as long as a sum.
_let_others_run = getattr(os, "sched_yield", partial(sleep, 0))


class MPIComm(Comm):
    """A process started by MPI.

    Start a program with ``mpiexec -n 4 python -m mpi4py train.py``. Without ``-m mpi4py``, if one process raises an
    error, the others wait for it until the timeout. Without ``mpiexec``, there is a single process.

    Parameters
    ----------
    comm : mpi4py communicator, optional
        Default: the communicator of all processes.
    check : bool
        Exchange a description of the call before every collective, so that the error for a mismatch names the calls of
        both ranks. This costs one message to each other rank. Otherwise, the error names only the call of this rank.
    timeout : float
        Seconds to wait for the other ranks in one collective.

    Raises
    ------
    ImportError
        If mpi4py or an MPI library is missing.
    """

    def __init__(self, comm: Any = None, *, check: bool = False, timeout: float = 300.0) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            advice = "python -m pip install 'tinygrad_norm[mpi]'"
            raise ImportError(f"MPIComm needs mpi4py and an MPI library: {advice}") from error
        self._mpi, self._comm = MPI, MPI.COMM_WORLD if comm is None else comm
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self.check, self.timeout = check, timeout
        self._last = ["it has made no call"] * self.size

    def allreduce(self, buffer: Array, what: str = "allreduce") -> Array:
        called = self._begin(what, buffer)
        if self.check:
            self._exchange(called)
        # The first number identifies the call. If ranks make different calls, the sum is not size times this mark.
        mark = float(crc32(f"{self._number} {called}".encode()))
        own, total = np.concatenate([[mark], buffer]), np.empty(1 + buffer.size)
        try:
            self._wait([self._comm.Iallreduce(own, total)], called)
        except self._mpi.Exception as error:
            raise self._differing(called) from error
        if total[0] != self.size * mark:
            raise self._differing(called)
        return total[1:]

    def _differing(self, called: str) -> CollectiveError:
        here = f"rank {self.rank} calls {called}, as its collective {self._number}"
        return self._failed(f"{here}, and another rank calls something else; MPIComm(check=True) shows what")

    def _exchange(self, called: str) -> None:
        """Send the description of this call to all other ranks, and compare it with theirs."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        text = called.encode()[:_LENGTH]
        own = np.frombuffer(text.ljust(_LENGTH), np.uint8)
        theirs = np.zeros((self.size, _LENGTH), np.uint8)
        theirs[self.rank] = own
        arriving = [self._comm.Irecv(theirs[rank], rank, _TAG) for rank in others]
        leaving = [self._comm.Isend(own, rank, _TAG) for rank in others]
        self._wait(arriving, called, others)
        self._wait(leaving, called)
        texts = [bytes(row).rstrip().decode(errors="replace") for row in theirs]
        self._last = [f"its last was collective {self._number}, {text}" for text in texts]
        self._compare(texts)

    def _wait(self, requests: list[Any], called: str, ranks: list[int] | None = None) -> None:
        """Wait until all requests are done. On timeout, name the rank whose message is missing, if known."""
        until = monotonic() + self.timeout
        while not self._mpi.Request.Testall(requests):
            if monotonic() > until:
                late = [rank for rank, request in zip(ranks or (), requests, strict=False) if not request.Test()]
                who = f"rank {late[0]}" if late else "a rank"
                did = f"; {self._last[late[0]]}" if late else "; MPIComm(check=True) shows which"
                raise self._failed(
                    f"rank {self.rank} waits in collective {self._number}, {called}; {who} did not arrive in "
                    f"{self.timeout} s{did}"
                )
            _let_others_run()
