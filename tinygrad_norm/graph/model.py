"""A recorded computation as plain data: vertices, edges and scopes. Drawings are made from this data alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..engine.context import Scope
from .expressions import Expression

VERSION = 2


@dataclass(frozen=True)
class Vertex:
    """A leaf Tensor, or an operation together with its result.

    Attributes
    ----------
    id : int
        The position in topological order.
    name : str or None
        The name of the Tensor.
    shape : tuple of int
    dtype : str
    operation : str or None
        The primitive's name. None for a leaf.
    symbol, detail : str
        The primitive's symbol, and further text for a box that stands for several operations.
    expression : Expression or None
        The operation as an expression of the values of the incoming edges.
    called, text : str
        In a drawing: the name of the box, and the formula of its operation.
    formula : str or None
        In a gradient: the formula of the rule that made the vertex.
    local : tuple of str
        The local derivatives: the rule of each operand for a cotangent ``g``.
    scope : tuple of int
        The numbers of the scopes in which it was recorded, outermost first.
    order : int
        0 for the forward pass, 1 for its gradient, and so on. ``phase`` is "forward" or "backward".
    differentiates, operand : int or None
        In a gradient: the vertex whose rule made it, and the position of the operand that the rule is for. The operand
        is None for a sum of contributions.
    slope_of : int or None
        For a gradient with a name: the vertex that it is the gradient of.
    requires_grad, parameter : bool
        Whether it needs a gradient, and whether it is a leaf of a subclass of Tensor, such as a layer's parameter.
    unbroadcast : bool
        Whether it is, in a gradient, the sum over the axes along which the forward pass repeated an array.
    values, gradient_norm : str or None
        On request: the elements, or their extremes and mean, to 3 digits, and the norm of the gradient.
    holds : int
        The number of operations in a collapsed box. 0 for a recorded operation.
    times : int
        The number of repeated boxes that this one stands for.
    refused : str or None
        The error of an operation that failed. ``detail`` describes its operands.
    place : str
        For a box that stands for a module: its path in the network, such as "block1.norm".
    results : tuple of str
        For a named step with several results: their names and shapes.
    alike : int
        Equal for equal operations, and for boxes that hold equal operations, connected in the same way.
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
        """Return the vertex with the numbers of other vertices changed."""
        differentiates, slope_of = (None if i is None else new(i) for i in (self.differentiates, self.slope_of))
        return replace(self, differentiates=differentiates, slope_of=slope_of)


def sums_for_a_leaf(v: Vertex) -> bool:
    """Return whether a vertex adds contributions to the gradient of a leaf, which belongs to no operation."""
    return v.order > 0 and v.operation == "add" and v.operand is None and v.differentiates is None


@dataclass(frozen=True)
class Edge:
    """An operand of an operation. ``x * x`` has two.

    Attributes
    ----------
    source, target : int
        The ids of the vertices.
    operand : int
        The position among the target's operands.
    marks : tuple of str
        Operations that the slide view folded into this edge.
    shape : tuple of int
        The shape of the source's value.
    """

    source: int
    target: int
    operand: int
    marks: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


class Refusal(NamedTuple):
    """An operation that raised an error: its symbol, a description of its operands, the error, operands and scope."""

    symbol: str
    detail: str
    error: str
    operands: tuple[Any, ...]
    scope: Scope | None


@dataclass(frozen=True)
class Graph:
    """Vertices in topological order, edges, the names of scopes by number, and the output vertices.

    ``given`` has the inputs of named steps, by the number of the scope. An input is the number of a vertex, or a new
    vertex for an array that no edge comes from.
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
        """Return the graph as dicts, lists, strings and integers, ready for JSON. Changes increase ``"version"``.

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
