"""Lay out the boxes and lines of a picture with Graphviz, or as a grid if that would take too long."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import ceil, sqrt
from typing import NamedTuple
from unicodedata import east_asian_width

from ..collapse import too_much
from ..dot import LAYOUT_LIMIT, ties
from ..model import Graph
from ..render import layout
from .grouping import MOST_BOXES

# Sizes in pixels: the height of a line, the width of a letter, the padding around text, the space for the plus of a box
# that opens, and the gap between boxes in a grid.
LINE, LETTER, PAD, PLUS, GAP = 17, 7.4, 9, 20, 26
NARROW, WIDE = frozenset("fijlrtI.,:;|'()[]  "), frozenset("mwMW@%—…")


class Layout(NamedTuple):
    """Boxes as left, top, width and height. Lines as the data of SVG paths, with the positions of their labels."""

    width: int
    height: int
    boxes: list[tuple[int, int, int, int]]
    lines: list[tuple[str, tuple[int, int] | None]]
    grid: bool


def laid_out(graph: Graph, labels: Sequence[Sequence[str]]) -> Layout:
    """Return the layout for boxes with the given labels, as lines of text."""
    sizes = [_size(lines, v.operation in ("scope", "step")) for v, lines in zip(graph.vertices, labels, strict=True)]
    # Edges that close a cycle are ignored in the estimate of the time.
    forwards = Graph(graph.vertices, tuple(e for e in graph.edges if e.source < e.target), graph.scopes, ())
    return _in_a_grid(graph, sizes) if too_much(forwards, 2 * MOST_BOXES) else _by_graphviz(_dot(graph, sizes))


def _size(lines: Sequence[str], opens: bool) -> tuple[int, int]:
    """Return the width and height of a box, rounded so that boxes with similar labels have equal sizes."""
    width = max(sum(map(_width, line)) for line in lines) * LETTER + (PLUS if opens else 0)
    return 8 * ceil((width + 2 * PAD) / 8), LINE * len(lines) + 2 * PAD


def _width(letter: str) -> float:
    if letter in NARROW:
        return 0.6
    return 1.75 if east_asian_width(letter) in "WF" else 1.45 if letter in WIDE else 1.2 if letter.isupper() else 1.0


def _dot(graph: Graph, sizes: Sequence[tuple[int, int]]) -> str:
    """Return DOT text without labels, so that equal pictures are laid out once."""
    settings = " ".join(f"{key}={value};" for key, value in LAYOUT_LIMIT.items())
    lines = [f'digraph {{ newrank=true; nodesep=0.3; ranksep=0.42; {settings} node [shape=box fixedsize=true label=""]']
    for i, (width, height) in enumerate(sizes):
        lines.append(f"{i} [width={width / 72:.4f} height={height / 72:.4f}]")
    for i, e in enumerate(graph.edges):
        orders = graph.vertices[e.source].order, graph.vertices[e.target].order
        ends, look = (e.source, e.target), ""
        if orders[0] < orders[1]:
            look = "constraint=false"
        elif orders[1]:
            ends, look = (e.target, e.source), "dir=back"
        label = f'label="{"x" * len(", ".join(e.marks))}"' if e.marks else ""
        lines.append(f"{ends[0]} -> {ends[1]} [id={i} arrowsize=0.7 {look} {label}]")
    lines += [f"{{rank=same; {a}; {b}}}" for a, b in ties(graph)]
    return "\n".join([*lines, "}"])


@lru_cache(maxsize=512)
def _by_graphviz(dot: str) -> Layout:
    told = layout(dot)
    _, _, width, height = map(float, told["bb"].split(","))

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x), round(height - y)

    boxes = []
    for o in sorted((o for o in told["objects"] if "pos" in o), key=lambda o: int(o["name"])):
        (x, y), (w, h) = _points(o["pos"])[0], (72 * float(o["width"]), 72 * float(o["height"]))
        boxes.append((*at(x - w / 2, y + h / 2), round(w), round(h)))
    lines = []
    for e in sorted(told.get("edges", ()), key=lambda e: int(e["id"])):
        points = [at(*p) for p in _points(re.sub(r"[es],\S+", "", e["pos"]))]
        path = points[::-1] if e.get("dir") == "back" else points
        (start, *rest) = (f"{x} {y}" for x, y in path)
        lines.append((f"M{start}C{' '.join(rest)}", at(*_points(e["lp"])[0]) if "lp" in e else None))
    return Layout(ceil(width), ceil(height), boxes, lines, False)


def _points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def _in_a_grid(graph: Graph, sizes: Sequence[tuple[int, int]]) -> Layout:
    """Place boxes in rows, like the words of a text, with straight lines."""
    across = ceil(sqrt(len(sizes)))
    width, height = (max(size) + GAP for size in zip(*sizes, strict=True))
    boxes = [(i % across * width, i // across * height, *size) for i, size in enumerate(sizes)]
    middles = [(x + w // 2, y + h // 2) for x, y, w, h in boxes]
    lines = ["M{} {}L{} {}".format(*middles[e.source], *middles[e.target]) for e in graph.edges]
    return Layout(across * width, ceil(len(sizes) / across) * height, boxes, [(line, None) for line in lines], True)
