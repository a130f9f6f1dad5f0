"""What boxes are called and say: every name in a formula stands in the picture, and means one thing."""

import warnings

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.graph import boxes


def values(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def said(drawing):
    """Names and formulas of the boxes."""
    return [(v.called, v.text) for v in drawing.graph.vertices]


def test_a_gradient_is_called_by_what_its_tensor_is_called():
    x = tn.tensor(values(3), requires_grad=True, name="x")
    first = tn.named("h", np.tanh(x))
    second = tn.named("h", np.tanh(first))
    found = dict(said(tn.draw(first - second, backward=True, detail="slide")))
    assert {"h₁", "h₂", "dL/dh₁", "dL/dh₂"} <= found.keys()
    assert found["dL/dx"] == "dL/dh₁ × (1 − h₁²)"
    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Tanh(), nn.Linear(4, 2, rng=1))
    graph = tn.draw(model, values(5, 3), backward=True, detail="slide", open=True).graph
    shapes = {v.called: v.shape for v in graph.vertices}
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        assert shapes[f"dL/d({name})"] == shapes[name]


def test_a_seed_is_told_apart_from_the_gradient_that_it_is_a_part_of():
    x = tn.tensor(values(3), requires_grad=True, name="x")
    c = tn.named("c", x * 2.0)
    h = tn.named("h", np.tanh(c))
    names = [name for name, _ in said(tn.draw(h, c, backward=True, detail="slide")) if name]
    assert {"dL/dh", "dL/dc (seed)", "dL/dc"} <= {*names}
    assert len(names) == len({*names})


def test_the_output_that_a_seed_speaks_of_is_there():
    assert ("y", "tanh") in said(tn.draw(np.tanh, values(3), backward=True))
    assert ("", "tanh") in said(tn.draw(np.tanh, values(3)))


def test_a_collapsed_box_says_the_name_that_formulas_use():
    def fn(q, k):
        with tn.scope("a"):
            a = np.tanh(q * 2.0)
        with tn.scope("b"):
            b = np.exp(k * 3.0)
        return a - b

    for fit in (None, "slide"):
        drawing = tn.draw(fn, values(2), values(2), collapse=0, fit=fit)
        assert drawing.graph.vertices[-1].text == "t₁ − t₂"
        assert "t₁ = a" in drawing.source
        assert "t₂ = b" in drawing.source


def test_a_matrix_is_transposed_in_the_formula_also_before_a_cast():
    drawing = tn.draw(nn.Linear(3, 2, rng=0), values(4, 3), detail="slide", open=True)
    assert ("", "x @ weightᵀ") in said(drawing)
    assert [e.marks for e in drawing.graph.edges] == [(), ("cast float64",), (), ("cast float64", "broadcast")]


def test_values_are_shown_with_a_gradient_that_data_have_no_part_in():
    for fn in (lambda a: np.where(a > 0, a, 0.0).sum(), lambda a: nn.cross_entropy(a, np.arange(2))):
        drawing = tn.draw(fn, values(2, 2), values=True, backward=True)
        (a,) = (v for v in drawing.graph.vertices if v.name == "a")
        assert a.gradient_norm is not None


@pytest.mark.parametrize(
    ("fn", "formula"),
    [
        (lambda x: np.mean(x, axis=1).sum(), "• / 3"),
        (lambda x: (np.float32(1) / np.float32(7)) * x, "• / 7"),
        (lambda x: x * 0.3, "× 0.3"),
        (lambda x: x * 0.5, "× ½"),
    ],
)
def test_a_factor_that_divides_by_a_whole_number_is_shown_so(fn, formula):
    assert formula in [text for _, text in said(tn.draw(fn, values(4, 3).astype(np.float32), backward=True))]


def test_what_goes_without_saying_is_not_in_a_formula():
    texts = [
        text for _, text in said(tn.draw(lambda s: np.maximum(0, 1 - s).sum(), values(4), backward=True, fit="page"))
    ]
    assert "where((t₁ = t₂) or isnan(t₁), where(t₂ = 0, ½ × dL/dy, dL/dy), 0)" in texts


def test_labels_that_fit_do_not_break_inside_an_index_and_are_no_towers():
    graph = tn.draw(lambda x: x[:, 1:2] * x[:, ::-1][:, :1], values(4, 3), detail="slide").graph
    for v in graph.vertices:
        assert not any(line.count("[") != line.count("]") for line in boxes.short_label(v, 6))
    graph = tn.draw(lambda s: np.maximum(0, 1 - s).sum(), values(4), backward=True, detail="slide").graph
    assert max(len(boxes.short_label(v, 8)) for v in graph.vertices) <= boxes.MOST_LINES + 4


def test_a_function_of_one_operand_does_not_read_as_the_function_itself():
    (box,) = (
        v for v in tn.draw(lambda x: tn.named("n", np.tanh(x)), values(3), detail="slide").graph.vertices if v.operation
    )
    assert boxes.short_label(box, 30) == ["n = tanh(•) (3)"]


def test_text_that_is_too_small_for_its_frame_is_warned_of():
    def chain(x):
        for _ in range(60):
            x = np.tanh(x) - np.sin(x)
        return x

    with pytest.warns(
        UserWarning, match=r"the text of this picture is \d+\.\d points high, but it needs 7 to be readable"
    ):
        tn.draw(chain, values(3), fit="column")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tn.draw(np.tanh, values(3), fit="column")
