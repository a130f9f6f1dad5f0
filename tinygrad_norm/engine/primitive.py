"""What an operation is (`Primitive`), and what is remembered of one that was run (`Node`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from .context import State

PRIMITIVES: dict[str, Primitive] = {}


class Primitive:
    """An operation: its forward function on arrays and, for each input, the rule that carries a cotangent back.

    A rule is a NumPy expression ``rule(g, y, *inputs, **static)``: ``g`` is the cotangent of the output ``y``. It runs
    on arrays in an ordinary backward pass and on Tensors, recorded, under ``create_graph``.

    Attributes
    ----------
    name, symbol : str
        What it is called, and the sign that drawings show.
    forward : callable
        ``forward(*arrays, **static)``.
    rules : sequence of callables
        One for each input.
    formulas : tuple of str
        What each rule computes, for people: the contribution to each input, in terms of ``g``, ``y`` and the inputs.
    operands : tuple of str
        What the formulas call the inputs; nothing where there can be any number of them.
    pullback : callable or None
        ``pullback(node, g, y, reached)`` returns the rules for one node whose inputs' gradients are computed together;
        ``reached`` are the Tensors that gradients are wanted for or pass through, None where all are. No rules: no
        gradients.
    composition : callable or None
        Of one that stands for several others: ``composition(node)`` returns the same Tensor as they compute it.

    One without rules is not among the `PRIMITIVES`; without a pullback, too, it makes data, which no gradient reaches.
    """

    pullback: Callable[[Node, Any, Any, Any], Sequence[Callable[..., Any]]] | None = None
    composition: Callable[[Node], Any] | None = None

    def __init__(
        self, name: str, symbol: str, forward: Callable[..., Any], *rules: tuple[str, Callable[..., Any]]
    ) -> None:
        self.name, self.symbol, self.forward = name, symbol, forward
        self.formulas = tuple(formula for formula, _ in rules)
        self.rules: Sequence[Callable[..., Any]] = tuple(rule for _, rule in rules)
        code = getattr(rules[0][1], "__code__", None) if rules else None
        self.operands = code.co_varnames[2 : code.co_argcount] if code else ()
        if rules:
            PRIMITIVES[name] = self

    def __repr__(self) -> str:
        return f"Primitive({self.name!r})"


@dataclass(slots=True, eq=False, weakref_slot=True)
class Node:
    """How a Tensor was computed. A Node never refers to the Tensor it made, so graphs are freed without a collector.

    Attributes
    ----------
    primitive : Primitive
    inputs : tuple
        A Tensor for each operand, or a Python scalar or a read-only array, which is a constant of the node.
    arrays : tuple
        The arrays (and scalars) it computed with.
    static : mapping
        Parameters that are not differentiated: axes, shapes, indices.
    state : State
        What surrounded it: ``scope``, ``order``, ``differentiates`` and ``operand`` are read from there.
    serial : int
        Grows with time: an input's node has a smaller one.
    """

    primitive: Primitive
    inputs: tuple[Any, ...]
    arrays: tuple[Any, ...]
    static: Mapping[str, Any]
    state: State
    serial: int

    scope = property(attrgetter("state.scope"))
    order = property(attrgetter("state.order"))
    differentiates = property(attrgetter("state.differentiates"))
    operand = property(attrgetter("state.operand"))

    def __repr__(self) -> str:
        return f"Node({self.primitive.name}, serial={self.serial})"
