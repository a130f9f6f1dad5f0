"""The sizes of all parts of a picture, measured by Graphviz, and their positions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .dot import FONT_SIZE
from .render import layout

Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]
Move = Callable[[Point], Point]


class Line(NamedTuple):
    """An edge as it is drawn, from its tail to its head. ``source`` is the end that the value comes from."""

    id: str
    tail: str
    head: str
    label: str
    size: Point | None
    lent: bool
    back: bool

    @property
    def source(self) -> str:
        return self.head if self.back else self.tail


class Cluster(NamedTuple):
    name: str
    label: str
    nodes: frozenset[str]
    inner: tuple[Cluster, ...]


@dataclass(frozen=True)
class Sheet:
    """The parts of a picture: boxes with their sizes, lines, clusters, and pairs of boxes to place side by side."""

    boxes: Mapping[str, Point]
    lines: tuple[Line, ...]
    clusters: tuple[Cluster, ...]
    ties: tuple[tuple[str, str], ...]
    gradient: frozenset[str]
    titles: Mapping[str, Point]
    caption: Point


class Path(NamedTuple):
    """The control points of a cubic spline, and the tip of an arrow at its start or end."""

    points: list[Point]
    start: Point | None = None
    end: Point | None = None

    def reversed(self) -> Path:
        return Path(self.points[::-1], self.end, self.start)


@dataclass
class Placed:
    """The positions of all parts. The y axis points up."""

    boxes: dict[str, Point] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    labels: dict[str, Point] = field(default_factory=dict)
    clusters: list[tuple[str, int, Rectangle, Point]] = field(default_factory=list)
    titles: dict[tuple[str, int], Point] = field(default_factory=dict)

    def moved(self, move: Move) -> Placed:
        """Return the positions with every point moved."""
        return Placed(
            {name: move(p) for name, p in self.boxes.items()},
            {
                name: Path([*map(move, path.points)], path.start and move(path.start), path.end and move(path.end))
                for name, path in self.paths.items()
            },
            {name: move(p) for name, p in self.labels.items()},
            [
                (name, band, spanned([move((r[0], r[1])), move((r[2], r[3]))]), size)
                for name, band, r, size in self.clusters
            ],
            {key: move(p) for key, p in self.titles.items()},
        )


def spanned(points: Iterable[Point]) -> Rectangle:
    """Return the rectangle around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def measured(source: str, ties: Sequence[tuple[str, str]], gradient: frozenset[str]) -> Sheet:
    """Return the parts of a picture in DOT text, with the sizes that Graphviz computes."""
    told = layout(source)
    objects = {o["_gvid"]: o for o in told.get("objects", ())}
    nodes = {i: o for i, o in objects.items() if "pos" in o}

    def cluster(i: int) -> Cluster:
        o = objects[i]
        inside = frozenset(nodes[n]["name"] for n in o.get("nodes", ()))
        return Cluster(o["name"], o["label"], inside, tuple(cluster(j) for j in o.get("subgraphs", ()) if named(j)))

    def named(i: int) -> bool:
        return bool(objects[i]["name"].startswith("cluster"))

    inner = {j for o in objects.values() for j in o.get("subgraphs", ())}
    return Sheet(
        {o["name"]: (72 * float(o["width"]), 72 * float(o["height"])) for o in nodes.values()},
        tuple(
            Line(
                e["id"], nodes[e["tail"]]["name"], nodes[e["head"]]["name"], e.get("label", ""), _size(e),
                e.get("constraint") == "false", e.get("dir") == "back",
            )
            for e in told.get("edges", ())
        ),
        tuple(cluster(i) for i in objects if i not in nodes and i not in inner and named(i)),
        tuple(ties),
        gradient,
        {o["name"]: _label_size(o) for o in objects.values() if "lwidth" in o},
        _label_size(told),
    )  # fmt: skip


def _label_size(told: Mapping[str, Any]) -> Point:
    return 72 * float(told.get("lwidth", 0)), 72 * float(told.get("lheight", 0))


def _size(edge: Mapping[str, Any]) -> Point | None:
    """Estimate the size of an edge's label, which Graphviz does not report, from its letters."""
    lines = edge.get("label", "").split("\\n")
    longest = max(map(len, lines))
    return (0.55 * FONT_SIZE * longest + 2, 1.15 * FONT_SIZE * len(lines)) if longest else None


def placed_by(told: Mapping[str, Any], band: int, sizes: Mapping[str, Point]) -> Placed:
    row = Placed()
    for o in told.get("objects", ()):
        if "pos" in o:
            row.boxes[o["name"]] = _numbers(o["pos"])[0]
        elif o["name"].startswith("cluster_") and not o["name"].startswith("cluster_half"):
            x0, y0, x1, y1 = map(float, o["bb"].split(","))
            row.clusters.append((o["name"], band, (x0, y0, x1, y1), sizes[o["name"]]))
    for e in told.get("edges", ()):
        found = {m[1]: _numbers(m[2])[0] for m in re.finditer(r"([es]),(\S+)", e["pos"])}
        points = _numbers(re.sub(r"[es],\S+", "", e["pos"]))
        row.paths[e["id"]] = Path(points, found.get("s"), found.get("e"))
    return row


def _numbers(text: str) -> list[Point]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def extent(row: Placed, sheet: Sheet, rankdir: str | None = None) -> Rectangle:
    """Return the rectangle around boxes, clusters and paths; with ``rankdir``, in coordinates along the flow."""
    corners = [p for path in row.paths.values() for p in path.points]
    for name, (a, c) in row.boxes.items():
        w, h = sheet.boxes.get(name, (0.0, 0.0))
        if rankdir == "TB":
            w, h = h, w
        corners += [(a - w / 2, c - h / 2), (a + w / 2, c + h / 2)]
    corners += [p for _, _, (x0, y0, x1, y1), _ in row.clusters for p in ((x0, y0), (x1, y1))]
    sizes = {line.id: line.size for line in sheet.lines}
    texts = [(at, size) for name, at in row.labels.items() if (size := sizes[name])]
    texts += [(row.titles[name, band], size) for name, band, _, size in row.clusters if row.titles]
    corners += [(x + s * w / 2, y + s * h / 2) for (x, y), (w, h) in texts for s in (-1, 1)]
    return spanned(corners or [(0.0, 0.0)])
