"""draw_pattern: which values share one mean and one variance, as cells of a cube."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from textwrap import wrap
from typing import NamedTuple

import numpy as np

from ..engine.operators import Array
from ..norm.pattern import ELLIPSIS, Fitted, Pattern, parse
from .picture import Box, Lines, Picture, Point, Polygon, Segment, Shape, Text, Theme, side_by_side, theme_of

# How many cells a side shows; the third stands for all the remaining axes, so it shows more, and flatter ones.
MOST_CELLS = (8, 8, 16)
CELL, FLATTEST = 26.0, 8.0
LINE = 19.0
GAP = 28.0
# The width of a letter of the legend, more or less.
LETTER = 7.5
LEGEND = "Dotted cells share one mean and variance; strong lines separate such groups."

CLASSIC = {
    "Batch Norm": "n c h w -> c",
    "Layer Norm": "n c h w -> n",
    "Instance Norm": "n c h w -> n c",
    "Group Norm": "n (g c) h w -> n g",
}
"""The four norms of the figure that everybody knows, Wu and He (2018), figure 2."""


def draw_pattern(pattern: str, shape: Sequence[int], *, theme: str = "light", **axis_lengths: int) -> Picture:
    """Draw which values of an input share one mean and one variance.

    The input is a cube of cells: its first axis runs to the right, its second to the left, and all others run down as
    one. Those that share the first mean are coloured and dotted; strong lines separate the others by what they share.
    An input of two axes is a sheet, of one a row. Of long axes the first cells are shown, and the picture says so.

    Parameters
    ----------
    pattern : str
        As in `normalize`: ``"n (g c) h w -> n g"``.
    shape : sequence of int
        Of the input.
    theme : {"light", "dark"}
    **axis_lengths : int
        Sizes of axes in parentheses, as ``g=2``.

    Returns
    -------
    Picture
        With ``.source``, ``.svg()`` and ``.save("x.svg")``; notebooks show it.

    Raises
    ------
    ValueError
        If the pattern is malformed or does not fit, the shape has an axis of size 0, or there is no such theme.

    Notes
    -----
    After Wu and He, Group Normalization (2018), figure 2. In the SVG each cell says in ``data-cell`` where it is, as
    ``"n,c,rest"``, and in ``data-group`` which mean it has a share in, counted from 0.

    Examples
    --------
    >>> picture = draw_pattern("n (g c) h w -> n g", (4, 6, 4, 4), g=3)
    >>> picture
    Picture('n (g c) h w -> n g')
    >>> print(picture.description)
    n (g c) h w -> n g: one mean and variance per n, g; 2 × 4 × 4 = 32 values each; 12 means. Dotted cells share ...
    """
    look = theme_of(theme)
    return _sheet([(Block.of(pattern, shape, axis_lengths), [pattern])], pattern, look)


def draw_norms(
    shape: Sequence[int] = (6, 6, 4, 4), *, groups: int = 2, columns: int = 4, theme: str = "light"
) -> Picture:
    """Draw batch, layer, instance and group norm side by side: the same input, and what each shares.

    Parameters
    ----------
    shape : four ints
        Samples, channels, height, width.
    groups : int
        Into how many group norm divides the channels.
    columns : int
        How many stand beside each other: fewer for a narrow page.
    theme : {"light", "dark"}

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the shape has not four axes, one of them has size 0, or ``groups`` does not divide the channels.

    Examples
    --------
    >>> draw_norms((4, 6, 2, 2), groups=3)
    Picture('Batch Norm, Layer Norm, Instance Norm, Group Norm')
    """
    look = theme_of(theme)
    panels = [
        (Block.of(pattern, shape, {"g": groups} if "g" in parse(pattern).kept else {}), [name, pattern])
        for name, pattern in CLASSIC.items()
    ]
    return _sheet(panels, ", ".join(CLASSIC), look, columns)


@dataclass(frozen=True)
class Block:
    """An input as a block of cells with three sides: its first axis, its second, and all the others as one.

    Attributes
    ----------
    pattern : Pattern
    fitted : Fitted
    ndim : int
        Of the input. Sides that it does not have are one cell long.
    names : tuple of str
        Of each side, as ``"h × w"``.
    sizes, shown : tuple of int
        Of each side, and how many cells of it are drawn.
    """

    pattern: Pattern
    fitted: Fitted
    ndim: int
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    shown: tuple[int, ...]

    @classmethod
    def of(cls, text: str, shape: Sequence[int], lengths: dict[str, int]) -> Block:
        """Lay out an input of a shape as a pattern sees it."""
        pattern, shape = parse(text), tuple(map(operator.index, shape))
        fitted = pattern.fit(shape, lengths)
        if 0 in shape:
            raise ValueError(f"shape {shape} has an axis of size 0, so there are no cells to draw")
        terms = _terms(pattern, len(shape))
        # Several axes behind one "..." are named once.
        names = [" × ".join(dict.fromkeys(chain(*side))) for side in (terms[:1], terms[1:2], terms[2:])]
        sizes = tuple(math.prod(side) for side in (shape[:1], shape[1:2], shape[2:]))
        return cls(pattern, fitted, len(shape), tuple(names), sizes, tuple(map(min, sizes, MOST_CELLS)))

    @property
    def labels(self) -> tuple[str, ...]:
        """A name and a size for each side that the input has, as ``"h × w = 16"``."""
        return tuple(f"{name} = {size}" for name, size in zip(self.names, self.sizes, strict=True) if name)

    @property
    def omission(self) -> str:
        """What is not drawn, in words; empty if all is."""
        sides = zip(self.names, self.sizes, self.shown, strict=True)
        few = [f"{part} of {size} {name}" for name, size, part in sides if part < size]
        return f"shown: {', '.join(few)}" if few else ""

    @property
    def caption(self) -> tuple[str, ...]:
        """What is shared, and how many values share it, in words."""
        means = self.fitted.number_of_means
        lines = (self.pattern.sharing, f"{self.fitted.shares}; {means} mean{'s' if means > 1 else ''}", self.omission)
        return tuple(filter(None, lines))

    @property
    def means(self) -> tuple[int, ...]:
        """The sizes of the axes that are kept, behind one more: there is a mean for each of their combinations."""
        return 1, *(size for i, size in enumerate(self.fitted.shape) if i not in self.fitted.axes)

    def groups(self, cells: Array) -> Array:
        """Return, for cells given by their places along the sides, the number of the mean that each has a share in."""
        # The axis of size 1 in front is there for inputs without axes, and for patterns that keep none.
        places = np.unravel_index(np.ravel_multi_index(tuple(cells), self.sizes), (1, *self.fitted.shape))
        kept = [place for i, place in enumerate(places) if i - 1 not in self.fitted.axes]
        numbers: Array = np.ravel_multi_index(kept, self.means)
        return numbers


def _terms(pattern: Pattern, ndim: int) -> list[tuple[str, ...]]:
    """Return the names that each axis of the input is split into."""
    behind_dots = ndim - len(pattern.input_axes) + 1
    return [term for term in pattern.input_axes for _ in range(behind_dots if term == (ELLIPSIS,) else 1)]


class _Edge(NamedTuple):
    """Where the label of a side stands: beside a point of the block, given in parts of its sides."""

    place: tuple[float, float, float]
    offset: Point
    angle: float


@dataclass(frozen=True)
class _View:
    """How a block is seen.

    Attributes
    ----------
    steps : three Points
        Where one cell along each side leads on the sheet.
    faces : pairs of int
        The two sides that each visible face lies along, brightest face first.
    edges : tuple of _Edge
        One for each side.
    """

    steps: tuple[Point, Point, Point]
    faces: tuple[tuple[int, int], ...]
    edges: tuple[_Edge, ...]

    @classmethod
    def of(cls, block: Block) -> _View:
        below, left = (0.0, LINE), (-8.0, 0.0)
        edges: tuple[_Edge, ...]
        if block.ndim < 2:
            return cls(((CELL, 0), (0, CELL), (0, 0)), ((0, 1),), (_Edge((0.5, 1, 0), below, 0),))
        if block.ndim == 2:
            edges = (_Edge((0.5, 0, 0), left, -90), _Edge((1, 0.5, 0), below, 0))
            return cls(((0, CELL), (CELL, 0), (0, 0)), ((0, 1),), edges)
        right, up = CELL * math.cos(math.pi / 6), CELL / 2
        # The third side is about as high as the others are long, however many cells it has.
        down = max(FLATTEST, CELL * min(1.0, max(block.shown[:2]) / block.shown[2]))
        edges = (_Edge((0.5, 0, 1), (10, 17), -30), _Edge((0, 0.5, 1), (-10, 17), 30), _Edge((0, 1, 0.5), left, -90))
        return cls(((right, -up), (-right, -up), (0, down)), ((0, 1), (1, 2), (0, 2)), edges)

    def at(self, place: Sequence[float]) -> Point:
        """Where a place along the three sides is seen."""
        x, y = (sum(p * step[i] for p, step in zip(place, self.steps, strict=True)) for i in (0, 1))
        return x, y


@dataclass(frozen=True)
class _Face:
    """A face that is seen: the group of each of its cells, and the points between them.

    Attributes
    ----------
    cells : array of int, shape (3, rows, columns)
        The place of each cell along the three sides.
    groups : array of int, shape (rows, columns)
        The mean that it has a share in.
    points : list of lists of Points
        One more than cells each way.
    tints : array of int, shape (rows, columns)
        0 or 1: neighbouring groups differ, unless two axes of the pattern change at once.
    shade : int
        Which of the colours for faces it takes.
    folded : bool
        Whether the next faces begin at its first row and column.
    """

    cells: Array
    groups: Array
    points: list[list[Point]]
    tints: Array
    shade: int
    folded: bool

    @classmethod
    def of(cls, block: Block, view: _View, shade: int) -> _Face:
        along = list(view.faces[shade])
        rows, columns = (block.shown[side] for side in along)
        cells = np.zeros((3, rows, columns), np.intp)
        cells[along] = np.indices((rows, columns))
        down, across = np.eye(3)[along]
        points = [[view.at(i * down + j * across) for j in range(columns + 1)] for i in range(rows + 1)]
        groups = block.groups(cells)
        tints = np.sum(np.unravel_index(groups, block.means), axis=0) % 2
        return cls(cells, groups, points, tints, shade, len(view.faces) > 1)

    def quads(self) -> Iterator[tuple[tuple[int, int], tuple[Point, ...]]]:
        """Each cell's index and the four points around it."""
        for i, j in np.ndindex(self.groups.shape):
            upper, lower = self.points[i : i + 2]
            yield (i, j), (upper[j], upper[j + 1], lower[j + 1], lower[j])

    def polygons(self, look: Theme) -> Iterator[Polygon]:
        """The cells."""
        for (i, j), quad in self.quads():
            group, cell = int(self.groups[i, j]), ",".join(map(str, self.cells[:, i, j]))
            fill = look.marked[self.shade] if group == 0 else look.cell[self.shade][self.tints[i, j]]
            yield Polygon(quad, fill, f"cell {cell}: mean {group}", (("cell", cell), ("group", str(group))))

    def dots(self) -> Iterator[Segment]:
        """A dot in each cell of the first group: a line so short that its round ends make one."""
        for index, (_, (x, y), _, (z, w)) in self.quads():
            if self.groups[index] == 0:
                middle = (x + z) / 2, (y + w) / 2
                yield (middle[0] - 0.2, middle[1]), (middle[0] + 0.2, middle[1])

    def borders(self) -> Iterator[tuple[bool, Segment]]:
        """Each line around a cell, and whether what is on its two sides belongs to one group."""
        around = np.pad(self.groups, 1, constant_values=-1)
        if self.folded:
            # Here the cells go on around an edge of the cube.
            around[0], around[:, 0] = around[1], around[:, 1]
        for i, row in enumerate(self.points):
            for j, point in enumerate(row):
                if i + 1 < len(self.points):
                    yield bool(around[i + 1, j] == around[i + 1, j + 1]), (point, self.points[i + 1][j])
                if j + 1 < len(row):
                    yield bool(around[i, j + 1] == around[i + 1, j + 1]), (point, row[j + 1])


def _block(block: Block, look: Theme) -> list[Shape]:
    """Draw a block with its labels; its first corner is at the origin."""
    view = _View.of(block)
    faces = [_Face.of(block, view, shade) for shade in range(len(view.faces))]
    borders = [border for face in faces for border in face.borders()]
    shapes: list[Shape] = [polygon for face in faces for polygon in face.polygons(look)]
    shapes.append(Lines(tuple(segment for face in faces for segment in face.dots()), look.dot, 4.5))
    shapes.append(Lines(tuple(segment for within, segment in borders if within), look.line, 0.5))
    shapes.append(Lines(tuple(segment for within, segment in borders if not within), look.line, 1.8))
    for label, (place, (right, down), angle) in zip(block.labels, view.edges, strict=False):
        x, y = view.at([p * n for p, n in zip(place, block.shown, strict=True)])
        shapes.append(Text((x + right, y + down), label, look.text, angle=angle))
    return shapes


def _panel(block: Block, headings: Sequence[str], look: Theme) -> list[Shape]:
    """Draw a block below its headings and above its caption."""
    shapes = _block(block, look)
    box, middle = Box.around(shapes), Box.around([s for s in shapes if isinstance(s, Polygon)]).middle
    for i, heading in enumerate(reversed(headings)):
        first = i == len(headings) - 1
        shapes.append(Text((middle, box.top - 14 - i * LINE), heading, look.text, 16 if first else 13, bold=first))
    for i, line in enumerate(block.caption):
        shapes.append(Text((middle, box.bottom + 24 + i * LINE), line, look.text))
    return shapes


def _sheet(panels: Sequence[tuple[Block, Sequence[str]]], title: str, look: Theme, columns: int = 4) -> Picture:
    """Draw blocks in rows, each block with its headings, and below them how to read them."""
    shapes: list[Shape] = []
    for i in range(0, len(panels), columns):
        row = side_by_side([_panel(block, headings, look) for block, headings in panels[i : i + columns]], GAP)
        down = Box.around(shapes).bottom + 2 * GAP - Box.around(row).top if shapes else 0.0
        shapes += [shape.moved(0, down) for shape in row]
    box = Box.around(shapes)
    narrow = len(panels) > columns
    for i, line in enumerate(wrap(LEGEND, int((box.right - box.left) / LETTER)) if narrow else [LEGEND]):
        shapes.append(Text((box.middle, box.bottom + 24 + i * LINE), line, look.text))
    words = " ".join(f"{' '.join(headings)}: {'; '.join(block.caption)}." for block, headings in panels)
    return Picture.of(shapes, title, f"{words} {LEGEND}", look.background)
