"""Sequences of boxes that follow themselves, drawn once in a frame that says how often."""

import re

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from test_collapse import boxes
from test_graph import leaf, lines, read

import tinygrad_norm as tn
from tinygrad_norm import nn, ops


def layers(i, width=4):
    return nn.Linear(width, width, rng=i), nn.BatchNorm1d(width), nn.ReLU()


def rows(width=4):
    return tn.tensor(np.random.default_rng(0).normal(size=(5, width)), dtype="float32", name="x")


def frames(drawing):
    """The label of each frame with the first lines of the boxes inside."""
    dot = read(drawing.source)
    found = {label: [] for label, _ in dot.clusters}
    for node, around in dot.inside.items():
        for label in around:
            found[label].append(lines(dot, node)[0])
    return found


def test_twelve_times_the_same_three_layers_are_one_frame():
    net = nn.Sequential(*(layer for i in range(12) for layer in layers(i)), nn.Linear(4, 2, rng=0))
    drawing = tn.draw(net(rows()), repeat=True)
    assert frames(drawing) == {"block × 12": ["linear", "batch_norm", "ReLU"]}
    assert repr(drawing) == "Drawing(5 boxes, 4 edges)"
    assert boxes(drawing) == [("linear", 4, 1), ("batch_norm", 13, 1), ("linear", 4, 1)]
    assert [v.place for v in drawing.graph.vertices] == ["", "", "", "", "36"]
    both = tn.draw(net(rows()), repeat=True, backward=True)
    # The first layer has no gradient for its input, so that its gradient is another.
    assert list(frames(both)) == ["block × 12", "block × 11 · gradient"]
    assert len(both.graph.vertices) == 13
    assert all(e.source < e.target for e in both.graph.edges)
    assert len(tn.draw(net(rows())).graph.vertices) > 200


def test_a_first_layer_of_another_width_stays_outside():
    first, *rest = layers(0)
    net = nn.Sequential(nn.Linear(3, 4, rng=0), *rest, *(layer for i in range(5) for layer in layers(i)))
    drawing = tn.draw(net(rows(3)), repeat=True)
    assert frames(drawing) == {"block × 5": ["linear", "batch_norm", "ReLU"]}
    assert first.weight.shape == (4, 4)


def test_sequentials_in_a_sequential_are_one_box_and_opened_one_frame():
    net = nn.Sequential(*(nn.Sequential(*layers(i)) for i in range(12)), nn.Linear(4, 2, rng=0))
    assert boxes(tn.draw(net(rows()), repeat=True)) == [("Sequential", 18, 12), ("linear", 4, 1)]
    drawing = tn.draw(net(rows()), repeat=True, collapse=["linear", "batch_norm"])
    assert frames(drawing) == {"Sequential × 12": ["linear", "batch_norm", "ReLU"]}
    opened = tn.draw(net(rows()), repeat=True, collapse=[])
    assert list(frames(opened)) == ["Sequential × 12", "linear", "batch_norm", "12: linear"]
    assert len(opened.graph.vertices) == len(tn.draw(nn.Sequential(*net[:1], net[12])(rows())).graph.vertices)


def functional(depth, shared=False, residual=True, factor=2.0):
    """Without any scope: each block is a product, a norm, an activation and, with ``residual``, a sum."""
    h = leaf(5, 4, name="x")
    results, weight = [h], leaf(4, 4, name="W")
    for i in range(depth):
        w = weight if shared else leaf(4, 4, name="W", seed=i)
        z = ops.relu(tn.layer_norm(h @ w, 4) * (factor if i == 3 else 2.0))
        h = h + z if residual else z
        results.append(h)
    return results


def test_blocks_without_a_scope_are_one_frame():
    for residual in (False, True):
        drawing = tn.draw(functional(8, residual=residual)[-1], repeat=True)
        inside = ["W", "x @ W", "layer_norm", "× 2", "ReLU", "+"]
        assert frames(drawing) == {"block × 8": inside if residual else inside[:-1]}
        edges = [(e.source, e.target) for e in drawing.graph.edges]
        assert edges == [(0, 2), (1, 2), (2, 3), (3, 4), (4, 5), *([(0, 6), (5, 6)] if residual else [])]
    shared = tn.draw(functional(8, shared=True)[-1], repeat=True, backward=True)
    assert frames(shared)["block × 8"] == ["x @ W", "layer_norm", "× 2", "ReLU", "+"]
    (total,) = (v.id for v in shared.graph.vertices if v.name == "dL/dW")
    assert [e.target for e in shared.graph.edges].count(total) <= 2


def test_only_equal_blocks_whose_results_go_to_the_next_are_in_a_frame():
    assert set(frames(tn.draw(functional(8, factor=3.0)[-1], repeat=True))) == {"block × 3", "block × 4"}
    results = functional(8)
    assert set(frames(tn.draw(results[-1] * results[3], repeat=True))) == {"block × 3", "block × 5"}
    assert set(frames(tn.draw(results[-1], results[4], repeat=True))) == {"block × 4"}
    assert "block × 8" not in frames(tn.draw(sum(results[1:], results[0]), repeat=True))
    assert frames(tn.draw(results[1], repeat=True)) == {}


def test_blocks_take_the_same_results_of_each_other():
    """Of two states, which exchange their places once."""

    def frame(swapped, mixed=()):
        a = b = leaf(3, name="x")
        for i in range(6):
            a, b = (b, a) if i in swapped else (a, b)
            a, b = ops.relu(a + (b if i in mixed else a)), ops.silu(b)
        return list(frames(tn.draw(a * b, repeat=True)))

    assert frame(()) == ["block × 6"]
    assert frame((3,)) == ["block × 2"]  # of three steps each
    assert "block × 6" not in frame((), mixed=(4,))


def test_the_first_block_takes_one_thing_where_the_others_take_one():
    h = ops.relu(leaf(3, name="x") + leaf(3, name="w"))
    for _ in range(3):
        h = ops.relu(h + h)
    assert list(frames(tn.draw(h, repeat=True))) == ["block × 3"]


def test_a_block_begins_and_ends_where_frames_do():
    y = leaf(3, name="x")
    for last in (ops.silu, ops.silu, ops.silu, ops.softplus):
        with tn.scope("part"):
            y = last(ops.relu(y))
    drawing = tn.draw(y, repeat=True, collapse=[])
    assert frames(drawing) == {"part × 3": ["ReLU", "SiLU"], "part": ["ReLU", "softplus"]}


def test_of_plain_operations_none_is_a_block():
    y = leaf(3, name="x")
    for _ in range(6):
        y = np.tanh(y) * 2
    assert len(tn.draw(y, repeat=True).graph.vertices) == 13


CALLS = {"R": ops.relu, "S": ops.silu, "P": ops.softplus, "t": np.tanh}


def unrolled(graph):
    """The letters of a chain, by what a reader sees: each frame as often as it says."""
    letters = {"ReLU": "R", "SiLU": "S", "softplus": "P", "tanh": "t"}
    text, last = "", ()
    for v in graph.vertices[1:]:
        if last != v.scope:
            text += ")" * len(last) + "(" * len(v.scope)
        last = v.scope
        text += letters[v.symbol]
    text += ")" * len(last)
    shown = dict.fromkeys(scope for v in graph.vertices for scope in v.scope)
    times = iter(int(re.search(r"\d+$", graph.scopes[scope])[0]) for scope in shown)
    return re.sub(r"\((\w+)\)", lambda m: m[1] * next(times), text)


@given(
    start=st.text("RSPt", max_size=4), block=st.text("RSPt", min_size=1, max_size=5), times=st.integers(1, 5),
    end=st.text("RSPt", max_size=4),
)  # fmt: skip
@example(start="", block="RRS", times=3, end="R")
@example(start="RS", block="RSP", times=2, end="RSPRSP")
def test_a_chain_can_be_read_back(start, block, times, end):
    y = leaf(3, name="x")
    chain = start + block * times + end
    for letter in chain:
        y = CALLS[letter](y)
    graph = tn.draw(y, repeat=True).graph
    assert unrolled(graph) == chain
    assert [(e.source, e.target) for e in graph.edges] == [(i, i + 1) for i in range(len(graph.vertices) - 1)]
    if times > 2 and set(block) - {"t"}:
        assert len(graph.vertices) - 1 <= len(chain) - len(block) * (times - 2)
