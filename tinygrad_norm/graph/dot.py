"""From a Graph to DOT text. Every label goes through `literal`, every node id is opaque."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .digits import SPACE
from .model import Edge, Graph, Vertex
from .scopes import Name, title
from .text import LONGEST_NAME, escaped, in_words, literal

# Unlimited, the network simplex takes minutes where edges run past many rows of boxes; small pictures stay as they are.
LAYOUT_LIMIT = {"nslimit": "5"}


LONGEST_FORMULA = 36
_BREAKS = re.compile(r"(?: [^\w\s(.]|,) ")


class Look(NamedTuple):
    """The colours of a kind of box, line or cluster; ``fill`` is what its text stands on."""

    fill: str
    line: str
    text: str


@dataclass(frozen=True)
class Theme:
    """Colours that keep their contrast: text 4.5 to 1 on what is beneath it, lines 3 to 1 on the background.

    No colour is the only sign of anything: leaves are rounded, what belongs to a gradient is dashed, in a gradient of a
    gradient with heavy lines, and what it borrows from the forward pass is dotted.
    """

    background: str
    text: str
    leaf: Look
    forward: Look
    backward: Look
    higher: Look
    forward_edge: Look
    backward_edge: Look
    higher_edge: Look
    lent_edge: Look
    forward_cluster: Look
    backward_cluster: Look
    higher_cluster: Look

    def of_order(self, what: str, order: int) -> Look:
        """Return the look of boxes (``""``), of an ``"_edge"`` or a ``"_cluster"``, by the order of differentiation."""
        return getattr(self, ("forward", "backward", "higher")[min(order, 2)] + what)  # type: ignore[no-any-return]


LIGHT = Theme(
    background="#ffffff",
    text="#1b2430",
    leaf=Look("#fff6d6", "#8a6d00", "#3a2e00"),
    forward=Look("#e6effb", "#1f5aa6", "#10243f"),
    backward=Look("#fdeae6", "#b3361e", "#47110a"),
    higher=Look("#efe7fb", "#6a35b0", "#2b1152"),
    forward_edge=Look("#ffffff", "#3b4a5e", "#3b4a5e"),
    backward_edge=Look("#ffffff", "#b3361e", "#8f2a17"),
    higher_edge=Look("#ffffff", "#6a35b0", "#55298f"),
    lent_edge=Look("#ffffff", "#967a72", "#7a6762"),
    forward_cluster=Look("#ffffff", "#7893b8", "#1f5aa6"),
    backward_cluster=Look("#ffffff", "#bf7868", "#8f2a17"),
    higher_cluster=Look("#ffffff", "#9a7cc7", "#55298f"),
)
DARK = Theme(
    background="#10171f",
    text="#e8edf3",
    leaf=Look("#3a3110", "#d8b43a", "#fff1c2"),
    forward=Look("#152c4a", "#7fb4f5", "#e3efff"),
    backward=Look("#43201a", "#f5957f", "#ffe7e1"),
    higher=Look("#2e2146", "#c3a1f5", "#f1e8ff"),
    forward_edge=Look("#10171f", "#b4c2d3", "#c9d4e1"),
    backward_edge=Look("#10171f", "#f5957f", "#f8b3a3"),
    higher_edge=Look("#10171f", "#c3a1f5", "#d5bff8"),
    lent_edge=Look("#10171f", "#a08a84", "#b9a59f"),
    forward_cluster=Look("#10171f", "#5a7ba6", "#9cc4f7"),
    backward_cluster=Look("#10171f", "#a8604f", "#f8b3a3"),
    higher_cluster=Look("#10171f", "#8064ab", "#d5bff8"),
)
THEMES = {"light": LIGHT, "dark": DARK}


def to_dot(graph: Graph, rankdir: str = "TB", theme: Theme = LIGHT, caption: str = "") -> str:
    """Return the DOT text of a graph: deterministic, one node for each vertex, one edge for each operand.

    ``rankdir`` is the direction of the forward pass: "TB" from top to bottom, "LR" from left to right. The caption
    stands below the picture.
    """
    import graphviz

    lines = "\\n".join(escaped(line) for text in caption.split("\n") for line in wrapped(text, LONGEST_NAME))
    below = {"label": graphviz.nohtml(lines), "labelloc": "b"} if caption else {}
    dot = graphviz.Digraph(
        graph_attr={
            "rankdir": rankdir,
            "bgcolor": theme.background,
            "fontname": "Helvetica",
            "fontcolor": theme.text,
            "nodesep": "0.35",
            "ranksep": "0.4" if rankdir == "TB" else "0.25",
            "newrank": "true",
            "tooltip": " ",
            **LAYOUT_LIMIT,
            **below,
        },
        node_attr={
            "shape": "box",
            "fontname": "Helvetica",
            "fontsize": "13",
            "style": "filled",
            "penwidth": "1.2",
            "margin": "0.18,0.07",
        },
        edge_attr={"fontname": "Helvetica", "fontsize": "11", "arrowsize": "0.7"},
    )
    _add_clusters(dot, graph, theme)
    for edge in graph.edges:
        _add_edge(dot, edge, graph.vertices[edge.source], graph.vertices[edge.target], theme)
    _tie_halves(dot, graph)
    return str(dot.source)


def legend(graph: Graph) -> str:
    """Return what the lines mean, where a gradient was differentiated again: then they are of three kinds."""
    highest = max((vertex.order for vertex in graph.vertices), default=0)
    if highest < 2:
        return ""
    again = "its gradient" if highest == 2 else "gradients of it"
    return f"solid: forward, dashed: gradient, heavy dashed: {again}, dotted: values that a gradient uses"


def _tie_halves(dot: Any, graph: Graph) -> None:
    """Put the first vertex of every gradient rule beside the vertex that it differentiates."""
    tied = set()
    for vertex in graph.vertices:
        rule = (vertex.differentiates, vertex.order)
        if vertex.order and vertex.differentiates is not None and rule not in tied:
            tied.add(rule)
            dot.body.append(f"\t{{rank=same; n{vertex.differentiates}; n{vertex.id}}}\n")


def _add_clusters(dot: Any, graph: Graph, theme: Theme) -> None:
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
                _add_vertex(parent, value, graph, theme)
                continue
            order, scope = key
            look = theme.of_order("_cluster", order)
            with parent.subgraph(name=f"cluster_{order}_{scope}") as cluster:
                cluster.attr(
                    label=graphviz.nohtml(literal(title(graph.scopes[scope])) + _half(order)),
                    style="rounded,dashed" if order else "rounded",
                    color=look.line,
                    fontcolor=look.text,
                    fontsize="13",
                    labeljust="l",
                    labelloc="b" if order else "t",
                    margin="20",
                )
                write(cluster, value)

    write(dot, tree)


def _heavy(order: int) -> dict[str, str]:
    """Return the width of the lines of a gradient of a gradient."""
    return {"penwidth": "2.4"} if order > 1 else {}


def _half(order: int) -> str:
    return "" if order == 0 else " · gradient" if order == 1 else f" · gradient {order}"


def _add_vertex(dot: Any, vertex: Vertex, graph: Graph, theme: Theme) -> None:
    import graphviz

    leaf = vertex.operation is None
    look = theme.leaf if leaf and not vertex.order else theme.of_order("", vertex.order)
    style = ["filled", *(["rounded"] if leaf else ["dashed"] if vertex.order else [])]
    extra = {"style": ",".join(style)} if len(style) > 1 else {}
    if vertex.holds:
        extra |= {"shape": "box3d", "margin": "0.2,0.14"}
    if vertex.unbroadcast:
        extra["peripheries"] = "2"
    extra |= _heavy(vertex.order)
    if (vertex.values or "").startswith(SPACE):
        extra["fontname"] = "Courier"  # as wide as the rows of numbers will be
    if vertex.refused:
        look, extra = theme.backward, {"shape": "octagon", "penwidth": "3"}
    dot.node(
        f"n{vertex.id}",
        graphviz.nohtml("\\n".join(_label(vertex))),
        id=f"n{vertex.id}",
        tooltip=graphviz.nohtml(escaped(_tooltip(vertex, graph))),
        fillcolor=look.fill,
        color=look.line,
        fontcolor=look.text,
        **extra,
    )


def _label(vertex: Vertex) -> list[str]:
    """Return the lines of a box, ready for DOT."""
    if vertex.holds:
        each = f" × {vertex.times}" if vertex.times > 1 else ""
        return [
            _title(vertex) + each,
            escaped(holding(vertex)),
            escaped(vertex.detail),
        ]
    if vertex.refused:
        return [literal(f"{vertex.symbol} {vertex.detail}"), literal(vertex.refused)]
    lines = [literal(vertex.called)] if vertex.called else []
    if vertex.operation == "step":
        lines.append(f"{_title(vertex)} {escaped(vertex.detail)}".rstrip())
    elif vertex.text:
        lines += map(escaped, wrapped(vertex.text))
    if vertex.unbroadcast:
        lines.append("undoes broadcast")
    dtype = f" {vertex.dtype}" if vertex.values is not None else ""
    lines += [escaped(result) + dtype for result in vertex.results or (in_words(vertex.shape),)]
    lines += map(escaped, vertex.values.split("\n") if vertex.values else ())
    if vertex.gradient_norm is not None:
        lines.append(f"gradient norm {vertex.gradient_norm}")
    return lines


def wrapped(formula: str, width: int = LONGEST_FORMULA) -> list[str]:
    """Return the lines of a long formula: it breaks after operators and commas, so that one sees that it goes on.

    Examples
    --------
    >>> wrapped("(weight + bias) × dL/dy − another", 20)
    ['(weight + bias) ×', 'dL/dy − another']
    """
    lines, rest = [], formula
    while len(rest) > width and (ends := [m.end() for m in _BREAKS.finditer(rest) if m.end() < len(rest)]):
        end = max((end for end in ends if end <= width + 1), default=ends[0])
        lines.append(rest[:end].rstrip())
        rest = rest[end:]
    return [*lines, rest]


def _title(vertex: Vertex) -> str:
    """Return what a box for a scope or a step is called, ready for DOT: ``block1.act: ReLU · gradient``."""
    return literal(title(Name(vertex.symbol or "scope", vertex.place))) + _half(vertex.order)


def holding(vertex: Vertex) -> str:
    """Say how many operations a box holds: ``12 operations``."""
    return f"{vertex.holds} operation{'' if vertex.holds == 1 else 's'}{' each' if vertex.times > 1 else ''}"


def _tooltip(vertex: Vertex, graph: Graph) -> str:
    if vertex.holds:
        return f"{vertex.symbol}{_half(vertex.order)}: {holding(vertex)}, {vertex.detail}"
    if vertex.refused:
        return f"{vertex.symbol} of {vertex.detail} raised {vertex.refused}"
    whole = f"{vertex.name or ''} {vertex.operation or 'leaf'} {vertex.shape} {vertex.dtype}"
    if vertex.differentiates is not None:
        source = graph.vertices[vertex.differentiates]
        whole += f", beside {source.name or ''} {source.symbol or source.operation or ''}"
    return whole


def _add_edge(dot: Any, edge: Edge, source: Vertex, target: Vertex, theme: Theme) -> None:
    import graphviz

    tail, head = f"n{source.id}", f"n{target.id}"
    attributes = {"id": f"e{source.id}_{target.id}_{edge.operand}", "tooltip": f"operand {edge.operand}"}
    lent = source.order < target.order
    marks = [mark for mark in edge.marks if not (lent and mark == "broadcast")]
    if marks:
        attributes["label"] = graphviz.nohtml(f"  {', '.join(marks)}  ")
    if lent:
        # A value that the gradient borrows from the forward pass.
        look = theme.lent_edge
        attributes |= {"constraint": "false", "style": "dotted", "arrowsize": "0.6"}
    elif target.order:
        # The backward half runs upwards beside the forward one.
        look, tail, head = theme.of_order("_edge", target.order), head, tail
        attributes |= {"dir": "back", "style": "dashed"} | _heavy(target.order)
    else:
        look = theme.forward_edge
    dot.edge(tail, head, color=look.line, fontcolor=look.text, **attributes)
