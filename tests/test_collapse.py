"""Scopes as boxes, repeats as one box, and pictures that are bounded (V18): drawn collapsed, refused, never a hang."""

import time
from collections import Counter
from contextlib import ExitStack, nullcontext

import numpy as np
import pytest
from dot_reader import read
from hypothesis import given
from hypothesis import strategies as st
from test_graph import HOSTILE, batch_norm, leaf, lines, svg_texts

import tinygrad_norm as tn
from tinygrad_norm.engine.context import Scope, surrounding
from tinygrad_norm.graph import trace
from tinygrad_norm.graph.collapse import EDGES_PER_BOX, ROWS_PER_BOX, closing, collapsed, depths


class Block(tn.nn.Module):
    def __init__(self, width, seed):
        super().__init__()
        self.linear = tn.nn.Linear(width, width, rng=seed)
        self.norm = tn.nn.BatchNorm1d(width)

    def forward(self, x):
        with tn.scope("block"):
            return np.tanh(self.norm(self.linear(x)))


def network(depth, width=4, requires_grad=False):
    """Blocks of linear, batch norm and tanh, and a linear layer."""
    x = tn.tensor(np.random.default_rng(0).normal(size=(5, width)), requires_grad, "float32", "x")
    layers = [*(Block(width, i) for i in range(depth)), tn.nn.Linear(width, 3, rng=0)]
    return tn.nn.Sequential(*layers)(x)


def boxes(drawing):
    """Name, number of operations and number of repeats of every box that holds several."""
    return [(v.symbol, v.holds, v.times) for v in drawing.graph.vertices if v.holds]


def operations(*outputs):
    return sum(v.operation is not None for v in trace(*outputs).vertices)


def test_depth_says_which_scopes_stay_open():
    y = network(2)
    outermost, inner, none = (tn.draw(y, collapse=depth) for depth in (0, 1, 2))
    assert boxes(outermost) == [("block", 18, 1), ("block", 18, 1), ("linear", 4, 1)]
    assert boxes(inner) == [("linear", 4, 1), ("batch_norm", 13, 1)] * 2
    assert [label for label, _ in read(inner.source).clusters] == ["0: block", "1: block", "2: linear"]
    assert none.source == tn.draw(y).source


def test_scopes_are_chosen_by_name_or_by_predicate():
    y = network(2)
    by_name = tn.draw(y, collapse="batch_norm")
    assert boxes(by_name) == [("batch_norm", 13, 1)] * 2
    assert tn.draw(y, collapse=lambda path: path == ("block", "batch_norm")).source == by_name.source
    assert tn.draw(y, collapse=["linear", "batch_norm"]).source == tn.draw(y, collapse={"batch_norm", "linear"}).source
    assert tn.draw(y, collapse=("block", "linear")).source == tn.draw(y, collapse=0).source
    assert tn.draw(y, collapse=[]).source == tn.draw(y).source
    seen = []
    tn.draw(y, collapse=seen.append)
    assert set(seen) == {("block",), ("block", "linear"), ("block", "batch_norm"), ("linear",)}


def test_a_box_shows_its_name_how_much_it_holds_and_shapes():
    drawing = tn.draw(network(1), collapse=0)
    assert read(drawing.source).clusters == []
    assert [texts for texts, _ in svg_texts(drawing.svg(), "node")] == [
        ["x", "5×4"], ["0: block", "18 operations", "5×4 → 5×4"], ["1: linear", "4 operations", "5×4 → 5×3"],
    ]  # fmt: skip
    assert [(e.source, e.target, e.shape) for e in drawing.graph.edges] == [(0, 1, (5, 4)), (1, 2, (5, 4))]
    one = tn.draw(leaf(3) * 2 + leaf(3), collapse=lambda path: True)
    assert boxes(one) == []
    with tn.scope("alone"):
        y = leaf(2, name="x") * 2
    assert lines(read(tn.draw(y, collapse=0).source), "n1") == ["alone", "1 operation", "2 → 2"]


def test_parameters_go_into_the_box_and_inputs_stay_outside():
    plain = leaf(4, name="x"), leaf(4, name="w"), leaf(4, name="v")
    with tn.scope("product"):
        product = plain[0] * plain[1] * plain[2]
    for y, names in (
        (network(2), ["x"]), (network(2, requires_grad=True), ["x"]), (product, ["x", "w", "v"]),
    ):  # fmt: skip
        graph = tn.draw(y, collapse=0).graph
        assert [v.name for v in graph.vertices if v.operation is None] == names
        assert all(v.scope == () for v in graph.vertices)
    graph = tn.draw(batch_norm(), collapse=0).graph
    assert [(v.name, v.holds) for v in graph.vertices] == [("x", 0), (None, 13)]


def test_the_gradient_collapses_alike_and_stands_beside():
    drawing = tn.draw(network(3), backward=True, collapse=0)
    forward = [v for v in drawing.graph.vertices if v.holds and v.order == 0]
    backward = [v for v in drawing.graph.vertices if v.holds and v.order == 1]
    assert [v.symbol for v in forward] == ["block", "block", "block", "linear"]
    assert [v.differentiates for v in backward] == [v.id for v in reversed(forward)]
    dot = read(drawing.source)
    assert dot.same_rank == [{f"n{v.differentiates}", f"n{v.id}"} for v in backward]
    assert lines(dot, f"n{backward[0].id}")[:2] == ["3: linear · gradient", "6 operations"]
    assert dot.nodes[f"n{backward[0].id}"]["style"] == "filled,dashed"
    seeds = [v.name for v in drawing.graph.vertices if v.operation is None]
    assert seeds == ["x", "dL/doutput"]
    lent = Counter((e.source, e.target) for e in drawing.graph.edges if drawing.graph.vertices[e.source].order == 0)
    between_halves = [n for (_, target), n in lent.items() if drawing.graph.vertices[target].order == 1]
    assert set(between_halves) == {1}


def test_edges_between_boxes_are_one_for_each_tensor():
    x = leaf(2, name="x")
    with tn.scope("cell"):
        h, c = x * 2, x * 3
    with tn.scope("cell"):
        y = h * c * h
    drawing = tn.draw(y * y, collapse=0)
    assert [(e.source, e.target, e.operand) for e in drawing.graph.edges] == [
        (0, 1, 0), (1, 2, 0), (1, 2, 1), (2, 3, 0), (2, 3, 1),
    ]  # fmt: skip
    assert lines(read(drawing.source), "n2") == ["cell", "2 operations", "2, 2 → 2"]


def test_slides_collapse_too():
    drawing = tn.draw(network(2), collapse="linear", detail="slide")
    assert boxes(drawing) == [("linear", 4, 1)] * 3
    assert "broadcast" in [mark for e in drawing.graph.edges for mark in e.marks]


@pytest.mark.parametrize(
    ("collapse", "error", "words"),
    [
        ("blok", ValueError, "no scope is named 'blok'; the names are: 'batch_norm', 'block', 'linear'"),
        (["block", "c", "a"], ValueError, "named 'a', 'c'"), (-1, ValueError, "0 or more,.* not -1"),
        (True, TypeError, "not True"), (1.5, TypeError, "not float"),
    ],
)  # fmt: skip
def test_what_is_no_choice_of_scopes_is_refused(collapse, error, words):
    with pytest.raises(error, match=words):
        tn.draw(network(1), collapse=collapse)
    with pytest.raises(ValueError, match="the names are: none"):
        tn.draw(leaf(2) * 2, collapse="x")


# Repeats.


def test_twelve_equal_blocks_are_one_box():
    drawing = tn.draw(network(12), collapse=0, repeat=True)
    assert boxes(drawing) == [("block", 18, 12), ("linear", 4, 1)]
    assert lines(read(drawing.source), "n1") == ["block × 12", "18 operations each", "5×4 → 5×4"]
    assert tn.draw(network(12), repeat=True).source == drawing.source
    both = tn.draw(network(12, requires_grad=False), backward=True, repeat=True)
    assert boxes(both)[2:] == [("linear", 6, 1), ("block", 30, 11), ("block", 28, 1)]
    assert boxes(tn.draw(network(12), collapse=0)) == [("block", 18, 1)] * 12 + [("linear", 4, 1)]


def blocks(*factors, skip=None, keep=None):
    """A chain of scopes that multiply by a factor twice; ``skip`` adds one result to the last, ``keep`` returns it."""
    results = [leaf(3, name="x")]
    for factor in factors:
        with tn.scope("block"):
            results.append(results[-1] * factor * factor)
    y = results[-1] if skip is None else results[-1] + results[skip]
    return y if keep is None else (y, results[keep])


def test_only_equal_boxes_in_an_unbroken_chain_are_one():
    def times(y):
        return [n for _, _, n in boxes(tn.draw(*(y if isinstance(y, tuple) else (y,)), repeat=True))]

    assert times(blocks(2, 2, 2, 2)) == [4]
    assert times(blocks(2, 2, 3, 2)) == [2, 1, 1]
    assert times(blocks(2, 2, 2, 2, skip=2)) == [2, 2]
    assert times(blocks(2, 2, skip=1)) == [1, 1]
    assert times(blocks(2, 2, skip=0)) == [2]
    assert times(blocks(2, 2, 2, 2, keep=2)) == [2, 2]
    x = leaf(3)
    sides = []
    for _ in range(2):
        with tn.scope("block"):
            sides.append(x * 2)
    assert times(sides[0] + sides[1]) == [1, 1]
    gates, y = [x * factor for factor in (2, 3)], x
    for gate in gates:
        with tn.scope("block"):
            y = y * gate
    assert times(y) == [1, 1]
    with tn.scope("outer"):
        y = blocks(2, 2)
    with tn.scope("block"):
        y = y * 2 * 2
    assert [n for _, _, n in boxes(tn.draw(y, collapse="block", repeat=True))] == [2, 1]


def recurrent(steps, scoped=True):
    weight, bias, h = leaf(4, 4, name="W"), leaf(4, name="b"), leaf(2, 4, name="h")
    for _ in range(steps):
        with tn.scope("step") if scoped else nullcontext():
            h = np.tanh(h @ weight + bias)
    return h


def test_steps_that_share_weights_are_one_and_so_are_their_gradients():
    drawing = tn.draw(recurrent(30), backward=True, repeat=True)
    assert boxes(drawing) == [("step", 4, 1), ("step", 4, 29), ("step", 8, 30)]
    sums = {v.name: v.id for v in drawing.graph.vertices if v.operation == "add"}
    assert set(sums) == {"dL/dW", "dL/db"}
    into = [e.source for e in drawing.graph.edges if e.target in sums.values()]
    assert [drawing.graph.vertices[i].times for i in into] == [30, 30]


# Whatever is collapsed, the picture stays a graph without cycles that says the same.


@st.composite
def scoped_programs(draw):
    """A random graph whose operations lie in scopes that may be entered again and again; and its backward pass."""
    scopes = [Scope("a", None), Scope("b", None)]
    scopes += [Scope("c", scopes[0]), Scope("a", scopes[1])]
    tensors = [leaf(2, name="x"), leaf(2, name="w")]
    for _ in range(draw(st.integers(1, 14))):
        with surrounding(scope=draw(st.sampled_from([None, *scopes]))):
            one, other = draw(st.sampled_from(tensors[-4:])), draw(st.sampled_from(tensors))
            tensors.append(one * other)
    y = tensors[-1]
    if draw(st.booleans()):
        leaves = [x for x in trace(y).vertices if x.operation is None]
        names = {x.name for x in leaves}
        given = [x for x in tensors[:2] if x.name in names]
        return [y, *tn.grad([y], given, [tn.tensor([1.0, 2.0], requires_grad=True)], create_graph=True)]
    return [y]


def reach(graph):
    """For every vertex, the vertices that it leads to."""
    found = {v.id: set() for v in graph.vertices}
    for e in sorted(graph.edges, key=lambda e: -e.source):
        found[e.source] |= {e.target} | found[e.target]
    return found


@given(outputs=scoped_programs(), collapse=st.sampled_from([0, 1, "all", "a", "b"]), repeat=st.booleans())
def test_collapsing_makes_no_cycle_and_loses_no_path(outputs, collapse, repeat):
    graph = trace(*outputs)
    closed = (lambda path: path[-1] == collapse) if isinstance(collapse, str) else closing(collapse, graph)
    small = collapsed(graph, (lambda path: True) if collapse == "all" else closed, repeat)
    assert [v.id for v in small.vertices] == list(range(len(small.vertices)))
    assert all(e.source < e.target for e in small.edges)
    for v, edges in small.inputs_of().items():
        assert len({e.operand for e in edges}) == len(edges)
        assert bool(edges) == (small.vertices[v].operation is not None)
    assert len(small.outputs) == len(graph.outputs)
    before, after = reach(graph), reach(small)
    named = {v.name: v.id for v in small.vertices if v.name and not v.holds}
    for v in graph.vertices:
        if v.name in named:
            missing = {graph.vertices[i].name for i in before[v.id] if graph.vertices[i].name in named}
            assert missing <= {small.vertices[i].name for i in after[named[v.name]]}
    held = sum(v.holds * v.times if v.holds else v.operation is not None for v in small.vertices)
    leaf_sums = [v for v in graph.vertices if v.order and v.operation == "add" and v.differentiates is None]
    total = sum(v.operation is not None for v in graph.vertices)
    assert total - len(leaf_sums) <= held <= total
    assert len(read(tn.graph.Drawing(small).source).nodes) == len(small.vertices)


def test_a_scope_that_would_lead_back_to_itself_stays_open():
    """It was left for an operation outside, and entered again."""
    scope = Scope("torn", None)
    x = leaf(2, name="x")
    with surrounding(scope=scope):
        h = x * 2
    h = h * 3
    with surrounding(scope=scope):
        h = h * 4
    with tn.scope("whole"):
        h = h * 5 * 6
    drawing = tn.draw(h, collapse=0)
    assert boxes(drawing) == [("whole", 2, 1)]
    assert read(drawing.source).clusters == [("torn", 1)]
    assert [v.text or v.detail for v in drawing.graph.vertices] == ["", "× 2", "× 3", "× 4", "2 → 2"]


def test_second_order_gradients_collapse():
    """They run through the same scopes twice: once for the forward pass, once for its gradient."""
    x = tn.tensor(np.linspace(-1, 1, 12).reshape(4, 3), requires_grad=True, name="x")
    y = tn.layer_norm(tn.batch_norm(x), 3)
    first = tn.grad(y, x, np.cos(np.arange(12.0)).reshape(4, 3), create_graph=True)
    drawing = tn.draw(first, backward=True, collapse=0)
    assert all(e.source < e.target for e in drawing.graph.edges)
    found = Counter((v.order, v.symbol) for v in drawing.graph.vertices if v.holds)
    assert set(found) == {(order, name) for order in (0, 1, 2) for name in ("batch_norm", "layer_norm")}
    assert b"</svg>" in drawing.svg().encode()


@pytest.mark.parametrize("name", [*HOSTILE, "__proto__"], ids=range(len(HOSTILE) + 1))
def test_v16_hostile_names_of_boxes_are_drawn_literally(name):
    with tn.scope(name):
        y = leaf(2, name="x") * 2 * 3
    want = HOSTILE.get(name, name)
    for theme in ("light", "dark"):
        drawing = tn.draw(y, collapse=name, backward=True, theme=theme)
        dot = read(drawing.source)
        assert len(dot.nodes) == 4
        assert dot.clusters == []
        assert lines(dot, "n1") == [f"y = {want}", "2 operations", "2 → 2"]
        texts = [texts for texts, _ in svg_texts(drawing.svg(), "node")]
        assert [f"y = {want}", "2 operations", "2 → 2"] in texts
        assert [f"{want} · gradient", "2 operations", "2 → 2"] in texts


# V18: large graphs.


def chain(blocks, length, name="block"):
    y = leaf(3, name="x")
    for i in range(blocks):
        with tn.scope(f"{name} {i}"):
            for _ in range(length):
                y = np.tanh(y) * 1.5
    return y


@pytest.mark.parametrize(
    ("make", "count", "caption"),
    [
        (lambda: chain(100, 25), 101, "collapsed to depth 0: 5000 operations"),
        (lambda: network(278), 280, "collapsed to depth 0: 5008 operations"),
        (lambda: blocks(*[1.0] * 2500), 2, "collapsed to depth 0, repeated boxes once: 5000 operations"),
    ],
)
def test_v18_five_thousand_operations_are_drawn_collapsed(make, count, caption):
    start = time.monotonic()
    drawing = tn.draw(make())
    svg = drawing.svg()
    assert time.monotonic() - start < 20
    assert len(drawing.graph.vertices) == count
    assert repr(drawing) == f"Drawing({count} boxes, {count - 1} edges, {caption})"
    assert caption in svg.replace("&#160;", " ").replace("\u00a0", " ")
    assert f'label="{caption}"' in drawing.source
    assert drawing.caption == caption


def test_v18_as_few_scopes_are_collapsed_as_will_do():
    with tn.scope("outer"):
        y = chain(20, 10)
    assert "depth 1: 400 operations" in repr(tn.draw(y, max_nodes=100))
    assert "depth 0: 400 operations" in repr(tn.draw(y, max_nodes=10))
    assert tn.draw(y, max_nodes=401).caption == ""
    assert "depth 0" in repr(tn.draw(chain(20, 10), backward=True, detail="slide"))


def test_v18_of_very_many_depths_a_few_are_tried():
    y = leaf(2)
    with ExitStack() as around:
        for i in range(300):
            around.enter_context(tn.scope(f"call {i}"))
            y = y * 2.0 * 0.5
    found = depths(trace(y), 400)
    assert len(found) <= 11
    assert found == sorted(found, reverse=True)
    assert len(tn.draw(y, max_nodes=400).graph.vertices) in range(300, 401)


def flat(count):
    y = leaf(3)
    for _ in range(count):
        y = y + 1
    return y


def densely(count):
    """Each result is computed from all before it."""
    found = [leaf(2)]
    for _ in range(count):
        found.append(np.concatenate(found)[:2] * 2)
    return found[-1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: flat(5000), r"5001 boxes, more than max_nodes=400, and it has no scopes"),
        (lambda: chain(500, 5), r"5001 boxes, more than max_nodes=400, and collapsing its scopes does not help"),
        (lambda: densely(60), r"edges, more than 3 × max_nodes=400"),
        (lambda: recurrent(90, scoped=False), r"rows of boxes, more than 25 × max_nodes=400"),
    ],
)
def test_v18_what_cannot_be_laid_out_is_a_clear_error(make, words):
    y = make()
    start = time.monotonic()
    with pytest.raises(ValueError, match=words) as error:
        tn.draw(y)
    assert time.monotonic() - start < 10
    for way_out in ("collapse=", "detail='slide'", "max_nodes", "tn.scope"):
        assert way_out in str(error.value)


def test_v18_a_collapse_that_was_asked_for_is_not_exceeded():
    with pytest.raises(ValueError, match="the collapsed graph has 501 boxes, more than max_nodes=400"):
        tn.draw(chain(500, 2), collapse=0)
    assert len(tn.draw(chain(500, 2), collapse=0, max_nodes=501).graph.vertices) == 501


@pytest.mark.exhaustive
def test_v18_the_worst_that_is_allowed_is_laid_out_in_seconds():
    """As close to each bound as a recurrent network, a dense one and a long chain come."""
    for y in (recurrent(55, scoped=False), densely(24), flat(399)):
        start = time.monotonic()
        assert tn.draw(y).svg()
        assert time.monotonic() - start < 30
    assert (EDGES_PER_BOX, ROWS_PER_BOX) == (3, 25)
