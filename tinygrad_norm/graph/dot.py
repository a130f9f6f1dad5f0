"""Convert a Graph to DOT text. All labels are escaped, and node ids contain no names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .boxes import broken, caption_lines, half, holding, mark_lines, short_label, whole_label
from .digits import SPACE
from .model import Edge, Graph, Vertex
from .scopes import title
from .text import LONGEST_NAME, escaped, shortened

FONT_SIZE = 13

# Without a limit the network simplex takes minutes if edges span many rows of boxes. Small pictures do not change.
LAYOUT_LIMIT = {"nslimit": "5"}


class Look(NamedTuple):
    """The colours of a kind of box, line or cluster. ``fill`` is the background of its text."""

    fill: str
    line: str
    text: str


@dataclass(frozen=True)
class Theme:
    """The colours of a picture. The contrast is at least 4.5 for text and 3 for lines.

    Nothing is shown by colour alone: leaves are rounded, gradients are dashed, gradients of gradients have heavy
    lines, and values that a gradient takes from the forward pass have dotted lines.
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
        """Return the look of boxes (``""``), edges (``"_edge"``) or clusters (``"_cluster"``) of an order."""
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
    lent_edge=Look("#ffffff", "#7d5f56", "#7a6762"),
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
    lent_edge=Look("#10171f", "#c9b3ac", "#b9a59f"),
    forward_cluster=Look("#10171f", "#5a7ba6", "#9cc4f7"),
    backward_cluster=Look("#10171f", "#a8604f", "#f8b3a3"),
    higher_cluster=Look("#10171f", "#8064ab", "#d5bff8"),
)
THEMES = {"light": LIGHT, "dark": DARK}


def theme_called(name: str) -> Theme:
    """Return a theme by its name. An unknown name raises a ValueError."""
    if name not in THEMES:
        raise ValueError(f"theme must be {' or '.join(map(repr, THEMES))}, not {name!r}")
    return THEMES[name]


@dataclass(frozen=True)
class Mount:
    """The layout of a picture in a frame: the line lengths of labels, and the positions of all parts.

    Attributes
    ----------
    letters : mapping
        The longest line of each box, by vertex id. Lines break at spaces only.
    terse : bool
        Omit "broadcast" and "undoes broadcast", which shapes and double frames show, and the numbers of operations in
        boxes.
    title_letters, caption_letters, mark_letters : int
        The longest line of a cluster's label, of the caption and of an edge's label.
    rows : mapping
        The row of each vertex, by its id. A scope has a cluster in each row.
    attributes : mapping
        Further attributes of boxes, edges and clusters, by id or name. The key "" is for the graph.
    """

    letters: Mapping[int, int]
    terse: bool = False
    title_letters: int = LONGEST_NAME
    caption_letters: int = LONGEST_NAME
    mark_letters: int = LONGEST_NAME
    rows: Mapping[int, int] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def to_dot(
    graph: Graph, rankdir: str = "TB", theme: Theme = LIGHT, caption: str = "", mount: Mount | None = None
) -> str:
    """Return the DOT text of a graph, with one node for each vertex and one edge for each operand.

    The text is deterministic. ``rankdir`` is the direction of the forward pass: "TB" from top to bottom, "LR" from left
    to right. The caption is below the picture. A mount sets the positions and reduces the margins.
    """
    import graphviz

    close = mount is not None
    placed = mount.attributes if mount else {}
    # A blank line keeps the caption of a fitted picture at a distance. It holds a space, since an empty line crashes
    # Graphviz as WebAssembly.
    lines = [*[" "] * close, *map(escaped, caption_lines(caption, mount.caption_letters if mount else LONGEST_NAME))]
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
            "margin": "0.08,0.035" if close else "0.18,0.07",
            **({"width": "0.4", "height": "0.28"} if close else {}),
        },
        edge_attr={"fontname": "Helvetica", "fontsize": str(FONT_SIZE) if close else "11", "arrowsize": "0.7"},
    )
    if mount and mount.terse:
        graph = replace(graph, edges=tuple(map(_unmarked, graph.edges)))
    _add_clusters(dot, graph, theme, mount)
    for edge in graph.edges:
        at = placed.get(edge_id(edge), {})
        _add_edge(dot, edge, graph.vertices[edge.source], graph.vertices[edge.target], theme, mount, **at)
    _tie_halves(dot, graph)
    return str(dot.source)


def legend(graph: Graph) -> str:
    """Return the meaning of the line styles if a gradient was differentiated again, or else ""."""
    highest = max((vertex.order for vertex in graph.vertices), default=0)
    if highest < 2:
        return ""
    again = "its gradient" if highest == 2 else "gradients of it"
    return f"solid: forward, dashed: gradient, heavy dashed: {again}, dotted: values that a gradient uses"


def _unmarked(edge: Edge) -> Edge:
    return replace(edge, marks=tuple(mark for mark in edge.marks if mark != "broadcast"))


def _tie_halves(dot: Any, graph: Graph) -> None:
    """Place the first vertex of every gradient rule beside the vertex that it differentiates."""
    for differentiated, vertex in ties(graph):
        dot.body.append(f"\t{{rank=same; n{differentiated}; n{vertex}}}\n")


def ties(graph: Graph) -> list[tuple[int, int]]:
    """Return pairs of a differentiated vertex and the first vertex of its rule."""
    first: dict[tuple[int, int], int] = {}
    for vertex in graph.vertices:
        if vertex.order and vertex.differentiates is not None:
            first.setdefault((vertex.differentiates, vertex.order), vertex.id)
    return [(differentiated, vertex) for (differentiated, _), vertex in first.items()]


def _add_clusters(dot: Any, graph: Graph, theme: Theme, mount: Mount | None) -> None:
    """Write vertices inside the clusters of their scopes. Each scope has a forward and a backward cluster."""
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
            look = theme.of_order("_cluster", order)
            name = f"cluster_{order}_{scope}" + (f"_{row}" if row else "")
            called = shortened(title(graph.scopes[scope])) + half(order)
            lines = broken([called], mount.title_letters) if mount else [called]
            with parent.subgraph(name=name) as cluster:
                cluster.attr(
                    label=graphviz.nohtml("\\n".join(map(escaped, lines))),
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


def _heavy(order: int) -> dict[str, str]:
    """Return the line width for a gradient of a gradient."""
    return {"penwidth": "2.4"} if order > 1 else {}


def _add_vertex(dot: Any, vertex: Vertex, graph: Graph, theme: Theme, mount: Mount | None) -> None:
    import graphviz

    leaf = vertex.operation is None
    look = theme.leaf if leaf and not vertex.order else theme.of_order("", vertex.order)
    style = ["filled", *(["rounded"] if leaf else ["dashed"] if vertex.order else [])]
    extra = {"style": ",".join(style)} if len(style) > 1 else {}
    if vertex.holds:
        extra |= {"shape": "box3d", "margin": "0.12,0.08" if mount else "0.2,0.14"}
    if vertex.unbroadcast:
        extra["peripheries"] = "2"
    extra |= _heavy(vertex.order)
    if (vertex.values or "").startswith(SPACE):
        extra["fontname"] = "Courier"  # as wide as the final monospaced font
    if vertex.refused:
        look, extra = theme.backward, {"shape": "octagon", "penwidth": "3"}
    label = short_label(vertex, mount.letters[vertex.id], mount.terse) if mount else whole_label(vertex)
    if mount:
        extra |= mount.attributes.get(f"n{vertex.id}", {})
    dot.node(
        f"n{vertex.id}",
        graphviz.nohtml("\\n".join(map(escaped, label))),
        id=f"n{vertex.id}",
        tooltip=graphviz.nohtml(escaped(_tooltip(vertex, graph))),
        fillcolor=look.fill,
        color=look.line,
        fontcolor=look.text,
        **extra,
    )


def _tooltip(vertex: Vertex, graph: Graph) -> str:
    if vertex.holds:
        return f"{vertex.symbol}{half(vertex.order)}: {holding(vertex)}, {vertex.detail}"
    if vertex.refused:
        return f"{vertex.symbol} of {vertex.detail} raised {vertex.refused}"
    whole = f"{vertex.name or ''} {vertex.operation or 'leaf'} {vertex.shape} {vertex.dtype}"
    if vertex.differentiates is not None:
        source = graph.vertices[vertex.differentiates]
        whole += f", differentiates {source.name or ''} {source.symbol or source.operation or ''}"
    return whole


def edge_id(edge: Edge) -> str:
    return f"e{edge.source}_{edge.target}_{edge.operand}"


def _add_edge(
    dot: Any, edge: Edge, source: Vertex, target: Vertex, theme: Theme, mount: Mount | None, **placed: str
) -> None:
    import graphviz

    tail, head = f"n{source.id}", f"n{target.id}"
    attributes = {"id": edge_id(edge), "tooltip": f"operand {edge.operand}"}
    lent = source.order < target.order
    marks = [mark for mark in edge.marks if not (lent and mark == "broadcast")]
    if marks:
        lines = mark_lines(marks, mount.mark_letters) if mount else [f"  {', '.join(marks)}  "]
        attributes["label"] = graphviz.nohtml("\\n".join(lines))
    if lent:
        # A value of the forward pass that the gradient uses.
        look = theme.lent_edge
        attributes |= {"constraint": "false", "style": "dotted", "penwidth": "1.8", "arrowsize": "0.6"}
    elif target.order:
        # The gradient runs upwards beside the forward pass.
        look, tail, head = theme.of_order("_edge", target.order), head, tail
        attributes |= {"dir": "back", "style": "dashed"} | _heavy(target.order)
    else:
        look = theme.forward_edge
    dot.edge(tail, head, color=look.line, fontcolor=look.text, **attributes, **placed)
