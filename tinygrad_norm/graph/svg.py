"""What is done to SVG after Graphviz has laid it out: ids, fonts, and the size at which it is shown."""

from __future__ import annotations

import re

from .digits import SPACE

SANS, MONO = "Helvetica,sans-Serif", "DejaVu Sans Mono,Menlo,Consolas,Liberation Mono,monospace"

CELL = 800
"""In pixels: where a notebook stands beside other windows, its cells are hardly wider."""
_SIZE = r'\bwidth="([\d.]+)(\w*)"\s+height="([\d.]+)\w*"'


def prefixed(svg: str, prefix: str) -> str:
    """Put a prefix before every id, and where one is referred to."""
    # In text there are no quotes and no <: what looks like an attribute is one.
    text = re.sub(r'(<\w+\b[^<>]*?\sid=")', rf"\g<1>{prefix}", svg)
    return re.sub(r'(="url\(#|\shref="#|:href="#)', rf"\g<1>{prefix}", text)


def exact(svg: str) -> str:
    """Show the whole of a picture that was scaled into a frame.

    Graphviz writes the scale with two decimals, so that a large picture is cut off at two of its sides. Here the view
    does the scaling: it becomes the area that the background covers.
    """
    scaled = re.search(r'\stransform="scale\((?!1 1\))[^"]*"', svg)
    if scaled is None:
        return svg
    background = re.search(r'<polygon\b[^<>]*?\spoints="([^"]*)"', svg)
    assert background is not None
    corners = [tuple(map(float, corner.split(","))) for corner in background[1].split()]
    (left, right), (top, bottom) = ((min(values), max(values)) for values in zip(*corners, strict=True))
    view = f'viewBox="{left:g} {top:g} {right - left:g} {bottom - top:g}"'
    return re.sub(r'\bviewBox="[^"]*"', view, svg.replace(scaled[0], "", 1), count=1)


def with_fonts(svg: str) -> str:
    """Set rows of numbers in a monospaced font, and the rest of their boxes, laid out as wide, in the usual one."""

    def dressed(text: re.Match[str]) -> str:
        family = MONO if text[3].startswith((SPACE, "&#160;")) else SANS
        return f"{text[1]}{family}{text[2]}{text[3]}"

    return re.sub(r'(<text\b[^<>]*?\sfont-family=")Courier[^"]*("[^<>]*>)([^<]*)', dressed, svg)


def points(svg: str) -> tuple[float, float]:
    """Return the width and the height in points."""
    found = re.search(_SIZE, svg)
    assert found is not None
    # Without a unit they are pixels, of which 96 are an inch.
    unit = 1.0 if found[2] == "pt" else 0.75
    return float(found[1]) * unit, float(found[3]) * unit


def resized(svg: str, width: float) -> str:
    """Give the picture another width in points, and the height that goes with it."""
    before, height = points(svg)
    size = f'width="{width:g}pt" height="{height * width / before:.6g}pt"'
    return re.sub(_SIZE, size, svg, count=1)


def fitting(svg: str) -> str:
    """Let the picture shrink with what it stands in, as a notebook's cell, and grow no larger than it is.

    Jupyter shows SVG as an image, whose size nothing inside it limits: there a wide picture has the width of its cell.
    """
    width = points(svg)[0] * 96 / 72
    if width <= CELL:
        return svg.replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)
    return re.sub(_SIZE, f'width="100%" style="max-width:{width:.6g}px"', svg, count=1)
