"""The intermediate representation: terms that vary along loops. Equal terms are one object; there are no broadcasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Axes: TypeAlias = frozenset[str]

SUMS = ("sum", "mean", "max", "min")
"""The reductions."""


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """An input, a number, a count of elements, an elementwise operation, or a reduction.

    Attributes
    ----------
    op : str
    args : tuple of Terms
    axes : frozenset of str
        The loops that the value depends on. A reduction runs over the axes of its argument that are missing here.
    value : float, str or frozenset
        The value of a number, the name of an input, or the axes whose sizes a count multiplies.
    serial : int
        The position among the terms, which is greater than those of the arguments.
    """

    op: str
    args: tuple[Term, ...]
    axes: Axes
    value: Any
    serial: int

    def __repr__(self) -> str:
        inside = ", ".join(map(repr, self.args)) if self.args else repr(self.value)
        return f"{self.op}({inside}){''.join(sorted(self.axes))}"

    @property
    def reduced(self) -> Axes:
        """The axes that a reduction runs over."""
        return self.args[0].axes - self.axes


class Terms:
    """Creates each term once, and simplifies arithmetic that needs no array: ``x + 0``, ``1 * x``, ``-(-x)``."""

    def __init__(self) -> None:
        self._made: dict[Any, Term] = {}
        self.names: dict[Term, str] = {}

    def _make(self, op: str, args: tuple[Term, ...], axes: Axes, value: Any = None) -> Term:
        commutes = op in ("add", "multiply")
        # 0.0 and -0.0 are equal, and a NaN is not equal to itself, so numbers are compared by repr.
        told = repr(value) if op == "number" else value
        key = (op, frozenset(args) if commutes else args, len(args), axes, told)
        if key not in self._made:
            self._made[key] = Term(op, args, axes, value, len(self._made))
        return self._made[key]

    def named(self, term: Term, name: str | None) -> Term:
        if name and term.op not in ("input", "number"):
            self.names.setdefault(term, name)
        return term

    def input(self, name: str, axes: Iterable[str]) -> Term:
        return self._make("input", (), frozenset(axes), name)

    def number(self, value: float) -> Term:
        return self._make("number", (), frozenset(), float(value))

    def count(self, axes: Iterable[str]) -> Term:
        return self._make("count", (), frozenset(), frozenset(axes)) if (axes := tuple(axes)) else self.number(1)

    def apply(self, op: str, *args: Term) -> Term:
        """Return an elementwise operation, simplified if possible."""
        return self._simple(op, *args) or self._make(op, args, frozenset().union(*(a.axes for a in args)))

    def product(self, factors: Iterable[Term], divisors: Iterable[Term] = ()) -> Term:
        """Return the product of terms, divided by others."""
        result = self.number(1)
        for factor in factors:
            result = self.apply("multiply", result, factor)
        for divisor in divisors:
            result = self.apply("divide", result, divisor)
        return result

    def total(self, parts: Iterable[Term]) -> Term:
        """Return the sum of one or more terms."""
        result, *others = parts
        for part in others:
            result = self.apply("add", result, part)
        return result

    def again(self, term: Term, args: tuple[Term, ...]) -> Term:
        """Return the same operation on other arguments."""
        if args == term.args:
            return term
        same = self.reduce(term.op, args[0], term.reduced) if term.op in SUMS else self.apply(term.op, *args)
        return self.named(same, self.names.get(term))

    def _simple(self, op: str, *args: Term) -> Term | None:  # noqa: PLR0911 (a list of identities)
        a, b = args[0], args[-1]
        if op in _ARITHMETIC and all(x.op == "number" for x in args):
            return self.number(_ARITHMETIC[op](*(x.value for x in args)))
        if (op == "subtract" and _is(b, 0.0)) or (op == "add" and _is(b, -0.0)):
            return a
        if op in ("multiply", "divide") and _is(b, 1):
            return a
        if (op == "add" and _is(a, -0.0)) or (op == "multiply" and _is(a, 1)):
            return b
        if op == "multiply" and (_is(a, -1) or _is(b, -1)):
            return self.apply("negative", b if _is(a, -1) else a)
        if op == "negative" and a.op == "negative":
            return a.args[0]
        if op in ("add", "subtract") and b.op == "negative":
            return self.apply("subtract" if op == "add" else "add", a, b.args[0])
        if op == "add" and a.op == "negative":
            return self.apply("subtract", b, a.args[0])
        if op == "multiply" and b.op == "negative":
            return self.apply("negative", self.apply("multiply", a, b.args[0]))
        if op == "multiply" and a.op == "negative":
            return self.apply("negative", self.apply("multiply", a.args[0], b))
        return None

    def reduce(self, op: str, x: Term, axes: Iterable[str]) -> Term:
        """Return a reduction. Over axes along which a term is constant, its sum is a multiple and its mean the term."""
        over = frozenset(axes)
        inside = over & x.axes
        y = self._make(op, (x,), x.axes - inside) if inside else x
        repeated = over - x.axes
        return self.apply("multiply", self.count(repeated), y) if op == "sum" and repeated else y


_ARITHMETIC: Mapping[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negative": lambda a: -a,
}


def _is(term: Term, value: float) -> bool:
    return term.op == "number" and repr(term.value) == repr(float(value))


@dataclass(frozen=True)
class Output:
    """An output of a kernel: a term, and the axes of its array in memory order."""

    name: str
    term: Term
    layout: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """The computation of a kernel, as data.

    Attributes
    ----------
    name : str
    inputs : mapping of str to tuple of str
        The axes of each array that it may read, in memory order.
    outputs : tuple of Outputs
    terms : Terms
    numbers : mapping of Term to str
        Numbers that are arguments of the kernel, because they may depend on a shape.
    """

    name: str
    inputs: Mapping[str, tuple[str, ...]]
    outputs: tuple[Output, ...]
    terms: Terms
    numbers: Mapping[Term, str]


def below(terms: Iterable[Term], through: Callable[[Term], object] = lambda _: True) -> Iterator[Term]:
    """Yield terms and everything that they are computed from, each once, arguments first.

    The arguments of a term for which ``through`` is false are not followed.
    """
    found: dict[Term, None] = {}
    pending = list(terms)
    while pending:
        term = pending.pop()
        if term not in found:
            found[term] = None
            pending += term.args if through(term) else ()
    yield from sorted(found, key=lambda term: term.serial)
