"""From a Graph to DOT text. Every label goes through `literal`, every node id is opaque."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from .model import Edge, Graph, Vertex

LONGEST_NAME = 80

_FORWARD = {"fillcolor": "#e6effb", "color": "#1f5aa6", "fontcolor": "#10243f"}
_LEAF = {"fillcolor": "#fff6d6", "color": "#8a6d00", "fontcolor": "#3a2e00"}
_BACKWARD = {"fillcolor": "#fdeae6", "color": "#b3361e", "fontcolor": "#47110a"}
_FORWARD_EDGE = {"color": "#3b4a5e", "fontcolor": "#3b4a5e"}
_BACKWARD_EDGE = {"color": "#b3361e", "fontcolor": "#8f2a17", "style": "dashed"}
_LENT_EDGE = {"color": "#a3867f", "fontcolor": "#7a6762", "style": "dotted", "arrowsize": "0.6"}


def literal(text: str) -> str:
    """Return text that Graphviz draws as it is, whatever it contains; over 80 characters it is shortened.

    Control characters become their pictures (U+2400 ...), bidirectional controls are written out, and ``&`` is
    escaped, because Graphviz decodes entities.
    """
    if len(text) > LONGEST_NAME:
        text = text[: LONGEST_NAME - 1] + "…"
    return _escaped(text)


def _escaped(text: str) -> str:
    return "".join(map(_drawable, text)).replace("&", "&amp;").replace("\\", "\\\\")


def _drawable(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"U+{code:04X}"
    return character


def to_dot(graph: Graph, rankdir: str = "TB") -> str:
    """Return the DOT text of a graph: deterministic, one node for each vertex, one edge for each operand.

    ``rankdir`` is the direction of the forward pass: "TB" from top to bottom, "LR" from left to right.
    """
    import graphviz

    dot = graphviz.Digraph(
        graph_attr={
            "rankdir": rankdir,
            "bgcolor": "white",
            "fontname": "Helvetica",
            "nodesep": "0.35",
            "ranksep": "0.4" if rankdir == "TB" else "0.25",
            "newrank": "true",
            "tooltip": " ",
        },
        node_attr={
            "fontname": "Helvetica",
            "fontsize": "13",
            "style": "filled",
            "penwidth": "1.2",
            "margin": "0.18,0.07",
        },
        edge_attr={"fontname": "Helvetica", "fontsize": "11", "arrowsize": "0.7"},
    )
    _add_clusters(dot, graph)
    by_id = graph.vertices
    for edge in graph.edges:
        _add_edge(dot, edge, by_id[edge.source], by_id[edge.target])
    for vertex in by_id:
        if vertex.order and vertex.differentiates is not None:
            beside = f"{{rank=same; n{vertex.differentiates}; n{vertex.id}}}"
            if _first_of_its_rule(graph, vertex):
                dot.body.append(f"\t{beside}\n")
    return str(dot.source)


def _first_of_its_rule(graph: Graph, vertex: Vertex) -> bool:
    return not any(
        v.differentiates == vertex.differentiates and v.order == vertex.order for v in graph.vertices[: vertex.id]
    )


def _add_clusters(dot: Any, graph: Graph) -> None:
    """Write vertices inside the clusters of their scopes; forward and backward parts of a scope are two clusters."""
    import graphviz

    tree: dict[Any, Any] = {}
    for vertex in graph.vertices:
        level = tree
        for scope in vertex.scope:
            level = level.setdefault((vertex.order, scope), {})
        level[vertex.id] = vertex

    def write(parent: Any, level: Mapping[Any, Any]) -> None:
        for key, value in level.items():
            if isinstance(value, Vertex):
                _add_vertex(parent, value)
                continue
            order, scope = key
            suffix = "" if order == 0 else " · gradient" if order == 1 else f" · gradient {order}"
            with parent.subgraph(name=f"cluster_{order}_{scope}") as cluster:
                cluster.attr(
                    label=graphviz.nohtml(literal(graph.scopes[scope]) + suffix),
                    style="rounded" if order == 0 else "rounded,dashed",
                    color="#9db4d3" if order == 0 else "#dba79c",
                    fontcolor="#1f5aa6" if order == 0 else "#8f2a17",
                    fontsize="13",
                    labeljust="l",
                    labelloc="t" if order == 0 else "b",
                    margin="20",
                )
                write(cluster, value)

    write(dot, tree)


def _add_vertex(dot: Any, vertex: Vertex) -> None:
    import graphviz

    shape = "×".join(map(str, vertex.shape)) or "scalar"
    name = literal(vertex.name) if vertex.name else None
    if vertex.operation is None:
        lines = [name or "data", shape]
        look = {"shape": "box", **(_BACKWARD if vertex.order else _LEAF)}
        look["style"] = "filled,rounded"
    else:
        # "mean" and "over axis 0" make two lines, "+ 1e-05" one.
        separator = "\n" if vertex.detail.startswith("over") else " "
        action = separator.join(part for part in (vertex.symbol, vertex.detail) if part)
        lines = [*([name] if name else ()), *map(_escaped, action.split("\n")), shape]
        look = {"shape": "box", **(_BACKWARD if vertex.order else _FORWARD)}
        if vertex.order:
            look["style"] = "filled,dashed"
    whole = f"{vertex.name or ''} {vertex.operation or 'leaf'} {vertex.shape} {vertex.dtype}"
    if vertex.formula:
        whole += f": {vertex.formula}"
    dot.node(
        f"n{vertex.id}",
        graphviz.nohtml("\\n".join(lines)),
        id=f"n{vertex.id}",
        tooltip=graphviz.nohtml(_escaped(whole)),
        **look,
    )


def _add_edge(dot: Any, edge: Edge, source: Vertex, target: Vertex) -> None:
    import graphviz

    attributes = {"tooltip": f"operand {edge.operand}"}
    lent = source.order == 0 and target.order > 0
    if edge.marks and not lent:
        attributes["label"] = graphviz.nohtml(f"  {', '.join(edge.marks)}  ")
    if lent:
        # A value that the gradient borrows from the forward pass.
        dot.edge(f"n{source.id}", f"n{target.id}", constraint="false", **attributes, **_LENT_EDGE)
    elif target.order > 0:
        # The backward half runs upwards beside the forward one.
        dot.edge(f"n{target.id}", f"n{source.id}", dir="back", **attributes, **_BACKWARD_EDGE)
    else:
        dot.edge(f"n{source.id}", f"n{target.id}", **attributes, **_FORWARD_EDGE)
