"""PDF and PNG from pip alone: what is in the files, and at which size."""

import base64
import math
import re
import struct
import sys
import time
from xml.etree import ElementTree

import numpy as np
import pytest
from test_graph import HOSTILE, batch_norm, leaf, svg_texts

import tinygrad_norm as tn
from tinygrad_norm.graph import RenderError, printing
from tinygrad_norm.graph.dot import THEMES
from tinygrad_norm.graph.picture import Text

typst = pytest.importorskip("typst", reason="files need typst: the print extra")
pypdf = pytest.importorskip("pypdf", reason="PDFs are read by pypdf: the test extra")


@pytest.fixture(autouse=True)
def without_dot(monkeypatch):
    monkeypatch.setenv("PATH", "")


def page_of(path):
    (page,) = pypdf.PdfReader(path).pages
    return page


def fonts_of(page):
    return [font.get_object() for font in page["/Resources"]["/Font"].values()]


def pixels_of(png):
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


def size_of(drawing):
    return [float(x) for x in re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', drawing.svg()).groups()]


def squeezed(text):
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_pdf_is_one_page_of_the_pictures_size_with_all_its_text(tmp_path, theme):
    drawing = tn.draw(batch_norm(), backward=True, values=True, theme=theme)
    page = page_of(drawing.save(tmp_path / "x.pdf"))
    assert [float(x) for x in page.mediabox] == pytest.approx([0, 0, *size_of(drawing)], abs=0.01)
    found = squeezed(page.extract_text())
    for kind in ("node", "cluster"):
        for texts, _ in svg_texts(drawing.svg(), kind):
            for text in texts:
                assert squeezed(text) in found
    for words in ("dL/dx̂", "undoesbroadcast", "batch_norm·gradient"):
        assert words in found


def test_fonts_are_in_the_pdf_as_outlines_of_the_letters_used(tmp_path):
    for font in fonts_of(page_of(tn.draw(batch_norm(), values=True).save(tmp_path / "x.pdf"))):
        assert re.match(r"/[A-Z]{6}\+", font["/BaseFont"])
        assert font["/Subtype"] == "/Type0"  # not Type 3, which publishers refuse
        descriptor = font["/DescendantFonts"][0].get_object()["/FontDescriptor"].get_object()
        assert {"/FontFile2", "/FontFile3"} & set(descriptor)


def test_a_pdf_is_the_same_byte_for_byte_and_has_no_date(tmp_path):
    drawing = tn.draw(batch_norm(), backward=True)
    first = drawing.save(tmp_path / "x.pdf").read_bytes()
    time.sleep(1.1)
    assert drawing.save(tmp_path / "x.pdf").read_bytes() == first
    assert b"Date" not in first
    assert first.startswith(b"%PDF-1.5")


@pytest.mark.parametrize("width", [252, 120.5, 4000])
def test_files_have_the_asked_width(tmp_path, width):
    drawing = tn.draw(batch_norm(), detail="slide")
    across, down = size_of(drawing)
    height = down * width / across
    box = page_of(drawing.save(tmp_path / "x.pdf", width=width)).mediabox
    assert (float(box.width), float(box.height)) == pytest.approx((width, height), abs=0.01)
    assert pixels_of(drawing.save(tmp_path / "x.png", width=width).read_bytes()) == pytest.approx(
        (width * 192 / 72, height * 192 / 72), abs=1.5
    )
    svg = drawing.save(tmp_path / "x.svg", width=width).read_text(encoding="utf-8")
    assert float(re.search(r'<svg width="([\d.]+)pt"', svg)[1]) == width
    assert re.sub(r'width="\S+" +height="\S+"', "", svg, count=1) == re.sub(
        r'width="\S+" +height="\S+"', "", drawing.svg(), count=1
    )


def test_a_cube_has_the_asked_width(tmp_path):
    picture = tn.graph.draw_norms((2, 2, 1, 2))
    height = picture.height / picture.width * 400
    box = re.search(rb"MediaBox\[0 0 400 ([\d.]+)\]", picture.save(tmp_path / "x.pdf", width=400).read_bytes())
    assert float(box[1]) == pytest.approx(height, abs=0.01)
    root = ElementTree.fromstring(picture.save(tmp_path / "x.svg", width=400).read_text(encoding="utf-8"))
    assert (root.get("width"), root.get("viewBox")) == ("400pt", f"0 0 {picture.width:g} {picture.height:g}")
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="positive number of points"):
            picture.save(tmp_path / "y.svg", width=wrong)


def test_text_is_turned_as_in_the_picture(tmp_path):
    picture = tn.draw_pattern("n c l -> c", (2, 3, 4))
    found = {}

    def visit(text, cm, tm, font, size):
        if text.strip():
            down, across = np.array(tm[:4]).reshape(2, 2) @ np.array(cm[:4]).reshape(2, 2) @ [0, 1], tm
            found[text.strip()] = round(math.degrees(math.atan2(down[0], across[0] * cm[0] + across[1] * cm[2])))

    page_of(picture.save(tmp_path / "x.pdf")).extract_text(visitor_text=visit)
    turned = {shape.text: round(-shape.angle) for shape in picture.shapes if isinstance(shape, Text)}
    assert len(set(turned.values())) > 2
    assert turned.items() <= found.items()


@pytest.mark.parametrize("width", [0, -1, float("nan")])
def test_a_width_is_positive_and_not_of_dot(tmp_path, width):
    drawing = tn.draw(leaf(2) * 2)
    for kind in ("pdf", "png", "svg"):
        with pytest.raises(ValueError, match="positive number of points"):
            drawing.save(tmp_path / f"x.{kind}", width=width)
    with pytest.raises(ValueError, match=r"for a \.dot"):
        drawing.save(tmp_path / "x.dot", width=100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*HOSTILE, '#panic("x")', "$ x_1 $", "*bold*", "\\u{41}", "a\nb"])
def test_names_are_in_the_files_as_they_are(tmp_path, name):
    drawing = tn.draw(leaf(2, name=name) * 2)
    (shown, *_), _ = svg_texts(drawing.svg(), "node")[0]
    found = squeezed(page_of(drawing.save(tmp_path / "x.pdf")).extract_text())
    # A letter that no font of this machine has is a box.
    assert re.search("".join(f"(?:{re.escape(letter)}|\\0)" for letter in squeezed(shown)), found)
    assert sum(letter != "\0" for letter in found) >= 4


def test_without_fonts_on_the_system_those_of_typst_serve(tmp_path, monkeypatch):
    monkeypatch.setattr(printing, "_fonts", lambda: typst.Fonts(include_system_fonts=False))
    page = page_of(tn.draw(batch_norm(), backward=True, values=True).save(tmp_path / "x.pdf"))
    names = {re.sub(r"^/[A-Z]{6}\+|-.*", "", font["/BaseFont"]) for font in fonts_of(page)}
    assert names == {"LibertinusSerif", "DejaVuSansMono"}


def test_a_large_picture_becomes_a_png_that_can_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(printing, "MOST_PIXELS", 50_000)
    svg = tn.draw(batch_norm()).svg()
    width, height = pixels_of(printing.printed(svg, "png", printing.MOST_PIXELS))
    assert 48_000 < width * height <= 51_000


def test_what_typst_cannot_read_is_an_error():
    broken = tn.draw(leaf(2) * 2).svg().replace("</svg>", "")
    with pytest.raises(RenderError, match="typst could not make a PDF"):
        printing.printed(broken, "pdf")


def test_notebooks_get_a_png_of_the_same_size_soon():
    for options in ({"detail": "slide"}, {"backward": True, "values": True}):
        drawing = tn.draw(batch_norm(), **options)
        drawing.svg()
        start = time.perf_counter()
        shown, about = drawing._repr_mimebundle_()
        assert time.perf_counter() - start < 2  # of a machine that may be busy; alone it takes 0.1 s to 0.3 s
        across, down = size_of(drawing)
        assert about == {"image/png": {"width": round(across * 4 / 3), "height": round(down * 4 / 3)}}
        width, height = pixels_of(base64.b64decode(shown["image/png"]))
        assert width / height == pytest.approx(across / down, rel=0.01)
        assert width * height <= 2_010_000


def test_without_typst_notebooks_get_svg_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "typst", None)
    for picture in (tn.draw(batch_norm()), tn.draw_pattern("n c -> c", (2, 3))):
        shown, about = picture._repr_mimebundle_()
        assert (list(shown), about) == (["image/svg+xml", "text/plain"], {})


def test_text_stands_where_the_svg_has_it(tmp_path):
    """The pixels of two lines in a lone box are as far from its left as from its right, and from its top and bottom."""
    image = pytest.importorskip("matplotlib.image")
    drawing = tn.draw(tn.tensor(np.ones((4, 3)), name="MMMM"))
    pixels = image.imread(str(drawing.save(tmp_path / "x.png")))[..., :3]
    text = [int(THEMES["light"].leaf.text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    ys, xs = np.nonzero(np.abs(pixels - text).max(axis=-1) < 0.1)
    height, width = pixels.shape[:2]
    assert abs((xs.min() + xs.max()) / 2 - width / 2) < 4
    assert abs((ys.min() + ys.max()) / 2 - height / 2) < 8
