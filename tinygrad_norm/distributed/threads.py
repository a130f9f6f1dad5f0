"""Threads as ranks: programs for several processes run in one process, for tests and for learning."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Condition
from typing import Any, TypeVar

from ..engine.operators import Array
from ..norm.checks import positive
from .comm import CollectiveError, Comm

Result = TypeVar("Result")


@dataclass
class _Group:
    """The shared state of the ranks: their buffers in each collective, and which ranks have ended."""

    size: int
    timeout: float
    changed: Condition = field(default_factory=Condition)
    rounds: dict[int, dict[int, tuple[str, Array]]] = field(default_factory=dict)
    last: dict[int, str] = field(default_factory=dict)
    ended: dict[int, BaseException | None] = field(default_factory=dict)


class ThreadComm(Comm):
    """A rank that is a thread, created by `ThreadComm.run`.

    Sums are computed in the order of the ranks, so results do not depend on the order of the threads. Every collective
    checks that all ranks make the same call. A rank raises an error if it waits for a rank that has ended, or longer
    than the timeout.

    Examples
    --------
    >>> import numpy as np
    >>> ThreadComm.run(3, lambda comm: comm.allreduce(np.array([comm.rank + 1.0])).item())
    [6.0, 6.0, 6.0]
    """

    def __init__(self, rank: int, group: _Group) -> None:
        self.rank, self.size = rank, group.size
        self._group = group

    @staticmethod
    def run(size: int, fn: Callable[[ThreadComm], Result], *, timeout: float = 60.0) -> list[Result]:
        """Call ``fn(comm)`` in a thread for each rank, and return the results in the order of the ranks.

        Parameters
        ----------
        size : int
            Number of ranks.
        fn : callable
            Takes the `ThreadComm` of its rank.
        timeout : float
            Seconds that a rank waits for the others in one collective.

        Raises
        ------
        CollectiveError
            If ranks call different collectives, or a rank does not arrive.
        Exception
            The error that a rank raises. If several ranks raise errors, that of the lowest rank.
        """
        group = _Group(positive("size", size), timeout)

        def one(rank: int) -> Result:
            error = None
            try:
                return fn(ThreadComm(rank, group))
            except BaseException as raised:
                error = raised
                raise
            finally:
                with group.changed:
                    group.ended[rank] = error
                    group.changed.notify_all()

        with ThreadPoolExecutor(size, "rank") as pool:
            runs = [pool.submit(copy_context().run, one, rank) for rank in range(size)]
        errors = [error for run in runs if (error := run.exception())]
        own = [error for error in errors if not isinstance(error, CollectiveError)]
        for error in own or errors:
            raise error
        return [run.result() for run in runs]

    def allreduce(self, buffer: Array, what: str = "allreduce") -> Array:
        group, called = self._group, self._begin(what, buffer)
        with group.changed:
            here = group.rounds.setdefault(self._number, {})
            here[self.rank] = called, buffer.copy()
            group.last[self.rank] = f"collective {self._number}, {called}"
            group.changed.notify_all()
            group.changed.wait_for(lambda: len(here) == self.size or group.ended.keys() - here.keys(), group.timeout)
            if len(here) < self.size:
                raise self._waiting(group.last[self.rank], here)
        self._compare([here[rank][0] for rank in range(self.size)])
        total = here[0][1].copy()
        for rank in range(1, self.size):
            total += here[rank][1]
        with group.changed:
            group.rounds.pop(self._number - 1, None)  # all ranks have read it, since all have reached this collective
        return total

    def _waiting(self, called: str, here: Any) -> CollectiveError:
        """Return the error of a rank that waits in vain. It names both ranks."""
        group = self._group
        absent = min(set(range(self.size)) - here.keys(), key=lambda rank: (rank not in group.ended, rank))
        did = f"its last was {group.last[absent]}" if absent in group.last else "it has made no call"
        error = group.ended.get(absent)
        how = f"did not arrive in {group.timeout} s" if absent not in group.ended else "has returned"
        how = how if error is None else f"raised {type(error).__name__}: {error}"
        failed = self._failed(f"rank {self.rank} waits in {called}; rank {absent} {how}; {did}")
        failed.__cause__ = error
        return failed
