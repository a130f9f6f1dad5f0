"""The page's questions and guided run: every state exists and is the one that is meant, numbers are the engine's."""

import re
from urllib.parse import parse_qsl

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer.data import page_data
from tinygrad_norm.graph.explorer.insights import routes
from tinygrad_norm.graph.explorer.scenes import (
    EPS,
    example,
    norms,
    scenes_of_family,
    scenes_of_function,
    scenes_of_norm,
)
from tinygrad_norm.graph.explorer.states import States

SHAPES = {
    "batch_norm": [(4, 3), (2, 4, 2, 2), (3, 2, 5), (2, 3)],
    "layer_norm": [(4, 3), (2, 4, 2, 2), (1, 3)],
    "instance_norm": [(2, 4, 2, 2), (2, 2, 3)],
    "group_norm": [(4, 6), (2, 4, 2, 2)],
    "rms_norm": [(4, 3), (2, 4, 2, 2)],
}
PARTS = {"step", "routes", "shared", "checks", "epsilon"}


def scenes_of(name, shape=None, keys=("x", "γ", "β")):
    shape = shape or SHAPES[name][0]
    norm = norms(2, images=len(shape) > 2)[name]
    return scenes_of_norm(norm, {key: v for key, v in example(norm, shape).items() if key in keys})


def pages():
    for name, shapes in SHAPES.items():
        for shape in shapes:
            yield pytest.param(lambda name=name, shape=shape: scenes_of(name, shape), id=f"{name}{shape}")
    yield pytest.param(lambda: scenes_of("batch_norm", keys=("x",)), id="without γ and β")
    yield pytest.param(lambda: scenes_of_family((2, 4, 2, 2), 2), id="norms")
    yield pytest.param(lambda: scenes_of_family((1, 4, 3), 2), id="norms of one sample")
    yield pytest.param(lambda: scenes_of_function(lambda x: np.tanh(x) * x, {"x": np.ones((2, 3))}), id="function")


def asked(state):
    assert state.startswith("#")
    return dict(parse_qsl(state[1:]))


def steps_of(stage):
    """What happens step by step, from the page's data alone, in the order of state.js."""
    boxes = stage["boxes"]
    forward = [("forward", box["name"]) for box in boxes if "made" in box]
    backward = [("backward", boxes[link["s"]]["name"]) for link in stage["links"] if "before" in link]
    return [("given", boxes[stage["x"]]["name"]), *forward, ("seed", boxes[stage["y"]]["name"]), *backward]


@pytest.mark.parametrize("make", list(pages()))
def test_every_state_exists(make):
    data = page_data("", make())
    scenes = {scene["key"]: scene for scene in data["scenes"]}
    states = [question["show"] for question in data["questions"]]
    for prediction in data["guide"]:
        states += [prediction[key] for key in ("at", "then") if key in prediction]
        assert prediction.get("right", 0) in range(len(prediction.get("answers", "1")))
        assert len(set(prediction.get("answers", ()))) == len(prediction.get("answers", ()))
    assert states
    assert len(data["guide"]) <= 12
    for state in states:
        found = asked(state)
        stage = data["stages"][scenes[found.pop("scene")]["stage"]]
        assert 1 <= int(found.pop("step")) <= len(steps_of(stage))
        cell = [int(i) for i in found.pop("cell").split(",")]
        shape = stage["boxes"][stage["y"]]["shape"]
        assert len(cell) == len(shape)
        assert all(i < size for i, size in zip(cell, shape, strict=True))
        assert found.pop("part", "step") in PARTS
        assert all(1 <= int(i) <= len(stage["routes"]) for i in found.pop("without", "1").split(","))
        assert found.pop("to", "unit") in ("unit", "cell")
        assert set(found) <= {"add", "times"}
    for text in [t for each in (*data["questions"], *data["guide"]) for t in each.values() if isinstance(t, str)]:
        assert text.count("`") % 2 == 0, text


@pytest.mark.parametrize("make", list(pages()))
def test_a_name_stands_for_its_step(make):
    data = page_data("", make())
    at = States(data)
    for scene in data["scenes"]:
        stage = data["stages"][scene["stage"]]
        happens = steps_of(stage)
        for box in stage["boxes"]:
            if "made" in box:
                step = int(asked(at(scene["key"], box["name"]))["step"])
                assert happens[step - 1] == ("forward", box["name"])
            if "slope" in box:
                step = int(asked(at(scene["key"], box["slope"]))["step"])
                assert happens[step - 1] in (("backward", box["name"]), ("seed", box["name"]))
                assert ("backward", box["name"]) not in happens[step:]
        assert int(asked(at(scene["key"], ""))["step"]) == len(happens)


def by(data, words, what="questions"):
    (found,) = [each for each in data[what] if words in each["ask"]]
    return found


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name, shapes in SHAPES.items() for shape in shapes])
def test_how_wrong_constants_are_is_the_engines_number(name, shape):
    scenes = scenes_of(name, shape)
    data = page_data("", scenes)
    norm, recording = norms(2, len(shape) > 2)[name], scenes[0].recording
    x, *parameters = (leaf.data for leaf in recording.leaves.values())
    given = norm.given_statistics(x).values()
    whole, held = (
        tn.vjp(call, x)[1](recording.cotangent)
        for call in (lambda x: norm.call(x, *parameters), lambda x: norm.with_statistics(x, *parameters, *given))
    )
    whole, held = (found[0] if isinstance(found, tuple) else found for found in (whole, held))
    percent = f"{100 * np.linalg.norm(held - whole) / np.linalg.norm(whole):.0f} %"
    question = by(data, "How wrong")
    assert percent in question["answer"]
    assert percent in by(data, "Suppose", "guide")["why"]
    cut = {int(i) - 1 for i in asked(question["show"])["without"].split(",")}
    terms = [route.term for route in routes(recording, recording.leaves["x"])]
    assert [term for i, term in enumerate(terms) if i not in cut] == [0]


@pytest.mark.parametrize("name", SHAPES)
def test_numbers_in_texts_are_computed(name):
    scenes = scenes_of(name)
    data = page_data("", scenes)
    norm, recording, shares = norms(2, len(SHAPES[name][0]) > 2)[name], scenes[0].recording, scenes[0].shares
    x = recording.leaves["x"].data
    units = [x[shares.ids == i] for i in range(shares.ids.max() + 1)]
    found = [float(n.replace("−", "-")) for n in re.findall(r"−?\d+\.\d\d", data["guide"][0]["why"])]
    means, variances = ([f(unit) for unit in units] for f in (np.mean, np.var))
    want = [min(means), max(means), min(variances), max(variances)]
    if not norm.subtracts:
        squares = [np.mean(unit**2) for unit in units]
        want = [min(squares), max(squares)]
    assert_allclose(found, want, atol=0.0051)
    assert f"{len(units)} mean" in by(data, "Over which axes")["answer"]
    assert f"of {units[0].size} values each" in by(data, "Over which axes")["answer"]
    assert f"{EPS**-0.5:.0f}" in by(data, "What does ε do")["answer"]
    copies = x.size // recording.leaves["γ"].size
    assert f"in {copies} cells" in by(data, "∂L/∂γ")["answer"]


@pytest.mark.parametrize(
    ("name", "words", "happens"),
    [
        ("batch_norm", "∂L/∂γ", ("backward", "γ")),
        ("layer_norm", "∂L/∂γ", ("backward", "γ")),
        ("batch_norm", "make the norm the identity", ("forward", "y")),
        ("batch_norm", "batch of one", ("backward", "x")),
        ("batch_norm", "test time?", ("backward", "x")),
        ("group_norm", "is added to a whole group", ("backward", "x")),
        ("rms_norm", "Does dx sum to zero", ("forward", "y")),
    ],
)
def test_questions_land_where_the_answer_is(name, words, happens):
    data = page_data("", scenes_of(name, (2, 4, 2, 2) if name == "group_norm" else None))
    question = next(each for each in data["questions"] if words in each["ask"])
    found = asked(question["show"])
    (scene,) = [scene for scene in data["scenes"] if scene["key"] == found["scene"]]
    assert steps_of(data["stages"][scene["stage"]])[int(found["step"]) - 1] == happens


def test_the_words_of_the_refusal_are_the_errors():
    with pytest.raises(ValueError, match="more than one value") as error:
        tn.batch_norm(np.ones((1, 3)))
    assert str(error.value) in by(page_data("", scenes_of("batch_norm")), "batch of one")["answer"]


def test_predictions_are_right_about_the_numbers():
    """What the run says of batch norm and RMS norm, computed with the norms themselves."""
    for name, added in (("batch_norm", "It does not change"), ("rms_norm", "It changes, but not by 3")):
        scenes = scenes_of(name)
        data = page_data("", scenes)
        norm, recording, ids = norms()[name], scenes[0].recording, scenes[0].shares.ids
        x, *parameters = (leaf.data for leaf in recording.leaves.values())
        unit, y = ids == ids[1, 1], recording.y.data

        def both(x, norm=norm, parameters=parameters, g=recording.cotangent):
            return tn.vjp(norm.call, x, *parameters)[0], tn.vjp(norm.call, x, *parameters)[1](g)[0]

        moved, _ = both(x + 3 * unit)
        assert np.allclose(moved, y) == (added == "It does not change")
        assert not np.allclose(moved[unit] - y[unit], 3)
        prediction = by(data, "Add 3 to a whole", "guide")
        assert prediction["answers"][prediction["right"]] == added
        same, slope = both(x * np.where(unit, 2, 1))
        assert_allclose(same, y, atol=1e-5)
        assert_allclose(slope[unit], both(x)[1][unit] / 2, atol=1e-4)
        prediction = by(data, "Double a whole", "guide")
        assert prediction["answers"][prediction["right"]] == "It is halved"
        one = x.copy()
        one[1, 1] += 1
        changed = ~np.isclose(both(one)[0], y)
        assert (changed == unit).all()
        prediction = by(data, "Add 1 to your cell", "guide")
        assert prediction["answers"][prediction["right"]] == f"Its {norm.unit}"


def test_pages_without_the_panels_ask_nothing():
    data = page_data("", scenes_of("batch_norm", (128, 128)))
    if not data["programs"][0]["live"]:
        assert data["questions"] == data["guide"] == []
    function = page_data("", scenes_of_function(lambda x: np.tanh(x) * x, {"x": np.ones((2, 3))}))
    assert function["questions"] == []
    assert all(set(each) == {"ask", "at"} for each in function["guide"])
