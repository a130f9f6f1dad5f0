"""Values in boxes: rows of numbers that align, extremes of large arrays, lengths of gradients."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from test_graph import batch_norm, leaf, lines, read, svg_texts

import tinygrad_norm as tn
from tinygrad_norm.graph.digits import SPACE


def labels(*outputs, **options):
    dot = read(tn.draw(*outputs, values=True, **options).source)
    return [lines(dot, node) for node in dot.nodes]


def rows(*outputs, **options):
    """The rows of numbers in the last box, with plain spaces."""
    return [line.replace(SPACE, " ") for line in labels(*outputs, **options)[-1] if line.startswith(SPACE)]


def test_values_of_small_arrays_stand_in_columns_that_align_at_the_point():
    x = tn.tensor([[1.0, -0.5], [1e-5, 123456.0]], requires_grad=True, dtype="float32", name="x")
    assert labels(x)[0][:2] == ["x", "2×2 float32"]
    assert rows(x) == [" 1      -0.5      ", " 1e-05   1.23e+05 "]
    assert labels(x * 2)[1][:2] == ["× 2", "2×2 float32"]
    assert rows(x * 2) == [" 2      -1        ", " 2e-05   2.47e+05 "]
    assert labels(tn.tensor(1 / 3))[0] == ["data", "scalar float64", f"{SPACE}0.333{SPACE}"]
    assert rows(tn.tensor([[True, False], [False, False]])) == ["  True  False ", " False  False "]
    assert rows(tn.tensor([[12345], [-6]])) == [" 12345 ", "    -6 "]
    assert rows(tn.tensor([[np.nan], [-np.inf], [-0.0], [12.5]])) == ["  nan   ", " -inf   ", "    0   ", "   12.5 "]
    assert rows(tn.tensor([[-1.2e-5], [10.0], [0.25], [1 / 3]])) == [
        " -1.2e-05 ", " 10       ", "  0.25    ", "  0.333   ",
    ]  # fmt: skip
    assert rows(tn.tensor(np.array([1 + 2j, -30.5j]))) == [" 1+2j  -0-30.5j "]
    assert labels(tn.tensor(np.zeros((0, 3))))[0] == ["data", "0×3 float64"]
    assert rows(tn.tensor(np.zeros(6))) == [" 0  0  0  0  0  0 "]


@pytest.mark.parametrize("path", ["", None], ids=["webassembly", "any"])
def test_rows_of_numbers_are_monospaced_and_nothing_else_is(monkeypatch, path):
    if path is not None:
        monkeypatch.setenv("PATH", path)
    drawing = tn.draw(batch_norm(), values=True, backward=True)
    root = ElementTree.fromstring(drawing.svg())
    texts = [(text.get("font-family"), text.text) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    mono = [text for family, text in texts if "monospace" in family]
    assert len(mono) == sum(len(v.values.split("\n")) for v in drawing.graph.vertices)
    assert all(text.startswith(SPACE) and text.endswith(SPACE) for text in mono)
    assert all(family == "Helvetica,sans-Serif" for family, text in texts if text not in mono)
    assert "Courier" not in drawing.svg()


@pytest.mark.parametrize("shape", [(7,), (7, 1), (4, 4), (13,), (2, 6, 7)])
def test_values_of_larger_arrays_are_extremes_and_mean(shape):
    x = np.random.default_rng(0).normal(size=shape)
    (label,) = labels(tn.tensor(x))
    assert label[2:] == [f"min {x.min():.3g}, mean {x.mean():.3g}, max {x.max():.3g}"]
    assert labels(tn.tensor(np.full(70_000, 300, np.float16)))[0][2:] == ["min 300, mean 300, max 300"]
    assert labels(tn.tensor(np.full(20, 3e38, np.float32)))[0][2:] == ["min 3e+38, mean 3e+38, max 3e+38"]
    assert labels(tn.tensor(np.arange(20) % 2 == 0))[0][2:] == ["min 0, mean 0.5, max 1"]
    assert labels(tn.tensor(np.full(20, np.nan)))[0][2:] == ["min nan, mean nan, max nan"]
    assert labels(tn.tensor(np.full(20, 1 + 2j)))[0][2:] == ["mean 1+2j"]


def test_no_values_unless_asked_for():
    plain = tn.draw(batch_norm(), backward=True)
    assert all((v.values, v.gradient_norm) == (None, None) for v in plain.graph.vertices)
    assert "float" not in re.sub(r'tooltip="[^"]*"', "", plain.source)


@pytest.mark.parametrize("detail", ["full", "slide"])
def test_forward_boxes_show_the_norm_of_their_gradient(detail):
    x, gamma, g = leaf(4, 3, name="x"), leaf(3, name="γ", seed=1), np.random.default_rng(5).normal(size=(4, 3))
    y = tn.batch_norm(x, weight=gamma)
    drawing = tn.draw(y, backward=True, cotangents=[g], values=True, detail=detail)
    shown = {v.name: v.gradient_norm for v in drawing.graph.vertices if v.order == 0 and v.name}
    for tensor in (x, gamma):
        want = f"{np.linalg.norm(tn.grad(y, tensor, g).data):.3g}"
        assert shown[tensor.name] == want
        assert f"gradient norm {want}" in [
            line for node in svg_texts(drawing.svg(), "node") for line in node[0] if tensor.name == node[0][0]
        ]
    assert shown["y"] == f"{np.linalg.norm(g):.3g}"
    assert all((v.gradient_norm is None) == (v.order > 0) for v in drawing.graph.vertices)
    assert x.grad is None
