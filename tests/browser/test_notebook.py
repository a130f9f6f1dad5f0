"""A notebook that was executed: pictures fit the cell, tables are tables, and what is shown can be read in the dark."""

import base64
import re
import struct

import numpy as np
import pytest

import tinygrad_norm as tn

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

nbformat = pytest.importorskip("nbformat", reason="notebooks need the browser extra")
nbclient = pytest.importorskip("nbclient", reason="notebooks need the browser extra")
nbconvert = pytest.importorskip("nbconvert", reason="notebooks need the browser extra")

CELLS = {
    "wide": "tn.draw(y, backward=True, detail='slide')",
    "small": "tn.draw(x * 2, values=True)",
    "cube": "tn.draw_pattern('n c -> c', (2, 3))",
    "report": (
        "with_error = lambda g, x, w: (g * np.cos(w), g * x)\n"
        "report = None\n"
        "try:\n"
        "    tn.check_backward(lambda x, w: x * np.sin(w), with_error, x0, x0 + 1, seed=0)\n"
        "except tn.GradientMismatch as error:\n"
        "    report = error.report\n"
        "report"
    ),
    "passed": "tn.check_gradients(np.tanh, x0, seed=0)",
    "table": "Table('Layers & <steps>', ('layer', 'mean'), [('<b>0</b>', 0.12345), ('conv', None)])",
    "stopped": "try:\n    tn.draw(lambda x: x @ x, x0)\nexcept ValueError as error:\n    display(error.drawing)",
}
SETUP = """
import numpy as np, tinygrad_norm as tn
from tinygrad_norm.table import Table
x0 = np.random.default_rng(0).normal(size=(4, 3))
x = tn.tensor(x0, requires_grad=True, name="x")
y = tn.batch_norm(x, weight=tn.tensor(np.ones(3), requires_grad=True, name="γ"))
"""


@pytest.fixture(scope="module")
def notebook():
    """The executed notebook, and what each of its cells shows, by name."""
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, *CELLS.values())]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return notebook, {name: cell.outputs[0] for name, cell in zip(CELLS, notebook.cells[1:], strict=True)}


@pytest.fixture(scope="module")
def html(notebook):
    return {
        theme: nbconvert.HTMLExporter(theme=theme).from_notebook_node(notebook[0])[0] for theme in ("light", "dark")
    }


@pytest.fixture
def page(html, open_page):
    def opened(theme="light", width=1000):
        # Offline, the page's own scripts, for mathematics, are not there.
        return open_page(html[theme], viewport={"width": width, "height": 900}).page

    return opened


def test_pictures_are_there_as_svg_and_as_png(notebook):
    pytest.importorskip("typst")
    for name in ("wide", "small", "cube", "stopped"):
        shown = notebook[1][name]
        assert {"image/svg+xml", "image/png", "text/plain"} == set(shown.data)
        width, height = struct.unpack(">II", base64.b64decode(shown.data["image/png"])[16:24])
        size = shown.metadata["image/png"]
        assert width / height == pytest.approx(size["width"] / size["height"], rel=0.02)


SIZES = """pictures => pictures.map(e => {
    const {width, height} = e.getBoundingClientRect(), around = getComputedStyle(e.parentElement);
    const cell = e.parentElement.clientWidth - parseFloat(around.paddingLeft) - parseFloat(around.paddingRight);
    return [width, height, cell];
})"""


@pytest.mark.parametrize("width", [900, 1280, 1600])
def test_wide_pictures_have_the_width_of_the_cell_and_small_ones_their_own(page, width):
    wide, small, cube, stopped = page(width=width).eval_on_selector_all(".jp-RenderedSVG > *", SIZES)
    assert wide[0] == pytest.approx(wide[2], abs=1)
    assert wide[0] > 2 * wide[1] > 100
    assert small[0] < 400
    assert cube[0] < stopped[0] + 500 < 1200


@pytest.mark.parametrize("width", [300, 900, 3000])
def test_inside_a_page_pictures_shrink_and_never_grow(notebook, open_page, width):
    """As notebooks that do not make images of SVG have them."""
    svgs = [notebook[1][name].data["image/svg+xml"] for name in ("wide", "small", "cube", "stopped")]
    body = "".join(f"<div>{svg[svg.index('<svg') :]}</div>" for svg in svgs)
    opened = open_page(f"<!doctype html><body style='margin:0'>{body}", viewport={"width": width, "height": 900}).page
    for (across, down, cell), svg in zip(opened.eval_on_selector_all("div > svg", SIZES), svgs, strict=True):
        _, _, own, height = map(float, re.search(r'viewBox="([^"]+)"', svg)[1].split())
        unit = 1 if "role=" in svg else 4 / 3
        assert across == pytest.approx(min(own * unit, cell), abs=2)
        assert down / across == pytest.approx(height / own, rel=0.02)


def test_tables_are_tables_of_escaped_text(page):
    opened = page()
    tables = opened.query_selector_all(".jp-OutputArea-output table")
    assert len(tables) == 3
    assert tables[2].query_selector("td").text_content() == "<b>0</b>"
    assert tables[2].query_selector("caption").text_content() == "Layers & <steps>"
    assert [cell.text_content() for cell in tables[0].query_selector_all("th")][:4] == [
        "input",
        "shape",
        "worst at",
        "got",
    ]
    report = opened.query_selector(".jp-OutputArea-output pre:has-text('np.array')")
    assert "mono" in report.evaluate("e => getComputedStyle(e).fontFamily")
    assert "WRONG_VALUE" in opened.text_content("strong")


def contrast(first, second):
    def luminance(colour):
        parts = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(a * b for a, b in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_reports_and_tables_can_be_read_in_both_themes(page, theme):
    colours = page(theme).evaluate(
        """() => {
            const numbers = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
            const beneath = e => {
                for (; e; e = e.parentElement) {
                    const c = numbers(getComputedStyle(e).backgroundColor);
                    if (c.length == 3 || c[3] == 1) return c;
                }
                return [255, 255, 255];
            };
            const shown = document.querySelectorAll('.jp-RenderedHTMLCommon :is(p, td, th, pre, caption)');
            return [...shown].map(e => [numbers(getComputedStyle(e).color), beneath(e)]);
        }"""
    )
    assert len(colours) > 20
    for text, background in colours:
        assert contrast(text[:3], background[:3]) >= 4.5


@pytest.mark.parametrize("layout", ["webassembly", "any"])
def test_rows_of_numbers_align_in_the_browser(open_page, monkeypatch, layout):
    if layout == "webassembly":
        monkeypatch.setenv("PATH", "")
    x = tn.tensor(
        [[1.0, -0.5, 1e-05], [-1.2e-05, 123456.0, 0.0284], [10.0, np.nan, -3.0]], requires_grad=True, name="x"
    )
    svg = tn.draw(lambda x: x * (x > 0), x, values=True).svg()
    rows = open_page(svg[svg.index("<svg") :]).page.eval_on_selector_all(
        "g.node",
        "nodes => nodes.map(n => [...n.querySelectorAll('text')].filter(t => t.textContent.startsWith('\\u00a0')).map("
        "t => [...t.textContent].map((_, i) => t.getStartPositionOfChar(i).x)))",
    )
    box = open_page(svg[svg.index("<svg") :]).page.eval_on_selector_all(
        "g.node",
        "nodes => nodes.map(n => [n.querySelector('polygon, path').getBBox().width,"
        " Math.max(...[...n.querySelectorAll('text')].map(t => t.getComputedTextLength()))])",
    )
    assert len(rows) == 4
    for lines in rows:
        assert len(lines) == 3
        for line in lines[1:]:
            assert line == pytest.approx(lines[0], abs=0.05)
    for width, text in box:
        assert text < width
