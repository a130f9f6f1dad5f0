"""Convert recorded Tensors to a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..engine.context import Scope
from ..engine.operators import Array
from ..engine.primitive import Node
from ..engine.recording import Step
from ..engine.tensor import Tensor, slope_name, walk
from .axes import Axes, counted, names_of_axes, over
from .axis_rules import Names
from .digits import in_digits, number
from .expressions import Expression, expression
from .model import Edge, Graph, Refusal, Vertex
from .scopes import named


def trace(
    *outputs: Tensor,
    values: bool = False,
    gradients: Mapping[Tensor, Tensor] | None = None,
    axes: Axes | None = None,
    refusal: Refusal | None = None,
    partial: bool = False,
) -> Graph:
    """Return the recorded graph of the outputs.

    Parameters
    ----------
    *outputs : Tensors
        A Tensor that was not recorded becomes a single vertex.
    values : bool
        Include the values of the Tensors.
    gradients : mapping of Tensors, optional
        Gradients of Tensors. Their norms are included.
    axes : str, mapping of str to str, or several, optional
        Names of axes: ``"n c h w"`` for every Tensor with four axes, ``{"scores": "n q k"}`` for a Tensor by name.
    refusal : Refusal, optional
        An operation that raised an error. It becomes another vertex.
    partial : bool
        Whether the computation stopped with an error, so that Tensors named in ``axes`` may be missing.

    Returns
    -------
    Graph

    Raises
    ------
    ValueError
        If ``axes`` names a rank or Tensor twice, a Tensor that does not exist, or too many or too few axes.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> x = tn.tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> graph = trace(x * x)
    >>> [vertex.operation or vertex.name for vertex in graph.vertices]
    ['x', 'multiply']
    >>> [(edge.source, edge.target, edge.operand) for edge in graph.edges]
    [(0, 1, 0), (0, 1, 1)]
    >>> graph.vertices[1].local
    ('g * b', 'g * a')
    """
    asked_for = [*outputs]
    if refusal is not None:
        asked_for += [x for x in refusal.operands if isinstance(x, Tensor)]
    tracing = _Tracing(values, gradients or {}, names_of_axes(axes, asked_for, partial))
    tracing.add_all(asked_for)
    for y in asked_for:
        if y not in tracing.ids:
            tracing.place(y)
    shown = [tracing.ids[y] for y in asked_for]
    if refusal is not None:
        shown.append(tracing.add_refused(refusal))
    return tracing.graph(shown)


class _Tracing:
    """The vertices, edges and scopes found so far."""

    def __init__(self, values: bool, gradients: Mapping[Tensor, Tensor], names: Mapping[Tensor, Names]) -> None:
        self.values, self.names = values, names
        self.lengths = {x: number(np.linalg.norm(g.data.astype(np.float64))) for x, g in gradients.items()}
        self.ids: dict[Tensor, int] = {}
        self.vertices: list[Vertex] = []
        self.edges: list[Edge] = []
        self.scopes: dict[Scope, int] = {}
        self.paths: dict[Scope | None, tuple[int, ...]] = {None: ()}
        self.made_by: dict[Node, int] = {}
        self.kinds: dict[Expression, int] = {}
        self.arrays: dict[Any, Tensor] = {}

    def place(self, tensor: Tensor, **what: Any) -> None:
        """Add a vertex for a Tensor."""
        i = self.ids[tensor] = len(self.vertices)
        self.vertices.append(
            Vertex(
                i,
                tensor.name,
                tensor.shape,
                str(tensor.dtype),
                requires_grad=tensor.requires_grad,
                values=in_digits(tensor.data) if self.values else None,
                gradient_norm=self.lengths.get(tensor),
                parameter=type(tensor) is not Tensor,
                **what,
            )
        )

    def add_all(self, outputs: Iterable[Tensor]) -> None:
        """Add everything that the outputs were computed from, unless it is already there."""
        for y in reversed(walk(outputs)):
            if y not in self.ids:
                self.add(y)

    def add(self, tensor: Tensor) -> None:
        """Add the operation that computed a Tensor, with its leaves and arrays."""
        node = tensor.node
        assert node is not None  # a walk visits computed Tensors only
        if node.primitive.composition is not None:
            self.add_composition(tensor, node.primitive.composition(node))
            return
        path, source = self.path_of(node.scope), node.differentiates
        # Operands that only a gradient uses, such as its seed, belong to the gradient.
        around = {"order": node.order, "scope": path} if node.order else {}
        found, arriving = expression(node, tensor.shape, partial(over, names=self.names.get(counted(node, tensor), ())))
        operands = [x if isinstance(x, Tensor) else self.data(x, source or node) for x in arriving]
        for x in operands:
            if x not in self.ids:
                self.place(x, **around)
        self.place(
            tensor,
            operation=node.primitive.name,
            symbol=node.primitive.symbol,
            expression=found,
            formula=_formula(node),
            local=node.primitive.formulas,
            alike=self.kinds.setdefault(found, 1 + len(self.kinds)),
            scope=path,
            order=node.order,
            differentiates=None if source is None else self.made_by.get(source),
            operand=node.operand,
            unbroadcast=node.primitive.name == "sum" and source is not None and source.primitive.name == "broadcast_to",
        )
        i = self.ids[tensor]
        self.made_by.setdefault(node, i)
        self.edges += [Edge(self.ids[x], i, operand, shape=x.shape) for operand, x in enumerate(operands)]

    def add_composition(self, tensor: Tensor, composed: Tensor) -> None:
        """Add the composition that a Tensor stands for."""
        composed.name = composed.name or tensor.name
        self.add_all([composed])
        self.ids[tensor] = self.ids[composed]

    def add_refused(self, refusal: Refusal) -> int:
        """Add an operation that failed, and return its vertex."""
        i, (symbol, detail, error, operands, scope) = len(self.vertices), refusal
        path = self.path_of(scope)
        self.vertices.append(Vertex(i, None, (), "", symbol, symbol, detail, scope=path, refused=error))
        of = [(operand, x) for operand, x in enumerate(operands) if isinstance(x, Tensor)]
        self.edges += [Edge(self.ids[x], i, operand, shape=x.shape) for operand, x in of]
        return i

    def data(self, array: Array, node: Node) -> Tensor:
        """Return a Tensor for an array, such as an index, that a node and its gradient use."""
        key = node, array.shape, array.dtype, array.tobytes()
        return self.arrays.setdefault(key, Tensor(array))

    def path_of(self, scope: Scope | None) -> tuple[int, ...]:
        if scope not in self.paths:
            path = () if scope is None else scope.path
            self.paths[scope] = tuple(self.scopes.setdefault(part, len(self.scopes)) for part in path)
        return self.paths[scope]

    def given_to(self, x: Any) -> int | Vertex | None:
        """Return the vertex for an input of a named step: an existing or a new one, or None for a number."""
        if isinstance(x, Tensor) and x in self.ids:
            return self.ids[x]
        if not isinstance(x, Tensor | np.ndarray) or not x.ndim:
            return None
        name, array = (x.name, x.data) if isinstance(x, Tensor) else (None, x)
        return Vertex(-1, name, x.shape, str(x.dtype), values=in_digits(array) if self.values else None)

    def graph(self, outputs: list[int]) -> Graph:
        _draw_in_lone_leaves(self.vertices, self.edges)
        _note_slopes(self.vertices, self.edges)
        shown = named(
            list(self.scopes),
            {v.id: v.scope for v in self.vertices if v.operation and not v.order},
            lambda axis, x: over(axis, self.names.get(x, ())),
        )
        new = {scope: i for i, scope in enumerate(shown)}
        vertices = [replace(v, scope=tuple(new[s] for s in v.scope if s in new)) for v in self.vertices]
        steps = ((new[i], s) for s, i in self.scopes.items() if i in new and isinstance(s, Step))
        given = {i: tuple(map(self.given_to, s.inputs)) for i, s in steps}
        return Graph(tuple(vertices), tuple(self.edges), tuple(shown.values()), tuple(outputs), given)


def _draw_in_lone_leaves(vertices: list[Vertex], edges: list[Edge]) -> None:
    """Move a leaf that a single forward operation uses, such as a weight, into the scope of that operation."""
    users: dict[int, set[int]] = {}
    for edge in edges:
        if vertices[edge.target].order == 0:
            users.setdefault(edge.source, set()).add(edge.target)
    for leaf, using in users.items():
        if vertices[leaf].operation is None and len(using) == 1:
            vertices[leaf] = replace(vertices[leaf], scope=vertices[next(iter(using))].scope)


def _note_slopes(vertices: list[Vertex], edges: list[Edge]) -> None:
    """Set ``slope_of`` of the gradients that a rule uses or computes."""
    source = {(edge.target, edge.operand): edge.source for edge in edges}
    for edge in edges:
        g, user = vertices[edge.source], vertices[edge.target]
        if user.order == g.order and user.differentiates is not None:
            _note_slope(vertices, g, user.differentiates)
    for g in [*vertices]:
        if g.differentiates is not None and g.operand is not None:
            _note_slope(vertices, g, source.get((g.differentiates, g.operand)))


def _note_slope(vertices: list[Vertex], g: Vertex, of: int | None) -> None:
    name = None if of is None else vertices[of].name
    if g.name and name and g.order and g.operation is not None and g.name == slope_name(name, g.order):
        vertices[g.id] = replace(g, slope_of=of)


def _formula(node: Node) -> str | None:
    if node.differentiates is None or node.operand is None:
        return None
    formulas = node.differentiates.primitive.formulas
    return str(formulas[min(node.operand, len(formulas) - 1)])
