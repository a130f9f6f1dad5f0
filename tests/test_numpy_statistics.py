"""Products at zeros, order statistics, averages and choices, beside NumPy and by definition."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from beside_numpy import leaf, random, same
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import Tensor, ops

inf, nan = math.inf, math.nan


# Products. The derivatives are those of polynomials, written out.


def product_of_others(x, *left_out):
    return math.prod(v for i, v in enumerate(x) if i not in left_out)


@pytest.mark.parametrize("x", [[2, -3, 0.5, 4], [2, 0, 0.5, 4], [0, 2, 0, 3], [0, 0, 0, 1], [-0.0, 5], [3], [0], []])
def test_products_are_exact_at_zeros_to_second_order(x):
    x = leaf(np.array(x, float))
    y = np.prod(x)
    assert y.item() == np.prod(x.data)
    slope = tn.grad(y, x, 1.5, create_graph=True)
    assert_array_equal(slope.data, [1.5 * product_of_others(x.data, i) for i in range(x.size)])
    v = random(x.size)
    hessian = [[0 if i == j else 1.5 * product_of_others(x.data, i, j) for j in range(x.size)] for i in range(x.size)]
    found = tn.grad(slope, x, v, create_graph=True)
    assert_allclose(found.data, np.reshape(hessian, (x.size, x.size)) @ v, rtol=1e-14)
    if x.size == 4:
        third = tn.grad(found, x, v).data
        pairs = list(itertools.permutations(range(4), 2))
        want = [sum(1.5 * v[i] * v[j] * product_of_others(x.data, i, j, k) for i, j in pairs if k not in (i, j))
                for k in range(4)]  # fmt: skip
        assert_allclose(third, want, rtol=1e-14)


@pytest.mark.parametrize("x", [[2, -3, 0.5, 4, 7], [2, 0, 0.5, 4, 0], [0, 0, 3, 2, 1], [3], []])
def test_running_products_are_exact_at_zeros_to_second_order(x):
    x, n = leaf(np.array(x, float)), len(x)
    y = np.cumprod(x)
    assert_array_equal(y.data, np.cumprod(x.data))
    g, v = random(n), random(n, seed=6)
    slope = tn.grad(y, x, g, create_graph=True)
    first = [sum(g[i] * product_of_others(x.data[: i + 1], k) for i in range(k, n)) for k in range(n)]
    assert_allclose(slope.data, first, rtol=1e-14, atol=1e-14)
    second = [sum(v[j] * g[i] * product_of_others(x.data[: i + 1], k, j) for j in range(n) if j != k
                  for i in range(max(k, j), n)) for k in range(n)]  # fmt: skip
    assert_allclose(tn.grad(slope, x, v).data, second, rtol=1e-14, atol=1e-14)


def test_products_neither_overflow_nor_vanish_on_the_way_back():
    x = leaf([1e200, 1e-200, 1e150, 1e-150])
    assert_allclose(tn.grad(np.prod(x), x).data, 1 / x.data, rtol=1e-14)
    half = leaf(np.full((3, 5), 2.0, np.float16))
    assert_array_equal(tn.grad(np.prod(half, axis=1), half, np.ones(3)).data, np.full((3, 5), 16, np.float16))


def test_a_running_product_is_quick_and_takes_little_memory():
    x = leaf(1 + 1e-5 * random(20_000))
    (slope,) = tn.grad([np.cumprod(x)], [x], [np.ones(x.size)])
    assert_allclose(slope.data[0] * x.data[0], np.cumprod(x.data).sum(), rtol=1e-11)


# Order statistics.


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_sort_returns_each_cotangent_to_its_place(axis):
    x = random(3, 4, 2)
    gradient, g = same(partial(np.sort, axis=axis), x)
    flat = x.ravel() if axis is None else x
    order = np.argsort(flat, axis=axis or 0 if axis is None else axis)
    want = np.empty(flat.shape)
    np.put_along_axis(want, order, g, axis or 0 if axis is None else axis)
    assert_array_equal(gradient, want.reshape(x.shape))


def test_equal_elements_and_nan_keep_their_order():
    gradient, g = same(np.sort, [2, nan, 1, 2, -0.0, 1, 0.0])
    assert_array_equal(gradient, g[[4, 6, 2, 5, 0, 3, 1]])
    many = np.random.default_rng(3).integers(0, 4, 300).astype(float)
    gradient, g = same(np.sort, many)
    assert_array_equal(gradient[np.argsort(many, kind="stable")], g)


@pytest.mark.parametrize("kth", [0, 4, -1, (2, 6)])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_partition_is_numpys_to_the_last_place(kth, axis):
    """Also where the order is left open: a check that compares with NumPy's own must not depend on the processor."""
    for x in (random(20, 19), np.random.default_rng(2).integers(0, 5, (20, 19)).astype(float)):
        gradient, g = same(partial(np.partition, kth=kth, axis=axis), x)
        assert_allclose(np.sum(gradient * x), np.sum(g * np.partition(x, kth, axis)), rtol=1e-12)
    with pytest.raises(ValueError, match="out of bounds"):
        np.partition(leaf(x), 400, axis=axis)


METHODS = [
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull",
    "linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest",
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("q", [0.3, 0, 1, 0.5, [0.1, 0.95], [[0.2, 0.25], [1, 0.75]]], ids=str)
@pytest.mark.parametrize("axis", [None, 1, (2, 0), -1])
def test_quantiles_are_numpys_and_their_gradients_the_weights(method, q, axis):
    x, v = random(3, 4, 2), random(3, 4, 2, seed=6)
    for keepdims in (False, True):
        for function, share in ((np.quantile, q), (np.percentile, np.multiply(q, 100.0))):
            call = partial(function, q=share, axis=axis, method=method, keepdims=keepdims)
            gradient, g = same(call, x)
            # Linear as long as no element passes another.
            h = 1e-6
            slope = np.sum(g * (call(x + h * v) - call(x - h * v))) / (2 * h)
            assert_allclose(np.sum(gradient * v), slope, rtol=1e-8, atol=1e-8)


def test_the_dtype_of_quantiles_is_numpys():
    for dtype, q in itertools.product([np.float16, np.float32, np.float64], [0.4, 1, [0.4]]):
        for method in ("linear", "lower"):
            same(partial(np.quantile, q=q, axis=0, method=method), [[1, 2], [4, 3], [2, 8]], dtype)
    x = Tensor(np.ones(3, np.float32))
    assert np.quantile(x, np.float64(0.3)).dtype == np.float32  # NumPy's scalars are as weak as Python's here
    assert np.quantile(Tensor(np.ones(70_000, np.float16)), 0.3).item() == 1


def test_quantiles_outside_and_of_nothing_are_errors():
    x = leaf(random(3))
    with pytest.raises(ValueError, match="range"):
        np.quantile(x, 1.5)
    with pytest.raises(ValueError, match="method"):
        np.quantile(x, 0.5, method="nonsense")
    with pytest.raises(TypeError, match=r"np\.quantile.*weights"):
        np.quantile(x, 0.5, weights=[1, 2, 3], method="inverted_cdf")
    for function in (np.quantile, np.percentile):
        for values in (x, x.data):
            with pytest.raises(TypeError, match="no gradient with respect to q"):
                function(values, leaf(0.5))
    for function in (np.median, lambda x: np.quantile(x, 0.5)):
        with pytest.raises(ValueError, match="zero elements"):
            function(leaf(np.zeros((3, 0))))


@pytest.mark.parametrize("axis", [None, 0, (0, 1), -1])
@pytest.mark.parametrize("shape", [(3, 4, 2), (3, 3, 1)])
def test_the_median_is_the_middle_or_the_mean_of_two(axis, shape):
    x = random(*shape)
    for keepdims in (False, True):
        gradient, g = same(partial(np.median, axis=axis, keepdims=keepdims), x)
        assert_allclose(gradient.sum(), g.sum(), rtol=1e-14)
        shares = gradient / np.reshape(g, np.median(x, axis=axis, keepdims=True).shape)
        assert set(shares.ravel().round(12)) <= {0, 0.5, 1}


def test_nan_wins_in_its_slice_and_infinities_are_elements():
    x = [[1, nan, 3], [4, 5, 6], [inf, inf, -1], [-inf, 2, inf]]
    for function in (np.median, lambda x, **axis: np.quantile(x, 0.5, method="lower", **axis)):
        same(partial(function, axis=1), x)
        same(partial(function, axis=0), x)
    gradient, g = same(partial(np.median, axis=1), x)
    assert_array_equal(gradient[0], [0, g[0], 0])
    same(np.median, [inf, inf, 1, 2])
    assert np.quantile(Tensor([1, inf]), 0).item() == 1  # NumPy's is NaN: inf times 0


def test_ptp_is_the_largest_less_the_smallest():
    gradient, g = same(partial(np.ptp, axis=1, keepdims=True), [[1, 5, 3], [2, 2, 7]])
    assert_array_equal(gradient / g, [[-1, 1, 0], [-0.5, -0.5, 1]])


# Averages.


def test_average_takes_weights_of_the_whole_shape_and_of_axes():
    x, w = random(2, 3, 4), np.random.default_rng(1).uniform(0.5, 2, (2, 3, 4))
    for axis, weights in [(None, w), (1, w), (1, w[0, :, 0]), ((2, 0), w[:, 0].T), ((0, 2), w[:, 0]), (-1, w[0, 0])]:
        for keepdims in (False, True):
            call = partial(np.average, axis=axis, keepdims=keepdims)
            t, u = leaf(x), leaf(weights)
            y = call(t, weights=u)
            assert_allclose(y.data, call(x, weights=weights), rtol=1e-14)
            g, v, h = random(*y.shape, seed=2), random(*weights.shape, seed=3), 1e-6
            by_weights = tn.grad(y, u, g).data
            slope = np.sum(g * (call(x, weights=weights + h * v) - call(x, weights=weights - h * v))) / (2 * h)
            assert_allclose(np.sum(by_weights * v), slope, rtol=1e-7, atol=1e-8)
            gradient, g = same(partial(call, weights=weights), x)
            assert_allclose(gradient.sum(), g.sum(), rtol=1e-13)


def test_average_returns_the_sum_of_weights_and_keeps_the_dtype():
    x = leaf(np.float32([[1, 2], [3, 5]]))
    for weights in (None, np.float32([[1, 2], [3, 4]])):
        found = np.average(x, axis=1, weights=weights, returned=True)
        for got, want in zip(found, np.average(x.data, axis=1, weights=weights, returned=True), strict=True):
            assert (got.shape, got.dtype) == (want.shape, np.float32)
            assert_array_equal(getattr(got, "data", got), want)
    with pytest.raises(ZeroDivisionError):
        np.average(x, axis=0, weights=[1, -1])
    with pytest.raises(ValueError, match=r"weights of shape \(3,\)"):
        np.average(x, axis=0, weights=[1, 2, 3])


# Other choices.


def test_nan_to_num_puts_constants():
    x = [nan, inf, -inf, 2]
    for dtype in (np.float16, np.float32, np.float64):
        gradient, g = same(np.nan_to_num, x, dtype)
        assert_array_equal(gradient, [0, 0, 0, g[3]])
        same(lambda x: np.nan_to_num(x, nan=1.5, posinf=7.0, neginf=-3.0), x, dtype)
    assert_array_equal(np.nan_to_num(Tensor([1, 2])).data, [1, 2])


def test_select_takes_the_first_that_holds():
    x, y = leaf(random(2, 3), dtype=np.float32), leaf(random(3, seed=9), dtype=np.float32)
    conditions = [x > 0.5, np.array([True, False, True]), x < -0.5]
    for default in (0, 1.5):
        z = np.select(conditions, [x * y, y, -x], default)
        want = np.select(conditions, [x.data * y.data, y.data, -x.data], default)
        assert z.dtype == np.float32
        assert_array_equal(z.data, want)
    g = random(2, 3, seed=4)
    first, second = x.data > 0.5, ~(x.data > 0.5) & [True, False, True]
    third = ~first & ~second & (x.data < -0.5)
    by_x, by_y = tn.grad(z, [x, y], g)
    assert_allclose(by_x.data, np.where(first, g * y.data, np.where(third, -g, 0)), rtol=1e-6)
    assert_allclose(by_y.data, np.where(first, g * x.data, np.where(second, g, 0)).sum(0), rtol=1e-5)
    with pytest.raises(ValueError, match="zip"):
        np.select([x > 0], [x, y])


def test_the_functions_are_public_and_keep_arrays_plain():
    x = random(3, 4)
    for name in ("prod", "cumprod", "sort", "median", "ptp", "average", "nan_to_num"):
        assert isinstance(getattr(ops, name)(x), np.ndarray | np.generic)
        assert_allclose(getattr(ops, name)(x), getattr(np, name)(x), rtol=1e-14)
    for call in (
        lambda m: m.quantile(x, 0.3, axis=1),
        lambda m: m.var(x, where=x > 0, ddof=1),
        lambda m: m.max(x, axis=0, where=x > 0, initial=-1),
        lambda m: m.mean(x, axis=1, where=x < 3),
    ):
        assert isinstance(call(ops), np.ndarray | np.generic)
        assert_allclose(call(ops), call(np), rtol=1e-14)
    single = x.astype(np.float32)
    for y in (ops.var(single, ddof=1), ops.var(single, where=single > 0), ops.average(single), ops.prod(single)):
        assert y.dtype == np.float32
