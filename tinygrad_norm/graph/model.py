"""A recorded step as plain data: vertices, edges and scopes. The drawing reads this and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..engine.context import Scope
from .expressions import Expression

VERSION = 2


@dataclass(frozen=True)
class Vertex:
    """A leaf Tensor, or an operation together with the Tensor it made.

    Attributes
    ----------
    id : int
        Its place in topological order.
    name : str or None
        Of the Tensor.
    shape : tuple of int
    dtype : str
    operation : str or None
        The primitive's name; None for a leaf.
    symbol, detail : str
        The primitive's sign; and what else is said of a box that stands for several operations.
    expression : Expression or None
        What the operation computes of what arrives on its edges.
    called, text : str
        In a drawing: what the box is called, and its operation as a formula of what others are called.
    formula : str or None
        In a gradient: what the rule that made it computes.
    local : tuple of str
        The local derivatives: what each operand's rule makes of a cotangent ``g``.
    scope : tuple of int
        The scopes it was recorded in, outermost first, by their number.
    order : int
        0 for the forward pass, 1 for its gradient; ``phase`` is the same in a word, "forward" or "backward".
    differentiates, operand : int or None
        In a gradient: the vertex whose rule made it, and which of its operands the rule is for; no operand for a sum of
        contributions.
    slope_of : int or None
        Of a gradient with a name: the vertex that it is the gradient of.
    requires_grad, parameter : bool
        Whether it needs a gradient; and is a leaf of a kind of its own, as the parameters of layers are.
    unbroadcast : bool
        In a gradient: a sum over the axes along which the forward pass repeated an array.
    values, gradient_norm : str or None
        On request: the elements, or their extremes and mean, to 3 digits; and the length of the gradient.
    holds : int
        In a simplified picture: how many operations were put into this one box; 0 for what was recorded.
    times : int
        How many such boxes, one after the other, it stands for.
    refused : str or None
        The error of an operation that refused its operands and made nothing; ``detail`` says what they were.
    place : str
        Of a box that stands for a module: its path in the network, as "block1.norm".
    results : tuple of str
        Of a named step that makes several Tensors: their names and shapes.
    alike : int
        The same for operations that do the same; and for boxes that hold such, connected in the same way.
    """

    id: int
    name: str | None
    shape: tuple[int, ...]
    dtype: str
    operation: str | None = None
    symbol: str = ""
    detail: str = ""
    expression: Expression | None = None
    called: str = ""
    text: str = ""
    formula: str | None = None
    scope: tuple[int, ...] = ()
    order: int = 0
    differentiates: int | None = None
    operand: int | None = None
    slope_of: int | None = None
    requires_grad: bool = False
    parameter: bool = False
    local: tuple[str, ...] = ()
    unbroadcast: bool = False
    values: str | None = None
    gradient_norm: str | None = None
    holds: int = 0
    times: int = 1
    refused: str | None = None
    place: str = ""
    results: tuple[str, ...] = ()
    alike: int = 0

    @property
    def phase(self) -> str:
        return "backward" if self.order else "forward"

    def pointing(self, new: Callable[[int], int | None]) -> Vertex:
        """Return the vertex with the numbers of others changed."""
        differentiates, slope_of = (None if i is None else new(i) for i in (self.differentiates, self.slope_of))
        return replace(self, differentiates=differentiates, slope_of=slope_of)


def sums_for_a_leaf(v: Vertex) -> bool:
    """Return whether a vertex adds up contributions to a leaf, which belong to no operation."""
    return v.order > 0 and v.operation == "add" and v.operand is None and v.differentiates is None


@dataclass(frozen=True)
class Edge:
    """One operand of an operation; ``x * x`` has two.

    Attributes
    ----------
    source, target : int
        Vertices.
    operand : int
        Its position among the target's operands.
    marks : tuple of str
        Operations that a simplified picture folded into this edge.
    shape : tuple of int
        Of what leaves the source.
    """

    source: int
    target: int
    operand: int
    marks: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


class Refusal(NamedTuple):
    """An operation that raised an error: its sign, what it was given in words, the error, its operands, its scope."""

    symbol: str
    detail: str
    error: str
    operands: tuple[Any, ...]
    scope: Scope | None


@dataclass(frozen=True)
class Graph:
    """Vertices in topological order, edges, the names of scopes by number, and the vertices that were asked for.

    ``given`` are, for the scopes that are named steps, their inputs: vertices, by number or, where none of the edges
    leads to the array, as one to be added.
    """

    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    scopes: tuple[str, ...]
    outputs: tuple[int, ...]
    given: Mapping[int, tuple[int | Vertex | None, ...]] = field(default_factory=dict)

    def inputs_of(self) -> dict[int, list[Edge]]:
        """Return the edges into each vertex, by operand."""
        result: dict[int, list[Edge]] = {vertex.id: [] for vertex in self.vertices}
        for edge in self.edges:
            result[edge.target].append(edge)
        return result

    def outputs_of(self) -> dict[int, list[Edge]]:
        """Return the edges out of each vertex."""
        result: dict[int, list[Edge]] = {vertex.id: [] for vertex in self.vertices}
        for edge in self.edges:
            result[edge.source].append(edge)
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return the graph as dicts, lists, strings and integers, ready for JSON; ``"version"`` grows with changes.

        Examples
        --------
        >>> import json
        >>> import tinygrad_norm as tn
        >>> x = tn.tensor([1.0, 2.0], requires_grad=True, name="x")
        >>> data = json.loads(json.dumps(tn.graph.trace(x * x).to_dict()))
        >>> data["version"], data["vertices"][1]["symbol"], data["edges"][0]["shape"]
        (2, '×', [2])
        """
        return {
            "version": VERSION,
            "vertices": [{**_plain(vertex), "phase": vertex.phase} for vertex in self.vertices],
            "edges": [_plain(edge) for edge in self.edges],
            "scopes": list(self.scopes),
            "outputs": list(self.outputs),
        }


def _plain(part: Vertex | Edge) -> dict[str, Any]:
    fields = ((key, value) for key, value in vars(part).items() if key != "expression")
    return {key: list(value) if isinstance(value, tuple) else value for key, value in fields}
