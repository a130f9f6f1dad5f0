"""What notebooks are shown: pictures by MIME type, reports and tables as HTML. tests/browser looks at a whole one."""

import re
from xml.etree import ElementTree

import numpy as np
from test_render import ids_and_references, step

import tinygrad_norm as tn
from tinygrad_norm.check import GradientReport, Verdict
from tinygrad_norm.check.report import Argument
from tinygrad_norm.table import Table


def test_notebooks_show_svg_with_ids_of_its_own_each_time():
    drawing = tn.draw(step())
    (first, _), (second, _) = (drawing._repr_mimebundle_(include=None, exclude=None) for _ in range(2))
    assert list(first)[:2] == ["image/svg+xml", "text/plain"]
    assert first["text/plain"] == repr(drawing)
    assert repr(drawing) == f"Drawing({len(drawing.graph.vertices)} boxes, {len(drawing.graph.edges)} edges)"
    ids = [*ids_and_references(first["image/svg+xml"])[0], *ids_and_references(second["image/svg+xml"])[0]]
    assert len(set(ids)) == len(ids) > 2 * len(drawing.graph.vertices)
    (prefix,) = {re.match(r"drawing\d+-", i)[0] for i in ids_and_references(first["image/svg+xml"])[0]}
    found = first["image/svg+xml"].replace('style="max-width:100%;height:auto" ', "", 1)
    assert found == drawing.svg(prefix)


def test_in_notebooks_pictures_shrink_and_wide_ones_fill_the_cell():
    def root(drawing):
        return ElementTree.fromstring(drawing._repr_mimebundle_()[0]["image/svg+xml"])

    small, wide = root(tn.draw(step())), root(tn.draw(step(), backward=True, detail="slide"))
    assert small.get("style") == "max-width:100%;height:auto"
    assert small.get("width").endswith("pt")
    own = float(ElementTree.fromstring(tn.draw(step(), backward=True, detail="slide").svg()).get("width")[:-2])
    assert wide.get("style") == f"max-width:{own * 4 / 3:.6g}px"
    assert (wide.get("width"), wide.get("height")) == ("100%", None)
    assert small.get("viewBox")
    assert wide.get("viewBox")


def as_xml(html):
    """HTML that is well-formed, read by a parser of its own."""
    return ElementTree.fromstring(html)


def test_a_notebook_gets_what_the_text_says_as_html():
    argument = Argument("x", (4, 3), (1, 2), 0.5, -1.0, 1e-7, wrong=2, checked=12)
    report = GradientReport(
        Verdict.WRONG_VALUE, "the gradient of x is wrong", arguments=(argument,), diagnosis=("a factor of 2",),
        notes=("a note",), not_checked=("float16",), names=("x",), witness=(np.arange(6.0).reshape(2, 3),),
        cotangent=np.ones((2, 3)), elements_checked=12, elements=12, seed=3,
    )  # fmt: skip
    root = as_xml(report._repr_html_())
    said = " ".join("".join(root.itertext()).split())
    for line in report.text().splitlines():
        for words in re.split(r"  +", line.strip()):
            assert words in said
    rows = [[cell.text for cell in row] for row in root.iter("tr")]
    assert rows[0] == ["input", "shape", "worst at", "got", "want", "got/want", "allowed", "wrong"]
    assert rows[1] == ["x", "4×3", "[1, 2]", "0.5", "-1", "-0.5", "± 1e-07", "2 of 12"]
    assert [cell.tag for row in root.iter("tr") for cell in row] == ["th"] * 8 + ["td"] * 8
    assert root.find("p/strong").text == "WRONG_VALUE"
    (code,) = root.iter("pre")
    assert "monospace" in code.get("style")
    assert code.text.splitlines()[0] == "x = np.array([[0., 1., 2.], [3., 4., 5.]])"
    # Nothing but the colours of the page.
    assert "color" not in report._repr_html_()


def test_large_arrays_are_cut_in_html_too_and_names_are_text():
    name = '<img src=x onerror="alert(1)"> & co'
    arguments = tuple(Argument(f"{name} {i}", (100, 100), wrong=i == 0, checked=9) for i in range(5))
    report = GradientReport(
        Verdict.NAN,
        f"of {name}",
        arguments=arguments,
        names=(name,),
        witness=(np.random.default_rng(0).normal(size=(100, 100)),),
    )
    html = report._repr_html_()
    assert len(html) < 5000
    root = as_xml(html)
    assert not list(root.iter("img"))
    assert next(root.iter("td")).text == f"{name} 0"
    assert "report.witness[0]" in "".join(root.itertext())
    assert "and 2 more inputs that are right" in "".join(root.itertext())


def test_a_right_gradient_has_no_code_in_html():
    root = as_xml(tn.check_gradients(np.tanh, np.ones(3), seed=0)._repr_html_())
    assert root.find("p/strong").text == "PASSED"
    assert not list(root.iter("pre"))
    assert not list(as_xml(GradientReport()._repr_html_()).iter("table"))


def test_tables_show_themselves_in_notebooks():
    table = Table("Layers & <steps>", ("layer", "mean"), [("<b>0</b>", 0.12345), ("conv", None)])
    root = as_xml(table._repr_html_())
    assert root.find("table/caption").text == "Layers & <steps>"
    assert [cell.text for cell in root.iter("td")] == ["<b>0</b>", "0.123", "conv", "-"]
