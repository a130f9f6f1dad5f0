"""Named steps as boxes with their names, and modules that say where in a network a box belongs."""

import gc
import weakref
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_collapse import reach
from test_graph import leaf, lines, read

import tinygrad_norm as tn
from tinygrad_norm import nn, ops
from tinygrad_norm.engine.context import STATE, surrounding
from tinygrad_norm.engine.origins import examine
from tinygrad_norm.engine.recording import Step
from tinygrad_norm.graph import trace
from tinygrad_norm.graph.steps import stepped


def boxes(y, **options):
    """The lines of every box that is no leaf."""
    drawing = tn.draw(y, **options)
    dot = read(drawing.source)
    return [lines(dot, f"n{v.id}") for v in drawing.graph.vertices if v.operation]


def inputs(graph, vertex):
    return [graph.vertices[e.source].name or "data" for e in graph.inputs_of()[vertex.id]]


X = leaf(4, 6, name="x")
IMAGE = leaf(2, 4, 8, 8, name="x")
LABELS, CHANCES = np.array([0, 5, 2, 2]), np.full((4, 6), 0.25)
STEPS = [
    (lambda: ops.relu(X), "ReLU", "4×6"),
    (lambda: ops.leaky_relu(X, 0.2), "leaky ReLU slope 0.2", "4×6"),
    (lambda: ops.gelu(X), "GELU", "4×6"),
    (lambda: ops.gelu(X, "tanh"), "GELU approximate tanh", "4×6"),
    (lambda: ops.silu(X), "SiLU", "4×6"),
    (lambda: ops.softplus(X), "softplus", "4×6"),
    (lambda: ops.softmax(X), "softmax over c", "4×6"),
    (lambda: ops.softmax(X, 0), "softmax over n", "4×6"),
    (lambda: ops.log_softmax(X), "log-softmax over c", "4×6"),
    (lambda: ops.logsumexp(X), "logsumexp over n, c", "scalar"),
    (lambda: ops.logsumexp(X, -1), "logsumexp over c", "4"),
    (lambda: X.var(0), "var over n", "6"),
    (lambda: np.var(X, axis=1, ddof=1), "var over c, ddof 1", "4"),
    (lambda: np.std(X), "std over n, c", "scalar"),
    (lambda: np.median(X, axis=0), "median over n", "6"),
    (lambda: np.quantile(X, 0.25), "quantile q 0.25, over n, c", "scalar"),
    (lambda: np.percentile(X, 25, axis=0), "quantile q 0.25, over n", "6"),
    (lambda: np.average(X, 0, weights=[1.0, 2.0, 3.0, 4.0]), "average over n", "6"),
    (lambda: np.linalg.norm(X, axis=1), "norm over c", "4"),
    (lambda: np.linalg.norm(X, 1), "norm over n, c, ord 1", "scalar"),
    (lambda: np.cross(X[:, :3], X[:, 3:]), "cross product", "4×3"),
    (lambda: np.convolve(X[0], X[1]), "convolve mode full", "11"),
    (lambda: nn.cross_entropy(X, LABELS), "cross-entropy", "scalar"),
    (
        lambda: nn.cross_entropy(X, CHANCES, None, -100, "sum", 0.1),
        "cross-entropy smoothing 0.1, reduction sum",
        "scalar",
    ),
    (lambda: nn.nll_loss(X, LABELS), "NLL loss", "scalar"),
    (lambda: nn.losses.mse_loss(X, CHANCES), "MSE loss", "scalar"),
    (lambda: nn.losses.l1_loss(X, CHANCES, "none"), "L1 loss reduction none", "4×6"),
    (lambda: nn.losses.huber_loss(X, CHANCES, delta=2.0), "Huber loss delta 2", "scalar"),
    (lambda: nn.losses.smooth_l1_loss(X, CHANCES), "smooth L1 loss beta 1", "scalar"),
    (lambda: nn.losses.binary_cross_entropy_with_logits(X, CHANCES), "binary cross-entropy of logits", "scalar"),
    (lambda: nn.losses.binary_cross_entropy(ops.sigmoid(X), CHANCES), "binary cross-entropy", "scalar"),
    (lambda: nn.convolution.conv2d(IMAGE, leaf(8, 4, 3, 3)), "conv2d 3×3", "2×8×6×6"),
    (
        lambda: nn.convolution.conv2d(IMAGE, leaf(4, 1, 3, 3), None, 2, 1, groups=4),
        "conv2d 3×3, stride 2, padding 1, groups 4",
        "2×4×4×4",
    ),
    (lambda: nn.convolution.conv2d(IMAGE, leaf(4, 4, 2, 3), None, (2, 1)), "conv2d 2×3, stride 2,1", "2×4×4×6"),
    (lambda: nn.Conv1d(6, 2, 3)(leaf(1, 6, 5)), "conv1d 3", "1×2×3"),
    (lambda: nn.convolution.max_pool2d(IMAGE, 2), "max pooling 2×2", "2×4×4×4"),
    (lambda: nn.convolution.max_pool2d(IMAGE, 3, 1, 1), "max pooling 3×3, stride 1, padding 1", "2×4×8×8"),
    (lambda: nn.convolution.avg_pool2d(IMAGE, (2, 4)), "average pooling 2×4", "2×4×4×2"),
    (lambda: nn.Dropout(0.25, rng=0)(X), "dropout p 0.25", "4×6"),
    (lambda: nn.Softmax(0)(X), "softmax over n", "4×6"),
    (lambda: nn.Tanh()(X), "tanh", "4×6"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "called", "shape"), STEPS, ids=[called for _, called, _ in STEPS])
@pytest.mark.usefixtures("erf_without_scipy")
def test_a_named_step_is_one_box_and_so_is_its_gradient(make, called, shape):
    y = make()
    assert boxes(y, axes="n c")[-1] == [called, shape]
    for detail in ("full", "slide"):
        drawing = tn.draw(y, backward=True, axes="n c", detail=detail)
        forward, backward = (v for v in drawing.graph.vertices if v.operation == "step")
        assert backward.differentiates == forward.id
        text = lines(read(drawing.source), f"n{backward.id}")
        assert f"{forward.symbol} · gradient" in text
        assert read(drawing.source).nodes[f"n{backward.id}"]["style"] == "filled,dashed"
    assert not any(v.holds for v in drawing.graph.vertices)


def test_a_step_keeps_the_name_the_values_and_the_length_of_the_gradient_of_its_result():
    x = tn.tensor([[0.0, 0.0]], requires_grad=True, name="x")
    p = tn.named("p", ops.softmax(x))
    assert boxes(p, values=True, axes="n c") == [["p", "softmax over c", "1×2 float64", "\xa00.5\xa0\xa00.5\xa0"]]
    drawing = tn.draw(p, values=True, backward=True, cotangents=[[[3.0, 4.0]]])
    assert {v.name: v.gradient_norm for v in drawing.graph.vertices if not v.order} == {"x": "0.354", "p": "5"}
    assert [v.name for v in drawing.graph.vertices if v.order] == ["dL/dp", "dL/dx"]


def test_the_gradient_of_several_inputs_names_each():
    x, weight, bias = leaf(1, 1, 4, 4, name="x"), leaf(1, 1, 3, 3, name="K"), leaf(1, name="b")
    y = nn.convolution.conv2d(x, weight, bias)
    (_, gradient) = boxes(y, backward=True)
    assert gradient[0] == "conv2d · gradient"
    assert set(gradient[1:]) == {"dL/dx 1×1×4×4", "dL/dK 1×1×3×3", "dL/db 1"}


def test_contributions_are_summed_outside_of_a_step():
    """The sum is over what uses the result, and no part of the step's own gradient."""
    p = tn.named("p", ops.softmax(X))
    graph = tn.draw(p * p, backward=True).graph
    (total,) = (v for v in graph.vertices if v.name == "dL/dp")
    assert (total.operation, total.scope) == ("add", ())
    assert [v.symbol for v in graph.vertices if v.operation == "step"] == ["softmax", "softmax"]


def test_what_a_step_is_given_stays_outside_and_what_it_makes_for_itself_inside():
    graph = tn.draw(ops.softmax(X)).graph
    assert [v.name for v in graph.vertices] == ["x", None]  # the largest value, which is subtracted, is not shown
    target = tn.tensor(CHANCES)
    for loss, y in (
        ("MSE loss", nn.losses.mse_loss(X, target)), ("cross-entropy", nn.cross_entropy(X, LABELS)),
        ("cross-entropy", nn.cross_entropy(X, tn.tensor(LABELS))), ("MSE loss", nn.losses.mse_loss(X, CHANCES)),
    ):  # fmt: skip
        graph = tn.draw(y).graph
        (box,) = (v for v in graph.vertices if v.operation)
        assert (box.symbol, inputs(graph, box)) == (loss, ["x", "data"])
    rows = nn.cross_entropy(leaf(4, 6, name="x"), np.arange(4))  # labels that are also the numbers of the rows
    assert [v.called for v in tn.draw(rows, backward=True).graph.vertices if not v.order] == ["x", "data", "y"]
    labels = tn.tensor(LABELS, name="labels")
    graph = tn.draw(nn.cross_entropy(nn.Linear(6, 6)(X), labels), values=True, backward=True).graph
    (shown,) = (v for v in graph.vertices if v.name == "labels")
    assert (shown.shape, shown.values, shown.scope) == ((4,), "\xa00\xa0\xa05\xa0\xa02\xa0\xa02\xa0", ())
    assert {graph.vertices[e.target].symbol for e in graph.outputs_of()[shown.id]} == {"cross-entropy"}


def test_the_outermost_step_is_shown_and_opened_it_shows_what_it_is_composed_of():
    y = nn.cross_entropy(X, LABELS)
    assert [text[0] for text in boxes(y)] == ["cross-entropy"]
    opened = tn.draw(y, open="cross-entropy")
    assert opened.graph.vertices[1].symbol == "log-softmax"
    assert read(opened.source).clusters == [("cross-entropy", 1)]
    everything = tn.draw(y, open=True)
    assert len(everything.graph.vertices) == len(trace(y).vertices)
    assert read(everything.source).clusters == [("cross-entropy", 1), ("log-softmax", 2)]
    assert tn.draw(y, open=["cross_entropy", "log softmax"]).source == everything.source
    assert tn.draw(ops.relu(X), open="relu").graph.vertices[-1].operation == "where"


@pytest.mark.parametrize(
    ("opened", "error", "words"),
    [
        ("softmaxx", ValueError, "no step is named 'softmaxx'; the names are: 'ReLU', 'cross-entropy', 'log-softmax'"),
        (["ReLU", "b", "a"], ValueError, "named 'a', 'b'"), (1, TypeError, "names of steps, not int"),
        ("block", ValueError, "'block'"),
    ],
)  # fmt: skip
def test_what_is_no_step_is_not_opened(opened, error, words):
    with tn.scope("block"):
        y = nn.cross_entropy(ops.relu(X), LABELS)
    with pytest.raises(error, match=words):
        tn.draw(y, open=opened)
    with pytest.raises(ValueError, match="the names are: none"):
        tn.draw(X * 2, open="ReLU")


def test_steps_stay_steps_when_scopes_collapse():
    with tn.scope("block"):
        y = ops.relu(X * 2)
    y = ops.softmax(y)
    assert boxes(y, collapse=0) == [["block", "2 operations", "4×6 → 4×6"], ["softmax over axis 1", "4×6"]]
    for _ in range(300):
        y = ops.silu(y * 2)
    shown = tn.draw(y, max_nodes=700)
    assert (shown.caption, len(shown.graph.vertices)) == ("", 604)
    with tn.scope("tail"):
        for _ in range(200):
            y = y * 2
    shown = tn.draw(y, max_nodes=700)
    assert sum(v.operation == "step" for v in shown.graph.vertices) == 301
    assert shown.caption == "collapsed to depth 0: 803 operations"


def test_norms_stay_open():
    assert tn.draw(tn.batch_norm(X)).source == tn.draw(tn.batch_norm(X), open=True).source


# Modules.


class Block(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.lin, self.norm, self.act = nn.Linear(6, 6, rng=0), nn.LayerNorm(6), act

    def forward(self, x):
        return x + self.act(self.norm(self.lin(x)))


class Net(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.blocks = nn.ModuleList(Block(nn.ReLU()) for _ in range(depth))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6, 2, rng=0), nn.Softmax())

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def clusters(drawing):
    return [label for label, _ in read(drawing.source).clusters]


def test_modules_are_frames_that_say_their_path():
    drawing = tn.draw(Net()(X))
    assert clusters(drawing) == [
        "blocks.0: Block", "blocks.0.lin: linear", "blocks.0.norm: layer_norm",
        "blocks.1: Block", "blocks.1.lin: linear", "blocks.1.norm: layer_norm", "head: Sequential", "head.1: linear",
    ]  # fmt: skip
    assert [line for text in boxes(Net()(X), backward=True) for line in text if ":" in line] == [
        "blocks.0.act: ReLU", "blocks.1.act: ReLU", "head.2: softmax over axis 1", "head.2: softmax · gradient",
        "blocks.1.act: ReLU · gradient", "blocks.0.act: ReLU · gradient",
    ]  # fmt: skip


def test_modules_are_closed_and_opened_by_their_path():
    y = Net()(X)
    closed = tn.draw(y, collapse="blocks.1.norm")
    assert [(v.place, v.symbol) for v in closed.graph.vertices if v.holds] == [("blocks.1.norm", "layer_norm")]
    assert tn.draw(y, collapse="Block").source == tn.draw(y, collapse=["blocks.0", "blocks.1"]).source
    opened = tn.draw(y, open="blocks.1.act")
    assert [v.place for v in opened.graph.vertices if v.operation == "step"] == ["blocks.0.act", "head.2"]
    assert "blocks.1.act: ReLU" in clusters(opened)


def test_a_path_is_where_a_module_is_now():
    shared = nn.Linear(6, 6, rng=0)
    net = nn.Sequential({"a": shared, "b": nn.Linear(6, 6, rng=1)})
    assert clusters(tn.draw(net(X))) == ["a: linear", "b: linear"]
    part = nn.Sequential(nn.Linear(6, 6, rng=2), shared)
    assert clusters(tn.draw(part(X))) == ["0: linear", "1: linear"]
    assert clusters(tn.draw(net(X))) == ["a: linear", "b: linear"]
    net.b, net.c = shared, net.b
    del net.a
    assert clusters(tn.draw(net(X))) == ["b: linear", "c: linear"]
    assert clusters(tn.draw(deepcopy(net)(X))) == ["b: linear", "c: linear"]
    assert clusters(tn.draw(shared(X))) == ["linear"]  # outside of others it has no path


def test_a_module_that_keeps_what_it_computed_is_freed_without_a_collector():
    class Keeps(nn.Module):
        def forward(self, x):
            self.last = ops.relu(x * 2)
            return self.last

    gc.disable()
    try:
        net = nn.Sequential(Keeps())
        y = net(leaf(3))
        kept = weakref.ref(y)
        del net, y
        assert kept() is None
    finally:
        gc.enable()


def test_nothing_is_kept_where_nothing_is_recorded():
    with tn.no_grad():
        y = Net()(X)
        with tn.scope("block"):
            assert STATE.get().scope is None
    assert y.node is None
    assert read(tn.draw(y).source).clusters == []


@tn.no_grad()
def unrecorded(x):
    return ops.softmax(x)


def test_where_origins_are_kept_steps_are_too():
    y = examine(unrecorded, X)
    assert [text[0] for text in boxes(y, axes="n c")] == ["softmax over c"]


# Whatever is closed, the picture stays a graph without cycles that says the same.


@st.composite
def programs(draw):
    """A random graph whose operations lie in steps, which may hold others and be entered again; and its gradient."""
    outer = [Step(name, None, (), {}) for name in "ab"]
    steps = [*outer, Step("c", outer[0], (), {}), Step("b", outer[1], (), {})]
    tensors = [leaf(2, name="x"), leaf(2, name="w")]
    for _ in range(draw(st.integers(1, 14))):
        with surrounding(scope=draw(st.sampled_from([None, *steps]))):
            one, other = draw(st.sampled_from(tensors[-4:])), draw(st.sampled_from(tensors))
            tensors.append(one * other)
    y = tensors[-1]
    if draw(st.booleans()):
        names = {v.name for v in trace(y).vertices}
        used = [x for x in tensors[:2] if x.name in names]
        return [y, *tn.grad([y], used, [tn.tensor([1.0, 2.0], requires_grad=True)], create_graph=True)]
    return [y]


@given(outputs=programs(), opened=st.sampled_from(["", "a", "b", "c"]))
def test_closing_steps_makes_no_cycle_and_loses_no_path(outputs, opened):
    graph = trace(*outputs)
    small = stepped(graph, lambda name: name == opened)
    assert all(e.source < e.target for e in small.edges)
    for v, edges in small.inputs_of().items():
        assert len({e.operand for e in edges}) == len(edges)
        assert bool(edges) == (small.vertices[v].operation is not None)
    before, after = reach(graph), reach(small)
    named = {v.name: v.id for v in small.vertices if v.name}
    for v in graph.vertices:
        if v.name in named:
            lost = {graph.vertices[i].name for i in before[v.id] if graph.vertices[i].name in named}
            assert lost <= {small.vertices[i].name for i in after[named[v.name]]}
    assert len(small.outputs) == len(outputs)
    assert len(read(tn.graph.Drawing(small).source).nodes) == len(small.vertices)
