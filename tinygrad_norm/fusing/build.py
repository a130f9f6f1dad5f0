"""The passes from a recording to kernels, in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .algebra import (
    choose_loops,
    reading,
    saved_statistics,
    with_collected_terms,
    with_corrected_means,
    with_linear_sums,
)
from .names import words
from .schedule import Schedule, schedule
from .terms import Axes, Output, Program, Term
from .trace import Traced


@dataclass(frozen=True)
class Stages:
    """A function on its way to kernels.

    Attributes
    ----------
    traced : Traced
    forward : Schedule
    saved : tuple of Outputs
        What the forward pass saves for the backward pass, with the names used there.
    backward : tuple of Programs
        The gradients from each output, which read the saved terms.
    """

    traced: Traced
    forward: Schedule
    saved: tuple[Output, ...]
    backward: tuple[Program, ...]


def staged(traced: Traced, dtype: Any) -> Stages:
    """Schedule the forward pass, and decide what it saves for the backward pass."""
    programs: tuple[Program, ...] = (traced.forward, *traced.backward)
    if np.dtype(dtype) == np.float64:
        programs = with_corrected_means(programs)
    forward, *backward = programs
    loops, terms = choose_loops(forward), forward.terms
    saved: dict[Term, tuple[str, tuple[str, ...]]] = {}
    taken = {*forward.inputs, *(output.name for program in programs for output in program.outputs)}
    for term in saved_statistics(forward, backward, loops.kept):
        name = terms.names.get(term) or words(term, terms.names)
        while name in taken:
            name += "_"
        taken.add(name)
        saved[term] = name, tuple(a for a in (*loops.outer, *loops.rows) if a in term.axes)
    writes = tuple(Output(f"saved_{name}", term, layout) for term, (name, layout) in saved.items())
    scheduled = schedule(replace(forward, outputs=(*forward.outputs, *writes)), loops)
    kept = tuple(Output(name, term, layout) for term, (name, layout) in saved.items())
    return Stages(traced, scheduled, kept, tuple(reading(program, saved) for program in backward))


def scheduled_backward(program: Program, kept: Axes) -> Schedule:
    """Schedule a backward pass in as few sweeps as linear sums allow; ``kept`` are the axes of the statistics."""
    loops = choose_loops(program, kept)
    return schedule(with_collected_terms(with_linear_sums(program, loops), loops), loops)
