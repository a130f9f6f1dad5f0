"""What pages are made of, before any browser: scenes of norms and functions, and the file itself."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer import explore_norm, explore_norms
from tinygrad_norm.graph.explorer.insights import routes
from tinygrad_norm.graph.explorer.scenes import EPS, example, norms, scenes_of_family, scenes_of_norm
from tinygrad_norm.graph.offline import as_json
from tinygrad_norm.graph.text import shortened

EXAMPLE = example(norms()["batch_norm"], (4, 3))
HOSTILE = [
    '"];evil[label="',
    "a\nb",
    "</script><script>alert(1)</script>",
    "<b>x</b>",
    r"\nabla",
    "x" * 10_000,
    "&lt;",
    "\u2028",
]


def scene_data(page):
    """The JSON of a page, read as a browser reads it."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.html, re.S)[1])


def boxes_of(data, scene=0):
    return data["stages"][data["scenes"][scene]["stage"]]["boxes"]


# Scenes.


def by_key(name="batch_norm", shape=(4, 3)):
    norm = norms()[name]
    return {scene.key: scene.recording for scene in scenes_of_norm(norm, example(norm, shape))}


def test_constant_statistics_change_the_gradient_and_nothing_else():
    scenes = by_key()
    train, constant = scenes["train"], scenes["constant"]
    assert_array_equal(train.y.data, constant.y.data)
    x = constant.leaves["x"]
    gamma = constant.leaves["γ"].data
    assert_allclose(
        constant.gradients[x], constant.cotangent * gamma / np.sqrt(train.leaves["x"].data.var(0) + EPS), rtol=1e-12
    )
    assert np.abs(constant.gradients[x] - train.gradients[train.leaves["x"]]).min() > 1e-6
    (only,) = routes(constant, x)
    assert only.stations == ("y", "x̂", "x−μ", "x")
    assert only.term is None
    # The statistics are inputs: the gradient arrives there, and stops.
    names = [constant.called(t).text for t in constant.tensors if t.node is None]
    assert sorted(names) == sorted(["x", "μ", "σ²", "γ", "β"])
    assert_allclose(constant.leaves["σ²"].data.ravel(), train.leaves["x"].data.var(0), rtol=1e-14)


def test_at_test_time_a_sample_is_alone():
    scenes = by_key()
    alone, batch = scenes["eval"], scenes["eval-batch"]
    assert alone.y.shape == (1, 3)
    assert_array_equal(alone.y.data[0], batch.y.data[0])
    assert_array_equal(alone.gradients[alone.leaves["x"]][0], batch.gradients[batch.leaves["x"]][0])
    assert np.abs(batch.y.data - scenes["train"].y.data).min() > 1e-6


def test_the_identity_holds_for_its_batch_and_with_stored_statistics_for_all():
    scenes = by_key()
    this, other, stored = scenes["identity"], scenes["identity-other"], scenes["identity-eval"]
    assert_allclose(this.y.data, this.leaves["x"].data, rtol=1e-12)
    assert np.abs(this.gradients[this.leaves["x"]] - this.cotangent).max() > 0.1
    assert np.abs(other.y.data - other.leaves["x"].data).max() > 0.1
    assert_allclose(stored.y.data, stored.leaves["x"].data, rtol=1e-12)
    assert_allclose(stored.gradients[stored.leaves["x"]], stored.cotangent, rtol=1e-12)


def test_a_batch_of_one_is_refused_in_the_norms_own_words_and_shown():
    (scene,) = (each for each in scenes_of_norm(norms()["batch_norm"], EXAMPLE) if each.key == "one")
    with pytest.raises(ValueError, match="more than") as refused:
        tn.batch_norm(EXAMPLE["x"][:1])
    assert str(refused.value) in scene.text
    found = scene.recording
    x_hat = next(t for t in found.tensors if t.name == "x̂")
    assert not x_hat.data.any()
    assert_array_equal(found.y.data, EXAMPLE["β"][None])
    assert not found.gradients[found.leaves["x"]].any()
    images = norms(images=True)["batch_norm"]
    (scene,) = (each for each in scenes_of_norm(images, example(images, (2, 2, 2, 2))) if each.key == "one")
    assert "instance norm" in scene.text
    assert_allclose(scene.recording.y.data, _instance_norm(*scene.recording.leaves.values()))


def _instance_norm(x, weight, bias):
    return tn.instance_norm(x.data, weight=weight.data, bias=bias.data)


@pytest.mark.parametrize("name", norms())
@pytest.mark.parametrize("shape", [(4, 3), (1, 3), (4, 1), (2, 4, 2, 2), (2, 1, 3)])
def test_the_other_norms_see_the_same_numbers(name, shape):
    norm = norms(images=len(shape) > 2)[name]
    inputs = example(norm, shape)
    try:
        norm.call(*inputs.values())
    except ValueError:
        return  # a norm that refuses this shape has no page
    scenes = {scene.key: scene for scene in scenes_of_norm(norm, inputs)}
    base = scenes["train"].recording
    for scene in (scene for scene in scenes.values() if scene.group == "Norms on the same numbers"):
        assert_array_equal(scene.recording.leaves["x"].data, inputs["x"])
        assert_array_equal(scene.recording.cotangent, base.cotangent)
    constant = scenes["constant"].recording
    assert_allclose(constant.y.data, base.y.data, rtol=1e-12, atol=1e-12)
    expected = {"batch_norm", "layer_norm", "instance_norm", "group_norm", "rms_norm"} - {name}
    if shape in ((4, 3), (2, 4, 2, 2)):  # three channels have groups of one or of all only
        assert expected - {"group_norm" if shape == (4, 3) else ""} <= set(scenes)
    if shape == (4, 3) and name == "batch_norm":
        x, group = inputs["x"], norms(1)["group_norm"].call
        assert "Group norm with one group" in scenes["layer_norm"].text
        assert_allclose(group(x, inputs["γ"], inputs["β"]), scenes["layer_norm"].recording.y.data, rtol=1e-12)
        assert "a group for each channel" in scenes["instance_norm"].text


def test_the_family_sees_the_same_numbers():
    scenes = scenes_of_family((2, 4, 2, 2), 2)
    assert [scene.key for scene in scenes] == list(norms())
    for scene in scenes[1:]:
        assert_array_equal(scene.recording.leaves["x"].data, scenes[0].recording.leaves["x"].data)
        assert_array_equal(scene.recording.cotangent, scenes[0].recording.cotangent)
    group = scenes[3].recording
    expected = tn.group_norm(group.leaves["x"].data, 2, group.leaves["γ"].data, group.leaves["β"].data)
    assert_array_equal(group.y.data, expected)


# Pages.


class Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.parts, self.inside = [], [], {}, None

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.inside = tag if tag in ("script", "style") else None

    def handle_data(self, text):
        if self.inside:
            self.parts.setdefault(self.inside, []).append(text)

    def handle_endtag(self, tag):
        self.inside = None


def read(page):
    reader = Reader()
    reader.feed(page.html)
    return reader


def digest(text):
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@pytest.fixture(scope="module")
def bn():
    return explore_norm("batch_norm")


def test_the_page_is_small_and_needs_nothing_else(bn):
    assert len(bn.html.encode()) < 300_000
    reader = read(bn)
    assert not {"link", "img", "iframe", "object", "base", "form"} & set(reader.tags)
    assert not [
        value for key, value in reader.attributes if key in ("src", "href", "xlink:href") and not value.startswith("#")
    ]
    assert set(re.findall(r"https?://[^\s\"'<]+", bn.html)) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/1998/Math/MathML",
    }  # fmt: skip
    assert not [key for key, _ in reader.attributes if key.startswith("on") or key == "style"]


def test_the_policy_allows_this_script_and_this_style_only(bn):
    reader = read(bn)
    (policy,) = (value for key, value in reader.attributes if key == "content" and "default-src" in value)
    data, script = reader.parts["script"]
    (style,) = reader.parts["style"]
    assert policy == (
        f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    assert json.loads(data)["version"] == 3
    assert "innerHTML" not in script
    assert not re.search(r"\beval\(|new Function", script)


def test_pages_are_the_same_every_time(bn):
    assert explore_norm("batch_norm").html == bn.html
    assert explore_norm("batch_norm", seed=1).html != bn.html


def test_scenes_share_programs_and_stages(bn):
    """The same function on other numbers is the same program, so it takes little room."""
    data = scene_data(bn)
    for part in ("program", "stage"):
        assert {scene[part] for scene in data["scenes"]} == set(range(len(data[f"{part}s"])))
    by_name = {scene["key"]: scene for scene in data["scenes"]}
    for key in ("identity", "identity-other"):
        assert by_name[key]["program"] == by_name["train"]["program"]
        assert by_name[key]["given"] != by_name["train"]["given"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_v16_hostile_names_come_back_literally_and_stay_text(hostile):
    x = tn.tensor([[0.5, -1.0]], name=hostile)

    def function(values):
        with tn.scope(hostile):
            return tn.named(hostile, np.tanh(values) * 2) + 1

    function.__name__ = hostile
    page = tn.explore(function, x)
    reader = read(page)
    assert reader.tags.count("script") == 2
    assert reader.tags.count("b") == 2
    data = scene_data(page)
    assert boxes_of(data)[0]["name"] == shortened(hostile)
    assert data["title"] == f"{hostile}, step by step"
    stage = data["stages"][0]
    assert [len(stage[part]) for part in ("boxes", "links")] == [4, 3]
    assert stage["boxes"][0].get("whole", stage["boxes"][0]["name"]) == hostile


def test_json_has_nothing_that_could_end_its_element():
    text = as_json({"a": "</script><!--&\u2028\u2029"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text)["a"] == "</script><!--&\u2028\u2029"


def test_explore_names_inputs_and_knows_the_norms(bn):
    data = scene_data(
        tn.explore(lambda left, right: left @ right, np.ones((2, 2)), tn.tensor(np.ones((2, 2)), name="R"))
    )
    assert [box["name"] for box in boxes_of(data)][:2] == ["left", "R"]
    assert tn.explore(tn.batch_norm, *EXAMPLE.values()).html == bn.html
    alone = scene_data(tn.explore(tn.layer_norm, np.array([[1.0, 2.0, 4.0], [0.0, 1.0, 5.0]])))
    assert [scene["key"] for scene in alone["scenes"]] == [
        "train", "batch_norm", "instance_norm", "rms_norm", "constant",
    ]  # fmt: skip
    assert "γ" not in [box["name"] for box in boxes_of(alone)]
    rms = scene_data(tn.explore(tn.rms_norm, EXAMPLE["x"], EXAMPLE["γ"]))
    assert rms["title"] == "RMS normalization, step by step"
    with pytest.raises(ValueError, match="takes arrays: x, or x, weight; got an array"):
        tn.explore(tn.rms_norm, *EXAMPLE.values())


def test_running_statistics_are_left_alone():
    layer = tn.nn.BatchNorm1d(3, dtype=np.float64)
    before = layer.state_dict()
    tn.explore(layer, np.random.default_rng(0).normal(size=(4, 3)))
    for key, value in layer.state_dict().items():
        assert_array_equal(value, before[key])


def test_in_notebooks_the_page_is_in_a_sandbox(bn, tmp_path):
    frame = bn._repr_html_()
    assert frame.startswith('<iframe sandbox="allow-scripts"')
    assert html.unescape(re.search(r'srcdoc="(.*)"></iframe>', frame, re.S)[1]) == bn.html
    assert bn.save(tmp_path / "bn.html").read_text(encoding="utf-8") == bn.html
    assert re.fullmatch(r"Page\(\d+ kB\)", repr(bn))


def test_parts_without_cells_and_open_bounds_are_shown():
    """Rolling all the way round leaves an empty part."""
    x = np.array([[-1.0, 0.5], [0.25, -4.0]])
    data = scene_data(tn.explore(lambda x: np.roll(x, 2, axis=1) * np.clip((x > 0).sum(), 1, None), x))
    assert [2, 0] in [box["shape"] for box in boxes_of(data)]
    assert any("∞" in box.get("made", "") for box in boxes_of(data))


def test_the_page_of_all_norms():
    page = explore_norms((2, 4, 2, 2), groups=2)
    data = scene_data(page)
    assert [scene["key"] for scene in data["scenes"]] == list(norms())
    assert len(page.html.encode()) < 300_000
    counts = {scene["key"]: max(scene["shares"]["ids"]) + 1 for scene in data["scenes"]}
    assert counts == {"batch_norm": 4, "layer_norm": 2, "instance_norm": 8, "group_norm": 4, "rms_norm": 2}
