"""draw_pattern: the values that share one mean and one variance, as cells of a cube."""

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

# The largest number of cells along each side. The third side combines all remaining axes, so its cells may be flatter.
MOST_CELLS = (8, 8, 16)
CELL, FLATTEST = 26.0, 8.0
LINE = 19.0
GAP = 28.0
# The approximate width of a letter of the legend.
LETTER = 7.5
LEGEND = "Dotted cells share one mean and variance. Thick lines separate the groups."

CLASSIC = {
    "Batch Norm": "n c h w -> c",
    "Layer Norm": "n c h w -> n",
    "Instance Norm": "n c h w -> n c",
    "Group Norm": "n (g c) h w -> n g",
}
"""The four norms of Wu and He (2018), figure 2."""


def draw_pattern(pattern: str, shape: Sequence[int], *, theme: str = "light", **axis_lengths: int) -> Picture:
    """Draw which values of an input share one mean and one variance.

    The input is a cube of cells: its first axis runs to the right, its second to the left, and all others, combined
    into one, run down. Cells that share the first mean are coloured and dotted. Thick lines separate the groups. An
    input with two axes is a rectangle, with one axis a row. Long axes are cut, and the caption says so.

    Parameters
    ----------
    pattern : str
        A pattern as in `normalize`: ``"n (g c) h w -> n g"``.
    shape : sequence of int
        The shape of the input.
    theme : {"light", "dark"}
    **axis_lengths : int
        The sizes of axes in parentheses, such as ``g=2``.

    Returns
    -------
    Picture
        With ``.source``, ``.svg()`` and ``.save("x.svg")``; notebooks show it.

    Raises
    ------
    ValueError
        If the pattern is malformed or does not fit the shape, an axis has size 0, or the theme is unknown.

    Notes
    -----
    After Wu and He, Group Normalization (2018), figure 2. In the SVG each cell has its position in ``data-cell``, such
    as ``"n,c,rest"``, and the number of its mean, from 0, in ``data-group``.

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
    """Draw batch, layer, instance and group norm side by side, with the values that share a mean in each.

    Parameters
    ----------
    shape : four ints
        Samples, channels, height, width.
    groups : int
        The number of groups in group norm.
    columns : int
        The number of pictures in a row. Choose fewer for a narrow page.
    theme : {"light", "dark"}

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the shape does not have four axes, an axis has size 0, or ``groups`` does not divide the channels.

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
    """An input as a block of cells with three sides: the first axis, the second, and all others combined.

    Attributes
    ----------
    pattern : Pattern
    fitted : Fitted
    ndim : int
        The number of axes of the input. Missing sides are one cell long.
    names : tuple of str
        The name of each side, such as ``"h × w"``.
    sizes, shown : tuple of int
        The size of each side, and the number of its cells that are drawn.
    """

    pattern: Pattern
    fitted: Fitted
    ndim: int
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    shown: tuple[int, ...]

    @classmethod
    def of(cls, text: str, shape: Sequence[int], lengths: dict[str, int]) -> Block:
        """Return the block for an input of a given shape and a pattern."""
        pattern, shape = parse(text), tuple(map(operator.index, shape))
        fitted = pattern.fit(shape, lengths)
        if 0 in shape:
            raise ValueError(f"shape {shape} has an axis of size 0, so there are no cells to draw")
        terms = _terms(pattern, len(shape))
        # Several axes that one "..." stands for are named once.
        names = [" × ".join(dict.fromkeys(chain(*side))) for side in (terms[:1], terms[1:2], terms[2:])]
        sizes = tuple(math.prod(side) for side in (shape[:1], shape[1:2], shape[2:]))
        return cls(pattern, fitted, len(shape), tuple(names), sizes, tuple(map(min, sizes, MOST_CELLS)))

    @property
    def labels(self) -> tuple[str, ...]:
        """The name and size of each side that the input has, such as ``"h × w = 16"``."""
        return tuple(f"{name} = {size}" for name, size in zip(self.names, self.sizes, strict=True) if name)

    @property
    def omission(self) -> str:
        """The part that is drawn, in words. Empty if all cells are drawn."""
        sides = zip(self.names, self.sizes, self.shown, strict=True)
        few = [f"{part} of {size} {name}" for name, size, part in sides if part < size]
        return f"shown: {', '.join(few)}" if few else ""

    @property
    def caption(self) -> tuple[str, ...]:
        """The statistics that are shared, the number of values that share them, and the omission."""
        means = self.fitted.number_of_means
        lines = (self.pattern.sharing, f"{self.fitted.shares}; {means} mean{'s' if means > 1 else ''}", self.omission)
        return tuple(filter(None, lines))

    @property
    def means(self) -> tuple[int, ...]:
        """The shape of the means, with a leading axis of size 1."""
        return 1, *(size for i, size in enumerate(self.fitted.shape) if i not in self.fitted.axes)

    def groups(self, cells: Array) -> Array:
        """Return the number of each cell's mean. Cells are given by their positions along the sides."""
        # The leading axis of size 1 is for inputs without axes and patterns that keep none.
        places = np.unravel_index(np.ravel_multi_index(tuple(cells), self.sizes), (1, *self.fitted.shape))
        kept = [place for i, place in enumerate(places) if i - 1 not in self.fitted.axes]
        numbers: Array = np.ravel_multi_index(kept, self.means)
        return numbers


def _terms(pattern: Pattern, ndim: int) -> list[tuple[str, ...]]:
    """Return, for each axis of the input, the names that it is split into."""
    behind_dots = ndim - len(pattern.input_axes) + 1
    return [term for term in pattern.input_axes for _ in range(behind_dots if term == (ELLIPSIS,) else 1)]


class _Edge(NamedTuple):
    """The position of a side's label: a point of the block, in fractions of its sides, and an offset."""

    place: tuple[float, float, float]
    offset: Point
    angle: float


@dataclass(frozen=True)
class _View:
    """The projection of a block onto the page.

    Attributes
    ----------
    steps : three Points
        The displacement on the page for one cell along each side.
    faces : pairs of int
        The two sides that span each visible face, brightest face first.
    edges : tuple of _Edge
        The position of each side's label.
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
        """Return the point on the page for a position along the three sides."""
        x, y = (sum(p * step[i] for p, step in zip(place, self.steps, strict=True)) for i in (0, 1))
        return x, y


@dataclass(frozen=True)
class _Face:
    """A visible face: the group of each cell, and the corners of the cells.

    Attributes
    ----------
    cells : array of int, shape (3, rows, columns)
        The position of each cell along the three sides.
    groups : array of int, shape (rows, columns)
        The number of each cell's mean.
    points : list of lists of Points
        The corners of the cells, one more than cells in each direction.
    tints : array of int, shape (rows, columns)
        0 or 1, different for neighbouring groups unless two axes of the pattern change at once.
    shade : int
        The index of the face in the theme's colours.
    folded : bool
        Whether other faces adjoin its first row and column.
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
        """Yield each cell's index and its four corners."""
        for i, j in np.ndindex(self.groups.shape):
            upper, lower = self.points[i : i + 2]
            yield (i, j), (upper[j], upper[j + 1], lower[j + 1], lower[j])

    def polygons(self, look: Theme) -> Iterator[Polygon]:
        """Yield a polygon for each cell."""
        for (i, j), quad in self.quads():
            group, cell = int(self.groups[i, j]), ",".join(map(str, self.cells[:, i, j]))
            fill = look.marked[self.shade] if group == 0 else look.cell[self.shade][self.tints[i, j]]
            yield Polygon(quad, fill, f"cell {cell}: mean {group}", (("cell", cell), ("group", str(group))))

    def dots(self) -> Iterator[Segment]:
        """Yield a dot for each cell of the first group: a short line whose round ends make a dot."""
        for index, (_, (x, y), _, (z, w)) in self.quads():
            if self.groups[index] == 0:
                middle = (x + z) / 2, (y + w) / 2
                yield (middle[0] - 0.2, middle[1]), (middle[0] + 0.2, middle[1])

    def borders(self) -> Iterator[tuple[bool, Segment]]:
        """Yield each line between cells, and whether the cells on its two sides belong to one group."""
        around = np.pad(self.groups, 1, constant_values=-1)
        if self.folded:
            # The cells continue across an edge of the cube.
            around[0], around[:, 0] = around[1], around[:, 1]
        for i, row in enumerate(self.points):
            for j, point in enumerate(row):
                if i + 1 < len(self.points):
                    yield bool(around[i + 1, j] == around[i + 1, j + 1]), (point, self.points[i + 1][j])
                if j + 1 < len(row):
                    yield bool(around[i, j + 1] == around[i + 1, j + 1]), (point, row[j + 1])


def _block(block: Block, look: Theme) -> list[Shape]:
    """Draw a block with its labels. The first corner is at the origin."""
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
    """Draw a block with its headings above and its caption below."""
    shapes = _block(block, look)
    box, middle = Box.around(shapes), Box.around([s for s in shapes if isinstance(s, Polygon)]).middle
    for i, heading in enumerate(reversed(headings)):
        first = i == len(headings) - 1
        shapes.append(Text((middle, box.top - 14 - i * LINE), heading, look.text, 16 if first else 13, bold=first))
    for i, line in enumerate(block.caption):
        shapes.append(Text((middle, box.bottom + 24 + i * LINE), line, look.text))
    return shapes


def _sheet(panels: Sequence[tuple[Block, Sequence[str]]], title: str, look: Theme, columns: int = 4) -> Picture:
    """Draw blocks in rows, each with its headings, and the legend below."""
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
