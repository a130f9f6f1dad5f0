"""Norms, sequences, convolutions and what takes indices with faults, for the diagnosis; see `diagnosis_cases`."""

import numpy as np

from tests.diagnosis_cases import X, case, sigmoid
from tests.diagnosis_losses import TWO, softmax

# Norms.

EPS = 1e-3


def parts(x, axis):
    centred = x - x.mean(axis=axis, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(axis=axis, keepdims=True) + EPS)
    return centred * inverse, inverse


def layer_norm(x, gamma, beta):
    return parts(x, -1)[0] * gamma + beta


def norm_backward(
    axis, of_mean=1.0, of_variance=1.0, outside=False, weight=True, inverse_power=1, dgamma=None, eps=True
):
    def backward(g, x, gamma, beta):
        x_hat, inverse = parts(x, axis)
        if not eps:
            inverse = 1 / x.std(axis=axis, keepdims=True)
        d = g * gamma if weight and not outside else g
        m = lambda a: a.mean(axis=axis, keepdims=True)
        dx = (d - of_mean * m(d) - of_variance * x_hat * m(d * x_hat)) * inverse**inverse_power
        dx = dx * gamma if outside else dx
        dg = (g * x_hat).sum(axis=0) if dgamma is None else dgamma(g, x, x_hat)
        return dx, dg, g.sum(axis=0)

    return backward


NORM = {"x": "n c", "gamma": "c", "beta": "c"}
batch_norm = lambda x, gamma, beta: parts(x, 0)[0] * gamma + beta  # noqa: E731
case("layer norm: gamma outside", layer_norm, NORM, norm_backward(-1, outside=True), "gamma", "batch|eps|sign")
case("layer norm: gamma missing", layer_norm, NORM, norm_backward(-1, weight=False), "gamma", "batch|eps|sign")
case("layer norm: mean path", layer_norm, NORM, norm_backward(-1, of_mean=0), "mean", "batch|eps|sign")
case("layer norm: variance path", layer_norm, NORM, norm_backward(-1, of_variance=0), "variance", "batch|eps|sign")
case(
    "layer norm: constants",
    layer_norm,
    NORM,
    norm_backward(-1, 0, 0),
    "constant|statistics|diagonal|elementwise",
    "batch|eps|sign",
)
case("layer norm: mean's sign", layer_norm, NORM, norm_backward(-1, -1), "mean", "batch|eps")
case(
    "layer norm: sums for means",
    layer_norm,
    NORM,
    lambda g, x, gamma, beta: norm_backward(-1, x.shape[1], x.shape[1])(g, x, gamma, beta),
    "mean|sum|axis 1",
    "eps|sign|batch size",
)
case(
    "layer norm: sigma squared",
    layer_norm,
    NORM,
    norm_backward(-1, inverse_power=2),
    "standard deviation|variance",
    "batch|sign|gamma is missing",
)
case(
    "layer norm: dgamma of x",
    layer_norm,
    NORM,
    norm_backward(-1, dgamma=lambda g, x, h: (g * x).sum(axis=0)),
    "x|normalized",
    "batch|sign|transposed",
)
case(
    "layer norm: dgamma without x_hat",
    layer_norm,
    NORM,
    norm_backward(-1, dgamma=lambda g, x, h: g.sum(axis=0)),
    "factor|another input|beta|swapped",
    "batch|sign|transposed",
)
case(
    "batch norm: constants",
    batch_norm,
    NORM,
    norm_backward(0, 0, 0),
    "constant|statistics|diagonal|elementwise",
    "eps|sign",
)
case("batch norm: mean path", batch_norm, NORM, norm_backward(0, of_mean=0), "mean", "eps|sign")
case(
    "batch norm: dgamma averaged",
    batch_norm,
    NORM,
    norm_backward(0, dgamma=lambda g, x, h: (g * h).mean(axis=0)),
    "batch size",
    "eps|sign",
)
case("batch norm: axis 1", batch_norm, NORM, norm_backward(1), "axis|axes", "eps|sign")
case(
    "batch norm: variance's n - 1",
    batch_norm,
    NORM,
    lambda g, x, gamma, beta: norm_backward(0, 1, len(x) / (len(x) - 1))(g, x, gamma, beta),
    "variance",
    "eps|sign",
)
case(
    "batch norm: eps dropped",
    lambda x, gamma, beta: batch_norm(x / 8, gamma, beta),
    NORM,
    lambda g, x, gamma, beta: (lambda d, *r: (d / 8, *r))(*norm_backward(0, eps=False)(g, x / 8, gamma, beta)),
    "eps|standard deviation",
    "batch|sign",
)
unit = lambda x: x / np.sqrt((x**2).sum(axis=1, keepdims=True))  # noqa: E731
case(
    "l2 normalize: norm constant",
    unit,
    X,
    lambda g, x: g / np.sqrt((x**2).sum(axis=1, keepdims=True)),
    "norm|diagonal|elementwise",
    "batch|sign|eps",
)
rms = lambda x: x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS)  # noqa: E731
case(
    "rms: sum for mean",
    rms,
    X,
    lambda g, x: (
        (g - rms(x) * (g * rms(x)).sum(axis=1, keepdims=True)) / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS)
    ),
    "axis 1|sum|norm",
    "batch|sign",
)
case(
    "variance: mean forgotten",
    lambda x: x.var(axis=0),
    X,
    lambda g, x: 2 * g * x / len(x),
    "mean|constant",
    "batch|sign|eps",
)
case(
    "std: sqrt missing",
    lambda x: np.sqrt(((x - x.mean(0)) ** 2).mean(0)),
    X,
    lambda g, x: g * (x - x.mean(0)) / len(x),
    "standard deviation|factor",
    "batch|sign",
)
case("mean: sum", lambda x: x.mean(axis=1), X, lambda g, x: g[:, None] * np.ones_like(x), "axis 1", "batch|sign")


def in_groups(x):
    return parts(x.reshape(len(x), 2, -1), -1)[0].reshape(x.shape)


def in_groups_backward(g, x, of_mean=1.0, of_variance=1.0):
    x_hat, inverse = parts(x.reshape(len(x), 2, -1), -1)
    d = g.reshape(x_hat.shape)
    terms = of_mean * d.mean(axis=-1, keepdims=True) + of_variance * x_hat * (d * x_hat).mean(axis=-1, keepdims=True)
    return ((d - terms) * inverse).reshape(x.shape)


IMAGES = {"x": "n 4 h"}
case(
    "group norm: variance path",
    in_groups,
    IMAGES,
    lambda g, x: in_groups_backward(g, x, 1, 0),
    "variance",
    "batch|sign",
)
case(
    "group norm: mean path",
    in_groups,
    IMAGES,
    lambda g, x: in_groups_backward(g, x, 0, 1),
    "mean",
    "batch|sign|variance",
)
case(
    "group norm: constants",
    in_groups,
    IMAGES,
    lambda g, x: in_groups_backward(g, x, 0, 0),
    "constant|statistics",
    "batch|sign",
)
case(
    "unit rows: sums over columns",
    unit,
    X,
    lambda g, x: (
        g / np.sqrt((x**2).sum(1, keepdims=True))
        - x * (g * x).sum(0, keepdims=True) / np.sqrt((x**2).sum(1, keepdims=True)) ** 3
    ),
    "axis",
    "batch|eps|transposed",
)
case(
    "unit rows: norm not cubed",
    unit,
    X,
    lambda g, x: g / np.sqrt((x**2).sum(1, keepdims=True)) - x * (g * x).sum(1, keepdims=True),
    "norm",
    "batch|eps|sign",
)
case(
    "standard deviation: sum for mean",
    lambda x: np.sqrt(((x - x.mean(0)) ** 2).mean(0)),
    X,
    lambda g, x: g * (x - x.mean(0)) / x.std(0),
    "batch size",
    "axis 1|eps",
)

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
    lambda a, b: np.linalg.solve(a, b),
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
case(
    "lstm cell: forget path",
    lambda x, c, w: np.tanh(sigmoid(x @ w) * c),
    {"x": "n c", "c": "n k", "w": "c k"},
    lambda g, x, c, w: (lambda s, f: ((s * c * f * (1 - f)) @ w.T, s, x.T @ (s * c * f * (1 - f))))(
        g * (1 - np.tanh(sigmoid(x @ w) * c) ** 2), sigmoid(x @ w)
    ),
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
