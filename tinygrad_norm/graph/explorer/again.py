"""Run a recording again: backward, to record its gradient, and forward, to find what Python computed by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...engine.context import surrounding
from ...engine.operators import Array
from ...engine.primitive import Node
from ...engine.tensor import Tensor, backpropagate, walk
from .links import Edge
from .recording import Recording

_PATH = "the branches that Python took for these numbers"


class RecordedGradient:
    """The backward pass of a recording as a graph, with the origins of data.

    Attributes
    ----------
    contributions, sums : dict from (Node, operand) to Tensor
        The contribution of an operation to its operand, and the sum of it and all earlier contributions there.
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
            # Each sum adds one contribution to the sum before it.
            total = totals[x] if len(edges) > 1 else self.contributions[edges[0]]
            self._gradients[x] = total
            for edge in reversed(edges[1:]):
                self.sums[edge] = total
                total = total.node.inputs[0]  # type: ignore[union-attr]
            self.sums[edges[0]] = self.contributions[edges[0]]
        for x in wanted:
            self._gradients.setdefault(x, Tensor(np.zeros(x.shape)))

    def of(self, t: Tensor) -> Tensor | None:
        """Return the gradient of a Tensor, or None if it requires none."""
        return self._gradients.get(t)


def outside(recording: Recording) -> list[tuple[Tensor | None, str]]:
    """Return Tensors whose constants Python computed from the inputs outside the graph, with descriptions.

    To find them, the function runs again with other numbers. If it then records other operations, Python has branched.
    The result is then a single entry without a Tensor.
    """
    own = list(reversed(walk([recording.y])))
    found: dict[Tensor | None, str] = {}
    for inputs in _others(recording):
        try:
            with np.errstate(all="ignore"):
                other = list(reversed(walk([recording.run(inputs)])))
        except Exception:
            continue  # a function may reject other numbers
        if _structure(own) != _structure(other):
            return [(None, _PATH)]
        for a, b in zip(own, other, strict=True):
            if not _same(_constants(a), _constants(b)):
                where = f" in {recording.computed_by(a).text}" if a in recording.place else ""
                found[a] = f"a constant{where}, which the function computes outside the graph"
    return list(found.items())


def _others(recording: Recording) -> Iterator[dict[str, Array]]:
    """Yield other inputs: slightly perturbed, in another order, and with opposite signs."""
    rng = np.random.default_rng(7)
    given = {name: t.data for name, t in recording.leaves.items()}
    yield {name: x + 1e-3 * rng.normal(size=x.shape) * (np.abs(x) + 1e-3) for name, x in given.items()}
    yield {name: rng.permutation(x.ravel()).reshape(x.shape) for name, x in given.items()}
    yield {name: -x for name, x in given.items()}


def _structure(tensors: Sequence[Tensor]) -> list[Any]:
    """Return the name of each operation, and the positions of the Tensors that are its operands."""
    place = {t.node: i for i, t in enumerate(tensors)}
    nodes = [t.node for t in tensors if t.node is not None]
    return [(n.primitive.name, [place.get(x.node) if isinstance(x, Tensor) else None for x in n.inputs]) for n in nodes]


def _constants(t: Tensor) -> list[Any]:
    """Return the numbers, arrays and indices of an operation that are neither leaves nor recorded."""
    node: Any = t.node
    tensors = [x.data for x in node.inputs if isinstance(x, Tensor) and x.node is None and not x.requires_grad]
    return [*tensors, *(x for x in node.inputs if not isinstance(x, Tensor)), *node.static.values()]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float | np.ndarray) and isinstance(b, float | np.ndarray):
        return np.array_equal(a, b, equal_nan=isinstance(a, float) or a.dtype.kind == "f")
    return type(a) is type(b) and bool(a == b)
