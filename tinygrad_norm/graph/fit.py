"""fit: a picture for a frame, as a slide or a column. Layouts are tried, and the one with the largest text is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from .dot import LIGHT, Mount, Theme, edge_id, ties, to_dot
from .labels import label
from .model import Graph
from .render import layout
from .rows import Path, Placed, Point, Rectangle, Sheet, extent, in_bands, in_rows, measured

FONT_SIZE = 13
PAD = 4.0
LETTERS = (10, 14, 19, 26)
MOST_ROWS = 6


class Frame(NamedTuple):
    """A frame, in points: text is to be ``readable``, and no larger than ``largest``."""

    width: float
    height: float
    readable: float
    largest: float
    rankdir: str


# A pixel is 3/4 of a point.
FRAMES = {
    "slide": Frame(960, 540, 10.5, 18, "LR"),
    "screen": Frame(1080, 608, 9, 13.5, "LR"),
    "page": Frame(468, 648, 7, 10, "TB"),
    "column": Frame(252, 352.8, 7, 9, "TB"),
}


class Picture(NamedTuple):
    """A layout for a frame: how large its text is, in points, and its DOT text."""

    quality: float
    text: float
    rows: int
    faults: int
    terse: bool
    rankdir: str
    source: str


def fitted(graph: Graph, frame: Frame, theme: Theme = LIGHT, caption: str = "") -> Picture:
    """Return the layout of a graph whose text is the largest in a frame."""
    return max(_tried(graph, frame, theme, caption), key=lambda picture: picture.quality)


def _tried(graph: Graph, frame: Frame, theme: Theme, caption: str) -> Iterator[Picture]:
    names = {f"n{v.id}": v.id for v in graph.vertices}
    gradient = frozenset(name for name, i in names.items() if graph.vertices[i].order)
    tied = [(f"n{a}", f"n{b}") for a, b in ties(graph)]
    for letters, terse in product(LETTERS, (False, True)):
        sheet = measured(to_dot(graph, "TB", theme, "", Mount(letters, terse)), tied, gradient)
        for rankdir in ("LR", "TB"):
            band = dict.fromkeys(sheet.boxes, 0)
            one = in_rows(sheet, band, rankdir)
            for rows in _numbers_of_rows(extent(one, sheet), frame, rankdir):
                placed = one
                if rows > 1:
                    along = {n: p[0] if rankdir == "LR" else -p[1] for n, p in one.boxes.items()}
                    band = in_bands(sheet, along, rows)
                    placed = in_rows(sheet, band, rankdir)
                rows_of = {i: band[name] for name, i in names.items()}
                faults = label(placed, sheet)
                text, attributes = mounted(placed, sheet, frame, caption)
                source = to_dot(graph, rankdir, theme, caption, Mount(letters, terse, rows_of, attributes))
                yield Picture(
                    _quality(text / frame.readable, rows, faults, terse, rankdir != frame.rankdir),
                    text,
                    rows,
                    faults,
                    terse,
                    rankdir,
                    source,
                )


def _quality(size: float, rows: int, faults: int, terse: bool, turned: bool) -> float:
    """Weigh the size of the text, as a share of what is readable, against what makes a picture worse."""
    return min(size, 1.5) - (size < 1) - 0.04 * rows - 0.03 * faults - 0.15 * terse - 0.15 * turned


def _numbers_of_rows(box: Rectangle, frame: Frame, rankdir: str) -> list[int]:
    """Return the numbers of rows that are worth a try: one, and those that come near the shape of the frame."""
    w, h = box[2] - box[0], box[3] - box[1]
    ratio = (w / h) / (frame.width / frame.height)
    best = math.sqrt(ratio if rankdir == "LR" else 1 / ratio)
    return sorted({1, *(n for n in (math.floor(best), math.ceil(best)) if 1 < n <= MOST_ROWS)})


def mounted(placed: Placed, sheet: Sheet, frame: Frame, caption: str) -> tuple[float, dict[str, dict[str, str]]]:
    """Return the size of the text in the frame, and the attributes that place everything."""
    x0, y0, x1, y1 = extent(placed, sheet)
    caption_width, caption_height = (0.55 * FONT_SIZE * len(caption), 24.0) if caption else (0.0, 0.0)
    y0 -= caption_height
    w, h = x1 - x0, y1 - y0
    scale = min(
        frame.width / (max(w, caption_width) + 2 * PAD), frame.height / (h + 2 * PAD), frame.largest / FONT_SIZE
    )
    # As wide as the frame, whatever its content.
    sides = (frame.width / scale - w) / 2
    attributes: dict[str, dict[str, str]] = {
        "": {
            "layout": "nop2",
            "bb": _numbers(x0, y0, x1, y1),
            "pad": _numbers(sides / 72, PAD / 72),
            "size": _numbers(frame.width / 72, (h + 2 * PAD) * scale / 72) + "!",
            **({"lp": _numbers((x0 + x1) / 2, y0 + 10)} if caption else {}),
        }
    }
    for name, p in placed.boxes.items():
        attributes[name] = {"pos": _numbers(*p)}
    for name, path in placed.paths.items():
        attributes[name] = {"pos": _spline(path)}
        if name in placed.labels:
            attributes[name]["lp"] = _numbers(*placed.labels[name])
    for name, band, box, size in placed.clusters:
        at = placed.titles[name, band]
        attributes[name + (f"_{band}" if band else "")] = {"bb": _numbers(*box), "lp": _numbers(*at)}
    return scale * FONT_SIZE, attributes


def _spline(path: Path) -> str:
    tips = [f"{kind},{_numbers(*tip)}" for kind, tip in (("s", path.start), ("e", path.end)) if tip]
    return " ".join([*tips, *(_numbers(*p) for p in path.points)])


def _numbers(*numbers: float) -> str:
    return ",".join(f"{x:.2f}" for x in numbers)
