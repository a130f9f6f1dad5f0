"""Convolutions, pooling, and sampling of images."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs


def causal_forward(x, w, b, dilation=1):
    n, _, t = x.shape
    k = w.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (dilation * (k - 1), 0)))
    out = np.zeros((n, len(w), t), dtype=x.dtype) + b[:, None]
    for j in range(k):
        out = out + np.einsum("oi,nit->not", w[:, :, j], padded[:, :, j * dilation : j * dilation + t])
    return out, (padded, w, dilation)


def causal_backward(fault=""):
    def backward(dout, cache):
        padded, w, dilation = cache
        t, k = dout.shape[2], w.shape[2]
        dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
        for j in range(k):
            at = j if fault == "dilation" else j * dilation
            tap = k - 1 - j if fault == "flip" else j
            dpadded[:, :, at : at + t] += np.einsum("oi,not->nit", w[:, :, tap], dout)
            dw[:, :, j] = np.einsum("not,nit->oi", dout, padded[:, :, at : at + t])
        cut = dpadded[:, :, :t] if fault == "padding" else dpadded[:, :, dpadded.shape[2] - t :]
        return cut, dw, dout.sum() if fault == "bias" else dout.sum(axis=(0, 2))

    return backward


CAUSAL = Code(
    "causal convolution with dilation",
    causal_forward,
    causal_backward(),
    inputs(x="n i t", w="o i k", b="o"),
    (
        Wrong(
            "the dilation is forgotten",
            causal_backward("dilation"),
            ("shift", "dilat", "stride", "offset", "moved"),
            ("transpos", " sign", "batch", "the mean"),
        ),
        Wrong(
            "the kernel is flipped once more",
            causal_backward("flip"),
            ("flip", "revers"),
            (" sign", "batch", "the mean", "mask"),
        ),
        Wrong(
            "the padding is removed at the wrong end",
            causal_backward("padding"),
            ("shift", "pad", "offset", "moved", "roll"),
            ("transpos", " sign", "batch", "the mean"),
        ),
        Wrong(
            "the bias's gradient is summed over the channels as well",
            causal_backward("bias"),
            ("shape", "axis", "axes", "summed over", "sum over", "reduc"),
            ("transpos", " sign", "mask"),
        ),
    ),
    {"dilation": 2},
)


class DepthwiseConv:
    """One 3 x 3 kernel for each channel, with padding 1; the gradients are W_grad and b_grad."""

    def __init__(self, c):
        rng = np.random.default_rng(1)
        self.W, self.b = rng.normal(size=(c, 3, 3)), rng.normal(size=c)
        self.W_grad, self.b_grad = np.zeros_like(self.W), np.zeros_like(self.b)

    def shifts(self, h, w):
        return [(i, j, slice(i, i + h), slice(j, j + w)) for i in range(3) for j in range(3)]

    def forward(self, x):
        _, _, h, w = x.shape
        self.padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        out = sum(self.W[:, i, j, None, None] * self.padded[:, :, a, b] for i, j, a, b in self.shifts(h, w))
        return out + self.b[:, None, None]

    def backward(self, dout):
        _, _, h, w = dout.shape
        dpadded = np.zeros_like(self.padded)
        for i, j, a, b in self.shifts(h, w):
            dpadded[:, :, a, b] += self.tap(i, j)[:, None, None] * dout
            self.W_grad[:, i, j] = self.weight(dout, self.padded[:, :, a, b])
        self.b_grad = dout.sum(axis=(0, 2, 3))
        return dpadded[:, :, 1:-1, 1:-1]

    def tap(self, i, j):
        return self.W[:, i, j]

    def weight(self, dout, window):
        return (dout * window).sum(axis=(0, 2, 3))


class DepthwiseConvFlipped(DepthwiseConv):
    def tap(self, i, j):
        return self.W[:, 2 - i, 2 - j]


class DepthwiseConvTransposed(DepthwiseConv):
    def tap(self, i, j):
        return self.W[:, j, i]


class DepthwiseConvMean(DepthwiseConv):
    def weight(self, dout, window):
        return (dout * window).mean(axis=0).sum(axis=(1, 2))


DEPTHWISE = Code(
    "depthwise convolution",
    DepthwiseConv(2),
    None,
    inputs(x="n 2 h w"),
    (
        Wrong(
            "the kernel is flipped once more",
            DepthwiseConvFlipped(2),
            ("flip", "revers"),
            (" sign", "batch", "the mean"),
        ),
        Wrong(
            "height and width of the kernel are swapped",
            DepthwiseConvTransposed(2),
            ("transpos", "swap", "axes"),
            (" sign", "batch", "the mean"),
        ),
        Wrong(
            "the weight's gradient is divided by the batch",
            DepthwiseConvMean(2),
            (
                "batch size",
                "number of samples",
                "size of n",
                "length of n",
                "axis 0",
                "the mean",
                "a mean",
                "mean of",
                "mean path",
                "mean term",
            ),
            ("transpos", " sign", "mask"),
        ),
    ),
)


def transposed_conv(x, w, stride=2):
    n, _, t = x.shape
    k = w.shape[2]
    out = np.zeros((n, w.shape[1], (t - 1) * stride + k), dtype=np.result_type(x, w))
    for i in range(t):
        out[:, :, i * stride : i * stride + k] += np.einsum("ni,iok->nok", x[:, :, i], w)
    return out


def transposed_conv_backward(fault=""):
    def backward(g, x, w, stride=2):
        k, t = w.shape[2], x.shape[2]
        windows = np.stack([g[:, :, i * stride : i * stride + k] for i in range(t)], axis=2)
        if fault == "stride":
            windows = np.stack([g[:, :, i : i + k] for i in range(t)], axis=2)
        kernel = w[:, :, ::-1] if fault == "flip" else w
        dx = np.einsum("notk,iok->nit", windows, kernel)
        if fault == "last":
            return dx, np.einsum("nok,ni->iok", windows[:, :, -1], x[:, :, -1])
        return dx, np.einsum("notk,nit->iok", windows, x)

    return backward


TRANSPOSED_CONV = Code(
    "transposed convolution of sequences",
    transposed_conv,
    transposed_conv_backward(),
    inputs(x="n i t", w="i o k"),
    (
        Wrong(
            "the stride is forgotten",
            transposed_conv_backward("stride"),
            ("stride", "shift", "offset", "moved"),
            (" sign", "batch", "the mean", "mask"),
        ),
        Wrong(
            "the kernel is flipped",
            transposed_conv_backward("flip"),
            ("flip", "revers"),
            (" sign", "batch", "the mean", "mask"),
        ),
        Wrong(
            "the weight's gradient is overwritten at each step",
            transposed_conv_backward("last"),
            ("time step", "steps", " uses", "part of", "missing", "accumul", "last", "sum over"),
            (" sign", "batch", "transpos", "mask"),
        ),
    ),
)


def max_over_time(x):
    return x.max(axis=1)


def max_over_time_backward(g, x):
    d = np.zeros_like(x)
    n, _, c = x.shape
    d[np.arange(n)[:, None], x.argmax(axis=1), np.arange(c)] = g
    return d


MAX_OVER_TIME = Code(
    "max over time",
    max_over_time,
    max_over_time_backward,
    inputs(x="n t c"),
    (
        Wrong(
            "every time step gets the gradient",
            lambda g, x: np.repeat(g[:, None, :], x.shape[1], axis=1),
            ("mask", "maxim", "largest", "where x", "elsewhere", "zero"),
            (" sign", "batch", "transpos"),
        ),
        Wrong(
            "shared among all time steps, as for the mean",
            lambda g, x: np.repeat(g[:, None, :], x.shape[1], axis=1) / x.shape[1],
            ("mask", "maxim", "largest", "where x", "elsewhere", "zero"),
            (" sign", "batch", "transpos"),
        ),
        Wrong(
            "the maximum of each step's channels",
            lambda g, x: g[:, None, :] * (x == x.max(axis=2, keepdims=True)),
            ("axis", "axes", "mask", "maxim"),
            ("sign is", "batch", "transpos"),
        ),
    ),
)

GLOBAL_AVERAGE = Code(
    "global average pooling",
    lambda x: x.mean(axis=(2, 3)),
    lambda g, x: np.broadcast_to(g[:, :, None, None], x.shape) / (x.shape[2] * x.shape[3]),
    inputs(x="n c h w"),
    (
        Wrong(
            "not divided by the number of pixels",
            lambda g, x: np.broadcast_to(g[:, :, None, None], x.shape).copy(),
            ("factor", "times", "size", "number of", "divi", "the mean", "a mean", "mean of", "mean path", "mean term"),
            (" sign", "transpos", "mask"),
        ),
        Wrong(
            "divided by all elements",
            lambda g, x: np.broadcast_to(g[:, :, None, None], x.shape) / x.size,
            ("factor", "times", "size", "number of", "batch size"),
            (" sign", "transpos", "mask"),
        ),
        Wrong(
            "the axes are not restored",
            lambda g, x: g / (x.shape[2] * x.shape[3]),
            ("shape", "broadcast", "axes", "keepdims"),
            (" sign", "transpos", "mask"),
        ),
    ),
)


def average_pool(x, k=3, stride=1):
    steps = (x.shape[1] - k) // stride + 1
    return np.stack([x[:, i * stride : i * stride + k].mean(axis=1) for i in range(steps)], axis=1)


def average_pool_backward(fault=""):
    def backward(g, x, k=3, stride=1):
        d = np.zeros_like(x)
        for i in range(g.shape[1]):
            part = g[:, i, None] / (1 if fault == "k" else k)
            if fault == "overwrite":
                d[:, i * stride : i * stride + k] = part
            else:
                d[:, i * stride : i * stride + k] += part
        return d

    return backward


AVERAGE_POOL = Code(
    "average pooling with overlap",
    average_pool,
    average_pool_backward(),
    inputs(x="n t", least={"t": 5}),
    (
        Wrong(
            "overlapping windows overwrite each other",
            average_pool_backward("overwrite"),
            ("overlap", "missing", " uses", "one of", "part of", "overwrit", "accumul", "more than once"),
            (" sign", "transpos", "batch"),
        ),
        Wrong(
            "not divided by the size of the window",
            average_pool_backward("k"),
            ("factor", "times"),
            (" sign", "transpos", "batch", "mask"),
        ),
    ),
    {"k": 3, "stride": 2},
)

CASES = (CAUSAL, DEPTHWISE, TRANSPOSED_CONV, MAX_OVER_TIME, GLOBAL_AVERAGE, AVERAGE_POOL)
