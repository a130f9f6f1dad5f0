"""The texts of a recording: names of arrays, formulas of operations and rules, and the axes of sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from ...engine.operators import Array
from ...engine.primitive import Node
from ...engine.tensor import Tensor
from .. import formulas
from ..axes import counted, over
from ..expressions import BROADCASTING, OPEN_BOUNDS, Expression, Operand, expression, name_of_data
from ..formulas import Formula
from .links import Link, epsilon_of, node_of, operands_of, repeated

LONGEST = 18
"""The longest formula that serves as the name of an array without one. Longer ones are replaced by the operation."""
_UNDONE = {"reshape": "reshaped back", "transpose": "transposed back", "astype": "cast back"}
_OVER = {"sum": "Σ", "mean": "mean", "max": "max", "min": "min"}
_RESULTS = {
    "add": "sum",
    "subtract": "difference",
    "multiply": "product",
    "divide": "quotient",
    "matmul": "product",
    "prod": "product",
}
_EPSILON = formulas.name("ε")


class Wording:
    """The texts of a recording.

    Attributes
    ----------
    axis_names : mapping from Tensor to names
    epsilon : float or None
        The constant called ε: the first small constant that is added.
    data : dict from name to ndarray
        Arrays that operations use, such as indices and masks.
    """

    axis_names: Mapping[Tensor, tuple[str | None, ...]]
    epsilon: float | None
    data: dict[str, Array]
    _folded: set[Tensor]
    _results_of_steps: Mapping[Tensor, str]
    _formulas: dict[Tensor, Formula]
    _names: dict[Tensor, Formula]

    def over(self, axis: int | tuple[int, ...], t: Tensor) -> str:
        """Return the names of some axes of a Tensor, or their numbers."""
        return over(axis, self.axis_names.get(t, ()))

    def called(self, t: Tensor) -> Formula:
        """Return the name of a Tensor, or a short formula of named Tensors."""
        return self._names[t]

    def computed_by(self, t: Tensor) -> Formula:
        """Return the formula of the operation that computed a Tensor."""
        return self._formulas[t]

    def _give_names(self, tensors: Sequence[Tensor]) -> None:
        """Name Tensors in the order of computation, since formulas use the names of their operands."""
        for t in tensors:
            if t.node is not None:
                self._formulas[t] = self._computed_from(t, self._operand)
            self._names[t] = self._name(t)

    def _name(self, t: Tensor) -> Formula:
        if t.name or (t.node is None and t.size > 1):
            return formulas.name(self._distinct(t.name or name_of_data(t.dtype)))
        if t.node is None:
            return formulas.number(t.item())
        if self._is_inverse_root(t):
            return formulas.name(self._distinct("r"))
        if t in self._results_of_steps:
            return formulas.name(self._distinct(self._results_of_steps[t]))
        found = self._formulas[t]
        longest = formulas.LONGEST if t.dtype.kind == "b" else LONGEST
        return found if len(found.text) <= longest else formulas.name(self._distinct(self._result(t)))

    def _is_inverse_root(self, t: Tensor) -> bool:
        """Return whether a Tensor is ``1/√(σ² + ε)``, which is called r."""
        (x,) = operands_of(t) if node_of(t).primitive.name == "rsqrt" else (None,)
        return x is not None and x.node is not None and self._adds_epsilon(x)

    def _adds_epsilon(self, t: Tensor) -> bool:
        return self.epsilon is not None and epsilon_of(t) == self.epsilon

    def _result(self, t: Tensor) -> str:
        """Return the result of an operation in a word or two: ``max over k``, ``product``."""
        node = node_of(t)
        kind = node.primitive.name
        if kind in _OVER and "axis" in node.static:
            return f"{_OVER[kind]} over {self.over(node.static['axis'], counted(node, t))}"
        return _RESULTS.get(kind, kind)

    def _data_name(self, x: Array) -> str:
        """Return the name of an array that operations use, such as an index."""
        known = next((name for name, array in self.data.items() if array is x), None)
        name = known or self._distinct(name_of_data(x.dtype))
        self.data[name] = x
        return name

    def _distinct(self, name: str) -> str:
        """Return the name, with a number if another array already has it."""
        taken = {*self.data, *(found.text for found in self._names.values())}
        numbered = (f"{name} ({i})" for i in count(2))
        return name if name not in taken else next(text for text in numbered if text not in taken)

    def _computed_from(self, t: Tensor, called: Callable[[Any, bool], Formula]) -> Formula:
        """Return the formula of a Tensor. ``called`` names an operand, given whether the operation broadcasts it."""
        node = node_of(t)
        found, arriving = expression(node, t.shape, lambda axis: self.over(axis, counted(node, t)))
        if self._adds_epsilon(t):
            found = _with_epsilon(found, len(arriving))
            arriving = [*arriving, None]
        spreads = found.kind in BROADCASTING
        return found.formula(lambda i: _EPSILON if arriving[i] is None else called(arriving[i], spreads))

    def _computed_of(self, operand: Formula, t: Tensor) -> Formula:
        """Return the formula of a Tensor that was computed from one other, given the name of the latter."""
        return self._computed_from(t, lambda *_: operand)

    def _operand(self, x: Any, broadcast: bool = False) -> Formula:
        """Return the name of an operand, including folded operations: ``Wᵀ``, ``reshape(x, 8×3)``."""
        if not isinstance(x, Tensor):
            return formulas.name(self._data_name(x)) if np.ndim(x) else formulas.number(x)
        found = self.called(self._source(x))
        for t in reversed(self._chain(x)):
            if not (broadcast and _goes_without_saying(t)):
                found = self._computed_of(found, t)
        return found

    def _inputs(self, node: Node) -> dict[str, Formula]:
        """Return the name of each input of an operation, by the letters that rules use."""
        letters = node.primitive.operands or tuple(map(str, range(len(node.inputs))))
        return {
            letter: self._operand(OPEN_BOUNDS[letter] if x is None else x, True)
            for letter, x in zip(letters, node.inputs, strict=False)
        }

    def rule(self, link: Link) -> Formula:
        """Return the rule of a link's target, as a formula of the cotangent."""
        texts = node_of(link.target).primitive.formulas
        return formulas.rule(texts[min(link.operand, len(texts) - 1)], self._letters(link))

    def _letters(self, link: Link) -> dict[str, Formula]:
        """Return the names for the letters of a link's rule."""
        node, target = node_of(link.target), self.called(link.target)
        names = {"g": formulas.slope(target), "y": target, **self._inputs(node)}
        if node.primitive.name == "mean":
            names["n"] = formulas.number(node.arrays[0].size // max(link.target.size, 1))
        return names

    def factor(self, link: Link) -> Formula:
        """Return the factor by which a link's rule multiplies the cotangent."""
        texts = node_of(link.target).primitive.formulas
        return formulas.factor(texts[min(link.operand, len(texts) - 1)], self._letters(link))

    def operands(self, t: Tensor) -> list[Formula]:
        """Return the names of a Tensor's operands."""
        return [self._operand(x, True) for x in node_of(t).inputs if x is not None]

    def summed_over(self, link: Link) -> str:
        """Return the names of the axes along which a link's source was repeated, or ""."""
        found = [self._repeated_over(t, link) for t in link.chain if node_of(t).primitive.name == "broadcast_to"]
        return ", ".join(found)

    def _repeated_over(self, t: Tensor, link: Link) -> str:
        (x,) = operands_of(t)
        # New axes take their names from the result of the operation that broadcasts.
        meets = t is link.chain[0] and node_of(link.target).primitive.name in BROADCASTING
        return self.over(repeated(x.shape, t.shape), link.target if meets else t)

    def arriving(self, link: Link) -> str:
        """Describe the effect of bookkeeping on a contribution: ``"summed over n, along which γ was repeated"``."""
        words = []
        for t in link.chain:
            if node_of(t).primitive.name == "broadcast_to":
                over = self._repeated_over(t, link)
                words.append(f"summed over {over}, along which {self.called(link.source).text} was repeated")
            elif node_of(t).primitive.name in _UNDONE:
                words.append(_UNDONE[node_of(t).primitive.name])
        return "; ".join(words)

    def _chain(self, x: Tensor) -> list[Tensor]:
        """Return the folded Tensors from an operand to its source."""
        chain: list[Tensor] = []
        while x in self._folded:
            chain.append(x)
            (x,) = operands_of(x)
        return chain

    def _source(self, x: Tensor) -> Tensor:
        """Return the source of an operand, before folded operations."""
        chain = self._chain(x)
        return operands_of(chain[-1])[0] if chain else x


def _with_epsilon(found: Expression, place: int) -> Expression:
    """Return a sum with its constant replaced by the operand at a position."""
    parts = (x if isinstance(x, Operand | Expression) else Operand(place) for x in found.operands)
    return replace(found, operands=tuple(parts))


def _goes_without_saying(t: Tensor) -> bool:
    """Return whether a Tensor only repeats its operand, adds axes of size 1 or casts, which need not be shown."""
    (x,) = operands_of(t)
    kept = [[size for size in each.shape if size > 1] for each in (x, t)]
    return node_of(t).primitive.name in ("broadcast_to", "astype", "finite") or (
        node_of(t).primitive.name == "reshape" and kept[0] == kept[1]
    )
