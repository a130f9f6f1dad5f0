"""The conventions at kinks and edges, row by row, and the composites where naive formulas overflow."""

import math
import sys

import mpmath
import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import Tensor, ops

inf, nan = math.inf, math.nan


def random(shape, low=-2.0, seed=8):
    return np.random.default_rng(seed).uniform(low, 2, shape)


def slopes(function, *inputs):
    """The value and, for a random cotangent, each gradient divided by it, the same in both modes."""
    xs = [Tensor(x, requires_grad=True, dtype=np.float64) for x in inputs]
    with np.errstate(all="ignore"):
        y = function(*xs)
    g = random(y.shape, 0.5)
    y.backward(g)
    for x, recorded in zip(xs, tn.grad(y, xs, g, create_graph=True), strict=True):
        np.testing.assert_array_equal(recorded.data, x.grad.data)
    return y.data, *(x.grad.data / g for x in xs)


ELEMENTWISE = {
    # name: function, inputs, value, slope for each input
    "relu at 0": (ops.relu, [[-1, -0.0, 0, 1]], [0, 0, 0, 1], [[0, 0, 0, 1]]),
    "relu of NaN": (ops.relu, [[nan]], [nan], [[1]]),
    "leaky_relu at 0": (ops.leaky_relu, [[-1, 0, 1]], [-0.01, 0, 1], [[0.01, 0.01, 1]]),
    "abs at 0": (abs, [[-1, 0, 1]], [1, 0, 1], [[-1, 0, 1]]),
    "sign at 0": (np.sign, [[-1, 0, 1]], [-1, 0, 1], [[0, 0, 0]]),
    "maximum of equals": (np.maximum, [[1, 2, 3], [2, 2, 2]], [2, 2, 3], [[0, 0.5, 1], [1, 0.5, 0]]),
    "minimum of equals": (np.minimum, [[1, 2, 3], [2, 2, 2]], [1, 2, 2], [[1, 0.5, 0], [0, 0.5, 1]]),
    "maximum of equals, constant": (lambda x: np.maximum(x, 2), [[1, 2, 3]], [2, 2, 3], [[0, 0.5, 1]]),
    "clip at a bound": (lambda x: np.clip(x, -1, 1), [[-2, -1, 0, 1, 2]], [-1, -1, 0, 1, 1], [[0, 1, 1, 1, 0]]),
    "sqrt at 0": (np.sqrt, [[0, 4]], [0, 2], [[inf, 0.25]]),
    "sqrt at 0 times 0 is NaN": (lambda x: np.sqrt(x * 0), [[1.0]], [0], [[nan]]),
    "rsqrt at 0": (ops.rsqrt, [[0, 4]], [inf, 0.5], [[-inf, -0.0625]]),
    "x ** 0": (lambda x: x**0, [[-1, 0, 2]], [1, 1, 1], [[0, 0, 0]]),
    "x ** 1 at 0": (lambda x: x**1, [[0, 2]], [0, 2], [[1, 1]]),
    "0 ** 2": (lambda x: x**2, [[0, 3]], [0, 9], [[0, 6]]),
    "0 ** 0.5": (lambda x: x**0.5, [[0, 4]], [0, 2], [[inf, 0.25]]),
    "negative base, constant exponent": (lambda x: x**3, [[-2.0]], [-8], [[12]]),
    "0 ** b": (np.power, [[0, 0, 0], [0, 1, 2]], [1, 0, 0], [[0, 1, 0], [0, 0, 0]]),
    "1 ** b": (lambda b: 1**b, [[0, 2]], [1, 1], [[0, 0]]),
    "0 ** b by b, constant base": (lambda b: 0**b, [[0, 1, 2]], [1, 0, 0], [[0, 0, 0]]),
    "negative base, Tensor exponent": (np.power, [[-2, -8], [2, 1 / 3]], [4, nan], [[-4, nan], [nan, nan]]),
    "where": (lambda a, b: np.where([True, False], a, b), [[1, 2], [3, 4]], [1, 4], [[1, 0], [0, 1]]),
    "where keeps NaN made inside": (lambda x: np.where(x > 0, np.sqrt(x), 0), [[0, 4]], [0, 2], [[nan, 0.25]]),
    "double where": (
        lambda x: np.where(x > 0, np.sqrt(np.where(x > 0, x, 1)), 0), [[0, 4]], [0, 2], [[0, 0.25]],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "inputs", "value", "slope"), ELEMENTWISE.values(), ids=list(ELEMENTWISE))
def test_elementwise_convention(function, inputs, value, slope):
    found = slopes(function, *inputs)
    for got, want in zip(found, (value, *slope), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-15)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_higher_derivatives_of_powers_at_0(exponent, as_tensor):
    """The k-th derivative of x**n at 0 is n! for k = n and 0 otherwise, with no 0 * inf on the way."""
    x = Tensor([0.0, 1.0], requires_grad=True)
    y = x ** (Tensor([exponent, exponent], dtype=np.float64) if as_tensor else exponent)
    for order in range(1, 5):
        y = tn.grad(y, x, [1.0, 1.0], create_graph=True)
        at_0 = math.factorial(exponent) if order == exponent else 0
        np.testing.assert_array_equal(y.data, [at_0, math.perm(exponent, order)])


def test_mixed_derivative_of_a_power_at_exponent_0():
    """d/db d/da a**b = a**(b - 1) (1 + b log a), which is 1/a at b = 0."""
    a, b = (Tensor([value], requires_grad=True) for value in (2.5, 0.0))
    by_a = tn.grad(a**b, a, [3.0], create_graph=True)
    np.testing.assert_allclose(tn.grad(by_a, b, [0.7]).data, [3.0 * 0.7 / 2.5], rtol=1e-15)
    by_b = tn.grad(a**b, b, [3.0], create_graph=True)
    np.testing.assert_allclose(tn.grad(by_b, a, [0.7]).data, [3.0 * 0.7 / 2.5], rtol=1e-15)


@pytest.mark.parametrize(("function", "sign"), [(np.max, 1), (np.min, -1)])
@pytest.mark.parametrize("create_graph", [False, True])
def test_ties_share_the_gradient_equally(function, sign, create_graph):
    x = Tensor(sign * np.array([[1.0, 3, 3], [2, 2, 2], [5, 4, 0]]), requires_grad=True)
    g = random(3)
    gradient = tn.grad(function(x, axis=1), x, g, create_graph=create_graph).data
    np.testing.assert_allclose(gradient, g[:, None] * [[0, 1 / 2, 1 / 2], [1 / 3] * 3, [1, 0, 0]], rtol=1e-15)
    np.testing.assert_allclose(gradient.sum(1), g, rtol=1e-15)
    of_all = tn.grad(function(x), x, 2.5, create_graph=create_graph).data
    np.testing.assert_array_equal(of_all, 2.5 * (x.data == sign * 5))


@pytest.mark.parametrize("function", [np.max, np.min])
@pytest.mark.parametrize("create_graph", [False, True])
def test_nan_stays_in_its_slice(function, create_graph):
    x = Tensor([[1.0, nan, 2], [3, 5, 4]], requires_grad=True)
    y = function(x, axis=1)
    np.testing.assert_array_equal(y.data, function(x.data, axis=1))
    g = random(2)
    gradient = tn.grad(y, x, g, create_graph=create_graph).data
    np.testing.assert_array_equal(gradient[0], [0, g[0], 0])
    np.testing.assert_array_equal(gradient[1], g[1] * (x.data[1] == y.data[1]))


@pytest.mark.parametrize("spread", [np.var, np.std])
def test_the_spread_of_a_constant_has_gradient_0(spread):
    value, slope = slopes(lambda x: spread(x, 0, keepdims=True), np.full((4, 3), 2.0))
    np.testing.assert_array_equal(value, np.zeros((1, 3)))
    np.testing.assert_array_equal(slope, np.zeros((4, 3)))


def test_sum_over_zero_elements_is_0():
    x = Tensor(np.ones((2, 0)), requires_grad=True)
    y = x.sum(1)
    np.testing.assert_array_equal(y.data, [0, 0])
    y.backward(random(2))
    assert x.grad.shape == (2, 0)


@pytest.mark.parametrize(("shape", "axis"), [((2, 0), 1), ((2, 0), 0), ((0, 3), -1), ((0,), 0), ((2, 0, 0), -1)])
def test_softmax_of_nothing_is_empty_and_logsumexp_minus_infinity(shape, axis):
    """As sums are 0 over no elements; NumPy's ``logaddexp.reduce`` says so, too."""
    x = Tensor(np.ones(shape), requires_grad=True, dtype=np.float32)
    with np.errstate(divide="ignore"):
        y, *empty = (f(x, axis=axis) for f in (np.logaddexp.reduce, ops.softmax, ops.log_softmax))
    for z in empty:
        assert (z.shape, z.dtype, tn.grad(z, x, random(shape)).shape) == (shape, np.float32, shape)
    want = np.logaddexp.reduce(x.data, axis=axis)
    np.testing.assert_array_equal(y.data, want, strict=True)
    assert tn.grad(y, x, np.ones(y.shape)).shape == shape


@pytest.mark.parametrize("function", [np.mean, np.var, np.std, np.max, np.min])
def test_reductions_over_zero_elements_are_errors(function):
    x = Tensor(np.ones((2, 0)), requires_grad=True)
    with pytest.raises(ValueError, match="zero elements"):
        function(x, axis=1)
    with pytest.raises(ValueError, match="zero elements"):
        function(x)
    assert function(x, axis=0).shape == (0,)


def test_clip_bounds_are_constants():
    x, bound = Tensor([1.0, 3.0], requires_grad=True), Tensor(2.0, requires_grad=True)
    for bounds in ((None, bound), (bound, None), (0, bound)):
        with pytest.raises(TypeError, match=r"np\.minimum and np\.maximum"):
            np.clip(x, *bounds)
    np.testing.assert_array_equal(np.clip(x, None, bound.detach()).data, [1, 2])


# Where naive formulas overflow: x is so large that exp(x) is inf, and the answer is still a number.

LARGE = np.array([-1e4, -50.0, -0.0, 0.0, 50.0, 1e4])


def _sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def _gelu_tanh(x):
    return x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)))


@pytest.mark.parametrize(
    ("function", "definition"),
    [
        (ops.sigmoid, _sigmoid),
        (np.tanh, mpmath.tanh),
        (ops.softplus, lambda x: mpmath.log(1 + mpmath.exp(x))),
        (ops.silu, lambda x: x * _sigmoid(x)),
        (lambda x: ops.gelu(x, approximate="tanh"), _gelu_tanh),
    ],
    ids=["sigmoid", "tanh", "softplus", "silu", "gelu tanh"],
)
def test_activations_are_stable(function, definition):
    with mpmath.workdps(60):
        exact = [[float(mpmath.diff(definition, mpmath.mpf(x), order)) for x in LARGE] for order in range(3)]
    x = Tensor(LARGE, requires_grad=True)
    g = random(x.shape, 0.5)
    y = function(x)
    slope = tn.grad(y, x, g, create_graph=True)
    v = random(x.shape, 0.5, seed=9)
    curvature = tn.grad(slope, x, v)
    # 1 + tanh(u) and y * (1 - y) round to a multiple of 1e-16 where they are nearly 0, and meet an x of 50 there.
    for got, want in zip((y.data, slope.data / g, curvature.data / (g * v)), exact, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-13)


def test_softmax_is_stable():
    x = Tensor([[1e4, -1e4, 1e4], [-1e4, -1e4 - 1, -3e4]], requires_grad=True)
    e = math.exp(-1)
    probabilities = np.array([[0.5, 0, 0.5], [1 / (1 + e), e / (1 + e), 0]])
    logarithms = [[-math.log(2), -2e4 - math.log(2), -math.log(2)]]
    logarithms += [[-math.log1p(e), -1 - math.log1p(e), -2e4 - math.log1p(e)]]
    g = random(x.shape)
    # The shift by 1e4 leaves 1e-12 of an absolute error in the exponent, which is a relative one of the result.
    for axis_first in (False, True):
        z = x.T if axis_first else x
        turn = np.transpose if axis_first else np.asarray
        axis = 0 if axis_first else 1
        y, log_y, total = (f(z, axis=axis) for f in (ops.softmax, ops.log_softmax, ops.logsumexp))
        np.testing.assert_allclose(y.data, turn(probabilities), rtol=1e-11)
        np.testing.assert_allclose(log_y.data, turn(logarithms), rtol=1e-11)
        np.testing.assert_allclose(total.data, [1e4 + math.log(2), -1e4 + math.log1p(e)], rtol=1e-15)
        by_y, by_log, by_total = (tn.grad(f, x, c).data for f, c in ((y, turn(g)), (log_y, turn(g)), (total, g[:, 0])))
        mean = (g * probabilities).sum(1, keepdims=True)
        np.testing.assert_allclose(by_y, probabilities * (g - mean), rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(by_log, g - probabilities * g.sum(1, keepdims=True), rtol=1e-11)
        np.testing.assert_allclose(by_total, probabilities * g[:, :1], rtol=1e-11)


def test_logsumexp_of_infinities():
    np.testing.assert_array_equal(ops.logsumexp(Tensor([-inf, 0.0])).data, 0)
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(ops.logsumexp(Tensor([-inf, -inf])).data, -inf)


def test_var_does_not_cancel():
    """The mean of squared deviations: E[x^2] - E[x]^2 would lose every digit at a mean of 1e8."""
    deviations = random(50).round(3)
    x = Tensor(1e8 + deviations, requires_grad=True)
    exact = (1e8 + deviations) - 1e8  # what float64 keeps of the deviations
    y = np.var(x)
    # The mean of 50 numbers near 1e8 is known to 1e-8, so are the deviations, of size 1.
    np.testing.assert_allclose(y.data, np.var(exact), rtol=1e-7)
    y.backward(1.7)
    np.testing.assert_allclose(x.grad.data, 1.7 * 2 / 50 * (exact - exact.mean()), atol=1e-8)


def test_exact_gelu_without_scipy_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(ImportError, match="tanh"):
        ops.gelu(Tensor([1.0]))


@pytest.mark.parametrize(
    ("split", "sizes"), [(3, [2, 2, 2]), ([1, 4], [1, 3, 2]), ([2, 2, 9], [2, 0, 4, 0]), ([4, 2], [4, 0, 4])]
)
def test_split_and_concatenate(split, sizes):
    """Pieces as NumPy cuts them; joined again they are the whole, and so is the gradient."""
    x = Tensor(random((2, 6)), requires_grad=True)
    pieces = np.split(x, split, axis=1)
    for piece, want in zip(pieces, np.split(x.data, split, axis=1), strict=True):
        np.testing.assert_array_equal(piece.data, want)
    assert [piece.shape[1] for piece in pieces] == sizes
    if sum(sizes) == 6:
        g = random((2, 6))
        np.testing.assert_array_equal(tn.grad(np.concatenate(pieces, axis=1), x, g).data, g)
