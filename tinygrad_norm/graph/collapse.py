"""Collapse scopes and repeated boxes to one box each, and estimate whether a graph can be laid out in time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .fold import renumbered
from .model import Edge, Graph, Vertex, sums_for_a_leaf
from .repeats import with_runs_once
from .scopes import place
from .text import in_words

Closed = Callable[[tuple[str, ...]], bool]
Collapse = int | str | Collection[str] | Closed

# Layouts with more or longer edges per allowed box take minutes.
EDGES_PER_BOX = 3
ROWS_PER_BOX = 25
MOST_DEPTHS = 10


class Box(NamedTuple):
    """The key of a box: a scope, the order of its vertices, and the order of the vertices that they differentiate."""

    order: int
    differentiated: int
    scope: int


@dataclass
class Content:
    """The vertices of a box, the vertices outside that they use, and the results that are used outside."""

    members: list[Vertex] = field(default_factory=list)
    sources: dict[int, int] = field(default_factory=dict)
    results: dict[int, None] = field(default_factory=dict)
    inside: list[Hashable] = field(default_factory=list)

    @property
    def operations(self) -> int:
        return sum(v.operation is not None for v in self.members)


def closing(collapse: Collapse, graph: Graph) -> Closed:
    """Return a function that tells, from the names on a scope's path, whether the scope becomes one box.

    Parameters
    ----------
    collapse : int, str, collection of str, or callable
        The depth of the deepest open scopes, names of scopes, or such a function.
    graph : Graph
        The graph whose scopes can be named.

    Raises
    ------
    TypeError, ValueError
        If ``collapse`` is of another type, is negative, or has a name that no scope has.
    """
    if isinstance(collapse, bool):
        raise TypeError(f"collapse must be a depth, names of scopes or a function of a scope's path, not {collapse}")
    if isinstance(collapse, int):
        depth = collapse
        if depth < 0:
            raise ValueError(f"collapse must be 0 or more, the depth of the deepest open scopes, not {depth}")
        return lambda path: len(path) > depth
    if callable(collapse):
        return collapse
    if not isinstance(collapse, Collection):
        raise TypeError(
            f"collapse must be a depth, names of scopes or a function of a scope's path, not {type(collapse).__name__}"
        )
    names = {collapse} if isinstance(collapse, str) else set(collapse)
    if unknown := names - set(graph.scopes) - set(map(place, graph.scopes)):
        there = ", ".join(map(repr, sorted(set(graph.scopes)))) or "none"
        raise ValueError(f"collapse: no scope is named {', '.join(map(repr, sorted(unknown)))}; the names are: {there}")
    return lambda path: path[-1] in names or place(path[-1]) in names


def collapsed(graph: Graph, closed: Closed, repeat: bool = False) -> Graph:
    """Return the graph with every closed scope as one box for its forward part and one for its backward part.

    Parameters
    ----------
    graph : Graph
    closed : callable
        ``closed(("encoder", "block"))`` tells whether the scope with this path becomes one box.
    repeat : bool
        Show a chain of boxes with the same operations as one box, with their number.

    Notes
    -----
    The result has no cycles. Scopes that were entered alternately, so that their boxes would form a cycle, stay open.
    Parameters that only one box uses are inside it. A box has one incoming edge for each Tensor. If several boxes
    contribute to the gradient of a leaf, such as a shared weight, the sum is one vertex with many operands.
    """
    graph = _with_sums_joined(graph)
    box_of = boxes_of(graph, closed)
    graph = with_inputs_outside(graph, box_of)
    items, order = without_cycles(graph, box_of)
    contents = contents_of(graph, items, box_of)
    first = _runs(graph, items, order, contents) if repeat else {}
    small = contracted(graph, [first.get(item, item) for item in items], contents, box_of, scope_as_vertex)
    return with_runs_once(small) if repeat else small


def _with_sums_joined(graph: Graph) -> Graph:
    """Merge the additions that sum the contributions to one leaf."""
    users = graph.outputs_of()
    into: dict[int, int] = {}
    for v in reversed(graph.vertices):
        if sums_for_a_leaf(v) and len(users[v.id]) == 1 and v.id not in graph.outputs:
            user = users[v.id][0].target
            if sums_for_a_leaf(graph.vertices[user]):
                into[v.id] = into.get(user, user)
    edges: list[Edge] = []
    arriving: dict[int, int] = {}
    for e in graph.edges:
        if e.source not in into:
            target = into.get(e.target, e.target)
            edges.append(replace(e, target=target, operand=arriving.get(target, 0)))
            arriving[target] = edges[-1].operand + 1
    return renumbered(graph, [v for v in graph.vertices if v.id not in into], edges) if into else graph


def boxes_of(graph: Graph, closed: Closed) -> dict[int, Box]:
    """Return, for each vertex in a closed scope, the box of the outermost closed scope."""
    outermost: dict[tuple[int, ...], int | None] = {}

    def of(path: tuple[int, ...]) -> int | None:
        names = tuple(graph.scopes[scope] for scope in path)
        return next((scope for depth, scope in enumerate(path, 1) if closed(names[:depth])), None)

    boxes = {}
    for v in graph.vertices:
        if v.scope not in outermost:
            outermost[v.scope] = of(v.scope)
        if (scope := outermost[v.scope]) is not None:
            differentiated = 0 if v.differentiates is None else graph.vertices[v.differentiates].order
            boxes[v.id] = Box(v.order, differentiated, scope)
    return boxes


def with_inputs_outside(graph: Graph, box_of: dict[int, Box], staying: Collection[int] = ()) -> Graph:
    """Move seeds out of their boxes and, if a box would have no input, its data, or other leaves, or its parameters.

    Leaves in ``staying`` are not inputs, for instance the constants of a step.
    """
    fed = {box_of[e.target] for e in graph.edges if e.target in box_of and box_of.get(e.source) != box_of[e.target]}
    outside: list[Vertex] = []
    alone: dict[Box, list[Vertex]] = {}
    for i, box in box_of.items():
        v = graph.vertices[i]
        if v.operation is not None:
            continue
        if v.order and v.requires_grad:
            outside.append(v)
        elif not v.order and box not in fed and i not in staying:
            alone.setdefault(box, []).append(v)
    for leaves in alone.values():
        data = [v for v in leaves if not v.requires_grad]
        outside += data or [v for v in leaves if not v.parameter] or leaves
    vertices = list(graph.vertices)
    for v in outside:
        vertices[v.id] = replace(v, scope=v.scope[: v.scope.index(box_of.pop(v.id).scope)])
    return replace(graph, vertices=tuple(vertices))


def without_cycles(graph: Graph, box_of: dict[int, Box]) -> tuple[list[int], list[int]]:
    """Return each vertex's item, and the items in topological order. Boxes on cycles are opened."""
    while True:
        # An item is a box or a single vertex. Its number is that of its first vertex.
        heads: dict[Box, int] = {}
        items = [heads.setdefault(box_of[v.id], v.id) if v.id in box_of else v.id for v in graph.vertices]
        pairs = {(items[e.source], items[e.target]) for e in graph.edges} - {(i, i) for i in heads.values()}
        order = in_order(set(items), pairs)
        if len(order) == len(set(items)):
            return items, order
        tangled = set(items) - set(order)
        tangled -= set(in_order(tangled, {(b, a) for a, b in pairs if a in tangled and b in tangled}))
        for i in [i for i in box_of if items[i] in tangled]:
            del box_of[i]


def in_order(items: Iterable[int], pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Return the items in topological order, small numbers first. Items on cycles or after them are omitted."""
    waiting = dict.fromkeys(items, 0)
    after: dict[int, list[int]] = {}
    for a, b in pairs:
        waiting[b] += 1
        after.setdefault(a, []).append(b)
    ready = [item for item, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for b in after.get(order[-1], ()):
            waiting[b] -= 1
            if not waiting[b]:
                heapq.heappush(ready, b)
    return order


def contents_of(graph: Graph, items: Sequence[int], box_of: Mapping[int, Box]) -> dict[int, Content]:
    """Describe every box. Boxes with equal ``inside`` hold the same operations, connected in the same way."""
    contents: dict[int, Content] = {}
    place: dict[int, int] = {}
    into = graph.inputs_of()
    for v in graph.vertices:
        if v.id not in box_of:
            continue
        content = contents.setdefault(items[v.id], Content())
        place[v.id] = len(content.members)
        content.members.append(v)
        operands: list[Hashable] = []
        for edge in into[v.id]:
            if items[edge.source] == items[v.id]:
                operands.append((edge.operand, "inside", place[edge.source]))
            elif graph.vertices[edge.source].order == v.order:
                position = content.sources.setdefault(edge.source, len(content.sources))
                operands.append((edge.operand, "outside", position, edge.shape))
            else:
                operands.append((edge.operand, "lent", edge.shape))
        content.inside.append((v.alike, v.shape, v.dtype, tuple(operands)))
    for edge in graph.edges:
        leaves = edge.source in box_of and items[edge.source] != items[edge.target]
        if leaves and graph.vertices[edge.target].order == graph.vertices[edge.source].order:
            contents[items[edge.source]].results.setdefault(edge.source)
    return contents


def _runs(graph: Graph, items: list[int], order: list[int], contents: Mapping[int, Content]) -> dict[int, int]:
    """Return, for each box that repeats the previous one, the first box of the run."""
    users: dict[int, set[int]] = {item: set() for item in contents}
    sources: dict[int, set[int]] = {item: set() for item in contents}
    for e in graph.edges:
        a, b = items[e.source], items[e.target]
        if a != b and graph.vertices[e.source].order == graph.vertices[e.target].order:
            users.get(a, set()).add(b)
            sources.get(b, set()).add(a)
    shown = {items[i] for i in graph.outputs if graph.vertices[i].order == 0}
    first: dict[int, int] = {}
    for a in order:
        if a not in contents or a in shown:
            continue
        # Both may use the same vertices, such as a weight, and add to the same sums, such as its gradient.
        following = [
            b
            for b in users[a]
            if b in contents
            and sources[b] - {a} <= sources[a]
            and users[a] - {b} <= {u for u in users[b] if sums_for_a_leaf(graph.vertices[u])}
            and _same(graph, contents[a], contents[b])
        ]
        if len(following) == 1:
            first[following[0]] = first.get(a, a)
    return first


def _same(graph: Graph, a: Content, b: Content) -> bool:
    one, other = a.members[-1], b.members[-1]
    around = [[graph.scopes[s] for s in v.scope] for v in (one, other)]
    return a.inside == b.inside and one.order == other.order and around[0] == around[1]


def contracted(
    graph: Graph,
    items: list[int],
    contents: Mapping[int, Content],
    box_of: Mapping[int, Box],
    as_vertex: Callable[[Graph, Content, Box, int], Vertex],
) -> Graph:
    """Return the graph with each box replaced by one vertex."""
    pairs = {(items[e.source], items[e.target]) for e in graph.edges}
    order = in_order(set(items), {(a, b) for a, b in pairs if a != b})
    new = {item: i for i, item in enumerate(order)}
    together: dict[int, int] = {}
    for item in contents:
        together[items[item]] = together.get(items[item], 0) + 1
    alike: dict[Hashable, int] = {}
    known = max((v.alike for v in graph.vertices), default=0)

    def vertex(item: int) -> Vertex:
        v = graph.vertices[item]
        if item in box_of:
            v = as_vertex(graph, contents[item], box_of[item], together[item])
            kind = graph.scopes[box_of[item].scope], tuple(contents[item].inside)
            v = replace(v, alike=alike.setdefault(kind, known + 1 + len(alike)))
        return replace(v.pointing(lambda i: new[items[i]]), id=new[item])

    edges: dict[tuple[int, int, int | None], Edge] = {}
    arriving: dict[int, int] = {}
    for e in graph.edges:
        a, b = items[e.source], items[e.target]
        if a == b:
            continue
        operand = e.operand
        if b in box_of:
            lent = graph.vertices[e.source].order < graph.vertices[e.target].order
            key = (a, b, None if lent else e.source)
            operand = arriving.get(b, 0)
            if key in edges:
                continue
            arriving[b] = operand + 1
        else:
            # Repeated boxes, drawn once, have one edge to a common target.
            key = (a, b, None if together.get(a, 1) > 1 else -1 - e.operand)
        edges[key] = replace(e, source=new[a], target=new[b], operand=operand)
    return Graph(
        tuple(map(vertex, order)),
        tuple(sorted(edges.values(), key=lambda e: (e.target, e.operand))),
        graph.scopes,
        tuple(new[items[i]] for i in graph.outputs),
    )


def scope_as_vertex(graph: Graph, content: Content, box: Box, times: int) -> Vertex:
    """Return the vertex for a box, with the scope's name, its size, and the shapes of its inputs and outputs."""
    members = {v.id: v for v in content.members}
    asked = [i for i in graph.outputs if i in members]
    results = [members[i] for i in content.results or asked] or content.members[-1:]
    last = results[-1]
    path = content.members[-1].scope
    return Vertex(
        id=last.id,
        name=None,
        shape=last.shape,
        dtype=last.dtype,
        operation="scope",
        symbol=graph.scopes[box.scope],
        place=place(graph.scopes[box.scope]) if times == 1 else "",
        detail=f"{_shapes(graph.vertices[i] for i in content.sources)} → {_shapes(results)}".lstrip(),
        scope=path[: path.index(box.scope)],
        order=box.order,
        differentiates=next((v.differentiates for v in content.members if v.differentiates is not None), None),
        requires_grad=last.requires_grad,
        holds=content.operations,
        times=times,
    )


def _shapes(vertices: Iterable[Vertex]) -> str:
    shapes = [in_words(v.shape) for v in vertices]
    return ", ".join(shapes) if len(shapes) <= 3 else f"{len(shapes)} tensors"


# Limits of the layout.


def too_much(graph: Graph, max_nodes: int) -> str | None:
    """Return the reason why a layout of the graph would take too long, or None."""
    if len(graph.vertices) > max_nodes:
        return f"{len(graph.vertices)} boxes, more than max_nodes={max_nodes}"
    if len(graph.edges) > EDGES_PER_BOX * max_nodes:
        return f"{len(graph.edges)} edges, more than {EDGES_PER_BOX} × max_nodes={max_nodes}"
    rows = _rows_passed(graph)
    if rows > ROWS_PER_BOX * max_nodes:
        return f"edges that span {rows} rows of boxes, more than {ROWS_PER_BOX} × max_nodes={max_nodes}"
    return None


def _rows_passed(graph: Graph) -> int:
    """Estimate how many rows the edges span in total, which dominates the time of a layered layout."""
    above: dict[int, list[int]] = {v.id: [] for v in graph.vertices}
    below: dict[int, list[int]] = {v.id: [] for v in graph.vertices}
    for e in graph.edges:
        orders = graph.vertices[e.source].order, graph.vertices[e.target].order
        if orders[0] == orders[1]:
            upper, lower = (e.target, e.source) if orders[0] else (e.source, e.target)
            above[lower].append(upper)
            below[upper].append(lower)
    # Gradients are drawn upwards.
    downwards = sorted(below, key=lambda i: -i if graph.vertices[i].order else i)
    row: dict[int, int] = {}
    for i in downwards:
        row[i] = 1 + max((row[j] for j in above[i]), default=-1)
    for i in reversed(downwards):
        # Layouts keep edges short: a weight is placed just above its use.
        if below[i] and len(above[i]) <= len(below[i]):
            row[i] = min(row[j] for j in below[i]) - 1
    return sum(abs(row[e.source] - row[e.target]) for e in graph.edges)


def depths(graph: Graph, max_nodes: int) -> list[int]:
    """Return the depths at which collapsing leaves at most ``max_nodes`` boxes, deepest first."""
    deepest = max((len(v.scope) for v in graph.vertices), default=0)
    found = []
    for depth in range(deepest - 1, -1, -1):
        boxes = {(v.order, v.scope[depth]) if len(v.scope) > depth else v.id for v in graph.vertices}
        if len(boxes) <= max_nodes:
            found.append(depth)
    # If there are very many, for instance from a recursion, only a few are tried.
    return found[:: 1 + len(found) // MOST_DEPTHS]
