"""Place the labels of edges and clusters so that no line crosses them, and count the faults of a layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..engine.operators import Array
from .sheet import Path, Placed, Point, Rectangle, Sheet

GAP = 3.0
STEP = 6.0
SHARES = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9)
FAR = (0.0, 5.0, 11.0)
SAMPLES = np.linspace(0, 1, 9)[:, None]
# Penalties for a label that covers a box or another label, a line through a label, and a line through a box.
COVERS, CROSSED, PIERCED = 10, 3, 5


def polyline(path: Path) -> Array:
    """Return points along a spline and the tip of its arrow."""
    p = np.array(path.points)
    a, b, c, d = (p[i : len(p) - 3 + i : 3][:, None] for i in range(4))
    t = SAMPLES
    points = ((1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d).reshape(-1, 2)
    tips = [[path.start] if path.start else [], points, [path.end] if path.end else []]
    return np.concatenate([np.reshape(part, (-1, 2)) for part in tips])


def passes(rectangle: Rectangle, segments: Array) -> Array:
    """Return which segments, given as rows of x, y, x, y, pass through a rectangle."""
    x0, y0, x1, y1 = rectangle
    start, step = segments[:, :2], segments[:, 2:] - segments[:, :2]
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = ((np.array(corner) - start) / step for corner in ((x0, y0), (x1, y1)))
    inside = (start > (x0, y0)) & (start < (x1, y1))
    enter = np.where(step == 0, np.where(inside, -np.inf, np.inf), np.minimum(low, high)).max(axis=1)
    leave = np.where(step == 0, np.where(inside, np.inf, -np.inf), np.maximum(low, high)).min(axis=1)
    return np.asarray(np.maximum(enter, 0) < np.minimum(leave, 1))


def around(center: Point, size: Point) -> Rectangle:
    return center[0] - size[0] / 2, center[1] - size[1] / 2, center[0] + size[0] / 2, center[1] + size[1] / 2


def overlap(a: Rectangle, b: Array) -> Array:
    """Return which of several rectangles overlap with a."""
    return (b[:, 0] < a[2]) & (b[:, 2] > a[0]) & (b[:, 1] < a[3]) & (b[:, 3] > a[1])


class Obstacles:
    """The boxes, placed labels and lines that new labels should avoid."""

    def __init__(self, placed: Placed, sheet: Sheet) -> None:
        self.solid = np.array([around(p, sheet.boxes[name]) for name, p in placed.boxes.items()]).reshape(-1, 4)
        lines = {name: polyline(path) for name, path in placed.paths.items()}
        self.segments = np.concatenate([np.hstack([p[:-1], p[1:]]) for p in lines.values()] or [np.zeros((0, 4))])
        # Labels should not lie on the frames of clusters either.
        corners = [(x0, y0, x1, y1) for _, _, (x0, y0, x1, y1), _ in placed.clusters]
        frames = [
            s
            for x0, y0, x1, y1 in corners
            for s in ((x0, y0, x1, y0), (x0, y1, x1, y1), (x0, y0, x0, y1), (x1, y0, x1, y1))
        ]
        self.frames = np.array(frames).reshape(-1, 4)

    def faults(self, rectangle: Rectangle) -> int:
        covered = int(overlap(rectangle, self.solid).sum())
        crossed = bool(passes(rectangle, self.segments).any()) + bool(passes(rectangle, self.frames).any())
        return COVERS * covered + CROSSED * crossed

    def put(self, places: Iterable[Point], size: Point) -> tuple[Point, int]:
        """Reserve the first place without faults, or else the one with the fewest. Return it and its faults."""
        best: tuple[int, Point] | None = None
        for place in places:
            faults = self.faults(around(place, size))
            if best is None or faults < best[0]:
                best = faults, place
            if not faults:
                break
        assert best is not None  # there are places
        self.solid = np.vstack([self.solid, around(best[1], size)])
        return best[1], best[0]


def label(placed: Placed, sheet: Sheet) -> int:
    """Place the labels of clusters and edges, and return the penalty for the remaining faults."""
    obstacles = Obstacles(placed, sheet)
    total = 0
    for name, band, box, size in placed.clusters:
        at, faults = obstacles.put(_within(box, size), size)
        placed.titles[name, band] = at
        total += faults
    for line in sheet.lines:
        if line.size:
            at, faults = obstacles.put(_along(placed.paths[line.id], line.size), line.size)
            placed.labels[line.id] = at
            total += faults
    return total


def pierced(placed: Placed, sheet: Sheet) -> int:
    """Return the penalty for lines that run through other boxes than those they connect."""
    around_boxes = {name: around(at, sheet.boxes[name]) for name, at in placed.boxes.items()}
    total = 0
    for line in sheet.lines:
        points = polyline(placed.paths[line.id])
        segments = np.hstack([points[:-1], points[1:]])
        others = (box for name, box in around_boxes.items() if name not in (line.tail, line.head))
        total += sum(bool(passes(box, segments).any()) for box in others)
    return PIERCED * total


def _within(box: Rectangle, size: Point) -> Iterator[Point]:
    """Yield places for a cluster's label: along its upper edge, its lower edge, and down its left and right edges."""
    x0, y0, x1, y1 = box
    w, h = size
    left, right = x0 + w / 2 + GAP, max(x1, x0 + w + 2 * GAP) - w / 2 - GAP
    top, bottom = y1 - h / 2 - 2, y0 + h / 2 + 2
    for y in (top, bottom):
        yield from ((float(x), y) for x in np.arange(left, right + 0.1, STEP))
    for y in np.arange(top, bottom, -STEP):
        yield from ((x, float(y)) for x in (left, right))


def _along(path: Path, size: Point) -> Iterator[Point]:
    """Yield places for an edge's label: beside its middle, then further along."""
    points = polyline(path)
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    w, h = size
    for far in FAR:
        for share in SHARES:
            x, y = (float(np.interp(share * lengths[-1], lengths, points[:, i])) for i in (0, 1))
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 0.7), (-1, 0.7), (1, -0.7), (-1, -0.7)):
                yield x + dx * (w / 2 + GAP + far), y + dy * (h / 2 + GAP + far)
