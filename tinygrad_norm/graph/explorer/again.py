"""What a recording gives when it is run again: its gradient, recorded edge by edge, and what Python decided beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...engine.context import surrounding
from ...engine.operators import Array
from ...engine.primitive import Node
from ...engine.tensor import Tensor, backpropagate, walk
from .recording import Recording

Edge = tuple[Node, int]
_PATH = "the way that Python took through the function for these numbers"


class RecordedGradient:
    """The backward pass of a recording as a graph of its own, with the origins of data.

    Attributes
    ----------
    contributions, sums : dict from (Node, operand) to Tensor
        What an operation's rule contributes to an operand, and what has arrived there with it.
    """

    def __init__(self, recording: Recording, cotangent: Tensor) -> None:
        self.contributions: dict[Edge, Tensor] = {}
        self.sums: dict[Edge, Tensor] = {}
        arrived: dict[Tensor, list[Edge]] = {}

        def visit(node: Node, operand: int, contribution: Tensor) -> None:
            self.contributions[node, operand] = contribution
            arrived.setdefault(node.inputs[operand], []).append((node, operand))

        wanted = list(recording.gradients)
        with surrounding(recording=True, examined=True, origins=True):
            seed = cotangent.astype(recording.y.dtype)
            totals = backpropagate([(recording.y, seed)], wanted, create_graph=True, visit=visit)
        self._gradients = {recording.y: seed}
        for x, edges in arrived.items():
            # The last sum adds the last contribution to the sum before it, and so on.
            total = totals[x] if len(edges) > 1 else self.contributions[edges[0]]
            self._gradients[x] = total
            for edge in reversed(edges[1:]):
                self.sums[edge] = total
                total = total.node.inputs[0]  # type: ignore[union-attr]
            self.sums[edges[0]] = self.contributions[edges[0]]
        for x in wanted:
            self._gradients.setdefault(x, Tensor(np.zeros(x.shape)))

    def of(self, t: Tensor) -> Tensor | None:
        """Return the gradient at a Tensor that is shown, or None if it needs none."""
        return self._gradients.get(t)


def outside(recording: Recording) -> list[tuple[Tensor | None, str]]:
    """Return what the graph does not say: Tensors that use constants which Python made of the inputs, and words for it.

    The function runs again with other numbers. Where it does not record the same graph, Python decided, which is
    said of no Tensor.
    """
    own = list(reversed(walk([recording.y])))
    found: dict[Tensor | None, str] = {}
    for inputs in _moved(recording):
        try:
            with np.errstate(all="ignore"):
                y = recording.run(inputs)
        except Exception:  # noqa: BLE001, S112 (a function need not take other numbers)
            continue
        other = list(reversed(walk([y])))
        if _structure(own, recording) != _structure(other, recording):
            return [(None, _PATH)]
        for a, b in zip(own, other, strict=True):
            if not _same(_constants(a), _constants(b)):
                found[a] = f"a constant in {recording.computed_by(a).text}, made of the inputs outside the graph"
    return list(found.items())


def _moved(recording: Recording) -> Iterator[dict[str, Array]]:
    """Other numbers: a little beside those that were given, in another order, with other signs."""
    rng = np.random.default_rng(7)
    for change in (
        lambda x: x + 1e-3 * rng.normal(size=x.shape) * (np.abs(x) + 1e-3),
        lambda x: rng.permutation(x.ravel()).reshape(x.shape),
        lambda x: -x,
    ):
        yield {name: change(t.data) for name, t in recording.leaves.items()}


def _structure(tensors: list[Tensor], recording: Recording) -> list[Any]:
    number = {t.node: i for i, t in enumerate(tensors)}
    return [
        (
            t.node.primitive.name,
            t.shape,
            *(number.get(x.node) if isinstance(x, Tensor) else None for x in t.node.inputs),
        )
        for t in tensors
    ]


def _constants(t: Tensor) -> list[Any]:
    """Return what an operation computes with that is neither an input nor was computed: numbers, arrays, indices."""
    node: Any = t.node
    inputs = [
        x.data
        if isinstance(x, Tensor) and x.node is None and not x.requires_grad
        else None
        if isinstance(x, Tensor)
        else x
        for x in node.inputs
    ]
    return [*inputs, *node.static.values()]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray | float):
        return np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")
    return bool(a == b)
