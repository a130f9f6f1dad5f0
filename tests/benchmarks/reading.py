"""What an SVG picture looks like to a reader: its size, its boxes, its texts, and what runs through them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

SVG = "{http://www.w3.org/2000/svg}"
# Of a letter, as a share of the size of the text: a little less than Helvetica's mean, so that what touches counts not.
LETTER = 0.5
ASCENT, DESCENT = 0.66, 0.1
# What is nearer than this, in the picture's units, touches.
TOUCHING = 0.5
SAMPLES = np.linspace(0, 1, 17)[:, None]

Rectangle = tuple[float, float, float, float]


class Text(NamedTuple):
    text: str
    size: float
    around: Rectangle
    kind: str
    owner: str


class Look(NamedTuple):
    """What can be seen, in units of the picture, each of which is ``scale`` points in the file.

    ``width`` and ``height`` are in points; a box is a rectangle, a line is a polyline and an arrow the middle of its
    head, by the ids in the file.
    """

    width: float
    height: float
    scale: float
    boxes: dict[str, Rectangle]
    texts: list[Text]
    lines: dict[str, np.ndarray]
    arrows: dict[str, np.ndarray]
    page: Rectangle

    @property
    def smallest_text(self) -> float:
        """In points in the file."""
        return min(text.size for text in self.texts) * self.scale

    def in_frame(self, width: float, height: float) -> float:
        """The smallest text in points where the picture is scaled into a frame."""
        return self.smallest_text * min(width / self.width, height / self.height)


def look(svg: str) -> Look:
    """Read an SVG that Graphviz made."""
    root = ElementTree.fromstring(svg)
    width, height = (float(root.get(key, "").removesuffix("pt")) for key in ("width", "height"))
    view = [float(x) for x in root.get("viewBox", "").split()]
    graph = root.find(f"{SVG}g")
    assert graph is not None
    # How the file's view lies on the coordinates in which the boxes are given.
    found = re.search(r"scale\((\S+).*translate\((\S+) (\S+)\)", graph.get("transform", "scale(1 1) translate(0 0)"))
    assert found is not None
    zoom, x, y = map(float, found.groups())
    left, top, across, down = (size / zoom for size in view)
    page = left - x, top - y, left - x + across, top - y + down
    scale = width / across
    boxes, texts, lines, arrows = {}, [], {}, {}
    for group in graph:
        # What has no class belongs to the graph: its caption.
        kind, name = group.get("class", "graph"), group.get("id", "")
        found = _texts(group, kind, name)
        if kind == "node":
            shapes = [_outline(shape) for shape in group.iter() if shape.tag in (f"{SVG}polygon", f"{SVG}path")]
            boxes[name] = _around(np.concatenate(shapes))
            found = [text._replace(around=_inside(text.around, boxes[name])) for text in found]
        elif kind == "edge":
            lines[name] = np.concatenate([_outline(p) for p in group.iter(f"{SVG}path")])
            arrows[name] = np.concatenate([_outline(p) for p in group.iter(f"{SVG}polygon")]).mean(axis=0)
        texts += found
    return Look(width, height, scale, boxes, texts, lines, arrows, page)


def _texts(group: ElementTree.Element, kind: str, owner: str) -> list[Text]:
    result = []
    for element in group.iter(f"{SVG}text"):
        text, size = (element.text or "").strip(), float(element.get("font-size", "0"))
        x, y = float(element.get("x", "0")), float(element.get("y", "0"))
        half = LETTER * size * len(text) / 2
        result.append(Text(text, size, (x - half, y - ASCENT * size, x + half, y + DESCENT * size), kind, owner))
    return [text for text in result if text.text]


def _inside(text: Rectangle, box: Rectangle) -> Rectangle:
    """Keep a text, whose width is a guess, within its box."""
    return max(text[0], box[0] + 2), text[1], min(text[2], box[2] - 2), text[3]


def _numbers(text: str | None) -> np.ndarray:
    return np.array([float(x) for x in re.findall(r"-?[\d.]+", text or "")]).reshape(-1, 2)


def _around(points: np.ndarray) -> Rectangle:
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def _outline(shape: ElementTree.Element) -> np.ndarray:
    """Return points along a polygon, or along a path of cubic splines."""
    if shape.tag == f"{SVG}polygon":
        return _numbers(shape.get("points"))
    p = _numbers(shape.get("d"))
    a, b, c, d = (p[i : len(p) - 3 + i : 3][:, None] for i in range(4))
    t = SAMPLES
    return ((1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d).reshape(-1, 2)


def overlaps(seen: Look) -> list[tuple[str, str]]:
    """Return the boxes that share area with each other, labels that lie on boxes or labels, and what is cut off."""
    labels = [text for text in seen.texts if text.kind != "node"]
    things = [*seen.boxes.items(), *((f"{t.owner} {t.text}", t.around) for t in labels)]
    found = []
    for i, (name, a) in enumerate(things):
        found += [(name, other) for other, b in things[i + 1 :] if _share(a, b)]
        if not (seen.page[0] <= a[0] and seen.page[1] <= a[1] and a[2] <= seen.page[2] and a[3] <= seen.page[3]):
            found.append((name, "the page's edge"))
    return found


def _share(a: Rectangle, b: Rectangle) -> bool:
    return min(a[2], b[2]) - max(a[0], b[0]) > TOUCHING and min(a[3], b[3]) - max(a[1], b[1]) > TOUCHING


def struck(seen: Look) -> list[tuple[str, str]]:
    """Return the texts that a line runs through, with the line."""
    return [
        (f"{text.kind} {text.text}", name)
        for text in seen.texts
        for name, points in seen.lines.items()
        if any(_meet(text.around, a, b) for a, b in _near(points, text.around))
    ]


def pierced(seen: Look) -> list[tuple[str, str]]:
    """Return the boxes that a line runs through which neither starts nor ends there, with the line."""
    return [
        (box, name)
        for name, points in seen.lines.items()
        for box, around in seen.boxes.items()
        if box.removeprefix("n") not in name.removeprefix("e").split("_")[:2]
        and any(_meet(around, a, b) for a, b in _near(points, around))
    ]


def _near(points: np.ndarray, box: Rectangle) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    a, b = points[:-1], points[1:]
    low, high = np.minimum(a, b), np.maximum(a, b)
    near = (low < box[2:]).all(axis=1) & (high > box[:2]).all(axis=1)
    yield from zip(a[near], b[near], strict=True)


def _meet(box: Rectangle, a: np.ndarray, b: np.ndarray) -> bool:
    """Say whether a segment has a part inside a rectangle."""
    along = a + (b - a) * np.linspace(0, 1, 33)[:, None]
    return bool(((along > box[:2]) & (along < box[2:])).all(axis=1).any())
