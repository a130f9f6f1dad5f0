"""The heat map: which cells are drawn and where, against finite differences; signs, scale, bounds, and layers."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_norm as tn
from tinygrad_norm.graph import Picture
from tinygrad_norm.graph.jacobian import MOST_ENTRIES
from tinygrad_norm.graph.picture import MARGIN, THEMES, Box, Lines, Polygon

SVG = "{http://www.w3.org/2000/svg}"
TOOLTIP = re.compile(r"dy(?:\[([\d,]+)\])?/dx(?:\[([\d,]+)\])? = (\S+)")


class Cell(NamedTuple):
    row: int
    column: int
    y: tuple[int, ...]
    x: tuple[int, ...]
    value: float
    fill: str
    marks: int


def cells(picture: Picture) -> list[Cell]:
    """The cells of a picture with one map; rows and columns are measured from the corner of the frame."""
    (frame,) = (shape for shape in picture.shapes if isinstance(shape, Lines) and shape.width == 1.6)
    left, top = np.min(frame.corners, axis=0)
    marks = [s for shape in picture.shapes if isinstance(shape, Lines) and shape is not frame for s in shape.segments]
    found = []
    for polygon in picture.shapes:
        if not isinstance(polygon, Polygon) or not polygon.tooltip:
            continue
        (x, y), (right, bottom) = np.min(polygon.points, axis=0), np.max(polygon.points, axis=0)
        match = TOOLTIP.fullmatch(polygon.tooltip)
        assert match
        size = right - x + 1
        places = [tuple(map(int, part.split(","))) if part else () for part in match.groups()[:2]]
        inside = sum(
            x < min(a[0], b[0]) <= max(a[0], b[0]) < right and y < min(a[1], b[1]) <= max(a[1], b[1]) < bottom
            for a, b in marks
        )
        found.append(
            Cell(round((y - top) / size), round((x - left) / size), *places, float(match[3]), polygon.fill, inside)
        )
    return found


def differences(fn: Any, x: np.ndarray) -> np.ndarray:
    """The Jacobian as a matrix, by central differences."""
    columns = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = 1e-6
        plus, minus = (np.asarray(fn(x + sign * step.reshape(x.shape))).ravel() for sign in (1, -1))
        columns.append((plus - minus) / 2e-6)
    return np.stack(columns, axis=1)


def arranged(matrix: np.ndarray, y_shape: tuple[int, ...], x_shape: tuple[int, ...], order: str) -> np.ndarray:
    """The matrix by sample as it is, by feature with rows and columns sorted by what is not the sample."""
    if order == "sample":
        return matrix
    rows, columns = (sorted(np.ndindex(*shape), key=lambda i: i[1:]) for shape in (y_shape, x_shape))
    y, x = ([np.ravel_multi_index(i, shape) for i in index] for index, shape in ((rows, y_shape), (columns, x_shape)))
    return matrix[np.ix_(y, x)]


def plain_batch_norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)


def plain_layer_norm(x: np.ndarray) -> np.ndarray:
    return plain_batch_norm(x.T).T


def plain_group_norm(x: np.ndarray) -> np.ndarray:
    return plain_layer_norm(x.reshape(2 * len(x), -1)).reshape(x.shape)


NORMS = {
    "batch norm": (tn.batch_norm, plain_batch_norm, (4, 3)),
    "layer norm": (lambda x: tn.layer_norm(x, 3), plain_layer_norm, (4, 3)),
    "group norm": (lambda x: tn.group_norm(x, 2), plain_group_norm, (2, 4, 2, 2)),
    "mean": (lambda x: x.mean(1), lambda x: x.mean(1), (3, 4)),
}


@pytest.mark.parametrize("order", ["sample", "feature"])
@pytest.mark.parametrize("name", NORMS)
def test_cells_are_drawn_where_finite_differences_are_not_zero(name: str, order: str) -> None:
    fn, plain, shape = NORMS[name]
    x = np.random.default_rng(3).normal(size=shape)
    y_shape = plain(x).shape
    want = arranged(differences(plain, x), y_shape, shape, order)
    drawn = cells(tn.draw_jacobian(fn, x, order=order))
    assert {(cell.row, cell.column) for cell in drawn} == {(i, j) for i, j in np.argwhere(np.abs(want) > 1e-7).tolist()}
    assert len(drawn) < want.size
    for cell in drawn:
        np.testing.assert_allclose(cell.value, want[cell.row, cell.column], rtol=0.006, atol=1e-7)
        by_name = differences(plain, x).reshape(y_shape + shape)[cell.y + cell.x]
        np.testing.assert_allclose(by_name, want[cell.row, cell.column], atol=1e-9)


def blocks(drawn: list[Cell], height: int, width: int) -> dict[tuple[int, int], set[tuple[int, int]]]:
    found: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for cell in drawn:
        inside = (cell.row % height, cell.column % width)
        found.setdefault((cell.row // height, cell.column // width), set()).add(inside)
    return found


def test_batch_norm_couples_all_samples_and_no_features_and_layer_norm_the_reverse() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    diagonal, full = {(i, i) for i in range(3)}, {(i, j) for i in range(3) for j in range(3)}
    batch = blocks(cells(tn.draw_jacobian(tn.batch_norm, x, order="sample")), 3, 3)
    assert batch == {(i, j): diagonal for i in range(4) for j in range(4)}
    layer = blocks(cells(tn.draw_jacobian(lambda x: tn.layer_norm(x, 3), x, order="sample")), 3, 3)
    assert layer == {(i, i): full for i in range(4)}
    by_feature = blocks(cells(tn.draw_jacobian(tn.batch_norm, x, order="feature")), 4, 4)
    assert by_feature == {(i, i): {(j, k) for j in range(4) for k in range(4)} for i in range(3)}


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1), st.sampled_from(sorted(THEMES))
)
def test_a_linear_map_is_drawn_as_its_matrix(samples: int, inputs: int, outputs: int, seed: int, theme: str) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-2, 3, (samples * outputs, samples * inputs)).astype(float)
    fn = lambda x: (tn.Tensor(matrix) @ x.reshape(-1)).reshape(samples, outputs)  # noqa: E731
    x = np.zeros((samples, inputs))
    for order in ("sample", "feature"):
        want = arranged(matrix, (samples, outputs), x.shape, order)
        picture = tn.draw_jacobian(fn, x, order=order, theme=theme)
        drawn = cells(picture)
        assert {(c.row, c.column): c.value for c in drawn} == {
            (i, j): want[i, j] for i, j in np.argwhere(want).tolist()
        }
        # A plus is two lines, a minus one: colour is not the only sign.
        assert all(cell.marks == (2 if cell.value > 0 else 1) for cell in drawn)
        look = THEMES[theme]
        strongest = {1: look.positive[1], -1: look.negative[1]}
        largest = np.abs(want).max()
        assert all((c.fill == strongest[int(np.sign(c.value))]) == (abs(c.value) == largest) for c in drawn)
        assert f"{np.count_nonzero(matrix)} of {matrix.size} derivatives are not zero" in picture.description


def texts(picture: Picture) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(picture.svg()).iter(f"{SVG}text")]


def test_both_orders_a_legend_and_a_caption_by_default() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    picture = tn.draw_jacobian(tn.batch_norm, x)
    found = texts(picture)
    for words in ("sample", "feature"):
        assert {f"inputs x (4, 3) by {words}", f"outputs y (4, 3) by {words}"} <= set(found)
    assert {"dy/dx of batch_norm", "48 of 144 derivatives are not zero", "blank: 0"} <= set(found)
    largest = np.abs(tn.jacobian(tn.batch_norm, x)).max()
    assert {f"{largest:.3g}", f"−{largest:.3g}"} <= set(found)
    assert [t for t in found if t.isdigit()] == [*"0123" * 2, *"012" * 2]
    tooltips = [shape.tooltip for shape in picture.shapes if isinstance(shape, Polygon) and shape.tooltip]
    assert len(tooltips) == 2 * 48
    assert len(set(tooltips)) == 48
    one = tn.draw_jacobian(tn.batch_norm, x, order="feature")
    assert "inputs x (4, 3) by sample" not in texts(one)
    assert one.svg() == tn.draw_jacobian(tn.batch_norm, tn.tensor(x), order="feature").svg()


def test_scalars_vectors_zeros_and_what_is_not_finite() -> None:
    picture = tn.draw_jacobian(lambda x: np.sqrt(x).sum(), np.array([0.0, 1, 4]), order="sample")
    found = {cell.x: (cell.y, cell.value, cell.marks) for cell in cells(picture)}
    assert found == {(0,): ((), np.inf, 2), (1,): ((), 0.5, 2), (2,): ((), 0.25, 2)}
    assert "3 of 3 derivatives are not zero, 1 not finite (×)" in texts(picture)
    # The scale ends at the largest number that is one.
    assert [cell.fill for cell in cells(picture)][1] == THEMES["light"].positive[1]
    assert {"−0.5", "0.5"} <= set(texts(picture))
    nothing = tn.draw_jacobian(lambda x: x * 0, np.ones((2, 2)))
    assert "0 of 16 derivatives are not zero" in texts(nothing)
    assert not [shape for shape in nothing.shapes if isinstance(shape, Polygon)]
    (single,) = cells(tn.draw_jacobian(lambda x: x * 3, np.array(2.0), order="sample"))
    assert single[:5] == (0, 0, (), (), 3.0)


def test_layers_in_training_keep_their_running_statistics() -> None:
    layer = tn.nn.BatchNorm1d(3)
    before = layer.state_dict()
    picture = tn.draw_jacobian(layer, np.random.default_rng(0).normal(size=(4, 3)))
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert (layer.training, layer.weight.grad) == (True, None)
    # The batch's own statistics were used: samples depend on each other.
    assert "48 of 144 derivatives are not zero" in texts(picture)
    assert "dy/dx of BatchNorm1d" in texts(picture)
    layer(np.random.default_rng(0).normal(size=(4, 3)))
    assert layer.state_dict()["num_batches_tracked"] == 1


def test_too_many_derivatives_or_none_are_an_error_before_they_are_computed() -> None:
    side = int(MOST_ENTRIES**0.5)
    tn.draw_jacobian(lambda x: x * 1, np.ones((side, 1)), order="sample")
    calls = []

    def fn(x: Any) -> Any:
        calls.append(x)
        return x * 1

    with pytest.raises(ValueError, match=rf"{(side + 1) ** 2} derivatives.*1 to {MOST_ENTRIES}: use a smaller batch"):
        tn.draw_jacobian(fn, np.ones((side + 1, 1)))
    assert len(calls) == 1
    with pytest.raises(ValueError, match=r"shape \(0, 3\).*a non-empty x"):
        tn.draw_jacobian(fn, np.ones((0, 3)))
    with pytest.raises(ValueError, match="'sample', 'feature', or None for both, not 'channel'"):
        tn.draw_jacobian(fn, np.ones(2), order="channel")
    with pytest.raises(ValueError, match="'light' or 'dark', not 'sepia'"):
        tn.draw_jacobian(fn, np.ones(2), theme="sepia")
    with pytest.raises(TypeError, match="int64"):
        tn.draw_jacobian(fn, np.ones(2, np.int64))


@pytest.mark.parametrize("name", ["</script>", '"];evil[label="', "<b>x</b>", "\\nabla", "a\nb", "x" * 10_000])
def test_v16_hostile_names_of_functions_are_drawn_literally(name: str) -> None:
    def fn(x: Any) -> Any:
        return x * 2

    fn.__name__ = name
    for picture in (
        tn.draw_jacobian(fn, np.ones(2)),
        tn.draw_jacobian(lambda x: x, np.ones(2), title=f"dy/dx of {name}"),
    ):
        root = ElementTree.fromstring(picture.svg())
        assert root.findtext(f"{SVG}title") == f"dy/dx of {name}".replace("\n", "␊")
        shown = f"dy/dx of {name}"
        shown = shown if len(shown) <= 80 else shown[:79] + "…"
        assert any(text.endswith(shown.replace("\n", "␊")) for text in texts(picture))
        assert not {"script", "b"} & {element.tag.removeprefix(SVG) for element in root.iter()}


def test_functions_without_a_name_of_their_own() -> None:
    x = np.ones((2, 2))
    assert tn.draw_jacobian(lambda x: x, x).title == "dy/dx"
    assert tn.draw_jacobian(partial(tn.layer_norm, normalized_shape=2), x).title == "dy/dx of partial"
    assert tn.draw_jacobian(lambda x: x, x, title="").title == ""


def test_everything_lies_within_the_margin_and_two_builds_are_the_same() -> None:
    x = np.random.default_rng(0).normal(size=(2, 12, 2))
    picture, again = (tn.draw_jacobian(lambda x: tn.group_norm(x, 3), x, title="a long title " * 6) for _ in range(2))
    assert picture.svg() == again.svg()
    box = Box.around(picture.shapes)
    left, top, right, bottom = box.left, box.top, picture.width - box.right, picture.height - box.bottom
    np.testing.assert_allclose([left, top, right, bottom], MARGIN, atol=1)
