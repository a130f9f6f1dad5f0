"""Adjust the SVG from Graphviz: ids, fonts and size."""

from __future__ import annotations

import re

from .digits import SPACE

SANS, MONO = "Helvetica,sans-Serif", "DejaVu Sans Mono,Menlo,Consolas,Liberation Mono,monospace"

CELL = 800
"""The width of a notebook's cell in pixels, if the notebook does not fill the screen."""
_SIZE = r'\bwidth="([\d.]+)(\w*)"\s+height="([\d.]+)\w*"'


def prefixed(svg: str, prefix: str) -> str:
    """Put a prefix before every id and every reference to one."""
    # Text contains no quotes and no <, so a match is always an attribute.
    text = re.sub(r'(<\w+\b[^<>]*?\sid=")', rf"\g<1>{prefix}", svg)
    return re.sub(r'(="url\(#|\shref="#|:href="#)', rf"\g<1>{prefix}", text)


def exact(svg: str) -> str:
    """Correct the rounded scale of a picture in a frame.

    Graphviz writes the scale with two decimals, so that two sides of a large picture are cut off. Here the viewBox does
    the scaling: it becomes the area of the background.
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
    """Replace Courier, used for the layout, by a monospaced font in rows of numbers and a sans-serif one elsewhere."""

    def dressed(text: re.Match[str]) -> str:
        family = MONO if text[3].startswith((SPACE, "&#160;")) else SANS
        return f"{text[1]}{family}{text[2]}{text[3]}"

    return re.sub(r'(<text\b[^<>]*?\sfont-family=")Courier[^"]*("[^<>]*>)([^<]*)', dressed, svg)


def points(svg: str) -> tuple[float, float]:
    """Return the width and height in points."""
    found = re.search(_SIZE, svg)
    assert found is not None
    # A size without a unit is in pixels, of which 96 are an inch.
    unit = 1.0 if found[2] == "pt" else 0.75
    return float(found[1]) * unit, float(found[3]) * unit


def resized(svg: str, width: float) -> str:
    """Scale the picture to a width in points."""
    before, height = points(svg)
    size = f'width="{width:g}pt" height="{height * width / before:.6g}pt"'
    return re.sub(_SIZE, size, svg, count=1)


def fitting(svg: str) -> str:
    """Let the picture shrink with its container, such as a notebook's cell, but not grow.

    Jupyter shows SVG as an image and ignores a maximum width inside it, so a wide picture gets the width of its cell.
    """
    width = points(svg)[0] * 96 / 72
    if width <= CELL:
        return svg.replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)
    return re.sub(_SIZE, f'width="100%" style="max-width:{width:.6g}px"', svg, count=1)
