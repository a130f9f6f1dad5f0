"""Division of a program into sweeps. Each finishes the sums whose arguments are known, and the last one writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .algebra import Loops
from .terms import SUMS, Axes, Output, Program, Term, below
from .unknown import UnfusableError


@dataclass(frozen=True)
class Sweep:
    """One pass through the inner loops.

    Attributes
    ----------
    sums : tuple of Terms
        Reductions that it finishes, with one result for each iteration of the kept loops.
    parts : tuple of Terms
        Sums over the innermost loops that are finished within the sweep and used by other sums.
    across : tuple of Terms
        Sums to which each iteration of the kept loops adds.
    outputs : tuple of Outputs
        What it writes.
    """

    sums: tuple[Term, ...]
    across: tuple[Term, ...] = ()
    outputs: tuple[Output, ...] = ()
    parts: tuple[Term, ...] = ()

    @property
    def roots(self) -> list[Term]:
        """The terms that it computes in order to add them up or write them."""
        return [*(s.args[0] for s in (*self.sums, *self.across)), *(output.term for output in self.outputs)]


@dataclass(frozen=True)
class Schedule:
    """The order in which a program is computed.

    Attributes
    ----------
    program : Program
    loops : Loops
    sweeps : tuple of Sweeps
    levels : mapping of Term to int
        The number of sweeps that must be finished before a term can be computed.
    between : tuple of Outputs
        Outputs that vary only along kept loops, written between sweeps.
    across : tuple of Terms
        Sums over kept loops of terms that are known after the sweeps of one iteration.
    after : tuple of Outputs
        Outputs that depend on sums over kept loops, written after all loops.
    """

    program: Program
    loops: Loops
    sweeps: tuple[Sweep, ...]
    levels: Mapping[Term, int]
    between: tuple[Output, ...]
    across: tuple[Term, ...]
    after: tuple[Output, ...]

    def reads(self) -> dict[str, int]:
        """Return how often the elements of each input are read."""
        counts = dict.fromkeys(self.program.inputs, 0)
        for sweep in self.sweeps:
            for term in in_sweep(sweep.roots, self.loops, sweep.parts):
                if term.op == "input":
                    counts[term.value] += 1
        for term in below(output.term for output in (*self.between, *self.after)):
            if term.op == "input":
                counts[term.value] = max(counts[term.value], 1)
        return counts


def depth(term: Term, loops: Loops) -> int:
    """Return the number of inner loops, including rows, around a term."""
    order = loops.inner if not loops.rows else (*loops.inner, *loops.rows)
    return 0 if term.axes <= loops.kept else max(i for i, a in enumerate(order, 1) if a in term.axes)


def in_sweep(roots: Iterable[Term], loops: Loops, parts: Iterable[Term]) -> list[Term]:
    """Return the terms below ``roots`` that vary along inner loops, arguments first."""
    inner, parts = frozenset(loops.inner), set(parts)
    found = below(roots, lambda term: term.axes & inner and (term.op not in SUMS or term in parts))
    return [term for term in found if term.axes & inner]


def schedule(program: Program, loops: Loops) -> Schedule:
    """Put the reductions of a program into sweeps, as early as their arguments allow.

    Raises
    ------
    UnfusableError
        If a sum does not fit the loops.
    """
    kept, inner = loops.kept, frozenset(loops.inner)
    terms = list(below(output.term for output in program.outputs))
    reductions = [term for term in terms if term.op in SUMS]
    parts = {s for s in reductions if s.axes & inner and s.reduced <= inner}
    full = [s for s in reductions if not s.axes & inner and s.reduced <= inner]
    across = [s for s in reductions if s.reduced & kept]
    levels: dict[Term, int] = {}
    for term in terms:
        levels[term] = max((levels[a] for a in term.args), default=0) + (term in full)
    after = tuple(o for o in program.outputs if set(below([o.term])) & set(across))
    now = [o for o in program.outputs if o not in after]
    written = tuple(o for o in now if inner & set(o.layout))
    swept = tuple(s for s in across if s.args[0].axes & inner)
    count = max(
        [levels[s] for s in full] + [levels[o.term] + 1 for o in written] + [levels[s] + 1 for s in swept], default=0
    )
    sweeps = [Sweep(tuple(s for s in full if levels[s] == number)) for number in range(1, count + 1)]

    def parts_of(roots: Iterable[Term]) -> tuple[Term, ...]:
        return tuple(t for t in in_sweep(roots, loops, parts) if t in parts)

    if written:
        sweeps[-1] = replace(sweeps[-1], outputs=written)

    def needs(roots: Iterable[Term]) -> set[Term]:
        return {t for t in in_sweep(roots, loops, parts) if t.op == "input" or t in parts}

    # A sum over kept loops is part of the first sweep that reads all its arguments anyway. It costs least there,
    # because the first sweep is bound by memory.
    for s in swept:
        own = needs(s.args)
        fitting = (i for i in range(levels[s], count) if own <= needs(sweeps[i].roots))
        place = next(fitting, count - 1)
        sweeps[place] = replace(sweeps[place], across=(*sweeps[place].across, s))
    sweeps = [replace(sweep, parts=parts_of(sweep.roots)) for sweep in sweeps]
    for s in reductions:
        _check_place(s, loops, s in parts, s in across)
    for user in terms:
        for s in parts & set(user.args):
            if user.axes & inner != s.axes & inner and user.op not in SUMS:
                raise UnfusableError("a sum over inner loops is combined with the loops that it ran over")
    for o in written:
        if any(set(o.layout) & s.reduced for s in parts.intersection(below([o.term], lambda term: term not in full))):
            raise UnfusableError("a sum over inner loops is repeated along them")
    for o in after:
        if any(t.op in SUMS and t not in across for t in below([o.term], lambda term: term not in across)):
            raise UnfusableError("a sum over all loops is combined with a statistic")
        if any(o.term.axes != s.axes for s in set(below([o.term])) & set(across)) or set(o.layout) != o.term.axes:
            raise UnfusableError("a sum over all loops is used again")
    between = tuple(o for o in now if o not in written)
    late = tuple(s for s in across if s not in swept)
    return Schedule(program, loops, tuple(sweeps), levels, between, late, after)


def _check_place(s: Term, loops: Loops, is_part: bool, is_across: bool) -> None:
    """Refuse a sum that these loops cannot compute."""
    (x,) = s.args
    around: Axes = frozenset(loops.inner[: depth(x, loops)])
    if not around <= x.axes:
        raise UnfusableError("a sum runs over only a part of the loops")
    if is_part and (loops.rows or s.axes & around != frozenset(loops.inner[: len(s.axes & around)])):
        raise UnfusableError("a sum within the loops keeps some that are not the outermost")
    if is_across and (s.op not in ("sum", "mean") or not loops.kept <= x.axes):
        raise UnfusableError("the argument of a sum over kept axes does not vary along all of them")
