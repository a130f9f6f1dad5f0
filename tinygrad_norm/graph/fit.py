"""fit: lay a picture out for a frame, such as a slide or a column. Several layouts are tried, and the best is kept."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from .collapse import Closed, collapsed
from .dot import FONT_SIZE, Mount, Theme, ties, to_dot
from .labels import CROSSED, label, pierced
from .model import Graph
from .rows import in_bands, in_rows
from .sheet import Path, Placed, Sheet, extent, measured

PAD = 4.0
# The approximate width of a letter at this font size.
LETTER = 0.6 * FONT_SIZE
# Line lengths of boxes to try. In ranks with CROWDED boxes or more, lines can be as short as the first.
LETTERS = (8, 13, 17, 21, 26)
CROWDED = 3
# Edges enter a scope from the side, or from above, where its label must leave them room.
TITLE_LETTERS = {"LR": 80, "TB": 14}
MARK_LETTERS = {"LR": 20, "TB": 12}
MOST_ROWS = 7
MOST_TRIED = 12
MOST_ALIKE = 3
# The smallest area of a box with its surroundings, in squares of the height of the text.
SQUARES = 32


class Frame(NamedTuple):
    """A frame, in points, with the smallest ``readable`` and the ``largest`` size of its text."""

    width: float
    height: float
    readable: float
    largest: float

    @property
    def letters(self) -> int:
        """The number of readable letters in a line as wide as the frame."""
        return int(self.width / self.readable * FONT_SIZE / LETTER)

    @property
    def most_boxes(self) -> float:
        """An upper bound on the number of readable boxes."""
        return self.width * self.height / self.readable**2 / SQUARES


# A pixel is 3/4 of a point: 14 pixels on a slide of 1280 x 720.
FRAMES = {
    "slide": Frame(960, 540, 10.5, 18),
    "screen": Frame(1080, 607.5, 9, 13.5),
    "page": Frame(468, 648, 7, 10),
    "column": Frame(252, 352.8, 7, 9),
}


def frame_of(fit: Any) -> Frame:
    """Return the frame for the argument ``fit``.

    Raises
    ------
    TypeError, ValueError
        If ``fit`` is neither the name of a frame nor a pair of positive numbers.
    """
    if isinstance(fit, str):
        if fit not in FRAMES:
            names = ", ".join(map(repr, FRAMES))
            raise ValueError(f"fit must be one of {names} or (width, height) in points, not {fit!r}")
        return FRAMES[fit]
    if not (isinstance(fit, tuple | list) and len(fit) == 2 and all(isinstance(n, int | float) for n in fit)):
        raise TypeError(f"fit must be the name of a frame or (width, height) in points, not {fit!r}")
    width, height = fit
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ValueError(f"fit must have a positive width and height in points, not {fit!r}")
    return Frame(width, height, 7, 12)


class Picture(NamedTuple):
    """A layout in a frame: its quality, the size of its text in points, and the arguments that produce it."""

    quality: float
    text: float
    faults: int
    caption: str
    rankdir: str
    mount: Mount


def in_frame(
    graph: Graph, view: Callable[[Graph], Graph], frame: Frame, theme: Theme, whole: bool, said: str = ""
) -> tuple[Graph, Picture]:
    """Return the view of a graph for a frame, and its layout. As few scopes are collapsed as make it readable.

    Parameters
    ----------
    graph : Graph
    view : callable
        Maps a graph to its view, such as the slide view.
    frame : Frame
    theme : Theme
    whole : bool
        Collapse nothing, however small the text becomes.
    said : str
        The first lines of the caption.
    """
    if whole or not any(v.scope for v in graph.vertices):
        shown = view(graph)
        return shown, fitted(shown, frame, theme, said)
    ways = [(None, ""), *closings(graph)]
    tried: dict[int, tuple[Graph, Picture]] = {}

    def good(i: int) -> bool:
        closed, caption = ways[i]
        # The last way also merges repeats.
        last = i == len(ways) - 1
        shown = view(graph if closed is None else collapsed(graph, closed, repeat=last))
        if len(shown.vertices) > frame.most_boxes and not last:
            return False
        picture = fitted(shown, frame, theme, "\n".join(filter(None, (said, caption))))
        tried[i] = shown, picture
        return picture.text >= frame.readable and picture.faults <= (CROSSED if closed is None else 0)

    # Take the first good way, where the whole graph may have one crossed label, or else the best way tried.
    first = 0 if good(0) else bisect_left(range(len(ways)), True, lo=1, hi=len(ways) - 1, key=good)
    found = first in tried or good(first)
    return tried[first] if found else max(tried.values(), key=lambda made: made[1].quality)


def closings(graph: Graph) -> list[tuple[Closed, str]]:
    """Return ways to collapse scopes, each with one more name, deepest first, and the caption for each.

    At the same depth the largest scopes are collapsed first, since the parameters of their layers disappear with them.
    """
    order: dict[str, tuple[int, int]] = {}
    for v in graph.vertices:
        for depth, scope in enumerate(v.scope, 1):
            before = order.get(graph.scopes[scope], (0, 0))
            order[graph.scopes[scope]] = min(before[0], -depth), before[1] - 1
    operations = sum(v.operation is not None for v in graph.vertices)
    names = sorted(order, key=lambda name: (*order[name], name))
    ways = [
        (_ends_in(names[:i]), f"collapsed: {_some(names[:i])}; {operations} operations")
        for i in range(1, len(names) + 1)
    ]
    return [*ways, (ways[-1][0], f"{ways[-1][1]}, repeated boxes once")]


def _ends_in(names: Collection[str]) -> Closed:
    return lambda path: path[-1] in names


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def fitted(graph: Graph, frame: Frame, theme: Theme, caption: str = "") -> Picture:
    """Return the best layout of a graph in a frame. Broadcasts are left unmarked only if that helps."""
    best: Picture | None = None
    for terse in (False, True):
        for way in _ways(graph, frame, theme, terse, caption):
            if best is None or way.promise > best.quality:
                picture = _drawn(graph, way, frame, caption)
                best = picture if best is None or picture.quality > best.quality else best
        if best is not None and best.text >= frame.readable and not best.faults:
            break
    assert best is not None  # there is a way
    return best


class Way(NamedTuple):
    """A way to lay a graph out. ``promise`` is its quality if rows could be cut anywhere."""

    promise: float
    letters: Mapping[int, int]
    terse: bool
    rankdir: str
    rows: int
    sheet: Sheet
    whole: Placed


def _ways(graph: Graph, frame: Frame, theme: Theme, terse: bool, caption: str) -> list[Way]:
    """Return the most promising ways to lay out a graph."""
    found: list[Way] = []
    sheets = {
        rankdir: _Sheets(graph, theme, Mount({}, terse, title, frame.letters, MARK_LETTERS[rankdir]), caption)
        for rankdir, title in TITLE_LETTERS.items()
    }
    for many, rankdir in product(LETTERS, TITLE_LETTERS):
        letters = dict.fromkeys(range(len(graph.vertices)), many)
        sheet = sheets[rankdir].of(letters)
        whole = in_rows(sheet, dict.fromkeys(sheet.boxes, 0), rankdir)
        found += _in_several_rows(frame, letters, terse, rankdir, sheet, whole)
        mixed = _by_crowd(letters, rankdir, whole)
        if mixed != letters:
            sheet = sheets[rankdir].of(mixed)
            whole = in_rows(sheet, dict.fromkeys(sheet.boxes, 0), rankdir)
            found += _in_several_rows(frame, mixed, terse, rankdir, sheet, whole)
    return _different(sorted(found, key=lambda way: -way.promise))


class _Sheets:
    """The sizes of a graph's boxes for each line length, measured by a single layout."""

    def __init__(self, graph: Graph, theme: Theme, mount: Mount, caption: str) -> None:
        self.number = len(graph.vertices)
        copies = [
            replace(v, id=v.id + k * self.number, scope=()) for k in range(1, len(LETTERS)) for v in graph.vertices
        ]
        letters = {i: LETTERS[i // self.number] for i in range(len(LETTERS) * self.number)}
        every = replace(graph, vertices=(*graph.vertices, *copies))
        gradient = frozenset(f"n{v.id}" for v in graph.vertices if v.order)
        tied = [(f"n{a}", f"n{b}") for a, b in ties(graph)]
        source = to_dot(every, "TB", theme, caption, replace(mount, letters=letters))
        self.sheet = measured(source, tied, gradient)

    def of(self, letters: Mapping[int, int]) -> Sheet:
        sizes = self.sheet.boxes
        places = {i: i + LETTERS.index(number) * self.number for i, number in letters.items()}
        return replace(self.sheet, boxes={f"n{i}": sizes[f"n{place}"] for i, place in places.items()})


def _different(ways: Sequence[Way]) -> list[Way]:
    """Return the first ways, with a limit on similar ones."""
    chosen: list[Way] = []
    for way in ways:
        alike = [w for w in chosen if (w.terse, w.rankdir, w.rows) == (way.terse, way.rankdir, way.rows)]
        same = any(w.letters == way.letters for w in alike)
        if len(chosen) < MOST_TRIED and len(alike) < MOST_ALIKE and not same:
            chosen.append(way)
    return chosen


def _by_crowd(letters: Mapping[int, int], rankdir: str, whole: Placed) -> dict[int, int]:
    """Shorten lines where that makes the layout smaller: for "TB" in crowded ranks, for "LR" in the others."""
    along = {name: round(p[0] if rankdir == "LR" else p[1]) for name, p in whole.boxes.items()}
    number: dict[int, int] = {}
    for rank in along.values():
        number[rank] = number.get(rank, 0) + 1
    return {
        i: LETTERS[0] if (number[along[f"n{i}"]] >= CROWDED) is (rankdir == "TB") else n for i, n in letters.items()
    }


def _in_several_rows(
    frame: Frame, letters: Mapping[int, int], terse: bool, rankdir: str, sheet: Sheet, whole: Placed
) -> Iterator[Way]:
    x0, y0, x1, y1 = extent(whole, sheet)
    for rows in range(1, MOST_ROWS + 1):
        w, h = x1 - x0, y1 - y0
        w, h = (w / rows, h * rows) if rankdir == "LR" else (w * rows, h / rows)
        promise = _quality(_scale(w, h, frame) * FONT_SIZE, frame, rows, 0, terse, rankdir)
        yield Way(promise, letters, terse, rankdir, rows, sheet, whole)


def _quality(text: float, frame: Frame, rows: int, faults: int, terse: bool, rankdir: str) -> float:
    """Rate a layout: the size of its text, relative to the readable size, minus penalties."""
    share = text / frame.readable
    turned = (rankdir == "LR") is not (frame.width > frame.height)
    return min(share, 1.5) - (share < 1) - 0.04 * rows - 0.06 * faults - 0.15 * terse - 0.3 * turned


def _drawn(graph: Graph, way: Way, frame: Frame, caption: str) -> Picture:
    sheet, placed, band = way.sheet, way.whole, dict.fromkeys(way.sheet.boxes, 0)
    if way.rows > 1:
        along = {n: p[0] if way.rankdir == "LR" else -p[1] for n, p in placed.boxes.items()}
        band = in_bands(sheet, along, way.rows)
        placed = in_rows(sheet, band, way.rankdir)
    faults = label(placed, sheet) + pierced(placed, sheet)
    text, attributes = _mounted(placed, sheet, frame)
    mount = Mount(
        way.letters,
        way.terse,
        TITLE_LETTERS[way.rankdir],
        frame.letters,
        MARK_LETTERS[way.rankdir],
        {v.id: band[f"n{v.id}"] for v in graph.vertices},
        attributes,
    )
    quality = _quality(text, frame, way.rows, faults, way.terse, way.rankdir)
    return Picture(quality, text, faults, caption, way.rankdir, mount)


def _scale(width: float, height: float, frame: Frame) -> float:
    """Return the factor by which a picture is scaled to a frame."""
    return min(frame.width / (width + 2 * PAD), frame.height / (height + 2 * PAD), frame.largest / FONT_SIZE)


def _mounted(placed: Placed, sheet: Sheet, frame: Frame) -> tuple[float, dict[str, dict[str, str]]]:
    """Return the size of the text in the frame, and the attributes that set all positions."""
    x0, y0, x1, y1 = extent(placed, sheet)
    y0 -= sheet.caption[1]
    # Graphviz adds the room for the caption.
    width = max(x1 - x0, sheet.caption[0])
    scale = _scale(width, y1 - y0, frame)
    # The picture is as wide as the frame, even if its content is narrower.
    sides = (frame.width / scale - width) / 2
    attributes: dict[str, dict[str, str]] = {
        "": {
            "layout": "nop2",
            "bb": _numbers(x0, y0, x1, y1),
            "pad": _numbers(sides / 72, PAD / 72),
            "size": _numbers(frame.width / 72, (y1 - y0 + 2 * PAD) * scale / 72) + "!",
            **({"lp": _numbers((x0 + x1) / 2, y0 + sheet.caption[1] / 2)} if sheet.caption[1] else {}),
        }
    }
    for name, at in placed.boxes.items():
        attributes[name] = {"pos": _numbers(*at)}
    for name, path in placed.paths.items():
        attributes[name] = {"pos": _spline(path)}
        if name in placed.labels:
            attributes[name]["lp"] = _numbers(*placed.labels[name])
    for name, band, box, _ in placed.clusters:
        title = _numbers(*placed.titles[name, band])
        attributes[name + (f"_{band}" if band else "")] = {"bb": _numbers(*box), "lp": title}
    return scale * FONT_SIZE, attributes


def _spline(path: Path) -> str:
    tips = [f"{kind},{_numbers(*tip)}" for kind, tip in (("s", path.start), ("e", path.end)) if tip]
    return " ".join([*tips, *(_numbers(*p) for p in path.points)])


def _numbers(*numbers: float) -> str:
    return ",".join(f"{x:.2f}" for x in numbers)
