"""The graph of a recording as SVG, laid out by Graphviz, whose boxes and arrows the page finds by id."""

from __future__ import annotations

import re

from ..render import render
from ..text import literal
from .recording import Recording


def dot_of(recording: Recording) -> str:
    """Return DOT: a box ``n3`` for each Tensor shown, an arrow ``e5`` for each link; equal graphs give equal text."""
    import graphviz

    dot = graphviz.Digraph(
        graph_attr={"bgcolor": "transparent", "nodesep": "0.3", "ranksep": "0.32", "margin": "0.05"},
        node_attr={"shape": "box", "style": "filled", "fontname": "Helvetica", "fontsize": "15", "margin": "0.14,0.07"},
        edge_attr={"arrowsize": "0.7", "penwidth": "1.6"},
    )
    for i, t in enumerate(recording.tensors):
        name, made_by = recording.called(t).text, "" if t.node is None else recording.computed_by(t).text
        lines = [name, made_by] if t.node is not None and t.name and len(made_by) <= 24 else [name]
        corners = "filled" if t.node is not None else "filled,rounded"
        dot.node(f"n{i}", graphviz.nohtml("\\n".join(map(literal, lines))), id=f"n{i}", style=corners)
    for i, link in enumerate(recording.links):
        # Both ends have a head, of which the page shows the one that points where things flow.
        style = {"style": "dotted"} if link.before is None else {"dir": "both", "class": "both"}
        dot.edge(f"n{recording.place[link.source]}", f"n{recording.place[link.target]}", id=f"e{i}", **style)
    return str(dot.source)


def svg_of(dot: str, prefix: str, label: str) -> str:
    """Return the SVG element alone, every id with a prefix, as a group of its own for assistive technology."""
    svg = render(dot).decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r"<title>.*?</title>", "", svg, flags=re.S)
    # Graphviz writes "-" in ids as an entity.
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}\1"', svg)
    return svg.replace("<svg ", f'<svg role="group" aria-label="{label}" ', 1)
