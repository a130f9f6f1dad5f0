"""Convert SVG to PDF and PNG with typst, which pip installs. PDFs have vectors, embedded fonts and no margins."""

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

# Fonts as wide as Helvetica, for which pictures are laid out, and fonts with the symbols that these lack.
_SANS, _SYMBOLS = (
    ("Helvetica", "Arial", "Liberation Sans", "Nimbus Sans", "FreeSans"),
    ("DejaVu Sans", "DejaVu Sans Mono"),
)
# The fallback is typst's own font, which is narrower, so the text fits.
_SERIF = "Libertinus Serif"
PIXELS_PER_INCH = 192  # two for each CSS pixel
MOST_PIXELS = 100_000_000
MOST_PIXELS_SHOWN = 2_000_000
"""The size of the PNG that a notebook gets in addition to the SVG. A larger one would take noticeable time."""

# Typst sets the text itself, since SVG renderers do not reliably find fallback fonts for symbols such as x̂ or ᵀ.
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
    """Return a picture as PDF or PNG. Equal pictures and fonts give equal bytes.

    Parameters
    ----------
    svg : str
        SVG from Graphviz or `Picture`.
    kind : {"pdf", "png"}
    most_pixels : int
        The largest number of pixels. A PNG has 192 pixels per inch, or fewer to stay below it.

    Raises
    ------
    RenderError
        If typst is not installed or cannot read the SVG.
    """
    try:
        import typst
    except ImportError:
        install = "pip install 'tinygrad_norm[print]', or save an .svg, which needs no further package"
        raise RenderError(f"a {kind.upper()} needs typst: {install}") from None
    width, height = points(svg)
    fonts = _fonts()
    picture, texts = _apart(svg, width, _families(fonts))
    resolution = min(PIXELS_PER_INCH, 72 * math.sqrt(most_pixels / (width * height)))
    if kind == "png":
        # A fraction of a pixel at an edge would be visible as a line.
        width, height = (math.ceil(length * resolution / 72 - 1e-6) * 72 / resolution for length in (width, height))
    inputs = {"svg": picture, "size": json.dumps([width, height]), "texts": json.dumps(texts)}
    made: Any = typst.compile  # its overloads do not accept a variable format
    try:
        # LaTeX warns of PDF versions after 1.5.
        options = {"ppi": resolution, "pdf_tags": False, "pdf_standards": "1.5"}
        return bytes(made(_DOCUMENT, format=kind, sys_inputs=inputs, font_paths=fonts, **options))
    except typst.TypstError as error:
        raise RenderError(f"typst could not make a {kind.upper()} of this picture: {error.message}") from error


def in_notebook(svg: str, words: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return a picture's MIME bundle for notebooks, and the size of its PNG, which needs typst."""
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
    """Return the names of the available fonts, in the order in which they are tried."""
    here = set(fonts.families())
    sans, symbols = ([name for name in names if name in here] for names in (_SANS, _SYMBOLS))
    return [*sans, *symbols, _SERIF] if sans else [_SERIF, *symbols]


def _apart(svg: str, width: float, families: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """Return the SVG without its texts, and the texts with their positions on the page in points."""
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
