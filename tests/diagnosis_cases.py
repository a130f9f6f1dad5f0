"""Faults that people make in backward passes, with the words that a diagnosis may and must not use for each.

The words were fixed before the diagnosis was tried. ``accepted`` are alternatives; a diagnosis that has none of them is
unhelpful, one with a ``forbidden`` word misleads. Functions are written from formulas; the faults are those that public
questions tell of.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
SIZES = ({"n": 5, "c": 4, "k": 3, "h": 6, "w": 7, "t": 4}, {"n": 3, "c": 5, "k": 4, "h": 5, "w": 4, "t": 6})


@dataclass(frozen=True)
class Case:
    """A function, a backward pass with a fault, and what a diagnosis may say.

    Attributes
    ----------
    inputs : dict of str
        Axes by name, behind "+" for positive values, "labels:c", "mask" or "square".
    """

    name: str
    forward: Callable[..., Array]
    backward: Callable[..., Any]
    inputs: dict[str, str]
    accepted: tuple[str, ...]
    forbidden: tuple[str, ...] = ()


def drawn(case: Case, seed: int) -> tuple[Array, ...]:
    """Return inputs of one of two sizes."""
    rng, sizes = np.random.default_rng(seed), SIZES[seed % 2]

    def one(spec: str) -> Array:
        kind, axes = spec.split(" ", 1) if spec.split(" ")[0] in ("+", "mask") or ":" in spec else ("", spec)
        shape = tuple(int(a) if a.isdigit() else sizes[a] for a in axes.split())
        if kind.startswith("labels:"):
            return rng.integers(0, sizes[kind[7:]], shape)
        if kind == "mask":
            return rng.random(shape) < 0.6
        values = rng.normal(size=shape)
        return np.asarray(np.abs(values) + 0.5 if kind == "+" else values)

    return tuple(map(one, case.inputs.values()))


CASES: list[Case] = []


def case(
    name: str, forward: Any, inputs: dict[str, str], backward: Any, accepted: str, forbidden: str = ""
) -> None:
    split = lambda words: tuple(w.strip() for w in words.split("|") if w.strip())
    CASES.append(Case(name, forward, backward, inputs, split(accepted), split(forbidden)))


def every() -> Iterator[Case]:
    yield from CASES


# Activations.

sigmoid = lambda x: 1 / (1 + np.exp(-x))
relu = lambda x: np.maximum(x, 0)
X = {"x": "n c"}

case("relu: mask missing", relu, X, lambda g, x: g * 1, "negative|sign of x|mask", "factor|transposed|sum")
case("relu: mask of the gradient", relu, X, lambda g, x: g * (g > 0), "cotangent", "transposed|eps")
case("relu: inverted mask", relu, X, lambda g, x: g * (x < 0), "mask|inverted|sign of x", "factor|sum")
case("relu: multiplied by x", relu, X, lambda g, x: g * relu(x), "x|output", "sum|transposed|batch")
case("leaky: slope forgotten", lambda x: np.where(x > 0, x, 0.01 * x), X,
     lambda g, x: g * (x > 0), "negative|mask", "sum|batch|transposed")
case("leaky: slope squared", lambda x: np.where(x > 0, x, 0.1 * x), X,
     lambda g, x: g * np.where(x > 0, 1, 0.01), "negative", "sum|batch|transposed")
case("leaky: slope on both sides", lambda x: np.where(x > 0, x, 0.1 * x), X,
     lambda g, x: g * 0.1, "positive", "sum|batch|transposed")
case("elu: exp without alpha + y", lambda x: np.where(x > 0, x, np.exp(x) - 1), X,
     lambda g, x: g * np.where(x > 0, 1, np.exp(x) - 1), "negative|term", "batch|sum|transposed")
case("sigmoid: of x for y", sigmoid, X, lambda g, x: g * x * (1 - x), "derivative|output", "sum|batch|sign")
case("sigmoid: y alone", sigmoid, X, lambda g, x: g * sigmoid(x), "1 - the output|factor|derivative", "sum|batch|sign")
case("sigmoid: 1 + y", sigmoid, X, lambda g, x: g * sigmoid(x) * (1 + sigmoid(x)), "derivative|term|factor", "sum|batch")
case("sigmoid: derivative missing", sigmoid, X, lambda g, x: g * 1, "derivative is missing|unchanged|derivative", "sum|batch")
case("sigmoid: twice applied", sigmoid, X, lambda g, x: g * sigmoid(sigmoid(x)) * (1 - sigmoid(sigmoid(x))),
     "output in place|derivative", "sum|batch|eps")
case("tanh: 1 - y", np.tanh, X, lambda g, x: g * (1 - np.tanh(x)), "1 +|derivative|square", "sum|batch|eps")
case("tanh: 1 - x**2", np.tanh, X, lambda g, x: g * (1 - x**2), "derivative|output", "sum|batch|eps")
case("tanh: 1 + y**2", np.tanh, X, lambda g, x: g * (1 + np.tanh(x) ** 2), "derivative|sign", "sum|batch|eps")
case("softplus: exp missing", lambda x: np.log(1 + np.exp(x)), X, lambda g, x: g / (1 + np.exp(x)),
     "derivative|exp", "sum|batch|eps")
case("swish: product rule", lambda x: x * sigmoid(x), X, lambda g, x: g * sigmoid(x), "term|derivative", "batch|eps")
case("gelu: x phi missing", lambda x: 0.5 * x * (1 + np.tanh(0.79788456 * (x + 0.044715 * x**3))), X,
     lambda g, x: g * 0.5 * (1 + np.tanh(0.79788456 * (x + 0.044715 * x**3))), "term|derivative", "batch|eps")
case("square: 2 missing", lambda x: x**2, X, lambda g, x: g * x, "0.5|2|factor", "sum|batch|eps|statistics")
case("exp: x for y", np.exp, X, lambda g, x: g * x, "derivative|output", "sum|batch|eps")
case("log: not inverted", np.log, {"x": "+ n c"}, lambda g, x: g * x, "invert|derivative|divided", "sum|batch")
case("sqrt: half missing", np.sqrt, {"x": "+ n c"}, lambda g, x: g / np.sqrt(x), "2 times|factor", "sum|batch")
case("sqrt: square root missing", np.sqrt, {"x": "+ n c"}, lambda g, x: g / x / 2, "square root|derivative", "batch")
case("reciprocal: sign", lambda x: 1 / x, {"x": "+ n c"}, lambda g, x: g / x**2, "sign", "sum|batch")
case("clip: mask missing", lambda x: np.clip(x, -0.8, 0.8), X, lambda g, x: g * 1, "threshold|mask|clip", "sum|batch|eps")
case("abs: sign missing", np.abs, X, lambda g, x: g * 1, "negative|sign", "sum|batch|eps")
case("cos: sign", np.cos, X, lambda g, x: g * np.sin(x), "sign", "sum|batch")


# Linear layers.

def linear(x, w, b):
    return x @ w + b


LINEAR = {"x": "n c", "w": "c k", "b": "k"}
SQUARE = {"x": "n c", "w": "c c", "b": "c"}


def affine(**changed):
    def backward(g, x, w, b):
        right = {"x": g @ w.T, "w": x.T @ g, "b": g.sum(axis=0)}
        return tuple({**right, **{k: f(g, x, w, b) for k, f in changed.items()}}.values())

    return backward


case("linear: dw averaged", linear, LINEAR, affine(w=lambda g, x, w, b: x.T @ g / len(x)), "batch size", "axis 1|sign")
case("linear: db averaged", linear, LINEAR, affine(b=lambda g, x, w, b: g.mean(axis=0)), "batch size", "axis 1|sign")
case("linear: w untransposed", linear, SQUARE, affine(x=lambda g, x, w, b: g @ w), "transposed", "flip|sign|batch")
case("linear: dw transposed", linear, SQUARE, affine(w=lambda g, x, w, b: g.T @ x), "transposed", "flip|sign|batch")
case("linear: db not summed", linear, LINEAR, affine(b=lambda g, x, w, b: g), "sum|broadcast", "transposed|sign")
case("linear: db keepdims", linear, LINEAR, affine(b=lambda g, x, w, b: g.sum(axis=0, keepdims=True)), "keepdims", "sign")
case("linear: db over the wrong axis", linear, {"x": "n n", "w": "n n", "b": "n"},
     affine(b=lambda g, x, w, b: g.sum(axis=1)), "axis", "sign|batch size")
case("linear: db by one sample", linear, LINEAR, affine(b=lambda g, x, w, b: g[0]), "sum|first|once", "transposed|sign")
case("linear: dx zero", linear, LINEAR, affine(x=lambda g, x, w, b: 0 * x), "zero", "transposed|sign")
case("linear: dw doubled", linear, LINEAR, affine(w=lambda g, x, w, b: 2 * x.T @ g), "2 times|factor", "batch|axis")
case("linear: weight decay in dw", linear, LINEAR, affine(w=lambda g, x, w, b: x.T @ g + 0.1 * w),
     "does not depend on the cotangent|regulari|penalty", "transposed|sign|batch")
case("linear: dw of w", linear, SQUARE, affine(w=lambda g, x, w, b: w.T @ (x.T @ g)), "wrong|w|axis", "sign|batch size")
case("linear: g ignored in dw", linear, LINEAR, affine(w=lambda g, x, w, b: x.T @ np.ones_like(g)),
     "does not depend on the cotangent", "transposed|batch size")


# Softmax, losses.

def softmax(x):
    e = np.exp(x - x.real.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


SHARES = {"x": "n c"}
case("softmax: elementwise", softmax, SHARES, lambda g, x: g * softmax(x) * (1 - softmax(x)),
     "diagonal|elementwise", "batch|sign|eps")
case("softmax: term missing", softmax, SHARES, lambda g, x: g * softmax(x), "softmax|sum|term|off-diagonal", "batch|eps|sign")
case("softmax: wrong axis", softmax, {"x": "n c"},
     lambda g, x: softmax(x) * (g - (g * softmax(x)).sum(axis=0, keepdims=True)), "axis", "batch|sign|eps")
case("softmax: plus", softmax, SHARES,
     lambda g, x: softmax(x) * (g + (g * softmax(x)).sum(axis=-1, keepdims=True)), "sign|softmax|sum", "batch|eps")
case("softmax: mean", softmax, SHARES,
     lambda g, x: softmax(x) * (g - (g * softmax(x)).mean(axis=-1, keepdims=True)), "softmax|sum|mean", "batch|sign")
case("softmax: divided by the batch", softmax, SHARES,
     lambda g, x: softmax(x) * (g - (g * softmax(x)).sum(axis=-1, keepdims=True)) / len(x), "batch size", "axis|sign")


def log_softmax(x):
    s = x - x.real.max(axis=-1, keepdims=True)
    return s - np.log(np.exp(s).sum(axis=-1, keepdims=True))


case("log softmax: sum missing", log_softmax, SHARES, lambda g, x: g - softmax(x) * g,
     "sum|diagonal|elementwise", "batch|sign|eps")
case("log softmax: passed through", log_softmax, SHARES, lambda g, x: g * 1, "cotangent|path|sum|softmax|output", "batch|eps")

LABELS = {"x": "n c", "y": "labels:c n"}


def cross_entropy(x, y):
    y = np.asarray(y).real.astype(int)
    return -log_softmax(x)[np.arange(len(y)), y].mean()


def onehot(x, y):
    return np.eye(x.shape[1])[np.asarray(y).astype(int)]


case("cross-entropy: one-hot missing", cross_entropy, LABELS, lambda g, x, y: (g * softmax(x) / len(x), 0 * y),
     "label|one-hot", "batch|eps|sum")
case("cross-entropy: not averaged", cross_entropy, LABELS, lambda g, x, y: (g * (softmax(x) - onehot(x, y)), 0 * y),
     "batch size", "axis 1|elements")
case("cross-entropy: sign", cross_entropy, LABELS, lambda g, x, y: (g * (onehot(x, y) - softmax(x)) / len(x), 0 * y),
     "sign", "batch|axis")
case("cross-entropy: averaged over everything", cross_entropy, LABELS,
     lambda g, x, y: (g * (softmax(x) - onehot(x, y)) / x.size, 0 * y), "axis 1", "batch|sign")
case("cross-entropy: onehot twice", cross_entropy, LABELS,
     lambda g, x, y: (g * (softmax(x) - 2 * onehot(x, y)) / len(x), 0 * y), "label|one-hot", "batch|eps")
case("cross-entropy: label term alone", cross_entropy, LABELS,
     lambda g, x, y: (-g * onehot(x, y) / len(x), 0 * y), "label|softmax", "batch|eps|sign")

TWO = {"p": "n c", "t": "n c"}
mse = lambda p, t: ((p - t) ** 2).mean()
case("mse: batch for elements", mse, TWO, lambda g, p, t: (2 * g * (p - t) / len(p), -2 * g * (p - t) / len(p)),
     "axis 1", "sign|2 times")
case("mse: 2 missing", mse, TWO, lambda g, p, t: (g * (p - t) / p.size, -g * (p - t) / p.size), "0.5|factor", "batch|elements")
case("mse: sum for mean", mse, TWO, lambda g, p, t: (2 * g * (p - t), -2 * g * (p - t)), "elements", "batch|sign")
case("mse: target's sign", mse, TWO, lambda g, p, t: (2 * g * (p - t) / p.size, 2 * g * (p - t) / p.size), "sign", "batch")
case("mse: swapped", lambda p, t: (p**2 * t).sum(), TWO, lambda g, p, t: (g * p**2, g * 2 * p * t), "swapped", "sign|batch")
bce = lambda p, t: -(t * np.log(sigmoid(p)) + (1 - t) * np.log(1 - sigmoid(p))).mean()
case("bce: sum for mean", bce, TWO, lambda g, p, t: (g * (sigmoid(p) - t), -g * p / p.size), "elements", "sign")
case("bce: sigmoid's slope twice", bce, TWO,
     lambda g, p, t: (g * (sigmoid(p) - t) * sigmoid(p) * (1 - sigmoid(p)) / p.size, -g * p / p.size),
     "factor|derivative|too often|sigmoid", "batch|sign|axis")
hinge = lambda s, t: np.maximum(0, 1 - s * t).sum()
case("hinge: mask missing", hinge, TWO, lambda g, s, t: (-g * t, g * -s * (s * t < 1)), "threshold|mask|zero", "batch|axis|sign")


def svm(x, y):
    y = np.asarray(y).astype(int)
    rows = np.arange(len(y))
    margins = np.maximum(0, x - x[rows, y][:, None] + 1)
    margins[rows, y] = 0
    return margins.sum() / len(y)


def svm_backward(g, x, y, counted=True, mean=True):
    y = np.asarray(y).astype(int)
    rows = np.arange(len(y))
    d = (x - x[rows, y][:, None] + 1 > 0) * 1.0
    d[rows, y] = 0
    d[rows, y] = -d.sum(axis=1) if counted else -1
    return g * d / (len(y) if mean else 1), 0 * y


case("svm: label counted once", svm, LABELS, lambda g, x, y: svm_backward(g, x, y, counted=False), "label", "batch|axis|sign")
case("svm: not averaged", svm, LABELS, lambda g, x, y: svm_backward(g, x, y, mean=False), "batch size", "label|sign")
case("huber: mask", lambda x: np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5), X, lambda g, x: g * x,
     "threshold|mask|x", "batch|axis")


# Norms.

EPS = 1e-3


def parts(x, axis):
    centred = x - x.mean(axis=axis, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(axis=axis, keepdims=True) + EPS)
    return centred * inverse, inverse


def layer_norm(x, gamma, beta):
    return parts(x, -1)[0] * gamma + beta


def norm_backward(axis, of_mean=1.0, of_variance=1.0, outside=False, weight=True, inverse_power=1, dgamma=None, eps=True):
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
batch_norm = lambda x, gamma, beta: parts(x, 0)[0] * gamma + beta
case("layer norm: gamma outside", layer_norm, NORM, norm_backward(-1, outside=True), "gamma", "batch|eps|sign")
case("layer norm: gamma missing", layer_norm, NORM, norm_backward(-1, weight=False), "gamma", "batch|eps|sign")
case("layer norm: mean path", layer_norm, NORM, norm_backward(-1, of_mean=0), "mean", "batch|eps|sign")
case("layer norm: variance path", layer_norm, NORM, norm_backward(-1, of_variance=0), "variance", "batch|eps|sign")
case("layer norm: constants", layer_norm, NORM, norm_backward(-1, 0, 0), "constant|statistics|diagonal|elementwise", "batch|eps|sign")
case("layer norm: mean's sign", layer_norm, NORM, norm_backward(-1, -1), "mean", "batch|eps")
case("layer norm: sums for means", layer_norm, NORM,
     lambda g, x, gamma, beta: norm_backward(-1, x.shape[1], x.shape[1])(g, x, gamma, beta), "mean|sum|axis 1", "eps|sign|batch size")
case("layer norm: sigma squared", layer_norm, NORM, norm_backward(-1, inverse_power=2), "standard deviation|variance", "batch|sign|gamma is missing")
case("layer norm: dgamma of x", layer_norm, NORM, norm_backward(-1, dgamma=lambda g, x, h: (g * x).sum(axis=0)),
     "x|normalized", "batch|sign|transposed")
case("layer norm: dgamma without x_hat", layer_norm, NORM, norm_backward(-1, dgamma=lambda g, x, h: g.sum(axis=0)),
     "factor|another input|beta|swapped", "batch|sign|transposed")
case("batch norm: constants", batch_norm, NORM, norm_backward(0, 0, 0), "constant|statistics|diagonal|elementwise", "eps|sign")
case("batch norm: mean path", batch_norm, NORM, norm_backward(0, of_mean=0), "mean", "eps|sign")
case("batch norm: dgamma averaged", batch_norm, NORM, norm_backward(0, dgamma=lambda g, x, h: (g * h).mean(axis=0)), "batch size", "eps|sign")
case("batch norm: axis 1", batch_norm, NORM, norm_backward(1), "axis|axes", "eps|sign")
case("batch norm: variance's n - 1", batch_norm, NORM,
     lambda g, x, gamma, beta: norm_backward(0, 1, len(x) / (len(x) - 1))(g, x, gamma, beta), "variance", "eps|sign")
case("batch norm: eps dropped", lambda x, gamma, beta: batch_norm(x / 8, gamma, beta), NORM,
     lambda g, x, gamma, beta: (lambda d, *r: (d / 8, *r))(*norm_backward(0, eps=False)(g, x / 8, gamma, beta)),
     "eps|standard deviation", "batch|sign")
unit = lambda x: x / np.sqrt((x**2).sum(axis=1, keepdims=True))
case("l2 normalize: norm constant", unit, X, lambda g, x: g / np.sqrt((x**2).sum(axis=1, keepdims=True)), "norm|diagonal|elementwise", "batch|sign|eps")
rms = lambda x: x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS)
case("rms: sum for mean", rms, X,
     lambda g, x: (g - rms(x) * (g * rms(x)).sum(axis=1, keepdims=True)) / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS),
     "axis 1|sum|norm", "batch|sign")
case("variance: mean forgotten", lambda x: x.var(axis=0), X, lambda g, x: 2 * g * x / len(x), "mean|constant", "batch|sign|eps")
case("std: sqrt missing", lambda x: np.sqrt(((x - x.mean(0)) ** 2).mean(0)), X,
     lambda g, x: g * (x - x.mean(0)) / len(x), "standard deviation|factor", "batch|sign")
case("mean: sum", lambda x: x.mean(axis=1), X, lambda g, x: g[:, None] * np.ones_like(x), "axis 1", "batch|sign")


# Sequences, convolutions, indices.

case("cumsum: not reversed", lambda x: np.cumsum(x, axis=1), X, lambda g, x: np.cumsum(g, axis=1), "transposed|revers", "batch|sign|eps")
case("cumsum: reversed back wrongly", lambda x: np.cumsum(x, axis=1), X,
     lambda g, x: np.cumsum(g[:, ::-1], axis=1), "flip|revers", "batch|sign|eps")
case("solve: untransposed", lambda a, b: np.linalg.solve(a, b), {"a": "c c", "b": "c k"},
     lambda g, a, b: (-np.linalg.solve(a.T, g) @ np.linalg.solve(a, b).T, np.linalg.solve(a, g)), "transposed", "batch|sign|eps")
case("inverse: dA", np.linalg.inv, {"a": "c c"}, lambda g, a: -np.linalg.inv(a) @ g @ np.linalg.inv(a), "transposed", "batch|sign")
case("gram: one term", lambda x: x @ x.T, X, lambda g, x: g @ x, "term|uses|transposed", "batch|sign")
case("transpose: reshape", lambda x: x.T.copy(), X, lambda g, x: g.reshape(x.shape), "transposed|order", "sign|batch")
case("outer: gradients swapped", lambda a, b: a * b, TWO, lambda g, a, b: (g * a, g * b), "swapped|gradient of|b", "batch|sign")
case("division: sign of b", lambda a, b: a / b, {"a": "n c", "b": "+ n c"}, lambda g, a, b: (g / b, g * a / b**2), "sign", "batch")
case("division: b not squared", lambda a, b: a / b, {"a": "n c", "b": "+ n c"}, lambda g, a, b: (g / b, -g * a / b), "b", "batch|sign")
case("bias: broadcast", lambda x, b: x * b, {"x": "n c", "b": "c"}, lambda g, x, b: (g * b, g.sum(axis=0)), "factor|x", "sign|batch")


def embed(w, i):
    return w[np.asarray(i).astype(int)]


def embed_backward(g, w, i):
    d = np.zeros_like(w)
    d[np.asarray(i).astype(int)] += g
    return d, 0 * i


case("embedding: repeated rows", embed, {"w": "k c", "i": "labels:k n"}, embed_backward, "repeated|index|indices", "sign|batch")
case("up-sampling: first only", lambda x: np.repeat(x, 2, axis=1), X, lambda g, x: g[:, ::2].copy(), "sum|repeated|once|broadcast", "sign|batch")
case("max: of all equal shares", lambda x: x.max(axis=1), X, lambda g, x: np.repeat(g[:, None], x.shape[1], 1), "maximum|mask", "sign|batch")
case("max: to the first", lambda x: x.max(axis=1), X, lambda g, x: np.eye(x.shape[1])[0] * g[:, None], "maximum|mask|first|argmax|position", "sign|batch")


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
case("conv: kernel not flipped", conv, CONV, lambda g, x, k: conv_backward(g, x, k, flipped=False), "flip|transposed", "sign|batch")
case("conv: padding not cut", conv, CONV, lambda g, x, k: conv_backward(g, x, k, shift=-1), "shift|padding|border", "sign|batch")
case("conv: dk flipped", conv, CONV, lambda g, x, k: (conv_backward(g, x, k)[0], conv_backward(g, x, k)[1][::-1].copy()), "flip|revers", "sign|batch")


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
case("rnn: through time", rnn, RNN, lambda g, x, w, u: rnn_backward(g, x, w, u, carried=0), "time|step|path", "sign|batch size")
case("rnn: dw not summed", rnn, RNN, lambda g, x, w, u: rnn_backward(g, x, w, u, last=True), "step|time|place|sum|first", "sign|batch size")
case("rnn: slope", rnn, RNN, lambda g, x, w, u: rnn_backward(g, x, w, u, slope=False), "time|step|derivative|last", "sign|batch size")
case("residual: skip missing", lambda x, w: x + np.tanh(x @ w), {"x": "n c", "w": "c c"},
     lambda g, x, w: ((g * (1 - np.tanh(x @ w) ** 2)) @ w.T, x.T @ (g * (1 - np.tanh(x @ w) ** 2))), "skip|residual|identity|direct", "sign|batch|eps")
case("residual: skip alone", lambda x, w: x + np.tanh(x @ w), {"x": "n c", "w": "c c"},
     lambda g, x, w: (g, x.T @ (g * (1 - np.tanh(x @ w) ** 2))), "cotangent|path", "sign|batch|eps")
case("tied: one use", lambda x, w: x @ w @ w.T, {"x": "n c", "w": "c k"},
     lambda g, x, w: (g @ w @ w.T, x.T @ (g @ w)), "use|path|term", "sign|batch")
case("concat: second ignored", lambda a, b: np.concatenate([a, b * 2], axis=1), TWO, lambda g, a, b: (g[:, : a.shape[1]].copy(), 0 * b), "zero", "sign|batch")
case("dropout: mask missing", lambda x, m: x * m / 0.5, {"x": "n c", "m": "mask n c"}, lambda g, x, m: (g / 0.5, 0 * m), "mask", "sign|batch|sum")
case("dropout: scale missing", lambda x, m: x * m / 0.6, {"x": "n c", "m": "mask n c"}, lambda g, x, m: (g * m, 0 * m), "0.6|factor", "sign|batch|sum")
case("lstm cell: forget path", lambda x, c, w: np.tanh(sigmoid(x @ w) * c) , {"x": "n c", "c": "n k", "w": "c k"},
     lambda g, x, c, w: (lambda s, f: ((s * c * f * (1 - f)) @ w.T, s, x.T @ (s * c * f * (1 - f))))(g * (1 - np.tanh(sigmoid(x @ w) * c) ** 2), sigmoid(x @ w)),
     "factor|missing|derivative", "sign|batch|sum")


def attention(q, k, v):
    return softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


def attention_backward(g, q, k, v, scaled=True, transposed=True):
    root = np.sqrt(q.shape[1])
    a = softmax(q @ k.T / root)
    da = g @ v.T
    ds = a * (da - (da * a).sum(axis=1, keepdims=True)) / (root if scaled else 1)
    return ds @ k, (ds.T if transposed else ds) @ q, (a.T if transposed else a) @ g


QKV = {"q": "n c", "k": "n c", "v": "n c"}
case("attention: root missing", attention, QKV, lambda g, q, k, v: attention_backward(g, q, k, v, scaled=False), "root", "sign|batch")
case("attention: dv untransposed", attention, QKV,
     lambda g, q, k, v: (*attention_backward(g, q, k, v)[:2], attention_backward(g, q, k, v, transposed=False)[2]), "transposed", "sign|batch")
