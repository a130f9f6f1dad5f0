"""Convolutions and pooling, by loops and by columns."""

import numpy as np

from tinygrad_norm.check import inputs

from .case import Code, Wrong
from .words import FACTOR, FLIPPED, MISSING, NOT_SUMMED, ONE_USE, SHIFTED, SIZE, TRANSPOSED


# By loops over everything, cached, with the course's dict of parameters.
def conv_forward_naive(x, w, b, conv_param):
    stride, pad = conv_param["stride"], conv_param["pad"]
    (n, _, height, width), (filters, _, kh, kw) = x.shape, w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    oh, ow = 1 + (height + 2 * pad - kh) // stride, 1 + (width + 2 * pad - kw) // stride
    out = np.zeros((n, filters, oh, ow))
    for k in range(n):
        for f in range(filters):
            for i in range(oh):
                for j in range(ow):
                    window = padded[k, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
                    out[k, f, i, j] = np.sum(window * w[f]) + b[f]
    return out, (x, w, b, conv_param)


def _conv_backward_naive(fault=""):
    def conv_backward_naive(dout, cache):
        x, w, _, conv_param = cache
        stride, pad = conv_param["stride"], conv_param["pad"]
        (n, _, height, width), (filters, _, kh, kw) = x.shape, w.shape
        padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
        for k in range(n):
            for f in range(filters):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        at = (k, slice(None), slice(i * stride, i * stride + kh), slice(j * stride, j * stride + kw))
                        dw[f] = dout[k, f, i, j] * padded[at] + (0 if fault == "assigned" else dw[f])
                        dpadded[at] += dout[k, f, i, j] * (w[f, :, ::-1, ::-1] if fault == "flipped" else w[f])
        start = 0 if fault == "padding" else pad
        dx = dpadded[:, :, start : start + height, start : start + width]
        return dx, dw, dout.sum(axis=(2, 3))[-1] if fault == "batch" else dout.sum(axis=(0, 2, 3))

    return conv_backward_naive


# By columns, as a class.
class Convolution:
    def __init__(self, fault=""):
        self.fault = fault
        rng = np.random.default_rng(3)
        self.W, self.b = rng.normal(size=(2, 2, 2, 2)), rng.normal(size=2)

    def forward(self, x):
        n, _, h, w = x.shape
        self.shape, self.size = x.shape, (h - 1, w - 1)
        self.col = self._im2col(x)
        out = self.col @ self.W.reshape(2, -1).T + self.b
        return out.reshape(n, *self.size, 2).transpose(0, 3, 1, 2)

    def _im2col(self, x):
        h, w = self.size
        col = np.stack([x[:, :, i : i + h, j : j + w] for i in range(2) for j in range(2)], axis=2)
        return col.transpose(0, 3, 4, 1, 2).reshape(-1, 8)

    def backward(self, dout):
        dout = dout.transpose(0, 2, 3, 1).reshape(-1, 2)
        self.db = dout.sum(axis=0)
        dW = (self.col.T @ dout).T.reshape(2, 2, 2, 2)
        self.dW = dW[:, :, ::-1, ::-1] if self.fault == "flipped" else dW
        return self._col2im(dout @ self.W.reshape(2, -1))

    def _col2im(self, dcol):
        (n, _, _, _), (h, w) = self.shape, self.size
        parts = dcol.reshape(n, h, w, 2, 4).transpose(4, 0, 3, 1, 2)
        dx = np.zeros(self.shape)
        for k, part in enumerate(parts):
            i, j = divmod(k, 2)
            if self.fault == "offset":
                i, j = j, i
            place = (slice(None), slice(None), slice(i, i + h), slice(j, j + w))
            dx[place] = part if self.fault == "assigned" else dx[place] + part
        return dx


# Of one row, by np.convolve.
def convolve(x, w):
    return np.convolve(x, w, mode="valid")


def convolve_backward(g, x, w):
    return np.convolve(g, w[::-1], mode="full"), np.convolve(x[::-1], g, mode="valid")


# 2 x 2 pooling by a view of blocks.
def _blocks(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)


def _unblocked(blocks):
    n, c, h, w, _ = blocks.shape
    return blocks.reshape(n, c, h, w, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, 2 * h, 2 * w)


class MaxPool2x2:
    def forward(self, x):
        blocks = _blocks(x)
        self.arg_max = blocks.argmax(axis=-1)
        return blocks.max(axis=-1)

    def backward(self, dout):
        return _unblocked(dout[..., None] * (np.arange(4) == self.arg_max[..., None]))


class MaxPool2x2Shared(MaxPool2x2):
    def backward(self, dout):
        return _unblocked(np.repeat(dout[..., None] / 4, 4, axis=-1))


class MaxPool2x2Transposed(MaxPool2x2):
    def backward(self, dout):
        place = np.array([0, 2, 1, 3])[self.arg_max]
        return _unblocked(dout[..., None] * (np.arange(4) == place[..., None]))


class MaxPool2x2ToAll(MaxPool2x2):
    def backward(self, dout):
        return _unblocked(np.repeat(dout[..., None], 4, axis=-1))


def _repeat(g):
    return g.repeat(2, axis=2).repeat(2, axis=3)


def average_pool(x):
    return _blocks(x).mean(axis=-1)


def average_pool_at_corners(g, x):
    dx = np.zeros_like(x)
    dx[:, :, ::2, ::2] = g
    return dx


def upsample_backward(g, x):
    return _blocks(g).sum(axis=-1)


CONV = inputs(x="n 2 h w", w="f 2 3 3", b="f", largest=3, least={"h": 3, "w": 3})
IMAGES = inputs(x="n c 2h 2w", largest=3)

CASES = (
    Code(
        "convolution by loops, cached",
        conv_forward_naive,
        _conv_backward_naive(),
        CONV,
        (
            Wrong("dx of the padded corner", _conv_backward_naive("padding"), SHIFTED),
            Wrong("the kernel is flipped in dx", _conv_backward_naive("flipped"), FLIPPED),
            Wrong("dw is assigned, not accumulated", _conv_backward_naive("assigned"), (*ONE_USE, " last")),
            Wrong("db of the last sample", _conv_backward_naive("batch"), (*NOT_SUMMED, *MISSING, " last", "axis 0")),
        ),
        {"conv_param": {"stride": 2, "pad": 1}},
    ),
    Code(
        "convolution by columns, a class",
        Convolution(),
        None,
        inputs(x="n 2 h w", largest=3),
        (
            Wrong("columns are assigned, not added", Convolution("assigned"), (*ONE_USE, "overlap", " last")),
            Wrong("dW is flipped", Convolution("flipped"), FLIPPED),
            Wrong("offsets are swapped", Convolution("offset"), (*TRANSPOSED, "shift", "kernel", "offset")),
        ),
    ),
    Code(
        "convolution of rows",
        convolve,
        convolve_backward,
        inputs(x="t", w="2", least={"t": 2}),
        (
            Wrong(
                "the kernel is not reversed in dx",
                lambda g, x, w: (np.convolve(g, w, mode="full"), np.convolve(x[::-1], g, mode="valid")),
                FLIPPED,
            ),
            Wrong("dw is reversed", lambda g, x, w: (convolve_backward(g, x, w)[0], np.correlate(x, g)), FLIPPED),
        ),
    ),
    Code(
        "max pooling, a class",
        MaxPool2x2(),
        None,
        IMAGES,
        (
            Wrong("shared by all four", MaxPool2x2Shared(), ("averag", "maxim", "share", "nonzero", "spread", "zero")),
            Wrong("rows and columns are swapped", MaxPool2x2Transposed(), (*TRANSPOSED, "position", " place", "zero")),
            Wrong("all four get everything", MaxPool2x2ToAll(), ("maxim", "mask", "nonzero", "spread", "zero", "ties")),
        ),
    ),
    Code(
        "average pooling",
        average_pool,
        lambda g, x: _repeat(g) / 4,
        IMAGES,
        (
            Wrong("not divided by 4", lambda g, x: _repeat(g), (*FACTOR, *SIZE)),
            Wrong("divided by the whole image", lambda g, x: _repeat(g) / x[0, 0].size, (*FACTOR, *SIZE)),
            Wrong("one corner gets everything", average_pool_at_corners, ("zero", "one of", "nonzero", "spread")),
        ),
    ),
    Code(
        "up-sampling by repetition",
        _repeat,
        upsample_backward,
        inputs(x="n c h w", largest=3),
        (
            Wrong("one corner is taken", lambda g, x: g[:, :, ::2, ::2], (" sum", "missing", "one of", "repeated")),
            Wrong("a mean for the sum", lambda g, x: _blocks(g).mean(axis=-1), FACTOR),
        ),
    ),
)
