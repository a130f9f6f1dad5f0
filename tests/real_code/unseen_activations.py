"""Activations and gates, as ``backward(g, x)``, as cached pairs, and as small classes."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def softplus(x):
    return np.logaddexp(0, x)


def mish(x):
    return x * np.tanh(softplus(x))


def mish_backward(g, x):
    t = np.tanh(softplus(x))
    return g * (t + x * (1 - t * t) * sigmoid(x))


def mish_backward_from_the_paper(g, x):
    # With omega and delta as they are printed.
    omega = 4 * (x + 1) + 4 * np.exp(2 * x) + np.exp(3 * x) + np.exp(x) * (4 * x + 6)
    delta = 2 * np.exp(x) + np.exp(2 * x) + 2
    return g * np.exp(x) * omega / delta**2


MISH = Code(
    "mish",
    mish,
    mish_backward,
    inputs("n c"),
    (
        Wrong(
            "the derivative of softplus is missing",
            lambda g, x: g * (np.tanh(softplus(x)) + x * (1 - np.tanh(softplus(x)) ** 2)),
            (),
            ("batch", "transpos", "the mean", "axis"),
        ),
        Wrong(
            "the formula overflows for large inputs",
            mish_backward_from_the_paper,
            ("overflow", "not finite", "nan", "large", "huge"),
            ("batch", "transpos", "factor", "axis"),
        ),
        Wrong(
            "the incoming gradient is left out",
            lambda g, x: mish_backward(np.ones_like(g), x),
            ("does not depend on g", "depend on the cotangent", "does not use", "upstream", "incoming", "cotangent"),
            ("transpos", "batch size", "the mean"),
        ),
    ),
)


def hard_swish(x):
    return x * np.clip(x + 3, 0, 6) / 6


def hard_swish_backward(g, x):
    return g * np.where(x <= -3, 0, np.where(x < 3, x / 3 + 0.5, 1))


HARD_SWISH = Code(
    "hard swish",
    hard_swish,
    hard_swish_backward,
    inputs(x="n c"),
    (
        Wrong(
            "the linear part above 3 gets no gradient",
            lambda g, x: g * np.where((x > -3) & (x < 3), x / 3 + 0.5, 0),
            ("mask", "where x", "elsewhere", "zero", "missing", "piece", "branch", "saturat", "above", "larger"),
            ("batch", "transpos", "the mean", "broadcast"),
        ),
        Wrong(
            "only the gate is counted, not its derivative",
            lambda g, x: g * np.clip(x + 3, 0, 6) / 6,
            ("product rule", "where x", "elsewhere", "between", "missing", "one of", " uses", "factor"),
            ("batch", "transpos", "the mean", "broadcast", "sign of g"),
        ),
    ),
)


class HardSigmoid:
    def forward(self, x):
        self.x = x
        self.y = np.clip(0.2 * x + 0.5, 0, 1)
        return self.y

    def backward(self, dout):
        return 0.2 * dout * (np.abs(self.x) < 2.5)


class HardSigmoidMaskOfOutput(HardSigmoid):
    def backward(self, dout):
        return 0.2 * dout * ((self.y >= 0) & (self.y <= 1))


class HardSigmoidWithoutSlope(HardSigmoid):
    def backward(self, dout):
        return dout * (np.abs(self.x) < 2.5)


class HardSigmoidOfSigmoid(HardSigmoid):
    def backward(self, dout):
        return dout * self.y * (1 - self.y)


HARD_SIGMOID = Code(
    "hard sigmoid",
    HardSigmoid(),
    None,
    inputs(x="n c"),
    (
        Wrong(
            "the mask is taken from the clipped output and is always true",
            HardSigmoidMaskOfOutput(),
            ("mask", "clip", "saturat", "where x", "elsewhere", "zero", "sign of"),
            ("batch", "transpos", "the mean", "broadcast"),
        ),
        Wrong(
            "the slope 0.2 is missing",
            HardSigmoidWithoutSlope(),
            ("factor", "times", "constant"),
            ("batch", "transpos", "mask", "the mean"),
        ),
        Wrong(
            "the derivative of the smooth sigmoid",
            HardSigmoidOfSigmoid(),
            (),
            ("batch", "transpos", "the mean", "axis"),
        ),
    ),
)

SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772


def selu(x):
    return SCALE * np.where(x > 0, x, ALPHA * np.expm1(np.minimum(x, 0)))


def selu_backward(g, x):
    return g * SCALE * np.where(x > 0, 1, ALPHA * np.exp(np.minimum(x, 0)))


SELU = Code(
    "SELU",
    selu,
    selu_backward,
    inputs("n c"),
    (
        Wrong(
            "the scale is missing for positive inputs",
            lambda g, x: g * np.where(x > 0, 1, SCALE * ALPHA * np.exp(np.minimum(x, 0))),
            ("positive", "sign of", "where x", "elsewhere", "> 0", "mask"),
            ("batch", "transpos", "the mean", "broadcast"),
        ),
        Wrong(
            "the output plus alpha, as for ELU, without the scale",
            lambda g, x: g * np.where(x > 0, SCALE, selu(x) + ALPHA),
            ("negative", "sign of", "where x", "elsewhere", "< 0", "<= 0", "mask"),
            ("batch", "transpos", "the mean", "broadcast"),
        ),
        Wrong(
            "alpha times exp(x) minus alpha is differentiated to exp(x) - 1",
            lambda g, x: g * SCALE * np.where(x > 0, 1, ALPHA * np.expm1(np.minimum(x, 0))),
            ("negative", "sign of", "where x", "elsewhere", "< 0", "<= 0", "mask"),
            ("batch", "transpos", "the mean", "broadcast"),
        ),
    ),
)


def celu(x, alpha=1.0):
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha))


def celu_backward(g, x, alpha=1.0):
    return g * np.where(x > 0, 1, np.exp(np.minimum(x, 0) / alpha))


CELU = Code(
    "CELU",
    celu,
    celu_backward,
    inputs("n c"),
    (
        Wrong(
            "alpha times the exponential, as for ELU",
            lambda g, x, alpha=1.0: g * np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0) / alpha)),
            ("negative", "sign of", "where x", "elsewhere", "< 0", "<= 0", "mask", "factor", "times"),
            ("batch", "transpos", "the mean", "broadcast"),
        ),
        Wrong(
            "the branches are swapped",
            lambda g, x, alpha=1.0: g * np.where(x < 0, 1, np.exp(-np.abs(x) / alpha)),
            (),
            ("batch", "transpos", "the mean", "broadcast"),
        ),
    ),
    {"alpha": 2.0},
)


def softsign(x):
    return x / (1 + np.abs(x))


SOFTSIGN = Code(
    "softsign",
    softsign,
    lambda g, x: g / (1 + np.abs(x)) ** 2,
    inputs("n c"),
    (
        Wrong("the square is missing", lambda g, x: g / (1 + np.abs(x)), (), ("batch", "transpos", "the mean", "axis")),
        Wrong(
            "the absolute value is missing",
            lambda g, x: g / (1 + x) ** 2,
            ("negative", "sign of", "where x", "elsewhere", "< 0", "absolute"),
            ("batch", "transpos", "the mean", "broadcast"),
        ),
        Wrong(
            "evaluated at the output instead of the input",
            lambda g, x: g / (1 + np.abs(softsign(x))) ** 2,
            (),
            ("batch", "transpos", "the mean", "axis"),
        ),
    ),
)


def prelu_forward(x, slope):
    out = np.where(x > 0, x, slope[:, None, None] * x)
    return out, (x, slope)


def prelu_backward(dout, cache):
    x, slope = cache
    dx = np.where(x > 0, dout, slope[:, None, None] * dout)
    return dx, (dout * np.minimum(x, 0)).sum(axis=(0, 2, 3))


def prelu_slope_of_all(dout, cache):
    return prelu_backward(dout, cache)[0], (dout * cache[0]).sum(axis=(0, 2, 3))


def prelu_slope_shared(dout, cache):
    return prelu_backward(dout, cache)[0], np.full_like(cache[1], (dout * np.minimum(cache[0], 0)).sum())


def prelu_mean(dout, cache):
    return prelu_backward(dout, cache)[0], (dout * np.minimum(cache[0], 0)).mean(axis=0).sum(axis=(1, 2))


PRELU = Code(
    "PReLU with a slope for each channel",
    prelu_forward,
    prelu_backward,
    inputs(x="n c h w", slope="c"),
    (
        Wrong(
            "positive inputs count for the slope",
            prelu_slope_of_all,
            ("mask", "sign of", "positive", "where x", "elsewhere"),
            ("batch size", "transpos", "broadcast"),
        ),
        Wrong(
            "the sum runs over the channels as well",
            prelu_slope_shared,
            ("axis", "axes", "summed over", "sum over", "same for all", "same for every", "reduc", "constant"),
            ("transpos", "sign of", "mask"),
        ),
        Wrong(
            "the mean over the batch instead of the sum",
            prelu_mean,
            (
                "batch size",
                "number of samples",
                "axis 0",
                "the mean",
                "a mean",
                "mean of",
                "mean path",
                "mean term",
                "1/n",
                "length of n",
                "size of n",
                "samples",
            ),
            ("transpos", "sign of", "mask"),
        ),
    ),
)


def glu(x):
    a, b = np.split(x, 2, axis=-1)
    return a * sigmoid(b)


def glu_backward(g, x):
    a, b = np.split(x, 2, axis=-1)
    s = sigmoid(b)
    return np.concatenate([g * s, g * a * s * (1 - s)], axis=-1)


def glu_halves_swapped(g, x):
    da, db = np.split(glu_backward(g, x), 2, axis=-1)
    return np.concatenate([db, da], axis=-1)


def glu_without_value(g, x):
    s = sigmoid(np.split(x, 2, axis=-1)[1])
    return np.concatenate([g * s, g * s * (1 - s)], axis=-1)


GLU = Code(
    "gated linear unit",
    glu,
    glu_backward,
    inputs(x="n 2c"),
    (
        Wrong(
            "the halves of the gradient are swapped",
            glu_halves_swapped,
            ("swap", "permut", "order", "half", "halves", "roll", "shift", "exchang"),
            ("batch", "sign of", "the mean", "factor"),
        ),
        Wrong(
            "the gate's gradient is not multiplied by the value",
            glu_without_value,
            ("half", "halves", "factor", "missing", "columns", "entries", "product"),
            ("batch", "sign is", "the mean", "transpos"),
        ),
    ),
)


def swiglu(x, w, v):
    a = x @ w
    return a * sigmoid(a) * (x @ v)


def swiglu_backward(fault=""):
    def backward(g, x, w, v):
        a, b = x @ w, x @ v
        s = sigmoid(a)
        da = g * b * (s if fault == "silu" else s + a * s * (1 - s))
        db = g * a * s
        dx = da @ w.T if fault == "branch" else da @ w.T + db @ v.T
        grads = dx, x.T @ da, x.T @ db
        return (grads[0], grads[2], grads[1]) if fault == "swap" else grads

    return backward


SWIGLU = Code(
    "SwiGLU",
    swiglu,
    swiglu_backward(),
    inputs(x="n d", w="d h", v="d h"),
    (
        Wrong(
            "only one of the two branches reaches x",
            swiglu_backward("branch"),
            ("missing", " uses", "one of", "part of", "path", "branch"),
            ("batch", "transpos", " sign", "the mean"),
        ),
        Wrong(
            "the gradients of w and v are swapped",
            swiglu_backward("swap"),
            ("swap", "exchang", "order"),
            ("batch", "transpos", " sign", "the mean"),
        ),
        Wrong("the derivative of silu is the sigmoid", swiglu_backward("silu"), (), ("batch", "transpos", "axis")),
    ),
)

CASES = (MISH, HARD_SWISH, HARD_SIGMOID, SELU, CELU, SOFTSIGN, PRELU, GLU, SWIGLU)
