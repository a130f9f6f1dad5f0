"""The edges of a recording, with folded bookkeeping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...engine.operators import Array
from ...engine.primitive import Node
from ...engine.tensor import Tensor

BOOKKEEPING = ("reshape", "broadcast_to", "transpose", "astype", "finite")
LARGEST_EPSILON = 1e-2
"""A positive constant up to this size, if it is added, is called ε."""

Edge = tuple[Node, int]
"""An operation, and the position of one of its operands."""


@dataclass(frozen=True)
class Link:
    """One operand of an operation, with the bookkeeping between the operand and its source.

    Attributes
    ----------
    source, target : Tensor
    operand : int
        The position among the target's operands.
    chain : tuple of Tensors
        The folded Tensors, from the target to the source.
    before, after : ndarray or None
        The contribution that the target's rule computes, and the one that arrives at the source. None without gradient.
    """

    source: Tensor
    target: Tensor
    operand: int
    chain: tuple[Tensor, ...]
    before: Array | None
    after: Array | None

    @property
    def edges(self) -> tuple[Edge, Edge]:
        """The edge where the contribution is computed, and the edge where it arrives at the source."""
        before = node_of(self.target), self.operand
        return before, (node_of(self.chain[-1]), passed(self.chain[-1])) if self.chain else before


def node_of(t: Tensor) -> Node:
    assert t.node is not None
    return t.node


def operands_of(t: Tensor) -> list[Tensor]:
    return [x for x in node_of(t).inputs if isinstance(x, Tensor)]


def repeated(old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of the new shape along which an array of the old shape was repeated."""
    lead = len(new) - len(old)
    return tuple(i for i, size in enumerate(new) if i < lead or old[i - lead] != size)


def passed(t: Tensor) -> int:
    """Return the position of the only Tensor among the operands of a folded operation."""
    return next(i for i, x in enumerate(node_of(t).inputs) if isinstance(x, Tensor))


def epsilon_of(t: Tensor) -> float | None:
    """Return the small positive constant that an operation adds to one Tensor, or None."""
    node = node_of(t)
    numbers = [x for x in node.inputs if not isinstance(x, Tensor) and np.ndim(x) == 0]
    if node.primitive.name != "add" or len(numbers) != 1:
        return None
    return float(numbers[0]) if 0 < numbers[0] <= LARGEST_EPSILON else None
