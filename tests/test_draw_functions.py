"""draw of a function and its inputs; where the function raises an error, the picture of what ran until then."""

import gc
import weakref

import numpy as np
import pytest
from test_graph import batch_norm, by_name, leaf, operands, svg_texts

import tinygrad_norm as tn


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def shown(graph):
    return [v.name or v.symbol for v in graph.vertices]


# Functions.


def test_arrays_become_leaves_with_the_names_of_parameters():
    def step(x, weight, bias):
        return np.tanh(x @ weight + bias)

    graph = tn.draw(step, array(4, 3), array(3, 2), array(2), backward=True).graph
    leaves = {v.name: v for v in graph.vertices if v.operation is None and not v.order}
    assert {name: v.shape for name, v in leaves.items()} == {"x": (4, 3), "weight": (3, 2), "bias": (2,)}
    assert all(v.requires_grad for v in leaves.values())
    assert {"dL/dx", "dL/dweight", "dL/dbias"} <= set(shown(graph))


def test_it_is_the_picture_of_the_outputs():
    x, gamma, beta = leaf(4, 3, name="x"), leaf(3, name="γ", seed=1), leaf(3, name="β", seed=2)
    drawn = tn.draw(lambda x, w, b: tn.batch_norm(x, weight=w, bias=b), x, gamma, beta, backward=True)
    assert drawn.source == tn.draw(batch_norm(), backward=True).source


def test_data_keep_their_origin_and_names():
    def picked(x, labels, mask):
        return np.where(mask, x[np.arange(3), labels], x.max(1)) * (x[:, 0] > 0)

    labels, mask = np.array([0, 1, 0]), np.array([True, False, True])
    graph = tn.draw(picked, array(3, 2), labels, mask).graph
    assert {"x", "mask", ">"} <= set(shown(graph))
    assert not by_name(graph, "mask").requires_grad
    comparison = next(v for v in graph.vertices if v.symbol == ">")
    assert operands(graph, comparison)[0].symbol == "[ ]"


def test_integer_arrays_behave_as_arrays():
    def one_hot(x, labels):
        assert isinstance(labels, np.ndarray)
        return (x * np.eye(3)[labels]).sum() / len(labels) + labels.mean()

    assert tn.draw(one_hot, array(4, 3), np.array([0, 1, 2, 0])).graph

    def writes(x, labels):
        labels[0] = 2
        return x[np.arange(4), labels]

    labels = np.array([0, 1, 2, 0])
    assert tn.draw(writes, array(4, 3), labels).graph
    assert labels[0] == 0


def test_modules_and_other_inputs():
    model = tn.nn.Sequential(tn.nn.Linear(3, 4, rng=0), tn.nn.BatchNorm1d(4))
    before = model[1].running_mean.copy()
    graph = tn.draw(model, array(5, 3)).graph
    assert [v.name for v in graph.vertices if v.operation is None and not v.parameter] == ["input"] or by_name(
        graph, "x"
    )
    np.testing.assert_array_equal(model[1].running_mean, before)
    graph = tn.draw(lambda x, n, how=None: x * n if how == "times" else x, array(2), 3, "times").graph
    assert shown(graph) == ["x", "×"]
    given = leaf(2, name="mine")
    assert shown(tn.draw(np.tanh, given).graph) == ["mine", "tanh"]
    assert given.name == "mine"
    assert shown(tn.draw(lambda *xs: xs[0] + xs[1], array(2), array(2)).graph) == ["", "", "+"]


def test_several_outputs_in_structures():
    graph = tn.draw(lambda x: {"a": x * 2, "b": [x + 1, (np.tanh(x), None)]}, array(2)).graph
    assert [graph.vertices[i].symbol for i in graph.outputs] == ["×", "+", "tanh"]


def test_what_gives_no_tensor_is_refused():
    with pytest.raises(TypeError, match="Tensors to draw, but it returned float"):
        tn.draw(lambda x: 1.0, array(2))
    with pytest.raises(ValueError, match="has nothing to draw: no output"):
        tn.draw(lambda n: n * 2, np.arange(3), backward=True)


# Errors.


def stopped(fn, *inputs, error=Exception, **options):
    """The drawing that a function's error carries."""
    with pytest.raises(error) as raised:
        tn.draw(fn, *inputs, **options)
    assert any(".drawing" in note for note in raised.value.__notes__)
    return raised.value.drawing


def box(drawing):
    """What the box of the failing operation says, and the boxes that lead to it."""
    (vertex,) = (v for v in drawing.graph.vertices if v.refused)
    (texts,) = (found for found, _ in svg_texts(drawing.svg(), "node") if found[-1] == vertex.refused)
    return texts, [v.name or v.symbol for v in operands(drawing.graph, vertex)]


def test_the_operation_that_refused_its_operands_is_a_box():
    def step(x, weight):
        h = tn.named("h", np.tanh(x * 2.0))
        unused = tn.named("unused", x.mean(0))
        assert unused.shape == (3,)
        return h @ weight

    drawing = stopped(step, array(4, 3), array(4, 3), error=ValueError)
    assert box(drawing) == (["@ 4×3, 4×3", "ValueError"], ["h", "weight"])
    assert shown(drawing.graph) == ["x", "×", "h", "unused", "weight", "@"]
    assert drawing.caption == "ValueError: matmul: shapes (4, 3) and (4, 3) do not match"
    assert "ValueError: matmul: shapes (4, 3)" in repr(drawing)
    assert "shape=octagon" in drawing.source


W = tn.tensor(np.ones(2), requires_grad=True, name="w")
REFUSED = {
    "an operator": (lambda x: x * W, "× 4×3, 2", ["x", "w"]),
    "a reflected one": (lambda x: [1.0, 2.0] - x, "− [1.0, 2.0], 4×3", ["x"]),
    "an array on the left": (lambda x: np.ones(2) / x, "÷ 2, 4×3", ["x"]),
    "a power": (lambda x: x**W, "^ 4×3, 2", ["x", "w"]),
    "a comparison": (lambda x: x > W, "> 4×3, 2", ["x", "w"]),
    "a number": (lambda x: x @ 3.0, "@ 4×3, 3.0", ["x"]),
    "a method": (lambda x: x.sum(5), "Σ 4×3, 5", ["x"]),
    "reshape": (lambda x: x.reshape(5, 2), "reshape 4×3, 5, 2", ["x"]),
    "an index": (lambda x: x[7], "[ ] 4×3, 7", ["x"]),
    "NumPy's": (lambda x: np.add(x, W), "+ 4×3, 2", ["x", "w"]),
    "NumPy's by keyword": (lambda x: np.mean(x, axis=3), "mean 4×3, 3", ["x"]),
    "of several": (lambda x: np.concatenate([x, W]), "concatenate 4×3, 2", ["x", "w"]),
    "stack": (lambda x: np.stack((x, W)), "stack 4×3, 2", ["x", "w"]),
    "einsum": (lambda x: np.einsum("ij,j->i", x, W), "einsum ij,j->i, 4×3, 2", ["x", "w"]),
    "where": (lambda x: np.where(x > 0, x, W), "where 4×3, 4×3, 2", [">", "x", "w"]),
    "unknown to Tensors": (np.sort_complex, "sort_complex 4×3", ["x"]),
    "linear algebra": (np.linalg.inv, "inv 4×3", ["x"]),
    "ours": (lambda x: tn.ops.softmax(x, axis=5), "softmax 4×3, 5", ["x"]),
    "a norm": (lambda x: tn.layer_norm(x, 5), "layer_norm 4×3", ["x"]),
    "a norm with a weight": (lambda x: tn.batch_norm(x, weight=W), "batch_norm 4×3, 2", ["x", "w"]),
    "a layer": (tn.nn.Linear(5, 2), "Linear 4×3", ["x"]),
    "in place": (lambda x: x.__setitem__(0, 1.0), "setitem 4×3, 0, 1.0", ["x"]),
    "a truth": (lambda x: 1 if x else 2, "bool 4×3", ["x"]),
}


@pytest.mark.parametrize(("fn", "label", "sources"), REFUSED.values(), ids=list(REFUSED))
def test_it_is_found_however_it_is_called(fn, label, sources):
    texts, found = box(stopped(fn, leaf(4, 3, name="x")))
    assert texts[0] == label
    assert found == sources


def test_operands_stand_at_their_places():
    drawing = stopped(lambda x: np.ones(2) + x, array(4, 3))
    (edge,) = (e for e in drawing.graph.edges if drawing.graph.vertices[e.target].refused)
    assert edge.operand == 1


class Block(tn.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = tn.nn.Linear(3, 4, rng=0), tn.nn.Linear(5, 2, rng=0)

    def forward(self, x):
        with tn.scope("block"):
            return self.second(np.maximum(self.first(x), 0.0))


def test_inside_a_module_and_its_scopes():
    drawing = stopped(Block(), array(6, 3), backward=True)
    assert box(drawing)[0] == ["Linear 6×4", "ValueError"]
    (vertex,) = (v for v in drawing.graph.vertices if v.refused)
    assert drawing.graph.scopes[vertex.scope[0]] == "block"
    assert max(v.order for v in drawing.graph.vertices) == 0
    # In one box with the others it would not be seen.
    collapsed = stopped(Block(), array(6, 3), collapse=0)
    assert [v.symbol for v in collapsed.graph.vertices if v.operation] == ["block", "Linear"]
    assert box(collapsed)[1] == ["block"]
    assert box(stopped(Block(), array(6, 3), collapse="never reached"))[0][0] == "Linear 6×4"


def test_the_scope_is_the_innermost_that_was_open():
    def nested(x):
        with tn.scope("over"):
            h = x * 2
        with tn.scope("outer"):
            try:
                with tn.scope("caught"):
                    h + np.ones(7)
            except ValueError:
                pass
            with tn.scope("inner"):
                return h + np.ones(2)

    graph = stopped(nested, array(4, 3)).graph
    (vertex,) = (v for v in graph.vertices if v.refused)
    assert [graph.scopes[i] for i in vertex.scope] == ["outer", "inner"]


@pytest.mark.parametrize("detail", ["full", "slide"])
def test_an_error_of_the_functions_own_shows_the_last_results(detail):
    def asserts(x):
        z = np.tanh(x) * 3
        also = tn.named("also", x[0])
        with tn.scope("inner"):
            assert (z.data < 0).all(), f"z is not negative, nor is {also.name}"
        return z

    drawing = stopped(asserts, array(4, 3), error=AssertionError, detail=detail)
    assert not any(v.refused for v in drawing.graph.vertices)
    assert [drawing.graph.vertices[i].name or drawing.graph.vertices[i].symbol for i in drawing.graph.outputs] == [
        "×",
        "also",
    ]
    assert drawing.caption == "AssertionError: z is not negative, nor is also"

    def plain(x):
        return x * np.linalg.inv(np.ones((2, 3)))

    assert shown(stopped(plain, array(4, 3), error=np.linalg.LinAlgError).graph) == ["x"]
    assert stopped(lambda x: 1 / 0, array(2), error=ZeroDivisionError).caption == "ZeroDivisionError: division by zero"


def test_folding_does_not_hide_it():
    """Reshapes are folded into edges elsewhere."""
    assert box(stopped(lambda x: x.T.reshape(5), array(4, 3), detail="slide"))[0][0] == "reshape 3×4, 5"


def test_long_messages_are_cut_and_hostile_ones_drawn_as_they_are():
    def fails(x):
        raise ValueError('"];evil[label=" ' + r"\N <b>" + " word" * 100 + "\nmore")

    lines = stopped(fails, array(2)).caption.split("\n")
    assert len(lines) == 3
    assert lines[0].startswith('ValueError: "];evil[label=" \\N <b> word')
    assert lines[-1].endswith(" …")
    (texts,) = svg_texts(stopped(fails, array(2)).svg(), "graph")[:1]
    assert lines[0] in texts[0]


def test_the_error_is_the_functions_own():
    class OwnError(Exception):
        pass

    def fails(x):
        raise OwnError("mine") from KeyError("cause")

    with pytest.raises(OwnError, match="mine") as raised:
        tn.draw(fails, array(2))
    assert raised.value.__context__ is None
    assert isinstance(raised.value.__cause__, KeyError)


def test_what_fails_only_where_origins_are_kept_is_drawn_as_it_runs_elsewhere():
    def writes(x):
        mask = x > 0
        mask[0] = False
        tn.named("unused", np.tanh(x))
        return np.where(mask, x, 0) + np.ones(7)

    drawing = stopped(writes, array(4), error=ValueError)
    assert box(drawing) == (["+ 4, 7", "ValueError"], ["where"])
    assert shown(drawing.graph) == ["x", "unused", "", "where", "+"]  # one is the mask


def test_a_picture_that_cannot_be_drawn_does_not_hide_the_error():
    def long(x):
        for _ in range(20):
            x = x * 2
        return x @ np.ones((7, 7))

    with pytest.raises(ValueError, match="matmul: shapes") as raised:
        tn.draw(long, array(4, 3), max_nodes=5)
    assert not hasattr(raised.value, "drawing")


def test_nothing_is_kept_afterwards():
    seen = []

    def fails(x):
        h = x * 2
        seen.append(weakref.ref(h))
        return h @ np.ones((7, 7))

    gc.disable()
    try:
        try:
            tn.draw(fails, array(4, 3))
        except ValueError as error:
            drawing = error.drawing
        assert len(drawing.graph.vertices) == 3
        assert [ref() is None for ref in seen] == [True, True]
    finally:
        gc.enable()


def test_a_function_without_inputs_that_fails_has_its_own_error_and_a_picture_also_with_a_gradient_asked_for():
    def fails():
        np.tanh(tn.tensor([1.0, 2.0], requires_grad=True, name="x"))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as raised:
        tn.draw(fails, backward=True)
    assert [v.operation for v in raised.value.drawing.graph.vertices] == [None, "tanh"]
