"""Measure pictures of the graphs of `graphs` in the frames where they are shown: before and after fitting.

Run it from the root of the project: ``python -m tests.benchmarks.pictures``; ``--write`` renews the table in
docs/drawing-figures.md, and ``--pictures FOLDER`` keeps the pictures, in both themes, to be looked at.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import tinygrad_norm as tn
from tinygrad_norm.graph.fit import FRAMES
from tinygrad_norm.table import Table

from .graphs import GRAPHS
from .reading import Look, look, overlaps, struck

PAGE = Path(__file__).resolve().parents[2] / "docs" / "drawing-figures.md"
COLLAPSED = "collapsed: "
SHOWN = {"slide": ("px", 0.75), "column": ("pt", 1.0)}
COLUMNS = ("graph", "text before", "text", "aspect before", "aspect", "overlaps", "texts struck", "collapsed")
INTRODUCTION = """# Benchmarks of fitted pictures

`python -m tests.benchmarks.pictures --write` draws thirteen graphs (tests/benchmarks/graphs.py) and measures the SVG:

- **text**: the size of the smallest text as it is shown: in pixels on a slide of 1280 x 720, in points in a column 252
  points wide and at most 1.4 times as high. *Before* is `detail="slide"` without `fit`, scaled into the frame.
- **aspect**: width divided by height.
- **overlaps**: the number of pairs of boxes and labels that overlap, and of elements cut off at the edge of the page,
  before and after.
- **texts struck**: the number of texts that a line crosses, before and after.
- **collapsed**: the parts that are drawn as one box, from the caption. Parts are collapsed if the text would otherwise
  be too small to read (below 14 pixels or 7 points).

"""


def drawn(name: str, backward: bool, frame: str | None, theme: str = "light") -> tn.graph.Drawing:
    return tn.draw(GRAPHS[name][0](), backward=backward, detail="slide", fit=frame, theme=theme)


def row(name: str, backward: bool, frame: str, before: Look) -> list[str]:
    after = drawn(name, backward, frame)
    seen = look(after.svg())
    width, height, *_ = FRAMES[frame]
    unit, points = SHOWN[frame]
    sizes = [f"{picture.in_frame(width, height) / points:.1f} {unit}" for picture in (before, seen)]
    return [
        name + (", with gradient" if backward else ""),
        *sizes,
        *(f"{picture.width / picture.height:.1f}" for picture in (before, seen)),
        f"{len(overlaps(before))} → {len(overlaps(seen))}",
        f"{len(struck(before))} → {len(struck(seen))}",
        "".join(line[len(COLLAPSED) :] for line in after.caption.split("\n") if line.startswith(COLLAPSED)),
    ]


def cases() -> Iterator[tuple[str, bool]]:
    for name, (_, differentiable) in GRAPHS.items():
        yield name, False
        if differentiable:
            yield name, True


def tables() -> Iterator[str]:
    before = {case: look(drawn(*case, None).svg()) for case in cases()}
    for frame in SHOWN:
        rows = [row(*case, frame, before[case]) for case in cases()]
        yield f"{Table(f'In a {frame}', COLUMNS, rows).markdown()}\n"


def keep(folder: Path) -> None:
    """Write every picture, in both themes, to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in SHOWN:
        for name, backward in cases():
            for theme in ("light", "dark"):
                start = time.perf_counter()
                picture = drawn(name, backward, frame, theme)
                end = "-gradient" if backward else ""
                path = picture.save(folder / f"{frame}-{name.replace(' ', '-')}{end}-{theme}.svg")
                print(f"{path} {time.perf_counter() - start:.1f} s")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true", help="renew docs/drawing-figures.md")
    options.add_argument("--pictures", type=Path, metavar="FOLDER", help="keep the pictures")
    given = options.parse_args()
    if given.pictures:
        keep(given.pictures)
        return
    text = INTRODUCTION + "\n".join(tables())
    if given.write:
        PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
