"""The atlas: every operation is in one picture, with all that it is computed from; names are text and nothing else."""

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given

import tinygrad_norm as tn
from tests.benchmarks.graphs import GRAPHS, residual_block
from tests.test_collapse import scoped_programs
from tinygrad_norm import nn
from tinygrad_norm.graph import RenderError, trace
from tinygrad_norm.graph.atlas import layout
from tinygrad_norm.graph.atlas.grouping import MOST_BOXES
from tinygrad_norm.graph.atlas.pictures import pictures_of

THING, LABEL, LOOK = 0, 5, 6


def atlas(drawing, tmp_path, name="net"):
    """The HTML, and what its script reads."""
    html = drawing.save(tmp_path / f"{name}.html").read_text(encoding="utf-8")
    return html, json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1])


def boxes(data, picture):
    return [box for box in data["pictures"][picture]["boxes"] if "stub" not in box[LOOK]]


def named(data, picture, title):
    """The thing that a box of a picture stands for, by the first line in it."""
    (box,) = [box for box in boxes(data, picture) if box[LABEL][0] == title]
    return data["things"][box[THING]]


def leaf(name="x", *shape):
    return tn.tensor(np.ones(shape or (2, 3)), requires_grad=True, name=name)


def block():
    return nn.Sequential({"lin": nn.Linear(3, 3, rng=0), "norm": nn.LayerNorm(3), "act": nn.ReLU()})


def blocks(number=12):
    return nn.Sequential(*[block() for _ in range(number)])(leaf())


@pytest.mark.parametrize("name", GRAPHS)
def test_every_operation_is_in_one_picture_with_all_of_its_operands(tmp_path, name):
    make, backward = GRAPHS[name]
    drawing = tn.draw(make(), backward=backward, open=True, max_nodes=10_000)
    _, data = atlas(drawing, tmp_path)
    found = Counter()
    for number, picture in enumerate(data["pictures"]):
        into = Counter(line[1] for line in picture["lines"])
        for i, box in enumerate(picture["boxes"]):
            thing = data["things"][box[THING]] if box[THING] is not None else None
            if thing and "stub" not in box[LOOK] and "opens" not in thing:
                assert thing["home"] == number
                facts = thing["facts"]
                operation = facts.get("operation", "leaf").split(" (")[0]
                found[facts.get("name"), operation, facts["shape"], into[i]] += 1
    operands = Counter(e.target for e in drawing.graph.edges)
    wanted = Counter(
        (v.name, v.operation or "leaf", "×".join(map(str, v.shape)) or "scalar", operands[v.id])
        for v in drawing.graph.vertices
    )
    assert wanted - found == Counter()
    # Labels of a loss are no operands: they stand beside it.
    assert all(what[:2] == (None, "leaf") for what in found - wanted)


@pytest.mark.parametrize("name", ["multi-head attention", "residual block", "gradient penalty"])
def test_a_formula_is_made_of_names_that_stand_in_its_picture(tmp_path, name):
    make, backward = GRAPHS[name]
    _, data = atlas(tn.draw(make(), backward=backward), tmp_path)
    read = 0
    for picture in data["pictures"]:
        standing = {line for box in picture["boxes"] for line in box[LABEL]}
        for box in picture["boxes"]:
            formulas = [line for line in box[LABEL] if " " in line]
            for t in re.findall(r"t[₀-₉]+", " ".join(formulas)):
                assert t in standing
                read += 1
    assert read >= 2


def test_pictures_are_nested_as_scopes_are_and_both_halves_open_the_same(tmp_path):
    _, data = atlas(tn.draw(residual_block(), backward=True), tmp_path)
    root = data["pictures"][0]
    assert root["outer"] is None
    assert root["name"] == "net"
    for title in ("norm1: batch_norm", "norm2: batch_norm"):
        forward, gradient = named(data, 0, title), named(data, 0, f"{title} · gradient")
        assert forward["opens"] == gradient["opens"]
        assert data["pictures"][forward["opens"]]["outer"] == 0
        inside = {box[LOOK].split()[0] for box in boxes(data, forward["opens"])}
        assert {"forward", "backward"} <= inside
    # Values that a gradient borrows from the scope beside it.
    numbers = {box[LABEL][0]: i for i, box in enumerate(root["boxes"])}
    lent = {tuple(line[:2]) for line in root["lines"] if line[2] == "lent"}
    assert (numbers["norm2: batch_norm"], numbers["norm2: batch_norm · gradient"]) in lent
    # What comes in and what goes out stands at the rim, faint, and says where it belongs.
    rim = [
        box for box in data["pictures"][named(data, 0, "norm2: batch_norm")["opens"]]["boxes"] if "stub" in box[LOOK]
    ]
    said = [box[LABEL][-1] for box in rim]
    assert "from conv2: conv2d" in said
    assert "from relu: ReLU · gradient" in said
    assert "to +" in said


def test_a_box_knows_what_the_tooltip_knows(tmp_path):
    y = tn.batch_norm(leaf("x", 2, 2), weight=leaf("γ", 2))
    _, data = atlas(tn.draw(y, backward=True, values=True, axes="n c"), tmp_path)
    scope = named(data, 0, "batch_norm")
    assert scope["facts"]["contains"] == "11 operations"
    variance = named(data, scope["opens"], "σ²")["facts"]
    assert variance.pop("gradient norm")
    assert variance.pop("values").split() == ["0", "0"]
    assert variance == {
        "name": "σ²", "operation": "mean", "formula": "mean over n", "shape": "1×2", "dtype": "float64",
    }  # fmt: skip
    gamma = named(data, scope["opens"], "dL/dγ")["facts"]
    assert gamma["undoes"] == "a broadcast"
    assert gamma["gradient of"]


def test_long_repeats_are_one_box_that_opens(tmp_path):
    drawing = tn.draw(blocks(), backward=True)
    _, data = atlas(drawing, tmp_path)
    assert [box[LABEL][0] for box in boxes(data, 0)] == [
        "x", "0 … 11: Sequential × 12", "dL/doutput", "0 … 11: Sequential × 12 · gradient",
    ]  # fmt: skip
    twelve = boxes(data, named(data, 0, "0 … 11: Sequential × 12")["opens"])
    assert len(twelve) == 24
    assert len({data["things"][box[THING]]["opens"] for box in twelve}) == 12


def test_layers_that_follow_each_other_without_a_container_are_blocks(tmp_path):
    layers = [nn.Linear(5, 3, rng=0), nn.ReLU()] + [
        f() for _ in range(6) for f in (lambda: nn.Linear(3, 3, rng=1), nn.ReLU)
    ]
    _, data = atlas(tn.draw(nn.Sequential(*layers)(leaf("x", 2, 5))), tmp_path)
    assert [box[LABEL][0] for box in boxes(data, 0)] == ["x", "0: linear", "1: ReLU", "block × 6"]
    six = boxes(data, named(data, 0, "block × 6")["opens"])
    assert [box[LABEL][0] for box in six] == [f"block {i}" for i in range(1, 7)]
    third = data["things"][six[2][THING]]["opens"]
    assert [box[LABEL][0] for box in boxes(data, third)] == ["6: linear", "7: ReLU"]
    # Operations between the scopes of a block are in it, with their gradients and their weights.
    h = leaf()
    for _ in range(5):
        with tn.scope("half"):
            h = np.tanh(h)
        h = h * nn.Parameter(np.ones((2, 3)))
    _, data = atlas(tn.draw(h, backward=True), tmp_path)
    names = [box[LABEL][0] for box in boxes(data, 0)]
    assert names == ["x", "block × 5", "dL/dy", "block × 5 · gradient"]
    # Three are no long repeat, and one operation that follows itself is shown as it is.
    _, data = atlas(tn.draw(blocks(3)), tmp_path)
    assert len(boxes(data, 0)) == 4
    h = leaf()
    for _ in range(9):
        h = h + 1.0
    _, data = atlas(tn.draw(h), tmp_path)
    assert len(data["pictures"]) == 1


def test_what_is_too_long_for_a_picture_is_cut_into_parts_and_says_so(tmp_path):
    h = leaf()
    for i in range(700):
        h = np.tanh(h * float(i))
    _, data = atlas(tn.draw(h, max_nodes=10_000, backward=True), tmp_path)
    assert all(len(picture["boxes"]) <= MOST_BOXES + 40 for picture in data["pictures"])
    assert "divided into" in data["pictures"][0]["note"]
    assert boxes(data, 0)[0][LABEL][0] == "x"
    part = next(i for i, picture in enumerate(data["pictures"]) if picture["name"].startswith("part 2"))
    kinds = {box[LOOK] for box in boxes(data, part)}
    assert {"forward", "backward"} <= kinds


def test_what_would_take_minutes_to_lay_out_is_a_grid_and_says_so(tmp_path):
    results = [leaf("x", 1, 1)]
    for _ in range(70):
        results.append(np.concatenate(results).sum(axis=0, keepdims=True))
    y = np.concatenate(results)
    _, data = atlas(tn.draw(y, max_nodes=10_000, detail="slide"), tmp_path)
    crowded = [picture for picture in data["pictures"] if picture.get("grid")]
    assert crowded
    assert all("would take long to lay out" in picture["note"] for picture in crowded)
    assert len({tuple(box[1:3]) for box in crowded[0]["boxes"]}) == len(crowded[0]["boxes"])


@given(outputs=scoped_programs())
def test_scopes_that_are_entered_in_turns_lose_nothing(outputs):
    """Their boxes may lead back to each other."""
    graph = trace(*outputs)
    _, pictures = pictures_of(graph)
    into = {}
    for picture in pictures:
        operands = Counter(e.target for e in picture.graph.edges)
        assert len(picture.graph.vertices) == len(picture.places) == len(set(picture.places))
        into |= {place: operands[i] for i, place in enumerate(picture.places) if isinstance(place, int)}
    assert into == {v.id: Counter(e.target for e in graph.edges)[v.id] for v in graph.vertices}


def test_many_neighbours_are_one(tmp_path):
    with tn.scope("source"):
        h = np.tanh(leaf())
    with tn.scope("users"):
        y = sum((h * float(i) for i in range(2, 30)), h)
    with tn.scope("more"):
        z = [y + 1.0 for _ in range(3)]
    for i in range(20):
        with tn.scope(f"reader {i}"):
            z.append(h * y)
    _, data = atlas(tn.draw(*z), tmp_path)
    rim = data["pictures"][named(data, 0, "source")["opens"]]["boxes"]
    assert [box[LABEL] for box in rim if box[THING] is None] == [["5 more"]]


def test_equal_pictures_are_laid_out_once(tmp_path, monkeypatch):
    laid = []
    monkeypatch.setattr(layout, "layout", lambda dot, real=layout.layout: laid.append(dot) or real(dot))
    layout._by_graphviz.cache_clear()
    atlas(tn.draw(blocks(), backward=True), tmp_path)
    assert len(laid) == len(set(laid)) < 20
    assert not re.search("Sequential|lin|x₁", "".join(laid).replace("digraph", ""))


def test_the_same_picture_gives_the_same_page(tmp_path):
    pages = {atlas(tn.draw(blocks(2), backward=True), tmp_path)[0] for _ in range(2)}
    assert len(pages) == 1


def test_named_steps_open_and_what_they_are_given_stays_outside(tmp_path):
    loss = nn.cross_entropy(leaf("logits"), np.array([0, 2]))
    _, data = atlas(tn.draw(loss), tmp_path)
    assert {box[LABEL][0] for box in boxes(data, 0)} == {"logits", "data", "cross-entropy"}
    inside = data["pictures"][named(data, 0, "cross-entropy")["opens"]]
    assert len(inside["boxes"]) > 5


def test_an_error_is_pictured_with_what_it_refused(tmp_path):
    with pytest.raises(ValueError, match="do not match") as error:
        tn.draw(lambda x, w: np.tanh(x) @ w, np.ones((4, 3)), np.ones((4, 3)))
    _, data = atlas(error.value.drawing, tmp_path)
    assert "do not match" in data["pictures"][0]["note"]
    (refused,) = [box for box in data["pictures"][0]["boxes"] if "refused" in box[LOOK]]
    assert data["things"][refused[THING]]["facts"]["error"] == "ValueError"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.urls = Counter(), []

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.urls += [value for key, value in attributes if key in ("src", "href", "action")]
        assert not [key for key, _ in attributes if key.startswith("on") or key == "style"]


@pytest.mark.parametrize(
    "hostile",
    [
        "</script><img src=x onerror=alert(1)>",
        "<b>x</b>",
        '"];evil="',
        r"\nabla",
        "$script ${data}",
        "\ud800",
        "&lt;i&gt;",
    ],
)
def test_hostile_names_are_text(tmp_path, hostile):
    with tn.scope(hostile):
        y = tn.named(hostile, np.tanh(leaf(hostile)) * 2.0)
    html, data = atlas(tn.draw(y + 1.0), tmp_path)
    assert "<" not in re.search(r'id="data">(.*?)</script>', html, re.S)[1]
    page = Tags()
    page.feed(html)
    assert page.tags["script"] == 2
    assert not page.tags["img"]
    assert not page.tags["b"]
    assert page.urls == []
    shown = hostile if hostile != "\ud800" else "U+D800"
    assert shown in {box[LABEL][0] for box in boxes(data, 0)}
    assert data["pictures"][1]["name"] == shown
    policy = re.search(r'content="([^"]*)"', html)[1]
    for tag, at in (("script", 1), ("style", 0)):
        text = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", html, re.S)[at]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_a_hostile_file_name_is_a_title(tmp_path):
    html, data = atlas(tn.draw(leaf() * 2), tmp_path, "<b>&x")
    assert "<title>&lt;b&gt;&amp;x</title>" in html
    assert data["pictures"][0]["name"] == "<b>&x"


def test_what_an_atlas_has_not(tmp_path):
    drawing = tn.draw(leaf() * 2)
    with pytest.raises(ValueError, match=r"got 100 for a \.html"):
        drawing.save(tmp_path / "x.html", width=100)
    with pytest.raises(ValueError, match=r"\.pdf or \.html, not 'x\.htm'"):
        drawing.save(tmp_path / "x.htm")
    assert list(tmp_path.iterdir()) == []


def test_without_any_graphviz_it_says_what_to_install(tmp_path, monkeypatch):
    def missing(dot):
        raise RenderError("install Graphviz")

    monkeypatch.setattr(layout, "layout", missing)
    layout._by_graphviz.cache_clear()
    with pytest.raises(RenderError, match="install"):
        tn.draw(leaf() * 3).save(tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []
