"""Picture: polygons, lines and text, written as SVG."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from .printing import in_notebook, printed
from .svg import resized
from .text import LONGEST_NAME, drawable

Point = tuple[float, float]
Segment = tuple[Point, Point]

FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
# A generous estimate of the width of a character, since text is not measured.
CHARACTER = 0.55
# The fraction of a text's width to the left of its anchor point.
ANCHORS = {"start": 0.0, "middle": 0.5, "end": 1.0}
MARGIN = 20.0

_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


class Polygon(NamedTuple):
    """A filled shape. ``data`` become ``data-`` attributes."""

    points: tuple[Point, ...]
    fill: str
    tooltip: str = ""
    data: tuple[tuple[str, str], ...] = ()

    @property
    def corners(self) -> tuple[Point, ...]:
        return self.points

    def moved(self, right: float, down: float) -> Polygon:
        return self._replace(points=tuple((x + right, y + down) for x, y in self.points))

    def svg(self) -> str:
        data = "".join(f' data-{name}="{escaped(value)}"' for name, value in self.data)
        return f'<path d="{_path(self.points)}z" fill="{self.fill}"{data}{_with_tooltip("path", self.tooltip)}'


class Lines(NamedTuple):
    """Straight lines of one colour and width."""

    segments: tuple[Segment, ...]
    stroke: str
    width: float = 1.0

    @property
    def corners(self) -> tuple[Point, ...]:
        return tuple(chain(*self.segments))

    def moved(self, right: float, down: float) -> Lines:
        ends = [(x + right, y + down) for x, y in self.corners]
        return self._replace(segments=tuple(zip(ends[::2], ends[1::2], strict=True)))

    def svg(self) -> str:
        path = "".join(map(_path, self.segments))
        return f'<path d="{path}" stroke="{self.stroke}" stroke-width="{self.width:g}"/>'


class Text(NamedTuple):
    """A line of text, rotated clockwise by ``angle`` degrees. Long text is shortened."""

    at: Point
    text: str
    fill: str
    size: float = 13.0
    anchor: str = "middle"
    bold: bool = False
    angle: float = 0.0

    @property
    def shown(self) -> str:
        """The text that is drawn: at most 80 characters, with control characters made visible."""
        return drawable(self.text if len(self.text) <= LONGEST_NAME else self.text[: LONGEST_NAME - 1] + "…")

    @property
    def width(self) -> float:
        """The approximate width."""
        return len(self.shown) * self.size * CHARACTER

    @property
    def corners(self) -> tuple[Point, ...]:
        left = -self.width * ANCHORS[self.anchor]
        turn = math.radians(self.angle)
        box = [(x, y) for x in (left, left + self.width) for y in (-self.size, self.size * 0.3)]
        return tuple(
            (
                self.at[0] + x * math.cos(turn) - y * math.sin(turn),
                self.at[1] + x * math.sin(turn) + y * math.cos(turn),
            )
            for x, y in box
        )

    def moved(self, right: float, down: float) -> Text:
        return self._replace(at=(self.at[0] + right, self.at[1] + down))

    def svg(self) -> str:
        x, y = map(_number, self.at)
        look = ' font-weight="bold"' if self.bold else ""
        if self.angle:
            look += f' transform="rotate({self.angle:g} {x} {y})"'
        tooltip = _title(self.text) if len(self.text) > LONGEST_NAME else ""
        place = f'x="{x}" y="{y}" font-size="{self.size:g}" text-anchor="{self.anchor}"'
        return f'<text {place} fill="{self.fill}"{look}>{tooltip}{escaped(self.shown)}</text>'


Shape = Polygon | Lines | Text


class Box(NamedTuple):
    """The smallest upright rectangle around shapes."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, shapes: Iterable[Shape]) -> Box:
        xs, ys = zip(*chain.from_iterable(shape.corners for shape in shapes), strict=True)
        return cls(min(xs), min(ys), max(xs), max(ys))

    @property
    def middle(self) -> float:
        """Half-way between left and right."""
        return (self.left + self.right) / 2


def side_by_side(groups: Iterable[Sequence[Shape]], gap: float) -> list[Shape]:
    """Return the shapes of all groups, each group moved to the right of the one before."""
    placed: list[Shape] = []
    right = 0.0
    for group in groups:
        box = Box.around(group)
        placed += [shape.moved(right - box.left, 0) for shape in group]
        right += box.right - box.left + gap
    return placed


@dataclass(frozen=True)
class Theme:
    """The colours of pictures, with enough contrast to be legible.

    Attributes
    ----------
    background, text : str
    line : str
        The colour of borders.
    cell : tuple of pairs
        For each face of a cube, lightest first: the colours of a group and of its neighbour.
    marked, dot : str
        The colours of highlighted cells, one for each face of a cube, and of the dots in them.
    positive, negative : pair of str
        The colours of the smallest and the largest number of that sign.
    """

    background: str
    text: str
    line: str
    cell: tuple[tuple[str, str], tuple[str, str], tuple[str, str]]
    marked: tuple[str, str, str]
    dot: str
    positive: tuple[str, str]
    negative: tuple[str, str]


THEMES = {
    "light": Theme(
        background="#ffffff",
        text="#1b2430",
        line="#1b2430",
        cell=(("#ffffff", "#eef2f7"), ("#f7f9fb", "#e6ebf2"), ("#eff2f6", "#dfe5ed")),
        marked=("#468be1", "#3d82d7", "#357acd"),
        dot="#ffffff",
        positive=("#dbe8f8", "#1f5aa6"),
        negative=("#fbe1db", "#b3361e"),
    ),
    "dark": Theme(
        background="#10171f",
        text="#e8edf3",
        line="#f4f7fb",
        cell=(("#26303c", "#313c48"), ("#202934", "#2a3541"), ("#1a222c", "#232d38")),
        marked=("#4a89da", "#4482d2", "#3d7bcb"),
        dot="#081425",
        positive=("#1d3350", "#7fb4f5"),
        negative=("#4a2620", "#f5957f"),
    ),
}


def theme_of(name: str) -> Theme:
    """Return a theme by its name.

    Raises
    ------
    ValueError
        If the theme is unknown.
    """
    if name not in THEMES:
        raise ValueError(f"theme must be {' or '.join(map(repr, THEMES))}, not {name!r}")
    return THEMES[name]


@dataclass(frozen=True, repr=False)
class Picture:
    """A picture made of shapes, which is written as SVG.

    Attributes
    ----------
    title, description : str
        A description of the content, for screen readers.
    width, height : float
        The intended size in pixels.
    background : str
    shapes : tuple of Polygon, Lines and Text
        The shapes, in the order in which they are drawn.
    """

    title: str
    description: str
    width: float
    height: float
    background: str
    shapes: tuple[Shape, ...]

    @classmethod
    def of(cls, shapes: Sequence[Shape], title: str, description: str, background: str) -> Picture:
        """Return a picture of shapes, with a margin around them."""
        box = Box.around(shapes)
        moved = tuple(shape.moved(MARGIN - box.left, MARGIN - box.top) for shape in shapes)
        width, height = (math.ceil(size + 2 * MARGIN) for size in (box.right - box.left, box.bottom - box.top))
        return cls(title, description, width, height, background, moved)

    @property
    def source(self) -> str:
        """The picture as SVG text. Equal pictures have equal text."""
        width, height = _number(self.width), _number(self.height)
        # There are no ids, so one page can hold several pictures.
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" role="img" xml:space="preserve" width="{width}" '
                f'height="{height}" viewBox="0 0 {width} {height}" font-family="{FONT}" fill="none" '
                'stroke-linecap="round">',
                _title(self.title),
                f"<desc>{escaped(self.description)}</desc>",
                f'<rect width="{width}" height="{height}" fill="{self.background}"/>',
                *(shape.svg() for shape in self.shapes),
                "</svg>\n",
            )
        )

    def svg(self) -> str:
        """Return the picture as SVG text."""
        return self.source

    def save(self, path: str | os.PathLike[str], width: float | None = None) -> Path:
        """Write the picture to a file ending in .svg, .pdf or .png, and return its path.

        Parameters
        ----------
        path : str or path
        width : float, optional
            The width in points, of which 72 are an inch. The height is scaled along. Default: the picture's own width.

        Raises
        ------
        RenderError
            If typst is not installed, for .png and .pdf.
        ValueError
            If the ending is another one, or the width is not positive.
        """
        path = Path(path)
        kind = path.suffix.removeprefix(".").lower()
        if kind not in ("svg", "png", "pdf"):
            raise ValueError(f"a picture must be saved as .svg, .png or .pdf, not {path.name!r}")
        if width is not None and not width > 0:
            raise ValueError(f"width must be a positive number of points, not {width!r}")
        svg = self.source if width is None else resized(self.source, width)
        path.write_bytes(svg.encode() if kind == "svg" else printed(svg, kind))
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        return in_notebook(self.source, repr(self))

    def __repr__(self) -> str:
        return f"Picture({self.title!r})"


def escaped(text: str) -> str:
    """Return text escaped for XML, including for attributes in quotes."""
    return drawable(text).translate(_MARKUP)


def mixed(start: str, end: str, amount: float) -> str:
    """Return a colour between two others: the first for amount 0, the second for 1."""
    pairs = zip(_channels(start), _channels(end), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * amount):02x}" for a, b in pairs)


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours, from 1 to 21, as WCAG 2 defines it."""
    dark, light = sorted(map(_luminance, (first, second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = (c / 255 for c in _channels(colour))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _number(value: float) -> str:
    # "+ 0" turns the -0.0 that rounding leaves into 0.
    return f"{round(value, 2) + 0:g}"


def _path(points: Iterable[Point]) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _title(text: str) -> str:
    return f"<title>{escaped(text)}</title>"


def _with_tooltip(tag: str, tooltip: str) -> str:
    return f">{_title(tooltip)}</{tag}>" if tooltip else "/>"
