"""From SVG to PDF and PNG with typst, which comes with pip: vectors, embedded fonts, the page exactly the picture."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from base64 import b64encode
from functools import cache
from html import unescape
from typing import TYPE_CHECKING, Any

from .render import RenderError
from .svg import MONO, fitting, points

if TYPE_CHECKING:
    from typst import Fonts

# As wide as the Helvetica that layouts reckon with, and what has the letters that they lack.
_SANS, _SYMBOLS = (
    ("Helvetica", "Arial", "Liberation Sans", "Nimbus Sans", "FreeSans"),
    ("DejaVu Sans", "DejaVu Sans Mono"),
)
# Where there are none of these: typst's own, which is narrower, so it fits.
_SERIF = "Libertinus Serif"
PIXELS_PER_INCH = 192  # two for each of a screen's
MOST_PIXELS = 100_000_000
MOST_PIXELS_SHOWN = 2_000_000
"""Of the PNG that goes into a notebook beside the SVG: more would take longer than a reader notices."""

# Text is set by typst itself, as fonts for what the first one lacks, x̂ or ᵀ, are found by no SVG renderer as surely.
_DOCUMENT = b"""
#let (width, height) = json(bytes(sys.inputs.size))
#set document(date: none)
#set page(width: width * 1pt, height: height * 1pt, margin: 0pt, fill: none)
#set text(top-edge: "baseline", bottom-edge: "baseline", ligatures: false)
#place(image(bytes(sys.inputs.svg), format: "svg", width: 100%, height: 100%, fit: "stretch"))
#let sides = (start: left, middle: center, end: right)
#let shares = (start: 0%, middle: 50%, end: 100%)
#for t in json(bytes(sys.inputs.texts)) {
  let words = text(font: t.fonts, size: t.size * 1pt, fill: rgb(t.fill), weight: t.weight, t.words)
  place(dx: t.x * 1pt, dy: t.y * 1pt, context {
    let width = measure(words).width
    let line = box(width: width + 1pt, words)
    place(dx: -width * shares.at(t.anchor), rotate(t.angle * 1deg, origin: sides.at(t.anchor) + bottom, line))
  })
}
"""


def printed(svg: str, kind: str, most_pixels: int = MOST_PIXELS) -> bytes:
    """Return a picture as PDF or PNG, the same bytes for the same picture and fonts.

    Parameters
    ----------
    svg : str
        As Graphviz or `Picture` writes it.
    kind : {"pdf", "png"}
    most_pixels : int
        A PNG has 192 pixels an inch, but not more than these.

    Raises
    ------
    RenderError
        Where typst is not installed, or if it cannot read the SVG.
    """
    try:
        import typst
    except ImportError:
        install = "pip install 'tinygrad_norm[print]', or save an .svg, which needs nothing more"
        raise RenderError(f"a {kind.upper()} needs typst: {install}") from None
    width, height = points(svg)
    fonts = _fonts()
    picture, texts = _apart(svg, width, _families(fonts))
    resolution = min(PIXELS_PER_INCH, 72 * math.sqrt(most_pixels / (width * height)))
    if kind == "png":
        # A part of a pixel at an edge would be seen as a line.
        width, height = (math.ceil(length * resolution / 72 - 1e-6) * 72 / resolution for length in (width, height))
    inputs = {"svg": picture, "size": json.dumps([width, height]), "texts": json.dumps(texts)}
    made: Any = typst.compile  # which of its formats `kind` is, no type can say
    try:
        # LaTeX warns of what is newer than PDF 1.5.
        options = {"ppi": resolution, "pdf_tags": False, "pdf_standards": "1.5"}
        return bytes(made(_DOCUMENT, format=kind, sys_inputs=inputs, font_paths=fonts, **options))
    except typst.TypstError as error:
        raise RenderError(f"typst could not make a {kind.upper()} of this picture: {error.message}") from error


def in_notebook(svg: str, words: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return what a notebook shows of a picture, by MIME type, and the size of the PNG that is there with typst."""
    shown = {"image/svg+xml": fitting(svg), "text/plain": words}
    if not importlib.util.find_spec("typst"):
        return shown, {}
    shown["image/png"] = b64encode(printed(svg, "png", most_pixels=MOST_PIXELS_SHOWN)).decode()
    # In CSS pixels, of which 96 are an inch.
    width, height = (round(length * 96 / 72) for length in points(svg))
    return shown, {"image/png": {"width": width, "height": height}}


@cache
def _fonts() -> Fonts:
    import typst

    return typst.Fonts()


def _families(fonts: Fonts) -> list[str]:
    """Return the names of fonts that are here, the first of them for all that it has."""
    here = set(fonts.families())
    sans, symbols = ([name for name in names if name in here] for names in (_SANS, _SYMBOLS))
    return [*sans, *symbols, _SERIF] if sans else [_SERIF, *symbols]


def _apart(svg: str, width: float, families: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """Return the SVG without its texts, and the texts, in points of the page."""
    left, top, across, _ = map(float, re.findall(r"-?[\d.]+", _attributes(svg[svg.index("<svg") :])["viewBox"]))
    within, moved = re.search(r'transform="scale\(([\d.]+)', svg), re.search(r"translate\((\S+) (\S+)\)", svg)
    scale = width / across * (float(within[1]) if within else 1.0)
    right, down = map(float, moved.groups()) if moved else (-left, -top)
    texts = [_text(found, scale, right, down, families) for found in _TEXT.finditer(svg)]
    return _TEXT.sub("", svg), texts


_TEXT = re.compile(r"<text\b[^<>]*>(?:<title>[^<]*</title>)?([^<]*)</text>")


def _text(found: re.Match[str], scale: float, right: float, down: float, families: list[str]) -> dict[str, Any]:
    given = _attributes(found[0])
    angle = re.search(r"rotate\((\S+)", given.get("transform", ""))
    return {
        "x": scale * (right + float(given["x"])),
        "y": scale * (down + float(given["y"])),
        "size": scale * float(given["font-size"]),
        "fonts": ["DejaVu Sans Mono"] if given.get("font-family") == MONO else families,
        "fill": given.get("fill", "#000000"),
        "weight": given.get("font-weight", "regular"),
        "anchor": given.get("text-anchor", "start"),
        "angle": float(angle[1]) if angle else 0.0,
        "words": unescape(found[1]),
    }


def _attributes(svg: str) -> dict[str, str]:
    """Return the attributes of the first element."""
    return dict(re.findall(r'([\w:-]+)="([^"]*)"', svg[: svg.index(">")]))
