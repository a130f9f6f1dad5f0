"""Functions with pieces: maxima, clips, thresholds, masks."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs


def maxout_forward(x):
    winner = x.argmax(axis=-1)
    return np.take_along_axis(x, winner[..., None], axis=-1)[..., 0], (x, winner)


def maxout_backward(dout, cache):
    x, winner = cache
    dx = np.zeros_like(x)
    np.put_along_axis(dx, winner[..., None], dout[..., None], axis=-1)
    return dx


def maxout_to_all(dout, cache):
    return np.broadcast_to(dout[..., None], cache[0].shape).copy()


def maxout_of_relu(dout, cache):
    return dout[..., None] * (cache[0] > 0)


def maxout_of_the_first_axis(dout, cache):
    x = cache[0]
    dx = np.zeros_like(x)
    dx[x == x.max(axis=0)] = np.broadcast_to(dout[..., None], x.shape)[x == x.max(axis=0)]
    return dx


MAXOUT = Code(
    "maxout",
    maxout_forward,
    maxout_backward,
    inputs(x="n c k"),
    (
        Wrong(
            "every piece gets the gradient",
            maxout_to_all,
            ("mask", "maxim", "largest", "winner", "where x", "elsewhere", "zero"),
            ("batch", "transpos", "mean path", "sign is"),
        ),
        Wrong(
            "the mask of ReLU",
            maxout_of_relu,
            ("mask", "sign of", "maxim", "where x", "elsewhere"),
            ("batch", "transpos", "the mean"),
        ),
        Wrong(
            "the maximum is taken over the first axis",
            maxout_of_the_first_axis,
            ("axis", "axes", "mask", "maxim"),
            ("batch size", "transpos", "factor"),
        ),
    ),
)


def squared_relu(x):
    return np.maximum(x, 0) ** 2


SQUARED_RELU = Code(
    "squared ReLU",
    squared_relu,
    lambda g, x: g * 2 * np.maximum(x, 0),
    inputs("n c"),
    (
        Wrong(
            "the mask is missing",
            lambda g, x: g * 2 * x,
            ("mask", "sign of", "negative", "where x", "elsewhere"),
            ("batch", "transpos", "the mean", "factor"),
        ),
        Wrong(
            "the factor 2 is missing",
            lambda g, x: g * np.maximum(x, 0),
            ("factor", "times", "half", "twice", "0.5"),
            ("batch", "transpos", "the mean", "mask"),
        ),
        Wrong("the inner function is missing", lambda g, x: g * 2 * (x > 0), (), ("batch", "transpos", "the mean")),
    ),
)


def shrink(x, t):
    return np.sign(x) * np.maximum(np.abs(x) - t, 0)


def shrink_backward(g, x, t):
    inside = np.abs(x) > t
    return g * inside, -(g * np.sign(x) * inside).sum()


SHRINK = Code(
    "soft thresholding with a learned threshold",
    shrink,
    shrink_backward,
    inputs(x="n c", t="", domains={"t": "positive"}),
    (
        Wrong(
            "the sign of x is missing for the threshold",
            lambda g, x, t: (g * (np.abs(x) > t), -(g * (np.abs(x) > t)).sum()),
            ("sign of",),
            ("batch", "transpos", "the mean"),
        ),
        Wrong(
            "the threshold's gradient has the wrong sign",
            lambda g, x, t: (shrink_backward(g, x, t)[0], -shrink_backward(g, x, t)[1]),
            ("sign", "-1 times", "minus", "negat"),
            ("batch", "transpos", "the mean", "sign of x"),
        ),
        Wrong(
            "the negative side passes nothing",
            lambda g, x, t: (g * (x > t), shrink_backward(g, x, t)[1]),
            ("mask", "sign of", "negative", "where x", "elsewhere"),
            ("batch", "transpos", "the mean"),
        ),
    ),
)


def clip(x, low=-1.0, high=1.0):
    return np.clip(x, low, high)


CLIP = Code(
    "clip by value",
    clip,
    lambda g, x, low=-1.0, high=1.0: g * ((x >= low) & (x <= high)),
    inputs("n c"),
    (
        Wrong(
            "the gradient passes straight through",
            lambda g, x: np.array(g),
            ("mask", "clip", "where x", "elsewhere", "zero", "saturat"),
            ("batch", "transpos", "the mean", " sign"),
        ),
        Wrong(
            "only the upper bound is masked",
            lambda g, x, high=1.0: g * (x <= high),
            ("mask", "sign of", "negative", "where x", "elsewhere", "clip"),
            ("batch", "transpos", "the mean"),
        ),
        Wrong(
            "the mask is inverted",
            lambda g, x, low=-1.0, high=1.0: g * ((x < low) | (x > high)),
            ("mask", "invert", "where x", "elsewhere", "complement"),
            ("batch", "transpos", "the mean"),
        ),
    ),
    {"low": -1.5, "high": 2.0},
)


def masked_softmax(x, keep):
    z = np.where(keep, x, -1e30)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def masked_softmax_backward(g, x, keep):
    y = masked_softmax(x, keep)
    return keep * y * (g - (g * y).sum(axis=-1, keepdims=True))


def masked_softmax_mean(g, x, keep):
    y = masked_softmax(x, keep)
    return keep * y * (g - (g * y).mean(axis=-1, keepdims=True))


def masked_softmax_elementwise(g, x, keep):
    y = masked_softmax(x, keep)
    return keep * g * y * (1 - y)


MASKED_SOFTMAX = Code(
    "softmax over the entries of a top-k mask",
    masked_softmax,
    masked_softmax_backward,
    inputs(x="n k", keep="n k", domains={"keep": "mask"}),
    (
        Wrong(
            "the softmax of the backward pass forgets the mask",
            lambda g, x, keep: masked_softmax_backward(g, x, np.ones_like(keep)),
            ("mask",),
            ("batch", "transpos", "mean path", "sign is"),
        ),
        Wrong(
            "the masked sum divides by the whole row",
            masked_softmax_mean,
            (
                "the mean",
                "a mean",
                "mean of",
                "mean path",
                "mean term",
                "factor",
                "times",
                "size",
                "number of",
                "length",
            ),
            ("batch", "transpos"),
        ),
        Wrong(
            "differentiated element by element",
            masked_softmax_elementwise,
            ("diagonal", "elementwise", "element by element", "jacobian", "mixes"),
            ("batch", "transpos"),
        ),
    ),
)


class Maximum:
    """The larger of two arrays."""

    def forward(self, a, b):
        self.first = a > b
        return np.where(self.first, a, b)

    def backward(self, dout):
        return dout * self.first, dout * ~self.first


class MaximumTwice(Maximum):
    def backward(self, dout):
        return np.array(dout), np.array(dout)


class MaximumSwapped(Maximum):
    def backward(self, dout):
        return dout * ~self.first, dout * self.first


MAXIMUM = Code(
    "the larger of two arrays",
    Maximum(),
    None,
    inputs(a="n c", b="n c"),
    (
        Wrong(
            "both get the whole gradient",
            MaximumTwice(),
            ("mask", "where x", "elsewhere", "maxim", "larger", "zero"),
            ("batch", "transpos", "the mean", "sign is"),
        ),
        Wrong(
            "the two masks are swapped",
            MaximumSwapped(),
            ("swap", "mask", "exchang", "order", "invert"),
            ("batch", "transpos", "the mean"),
        ),
    ),
)

CASES = (MAXOUT, SQUARED_RELU, SHRINK, CLIP, MASKED_SOFTMAX, MAXIMUM)
