"""Gradients as people write them: each convention with a right gradient, which passes, and a wrong one, which fails."""

from itertools import product

import numpy as np
import pytest

import tinygrad_norm as tn
from tests.sampling import one_in
from tinygrad_norm import GradientMismatch
from tinygrad_norm.check import Verdict, inputs

RANDOM = np.random.default_rng(0)
X, W, B = RANDOM.normal(size=(4, 3)), RANDOM.normal(size=(3, 2)), RANDOM.normal(size=2)
LABELS = np.array([0, 2, 1, 2])


def names(report):
    return [argument.name for argument in report.arguments]


def passes(*arguments, **options):
    report = tn.check_backward(*arguments, seed=0, **options)
    assert report.verdict is Verdict.PASSED
    return names(report)


def fails(*arguments, **options):
    with pytest.raises(GradientMismatch) as error:
        tn.check_backward(*arguments, seed=0, **options)
    return error.value.report


def blamed(*arguments, **options):
    report = fails(*arguments, **options)
    assert report.verdict is Verdict.WRONG_VALUE
    return report.names[report.input]


# Functions.


def affine(x, w, b):
    return x @ w + b, (x, w)


def affine_backward(dout, cache, bias=1):
    x, w = cache
    return dout @ w.T, x.T @ dout, bias * dout.sum(axis=0)


@pytest.mark.parametrize("given", [(X, W, B), (inputs(x="n 3", w="3 c", b="c"),), (inputs("n d", "d c", "c"),)])
def test_a_forward_pass_that_returns_a_cache(given):
    assert passes(affine, affine_backward, *given, budget="quick") == ["x", "w", "b"]
    assert blamed(affine, lambda dout, cache: affine_backward(dout, cache, bias=2), *given, budget="quick") == "b"


def test_a_cache_of_one_input_is_told_by_what_is_returned_and_by_names():
    for forward in (lambda x: (np.tanh(x), x), lambda x: (np.tanh(x), {"x": x})):
        passes(forward, lambda dout, x: dout * (1 - np.tanh(x["x"] if isinstance(x, dict) else x) ** 2), X)
    passes(lambda x: (np.tanh(x), np.tanh(x)), lambda dout, cache: dout * (1 - cache * cache), X)
    passes(lambda x: (x * x, x * 3), lambda g, x: 2 * g[0] * x + 3 * g[1], X)
    passes(lambda x: (x * x, 2 * x), lambda g, u: g * u, X, cached=True)
    passes(lambda x: (x * x, 2 * x), lambda g, u: 2 * g[0] * u + 2 * g[1], X, cached=False)
    assert blamed(lambda x: (np.tanh(x), np.tanh(x)), lambda dout, cache: dout * cache, X) == "x"
    with pytest.raises(TypeError, match=r"returns 2 values, and backward takes 4: neither cotangents and inputs \(1\)"):
        tn.check_backward(lambda x: (x, x), lambda a, b, c, d: a, X)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, h, c, w, u, b):
    i, f, o, g = np.split(x @ w + h @ u + b, 4, axis=1)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    after = f * c + i * g
    return o * np.tanh(after), after, (x, h, c, w, u, i, f, o, g, after)


def lstm_step_backward(dh, dc, cache, through_h=1):
    x, h, c, w, u, i, f, o, g, after = cache
    t = np.tanh(after)
    dc = dc + through_h * dh * o * (1 - t * t)
    da = np.concatenate(
        [dc * g * i * (1 - i), dc * c * f * (1 - f), dh * t * o * (1 - o), dc * i * (1 - g * g)], axis=1
    )
    return da @ w.T, da @ u.T, dc * f, x.T @ da, h.T @ da, da.sum(axis=0)


STEP = inputs(x="n d", h="n m", c="n m", w="d 4m", u="m 4m", b="4m", edges=("zeros", "size 1"))


def test_an_lstm_step_with_two_outputs_and_a_cache():
    assert passes(lstm_step, lstm_step_backward, STEP, budget="quick") == ["x", "h", "c", "w", "u", "b"]
    wrong = lambda dh, dc, cache: lstm_step_backward(dh, dc, cache, through_h=0)  # noqa: E731
    assert blamed(lstm_step, wrong, STEP, budget="quick") == "x"
    # The cotangents in a tuple.
    passes(lstm_step, lambda dout, cache: lstm_step_backward(*dout, cache), STEP, budget="quick")


def test_several_outputs_without_a_cache():
    def halves(x, w):
        return x * w, {"sum": x.sum(axis=0), "how": "sum"}

    def backward(g, x, w, of_sum=1):
        product, sums = g
        return product * w + of_sum * sums["sum"], (product * x).sum(axis=0)

    passes(halves, backward, X, W[:, 0])
    assert blamed(halves, lambda g, x, w: backward(g, x, w, of_sum=0), X, W[:, 0]) == "x"
    passes(lambda a, b: (a * b, a + b), lambda g, h, a, b: (g * b + h, g * a + h), X, X + 1)
    assert blamed(lambda a, b: (a * b, a + b), lambda g, h, a, b: (g * b + h, g * a - h), X, X + 1) == "b"
    passes(lambda x: [x * 2, x * 3], lambda g, x: 2 * g[0] + 3 * g[1], X)


def softmax_loss(scores, labels):
    rows, n = np.arange(len(labels)), len(labels)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    d = p.copy()
    d[rows, labels] -= 1
    return -np.log(p[rows, labels]).mean(), d / n


POINTS = inputs(scores="n c", labels="n", domains={"labels": "labels:c"}, edges=("zeros", "constant"))


@pytest.mark.parametrize("given", [(X, LABELS), (X, LABELS.tolist()), (POINTS,)])
def test_a_loss_that_returns_its_gradient(given):
    assert passes(softmax_loss, None, *given, budget="quick") == ["scores"]
    summed = lambda scores, labels: (softmax_loss(scores, labels)[0], softmax_loss(scores, labels)[1] * 2)  # noqa: E731
    assert blamed(summed, None, *given, budget="quick") == "scores"
    regression = lambda w, x, y: (np.mean((x @ w - y) ** 2), 2 * x.T @ (x @ w - y) / y.size)  # noqa: E731
    assert passes(regression, None, W, X, X @ W + 1, wrt="w") == ["w"]
    assert "expected 3 gradients, one for each input, got 1 (wrt=" in fails(regression, None, W, X, X @ W + 1).message
    with pytest.raises(TypeError, match=r"must return \(loss, gradients\)"):
        tn.check_backward(lambda x: (x, x), None, X)


def test_integers_bools_and_numbers_stay_what_they_are():
    kinds = []

    def forward(table, rows, mask, eps, stride, how="sum"):
        kinds.append((rows.dtype, mask.dtype, type(stride), how, isinstance(eps, float | np.number)))
        return table[rows][::stride] * mask / (table[rows][::stride] ** 2 + eps)

    def backward(g, table, rows, mask, eps, stride, with_eps=True, repeated=True):
        x, d = table[rows][::stride], np.zeros_like(table)
        inner = g * mask / (x * x + eps) - 2 * g * mask * x * x / (x * x + eps) ** 2
        if repeated:
            np.add.at(d, rows[::stride], inner)
        else:
            d[rows[::stride]] += inner
        deps = -(g * mask * x / (x * x + eps) ** 2).sum()
        return (d, None, None, deps, None) if with_eps else d

    given = (X, np.array([0, 1, 1, 2, 1, 1]), np.array([True, False, True]), 0.5, 2)
    assert passes(forward, backward, *given) == ["table", "eps"]
    assert passes(forward, lambda g, *xs: backward(g, *xs, with_eps=False), *given) == ["table"]
    assert blamed(forward, lambda g, *xs: backward(g, *xs, repeated=False), *given) == "table"
    assert kinds[0] == (np.dtype("int64"), np.dtype(bool), int, "sum", True)
    assert all(kind[:4] == kinds[0][:4] for kind in kinds)
    assert "returns None for x" in fails(lambda x: x * x, lambda g, x: None, 2.0).message
    with pytest.raises(ValueError, match="not 'rows', which has no gradient"):
        tn.check_backward(forward, backward, *given, wrt="rows")
    with pytest.raises(ValueError, match="no input is floating-point"):
        tn.check_backward(lambda i: i * 2.0, lambda g, i: g, LABELS)


def test_keywords_go_to_forward_and_to_backward_as_far_as_it_takes_them():
    def scaled(x, scale, mode="", rng=None):
        assert mode == "train"
        return x * scale * rng.random(x.shape)

    def backward(g, x, scale, rng, by=1):
        return by * g * scale * rng.random(x.shape)

    options = {"scale": 3, "mode": "train", "rng": np.random.default_rng(7)}
    assert passes(scaled, backward, X, **options) == ["x"]
    assert blamed(scaled, lambda g, x, scale, rng: backward(g, x, scale, rng, 2), X, **options) == "x"
    assert names(tn.check_gradients(tn.batch_norm, X, eps=1e-2, seed=0)) == ["x"]


# Structures.


def network(x, params):
    return np.tanh(x @ params["W1"] + params["b1"]) @ params["W2"]


def network_backward(g, x, params, named="{}"):
    h = np.tanh(x @ params["W1"] + params["b1"])
    dh = g @ params["W2"].T * (1 - h * h)
    return {
        named.format(name): d
        for name, d in {"x": dh @ params["W1"].T, "W1": x.T @ dh, "b1": dh.sum(0), "W2": h.T @ g}.items()
    }


PARAMS = {"W1": W, "b1": B, "W2": W[:2] + 1}


@pytest.mark.parametrize("named", ["{}", "d{}", "grad_{}", "{}_grad", "d_{}"])
def test_dicts_of_parameters_and_of_gradients(named):
    right = lambda g, x, params: network_backward(g, x, params, named)  # noqa: E731
    assert passes(network, right, X, PARAMS) == ["x", "params['W1']", "params['b1']", "params['W2']"]

    def wrong(g, x, params):
        found = right(g, x, params)
        found[named.format("b1")] *= 2
        return found

    assert blamed(network, wrong, X, PARAMS) == "params['b1']"
    assert passes(network, wrong, X, PARAMS, wrt=["x", "W1"]) == ["x", "params['W1']"]
    assert names(tn.check_gradients(lambda x, p: np.tanh(x @ p["W1"] + p["b1"]), X, PARAMS, seed=0))[1] == "p['W1']"


def test_gradients_as_tuples_of_arrays_and_dicts_beside_drawn_inputs():
    def backward(g, x, params):
        found = network_backward(g, x, params)
        return found.pop("x"), found

    assert len(passes(network, backward, inputs("n 3", edges=("zeros",)), PARAMS, budget="quick")) == 4
    join, cut = (lambda xs: np.concatenate(xs, axis=1)), lambda g, xs: [g[:, :3] * 1, g[:, 3:] * 1]
    assert passes(join, cut, [X, X[:, :1]]) == ["xs[0]", "xs[1]"]
    assert blamed(join, lambda g, xs: [g[:, :3] * 1, g[:, 3:] * 2], [X, X[:, :1]]) == "xs[1]"
    assert passes(join, cut, (X, X[:, :1])) == ["xs[0]", "xs[1]"]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda g: g, "expected 2 gradients, one for each input, got 1 "),
        (lambda g: (g, g, g), "expected 2 gradients, one for each input, got 3 "),
        (lambda g: (g, None), "returns None for w "),
        (lambda g: None, "returns None for x, w "),
        (lambda g: {"dx": g, "dww": g}, "returns only dx, dww, nothing for w "),
        (lambda g: (g, (g, g)), "the gradient of w is a tuple; expected an array"),
        (lambda g: (g[0], g), r"the gradient of x has shape \(3,\), but the input has shape \(4, 3\)"),
    ],
)
def test_gradients_that_do_not_go_with_the_inputs_are_of_the_wrong_shape(returned, words):
    with pytest.raises(GradientMismatch, match=words) as error:
        tn.check_backward(lambda x, w: x * w, lambda g, x, w: returned(g), X, X, seed=0)
    assert error.value.report.verdict is Verdict.WRONG_SHAPE


# Objects.


class Dense:
    """Attributes W and dW, or however the gradient's are spelled."""

    spelled = "d{}"

    def __init__(self, w=W, b=B, of_bias=1):
        self.W, self.b, self.of_bias = w.astype(np.float32), b, of_bias

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        setattr(self, self.spelled.format("W"), self.x.T @ dout)
        setattr(self, self.spelled.format("b"), self.of_bias * dout.sum(axis=0))
        return dout @ self.W.T


@pytest.mark.parametrize(
    ("given", "spelled"),
    one_in(2, product([X, inputs("n 3", edges=("zeros", "huge", "empty"))], ["d{}", "grad_{}", "{}_grad"])),
)
def test_a_layer_with_its_parameters(spelled, given, monkeypatch):
    monkeypatch.setattr(Dense, "spelled", spelled)
    assert passes(Dense, given, budget="quick") == ["W", "b", "x"]
    assert blamed(Dense(of_bias=2), given, budget="quick") == "b"
    layer = Dense()
    assert passes(layer.forward, layer.backward, given, budget="quick") == ["W", "b", "x"]
    assert vars(layer).keys() == vars(Dense()).keys()


def test_layers_within_layers_and_lists_of_parameters():
    class Network:
        def __init__(self, of_bias=1):
            self.layers = [Dense(), Dense(W.T, X[0], of_bias)]
            self.layers[0].above = self

        def forward(self, x):
            for layer in self.layers:
                x = layer.forward(x)
            return x

        def backward(self, dout):
            for layer in reversed(self.layers):
                dout = layer.backward(dout)
            return dout

    class Listed:
        def __init__(self, of_bias=1):
            self.params, self.grads, self.of_bias = [W, B], [np.zeros_like(W), np.zeros_like(B)], of_bias

        def forward(self, x):
            self.x = x
            return x @ self.params[0] + self.params[1]

        def backward(self, dout):
            self.grads[0][...], self.grads[1][...] = self.x.T @ dout, self.of_bias * dout.sum(axis=0)
            return dout @ self.params[0].T

    class Keyed(Listed):
        def __init__(self, of_bias=1):
            self.params, self.grads, self.of_bias = {0: W, 1: B}, {}, of_bias

        def backward(self, dout):
            self.grads = {0: self.x.T @ dout, 1: self.of_bias * dout.sum(axis=0)}
            return dout @ self.params[0].T

    assert passes(Network, X) == ["layers[0].W", "layers[0].b", "layers[1].W", "layers[1].b", "x"]
    assert blamed(Network(of_bias=2), X) == "layers[1].b"
    for kind in (Listed, Keyed):
        assert passes(kind, X) == ["params[0]", "params[1]", "x"]
        assert blamed(kind(of_bias=2), X) == "params[1]"


def test_losses_that_are_objects():
    class Loss:
        def forward(self, scores, labels):
            loss, self.gradient = softmax_loss(scores, labels)
            return loss

        def backward(self):
            return self.gradient

    class Ignoring(Loss):
        def backward(self, dout=1):
            return self.gradient

    class Halved(Loss):
        def backward(self, dout=1):
            return dout * self.gradient / 2

    class Model:
        def __init__(self, of_w=1):
            self.params, self.of_w = {"W": W, "b": B}, of_w

        def loss(self, x, labels):
            loss, d = softmax_loss(x @ self.params["W"] + self.params["b"], labels)
            return loss, {"W": self.of_w * x.T @ d, "b": d.sum(axis=0)}

    for kind in (Loss, Ignoring):
        assert passes(kind, X, LABELS) == ["scores"]
    assert blamed(Halved, X, LABELS) == "scores"
    assert passes(Model().loss, None, X, LABELS % 2, wrt=["W", "b"]) == ["W", "b"]
    assert blamed(Model(2).loss, None, X, LABELS % 2, wrt=["W", "b"]) == "W"


def test_what_is_wrong_with_an_object_is_said():
    class Sized:
        def __init__(self, size):
            self.size = size

        forward = backward = lambda self, x: x

    with pytest.raises(TypeError, match=r"Sized takes arguments: give an instance, such as Sized\(...\)"):
        tn.check_backward(Sized, X)
    with pytest.raises(ValueError, match="matmul") as error:
        tn.check_backward(Dense, X.T)
    assert error.value.__notes__ == ["raised for inputs float64 (3, 4)"]
    with pytest.raises(ZeroDivisionError):
        tn.check_backward(lambda xs: 1 // 0, lambda g, xs: g, [X, W])


def test_one_point_that_tells_nothing_is_warned_of_and_raised_where_strict():
    with pytest.warns(tn.check.UncheckedGradient, match="VACUOUS"):
        report = tn.check_backward(lambda x: 0 * x, lambda g, x: 0 * g, X, seed=0)
    assert report.verdict is Verdict.VACUOUS
    assert fails(lambda x: 0 * x, lambda g, x: 0 * g, X, strict=True).verdict is Verdict.VACUOUS
    for wrong in (0, -1, 2):
        with pytest.raises(ValueError, match="rtol must be a float between 0 and 1"):
            tn.check_backward(lambda x: x, lambda g, x: g, X, rtol=wrong)
