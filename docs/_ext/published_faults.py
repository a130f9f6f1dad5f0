"""The code of faults that are no exercise, by their keys in tinygrad_norm/exercises/mistakes.toml."""

import numpy as np

from tinygrad_norm.check import inputs

c = np.sqrt(2 / np.pi)


def gelu(x):
    return x / 2 * (1 + np.tanh(c * (x + 0.044715 * x**3)))


def gelu_backward(g, x):
    t = np.tanh(c * (x + 0.044715 * x**3))
    inner = c * (1 + 0.044715 * x**2)  # 3 * 0.044715
    return g * ((1 + t) / 2 + x / 2 * (1 - t**2) * inner)


def ridge(X, w):
    return ((X @ w) ** 2).mean() / 2 + 0.1 * (w**2).sum() / 2


def ridge_backward(g, X, w):
    error = X @ w / len(X)
    return g * np.outer(error, w), g * (X.T @ error - 0.1 * w)  # + 0.1 * w


def embedding(table, words):
    return table[words], (table.shape, words)


def embedding_backward(dout, cache):
    shape, words = cache
    d = np.zeros(shape)
    d[words] += dout  # np.add.at(d, words, dout)
    return d


def upsample(x):
    return x.repeat(2, axis=-2).repeat(2, axis=-1)


def upsample_backward(dout, x):
    return dout[..., ::2, ::2].copy()  # the sum of all four


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    s = e / e.sum(axis=-1, keepdims=True)
    return s, s  # the output, and what the backward pass needs


def elementwise(dout, s):
    return dout * s * (1 - s)


def divided(dout, s):
    return s * (dout - (dout * s).sum(axis=-1, keepdims=True)) / len(s)


def states(X, h0, W, U):
    H = [h0]
    for x in X:
        H.append(np.tanh(x @ W + H[-1] @ U))
    return np.stack(H[1:]), (X, H, W, U)


def states_backward(dH, cache):
    X, H, W, U = cache
    dX, dW, dU, back = np.zeros_like(X), 0 * W, 0 * U, 0 * H[0]
    for t in reversed(range(len(X))):
        dh = dH[t] + back
        da = dh * (1 - H[t + 1] ** 2)
        dX[t] = dh @ W.T  # da @ W.T
        dW += X[t].T @ da
        dU += H[t].T @ da
        back = da @ U.T
    return dX, back, dW, dU


def mish(x):
    return x * np.tanh(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0))


def mish_backward(g, x):
    e = np.exp(x)
    omega = 4 * (x + 1) + 4 * e**2 + e**3 + e * (4 * x + 6)
    return g * e * omega / (2 * e + e**2 + 2) ** 2


def convolve(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, 1), 3)
    return windows @ w, (windows, w)


def convolve_backward(dout, cache):
    windows, w = cache
    return np.convolve(dout, w), windows.T @ dout  # np.convolve(dout, w)[1:-1]


def cross_entropy(scores, labels):
    p, rows = softmax(scores)[0], np.arange(len(labels))
    return -np.log(p[rows, labels]).mean(), (p, rows, labels)


def cross_entropy_backward(dout, cache):
    p, rows, labels = cache
    p[rows, labels] -= 1  # in a copy
    return dout * p / len(p)


FAULTS = {
    "gelu": (gelu, gelu_backward, inputs(x="n c")),
    "penalty": (ridge, ridge_backward, inputs(X="n d", w="d")),
    "embedding": (embedding, embedding_backward, inputs(table="v d", words="n", domains={"words": "labels:v"})),
    "upsampling": (upsample, upsample_backward, inputs(x="n h w")),
    "softmax-elementwise": (softmax, elementwise, inputs(x="n c")),
    "softmax-divided": (softmax, divided, inputs(x="n c")),
    "recurrent": (states, states_backward, inputs(X="t n d", h0="n h", W="d h", U="h h")),
    "mish": (mish, mish_backward, inputs(x="n c")),
    "padding": (convolve, convolve_backward, inputs(x="n", w="3")),
    "cache": (cross_entropy, cross_entropy_backward, inputs(scores="n c", labels="n", domains={"labels": "labels:c"})),
}
"""Forward, backward, and what both are tried on."""
