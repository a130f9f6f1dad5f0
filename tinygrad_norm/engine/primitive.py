"""What an operation is (`Primitive`), and what is remembered of one that was run (`Node`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .context import Scope

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
        One for each input. A primitive with any number of inputs has one rule, which receives ``operand``.
    formulas : tuple of str
        What each rule computes, for people: the contribution to each input, in terms of ``g``, ``y`` and the inputs.
    """

    __slots__ = ("formulas", "forward", "name", "rules", "symbol")

    def __init__(
        self,
        name: str,
        symbol: str,
        forward: Callable[..., Any],
        *rules: tuple[str, Callable[..., Any]],
        variadic: bool = False,
    ) -> None:
        self.name = name
        self.symbol = symbol
        self.forward = forward
        self.formulas = tuple(formula for formula, _ in rules)
        self.rules: Sequence[Callable[..., Any]] = tuple(rule for _, rule in rules)
        if variadic:
            self.rules = _RuleForEveryOperand(self.rules[0])
        PRIMITIVES[name] = self

    def __repr__(self) -> str:
        return f"Primitive({self.name!r})"


class _RuleForEveryOperand(tuple[Callable[..., Any], ...]):
    """The rules of a primitive with any number of inputs: one rule that is told its operand's position."""

    def __new__(cls, rule: Callable[..., Any]) -> _RuleForEveryOperand:
        return super().__new__(cls, (rule,))

    def __getitem__(self, operand: Any) -> Any:
        (rule,) = self
        return lambda *args, **static: rule(*args, operand=operand, **static)


class Node:
    """How a Tensor was computed. A Node never refers to the Tensor it made, so graphs are freed without a collector.

    Attributes
    ----------
    primitive : Primitive
    inputs : tuple
        A Tensor for each operand, or a Python scalar, which is a constant of the node.
    arrays : tuple
        The arrays (and scalars) it computed with.
    static : mapping
        Parameters that are not differentiated: axes, shapes, indices.
    scope : Scope or None
    order : int
        0 for a forward operation, 1 for one of its gradient, 2 for one of the gradient's gradient.
    differentiates : Node or None
        In a gradient: the node whose rule made this one; for a sum of contributions, the node they add up for.
    operand : int or None
        In a gradient: which of that node's rules it was; None for a sum of contributions.
    serial : int
        Grows with time: an input's node has a smaller one.
    """

    __slots__ = ("arrays", "differentiates", "inputs", "operand", "order", "primitive", "scope", "serial", "static")

    primitive: Primitive
    inputs: tuple[Any, ...]
    arrays: tuple[Any, ...]
    static: Mapping[str, Any]
    scope: Scope | None
    order: int
    differentiates: Node | None
    operand: int | None
    serial: int

    def __repr__(self) -> str:
        return f"Node({self.primitive.name}, serial={self.serial})"
