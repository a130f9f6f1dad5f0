"""Operations as expressions of their operands, and their formulas in pictures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..engine.ops.shape import Place
from ..engine.primitive import PRIMITIVES, Node
from ..engine.tensor import Tensor
from .formulas import Formula, number, operation
from .text import in_words

# Operations that broadcast their operands, so that a broadcast before them need not be shown.
BROADCASTING = frozenset({
    "add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "hypot", "arctan2", "logaddexp",
    "logaddexp2", "remainder", "fmod", "where", "clip", "equal", "not_equal", "less", "less_equal", "greater",
    "greater_equal", "bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or", "logical_xor",
})  # fmt: skip


OPEN_BOUNDS = {"lower": -math.inf, "upper": math.inf}


def name_of_data(dtype: Any) -> str:
    """Return a name for an array that has none."""
    return {"b": "mask", "i": "index", "u": "index"}.get(np.dtype(dtype).kind, "data")


@dataclass(frozen=True)
class Operand:
    """A placeholder in an expression for the value of an incoming edge."""

    position: int


@dataclass(frozen=True)
class Expression:
    """An operation on placeholders, constants or other expressions.

    Attributes
    ----------
    kind, symbol : str
        The primitive's name and symbol.
    operands : tuple of Operands, Expressions, numbers and None
    words : mapping
        The static parameters, in the form that `formulas.operation` takes.
    """

    kind: str
    symbol: str
    operands: tuple[Any, ...]
    words: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def leaves(self) -> Iterator[int]:
        """Yield the positions of all placeholders, with repetitions."""
        for x in self.operands:
            if isinstance(x, Operand):
                yield x.position
            elif isinstance(x, Expression):
                yield from x.leaves()

    def with_operands(self, of: Callable[[int], Operand | Expression]) -> Expression:
        """Return the expression with its placeholders replaced."""

        def changed(x: Any) -> Any:
            return of(x.position) if isinstance(x, Operand) else x.with_operands(of) if isinstance(x, Expression) else x

        return replace(self, operands=tuple(map(changed, self.operands)))

    def formula(self, called: Callable[[int], Formula]) -> Formula:
        """Return the formula, given the names of the operands."""
        return operation(self.kind, [_written(x, called) for x in self.operands], self.words, self.symbol)

    def tidied(self) -> Expression:
        """Return a simplified expression: products have numbers first and equal factors as powers, ``−½ × g × y³``.

        Transposing a matrix twice is removed, and ``x != x`` becomes ``isnan(x)``.
        """
        if self.kind != "multiply":
            return replace(self, operands=tuple(map(_tidied, self.operands)))
        factors = Counter(map(_tidied, _factors(self)))
        numbers = [x for x in factors.elements() if not isinstance(x, Operand | Expression)]
        product: list[Any] = [math.prod(numbers)] if numbers else []
        for x, times in factors.items():
            if isinstance(x, Operand | Expression):
                product.append(Expression("power", "^", (x, times)) if times > 1 else x)
        first, *others = product
        for x in others:
            first = replace(self, operands=(first, x))
        return first if isinstance(first, Expression) else self


def _tidied(x: Any) -> Any:
    x = x.tidied() if isinstance(x, Expression) else x
    match x:
        case Expression("transpose", operands=(inner,)) if _is_transposed(x) and _is_transposed(inner):
            return inner.operands[0]
        case Expression("bitwise_or", operands=(first, False)):
            return first
        case Expression("not_equal", operands=(a, b)) if a == b:
            return Expression("isnan", "isnan", (a,))
    return x


def _is_transposed(x: Any) -> bool:
    return isinstance(x, Expression) and x.kind == "transpose" and not x.words["axes"]


def _factors(x: Any) -> list[Any]:
    product = isinstance(x, Expression) and x.kind == "multiply"
    return [factor for y in x.operands for factor in _factors(y)] if product else [x]


def _written(x: Any, called: Callable[[int], Formula]) -> Formula:
    if isinstance(x, Operand):
        return called(x.position)
    return x.formula(called) if isinstance(x, Expression) else number(x)


def expression(node: Node, shape: Sequence[int], over: Callable[[Any], str]) -> tuple[Expression, list[Any]]:
    """Return the expression of a node, and the Tensors and arrays for its placeholders.

    Parameters
    ----------
    node : Node
    shape : sequence of int
        The shape of the result.
    over : callable
        ``over(axis)`` returns the names of one or several axes of the first operand.
    """
    arriving: list[Any] = []

    def operand(x: Any) -> Any:
        if isinstance(x, Tensor) or np.ndim(x):
            arriving.append(x)
            return Operand(len(arriving) - 1)
        return x.item() if isinstance(x, np.ndarray | np.generic) else x

    operands, static = list(map(operand, node.inputs)), node.static
    words: dict[str, Any] = {}
    if node.primitive.name == "clip":
        bounds = OPEN_BOUNDS.values()
        operands[1:] = [bound if x is None else x for x, bound in zip(operands[1:], bounds, strict=True)]
    if "index" in static:
        # Arrays in the index are operands, too. The index refers to them by position.
        index: list[int | str] = []
        for part in static["index"]:
            if isinstance(part, np.ndarray):
                operands.append(operand(part))
            index.append(len(operands) - 1 if isinstance(part, np.ndarray) else _part(part))
        words["index"] = tuple(index)
    if PRIMITIVES.get(node.primitive.name) is not node.primitive:
        words["options"] = ", ".join(f"{key}={value}" for key, value in static.items())
    elif "axis" in static:
        words["over"] = over(static["axis"])
    for key, value in static.items():
        if key in _WORDS:
            words[key] = _WORDS[key](value)
    if "shape" in static:
        words["shape"] = in_words(shape)
    if "terms" in static:
        words["terms"] = f"{','.join(static['terms'])}→{static['result']}"
    return Expression(node.primitive.name, node.primitive.symbol, tuple(operands), words), arriving


def _part(part: Any) -> int | str:
    """Return a part of an index as text, or as the position of an operand."""
    if type(part) is Place:
        return 1 + part
    if isinstance(part, slice):
        start, stop, step = ("" if x is None else number(x).text for x in (part.start, part.stop, part.step))
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"
    return "…" if part is Ellipsis else "None" if part is None else number(part).text


def order_in_words(axes: Sequence[int]) -> str:
    """Return the order of axes after a transposition, or "" if it swaps the last two, as for a matrix."""
    n = len(axes)
    return "" if [*axes] == [*range(n - 2), n - 1, n - 2] else " ".join(map(str, axes)) or "none"


def _pairs(pairs: Any) -> str:
    """Return the padding before and after each axis, ``1+2, 0+0``, or a single number if all are equal."""
    if len(numbers := np.unique(pairs)) == 1:
        return number(numbers[0]).text
    return ", ".join(f"{number(before).text}+{number(after).text}" for before, after in pairs)


_WORDS: dict[str, Callable[[Any], str]] = {
    "dtype": str,
    "axes": order_in_words,
    "width": _pairs,
    "value": lambda value: f"with {_pairs(value)}" if np.any(value) else "",
    "size": in_words,
    "over": str,
    "stride": lambda stride: f"stride {in_words(stride)}",
}
