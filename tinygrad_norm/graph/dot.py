"""From a Graph to DOT text. Every label goes through `literal`, every node id is opaque."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .model import Edge, Graph, Vertex

LONGEST_NAME = 80
FONT_SIZE = 13
UNDOES = "undoes broadcast"

# Unlimited, the network simplex takes minutes where edges run past many rows of boxes; small pictures stay as they are.
LAYOUT_LIMIT = {"nslimit": "5"}


class Look(NamedTuple):
    """The colours of a kind of box, line or cluster; ``fill`` is what its text stands on."""

    fill: str
    line: str
    text: str


@dataclass(frozen=True)
class Theme:
    """Colours that keep their contrast: text 4.5 to 1 on what is beneath it, lines 3 to 1 on the background.

    No colour is the only sign of anything: leaves are rounded, what belongs to the gradient is dashed, what it borrows
    from the forward pass is dotted.
    """

    background: str
    text: str
    leaf: Look
    forward: Look
    backward: Look
    forward_edge: Look
    backward_edge: Look
    lent_edge: Look
    forward_cluster: Look
    backward_cluster: Look


LIGHT = Theme(
    background="#ffffff",
    text="#1b2430",
    leaf=Look("#fff6d6", "#8a6d00", "#3a2e00"),
    forward=Look("#e6effb", "#1f5aa6", "#10243f"),
    backward=Look("#fdeae6", "#b3361e", "#47110a"),
    forward_edge=Look("#ffffff", "#3b4a5e", "#3b4a5e"),
    backward_edge=Look("#ffffff", "#b3361e", "#8f2a17"),
    lent_edge=Look("#ffffff", "#7d5f56", "#7a6762"),
    forward_cluster=Look("#ffffff", "#7893b8", "#1f5aa6"),
    backward_cluster=Look("#ffffff", "#bf7868", "#8f2a17"),
)
DARK = Theme(
    background="#10171f",
    text="#e8edf3",
    leaf=Look("#3a3110", "#d8b43a", "#fff1c2"),
    forward=Look("#152c4a", "#7fb4f5", "#e3efff"),
    backward=Look("#43201a", "#f5957f", "#ffe7e1"),
    forward_edge=Look("#10171f", "#b4c2d3", "#c9d4e1"),
    backward_edge=Look("#10171f", "#f5957f", "#f8b3a3"),
    lent_edge=Look("#10171f", "#c9b3ac", "#b9a59f"),
    forward_cluster=Look("#10171f", "#5a7ba6", "#9cc4f7"),
    backward_cluster=Look("#10171f", "#a8604f", "#f8b3a3"),
)
THEMES = {"light": LIGHT, "dark": DARK}


def theme_called(name: str) -> Theme:
    """Return the theme of a name, or raise a ValueError that says which there are."""
    if name not in THEMES:
        raise ValueError(f"theme is one of {', '.join(map(repr, THEMES))}, not {name!r}")
    return THEMES[name]


@dataclass(frozen=True)
class Mount:
    """How a picture that fits a frame differs: labels in lines of some length, and where everything is.

    Attributes
    ----------
    letters : mapping
        How many letters a line of a box has at most, if there is a space to break it at, by the vertex's number.
    terse : bool
        Broadcasts are not marked: shapes tell of them, and double frames of what undoes them.
    title_letters, caption_letters : int
        How many letters a line of a cluster's label and of the caption has at most.
    rows : mapping
        The row that each vertex stands in, by its number: a scope has a cluster in each.
    attributes : mapping
        More attributes of boxes, edges and clusters by their id or name; those of the graph have the key "".
    """

    letters: Mapping[int, int]
    terse: bool = False
    title_letters: int = LONGEST_NAME
    caption_letters: int = LONGEST_NAME
    rows: Mapping[int, int] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


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


def to_dot(
    graph: Graph, rankdir: str = "TB", theme: Theme = LIGHT, caption: str = "", mount: Mount | None = None
) -> str:
    """Return the DOT text of a graph: deterministic, one node for each vertex, one edge for each operand.

    ``rankdir`` is the direction of the forward pass: "TB" from top to bottom, "LR" from left to right. The caption
    stands below the picture. With a mount it is closely set, and placed where the mount says.
    """
    import graphviz

    close = mount is not None
    placed = mount.attributes if mount else {}

    # Without a blank line above it, a caption stands close below what is drawn to fit; one with nothing in it ends
    # Graphviz as WebAssembly.
    lines = [" ", *broken([literal(caption)], mount.caption_letters)] if mount else [literal(caption)]
    below = {"label": graphviz.nohtml("\\n".join(lines)), "labelloc": "b"} if caption else {}
    dot = graphviz.Digraph(
        graph_attr={
            "rankdir": rankdir,
            "bgcolor": theme.background,
            "fontname": "Helvetica",
            "fontcolor": theme.text,
            **({"fontsize": str(FONT_SIZE)} if close else {}),
            "nodesep": "0.35",
            "ranksep": "0.4" if rankdir == "TB" else "0.25",
            "newrank": "true",
            "tooltip": " ",
            **LAYOUT_LIMIT,
            **below,
            **placed.get("", {}),
        },
        node_attr={
            "shape": "box",
            "fontname": "Helvetica",
            "fontsize": str(FONT_SIZE),
            "style": "filled",
            "penwidth": "1.2",
            "margin": "0.08,0.045" if close else "0.18,0.07",
            **({"width": "0.4", "height": "0.3"} if close else {}),
        },
        edge_attr={"fontname": "Helvetica", "fontsize": str(FONT_SIZE) if close else "11", "arrowsize": "0.7"},
    )
    if mount and mount.terse:
        graph = replace(graph, edges=tuple(map(_unmarked, graph.edges)))
    _add_clusters(dot, graph, theme, mount)
    for edge in graph.edges:
        at = placed.get(edge_id(edge), {})
        _add_edge(dot, edge, graph.vertices[edge.source], graph.vertices[edge.target], theme, **at)
    _tie_halves(dot, graph)
    return str(dot.source)


def _unmarked(edge: Edge) -> Edge:
    return replace(edge, marks=tuple(mark for mark in edge.marks if mark != "broadcast"))


def _tie_halves(dot: Any, graph: Graph) -> None:
    """Put the first vertex of every gradient rule beside the vertex that it differentiates."""
    for differentiated, vertex in ties(graph):
        dot.body.append(f"\t{{rank=same; n{differentiated}; n{vertex}}}\n")


def ties(graph: Graph) -> list[tuple[int, int]]:
    """Return each vertex that is differentiated, with the first vertex of the rule for it."""
    first: dict[tuple[int, int], int] = {}
    for vertex in graph.vertices:
        if vertex.order and vertex.differentiates is not None:
            first.setdefault((vertex.differentiates, vertex.order), vertex.id)
    return [(differentiated, vertex) for (differentiated, _), vertex in first.items()]


def _add_clusters(dot: Any, graph: Graph, theme: Theme, mount: Mount | None) -> None:
    """Write vertices inside the clusters of their scopes; forward and backward parts of a scope are two clusters."""
    import graphviz

    tree: dict[Any, Any] = {}
    rows = mount.rows if mount else {}
    placed = mount.attributes if mount else {}
    for vertex in graph.vertices:
        level = tree
        for scope in vertex.scope:
            level = level.setdefault((vertex.order, scope, rows.get(vertex.id, 0)), {})
        level[vertex.id] = vertex

    def write(parent: Any, level: Mapping[Any, Any]) -> None:
        for key, value in level.items():
            if isinstance(value, Vertex):
                _add_vertex(parent, value, graph, theme, mount)
                continue
            order, scope, row = key
            look = theme.backward_cluster if order else theme.forward_cluster
            name = f"cluster_{order}_{scope}" + (f"_{row}" if row else "")
            title = literal(graph.scopes[scope]) + _half(order)
            with parent.subgraph(name=name) as cluster:
                cluster.attr(
                    label=graphviz.nohtml("\\n".join(broken([title], mount.title_letters) if mount else [title])),
                    style="rounded,dashed" if order else "rounded",
                    color=look.line,
                    fontcolor=look.text,
                    fontsize="13",
                    labeljust="l",
                    labelloc="b" if order else "t",
                    **{"margin": "8" if mount else "20", **placed.get(name, {})},
                )
                write(cluster, value)

    write(dot, tree)


def _half(order: int) -> str:
    return "" if order == 0 else " · gradient" if order == 1 else f" · gradient {order}"


def _add_vertex(dot: Any, vertex: Vertex, graph: Graph, theme: Theme, mount: Mount | None) -> None:
    import graphviz

    leaf = vertex.operation is None
    look = theme.backward if vertex.order else theme.leaf if leaf else theme.forward
    style = ["filled", *(["rounded"] if leaf else ["dashed"] if vertex.order else [])]
    extra = {"style": ",".join(style)} if len(style) > 1 else {}
    if vertex.holds:
        extra |= {"shape": "box3d", "margin": "0.2,0.14"}
    if vertex.unbroadcast:
        extra["peripheries"] = "2"
    label = _label(vertex)
    if mount:
        label = (
            label
            if vertex.values
            else broken([t for t in label if not (mount.terse and t == UNDOES)], mount.letters[vertex.id])
        )
        extra |= mount.attributes.get(f"n{vertex.id}", {})
    dot.node(
        f"n{vertex.id}",
        graphviz.nohtml("\\n".join(label)),
        id=f"n{vertex.id}",
        tooltip=graphviz.nohtml(_escaped(_tooltip(vertex, graph))),
        fillcolor=look.fill,
        color=look.line,
        fontcolor=look.text,
        **extra,
    )


def broken(lines: list[str], letters: int) -> list[str]:
    """Join lines while they are short, and break them at spaces where they are long."""
    result: list[str] = []
    whole = False
    for line in lines:
        pieces = textwrap.wrap(line, letters, break_long_words=False, break_on_hyphens=False) or [line]
        if whole and len(pieces) == 1 and len(result[-1]) + 2 + len(line) <= letters:
            pieces = [f"{result.pop()}  {line}"]
        whole = len(pieces) == 1
        result += pieces
    return result


def _label(vertex: Vertex) -> list[str]:
    """Return the lines of a box, ready for DOT."""
    if vertex.holds:
        each = f" × {vertex.times}" if vertex.times > 1 else ""
        return [
            (literal(vertex.symbol) or "scope") + _half(vertex.order) + each,
            _escaped(holding(vertex)),
            _escaped(vertex.detail),
        ]
    lines = [literal(vertex.name)] if vertex.name else []
    if vertex.operation is not None:
        lines.append(_escaped(" ".join(part for part in (vertex.symbol, vertex.detail) if part)))
    elif not lines:
        lines.append("data")
    if vertex.unbroadcast:
        lines.append(UNDOES)
    lines.append(in_words(vertex.shape) + (f" {vertex.dtype}" if vertex.values is not None else ""))
    lines += map(_escaped, vertex.values.split("\n") if vertex.values else ())
    if vertex.gradient_norm is not None:
        lines.append(f"gradient norm {vertex.gradient_norm}")
    return lines


def in_words(shape: tuple[int, ...]) -> str:
    """Return a shape as pictures show it: ``8×3``, ``scalar``."""
    return "×".join(map(str, shape)) or "scalar"


def holding(vertex: Vertex) -> str:
    """Say how many operations a box holds: ``12 operations``."""
    return f"{vertex.holds} operation{'' if vertex.holds == 1 else 's'}{' each' if vertex.times > 1 else ''}"


def _tooltip(vertex: Vertex, graph: Graph) -> str:
    if vertex.holds:
        return f"{vertex.symbol}{_half(vertex.order)}: {holding(vertex)}, {vertex.detail}"
    whole = f"{vertex.name or ''} {vertex.operation or 'leaf'} {vertex.shape} {vertex.dtype}"
    if vertex.formula:
        whole += f": {vertex.formula}"
    if vertex.differentiates is not None:
        source = graph.vertices[vertex.differentiates]
        whole += f", beside {source.name or ''} {source.symbol or source.operation or ''}"
    return whole


def edge_id(edge: Edge) -> str:
    return f"e{edge.source}_{edge.target}_{edge.operand}"


def _add_edge(dot: Any, edge: Edge, source: Vertex, target: Vertex, theme: Theme, **placed: str) -> None:
    import graphviz

    tail, head = f"n{source.id}", f"n{target.id}"
    attributes = {"id": edge_id(edge), "tooltip": f"operand {edge.operand}"}
    lent = source.order < target.order
    if edge.marks and not lent:
        attributes["label"] = graphviz.nohtml(f"  {', '.join(edge.marks)}  ")
    if lent:
        # A value that the gradient borrows from the forward pass.
        look = theme.lent_edge
        attributes |= {"constraint": "false", "style": "dotted", "penwidth": "1.8", "arrowsize": "0.6"}
    elif target.order:
        # The backward half runs upwards beside the forward one.
        look, tail, head = theme.backward_edge, head, tail
        attributes |= {"dir": "back", "style": "dashed"}
    else:
        look = theme.forward_edge
    dot.edge(tail, head, color=look.line, fontcolor=look.text, **attributes, **placed)
