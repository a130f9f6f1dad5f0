"""draw_jacobian: the derivatives of all outputs with respect to all inputs, as a heat map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.autodiff import jacobian
from ..engine.context import surrounding
from ..engine.operators import Array
from ..engine.tensor import Tensor
from .picture import (
    Box,
    Lines,
    Picture,
    Point,
    Polygon,
    Segment,
    Shape,
    Text,
    Theme,
    contrast,
    mixed,
    side_by_side,
    theme_of,
)

MOST_ENTRIES = 100 * 100
ORDERS = ("sample", "feature")
# The width of a map, as far as the limits on the size of its cells allow.
MAP = 320.0
LARGEST, SMALLEST = 26.0, 6.0
LINE = 19.0
GAP = 40.0


def draw_jacobian(
    fn: Callable[[Any], Any],
    x: Any,
    *,
    order: str | None = None,
    title: str | None = None,
    theme: str = "light",
) -> Picture:
    """Draw which outputs of a function depend on which inputs: ``dy/dx`` as a heat map.

    Each row is an element of ``y``, each column an element of ``x``. A cell is blue with a plus if the derivative is
    positive, red with a minus if it is negative, and blank if it is exactly zero. The colour is stronger for larger
    values. Layers in training mode do not update their running statistics.

    Parameters
    ----------
    fn : callable
        Takes a Tensor and returns a Tensor. The first axis of each counts samples, all other axes are features.
    x : array or Tensor of floating dtype
        The point at which the derivatives are taken.
    order : {"sample", "feature"}, optional
        The order of rows and columns: by sample, or by feature. Default: both, side by side.
    title : str, optional
        Default: the name of ``fn``.
    theme : {"light", "dark"}

    Returns
    -------
    Picture
        With ``.source``, ``.svg()`` and ``.save("x.svg")``; notebooks show it. Each cell has a tooltip:
        ``dy[1,2]/dx[0,2] = -0.204``.

    Raises
    ------
    ValueError
        If there are no derivatives or more than 10,000, or the order or the theme is unknown.

    Examples
    --------
    Layer norm mixes the features of a sample, but not the samples: each of the (4, 3) values depends on 3.

    >>> import numpy as np, tinygrad_norm as tn
    >>> x = np.random.default_rng(0).normal(size=(4, 3))
    >>> picture = draw_jacobian(lambda x: tn.layer_norm(x, 3), x, title="layer norm")
    >>> print(picture.description)
    dy/dx for y of shape (4, 3) and x of shape (4, 3): 36 of 144 derivatives are not zero.
    """
    look = theme_of(theme)
    if order is not None and order not in ORDERS:
        raise ValueError(f"order must be 'sample', 'feature', or None for both, not {order!r}")
    derivatives = _Derivatives.of(fn, x)
    name = _name(fn) if title is None else title
    shapes = side_by_side([_map(derivatives, o, look) for o in ([order] if order else ORDERS)], GAP)
    box = Box.around(shapes)
    shapes.append(Text((box.middle, box.top - 40), name, look.text, 16, bold=True))
    shapes.append(Text((box.middle, box.top - 18), derivatives.caption, look.text))
    shapes += _legend(derivatives, look, box)
    words = f"dy/dx for y of shape {derivatives.y_shape} and x of shape {derivatives.x_shape}: {derivatives.caption}."
    return Picture.of(shapes, name, words, look.background)


def _name(fn: Callable[[Any], Any]) -> str:
    name = getattr(fn, "__name__", type(fn).__name__)
    return "dy/dx" if name == "<lambda>" else f"dy/dx of {name}"


@dataclass(frozen=True)
class _Derivatives:
    """A Jacobian as a matrix, with a row for each element of y and a column for each element of x."""

    matrix: Array
    y_shape: tuple[int, ...]
    x_shape: tuple[int, ...]

    @classmethod
    def of(cls, fn: Callable[[Any], Any], x: Any) -> _Derivatives:
        values: Array = x.data if isinstance(x, Tensor) else np.asarray(x)

        def bounded(leaf: Tensor) -> Any:
            y = fn(leaf)
            entries = np.size(y) * leaf.size
            if not 0 < entries <= MOST_ENTRIES:
                raise ValueError(
                    f"y of shape {np.shape(y)} has {entries} derivatives with respect to x of shape {leaf.shape}, but "
                    f"a picture can show 1 to {MOST_ENTRIES}: use {'a smaller batch' if entries else 'a non-empty x'}"
                )
            return y

        with surrounding(examined=True):
            found: Array = jacobian(bounded, values)
        y_shape = found.shape[: found.ndim - values.ndim]
        return cls(found.reshape(math.prod(y_shape), values.size), y_shape, values.shape)

    @property
    def largest(self) -> float:
        """The largest finite absolute value."""
        return float(np.max(np.abs(self.matrix), where=np.isfinite(self.matrix), initial=0.0))

    @property
    def caption(self) -> str:
        strange = np.count_nonzero(~np.isfinite(self.matrix))
        words = f"{np.count_nonzero(self.matrix)} of {self.matrix.size} derivatives are not zero"
        return words + f", {strange} not finite (×)" * bool(strange)

    def named(self, row: int, column: int) -> str:
        """Return a derivative with its name: ``dy[1,2]/dx[0,2] = -0.204``."""
        y, x = _element("y", self.y_shape, row), _element("x", self.x_shape, column)
        return f"d{y}/d{x} = {self.matrix[row, column]:.3g}"


def _element(name: str, shape: tuple[int, ...], place: int) -> str:
    index = ",".join(str(i) for i in np.unravel_index(place, shape)) if shape else ""
    return f"{name}[{index}]" if index else name


def _blocks(shape: tuple[int, ...], order: str) -> Array:
    """Return the indices of a flattened array in the order of drawing, with a row for each sample or feature."""
    places = np.arange(math.prod(shape)).reshape(shape[0] if shape else 1, -1)
    return places if order == "sample" else places.T


def _map(derivatives: _Derivatives, order: str, look: Theme) -> list[Shape]:
    """Draw the matrix. Its upper left corner is at the origin."""
    rows, columns = (_blocks(shape, order) for shape in (derivatives.y_shape, derivatives.x_shape))
    size = min(LARGEST, max(SMALLEST, MAP / max(rows.size, columns.size)))
    cells = _Cells(derivatives.largest, size, look)
    for i, row in enumerate(rows.flat):
        for j, column in enumerate(columns.flat):
            value = derivatives.matrix[row, column]
            if value != 0:
                cells.add((j * size, i * size), value, derivatives.named(row, column))
    width, height = columns.size * size, rows.size * size
    between = [((x, 0.0), (x, height)) for x in _borders(columns, size)]
    between += [((0.0, y), (width, y)) for y in _borders(rows, size)]
    frame = [((0.0, 0.0), (width, 0.0)), ((width, 0.0), (width, height))]
    frame += [((width, height), (0.0, height)), ((0.0, height), (0.0, 0.0))]
    shapes = [*cells.shapes(), Lines(tuple(between), look.line, 0.8), Lines(tuple(frame), look.line, 1.6)]
    for place, number in _numbers(columns, size):
        shapes.append(Text((place, height + 15), number, look.text, 11))
    for place, number in _numbers(rows, size):
        shapes.append(Text((-6, place + 4), number, look.text, 11, anchor="end"))
    shapes.append(Text((width / 2, height + 34), f"inputs x {derivatives.x_shape} by {order}", look.text))
    shapes.append(Text((-28, height / 2), f"outputs y {derivatives.y_shape} by {order}", look.text, angle=-90))
    return shapes


def _borders(blocks: Array, size: float) -> list[float]:
    """Return the positions between blocks."""
    return [k * blocks.shape[1] * size for k in range(1, blocks.shape[0])]


def _numbers(blocks: Array, size: float) -> list[tuple[float, str]]:
    """Return the middles and numbers of the blocks, or of every second, third ... block if there is no room."""
    length = blocks.shape[1] * size
    return [((k + 0.5) * length, str(k)) for k in range(0, blocks.shape[0], math.ceil(LINE / length))]


class _Cells:
    """Cells of a heat map. The colour shows the size of a number, and a plus, a minus or a cross shows its sign."""

    def __init__(self, largest: float, size: float, look: Theme) -> None:
        self.largest, self.size, self.look = largest, size, look
        self.polygons: list[Polygon] = []
        self.marks: dict[str, list[Segment]] = {look.background: [], look.text: []}

    def add(self, corner: Point, value: float, tooltip: str = "") -> None:
        """Draw a nonzero number in the cell with the given upper left corner."""
        x, y = corner
        fill, gap, size = self.colour(value), 0.5, self.size
        left, top, right, bottom = x + gap, y + gap, x + size - gap, y + size - gap
        self.polygons.append(Polygon(((left, top), (right, top), (right, bottom), (left, bottom)), fill, tooltip))
        ink = max(self.marks, key=lambda colour: contrast(colour, fill))
        self.marks[ink] += self.mark((x + size / 2, y + size / 2), value)

    def colour(self, value: float) -> str:
        if not math.isfinite(value):
            return self.look.cell[0][1]
        pale, strong = self.look.positive if value > 0 else self.look.negative
        return mixed(pale, strong, abs(value) / self.largest)

    def mark(self, middle: Point, value: float) -> list[Segment]:
        """Return a plus, a minus or, for NaN and infinity, a cross."""
        (x, y), arm = middle, self.size * 0.2
        if not math.isfinite(value):
            return [((x - arm, y - arm), (x + arm, y + arm)), ((x - arm, y + arm), (x + arm, y - arm))]
        across, upright = ((x - arm, y), (x + arm, y)), ((x, y - arm), (x, y + arm))
        return [across, upright] if value > 0 else [across]

    def shapes(self) -> list[Shape]:
        width = max(0.7, self.size / 16)
        return [*self.polygons, *(Lines(tuple(marks), colour, width) for colour, marks in self.marks.items() if marks)]


def _legend(derivatives: _Derivatives, look: Theme, box: Box) -> list[Shape]:
    """Draw the colour scale below a box, from negative to positive with a blank cell between."""
    largest, size = derivatives.largest, 20.0
    if largest == 0:
        return []
    cells = _Cells(largest, size, look)
    amounts = np.linspace(-1, 1, 9)
    left, top = box.middle - size * len(amounts) / 2, box.bottom + 16
    labels: list[Shape] = []
    for i, amount in enumerate(amounts):
        if amount:
            cells.add((left + i * size, top), amount * largest)
        if amount in (-1, 0, 1):
            label = "blank: 0" if amount == 0 else f"{amount * largest:.3g}".replace("-", "−")
            labels.append(Text((left + (i + 0.5) * size, top + size + 15), label, look.text, 11))
    return [*cells.shapes(), *labels]
