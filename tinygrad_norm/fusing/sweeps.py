"""Counts of reads and writes: of the kernels, of the composition, and the least possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..table import Table
from .build import Stages
from .schedule import Schedule


@dataclass(frozen=True)
class Pass:
    """The counts of one direction, forward or backward.

    Attributes
    ----------
    sweeps : int
        The number of passes over the arrays.
    reads, writes : mapping of str to int
        How often each array of full size is read and written.
    composition : int
        The number of such reads and writes in the composition.
    """

    sweeps: int
    reads: Mapping[str, int]
    writes: Mapping[str, int]
    composition: int

    @property
    def fused(self) -> int:
        """The total number of reads and writes."""
        return sum(self.reads.values()) + sum(self.writes.values())

    @property
    def least(self) -> int:
        """The least possible number: each array is read or written once."""
        return len(self.reads) + len(self.writes)


@dataclass(frozen=True)
class Sweeps:
    """The counts of both directions. ``backward`` is None if there is no gradient."""

    forward: Pass
    backward: Pass | None

    def __str__(self) -> str:
        named = [("forward", self.forward), *([("backward", self.backward)] if self.backward else [])]
        head = ("", "sweeps", "reads", "writes", "fused", "composition", "least")
        rows = [
            [name, str(p.sweeps), _listed(p.reads), _listed(p.writes), str(p.fused), str(p.composition), str(p.least)]
            for name, p in named
        ]
        return Table("", head, rows).text().removeprefix("\n")


def counted(stages: Stages, backward: Schedule | None) -> Sweeps:
    """Count reads and writes of the kernels of a function and of the function itself."""
    forward, back = stages.traced.traffic
    return Sweeps(_pass(stages.forward, forward), _pass(backward, back) if backward else None)


def _pass(schedule: Schedule, composition: int) -> Pass:
    program = schedule.program
    layouts = {**program.inputs, **{output.name: output.layout for output in program.outputs}}
    full = max(map(len, layouts.values()))
    reads = {name: times for name, times in schedule.reads().items() if len(layouts[name]) == full and times}
    writes = {output.name: 1 for output in program.outputs if len(output.layout) == full}
    return Pass(max(len(schedule.sweeps), 1), reads, writes, composition)


def _listed(times: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in times.items()) or "none"
