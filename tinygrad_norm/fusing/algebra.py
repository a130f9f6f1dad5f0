"""Rewriting of programs so that they need fewer sweeps. Each pass takes a program and returns one.

The idea is that a sum is linear: ``sum(k * a + b) = k * sum(a) + sum(b)`` if ``k`` does not vary along the sum. If
``k`` is itself the result of a sum, the left side needs one sweep more than the right. A centred term ``x - mean`` is
never split: ``sum(x * g) - mean * sum(g)`` would bring back the cancellation that centring avoids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeAlias

from .terms import SUMS, Axes, Output, Program, Term, Terms, below
from .unknown import UnfusableError

Change: TypeAlias = Callable[[Term, tuple[Term, ...]], Term]


@dataclass(frozen=True)
class Loops:
    """The loops of a kernel and their order.

    Attributes
    ----------
    outer : tuple of str
        The axes that statistics keep. Each iteration of these loops makes all sweeps over its part of the arrays.
    inner : tuple of str
        The axes that statistics run over.
    rows : tuple of str
        Kept axes that are contiguous in memory. These loops run innermost, and sums are rows of numbers.
    """

    outer: tuple[str, ...]
    inner: tuple[str, ...]
    rows: tuple[str, ...]

    @property
    def kept(self) -> Axes:
        return frozenset((*self.outer, *self.rows))


def rewritten(program: Program, change: Change) -> Program:
    """Return a program in which each term is replaced by ``change(term, changed arguments)``."""
    return all_rewritten((program,), change)[0]


def all_rewritten(programs: Sequence[Program], change: Change) -> tuple[Program, ...]:
    """Rewrite programs that share their terms."""
    new: dict[Term, Term] = {}
    for term in below(output.term for program in programs for output in program.outputs):
        new[term] = change(term, tuple(new[a] for a in term.args))
        programs[0].terms.named(new[term], programs[0].terms.names.get(term))
    return tuple(replace(p, outputs=tuple(replace(o, term=new[o.term]) for o in p.outputs)) for p in programs)


# The choice of loops.


def statistics(outputs: Iterable[Output]) -> list[Term]:
    """Return the reductions whose result is combined with the axes that they ran over, so that they need a sweep."""
    terms = list(below(output.term for output in outputs))
    wide: dict[Term, set[Term]] = {}  # the reductions below each term whose axes have not come back in full
    found: dict[Term, None] = {}
    for term in terms:
        pending = set().union(*(wide[a] for a in term.args))
        met = {r for r in pending if r.reduced & (term.args[0] if term.op in SUMS else term).axes}
        found |= dict.fromkeys(sorted(met, key=lambda r: r.serial))
        wide[term] = pending - met | ({term} if term.op in SUMS else set())
    return list(found)


def choose_loops(program: Program, like: Axes | None = None) -> Loops:
    """Choose the axes that statistics keep, and the order of the loops. ``like`` are the kept axes of the forward pass.

    Raises
    ------
    UnfusableError
        If there are statistics over different axes.
    """
    kept = {r.axes for r in statistics(program.outputs)}
    terms = list(below(output.term for output in program.outputs))
    everything = frozenset().union(*(term.axes for term in terms), *(output.layout for output in program.outputs))
    if not kept:
        sums = {term.axes for term in terms if term.op in SUMS}
        small = {t.axes for t in terms if t.args and t.axes and t.axes != everything and t.op not in SUMS}
        kept = {max(sums or small or {everything}, key=lambda axes: (len(axes), sorted(axes)))}
        if like is not None and any(like == axes for axes in sums):
            kept = {like}
    if len(kept) > 1:
        raise UnfusableError("there are statistics over different axes")
    (outside,) = kept
    order = _memory_order(program, everything)
    inner = tuple(a for a in order if a not in outside)
    rows: tuple[str, ...] = ()
    while inner and order[-1] in outside:
        rows, order = (order[-1], *rows), order[:-1]
    return Loops(tuple(a for a in order if a in outside), inner, rows)


def _memory_order(program: Program, axes: Axes) -> tuple[str, ...]:
    """Return the axes in the memory order of the largest array."""
    layouts = [*program.inputs.values(), *(output.layout for output in program.outputs)]
    order = [a for a in max(layouts, key=len) if a in axes]
    return (*order, *sorted(axes - set(order)))


# float64: the mean of equal values is that value.


def with_corrected_means(programs: Sequence[Program]) -> tuple[Program, ...]:
    """Correct each mean that is subtracted from its own values by the mean of the deviations from it.

    The composition does the same if there is no wider dtype for the sum.
    """
    terms = programs[0].terms
    found = below(output.term for program in programs for output in program.outputs)
    differences = [t for t in found if t.op == "subtract" and t.args[1].op == "mean"]
    centring = {t.args[1] for t in differences if t.args[1].args[0] is t.args[0]}

    def change(term: Term, args: tuple[Term, ...]) -> Term:
        new = terms.again(term, args)
        if term not in centring:
            return new
        name = terms.names.pop(new, "mean")
        first = terms.named(new, f"first_{name}")
        rest = terms.reduce("mean", terms.apply("subtract", args[0], first), term.reduced)
        return terms.named(terms.apply("add", first, terms.apply("finite", rest)), name)

    return all_rewritten(programs, change)


# What the backward pass takes from the forward pass.


def saved_statistics(forward: Program, backward: Sequence[Program], kept: Axes) -> list[Term]:
    """Return what the forward pass saves: statistics, which have only kept axes. All else is computed again."""
    from_sums: set[Term] = set()
    for term in below(output.term for output in forward.outputs):
        if term.op in SUMS or any(a in from_sums for a in term.args):
            from_sums.add(term)
    known = {term for term in from_sums if term.axes <= kept}
    wanted = below((o.term for program in backward for o in program.outputs), lambda term: term not in known)
    return [term for term in wanted if term in known]


def reading(program: Program, saved: dict[Term, tuple[str, tuple[str, ...]]]) -> Program:
    """Return a program that reads saved terms as inputs with a name and axes."""
    terms = program.terms
    given = dict(saved.values())
    found = {term: terms.input(name, layout) for term, (name, layout) in saved.items()}
    new = rewritten(program, lambda term, args: found[term] if term in found else terms.again(term, args))
    return replace(new, inputs={**program.inputs, **given})


# Sums.

_MOST_ADDENDS = 32
Product = tuple[tuple[Term, ...], tuple[Term, ...]]  # factors and divisors


def _product(term: Term, apart: Callable[[Term], bool]) -> Product:
    """Return a term as factors and divisors. A term for which ``apart`` is false is one factor."""
    if apart(term) and term.op == "multiply":
        (a, b), (c, d) = (_product(x, apart) for x in term.args)
        return (*a, *c), (*b, *d)
    if apart(term) and term.op == "divide" and term.args[1].op in ("count", "number"):
        # Other divisors may be 0. Then each element must be divided: 0 / 0 is NaN, but the sum / 0 may be infinite.
        factors, divisors = _product(term.args[0], apart)
        return factors, (*divisors, term.args[1])
    return (term,), ()


def _addends(terms: Terms, term: Term, over: Axes, known: dict[Term, list[Product]]) -> list[Product]:
    """Return a term as a sum of products. An addend that does not vary along ``over`` is not split off."""
    if term not in known:
        found = _expanded(terms, term, over, known)
        known[term] = found if len(found) <= _MOST_ADDENDS else [((term,), ())]
    return known[term]


def _expanded(terms: Terms, term: Term, over: Axes, known: dict[Term, list[Product]]) -> list[Product]:
    if term.op == "negative" or (term.op in ("add", "subtract") and all(a.axes & over for a in term.args)):
        return _added(terms, term.op, [_addends(terms, a, over, known) for a in term.args])
    factors, divisors = _product(term, lambda x: bool(x.axes & over))
    sums = [factor for factor in factors if factor is not term and len(_addends(terms, factor, over, known)) > 1]
    if len(sums) != 1:
        return [(factors, divisors)]
    rest = tuple(factor for factor in factors if factor is not sums[0])
    return [((*rest, *more), (*divisors, *by)) for more, by in _addends(terms, sums[0], over, known)]


def _added(terms: Terms, op: str, args: Sequence[list[Product]]) -> list[Product]:
    """Return a sum, difference or negative of sums of products as one sum of products."""
    *first, last = args
    if op != "add":
        last = [((terms.number(-1), *factors), divisors) for factors, divisors in last]
    return [*chain(*first), *last]


def with_linear_sums(program: Program, loops: Loops) -> Program:
    """Move factors that do not vary along a sum out of it, and split sums if that saves a sweep."""
    terms = program.terms
    waits: dict[Term, bool] = {}  # whether a term must wait for the end of a sweep

    def wait(term: Term) -> bool:
        if term not in waits:
            waits[term] = term.op in SUMS or any(map(wait, term.args))
        return waits[term]

    def summed(x: Term, over: Axes) -> Term:
        """Return the sum of a term: for each addend, the constant part times the sum of the rest."""
        addends = _addends(terms, x, over, {})
        if len(addends) > 1 and not any(wait(f) and not f.axes & over for factors, _ in addends for f in factors):
            addends = [_product(x, lambda t: bool(t.axes & over))]
        parts = []
        for factors, divisors in addends:
            constant = [f for f in factors if not f.axes & over]
            varying = terms.product(f for f in factors if f.axes & over)
            parts.append(terms.product([*constant, inner_sum(varying, over)], divisors))
        return terms.total(parts)

    def inner_sum(x: Term, over: Axes) -> Term:
        """Return a sum. A factor that does not vary along the innermost loop multiplies the sum of that loop."""
        innermost = next((a for a in reversed(loops.inner) if a in over), None)
        if innermost is None or len(over & x.axes) < 2 or loops.rows:
            return terms.reduce("sum", x, over)
        factors, _ = _product(x, lambda t: bool(t.axes & over))
        if all(innermost in f.axes for f in factors):
            return terms.reduce("sum", x, over)
        return summed(summed(x, frozenset({innermost})), over - {innermost})

    def change(term: Term, args: tuple[Term, ...]) -> Term:
        if term.op != "sum":
            return terms.again(term, args)
        over, (x,) = term.reduced & args[0].axes, args
        repeated = term.reduced - over
        across, along = over & loops.kept, over - loops.kept
        total = summed(x, along) if along else x
        total = summed(total, across) if across else total
        return terms.apply("multiply", terms.count(repeated), total) if repeated else total

    return rewritten(program, change)


def with_collected_terms(program: Program, loops: Loops) -> Program:
    """Write terms that vary along the inner loops as sums of products, with constant factors in front."""
    terms = program.terms

    def collected(term: Term) -> Term:
        if not term.axes & frozenset(loops.inner):
            return term
        gathered: dict[Term, Term] = {}
        for factors, divisors in _top_addends(terms, term, loops.kept):
            constant = [f for f in factors if f.axes <= loops.kept]
            varying = terms.product(f for f in factors if not f.axes <= loops.kept)
            k = terms.product(constant, divisors)
            gathered[varying] = terms.apply("add", gathered[varying], k) if varying in gathered else k
        return terms.total(terms.apply("multiply", k, v) for v, k in gathered.items())

    return replace(program, outputs=tuple(replace(o, term=collected(o.term)) for o in program.outputs))


def _top_addends(terms: Terms, term: Term, kept: Axes) -> list[Product]:
    if term.axes <= kept:
        return [((term,), ())]
    if term.op in ("negative", "add", "subtract"):
        return _added(terms, term.op, [_top_addends(terms, a, kept) for a in term.args])
    return [_product(term, lambda x: not x.axes <= kept)]
