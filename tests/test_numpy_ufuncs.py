"""NumPy's other elementwise functions where it matters: kinks, ties, infinities, large and small numbers, dtypes."""

import math

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import Tensor, ops

inf, nan, pi = math.inf, math.nan, math.pi


def slopes(function, *inputs):
    """The value and, for a random cotangent, each gradient divided by it, the same in both modes."""
    xs = [Tensor(x, requires_grad=True, dtype=np.float64) for x in inputs]
    y = function(*xs)
    g = np.random.default_rng(8).uniform(0.5, 2, y.shape)
    y.backward(g)
    for x, recorded in zip(xs, tn.grad(y, xs, g, create_graph=True), strict=True):
        assert_array_equal(recorded.data, x.grad.data)
    return y.data, *(x.grad.data / g for x in xs)


half = math.sqrt(0.5)
POINTS = {
    # name: function, inputs, slope for each input; the value is NumPy's
    "hypot": (np.hypot, [[1e200, -1e200, 3e-200, 0], [1e200, 1e200, 4e-200, 0]],
              [[half, -half, 0.6, 0], [half, half, 0.8, 0]]),
    "hypot of one": (lambda x: np.hypot(x, 1e200), [[1e200, 0]], [[half, 0]]),
    "cbrt": (np.cbrt, [[-8, 27, 1e-300, 0]], [[1 / 12, 1 / 27, 1e200 / 3, inf]]),
    "logaddexp": (np.logaddexp, [[1e5, -1e5, 1e5, -inf, inf, -inf, 2], [1e5, 1e5, 0, -inf, inf, 3, -inf]],
                  [[0.5, 0, 1, 0.5, 0.5, 0, 1], [0.5, 1, 0, 0.5, 0.5, 1, 0]]),
    "logaddexp2": (np.logaddexp2, [[1e5, -1e5, 1e5, -inf, 0], [1e5, 1e5, 0, -inf, 1]],
                   [[0.5, 0, 1, 0.5, 1 / 3], [0.5, 1, 0, 0.5, 2 / 3]]),
    "logaddexp of one": (lambda x: np.logaddexp(-inf, x), [[-inf, 0]], [[0.5, 1]]),
    "arctan2 in the quadrants": (np.arctan2, [[1, 1, -1, -1], [2, -2, -2, 2]],
                                 [[0.4, -0.4, -0.4, 0.4], [-0.2, -0.2, 0.2, 0.2]]),
    "arctan2 on the axes": (np.arctan2, [[0, -0.0, 3, -3, 0, -0.0, 0], [2, 2, 0, 0, -2, -2, 0]],
                            [[0.5, 0.5, 0, 0, -0.5, -0.5, 0], [0, 0, -1 / 3, 1 / 3, 0, 0, 0]]),
    "arctan2 far out and near 0": (np.arctan2, [[1e200, 1e-200], [1e200, 1e-200]],
                                   [[5e-201, 5e199], [-5e-201, -5e199]]),
    "arcsinh": (np.arcsinh, [[0, -1e200, 1e200]], [[1, 1e-200, 1e-200]]),
    "arccosh": (np.arccosh, [[1, 1e200]], [[inf, 1e-200]]),
    "arcsin": (np.arcsin, [[1, -1, 0]], [[inf, inf, 1]]),
    "sinh": (np.sinh, [[709, -709, 1e-300]], [[np.cosh(709), np.cosh(709), 1]]),
    "sinc": (np.sinc, [[0, 1, -2, 0.5, 1e200]], [[0, -1, -0.5, -4 / pi, np.cos(pi * 1e200) / 1e200]]),
    "remainder": (np.remainder, [[5, -5, 5, -5, 1, 6, 1e20], [3, 3, -3, -3, 0.1, 3, 3]],
                  [[1] * 7, [-1, 2, 2, -1, -9, -2, -(1e20 // 3)]]),
    "mod by a number": (lambda x: np.mod(x, 0.7), [[2, -2]], [[1, 1]]),
    "mod of a number": (lambda b: np.mod(2.0, b), [[0.7, -0.7]], [[-2, 3]]),
    "fmod": (np.fmod, [[5, -5, 5, -5, 0], [3, 3, -3, -3, 2]], [[1] * 5, [-1, 1, 1, -1, 0]]),
    "fmax": (np.fmax, [[1, 2, 3, nan, 1], [2, 2, 2, 4, nan]], [[0, 0.5, 1, 0, 1], [1, 0.5, 0, 1, 0]]),
    "fmin": (np.fmin, [[1, 2, 3, nan, 1], [2, 2, 2, 4, nan]], [[1, 0.5, 0, 0, 1], [0, 0.5, 1, 1, 0]]),
    "fmax of one": (lambda x: np.fmax(x, 2), [[1, 2, nan]], [[0, 0.5, 0]]),
    "fabs": (np.fabs, [[-2, 0, 2]], [[-1, 0, 1]]),
    "rad2deg": (np.rad2deg, [[pi, -1]], [[180 / pi, 180 / pi]]),
    "deg2rad": (np.deg2rad, [[180, -1]], [[pi / 180, pi / 180]]),
}  # fmt: skip


@pytest.mark.parametrize(("function", "inputs", "wanted"), POINTS.values(), ids=list(POINTS))
def test_values_and_slopes_at_special_points(function, inputs, wanted):
    with np.errstate(all="ignore"):
        value, *found = slopes(function, *inputs)
        assert_allclose(value, function(*map(np.array, inputs)), rtol=1e-14)
    for slope, want in zip(found, wanted, strict=True):
        assert_allclose(slope, want, rtol=1e-13, atol=1e-300)


def test_arctan2_has_the_sign_of_zero():
    y = np.arctan2(Tensor([0.0, -0.0]), Tensor([-1.0, -1.0]))
    assert_array_equal(y.data, [pi, -pi])


def derivatives(function, x, order):
    """A function of one number at a point, and its derivatives."""
    x = tn.tensor(x, requires_grad=True)
    found = [function(x)]
    for _ in range(order):
        found.append(tn.grad(found[-1], x, create_graph=True))
    return [y.item() for y in found]


@pytest.mark.parametrize("x", [0.0, 1e-9, -1e-3, 0.02, 0.159, 0.16, -0.7, 1.0, 3.3])
def test_sinc_is_right_near_zero_in_every_derivative(x):
    with mpmath.workdps(60):
        coefficients = [c * mpmath.factorial(k) for k, c in enumerate(mpmath.taylor(mpmath.sincpi, mpmath.mpf(x), 4))]
    assert_allclose(derivatives(np.sinc, x, 4), [float(c) for c in coefficients], rtol=1e-12, atol=1e-11)


def test_logaddexp_keeps_its_curvature_at_ties():
    for function, curvature in ((np.logaddexp, 0.25), (np.logaddexp2, 0.25 * math.log(2))):
        x, y = (tn.tensor(3.0, requires_grad=True) for _ in range(2))
        slope = tn.grad(function(x, y), x, create_graph=True)
        assert_allclose([g.item() for g in tn.grad(slope, [x, y])], [curvature, -curvature], rtol=1e-14)


def test_remainders_count_by_whole_numbers():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=3000) * 100, rng.normal(size=3000)
    for function, count in ((np.remainder, np.floor_divide(a, b)), (np.fmod, np.trunc(a / b))):
        _, by_a, by_b = slopes(function, a, b)
        assert_array_equal(by_a, 1)
        assert_allclose(by_b, -count, rtol=1e-14)


UNARY = ["tan", "sinh", "cosh", "arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "log2", "log10", "cbrt",
         "exp2", "reciprocal", "positive", "fabs", "sinc", "degrees", "radians", "deg2rad", "rad2deg"]  # fmt: skip
BINARY = ["logaddexp", "logaddexp2", "remainder", "mod", "fmod", "arctan2", "hypot", "fmax", "fmin",
          "float_power"]  # fmt: skip
COMPOSED = ["exp2", "sinc", "degrees", "radians", "deg2rad", "rad2deg", "float_power"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY + BINARY)
def test_values_and_dtypes_are_numpys(name, dtype):
    rng = np.random.default_rng(3)
    xs = [
        np.asarray(rng.normal(size=200) * 10.0 ** rng.integers(-3, 3, 200), dtype) for _ in range(1 + (name in BINARY))
    ]
    function = getattr(np, name)
    with np.errstate(all="ignore"):
        y, want = function(*map(Tensor, xs)), function(*xs)
    assert type(y) is Tensor
    assert y.dtype == want.dtype
    # A composition rounds more than once, of numbers as large as its operands or its result.
    within = 4 * np.finfo(dtype).eps if name in COMPOSED else 0
    large = np.maximum(np.abs(want), 1) if name == "sinc" else 0
    assert_allclose(y.data, want, rtol=within, atol=within * np.max(large))


@pytest.mark.parametrize("name", BINARY)
def test_what_stands_beside_a_tensor(name):
    function = getattr(np, name)
    x = Tensor(np.array([0.5, 2.5, 1.0], np.float32), requires_grad=True)
    for other in (
        2.0,
        2,
        np.float64(2),
        np.array(2.0),
        np.array([0.5, 1.5, -2.0]),
        np.float16([[1.5], [2.0]]),
        [1, 2, 4],
    ):
        for pair in ((x, other), (other, x)):
            y, want = function(*pair), function(*(np.asarray(getattr(p, "data", p)) for p in pair))
            scalar = np.ndim(other) == 0 and name != "float_power"
            assert y.dtype == (np.float32 if scalar else want.dtype)
            assert_allclose(y.data, want, rtol=1e-6)
            if y.requires_grad:
                assert tn.grad(y, x, np.ones(y.shape)).dtype == np.float32


def test_every_function_is_public_and_keeps_arrays_plain():
    for name in UNARY + BINARY:
        if name not in ("mod", "positive", "fabs", "deg2rad", "rad2deg"):
            x = np.full(3, 0.5 if name != "arccosh" else 1.5)
            y = getattr(ops, name)(*[x] * (1 + (name in BINARY)))
            assert type(y) is np.ndarray
