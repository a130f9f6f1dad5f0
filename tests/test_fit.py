"""Pictures for a frame: they are as wide, at most as high, readable, and nothing in them covers anything else."""

import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_norm as tn
from tests.benchmarks.graphs import GRAPHS
from tests.benchmarks.reading import look, overlaps, pierced, struck
from tinygrad_norm.graph.fit import FRAMES
from tinygrad_norm.graph.rows import rounded

PIXEL = 0.75
# The promises: in a frame, the smallest text in points.
PROMISES = [
    ("batch norm", False, "slide", 14 * PIXEL),
    ("batch norm", True, "slide", 14 * PIXEL),
    ("network", False, "slide", 14 * PIXEL),
    ("multi-head attention", False, "slide", 14 * PIXEL),
    ("batch norm", True, "column", 7.0),
]


@cache
def drawn(name, backward, frame):
    return tn.draw(GRAPHS[name][0](), backward=backward, fit=frame)


def touch(box, point):
    """Say whether a line that ends at a point, but for an arrow's head, leads to a box."""
    x0, y0, x1, y1 = box
    return np.hypot(max(x0 - point[0], 0, point[0] - x1), max(y0 - point[1], 0, point[1] - y1)) < 18


@pytest.mark.parametrize(("name", "backward", "frame", "readable"), PROMISES)
def test_what_is_promised_is_readable_and_free_of_overlaps(name, backward, frame, readable):
    seen = look(drawn(name, backward, frame).svg())
    assert seen.smallest_text >= readable - 0.01
    assert overlaps(seen) == []
    assert struck(seen) == []
    assert pierced(seen) == []


@pytest.mark.parametrize(("name", "backward", "frame", "readable"), PROMISES)
def test_a_picture_is_as_wide_as_its_frame_and_at_most_as_high(name, backward, frame, readable):
    seen = look(drawn(name, backward, frame).svg())
    width, height, *_ = FRAMES[frame]
    assert seen.width == pytest.approx(width, abs=5)
    assert seen.height <= height + 1


@pytest.mark.parametrize(("name", "backward", "frame", "readable"), PROMISES)
def test_every_line_runs_from_box_to_box_through_all_rows(name, backward, frame, readable):
    picture = drawn(name, backward, frame)
    seen = look(picture.svg())
    assert set(seen.boxes) == {f"n{v.id}" for v in picture.graph.vertices}
    assert len(seen.lines) == len(picture.graph.edges)
    for e in picture.graph.edges:
        points = seen.lines[f"e{e.source}_{e.target}_{e.operand}"]
        ends = [seen.boxes[f"n{e.source}"], seen.boxes[f"n{e.target}"]]
        # A gradient's line is drawn from where it ends.
        assert any(touch(a, points[0]) and touch(b, points[-1]) for a, b in (ends, ends[::-1]))
        assert touch(ends[1], seen.arrows[f"e{e.source}_{e.target}_{e.operand}"])
        steps = np.hypot(*np.diff(points, axis=0).T)
        assert steps.max() < np.hypot(seen.page[2] - seen.page[0], seen.page[3] - seen.page[1]) / 2


def test_on_a_slide_the_gradient_runs_below_the_forward_pass_and_in_a_column_to_its_right():
    for frame, axis in (("slide", 1), ("column", 0)):
        picture = drawn("batch norm", True, frame)
        boxes = look(picture.svg()).boxes
        rows = re.findall(r"cluster_1_0", picture.source)
        for v in picture.graph.vertices:
            if v.order and v.differentiates is not None and len(rows) == 1:
                assert boxes[f"n{v.id}"][axis] > boxes[f"n{v.differentiates}"][axis + 2]


def test_what_is_collapsed_to_be_readable_is_said_and_the_caption_is_in_the_picture():
    picture = drawn("20 layers", False, "slide")
    assert picture.caption.startswith("collapsed: ")
    seen = look(picture.svg())
    said = " ".join(text.text for text in seen.texts if text.kind == "graph")
    assert said == picture.caption
    assert drawn("batch norm", True, "slide").caption == ""


def test_what_the_caller_collapses_is_what_is_collapsed():
    y = GRAPHS["network"][0]()
    mine = tn.draw(y, fit="column", collapse="linear")
    assert mine.caption == ""
    assert [v.symbol for v in mine.graph.vertices if v.holds] == ["linear", "linear"]
    assert mine.graph == tn.draw(y, detail="slide", collapse="linear").graph


def test_detail_says_what_is_shown_and_fit_says_where():
    y = GRAPHS["batch norm"][0]()
    assert tn.draw(y, fit="slide").graph == tn.draw(y, detail="slide").graph
    assert tn.draw(y, fit="slide", detail="full").graph == tn.draw(y).graph


def test_the_same_graph_gives_the_same_picture_in_both_themes_at_the_same_places():
    y = GRAPHS["batch norm"][0]()
    light, dark = tn.draw(y, fit=(300, 200)), tn.draw(y, fit=(300, 200), theme="dark")
    assert tn.draw(y, fit=(300, 200)).source == light.source
    assert re.findall(r' pos="[^"]*"', dark.source) == re.findall(r' pos="[^"]*"', light.source)


@pytest.mark.parametrize("size", [(252, 500), (600, 100), (1000.5, 1000.5)])
def test_any_frame_can_be_asked_for(size):
    seen = look(tn.draw(GRAPHS["batch norm"][0](), fit=size).svg())
    assert seen.width == pytest.approx(size[0], abs=5)
    assert seen.height <= size[1] + 1
    assert overlaps(seen) == []


@pytest.mark.parametrize(
    ("fit", "error", "said"),
    [
        ("slides", ValueError, "one of 'slide', 'screen', 'page', 'column' or"),
        ((0, 5), ValueError, "positive width and height"),
        ((5, float("nan")), ValueError, "positive width and height"),
        (3, TypeError, "name of a frame"),
        ((1, "2"), TypeError, "name of a frame"),
    ],
)
def test_a_frame_that_is_none_is_an_error(fit, error, said):
    with pytest.raises(error, match=said):
        tn.draw(tn.tensor([1.0], name="x"), fit=fit)


def test_a_single_box_and_a_scope_with_any_name_fit():
    seen = look(tn.draw(tn.tensor([1.0], name="x"), fit="slide").svg())
    assert [text.text for text in seen.texts] == ["x (1)"]
    x = tn.tensor([1.0, 2.0], requires_grad=True, name='"\\N<b>&amp;')
    with tn.scope('a "b" \\G &'):
        y = x * x
    seen = look(tn.draw(y, backward=True, fit="column").svg())
    assert {'a "b" \\G &', '"\\N<b>&amp;'} <= {text.text for text in seen.texts}


@pytest.mark.parametrize(("name", "backward", "frame", "readable"), PROMISES)
def test_without_graphviz_pictures_fit_as_well(monkeypatch, name, backward, frame, readable):
    monkeypatch.setenv("PATH", "")
    seen = look(tn.draw(GRAPHS[name][0](), backward=backward, fit=frame).svg())
    assert seen.smallest_text >= readable - 0.01
    assert overlaps(seen) == []
    assert struck(seen) == []
    assert pierced(seen) == []


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=7))
@settings(max_examples=50)
def test_a_rounded_line_starts_and_ends_where_it_should_and_never_leaves_its_corners(corners):
    points = rounded(corners)
    assert points[0] == corners[0]
    assert points[-1] == pytest.approx(corners[-1])
    assert len(points) % 3 == 1
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    assert (np.array(points) >= low - 1e-9).all()
    assert (np.array(points) <= high + 1e-9).all()


# The reader of pictures sees what it is to see.

PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" width="50pt" height="25pt" viewBox="0 0 50 25">
<g class="graph" transform="scale(.5 .5) rotate(0) translate(0 50)">
<polygon points="0,0 0,-50 100,-50 100,0 0,0"/>
<g class="node" id="n0"><polygon points="0,-20 20,-20 20,-10 0,-10"/><text x="10" y="-12" font-size="8">ab</text></g>
<g class="node" id="n1"><polygon points="{0},-20 {1},-20 {1},-10 {0},-10"/></g>
<g class="edge" id="e"><path d="M0,{2}C10,{2} 20,{2} 30,{2}"/><polygon points="30,{2} 32,{2}"/></g>
</g></svg>"""


def test_the_reader_sees_overlaps_struck_texts_and_the_size_of_text():
    clean = look(PICTURE.format(40, 60, -40))
    assert (overlaps(clean), struck(clean), clean.scale, clean.smallest_text) == ([], [], 0.5, 4.0)
    assert clean.in_frame(100, 100) == 8.0
    assert overlaps(look(PICTURE.format(15, 60, -40))) == [("n0", "n1")]
    assert overlaps(look(PICTURE.format(90, 110, -40))) == [("n1", "the page's edge")]
    assert struck(look(PICTURE.format(40, 60, -15))) == [("node ab", "e")]
    assert pierced(look(PICTURE.format(40, 60, -15))) == [("n0", "e")]
    assert pierced(clean) == []


def test_a_graph_whose_only_scopes_are_steps_fits():
    x = tn.tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True, name="x")
    drawing = tn.draw(tn.ops.softmax(x) @ x.T, backward=True, fit="slide")
    assert "softmax over axis 1" in [v.text or f"{v.symbol} {v.detail}" for v in drawing.graph.vertices]
    assert overlaps(look(drawing.svg())) == []
