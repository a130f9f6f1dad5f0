"""A recorded step as plain data: vertices, edges and scopes. The drawing reads this and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..engine.context import Scope
from ..engine.operators import Array
from ..engine.primitive import Node
from ..engine.tensor import Tensor, walk
from .axes import Axes, counted, names_of_axes, over
from .expressions import Expression, expression

# Of a small array every element is shown, in at most six rows and columns.
MOST_ELEMENTS = 12
MOST_IN_LINE = 6
# As wide as a digit, so that numbers stand in columns.
FIGURE_SPACE = "\u2007"

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
    requires_grad: bool = False
    parameter: bool = False
    local: tuple[str, ...] = ()
    unbroadcast: bool = False
    values: str | None = None
    gradient_norm: str | None = None
    holds: int = 0
    times: int = 1

    @property
    def phase(self) -> str:
        return "backward" if self.order else "forward"


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

    def to_dict(self) -> dict[str, Any]:
        """Return the graph as dicts, lists, strings and integers, ready for JSON; ``"version"`` grows with changes.

        Examples
        --------
        >>> import json
        >>> import tinygrad_norm as tn
        >>> x = tn.tensor([1.0, 2.0], requires_grad=True, name="x")
        >>> data = json.loads(json.dumps(trace(x * x).to_dict()))
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


def trace(
    *outputs: Tensor,
    values: bool = False,
    gradients: Mapping[Tensor, Tensor] | None = None,
    axes: Axes | None = None,
) -> Graph:
    """Return everything that was recorded on the way to the outputs.

    Parameters
    ----------
    *outputs : Tensors
        One that was not recorded is a vertex by itself.
    values : bool
        Note the values of the Tensors, too.
    gradients : mapping of Tensors, optional
        Gradients of some Tensors, whose lengths are noted.
    axes : str, mapping of str to str, or several, optional
        Names of the axes: ``"n c h w"`` names those of every Tensor with four, ``{"scores": "n q k"}`` those of one.

    Returns
    -------
    Graph

    Raises
    ------
    ValueError
        If ``axes`` names the axes of one rank or Tensor twice, or of a Tensor that is not there or has another rank.

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
    names = names_of_axes(axes, outputs)
    scopes: dict[Scope, int] = {}
    paths: dict[Scope | None, tuple[int, ...]] = {None: ()}
    ids: dict[Tensor, int] = {}
    made_by: dict[Node, int] = {}
    arrays: dict[Any, Tensor] = {}
    vertices: list[Vertex] = []
    edges: list[Edge] = []
    lengths = {x: number(np.linalg.norm(g.data.astype(np.float64))) for x, g in (gradients or {}).items()}

    def data(array: Array) -> Tensor:
        """Return the Tensor that stands for an array that operations compute with, as an index: equal ones are one."""
        key = array.shape, array.dtype, array.tobytes()
        return arrays.setdefault(key, Tensor(array))

    def place(tensor: Tensor, **what: Any) -> None:
        i = ids[tensor] = len(vertices)
        if values:
            what["values"] = in_digits(tensor.data)
        vertices.append(
            Vertex(
                i,
                tensor.name,
                tensor.shape,
                str(tensor.dtype),
                requires_grad=tensor.requires_grad,
                gradient_norm=lengths.get(tensor),
                parameter=type(tensor) is not Tensor,
                **what,
            )
        )

    for tensor in reversed(walk(outputs)):
        node = tensor.node
        assert node is not None  # a walk visits computed Tensors only
        path = paths.get(node.scope)
        if path is None:
            path = paths[node.scope] = tuple(scopes.setdefault(scope, len(scopes)) for scope in node.scope.path)
        # What only a gradient uses, as its seed, belongs to the gradient.
        around = {"order": node.order, "scope": path} if node.order else {}
        found, arriving = expression(node, tensor.shape, partial(over, names=names.get(counted(node, tensor), ())))
        operands = [x if isinstance(x, Tensor) else data(x) for x in arriving]
        for x in operands:
            if x not in ids:
                place(x, **around)
        source = node.differentiates
        place(
            tensor,
            operation=node.primitive.name,
            symbol=node.primitive.symbol,
            expression=found,
            formula=_formula(node),
            local=node.primitive.formulas,
            scope=path,
            order=node.order,
            differentiates=None if source is None else made_by.get(source),
            operand=node.operand,
            unbroadcast=node.primitive.name == "sum" and source is not None and source.primitive.name == "broadcast_to",
        )
        made_by.setdefault(node, ids[tensor])
        edges += [Edge(ids[x], ids[tensor], operand, shape=x.shape) for operand, x in enumerate(operands)]
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


def number(value: Any) -> str:
    """Return a number to 3 digits; the sign of zero is not shown."""
    return f"{value:.3g}" if value else "0"


def in_digits(array: Array) -> str:
    """Return an array as rows of numbers of equal width, a larger one as its extremes and mean, an empty one as "".

    Examples
    --------
    >>> import numpy as np
    >>> in_digits(np.arange(100.0))
    'min 0, mean 49.5, max 99'
    """
    if array.size == 0:
        return ""
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    if array.size <= MOST_ELEMENTS and max(rows.shape) <= MOST_IN_LINE:
        texts = [[str(x) if array.dtype.kind in "bui" else number(x) for x in row] for row in rows.tolist()]
        width = max(len(text) for row in texts for text in row)
        return "\n".join("  ".join(text.rjust(width, FIGURE_SPACE) for text in row) for row in texts)
    if array.dtype.kind == "c":
        return f"mean {number(array.mean())}"
    with np.errstate(all="ignore"):
        wide = array.astype(np.float64)
        return f"min {number(wide.min())}, mean {number(wide.mean())}, max {number(wide.max())}"
