"""Sequences, convolutions, indices and matrices with faults, for the diagnosis; see `diagnosis_cases`."""

import numpy as np

from tests.diagnosis_cases import X, case, sigmoid
from tests.diagnosis_losses import TWO, softmax

# Sequences, convolutions, indices.

case(
    "cumsum: not reversed",
    lambda x: np.cumsum(x, axis=1),
    X,
    lambda g, x: np.cumsum(g, axis=1),
    "transposed|revers",
    "batch|sign|eps",
)
case(
    "cumsum: reversed back wrongly",
    lambda x: np.cumsum(x, axis=1),
    X,
    lambda g, x: np.cumsum(g[:, ::-1], axis=1),
    "flip|revers",
    "batch|sign|eps",
)
case(
    "solve: untransposed",
    np.linalg.solve,
    {"a": "c c", "b": "c k"},
    lambda g, a, b: (-np.linalg.solve(a.T, g) @ np.linalg.solve(a, b).T, np.linalg.solve(a, g)),
    "transposed",
    "batch|sign|eps",
)
case(
    "inverse: dA",
    np.linalg.inv,
    {"a": "c c"},
    lambda g, a: -np.linalg.inv(a) @ g @ np.linalg.inv(a),
    "transposed",
    "batch|sign",
)
case("gram: one term", lambda x: x @ x.T, X, lambda g, x: g @ x, "term|uses|transposed", "batch|sign")
case("transpose: reshape", lambda x: x.T.copy(), X, lambda g, x: g.reshape(x.shape), "transposed|order", "sign|batch")
case(
    "outer: gradients swapped",
    lambda a, b: a * b,
    TWO,
    lambda g, a, b: (g * a, g * b),
    "swapped|gradient of|b",
    "batch|sign",
)
case(
    "division: sign of b",
    lambda a, b: a / b,
    {"a": "n c", "b": "+ n c"},
    lambda g, a, b: (g / b, g * a / b**2),
    "sign",
    "batch",
)
case(
    "division: b not squared",
    lambda a, b: a / b,
    {"a": "n c", "b": "+ n c"},
    lambda g, a, b: (g / b, -g * a / b),
    "b",
    "batch|sign",
)
case(
    "bias: broadcast",
    lambda x, b: x * b,
    {"x": "n c", "b": "c"},
    lambda g, x, b: (g * b, g.sum(axis=0)),
    "factor|x",
    "sign|batch",
)


def embed(w, i):
    return w[np.asarray(i).astype(int)]


def embed_backward(g, w, i):
    d = np.zeros_like(w)
    d[np.asarray(i).astype(int)] += g
    return d, 0 * i


case(
    "embedding: repeated rows",
    embed,
    {"w": "k c", "i": "labels:k n"},
    embed_backward,
    "repeated|index|indices",
    "sign|batch",
)
case(
    "up-sampling: first only",
    lambda x: np.repeat(x, 2, axis=1),
    X,
    lambda g, x: g[:, ::2].copy(),
    "sum|repeated|once|broadcast",
    "sign|batch",
)
case(
    "max: of all equal shares",
    lambda x: x.max(axis=1),
    X,
    lambda g, x: np.repeat(g[:, None], x.shape[1], 1),
    "maximum|mask",
    "sign|batch",
)
case(
    "max: to the first",
    lambda x: x.max(axis=1),
    X,
    lambda g, x: np.eye(x.shape[1])[0] * g[:, None],
    "maximum|mask|first|argmax|position",
    "sign|batch",
)


def conv(x, k):
    p = np.pad(x, ((0, 0), (1, 1)))
    return sum(p[:, i : i + x.shape[1]] * k[i] for i in range(3))


def conv_backward(g, x, k, flipped=True, shift=0, padded=True):
    p, q = np.pad(x, ((0, 0), (1, 1))), np.pad(g, ((0, 0), (2, 2)))
    w = k[::-1] if flipped else k
    full = sum(q[:, i : i + x.shape[1] + 2] * w[i] for i in range(3))
    dk = np.array([(p[:, i : i + x.shape[1]] * g).sum() for i in range(3)])
    return full[:, 1 + shift : 1 + shift + x.shape[1]], dk


CONV = {"x": "n w", "k": "3"}
case(
    "conv: kernel not flipped",
    conv,
    CONV,
    lambda g, x, k: conv_backward(g, x, k, flipped=False),
    "flip|transposed",
    "sign|batch",
)
case(
    "conv: padding not cut",
    conv,
    CONV,
    lambda g, x, k: conv_backward(g, x, k, shift=-1),
    "shift|padding|border",
    "sign|batch",
)
case(
    "conv: dk flipped",
    conv,
    CONV,
    lambda g, x, k: (conv_backward(g, x, k)[0], conv_backward(g, x, k)[1][::-1].copy()),
    "flip|revers",
    "sign|batch",
)


def rnn(x, w, u):
    h, hs = np.zeros((len(x), u.shape[0])), []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ w + h @ u)
        hs.append(h)
    return np.stack(hs, axis=1)


def rnn_backward(g, x, w, u, carried=1.0, last=False, slope=True):
    hs = rnn(x, w, u)
    dx, dw, du, dh = np.zeros_like(x), np.zeros_like(w), np.zeros_like(u), 0
    for t in reversed(range(x.shape[1])):
        before = hs[:, t - 1] if t else 0 * hs[:, 0]
        total = g[:, t] + carried * dh
        d = total * (1 - hs[:, t] ** 2) if slope else total
        dx[:, t] = d @ w.T
        dw = x[:, t].T @ d if last else dw + x[:, t].T @ d
        du = du + before.T @ d
        dh = d @ u.T
    return dx, dw, du


RNN = {"x": "n t c", "w": "c k", "u": "k k"}
case(
    "rnn: through time",
    rnn,
    RNN,
    lambda g, x, w, u: rnn_backward(g, x, w, u, carried=0),
    "time|step|path",
    "sign|batch size",
)
case(
    "rnn: dw not summed",
    rnn,
    RNN,
    lambda g, x, w, u: rnn_backward(g, x, w, u, last=True),
    "step|time|place|sum|first",
    "sign|batch size",
)
case(
    "rnn: slope",
    rnn,
    RNN,
    lambda g, x, w, u: rnn_backward(g, x, w, u, slope=False),
    "time|step|derivative|last",
    "sign|batch size",
)
case(
    "residual: skip missing",
    lambda x, w: x + np.tanh(x @ w),
    {"x": "n c", "w": "c c"},
    lambda g, x, w: ((g * (1 - np.tanh(x @ w) ** 2)) @ w.T, x.T @ (g * (1 - np.tanh(x @ w) ** 2))),
    "skip|residual|identity|direct",
    "sign|batch|eps",
)
case(
    "residual: skip alone",
    lambda x, w: x + np.tanh(x @ w),
    {"x": "n c", "w": "c c"},
    lambda g, x, w: (g, x.T @ (g * (1 - np.tanh(x @ w) ** 2))),
    "cotangent|path",
    "sign|batch|eps",
)
case(
    "tied: one use",
    lambda x, w: x @ w @ w.T,
    {"x": "n c", "w": "c k"},
    lambda g, x, w: (g @ w @ w.T, x.T @ (g @ w)),
    "use|path|term",
    "sign|batch",
)
case(
    "concat: second ignored",
    lambda a, b: np.concatenate([a, b * 2], axis=1),
    TWO,
    lambda g, a, b: (g[:, : a.shape[1]].copy(), 0 * b),
    "zero",
    "sign|batch",
)
case(
    "dropout: mask missing",
    lambda x, m: x * m / 0.5,
    {"x": "n c", "m": "mask n c"},
    lambda g, x, m: (g / 0.5, 0 * m),
    "mask",
    "sign|batch|sum",
)
case(
    "dropout: scale missing",
    lambda x, m: x * m / 0.6,
    {"x": "n c", "m": "mask n c"},
    lambda g, x, m: (g * m, 0 * m),
    "0.6|factor",
    "sign|batch|sum",
)


def gated_backward(g, x, c, w):
    f = sigmoid(x @ w)
    s = g * (1 - np.tanh(f * c) ** 2)
    return (s * c * f * (1 - f)) @ w.T, s, x.T @ (s * c * f * (1 - f))


case(
    "lstm cell: forget path",
    lambda x, c, w: np.tanh(sigmoid(x @ w) * c),
    {"x": "n c", "c": "n k", "w": "c k"},
    gated_backward,
    "factor|missing|derivative",
    "sign|batch|sum",
)


def attention(q, k, v):
    return softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


def attention_backward(g, q, k, v, scaled=True, transposed=True):
    root = np.sqrt(q.shape[1])
    a = softmax(q @ k.T / root)
    da = g @ v.T
    ds = a * (da - (da * a).sum(axis=1, keepdims=True)) / (root if scaled else 1)
    return ds @ k, (ds.T if transposed else ds) @ q, (a.T if transposed else a) @ g


QKV = {"q": "n c", "k": "n c", "v": "n c"}
case(
    "attention: root missing",
    attention,
    QKV,
    lambda g, q, k, v: attention_backward(g, q, k, v, scaled=False),
    "root",
    "sign|batch",
)
case(
    "attention: dv untransposed",
    attention,
    QKV,
    lambda g, q, k, v: (*attention_backward(g, q, k, v)[:2], attention_backward(g, q, k, v, transposed=False)[2]),
    "transposed",
    "sign|batch",
)
