"""Reductions of some elements, in every dtype, along any axis, with any correction: as NumPy has them."""

import itertools
import math
import warnings
from functools import partial

import numpy as np
import pytest
from beside_numpy import leaf, random, same
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn

inf, nan = math.inf, math.nan

SOME = np.array([[True, False, True], [False, True, False]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1), np.array(1)], ids=str)
@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "max", "min"])
def test_where_leaves_out_what_is_no_number(name, axis, dtype):
    """A NaN that is left out is in neither the value nor the gradient, which is that of the others by themselves."""
    x = np.array([[3, nan, 1, 0.5], [nan, 2, 6, 0.25], [2, 5, -1, nan]])
    mask = ~np.isnan(x)
    extra = {"initial": 1.5} if name in ("max", "min") else {}
    for keepdims in (False, True):
        call = partial(getattr(np, name), axis=axis, keepdims=keepdims, where=mask, **extra)
        gradient, _ = same(call, x, dtype)
        assert_array_equal(gradient[~mask], 0)
        assert np.isfinite(gradient).all()
    some, others = leaf(x[0]), leaf(x[0][mask[0]])
    y, want = getattr(np, name)(some, where=mask[0], **extra), getattr(np, name)(others, **extra)
    assert_allclose(y.item(), want.item(), rtol=1e-14)
    assert_allclose(tn.grad(y, some).data[mask[0]], tn.grad(want, others).data, rtol=1e-14)


def test_masks_broadcast_and_initial_takes_part():
    x = random(2, 3)
    for mask in (SOME[0], SOME[:, :1], True, np.True_):
        for name, initial in itertools.product(["sum", "prod", "max", "min"], [0, 0.25, np.float32(-3)]):
            same(partial(getattr(np, name), axis=0, where=mask, initial=initial), x, np.float32)
    gradient, g = same(partial(np.max, axis=1, initial=2.0), [[1, 2], [3, 1]])
    assert_array_equal(gradient, [[0, g[0] / 2], [g[1], 0]])
    same(partial(np.max, axis=1, initial=2.0), np.zeros((3, 0)))
    same(lambda x: np.add.reduce(x, initial=2.0, where=SOME), x)
    same(lambda x: np.multiply.reduce(x, axis=1, where=SOME), x)
    same(lambda x: np.maximum.reduce(x, initial=0.5, where=SOME), x)
    same(lambda x: np.logaddexp.reduce(x, axis=1), x)
    same(np.logaddexp.reduce, x)
    with pytest.raises(ValueError, match=r"max with where= requires initial="):
        np.max(leaf(x), where=SOME)
    with pytest.raises(ValueError, match="more dimensions"):
        np.sum(leaf(x[0]), where=SOME)


def test_where_that_leaves_nothing_is_nan_with_a_warning():
    for function in (np.mean, np.var):
        with pytest.warns(RuntimeWarning):
            y = function(leaf(random(2, 3)), axis=1, where=[[True] * 3, [False] * 3])
        assert np.isnan(y.data[1])
        assert np.isfinite(y.data[0])


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("ddof", [3, 4, 10.5])
def test_no_degrees_of_freedom_left(name, ddof):
    """NumPy's values: inf, or NaN of equal elements, with a RuntimeWarning; never a negative variance."""
    x = np.array([[1, 2, 4], [5, 5, 5]])
    for dtype in (np.float16, np.float32, np.float64):
        for options in ({"ddof": ddof}, {"correction": ddof}, {"ddof": ddof, "where": np.True_}):
            with pytest.warns(RuntimeWarning):
                y = getattr(np, name)(leaf(x, dtype=dtype), axis=1, **options)
            assert y.dtype == dtype
            assert_array_equal(y.data, [inf, nan])


def test_correction_and_mean_are_numpys():
    x = random(3, 4)
    for name in ("var", "std"):
        first, _ = same(partial(getattr(np, name), axis=0, correction=1), x)
        second, _ = same(partial(getattr(np, name), axis=0, ddof=1), x)
        assert_array_equal(first, second)
        by_mean, _ = same(partial(getattr(np, name), axis=0, mean=np.mean(x, axis=0, keepdims=True)), x)
        plain, _ = same(partial(getattr(np, name), axis=0), x)
        assert_allclose(by_mean, plain, rtol=1e-13)
        same(partial(getattr(np, name), mean=0.5, where=x > 0), x)


@pytest.mark.parametrize("n", [2049, 70_000, 200_000])
def test_half_precision_counts_and_adds_up_in_single(n):
    x = np.where(np.arange(n) % 2, 300, -300).astype(np.float16)
    wide = leaf(x, dtype=np.float32)
    mask = np.arange(n) % 8 < 6
    for scale, options in ((0.01, {}), (0.01, {"ddof": 1}), (0.01, {"where": mask})):
        half = leaf(x)
        y, want = (np.var(t * scale, **options) for t in (half, wide))
        assert y.dtype == np.float16
        assert_allclose(y.item(), want.item(), rtol=2e-3)
    assert np.std(leaf(x)).item() == 300  # though the squares are too large for float16
    assert np.mean(leaf(x), where=x > 0).item() == 300
    g = tn.grad(np.std(half := leaf(x)), half).data
    assert g.dtype == np.float16
    assert_allclose(
        g.astype(float) * n, np.sign(x.astype(float)), rtol=0.5
    )  # of the size of float16's smallest numbers


@pytest.mark.parametrize(
    "name",
    [
        "sum",
        "mean",
        "var",
        "std",
        "max",
        "min",
        "prod",
        "ptp",
        "median",
        "nansum",
        "nanmean",
        "cumsum",
        "cumprod",
        "sort",
        "average",
    ],
)
def test_an_axis_is_what_numpy_takes(name):
    for axis in (np.array(1), np.int64(-1), np.array(0, np.uint8)):
        same(partial(getattr(np, name), axis=axis), random(2, 3))
    if name not in ("sort", "cumsum", "cumprod"):
        same(partial(getattr(np, name), axis=(np.int64(0), -1)), random(2, 3))
    with pytest.raises(np.exceptions.AxisError):
        getattr(np, name)(leaf(random(2, 3)), axis=np.array(2))


# Where some elements are no numbers.


@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_reductions_of_numbers_only(name, dtype):
    x = np.array([[3, nan, 1, 2], [nan, 2, 0.5, 8]])
    for axis, keepdims in itertools.product([None, 1, (0, 1)], [False, True]):
        gradient, _ = same(partial(getattr(np, name), axis=axis, keepdims=keepdims), x, dtype)
        assert_array_equal(gradient[np.isnan(x)], 0)
        assert np.isfinite(gradient).all()
    if name not in ("nanmax", "nanmin"):
        same(partial(getattr(np, name), axis=1, where=[True, True, False, True]), x, dtype)
    if name in ("nansum", "nanprod"):
        same(getattr(np, name), [nan, nan], dtype)
    elif name in ("nanmax", "nanmin"):
        assert np.isnan(getattr(np, name)(leaf([nan, nan])).item())
        same(getattr(np, name), [nan, -inf, inf], dtype)


def test_cumulative_sums_and_products_have_their_new_names():
    for name in ("cumulative_sum", "cumulative_prod"):
        if hasattr(np, name):
            same(partial(getattr(np, name), axis=1), random(2, 3))
            same(getattr(np, name), random(4))
            with pytest.raises(TypeError, match="include_initial"):
                getattr(np, name)(leaf(random(4)), include_initial=True)


@pytest.mark.parametrize("value", [14.1, 2023.7, 98765.4, 1 / 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mean_of_some_equal_values_is_that_value(value, dtype):
    """So what a mask leaves of a constant normalizes to 0, as the whole constant does."""
    rows = np.full((3, 107), value, dtype)
    rows[:, 100:] = [[np.nan], [np.inf], [0.0]]
    chosen = np.arange(107) < 100
    x = tn.Tensor(rows, requires_grad=True)
    mean, var = (f(x, axis=1, keepdims=True, where=chosen) for f in (np.mean, np.var))
    assert_array_equal(mean.data, rows[:, :1])
    assert_array_equal(var.data, 0)
    assert_array_equal(np.nanmean(x[:1], axis=1).data, rows[:1, 0])
    g = np.array([0.5, -2.0, 3.0], dtype)
    assert_allclose(tn.grad(mean[:, 0], x, g).data, np.where(chosen, g[:, None] / 100, 0), rtol=1e-6)
    infinite = np.mean(tn.Tensor([1.0, np.inf, 2.0]), where=[True, True, False])
    assert infinite.item() == np.inf


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("reduce", [np.sum, np.max, np.min, np.cumsum])
def test_a_number_has_the_axis_that_numpy_gives_it(reduce, axis):
    x = tn.tensor(2.5, requires_grad=True)
    y = reduce(x, axis=axis)
    assert_array_equal(y.data, reduce(x.data, axis=axis))
    assert tn.grad(y, x, np.full(y.shape, -0.7)).item() == -0.7
    with pytest.raises(np.exceptions.AxisError):
        reduce(x, axis=1)


@pytest.mark.parametrize("spread", [np.nanvar, np.nanstd])
@pytest.mark.parametrize("ddof", [0, 1, 2, 3, 5])
def test_what_no_number_is_left_over_for_is_nan(spread, ddof):
    rows = np.array([[1.0, nan, 4.0, 9.0], [nan, 2.0, nan, nan], [3.0, 5.0, nan, 4.0]])
    x = tn.Tensor(rows, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a division by zero, in NumPy and here
        for given in ({"ddof": ddof}, {"correction": ddof}):
            for axis, keepdims in ((1, False), (0, True), (None, False)):
                want = spread(rows, axis=axis, ddof=ddof, keepdims=keepdims)
                assert_allclose(spread(x, axis=axis, keepdims=keepdims, **given).data, want, rtol=1e-14)
