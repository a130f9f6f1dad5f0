"""The graph as data and as DOT and SVG: one edge per operand, stable ids, scopes, gradients, hostile names (V16)."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest
from dot_reader import read, shown
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_norm as tn
from tinygrad_norm.engine.ops.core import unary
from tinygrad_norm.engine.primitive import PRIMITIVES
from tinygrad_norm.graph import trace

SVG = "{http://www.w3.org/2000/svg}"
TITLE = "{http://www.w3.org/1999/xlink}title"


def leaf(*shape, name=None, seed=0):
    return tn.tensor(np.random.default_rng(seed).normal(size=shape), requires_grad=True, name=name)


def batch_norm():
    return tn.batch_norm(leaf(4, 3, name="x"), weight=leaf(3, name="γ", seed=1), bias=leaf(3, name="β", seed=2))


def by_name(graph, name):
    (vertex,) = (v for v in graph.vertices if v.name == name)
    return vertex


def operands(graph, vertex):
    return [graph.vertices[edge.source] for edge in graph.inputs_of()[vertex.id]]


def lines(dot, node):
    return shown(dot.nodes[node]["label"]).split("\n")


def svg_texts(svg, kind):
    """Lines of text and tooltip of every group of a class, in the order of the file; spaces are plain."""
    found = []
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        if group.get("class") == kind:
            texts = ["".join(text.itertext()).replace("\u00a0", " ") for text in group.iter(f"{SVG}text")]
            found.append((texts, next(group.iter(f"{SVG}a")).get(TITLE)))
    return found


def test_a_square_has_two_edges():
    x = leaf(2, name="x")
    graph = trace(x * x)
    assert [(e.source, e.target, e.operand) for e in graph.edges] == [(0, 1, 0), (0, 1, 1)]
    assert read(tn.draw(x * x).source).edges == [("n0", "n1")] * 2
    assert len(svg_texts(tn.draw(x * x).svg(), "edge")) == 2


def example_steps():
    x = leaf(4, 3, name="x")
    yield batch_norm()
    yield tn.layer_norm(x, 3, leaf(3, name="γ"), leaf(3, name="β"))
    yield tn.rms_norm(x, 3)
    yield tn.group_norm(leaf(2, 4, 3, name="x"), 2)
    yield tn.nn.cross_entropy(tn.nn.Sequential(tn.nn.Linear(3, 2, rng=0), tn.nn.BatchNorm1d(2))(x), [0, 1, 1, 0])


@pytest.mark.parametrize(
    "options",
    [
        {}, {"backward": True}, {"detail": "slide"}, {"backward": True, "detail": "slide"}, {"collapse": 0},
        {"backward": True, "collapse": 0, "theme": "dark"}, {"backward": True, "collapse": "linear", "repeat": True},
        {"backward": True, "values": True, "theme": "dark"}, {"backward": True, "collapse": 0, "detail": "slide"},
    ],
)  # fmt: skip
def test_ids_are_topological_and_each_vertex_has_its_operands_once(options):
    for y in example_steps():
        if options.get("collapse") == "linear" and "linear" not in trace(y).scopes:
            continue
        graph = tn.draw(y, **options).graph
        assert [v.id for v in graph.vertices] == list(range(len(graph.vertices)))
        assert all(edge.source < edge.target for edge in graph.edges)
        for vertex, edges in graph.inputs_of().items():
            found = [edge.operand for edge in edges]
            assert len(set(found)) == len(found)
            assert bool(found) == (graph.vertices[vertex].operation is not None)
        dot = read(tn.draw(y, **options).source)
        assert len(dot.nodes) == len(graph.vertices)
        ends = Counter(tuple(sorted((f"n{e.source}", f"n{e.target}"))) for e in graph.edges)
        assert Counter(tuple(sorted(edge)) for edge in dot.edges) == ends
        assert set().union(*dot.same_rank, set()) <= set(dot.nodes)


def test_two_builds_are_the_same_byte_for_byte_also_in_another_process():
    program = (
        "import numpy as np, sys, tinygrad_norm as tn\n"
        "leaf = lambda name, *shape: tn.tensor(np.ones(shape), requires_grad=True, name=name)\n"
        "y = tn.batch_norm(leaf('x', 4, 3), weight=leaf('γ', 3), bias=leaf('β', 3))\n"
        "sys.stdout.buffer.write(tn.draw(y, backward=True).source.encode())"
    )
    first, second = (tn.draw(batch_norm(), backward=True).source for _ in range(2))
    assert first == second
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment)
        assert done.stdout.decode() == first


def test_scopes_are_nested_clusters_and_each_entry_is_its_own():
    x = leaf(3)
    with tn.scope("outer"):
        with tn.scope("same"):
            y = x * 2
        with tn.scope("same"):
            y = y * 3
    y = y * 4
    dot = read(tn.draw(y).source)
    assert dot.clusters == [("outer", 1), ("same", 2), ("same", 2)]
    assert list(dot.inside.values())[1:] == [("outer", "same"), ("outer", "same"), ()]
    assert len({v.scope for v in tn.draw(y).graph.vertices[1:]}) == 3


def test_the_gradient_has_clusters_of_its_own_beside_the_forward_ones():
    dot = read(tn.draw(batch_norm(), backward=True).source)
    assert [label for label, _ in dot.clusters] == ["batch_norm", "batch_norm · gradient"]


def test_broadcasts_axes_and_constants_are_visible():
    y = (leaf(4, 3, name="x") + leaf(3, name="b")).mean((0, 1)) * 0.5
    graph = trace(y)
    (broadcast,) = (v for v in graph.vertices if v.operation == "broadcast_to")
    assert broadcast.shape == (4, 3)
    assert [v.name for v in operands(graph, broadcast)] == ["b"]
    labels = [shown(node["label"]) for node in read(tn.draw(y).source).nodes.values()]
    assert "broadcast\n4×3" in labels
    assert "mean over axes 0, 1\nscalar" in labels
    assert "× ½\nscalar" in labels
    assert "mean over axis 0\n3" in [
        shown(node["label"]) for node in read(tn.draw(leaf(4, 3).mean(0)).source).nodes.values()
    ]


@pytest.mark.parametrize("detail", ["full", "slide"])
def test_an_unrecorded_tensor_is_one_box(detail):
    for x in (tn.tensor([1.0, 2.0], name="lonely"), batch_norm().detach()):
        dot = read(tn.draw(x, detail=detail).source)
        assert (len(dot.nodes), dot.edges) == (1, [])
    assert lines(read(tn.draw(tn.tensor(1.0, name="lonely")).source), "n0") == ["lonely", "scalar"]


def test_several_outputs_share_what_they_have_in_common():
    x = leaf(3, name="x")
    h = x * x
    graph = trace(h + 1, h, h + 2)
    assert [v.operation for v in graph.vertices] == [None, "multiply", "add", "add"]
    assert graph.outputs == (2, 1, 3)


def test_every_backward_vertex_says_what_it_differentiates():
    for y in example_steps():
        graph = tn.draw(y, backward=True).graph
        for v in graph.vertices:
            if v.order == 0 or v.operation is None:
                assert (v.differentiates, v.operand, v.formula) == (None, None, None)
            elif v.operation == "step":
                assert (graph.vertices[v.differentiates].operation, v.formula) == ("step", None)
            elif v.operand is None:  # contributions are summed; those of a leaf belong to no operation
                assert v.operation == "add"
                assert len(operands(graph, v)) == 2
            else:
                source = graph.vertices[v.differentiates]
                assert (v.order, source.order) == (1, 0)
                assert v.operand < len(operands(graph, source))
                assert v.formula


def test_forward_and_backward_are_one_picture():
    y = batch_norm()
    forward, both = tn.draw(y).graph, tn.draw(y, backward=True).graph
    assert both.vertices[: len(forward.vertices)] == forward.vertices
    assert both.edges[: len(forward.edges)] == forward.edges
    seed = by_name(both, "dL/dy")
    assert (seed.operation, seed.shape, seed.order) == (None, (4, 3), 1)
    named = {both.vertices[i].name: both.vertices[i].shape for i in both.outputs}
    assert named == {"y": (4, 3), "dL/dx": (4, 3), "dL/dγ": (3,), "dL/dβ": (3,)}
    # The gradient borrows from the forward pass, and never the other way round.
    assert not any(both.vertices[e.source].order > both.vertices[e.target].order for e in both.edges)


@pytest.mark.parametrize("detail", ["full", "slide"])
def test_x_and_centred_receive_two_contributions_each(detail):
    """x through centred and through the mean; centred through the numerator and through the variance."""
    graph = tn.draw(batch_norm(), backward=True, detail=detail).graph
    for name in ("dL/dx", "dL/d(x−μ)"):
        vertex = by_name(graph, name)
        assert (vertex.operation, len(operands(graph, vertex))) == ("add", 2)
    assert by_name(graph, "dL/d(x−μ)") in operands(graph, by_name(graph, "dL/dx"))


@pytest.mark.parametrize("detail", ["full", "slide"])
def test_the_cotangent_of_whatever_has_a_name_has_one_too(detail):
    """Also where a rule passes it on unchanged, as that of σ² + eps does, or of a sum of two leaves."""
    names = {v.name for v in tn.draw(batch_norm(), backward=True, detail=detail).graph.vertices}
    assert {"dL/dy", "dL/dx̂", "dL/dσ²", "dL/d(x−μ)", "dL/dμ", "dL/dx", "dL/dγ", "dL/dβ"} <= names
    graph = tn.draw(leaf(3, name="a") + leaf(3, name="b"), backward=True, detail=detail).graph
    assert [graph.vertices[i].name for i in graph.outputs[1:]] in (["dL/da", "dL/db"], ["dL/db", "dL/da"])


def test_cotangents_can_be_given_and_drawing_leaves_no_trace():
    x = leaf(3, name="x")
    y = tn.named("out", x * x)
    g = tn.tensor([0.5, -1.0, 2.0], name="mine")
    default = tn.draw(y, backward=True).source
    assert tn.draw(y, backward=True, cotangents=[g]).source == default
    assert tn.draw(y, backward=True, cotangents=[[0.5, -1, 2]]).source == default
    assert (g.name, g.requires_grad, x.grad, y.name) == ("mine", False, None, "out")
    assert by_name(tn.draw(y, backward=True).graph, "dL/dout").shape == (3,)
    with tn.no_grad():
        assert tn.draw(y, backward=True).source == default
    for wrong, words in (
        ([np.ones(2)], "shape"),
        ([g, g], "each output: expected 1, got 2"),
        ([], "each output: expected 1, got 0"),
    ):
        with pytest.raises(ValueError, match=words):
            tn.draw(y, backward=True, cotangents=wrong)
    for unlike in (g, np.ones(3), 1.0):
        with pytest.raises(TypeError, match="cotangents must be a list or tuple"):
            tn.draw(y, backward=True, cotangents=unlike)


def test_an_unnamed_output_is_not_confused_with_one_named_y():
    y = tn.named("y", leaf(3, name="x") * 2)
    names = [v.name for v in tn.draw(np.tanh(y), backward=True).graph.vertices]
    assert names.count("dL/dy") == names.count("dL/doutput") == 1


def test_the_slide_of_batch_norm_has_at_most_twelve_boxes():
    graph = tn.draw(batch_norm(), detail="slide").graph
    assert len(graph.vertices) <= 12
    assert {"x", "γ", "β", "μ", "x−μ", "σ²", "x̂", "y"} <= {v.name for v in graph.vertices}
    assert "broadcast_to" not in {v.operation for v in graph.vertices}
    assert Counter(mark for e in graph.edges for mark in e.marks) == {"broadcast": 4}
    texts = [line for found, _ in svg_texts(tn.draw(batch_norm(), detail="slide").svg(), "node") for line in found]
    assert {"μ", "x−μ", "σ²", "x̂", "y"} <= set(texts)


def reachable(graph):
    """The pairs of names of which one leads to the other."""
    before = {}
    for v in graph.vertices:
        before[v.id] = set().union(*(before[e.source] | {e.source} for e in graph.inputs_of()[v.id]), set())
    names = {v.id: (v.name, v.order) for v in graph.vertices if v.name}
    return {(names[i], names[j]) for j in names for i in before[j] if i in names}


@pytest.mark.parametrize("backward", [False, True])
def test_folding_keeps_what_leads_to_what(backward):
    for y in example_steps():
        full, slide = (tn.draw(y, backward=backward, detail=d).graph for d in ("full", "slide"))
        assert len(slide.vertices) < len(full.vertices)
        assert [slide.vertices[i].name for i in slide.outputs] == [full.vertices[i].name for i in full.outputs]
        assert reachable(full) == reachable(slide)


def test_folding_keeps_what_has_a_name_or_was_asked_for():
    x = leaf(2, 3, name="x")
    row = x.reshape(6)
    graph = tn.draw(tn.named("kept", row.reshape(3, 2)).T * 2, row, detail="slide").graph
    found = [(v.operation, v.name) for v in graph.vertices]
    assert found == [(None, "x"), ("reshape", None), ("reshape", "kept"), ("multiply", None)]
    assert [edge.marks for edge in graph.edges] == [(), (), ("transpose",)]


def test_what_cannot_be_drawn_is_refused():
    y = batch_norm()
    for wrong in (np.ones(2), [y], 1.0):
        with pytest.raises(TypeError, match=f"expects Tensors.* got {type(wrong).__name__}"):
            tn.draw(wrong)
    for call, words in (
        (tn.draw, "at least one"), (lambda: tn.draw(y, detail="tiny"), "'tiny'"),
        (lambda: tn.draw(y, cotangents=[y.data]), "backward=True"), (lambda: tn.draw(y, theme="pink"), "'pink'"),
        (lambda: tn.draw(y, axes=("n c", "a b")), "'n c' and 'a b' both name 2 axes"),
        (lambda: tn.draw(tn.tensor([1.0]), backward=True), "has nothing to draw.*requires_grad"),
        (lambda: tn.draw(tn.tensor([1]), backward=True), "has nothing to draw"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            call()
    assert tn.draw(y, tn.tensor([1]), backward=True).graph.vertices
    for arguments, words in (
        ({"axes": 3}, "axes must be"),
        ({"axes": [1]}, "axes must be"),
        ({"max_nodes": "a"}, "max_nodes must be"),
    ):
        with pytest.raises(TypeError, match=words):
            tn.draw(y, **arguments)
    assert len(tn.draw(y, max_nodes=16).graph.vertices) == 16
    assert len(tn.draw(y, max_nodes=12, detail="slide").graph.vertices) == 12


def test_the_graph_as_a_dict_is_plain_and_versioned():
    graph = tn.draw(batch_norm(), backward=True, values=True).graph
    data = graph.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert list(data) == ["version", "vertices", "edges", "scopes", "outputs"]
    assert (data["version"], data["scopes"], data["outputs"]) == (2, ["batch_norm"], list(graph.outputs))
    for vertex, plain in zip(graph.vertices, data["vertices"], strict=True):
        assert plain.pop("phase") == ("backward" if vertex.order else "forward")
        said = {key: list(v) if isinstance(v, tuple) else v for key, v in vars(vertex).items() if key != "expression"}
        assert plain == said
    for edge in data["edges"]:
        assert edge["shape"] == data["vertices"][edge["source"]]["shape"]
    assert json.dumps(tn.draw(tn.tensor(float("nan"), name="\ud800"), values=True).graph.to_dict(), allow_nan=False)


def test_every_operation_carries_its_local_derivatives():
    graph = trace(leaf(3, name="a") * leaf(3, name="b") ** 2.0)
    assert [v.local for v in graph.vertices if v.operation == "multiply"] == [("g * b", "g * a")]
    assert all(bool(v.local) == (v.operation is not None) for v in tn.draw(batch_norm(), backward=True).graph.vertices)


AXES = ("n c", "n c h w", "n g c h w")


def test_axes_can_have_names():
    x = leaf(2, 4, 3, 3, name="x")
    weight, bias = leaf(4, name="γ"), leaf(4, name="β")
    for y, over in (
        (tn.batch_norm(x, weight=weight, bias=bias), "mean over n, h, w"),
        (tn.layer_norm(x, (4, 3, 3)), "mean over c, h, w"),
        (tn.group_norm(x, 2, weight, bias), "mean over c, h, w"), (leaf(2, 3).mean(1), "mean over c"),
        (leaf(2, 3, 4).mean(1), "mean over axis 1"), (leaf(2, 3).mean(()), "mean over axes none"),
    ):  # fmt: skip
        for detail in ("full", "slide"):
            labels = [
                line for node in svg_texts(tn.draw(y, axes=AXES, detail=detail).svg(), "node") for line in node[0]
            ]
            assert over in labels
    texts = svg_texts(tn.draw(tn.batch_norm(x, weight=weight), backward=True, axes="n c h w").svg(), "node")
    assert ["dL/dγ", "reshape", "4"] in [lines for lines, _ in texts]
    assert [lines for lines, _ in texts if "Σ over n, h, w" in lines and "undoes broadcast" in lines]


def test_what_an_operation_was_told_is_in_its_label():
    x = leaf(2, 3, name="x")
    for y, label in (
        (np.clip(x, -1, 0.5), "clip(•, −1, ½)"), (np.clip(x, np.zeros(3), None), "clip(x, data, ∞)"),
        (np.where([True, False, False], x, 0.0), "where(mask, x, 0)"), (x[[1, 0], 1:], "x[index, 1:]"),
        (np.einsum("ij,kj->ik", x, tn.named("w", leaf(4, 3))), "einsum(ij,kj→ik, x, w)"),
        (x[..., None, 0], "•[…, None, 0]"),
    ):  # fmt: skip
        assert any(label in lines for lines, _ in svg_texts(tn.draw(y).svg(), "node"))


@pytest.mark.parametrize("detail", ["full", "slide"])
def test_sums_that_come_from_a_broadcast_are_marked(detail):
    """In words and by a double frame: those of μ, of 1/σ, of γ and of β, and no other."""
    drawing = tn.draw(batch_norm(), backward=True, detail=detail)
    marked = [v for v in drawing.graph.vertices if v.unbroadcast]
    assert [v.name for v in marked] == ["dL/dβ", "dL/dγ", None, "dL/dμ"]
    dot = read(drawing.source)
    for v in drawing.graph.vertices:
        assert ("undoes broadcast" in lines(dot, f"n{v.id}")) == v.unbroadcast
        assert (dot.nodes[f"n{v.id}"].get("peripheries") == "2") == v.unbroadcast
    twice = tn.draw(leaf(2, 3).sum(0).sum(), backward=True, detail=detail)
    assert not any(v.unbroadcast for v in twice.graph.vertices)
    share = unary(
        "share", "share", lambda x: x / x.sum(), ("(g - sum(g * y)) / sum(x)", lambda g, y, x: g - (g * y).sum())
    )
    PRIMITIVES.pop("share")
    found = [v.unbroadcast for v in tn.draw(share(leaf(3)), backward=True).graph.vertices if v.operation == "sum"]
    assert found == [False]


def test_every_backward_box_stands_beside_the_one_it_belongs_to():
    drawing = tn.draw(batch_norm(), backward=True)
    dot = read(drawing.source)
    for v in drawing.graph.vertices:
        if v.differentiates is not None:
            others = [f"n{u.id}" for u in drawing.graph.vertices if u.differentiates == v.differentiates]
            assert any({f"n{v.differentiates}", other} in dot.same_rank for other in others)


@pytest.mark.parametrize("steps", [2_000, pytest.param(50_000, marks=pytest.mark.exhaustive)])
def test_the_time_of_tracing_grows_with_the_operations_and_no_faster(steps):
    def seconds(steps):
        x = y = leaf(2, name="x")
        for _ in range(steps):
            y = y * 1.0001 + x
        start = time.process_time()
        graph = trace(y, values=True)
        taken = time.process_time() - start
        assert (len(graph.vertices), len(graph.edges)) == (2 * steps + 1, 3 * steps)
        return taken

    # Four times the work; a square has sixteen. What else the machine does makes either slower, never faster.
    assert min(seconds(4 * steps) for _ in range(2)) < 8 * min(seconds(steps) for _ in range(3))


HOSTILE = {
    '"];evil[label="': '"];evil[label="', "a\nb": "a␊b", "</script>": "</script>", "<b>x</b>": "<b>x</b>",
    "\\nabla": "\\nabla", "x" * 10_000: "x" * 79 + "…", "&" * 81: "&" * 79 + "…", "&" * 80: "&" * 80,
    "\x00\x1b\x7f\t\r": "␀␛␡␉␍", "&lt;": "&lt;", "&#60;b&amp;": "&#60;b&amp;", "a\u202eb\u2066": "aU+202EbU+2066",
    "\\": "\\", '\\"': '\\"', "\\\\": "\\\\", 'a\\\\"': 'a\\\\"', "\\N\\G\\l": "\\N\\G\\l", "<": "<", "<<x>>": "<<x>>",
    "{a|b}": "{a|b}", "node": "node", "-1.5": "-1.5", "n0": "n0", "日本😀": "日本😀", "\ud800": "U+D800",
    "\u2028\u200b\ufffe": "U+2028U+200BU+FFFE", "]]><!--": "]]><!--", "a  b": "a  b", "n1 -> n0": "n1 -> n0",
}  # fmt: skip


def marked(name, scope):
    with tn.scope(scope):
        return tn.named(name, leaf(2, name=name) * 2)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_v16_hostile_names_are_drawn_literally(name):
    """As leaf, result and scope, in DOT and in SVG, with no box, edge or cluster more than a harmless name makes."""
    drawing = tn.draw(marked(name, name))
    dot, want = read(drawing.source), HOSTILE[name]
    assert (list(dot.nodes), dot.edges, dot.clusters) == (["n0", "n1"], [("n0", "n1")], [(want, 1)])
    assert [lines(dot, "n0"), lines(dot, "n1")] == [[want, "2"], [want, "× 2", "2"]]
    svg = drawing.svg()
    nodes, plain = svg_texts(svg, "node"), tn.draw(marked("x", "x")).svg()
    assert [texts for texts, _ in nodes] == [[want, "2"], [want, "× 2", "2"]]
    assert [texts for texts, _ in svg_texts(svg, "cluster")] == [[want]]
    if want.endswith("…"):
        assert all(name in tooltip for _, tooltip in nodes)
    structure = [[element.tag for element in ElementTree.fromstring(s).iter()] for s in (svg, plain)]
    assert structure[0] == structure[1]


def test_v16_an_empty_name_is_no_name():
    dot = read(tn.draw(marked("", "")).source)
    assert [lines(dot, "n0"), lines(dot, "n1")] == [["data", "2"], ["× 2", "2"]]
    assert len(svg_texts(tn.draw(marked("", "")).svg(), "node")) == 2


printable = st.text(st.characters(categories=["L", "N", "P", "S", "Zs", "Mn"]), min_size=1, max_size=80)


@given(name=printable, scope=printable)
def test_v16_any_printable_name_comes_back(name, scope):
    dot = read(tn.draw(marked(name, scope)).source)
    assert (lines(dot, "n0")[0], lines(dot, "n1")[0]) == (name, name)
    assert dot.clusters == [(scope, 1)]
    assert (len(dot.nodes), len(dot.edges)) == (2, 1)


@given(name=st.text(max_size=200))
def test_v16_any_name_makes_two_boxes_and_an_edge(name):
    dot = read(tn.draw(marked(name, name)).source)
    assert (list(dot.nodes), dot.edges, len(dot.clusters)) == (["n0", "n1"], [("n0", "n1")], 1)
    assert [lines(dot, "n0")[-1], lines(dot, "n1")[-2:]] == ["2", ["× 2", "2"]]
