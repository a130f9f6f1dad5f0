"""Activations: cached pairs, classes that keep what they need, and plain pairs."""

import numpy as np

from tinygrad_norm.check import inputs

from .case import Code, Wrong
from .words import BY_SIGN, ELEMENTWISE, FACTOR, IGNORES_G, MISSING, NOT_SUMMED, SIGN, STATISTICS, WRONG_AXIS


# ReLU, cached.
def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache):
    return dout * (cache > 0)


class LeakyReLU:
    def __init__(self, alpha=0.1):
        self.alpha = alpha

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.alpha * x)

    def backward(self, dout):
        dx = dout.copy()
        dx[self.x < 0] *= self.alpha
        return dx


class LeakyReLUWithoutSlope(LeakyReLU):
    def backward(self, dout):
        dx = dout.copy()
        dx[self.x < 0] = 0
        return dx


class LeakyReLUMaskedByTheCotangent(LeakyReLU):
    def backward(self, dout):
        return np.where(dout > 0, dout, self.alpha * dout)


class LeakyReLUWithoutCotangent(LeakyReLU):
    def backward(self, dout):
        return np.where(self.x > 0, 1.0, self.alpha)


# ELU, with a keyword.
def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * (np.exp(x) - 1))


def elu_grad(g, x, alpha=1.0):
    return g * np.where(x > 0, 1.0, alpha * np.exp(x))


# Sigmoid, a class that keeps its output.
class Sigmoid:
    def forward(self, x):
        self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self, dout):
        return dout * self.out * (1 - self.out)


class SigmoidOfTheOutput(Sigmoid):
    def backward(self, dout):
        again = 1 / (1 + np.exp(-self.out))
        return dout * again * (1 - again)


class SigmoidWithoutComplement(Sigmoid):
    def backward(self, dout):
        return dout * self.out


class SigmoidWithoutCotangent(Sigmoid):
    def backward(self, dout):
        return self.out * (1 - self.out)


# Softplus in a form that does not overflow.
def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softplus_backward(g, x):
    return g / (1 + np.exp(-x))


# GELU by tanh.
ROOT = np.sqrt(2 / np.pi)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(ROOT * (x + 0.044715 * x**3)))


def _gelu_backward(fault=""):
    def gelu_backward(g, x):
        t = np.tanh(ROOT * (x + 0.044715 * x**3))
        cube = 1 if fault == "cube" else 1 + 3 * 0.044715 * x**2
        inner = 0 if fault == "product" else 0.5 * x * (1 - t**2) * ROOT * cube
        if fault == "root":
            inner = inner / ROOT
        return g * (0.5 * (1 + t) + inner)

    return gelu_backward


# Swish with a slope that is learned.
def swish(x, beta):
    return x / (1 + np.exp(-beta * x))


def _swish_backward(fault=""):
    def swish_backward(g, x, beta):
        s = 1 / (1 + np.exp(-beta * x))
        slope = x * s * (1 - s)
        dx = g * (s + (1 if fault == "beta" else beta) * slope)
        if fault == "product":
            dx = g * s
        dbeta = g * x * slope
        return dx, dbeta if fault == "sum" else dbeta.sum()

    return swish_backward


# Softmax and its logarithm, over the last axis.
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_backward(g, x):
    s = softmax(x)
    return s * (g - (g * s).sum(axis=-1, keepdims=True))


def softmax_backward_total(g, x):
    s = softmax(x)
    return s * (g - (g * s).sum())


def softmax_backward_axis0(g, x):
    s = softmax(x)
    return s * (g - (g * s).sum(axis=0, keepdims=True))


def log_softmax(x):
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def log_softmax_backward(g, x):
    return g - softmax(x) * g.sum(axis=1, keepdims=True)


SMOOTH = ("chain rule", "derivative of the", "output", "applied to")

CASES = (
    Code(
        "relu, cached",
        relu_forward,
        relu_backward,
        inputs(x="n c h w"),
        (
            Wrong("the mask is missing", lambda dout, cache: dout.copy(), (*BY_SIGN, "cotangent alone")),
            Wrong("the mask is of the cotangent", lambda dout, cache: dout * (dout > 0), (*BY_SIGN, *IGNORES_G)),
            Wrong("the cotangent is missing", lambda dout, cache: (cache > 0).astype(float), IGNORES_G),
        ),
    ),
    Code(
        "leaky relu, a class",
        LeakyReLU(),
        None,
        inputs(x="n c"),
        (
            Wrong("nothing for negative inputs", LeakyReLUWithoutSlope(), (*BY_SIGN, "slope")),
            Wrong("the mask is of the cotangent", LeakyReLUMaskedByTheCotangent(), (*BY_SIGN, *IGNORES_G)),
            Wrong("the cotangent is missing", LeakyReLUWithoutCotangent(), IGNORES_G),
        ),
    ),
    Code(
        "elu, with a keyword",
        elu,
        elu_grad,
        inputs(x="n c"),
        (
            Wrong(
                "alpha is missing",
                lambda g, x, alpha=1.0: g * np.where(x > 0, 1.0, np.exp(x)),
                (*BY_SIGN, *FACTOR),
                STATISTICS,
            ),
            Wrong("alpha alone below 0", lambda g, x, alpha=1.0: g * np.where(x > 0, 1.0, alpha), BY_SIGN, STATISTICS),
            Wrong("the mask is missing", lambda g, x, alpha=1.0: g * alpha * np.exp(np.minimum(x, 50)), BY_SIGN),
        ),
        {"alpha": 0.5},
    ),
    Code(
        "sigmoid, a class",
        Sigmoid(),
        None,
        inputs(x="n c"),
        (
            Wrong("the sigmoid of the output", SigmoidOfTheOutput(), (*SMOOTH, "sigmoid", "twice"), STATISTICS),
            Wrong("1 - s is missing", SigmoidWithoutComplement(), (*SMOOTH, *FACTOR, "sigmoid"), STATISTICS),
            Wrong("the cotangent is missing", SigmoidWithoutCotangent(), IGNORES_G),
        ),
    ),
    Code(
        "tanh",
        np.tanh,
        lambda g, x: g * (1 - np.tanh(x) ** 2),
        inputs(x="n c"),
        (
            Wrong(
                "the square is missing",
                lambda g, x: g * (1 - np.tanh(x)),
                (*SMOOTH, *FACTOR, *BY_SIGN, "square"),
                STATISTICS,
            ),
            Wrong("of the input, not of the output", lambda g, x: g * (1 - x**2), (*SMOOTH, *FACTOR), STATISTICS),
            Wrong("the sign", lambda g, x: g * (np.tanh(x) ** 2 - 1), SIGN),
        ),
    ),
    Code(
        "softplus",
        softplus,
        softplus_backward,
        inputs(x="n c"),
        (
            Wrong("sigmoid(-x)", lambda g, x: g / (1 + np.exp(x)), (*SMOOTH, *SIGN, *FACTOR), STATISTICS),
            Wrong("relu's", lambda g, x: g * (x > 0), (*SMOOTH, *BY_SIGN, *FACTOR), STATISTICS),
            Wrong("sigmoid's derivative", lambda g, x: g / (2 + 2 * np.cosh(x)), (*SMOOTH, *FACTOR), STATISTICS),
        ),
    ),
    Code(
        "gelu by tanh",
        gelu,
        _gelu_backward(),
        inputs(x="n c"),
        (
            Wrong(
                "the product rule's other half", _gelu_backward("product"), (*SMOOTH, *MISSING, "product"), STATISTICS
            ),
            Wrong("the slope of the cube", _gelu_backward("cube"), (*SMOOTH, *MISSING, *FACTOR), STATISTICS),
            Wrong("the root of 2 / π", _gelu_backward("root"), (*SMOOTH, *MISSING, *FACTOR), STATISTICS),
        ),
    ),
    Code(
        "swish with a learned slope",
        swish,
        _swish_backward(),
        inputs(x="n c", beta=""),
        (
            Wrong("beta is missing in dx", _swish_backward("beta"), (*SMOOTH, *MISSING, *FACTOR, "beta"), STATISTICS),
            Wrong("the product rule's other half", _swish_backward("product"), (*SMOOTH, *MISSING, "product")),
            Wrong("dbeta is not summed", _swish_backward("sum"), NOT_SUMMED),
        ),
    ),
    Code(
        "softmax",
        softmax,
        softmax_backward,
        inputs(x="n c"),
        (
            Wrong("elementwise", lambda g, x: g * softmax(x) * (1 - softmax(x)), ELEMENTWISE),
            Wrong("the sum runs over everything", softmax_backward_total, WRONG_AXIS),
            Wrong("the sum runs over the batch", softmax_backward_axis0, WRONG_AXIS),
        ),
    ),
    Code(
        "log-softmax",
        log_softmax,
        log_softmax_backward,
        inputs(x="n c"),
        (
            Wrong("g - softmax", lambda g, x: g - softmax(x), (*IGNORES_G, "sum of the cotangent", "constant")),
            Wrong("the sum is missing", lambda g, x: g - softmax(x) * g, (*ELEMENTWISE, " sum")),
            Wrong(
                "a mean for the sum",
                lambda g, x: g - softmax(x) * g.mean(axis=1, keepdims=True),
                (" mean", "axis size", " times", "parallel", "factor"),
            ),
        ),
    ),
)
