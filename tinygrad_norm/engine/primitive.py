"""Operations (`Primitive`) and their records in a graph (`Node`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from .context import State

PRIMITIVES: dict[str, Primitive] = {}


class Primitive:
    """An operation: its forward function on arrays and, for each input, the rule for its cotangent.

    A rule is a NumPy expression ``rule(g, y, *inputs, **static)``, where ``g`` is the cotangent of the output ``y``. It
    runs on arrays in an ordinary backward pass, and on Tensors, recorded, under ``create_graph``.

    Attributes
    ----------
    name, symbol : str
        The name of the operation, and the symbol that drawings show.
    forward : callable
        ``forward(*arrays, **static)``.
    rules : sequence of callables
        One rule for each input.
    formulas : tuple of str
        Each rule as text: the contribution to the input in terms of ``g``, ``y`` and the inputs.
    operands : tuple of str
        The names of the inputs in the formulas; empty if the number of inputs varies.
    pullback : callable or None
        ``pullback(node, g, y, reached)`` returns the rules for one node, if the gradients of its inputs are computed
        together. ``reached`` holds the Tensors that need a cotangent; None means all. Without rules there are no
        gradients.
    composition : callable or None
        For a fused primitive, ``composition(node)`` computes the same Tensor with the primitives that it replaces.

    A primitive without rules is not in `PRIMITIVES`. Without a pullback, too, its outputs are data without a gradient.
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
    """How a Tensor was computed. A Node never refers to its output, so graphs are freed without garbage collection.

    Attributes
    ----------
    primitive : Primitive
    inputs : tuple
        For each operand a Tensor, or a constant: a Python scalar or a read-only array.
    arrays : tuple
        The arrays and scalars that the operation was computed from.
    static : mapping
        Parameters that are not differentiated: axes, shapes, indices.
    state : State
        The state at the time of recording; ``scope``, ``order``, ``differentiates`` and ``operand`` come from it.
    serial : int
        A number that increases with time: the nodes of the inputs have smaller ones.
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
