"""The slide view: the same step with its bookkeeping folded away."""

from __future__ import annotations

from dataclasses import replace

from .model import Edge, Graph, Vertex

_BOOKKEEPING = {"reshape": "reshape", "broadcast_to": "broadcast", "transpose": "transpose", "astype": "cast"}


def fold(graph: Graph) -> Graph:
    """Fold reshapes, broadcasts, transposes and casts into marks on edges, and each gradient rule into one vertex.

    What has a name, or was asked for, stays.
    """
    return _without_bookkeeping(_rules_as_one(graph))


def _without_bookkeeping(graph: Graph) -> Graph:
    folded = {
        v.id: _BOOKKEEPING[v.operation]
        for v in graph.vertices
        if v.operation in _BOOKKEEPING and v.name is None and v.id not in graph.outputs
    }
    into = graph.inputs_of()
    edges = []
    for edge in graph.edges:
        if edge.target in folded:
            continue
        source, marks = edge.source, list(edge.marks)
        while source in folded:
            marks.insert(0, folded[source])
            source = into[source][0].source
        edges.append(replace(edge, source=source, marks=tuple(marks)))
    return renumbered(graph, [v for v in graph.vertices if v.id not in folded], edges)


def _rules_as_one(graph: Graph) -> Graph:
    """Merge the operations of one gradient rule, where nothing in between has a name, into the last of them."""
    out = graph.outputs_of()
    vertices = {v.id: v for v in graph.vertices}
    merged_into: dict[int, int] = {}

    def follow(vertex: int) -> int:
        while vertex in merged_into:
            vertex = merged_into[vertex]
        return vertex

    for v in reversed(graph.vertices):
        if v.order == 0 or v.operation is None or v.name is not None or v.operand is None or v.id in graph.outputs:
            continue
        if v.operation in _BOOKKEEPING or v.operation == "sum":
            continue
        users = {follow(edge.target) for edge in out[v.id]}
        if len(users) != 1:
            continue
        (user,) = users
        same_rule = (vertices[user].differentiates, vertices[user].operand, vertices[user].order)
        if same_rule == (v.differentiates, v.operand, v.order) and vertices[user].operation not in (
            *_BOOKKEEPING,
            "sum",
        ):
            merged_into[v.id] = user
            vertices[user] = replace(vertices[user], symbol=vertices[user].formula or "", detail="")
    heads = {follow(v) for v in merged_into}
    edges: dict[tuple[int, int], Edge] = {}
    kept: list[Edge] = []
    for edge in graph.edges:
        target = follow(edge.target)
        if follow(edge.source) == target:
            continue
        if target not in heads:
            kept.append(edge)
        elif (edge.source, target) not in edges:
            # A rule that uses a value twice, as y * y * y does, is shown to use it.
            edges[edge.source, target] = replace(edge, target=target, operand=len(edges))
    return renumbered(
        graph,
        [vertices[v.id] for v in graph.vertices if v.id not in merged_into],
        sorted([*kept, *edges.values()], key=lambda e: (e.target, e.operand)),
    )


def renumbered(graph: Graph, vertices: list[Vertex], edges: list[Edge]) -> Graph:
    """Return a graph of some of the vertices, numbered anew, and of edges between them."""
    new = {v.id: i for i, v in enumerate(vertices)}
    return Graph(
        tuple(
            replace(
                v,
                id=new[v.id],
                differentiates=None if v.differentiates is None else new.get(v.differentiates),
            )
            for v in vertices
        ),
        tuple(replace(e, source=new[e.source], target=new[e.target]) for e in edges),
        graph.scopes,
        tuple(new[i] for i in graph.outputs),
    )
