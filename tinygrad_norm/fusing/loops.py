"""Writing a schedule as Python loops, to be read by learners and compiled by numba."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .names import total_words, words
from .primitives import RESERVED, written
from .schedule import Schedule, Sweep, depth, in_sweep
from .terms import SUMS, Output, Term, below

_SIGN = 5  # the precedence of a sign
_LEAVES = ("input", "number", "count")
_EXTREMES = {"max": "ordered_up", "min": "ordered_down"}  # as integers, a NaN is larger than all numbers, or smaller
_IN_PLACE = ("sum",)  # results that stay where they were accumulated


@dataclass(frozen=True)
class Kernel:
    """The source of a kernel and its arguments.

    Attributes
    ----------
    name, source : str
    inputs, outputs : tuple of str
        The arrays that it reads and those that it writes.
    layouts : mapping of str to tuple of str
        The axes of each array.
    numbers : tuple of float
        Arguments after the arrays.
    shared : str or None
        The loop that threads share. Then the ends of a part are arguments, too.
    partial : tuple of str
        The outputs to which each part of that loop adds.
    """

    name: str
    source: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layouts: Mapping[str, tuple[str, ...]]
    numbers: tuple[float, ...]
    shared: str | None = None
    partial: tuple[str, ...] = ()


def write(schedule: Schedule, dtype: Any, sizes: Mapping[str, int], threads: int = 1) -> Kernel:
    """Write the function that computes a schedule in a dtype. Only the order of magnitude of sizes matters.

    For several threads, it computes a part of one kept loop, from ``start`` to ``stop``, if there is one to share.
    """
    return _Writer(schedule, np.dtype(dtype).name, sizes, _shared_loop(schedule) if threads > 1 else None).kernel()


def _shared_loop(schedule: Schedule) -> str | None:
    """Return the kept loop whose iterations threads can share, if their partial results can be added up."""
    loops = schedule.loops
    if any(output.term.op not in ("sum", "mean") for output in schedule.after):
        return None
    return next(iter(loops.outer), None) or (loops.rows[0] if len(loops.rows) == 1 else None)


# Numbers of float32 values whose sum loses only the last digit, added one by one or in about 32 lanes at once.
_ROWS, _RUN = 256, 65536


class _Writer:
    def __init__(self, schedule: Schedule, dtype: str, sizes: Mapping[str, int], shared: str | None) -> None:
        self.shared = shared
        self.schedule, self.loops, self.program, self.dtype = schedule, schedule.loops, schedule.program, dtype
        self.terms = list(below(output.term for output in self.program.outputs))
        inputs = {t.value for t in self.terms if t.op == "input"}
        outputs = {o.name: o.layout for o in self.program.outputs}
        self.layouts = {name: layout for name, layout in self.program.inputs.items() if name in inputs} | outputs
        self.axes = list(dict.fromkeys(a for layout in self.layouts.values() for a in layout))
        counted = sorted(a for t in self.terms if t.op == "count" for a in t.value if a not in self.axes)
        self.absent = {a: sizes[a] for a in counted}  # axes of no array of this kernel
        self.axes += self.absent
        self.past: set[str] = set()  # names used inside earlier sweeps
        self.taken = {*self.layouts, *self.axes, *map(str.upper, self.axes), *RESERVED}
        numbers = self.program.numbers
        self.numbers = {t: self.unused(numbers[t]) for t in self.terms if t in numbers}
        self.text: dict[Term, str] = dict(self.numbers)  # the name or expression of a term
        self.totals: dict[Term, str] = {}  # the accumulator of a reduction
        self.runs: dict[Term, str] = {}  # its accumulator within the innermost loop
        self.small = self._summed_in_float32(sizes)
        self.rows: list[str] = []  # lines that allocate arrays for values kept between sweeps
        self.lines: list[str] = []
        self.indent = 1

    def kernel(self) -> Kernel:
        outputs = tuple(output.name for output in self.program.outputs)
        inputs = tuple(name for name in self.layouts if name not in outputs)
        self.sizes()
        self.start_across()
        start = len(self.lines)
        with self.loop(self.loops.outer):
            self.between(0)
            for number, sweep in enumerate(self.schedule.sweeps, 1):
                self.sweep(sweep, number)
                self.between(number)
        self.lines[start:start] = self.rows
        self.finish()
        ends = ["start", "stop"] if self.shared else []
        head = f"def {self.program.name}({', '.join([*inputs, *outputs, *self.numbers.values(), *ends])}):"
        source = "\n".join([head, *self.lines]) + "\n"
        numbers = tuple(term.value for term in self.numbers)
        partial = tuple(o.name for o in self.schedule.after if self.shared not in o.term.axes)
        return Kernel(self.program.name, source, inputs, outputs, self.layouts, numbers, self.shared, partial)

    def _summed_in_float32(self, sizes: Mapping[str, int]) -> set[Term]:
        """Return the reductions for which float32 suffices, within the innermost loop or, for rows, altogether.

        A mean that is subtracted from its own values is not among them: the mean of equal values must be exact.
        """
        if self.dtype == "float64":
            return set()
        loops = self.loops
        if loops.rows:
            enough = prod(sizes[a] for a in loops.inner) <= _ROWS
        else:
            enough = not loops.inner or sizes[loops.inner[-1]] <= _RUN
        centring = {t.args[1] for t in self.terms if t.op == "subtract" and t.args[1].args[:1] == t.args[:1]}
        return {t for t in self.terms if t.op in ("sum", "mean") and enough and t not in centring}

    def has_runs(self, s: Term) -> bool:
        """Return whether a reduction uses float32 within the innermost loop, and float64 across its runs."""
        innermost = set(self.loops.inner[-1:])
        return s in self.small and not self.loops.rows and innermost < s.reduced and innermost <= s.args[0].axes

    def is_narrow(self, s: Term) -> bool:
        return s.op in ("max", "min") or (s in self.small and not self.has_runs(s) and s not in self.across)

    # --- lines and names

    def add(self, line: str) -> None:
        self.lines.append("    " * self.indent + line)

    @contextmanager
    def loop(self, axes: Sequence[str]) -> Iterator[None]:
        """Write loops around the lines that follow, or nothing if there are none."""
        start, indent = len(self.lines), self.indent
        for a in axes:
            self.add(f"for {a} in range({'start, stop' if a == self.shared else a.upper()}):")
            self.indent += 1
        yield
        self.indent = indent
        if len(self.lines) == start + len(axes):
            del self.lines[start:]

    def unused(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self.taken or name in self.past:
            name, number = f"{wanted}{number}", number + 1
        self.taken.add(name)
        return name

    def called(self, term: Term) -> str:
        return self.unused(self.program.terms.names.get(term) or words(term, self.program.terms.names))

    def element(self, name: str, layout: Sequence[str]) -> str:
        return f"{name}[{', '.join(layout) or '()'}]"

    def span(self, axes: Iterable[str]) -> str:
        """Write the number of elements along some axes."""
        return " * ".join(a.upper() for a in self.axes if a in set(axes))

    def new_row(self, name: str, layout: Sequence[str], dtype: str) -> str:
        self.rows.append(f"    {name} = empty(({', '.join(map(str.upper, layout))},), {dtype})")
        return self.element(name, layout)

    # --- expressions

    def expression(self, term: Term, binding: int = 0) -> str:
        """Write a term, in parentheses if its precedence is lower than ``binding``."""
        if term in self.text:
            return self.text[term]
        if term.op == "input":
            return self.element(term.value, self.layouts[term.value])
        if term.op == "number":
            text = self.literal(term.value)
            return f"({text})" if text.startswith("-") and binding > _SIGN else text
        if term.op in SUMS:
            return self.total(term)
        return written(term.op, term.args, binding, self.expression)

    def literal(self, value: float) -> str:
        if not math.isfinite(value):
            return f"{value}"
        whole = self.dtype != "float64" and repr(value) != "-0.0"
        return self.narrow(repr(value).removesuffix(".0") if whole else repr(value))

    def narrow(self, text: str) -> str:
        """Cast a float64 number or an integer to the dtype of the arrays."""
        return text if self.dtype == "float64" else f"{self.dtype}({text})"

    def total(self, s: Term) -> str:
        """Write the result of a reduction, cast from its accumulator to the dtype of the arrays."""
        if s.op == "mean":
            over = self.span(s.reduced)
            return self.narrow(f"{self.totals[s]} / {f'({over})' if ' ' in over else over}")
        if s.op in _EXTREMES and not self.loops.rows:
            return f"number({self.totals[s]})"
        return self.totals[s] if self.is_narrow(s) else self.narrow(self.totals[s])

    def start(self, s: Term) -> str:
        if s.op in _EXTREMES:
            none = "-inf" if s.op == "max" else "inf"
            return none if self.loops.rows else f"{_EXTREMES[s.op]}({none})"
        return self.literal(0) if self.is_narrow(s) else "0.0"

    def accumulate(self, s: Term) -> None:
        total, value = self.runs.get(s, self.totals[s]), self.expression(s.args[0])
        if s.op not in _EXTREMES:
            self.add(f"{total} += {value}")
        elif self.loops.rows:
            self.add(f"{total} = {s.op}imum({total}, {value})")
        else:
            self.add(f"{total} = {s.op}({total}, {_EXTREMES[s.op]}({value}))")

    def define(self, terms: Sequence[Term], roots: Sequence[Term], always: Iterable[Term] = ()) -> None:
        """Assign terms that are used more than once or named in the graph to variables. Others are written inline."""
        uses = dict.fromkeys(terms, 0)
        for t in terms:
            for a in t.args if t.op not in SUMS else ():
                if a in uses:
                    uses[a] += 1
        for root in set(roots) & set(terms):
            uses[root] += 1
        branching = {a for t in terms if t.op == "where" for a in t.args[1:]}
        results = {o.term for o in self.program.outputs}
        named = {t for t in self.program.terms.names if t not in results or uses.get(t, 0) > 1} | {*always}
        for t in terms:
            wanted = t in branching if t.op == "input" else t.op not in _IN_PLACE and (uses[t] > 1 or t in named)
            if wanted and t not in self.text:
                value = self.expression(t)
                self.text[t] = self.called(t)
                self.add(f"{self.text[t]} = {value}")

    # --- before the loops, and after them

    def sizes(self) -> None:
        """Read the sizes of the loops from the shapes."""
        known: set[str] = set()
        for name, layout in sorted(self.layouts.items(), key=lambda each: -len(each[1])):
            if set(layout) - known:
                self.add(f"{', '.join(map(str.upper, layout))}{',' * (len(layout) == 1)} = {name}.shape")
                known |= set(layout)
        for a, size in self.absent.items():
            self.add(f"{a.upper()} = {size}")
        for t in self.terms:
            if t.op == "count":
                self.text[t] = self.unused("count")
                self.add(f"{self.text[t]} = {self.narrow(self.span(t.value))}")

    @property
    def across(self) -> list[Term]:
        return [*self.schedule.across, *(s for sweep in self.schedule.sweeps for s in sweep.across)]

    def start_across(self) -> None:
        """Set accumulators across kept loops to zero. If an output is such a sum, it is its own accumulator."""
        for s in self.across:
            own = next((o for o in self.schedule.after if o.term is s and s.op == "sum" and o.layout), None)
            layout = own.layout if own else tuple(a for a in self.axes if a in s.axes)
            if own:
                self.totals[s] = self.element(own.name, layout)
            else:
                name = self.unused(total_words(s, self.program.terms.names))
                self.totals[s] = self.element(name, layout) if layout else name
                if layout:
                    self.add(f"{name} = empty(({', '.join(map(str.upper, layout))},), float64)")
            with self.loop(layout):
                self.add(f"{self.totals[s]} = {self.literal(0) if own else '0.0'}")

    def finish(self) -> None:
        """Write outputs that need all loops to be finished. Variables inside the loops are not known here."""
        self.text = {t: text for t, text in self.text.items() if t in self.numbers or t.op == "count"}
        for o in self.schedule.after:
            if self.totals.get(o.term) != self.element(o.name, o.layout):
                with self.loop(o.layout):
                    self.add(f"{self.element(o.name, o.layout)} = {self.expression(o.term)}")

    # --- between the sweeps

    def between(self, level: int) -> None:
        """Compute terms that vary only along kept loops and are known after ``level`` sweeps."""
        schedule, last = self.schedule, level == len(self.schedule.sweeps)
        sweeps = schedule.sweeps[level:]
        wanted = {t for sweep in sweeps for t in self.taken_by(sweep)}
        stores = [o for o in schedule.between if schedule.levels[o.term] == level]
        late = schedule.across if last else ()
        now = [t for t in wanted if schedule.levels[t] <= level]
        roots = [*now, *(o.term for o in stores), *(s.args[0] for s in late)]
        terms = [t for t in below(roots) if t.axes <= self.loops.kept and t.op not in _LEAVES and t not in self.text]
        scope = dict(self.text)
        with self.loop(self.loops.rows):
            held = self.held(terms, wanted, stores)
            for t in terms:
                if t in held:
                    self.define([x for x in below([t]) if x in terms and x not in held], [t])
                    self.add(f"{held[t]} = {self.expression(t)}")
                    scope[t] = self.text[t] = held[t]
            self.define([t for t in terms if t not in held], [*(o.term for o in stores), *wanted], now)
            for o in stores:
                if held.get(o.term) != self.element(o.name, o.layout):
                    self.add(f"{self.element(o.name, o.layout)} = {self.expression(o.term)}")
            for s in late:
                self.accumulate(s)
            if sweeps and self.loops.rows:
                self.start_sums(sweeps[0])
        if self.loops.rows:
            self.text = scope  # the other variables belong to one iteration

    def taken_by(self, sweep: Sweep) -> list[Term]:
        """Return the terms that a sweep takes from earlier computations."""
        inside = in_sweep(sweep.roots, self.loops, sweep.parts)
        arguments = [a for t in inside if t.op not in SUMS or t in sweep.parts for a in t.args]
        return [t for t in (*arguments, *sweep.roots) if t.axes <= self.loops.kept and t.op not in _LEAVES]

    def held(self, terms: Sequence[Term], wanted: Iterable[Term], stores: Sequence[Output]) -> dict[Term, str]:
        """Return where rows of results are stored for later: in an output if they are one, else in a new row."""
        if not self.loops.rows:
            return {}
        now = max((self.schedule.levels[t] for t in terms), default=0)
        later = {a for t in self.terms if self.schedule.levels[t] > now for a in t.args}
        found = {}
        for t in terms:
            own = next((o for o in stores if o.term is t), None)
            if own:
                found[t] = self.element(own.name, own.layout)
            elif (t in wanted or t in later) and t.op != "sum":
                found[t] = self.new_row(self.called(t), self.loops.rows, self.dtype)
        return found

    # --- sweeps

    def start_sums(self, sweep: Sweep) -> None:
        for s in sweep.sums:
            name = self.unused(total_words(s, self.program.terms.names))
            dtype = self.dtype if self.is_narrow(s) else "float64"
            self.totals[s] = self.new_row(name, self.loops.rows, dtype) if self.loops.rows else name
            self.add(f"{self.totals[s]} = {self.start(s)}")

    def sweep(self, sweep: Sweep, number: int) -> None:
        what = [total_words(s, self.program.terms.names) for s in sweep.sums]
        what += [o.name for o in (*sweep.outputs, *self.schedule.after) if o in sweep.outputs or sweep.across]
        self.add(f"# Sweep {number} of {len(self.schedule.sweeps)}: {', '.join(what)}.")
        if not self.loops.rows:
            self.start_sums(sweep)
        around, taken, past, self.past = dict(self.text), set(self.taken), self.past, set[str]()
        self.inside(sweep, in_sweep(sweep.roots, self.loops, sweep.parts), 0)
        self.past = past | self.taken - taken
        self.text, self.taken = around, taken

    def inside(self, sweep: Sweep, terms: Sequence[Term], d: int) -> None:
        """Write the body of the first ``d`` loops of a sweep."""
        order = (*self.loops.inner, *self.loops.rows)
        here = [t for t in terms if depth(t, self.loops) == d]
        parts = [p for p in sweep.parts if depth(p, self.loops) == d]
        late = {t for t in here if set(below([t])) & set(parts)}
        roots = [*sweep.roots, *(p.args[0] for p in sweep.parts)]
        self.define([t for t in here if t not in late], roots)
        for p in parts:
            self.totals[p] = self.unused(total_words(p, self.program.terms.names))
            self.add(f"{self.totals[p]} = {self.start(p)}")
        if d < len(order):
            within = [s for s in (*sweep.sums, *sweep.parts, *sweep.across) if d == len(order) - 1 and self.has_runs(s)]
            for s in within:
                self.runs[s] = self.unused(total_words(s, self.program.terms.names).replace("sum_", "run_", 1))
                self.add(f"{self.runs[s]} = {self.literal(0)}")
            with self.loop(order[d : d + 1]):
                self.inside(sweep, terms, d + 1)
            for s in within:
                self.add(f"{self.totals[s]} += {self.runs.pop(s)}")
        self.define([t for t in here if t in late], roots)
        for s in (*sweep.parts, *sweep.sums, *sweep.across):
            if depth(s.args[0], self.loops) == d:
                self.accumulate(s)
        for o in sweep.outputs:
            if max(i for i, a in enumerate(order, 1) if a in o.layout) == d:
                self.add(f"{self.element(o.name, o.layout)} = {self.expression(o.term)}")
