"""What a page computes again is written as data: all of it, small, and honest about what it holds."""

import json

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.engine.primitive import PRIMITIVES
from tinygrad_norm.graph.explorer import families
from tinygrad_norm.graph.explorer.program import MOST_PLACES, program
from tinygrad_norm.graph.explorer.recording import Recording
from tinygrad_norm.graph.offline import as_json

X = np.array([[1.0, 2, 0], [3, 5, 1], [5, 2, 3], [7, 3, 4]])
BATCH_NORM = {"x": X, "γ": np.array([0.5, 2, -1]), "β": np.array([1.0, 0, 2])}


def batch_norm(x, weight, bias):
    return tn.batch_norm(x, weight=weight, bias=bias)


def programmed(fn, **inputs):
    recording = Recording(fn, inputs or {"x": X})
    return recording, json.loads(as_json(program(recording)))


def test_a_program_can_be_computed_in_its_order():
    _, found = programmed(batch_norm, **BATCH_NORM)
    for i, vertex in enumerate(found["vertices"]):
        assert ("value" in vertex) != ("in" in vertex)
        assert all(k < i for k in vertex.get("in", ()))
        assert len(vertex.get("value", ())) in (0, np.prod(vertex["shape"]))
    used = {vertex.get("table") for vertex in found["vertices"]} - {None}
    assert used == set(range(len(found["tables"])))


def test_it_says_where_everything_that_is_shown_stands():
    recording, found = programmed(batch_norm, **BATCH_NORM)
    vertices = found["vertices"]
    for name, leaf in recording.leaves.items():
        assert vertices[found["leaves"][name]] == {
            "op": "leaf", "shape": list(leaf.shape), "value": leaf.data.ravel().tolist(), "name": name,
        }  # fmt: skip
    assert vertices[found["cotangent"]]["value"] == recording.cotangent.ravel().tolist()
    assert vertices[found["output"]]["name"] == "y"
    for t, shown in zip(recording.tensors, found["shown"], strict=True):
        assert vertices[shown["value"]]["shape"] == vertices[shown["gradient"]]["shape"] == list(t.shape)
        assert vertices[shown["value"]].get("name") == t.name
    for link, said in zip(recording.links, found["links"], strict=True):
        assert (said["source"], said["target"]) == (recording.place[link.source], recording.place[link.target])
        assert vertices[said["before"]]["shape"] == list(link.before.shape)
        assert vertices[said["sum"]]["shape"] == list(link.source.shape)
    # The last sum that arrives is the gradient.
    last = {said["source"]: said["sum"] for said in found["links"]}
    assert all(found["shown"][place]["gradient"] == vertex for place, vertex in last.items())


def test_programs_are_small():
    assert len(as_json(programmed(batch_norm, **BATCH_NORM)[1]).encode()) < 8000


def test_epsilon_can_be_edited_and_factors_cannot():
    recording, found = programmed(lambda x: 3 * x / np.sqrt(x.var(0) + 0.25) - 2.0)
    scalars = {found["vertices"][scalar["vertex"]]["value"][0]: scalar["at"] for scalar in found["scalars"]}
    assert set(scalars) == {0.25, 2}
    assert recording.tensors[scalars[0.25]].node.primitive.name == "add"


def test_equal_constants_are_one_but_for_those_that_can_be_edited():
    _, found = programmed(lambda x: (x + 1.0) * 1.0 + 1.0)
    ones = [vertex for vertex in found["vertices"] if vertex.get("value") == [1]]
    assert len(ones) == 3
    assert len(found["scalars"]) == 2


def test_numbers_lose_nothing_in_json():
    values = np.array([0.1, -0.0, 1e-310, 12345678901234567.0, -3.0])
    _, found = programmed(lambda x: np.where(np.isnan(x), np.inf, x) * 2, x=values)
    back = found["vertices"][0]["value"]
    np.testing.assert_array_equal(np.array(back, float), values)
    assert np.signbit(back[1])
    assert ["Infinity"] in [vertex.get("value") for vertex in found["vertices"]]


FOLLOWED = {
    "ReLU": tn.ops.relu,
    "clip": lambda x: np.clip(x, 1, 3),
    "softmax": tn.ops.softmax,
    "sorted": lambda x: np.sort(x, axis=0) * np.arange(3.0),
    "the largest": lambda x: x[np.arange(4), np.argmax(x, axis=1)] * 2,
    "a mask": lambda x: x * (x > 2),
    "a constant that is sorted": lambda x: x * tn.tensor([3.0, 1, 2])[np.argsort(tn.tensor([3.0, 1, 2]))],
    "detached": lambda x: x - x.detach().mean(0),
}


@pytest.mark.parametrize("function", FOLLOWED.values(), ids=list(FOLLOWED))
def test_what_data_decide_is_followed(function):
    _, found = programmed(function)
    assert found["live"]
    assert found["held"] == []


HELD = {
    "a number read": (
        lambda x: x - x.data.mean(),
        "a constant in x − 3, which the function computes outside the graph",
    ),
    "an index read": (lambda x: x[int(np.argmax(x[:, 0]))] * x[0], "which the function computes outside the graph"),
    "a branch": (lambda x: x * x if x.data.sum() > 0 else x + 1, "the branches that Python took"),
    "chance": (lambda x: x * np.random.default_rng().random(3), "outside the graph"),
    "a mask": (lambda x: x[x > 2] * 2, "the elements selected by x > 2"),
    "rounded to a digit": (lambda x: x * np.round(x, 1), "round"),
}


@pytest.mark.parametrize(("function", "words"), HELD.values(), ids=list(HELD))
def test_what_is_held_is_said(function, words):
    _, found = programmed(function)
    assert found["live"]
    (held,) = found["held"]
    assert words in held["what"]
    assert (held["vertex"] is None) == ("Python" in words)


REFUSED = {
    "LAPACK": (lambda x: np.linalg.inv(x[:3]), "the page cannot recompute A⁻¹b"),
    "float16": (lambda x: x.astype(np.float16) * 2, "float16"),
}


@pytest.mark.parametrize(("function", "words"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_computed_again_is_as_it_was_recorded(function, words):
    recording, found = programmed(function)
    assert not found["live"]
    assert words in found["reason"]
    shown = found["vertices"][found["shown"][recording.place[recording.y]]["value"]]
    assert shown["shape"] == list(recording.y.shape)


def test_a_large_program_is_refused():
    n = int(MOST_PLACES ** (1 / 3)) + 2
    _, found = programmed(lambda x: x @ x, x=np.ones((n, n)))
    assert found == {"live": False, "reason": "the graph is too large to be recomputed in a page", "vertices": []}


def test_a_function_may_refuse_other_numbers():
    def roots(x):
        if (x.data < 0).any():
            raise ValueError("negative")
        return np.sqrt(x)

    assert programmed(roots)[1]["live"]


def test_an_input_that_is_not_used_has_a_gradient_of_zeros():
    recording, found = programmed(lambda x, w: x * 2, x=X, w=np.ones(2))
    gradient = found["shown"][recording.place[recording.leaves["w"]]]["gradient"]
    assert found["vertices"][gradient]["value"] == [0, 0]


def test_every_primitive_has_a_family():
    others = {"astype", "einsum", "getitem", "matmul", "overlap_add", "pad", "scatter"}
    rearranging = {"broadcast_to", "concatenate", "reshape", "sliding_windows", "stack", "transpose"}
    covered = families.ELEMENTWISE | families.REDUCTIONS | families.RUNNING | others | rearranging
    assert set(PRIMITIVES) - covered == {"cholesky", "det", "logabsdet", "solve"}
