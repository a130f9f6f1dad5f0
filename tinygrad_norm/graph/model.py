"""A recorded step as plain data: vertices, edges and scopes. The drawing reads this and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..engine.context import Scope
from ..engine.primitive import Node
from ..engine.tensor import Tensor, walk


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
        The primitive's sign, and its static parameters and constants in words: ``"over axis 0"``, ``"1e-05"``.
    formula : str or None
        In a gradient: what the rule that made it computes.
    scope : tuple of int
        The scopes it was recorded in, outermost first, by their number.
    order : int
        0 for the forward pass, 1 for its gradient.
    differentiates, operand : int or None
        In a gradient: the vertex whose rule made it, and which of its operands the rule is for; no operand for a sum of
        contributions.
    requires_grad : bool
    """

    id: int
    name: str | None
    shape: tuple[int, ...]
    dtype: str
    operation: str | None = None
    symbol: str = ""
    detail: str = ""
    formula: str | None = None
    scope: tuple[int, ...] = ()
    order: int = 0
    differentiates: int | None = None
    operand: int | None = None
    requires_grad: bool = False


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
    """

    source: int
    target: int
    operand: int
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Vertices in topological order, edges, the names of scopes by number, and the vertices that were asked for."""

    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    scopes: tuple[str, ...]
    outputs: tuple[int, ...]

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


def trace(*outputs: Tensor) -> Graph:
    """Return everything that was recorded on the way to the outputs.

    Parameters
    ----------
    *outputs : Tensors
        One that was not recorded is a vertex by itself.

    Returns
    -------
    Graph

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> x = tn.tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> graph = trace(x * x)
    >>> [vertex.operation or vertex.name for vertex in graph.vertices]
    ['x', 'multiply']
    >>> [(edge.source, edge.target, edge.operand) for edge in graph.edges]
    [(0, 1, 0), (0, 1, 1)]
    """
    scopes: dict[Scope, int] = {}
    ids: dict[Tensor, int] = {}
    made_by: dict[Node, int] = {}
    vertices: list[Vertex] = []
    edges: list[Edge] = []

    def place(tensor: Tensor, **what: Any) -> None:
        ids[tensor] = len(vertices)
        vertices.append(
            Vertex(
                len(vertices), tensor.name, tensor.shape, str(tensor.dtype), requires_grad=tensor.requires_grad, **what
            )
        )

    for tensor in reversed(walk(outputs)):
        node = tensor.node
        assert node is not None  # a walk visits computed Tensors only
        path = tuple(scopes.setdefault(scope, len(scopes)) for scope in (node.scope.path if node.scope else ()))
        source = node.differentiates
        for x in node.inputs:
            if isinstance(x, Tensor) and x not in ids:
                # What only a gradient uses, as its seed, belongs to the gradient.
                place(x, **({"order": node.order, "scope": path} if node.order else {}))
        place(
            tensor,
            operation=node.primitive.name,
            symbol=node.primitive.symbol,
            detail=_detail(node),
            formula=_formula(node),
            scope=path,
            order=node.order,
            differentiates=None if source is None else made_by.get(source),
            operand=node.operand,
        )
        made_by.setdefault(node, ids[tensor])
        for operand, x in enumerate(node.inputs):
            if isinstance(x, Tensor):
                edges.append(Edge(ids[x], ids[tensor], operand))
    for tensor in outputs:
        if tensor not in ids:
            place(tensor)
    _draw_in_lone_leaves(vertices, edges)
    return Graph(tuple(vertices), tuple(edges), tuple(s.name for s in scopes), tuple(ids[y] for y in outputs))


def _draw_in_lone_leaves(vertices: list[Vertex], edges: list[Edge]) -> None:
    """Give a leaf with one use in the forward pass, as a weight has, the scope of that use."""
    uses: dict[int, list[int]] = {}
    for edge in edges:
        if vertices[edge.target].order == 0:
            uses.setdefault(edge.source, []).append(edge.target)
    for leaf, users in uses.items():
        if vertices[leaf].operation is None and len(users) == 1:
            vertices[leaf] = replace(vertices[leaf], scope=vertices[users[0]].scope)


def _formula(node: Node) -> str | None:
    if node.differentiates is None or node.operand is None:
        return None
    formulas = node.differentiates.primitive.formulas
    return str(formulas[min(node.operand, len(formulas) - 1)])


def _detail(node: Node) -> str:
    """Put the constants and the static parameters of an operation into words."""
    words = [f"{x:g}" if isinstance(x, float) else str(x) for x in node.inputs if not isinstance(x, Tensor)]
    return " ".join([*words, *_in_words(node.static)])


def _in_words(static: Mapping[str, Any]) -> list[str]:
    words = []
    if "axis" in static:
        axes = static["axis"] if isinstance(static["axis"], tuple) else (static["axis"],)
        words.append(f"over ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes)) or 'none'}")
    if "axes" in static:
        words.append(str(static["axes"]))
    if "dtype" in static:
        words.append(f"to {static['dtype']}")
    if "terms" in static:
        words.append(f"{','.join(static['terms'])}->{static['result']}")
    return words
