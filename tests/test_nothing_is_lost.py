"""What lists, tuples, indices, scalars, counts and threads once lost in silence: it is recorded, or refused by name."""

import array
import threading
from collections import deque
from decimal import Decimal
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.engine.context import surrounding


def random(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape)


def leaf(*shape, seed=5, **options):
    return Tensor(random(*shape, seed=seed), requires_grad=True, **options)


# Several outputs.


@pytest.mark.parametrize("kind", [tuple, list])
def test_vjp_of_several_outputs_takes_a_cotangent_for_each(kind):
    x, g = random(2), [random(2, seed=1), random(2, seed=2)]
    y, pullback = tn.vjp(lambda x: kind([x * 2, x * x]), x)
    assert type(y) is kind
    assert_array_equal(y[1], x * x)
    for cotangents in (g, tuple(g), np.array(g), Tensor(np.array(g))):
        assert_allclose(pullback(cotangents), 2 * g[0] + 2 * x * g[1], rtol=1e-14)
    with pytest.raises(ValueError, match="2 outputs require a sequence of 2 cotangents"):
        pullback(g[:1])


@pytest.mark.parametrize("kind", [tuple, list])
def test_jacobian_and_hvp_of_several_outputs_are_several(kind):
    found = tn.jacobian(lambda x: kind([x[0] ** 2, x[0] * x[1]]), np.array([3.0, 4.0]))
    assert type(found) is kind
    assert_array_equal(found, [[6, 0], [4, 3]])
    products = tn.hvp(lambda x: kind([x[0] ** 2 * x[1], x[1] ** 3]), np.array([3.0, 4.0]), np.array([1.0, -2.0]))
    assert type(products) is kind
    assert_array_equal(products, [[8 - 12, 6], [0, -48]])
    assert isinstance(tn.jacobian(lambda x: (x, 1.0), Tensor([1.0]))[1], Tensor)


@pytest.mark.parametrize("kind", [lambda x: None, lambda x: {"loss": x}, lambda x: (part for part in x), deque])
def test_a_function_must_return_tensors(kind):
    for call in (tn.vjp, tn.jacobian, lambda fn, x: tn.hvp(fn, x, x)):
        with pytest.raises(
            TypeError, match=r"the function must return a Tensor, .*, not (NoneType|dict|generator|deque)"
        ):
            call(kind, random(2))


def test_gradients_are_of_tensors():
    x = leaf(2)
    for outputs, message in ((3.0, "output 0 must be a Tensor, not float"), ([x * 2, 3.0], "output 1")):
        with pytest.raises(TypeError, match=message):
            tn.grad(outputs, x)


# Lists of Tensors.


def test_lists_of_tensors_are_stacked():
    x, g = leaf(2), random(3)
    a, b = x.data
    for y, want in (
        (np.concatenate([x, [x[0]]]), [g[0] + g[2], g[1]]),
        (np.stack([x[[0, 1, 0]], [x[0], x[0], x[0]]])[1], [g.sum(), 0]),
        (tn.ops.concatenate([[x[0], 2.0], [x[1]]]), [g[0], g[2]]),
        (tn.ops.add([x[0], x[1], x[1]], 1.0), [g[0], g[1] + g[2]]),
        (np.ones(3) * x[:1] + [x[0], x[1], x[1]], [g[0] + g.sum(), g[1] + g[2]]),
        (np.array([1.0, 2.0, 3.0]) * np.stack([x[0], x[1], x[1]]), [g[0], 2 * g[1] + 3 * g[2]]),
        (np.where([True, False, True], x[:1], [x[1], x[1], x[1]]), [g[0] + g[2], g[1]]),
    ):
        assert_allclose(tn.grad(y, x, g).data, want, rtol=1e-15)
    assert_allclose(tn.grad(np.matmul([[x[0], x[1]], [x[1], x[0]]], x).sum(), x).data, [2 * (a + b)] * 2, rtol=1e-14)


def test_lists_of_cotangents_are_recorded():
    x, v = leaf(2), leaf(seed=6)
    (slope,) = tn.grad([x * x], [x], [[v * 1, v * 2]], create_graph=True)
    assert_allclose(tn.grad(slope, v, np.array([1.0, -1.0])).data, 2 * x.data[0] - 4 * x.data[1])
    alone = tn.grad(x * x, x, [v, v], create_graph=True)
    assert_allclose(tn.grad(alone, v, np.array([1.0, 0.5])).data, 2 * x.data[0] + x.data[1])


def test_lists_of_tensors_that_would_be_constants_are_refused():
    x = leaf(2)
    for lost in (
        lambda: tn.tensor([x[0], x[1]]), lambda: tn.nn.Parameter([x[0]]), lambda: tn.tensor([[1.0, (x[0],)]]),
        lambda: np.array([x, x]), lambda: np.asarray(deque([x[0]])) + x,
        lambda: np.add([x[0], x[1]], 1.0), lambda: np.where([True, False], [x[0], x[1]], 0.0), lambda: np.sum([x[0]]),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"np\.stack"):
            lost()
    with pytest.raises(TypeError, match=r"np\.maximum"):
        np.clip(x, [x[0], 0.0], None)
    with pytest.raises(TypeError, match=r"use \.data for the values"):
        np.asarray(x.detach())


def test_stacked_scalars_keep_the_dtype():
    x = leaf(2, dtype=np.float32)
    assert np.stack([x[0], 2.0, np.float64(3)]).dtype == np.float32
    assert np.stack([x, random(2)]).dtype == np.float64


# Indices and scatter.

PLACES = {
    "tuples": ((0, 0), (1, 1)), "ranges": (range(1), range(1, 2)), "deques": (deque([0, 0]), 1),
    "array.array": (array.array("i", [0, 0]), [1, 1]), "memoryview": (memoryview(np.array([0, 0, 0])), 1),
    "a deque alone": deque([1, 0, 1]), "a range alone": range(0, 2), "a Tensor": Tensor([1, 1, 0]),
    "an array.array alone": array.array("l", [1, 1]), "Tensors in a tuple": (Tensor([0, 0]), Tensor([2, 2])),
    "0-d arrays": (np.array(1), np.int8(2)), "a mask as lists": [[True, False, True], [False, False, True]],
    "nothing": [], "nothing in a tuple": ((), slice(None)), "NumPy's True": np.True_,
}  # fmt: skip


@pytest.mark.parametrize("index", PLACES.values(), ids=list(PLACES))
def test_what_an_index_names_twice_receives_twice(index):
    x, values = leaf(2, 3), np.array(random(2, 3, seed=5))
    plain = (
        tuple(getattr(i, "data", i) if isinstance(i, Tensor) else i for i in index) if type(index) is tuple else index
    )
    plain = plain.data if isinstance(plain, Tensor) else plain
    y = x[index]
    assert_array_equal(y.data, values[plain])
    g, want = random(*y.shape), np.zeros((2, 3))
    np.add.at(want, plain, g)
    assert_array_equal(tn.grad(y, x, g).data, want)
    assert_array_equal(tn.ops.scatter(Tensor(g, requires_grad=True), index, (2, 3)).data, want)


def test_an_index_is_a_copy_whatever_holds_it():
    x, places = leaf(3), array.array("i", [0, 1])
    for index in (places, (places,), memoryview(places), deque([0, 1])):
        y = x[index]
        index[0] if isinstance(index, tuple) else index
        places[0] = 2
        if isinstance(index, deque):
            index[0] = 2
        assert_array_equal(tn.grad(y, x, np.array([0.5, -2.0])).data, [0.5, -2.0, 0])
        places[0] = 0


def test_scatter_spreads_a_source_that_is_smaller_than_the_places():
    x, g = leaf(1), random(4)
    y = tn.ops.scatter(x, ((0, 0, 2),), (4,))
    assert_array_equal(y.data, x.data * [2, 0, 1, 0])
    assert_allclose(tn.grad(y, x, g).data, [2 * g[0] + g[2]], rtol=1e-15)
    assert_allclose(tn.grad(tn.ops.scatter(x[0], slice(1, 3), (4,)), x, g).data, [g[1] + g[2]], rtol=1e-15)
    slope = tn.grad(tn.ops.scatter(x * x, [1, 1], (4,)), x, g, create_graph=True)
    assert_allclose(tn.grad(slope, x).data, [4 * g[1]], rtol=1e-15)


# Scalars.

REALS = [np.longdouble(0.5), Fraction(1, 2), Decimal("0.5"), np.array(Fraction(1, 2)), True, np.True_, np.uint8(2)]
ACTS = {
    "*": lambda x, c: x * c, "reflected -": lambda x, c: c - x, "/": lambda x, c: c / x, "**": lambda x, c: x**c,
    "maximum": np.maximum, "where": lambda x, c: np.where(x > 0.7, x, c), "clip": lambda x, c: np.clip(x, 0, c),
}  # fmt: skip


@pytest.mark.parametrize("scalar", REALS, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("act", ACTS.values(), ids=list(ACTS))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_real_numbers_keep_the_dtype(act, scalar, dtype):
    x = Tensor([0.5, 1.5], requires_grad=True, dtype=dtype)
    y = act(x, scalar)
    assert y.dtype == dtype
    want = act(x.data, dtype(scalar.item() if isinstance(scalar, np.ndarray) else scalar))
    # x**0.5 is np.sqrt(x), and np.power(x, 0.5), which older versions of NumPy round differently.
    np.testing.assert_array_almost_equal_nulp(y.data, want, 1)
    assert tn.grad(y, x, random(2)).dtype == dtype


COMPLEX = {
    "times a number": lambda x: x * 0.5j, "plus NumPy's": lambda x: np.complex64(1j) + x,
    "an array": lambda x: x * np.array([1j, 2]), "a Tensor": lambda x: x - Tensor([1j, 2]),
    "power": lambda x: x**1j, "where": lambda x: np.where(x > 0, 1j, x), "clip": lambda x: np.clip(x, 1j, None),
    "stack": lambda x: np.stack([x, np.array([1j, 2])]), "concatenate": lambda x: np.concatenate([x, [1j]]),
    "matmul": lambda x: np.array([[1j, 2]]) @ x, "cast": lambda x: x.astype(complex),
    "long": lambda x: x * np.clongdouble(1j), "einsum": lambda x: np.einsum("i,i->", x, np.array([1j, 2])),
}  # fmt: skip


@pytest.mark.parametrize("meets", COMPLEX.values(), ids=list(COMPLEX))
def test_complex_numbers_do_not_meet_a_gradient(meets):
    x = leaf(2, name="x")
    with pytest.raises(TypeError, match=r"requires a gradient, so complex operands are not supported"):
        meets(x)
    want = np.asarray(meets(x.data) if meets is not COMPLEX["a Tensor"] else x.data - np.array([1j, 2]))
    with tn.no_grad():
        assert_array_equal(meets(x).data, want)
    assert_array_equal(meets(x.detach()).data, want)


NUMPYS = [
    np.abs, np.var, np.std, np.max, np.min, np.sign, np.real, np.imag, np.conj, np.square, np.sqrt, np.exp, np.sum,
    np.mean, np.argmax, np.isnan, lambda z: np.maximum(z, z[::-1]), lambda z: np.minimum(z, 0.5),
    lambda z: np.clip(z, 0, 1), lambda z: z > z[::-1], lambda z: z.var(ddof=1), lambda z: z == z.conj(),
]  # fmt: skip


@pytest.mark.parametrize("function", NUMPYS)
def test_values_of_complex_tensors_are_numpys(function):
    z = random(5) + 1j * random(5, seed=4)
    found = function(Tensor(z))
    assert_allclose(found.data if isinstance(found, Tensor) else found, function(z), rtol=1e-15)


def test_only_a_complex_step_branches_by_the_real_part():
    z = np.array([0.5 + 2j, -1.0 + 0.1j])
    with surrounding(analytic=True):
        assert_array_equal(np.abs(Tensor(z)).data, [0.5 + 2j, 1.0 - 0.1j])
        assert_array_equal(np.max(Tensor(z)).data, 0.5 + 2j)
        assert Tensor(z).astype(np.float32).dtype == np.complex64
    assert_array_equal(np.abs(Tensor(z)).data, np.abs(z))
    with pytest.warns(np.exceptions.ComplexWarning):
        assert Tensor(z).astype(np.float32).dtype == np.float32


def test_a_leaf_inside_a_checked_function_goes_on_working():
    weights = random(3, 2)

    def layer(x):
        weight = Tensor(weights, requires_grad=True)
        return np.abs(x @ weight) * np.maximum(x @ weight, 0.1)

    report = tn.check_gradients(layer, random(4, 3, seed=8), oracle="complex", seed=0)
    assert report.largest_relative_error < 1e-12


@pytest.mark.parametrize("nothing", [None, "2", np.datetime64("2026-01-01"), object()])
def test_what_is_no_number_is_refused(nothing):
    with pytest.raises(TypeError):
        leaf(2) * nothing


def test_masked_arrays_are_refused():
    x, masked = leaf(2), np.ma.array([1.0, 2.0], mask=[False, True])
    for mixes in (
        lambda: x * masked, lambda: masked * x, lambda: np.add(masked, x), lambda: tn.tensor(masked),
        lambda: np.where(masked > 1, x, 0), lambda: np.concatenate([x, masked]), lambda: x[masked > 1],
        lambda: np.clip(x, masked, None), lambda: x * np.ma.masked, lambda: x @ masked,
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            mixes()
    for function in (np.ma.log, np.ma.sum, np.ma.array, np.ma.exp):
        with pytest.raises(TypeError, match="gradient would be lost"):
            function(x)


# Counts, shifts and means.


@pytest.mark.parametrize("count", [65_520, 65_536, 100_000])
@pytest.mark.parametrize("largest", [lambda x: x.max(), lambda x: x.min(axis=0)])
def test_v22_counts_of_float16_do_not_overflow(count, largest):
    x = Tensor(np.zeros(count), requires_grad=True, dtype=np.float16)
    # In float16 a share of 1 / 65,520 is rounded to 256 units of 2**-24, and one of 1 / 100,000 to 168.
    share = float(np.float16(512 / count))
    gradient = tn.grad(largest(x), x, 512)
    assert_array_equal(gradient.data, np.full(count, share, np.float16))
    assert abs(gradient.data.sum(dtype=np.float64) / 512 - 1) < 1e-3
    assert_array_equal(tn.grad(x.mean(), x, 512).data, np.full(count, share, np.float16))


def test_a_large_float16_pooling_window_has_a_gradient():
    x = Tensor(np.zeros((1, 1, 256, 256)), requires_grad=True, dtype=np.float16)
    tn.nn.MaxPool2d(256)(x).backward()
    assert x.grad.data.sum(dtype=np.float64) == 1


@pytest.mark.parametrize("offset", [1e4, 1e5, -1e5])
@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
def test_v21_softmax_far_from_zero(function, offset):
    """The logits as they are in float32 are shifted exactly: what is left is the softmax of the differences."""
    logits = (3 * random(4, 6) + offset).astype(np.float32)
    exact = getattr(tn.ops, function)(logits.astype(np.float64) - offset)
    x = Tensor(logits, requires_grad=True)
    y = getattr(tn.ops, function)(x)
    assert_allclose(y.data, exact, rtol=2e-6, atol=2e-6)
    g, shifted = random(4, 6), Tensor(logits.astype(np.float64) - offset, requires_grad=True)
    want = tn.grad(getattr(tn.ops, function)(shifted), shifted, g)
    assert_allclose(tn.grad(y, x, g).data, want.data, rtol=2e-6, atol=2e-6)


def test_v21_cross_entropy_far_from_zero():
    logits, labels = (3 * random(4, 6) + 1e4).astype(np.float32), np.array([0, 5, 2, 2])
    with mpmath.workdps(30):
        rows = [[mpmath.mpf(float(v)) for v in row] for row in logits]
        losses = [mpmath.log(sum(mpmath.exp(v - row[k]) for v in row)) for row, k in zip(rows, labels, strict=True)]
        want = float(sum(losses) / 4)
    assert abs(float(tn.nn.cross_entropy(logits, labels)) - want) < 2e-6 * want


def test_softmax_of_masked_and_infinite_logits():
    x = np.array([[0.0, -np.inf, 1.0], [-np.inf, -np.inf, -np.inf]])
    with np.errstate(all="ignore"):
        y = tn.ops.softmax(Tensor(x)).data
    assert_allclose(y[0], [1 / (1 + np.e), 0, np.e / (1 + np.e)], rtol=1e-15)
    assert np.isnan(y[1]).all()


CONSTANTS = [(14.1, 3, "f"), (2023.7, 6, "f"), (98765.4, 7, "f"), (1e8 + 0.1, 3, "d"), (1e8 + 0.1, 7, "d"),
             (0.1, 100_003, "f"), (14.1, 20_000, "d"), (0.7, 70_000, "e")]  # fmt: skip


@pytest.mark.parametrize(("value", "count", "dtype"), CONSTANTS)
@pytest.mark.parametrize("norm", ["layer", "batch", "group", "instance"])
@pytest.mark.parametrize("eps", [1e-5, 1e-12])
def test_v20_constant_rows_and_columns_normalize_to_zero(norm, value, count, dtype, eps):
    norms = {
        "layer": (lambda x: tn.layer_norm(x, count, eps=eps), (2, count)),
        "batch": (lambda x: tn.batch_norm(x, eps=eps), (count, 2)),
        "group": (lambda x: tn.group_norm(x, 1, eps=eps), (2, count)),
        "instance": (lambda x: tn.instance_norm(x, eps=eps), (1, 2, count)),
    }
    function, shape = norms[norm]
    x = Tensor(np.full(shape, value, dtype), requires_grad=True)
    y = function(x)
    assert np.abs(y.data).max() <= 1e-6
    g = random(*shape).astype(dtype)
    axis = 0 if norm == "batch" else -1
    want = (g - g.mean(axis, keepdims=True, dtype=float)) / np.sqrt(eps)
    found = tn.grad(y, x, g)
    precision = {"e": 2e-3, "f": 1e-6, "d": 1e-12}[dtype]
    if np.abs(want).max() < np.finfo(dtype).max:
        assert_allclose(found.data, want, rtol=0, atol=precision * np.abs(want).max())


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_a_mean_is_right_to_the_last_place(dtype):
    x = (random(1000, seed=9) + 1e4).astype(dtype)
    exact = float(sum(map(Fraction, x.tolist())) / 1000)
    assert abs(float(tn.ops.mean(x)) - exact) <= np.spacing(np.asarray(exact, dtype))
    assert_array_equal(
        tn.ops.mean(np.array([[np.inf, 1], [np.nan, 1], [1, -np.inf]], dtype), 1), [np.inf, np.nan, -np.inf]
    )


# Edges.


def test_weights_of_counts_are_refused():
    with pytest.raises(TypeError, match="the gradient of weights= would be lost"):
        np.histogram([0.1, 0.7], weights=leaf(2))
    with pytest.raises(TypeError, match="no gradient here"):
        np.bincount([0, 1], weights=leaf(2))


def test_an_array_of_objects_is_refused_as_a_cast_too():
    for dtype in (object, "U4", "M8[s]"):
        with pytest.raises(TypeError, match="must hold numbers"):
            leaf(2).astype(dtype)


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_deviation_of_a_constant_has_gradient_zero(create_graph):
    """As PyTorch's: it is the length of the deviations, and the shortest there."""
    x = Tensor(np.full((3, 2), 14.1), requires_grad=True)
    for y in (x.std(), np.std(x, 0), np.std(x[:1], axis=0), np.linalg.norm(x - x)):
        assert_array_equal(tn.grad(y, x, random(*y.shape), create_graph=create_graph).data, np.zeros((3, 2)))


def test_hvp_where_zero_has_an_exponent():
    """0 ** y is 0 for all positive y, and so are its derivatives."""
    assert_array_equal(tn.hvp(lambda y: (y * 0.0**y).sum(), np.array([2.0, 0.5]), np.array([1.0, -3.0])), [0, 0])
    y = Tensor(-1.0, requires_grad=True)
    with np.errstate(divide="ignore"):
        assert tn.grad(0.0**y, y).item() == -np.inf


NAN = np.array([1.0, np.nan, 3.0])


@pytest.mark.parametrize(
    ("function", "value", "slope"),
    [
        (lambda x: np.maximum(x, 2.0), [2, np.nan, 3], [0, 1, 1]),
        (lambda x: np.minimum(2.0, x), [1, np.nan, 2], [1, 1, 0]),
        (lambda x: np.maximum(x, np.array([np.nan, 0, 0])), [np.nan, np.nan, 3], [0, 1, 1]),
        (lambda x: np.maximum(x, x * 1), NAN, [1, 1, 1]),
        (lambda x: np.clip(x, 0, 2), [1, np.nan, 2], [1, 1, 0]),
        (tn.ops.relu, NAN, [1, 1, 1]),
        (lambda x: x.max(keepdims=True) * np.ones(3), [np.nan] * 3, None),
        (lambda x: np.clip(np.where(np.isnan(x), 0, x), 0, 2), [1, 0, 2], [1, 0, 0]),
    ],
)
def test_nan_stays_and_takes_the_cotangent_that_is_its_own(function, value, slope):
    x, g = Tensor(NAN, requires_grad=True), random(3)
    y = function(x)
    assert_array_equal(y.data, value)
    want = g * slope if slope is not None else [0, g.sum(), 0]
    assert_allclose(tn.grad(y, x, g).data, want, rtol=1e-15)


def test_a_reduction_gives_the_cotangent_to_its_nans():
    x = Tensor([[1.0, np.nan, np.nan], [1.0, 2.0, 2.0]], requires_grad=True)
    assert_array_equal(tn.grad(x.max(1), x, [3.0, 5.0]).data, [[0, 1.5, 1.5], [0, 2.5, 2.5]])


def test_clip_keeps_integers():
    x = Tensor([1, 5, 9])
    for bounds in ((2, None), (None, 6), (2, 6), (None, None)):
        found = np.clip(x, *bounds)
        assert found.dtype == np.int64
        # Without bounds, np.clip of an array is an error before NumPy 2.1.
        assert_array_equal(found.data, x.data if bounds == (None, None) else np.clip(x.data, *bounds))


@pytest.mark.parametrize("many", [4])
def test_threads_that_share_a_leaf_lose_nothing(many):
    x, calls = leaf(), 2000
    go = threading.Barrier(many)

    def work():
        go.wait()
        for _ in range(calls):
            (x * 3.0).backward()

    threads = [threading.Thread(target=work) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert x.grad.item() == 3 * many * calls
